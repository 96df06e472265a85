"""What the configuration wants of GMO Coin, and the commands for it.

Rules (api.coin.z.com/docs, public WebSocket API): one symbol a command, one command a second and
address, nothing is acknowledged. Spot symbols are bare (`BTC`), leveraged ones end in `_JPY`.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from schemas.feeds import GmoSettings
from schemas.instruments import Channel
from venues.gmo.symbols import common_pair
from venues.wire import Subscription, WantedStream

WIRE_NAMES: Final[dict[Channel, str]] = {
    "books": "orderbooks",
    "trades": "trades",
    "ticker": "ticker",
}
CHANNELS: Final = {name: channel for channel, name in WIRE_NAMES.items()}
"""Our channel by the venue's name of it."""

BOTH_SIDES: Final = "BOTH_SIDES"
"""`precision` of a trades stream without TAKER_ONLY: each match stands in it twice, once a side.
So it is a stream of its own, with its own files in the lake, and nobody takes it for the other."""


def wanted_streams(settings: GmoSettings) -> Iterable[WantedStream]:
    """All streams of the settings, books first: a command a second lets the rest wait for long."""
    for channel in ("books", "trades", "ticker"):
        if channel in settings.channels:
            both = channel == "trades" and not settings.taker_only
            parameters: dict[str, Any] = {"precision": BOTH_SIDES} if both else {}
            for symbol in settings.symbols:
                yield symbol, common_pair(symbol), channel, dict(parameters), channel == "books"


def command(name: str, subscription: Subscription) -> str:
    """A `subscribe` or `unsubscribe` command."""
    stream = subscription.stream
    what = {
        "command": name,
        "channel": WIRE_NAMES[stream.channel],
        "symbol": subscription.instrument.symbol,
    }
    if stream.channel == "trades" and stream.precision != BOTH_SIDES:
        what["option"] = "TAKER_ONLY"
    return msgspec.json.encode(what).decode()
