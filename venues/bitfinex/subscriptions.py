"""What the configuration wants of Bitfinex, the requests for it, and how answers find them.

Rules (docs.bitfinex.com/docs/ws-general): `subId` is echoed in acks and errors; a book's `len`
comes back as a string; candles answer with their key alone; a connection takes a limited number of
channels and refuses more with code 10305.
"""

from collections.abc import Iterable
from typing import Any

from schemas.feeds import BitfinexSettings
from schemas.instruments import LIQUIDATIONS, Channel
from venues.bitfinex.symbols import LIQUIDATIONS_PAIR, common_pair
from venues.wire import Subscription, WantedStream

LIQUIDATIONS_KEY = "liq:global"
"""Key of the one liquidation stream, which stands for its instrument as well."""
FLAG_TIMESTAMP = 32768
FLAG_SEQUENCE = 65536
FLAG_CHECKSUM = 131072
FLAG_BULK = 536870912


def flags_of(settings: BitfinexSettings) -> int:
    """The `conf` flags that the settings ask for."""
    wanted = settings.flags
    return (
        FLAG_TIMESTAMP * wanted.timestamp
        + FLAG_SEQUENCE * wanted.sequence
        + FLAG_CHECKSUM * wanted.checksum
        + FLAG_BULK * wanted.bulk_updates
    )


def wanted_streams(settings: BitfinexSettings) -> Iterable[WantedStream]:
    """All streams of the settings."""
    for symbol in settings.symbols:
        pair = common_pair(symbol)
        funding = pair.endswith(":FUNDING")
        if "books" in settings.channels:
            for index, book in enumerate(settings.books):
                channel: Channel = "raw_books" if book.precision == "R0" else "books"
                parameters = {
                    "precision": book.precision,
                    "frequency": book.frequency,
                    "length": book.length,
                }
                yield symbol, pair, channel, parameters, index == 0
        if "trades" in settings.channels:
            yield symbol, pair, "trades", {}, False
        if "ticker" in settings.channels:
            yield symbol, pair, "ticker", {}, False
        if "candles" in settings.channels:
            for timeframe in settings.candles:
                for variant in settings.funding_candles if funding else ("",):
                    candle = {"timeframe": timeframe, "variant": variant}
                    yield symbol, pair, "candles", candle, False
        if "status" in settings.channels and pair.endswith(":PERP"):
            yield symbol, pair, "status", {"variant": ""}, False
    if "liquidations" in settings.channels:
        yield LIQUIDATIONS_KEY, LIQUIDATIONS_PAIR, "status", {"variant": LIQUIDATIONS}, False


def sub_id(subscription: Subscription) -> str:
    """The name under which a request is answered."""
    return f"{subscription.instrument.index}.{subscription.stream.index}"


def subscribe_request(subscription: Subscription) -> dict[str, Any]:
    """The `subscribe` event of one stream."""
    symbol, stream = subscription.instrument.symbol, subscription.stream
    request: dict[str, Any] = {"event": "subscribe", "subId": sub_id(subscription)}
    if stream.channel in {"books", "raw_books"}:
        request |= {
            "channel": "book",
            "symbol": symbol,
            "prec": stream.precision,
            "freq": stream.frequency,
            "len": str(stream.length),
        }
    elif stream.channel == "candles":
        key = f"trade:{stream.timeframe}:{symbol}"
        key += f":{stream.variant}" if stream.variant else ""
        request |= {"channel": "candles", "key": key}
    elif stream.channel == "status":
        whole_venue = stream.variant == LIQUIDATIONS
        request |= {"channel": "status", "key": symbol if whole_venue else f"deriv:{symbol}"}
    else:
        request |= {"channel": stream.channel, "symbol": symbol}
    return request


def describe(event: dict[str, Any]) -> tuple[str, Channel, dict[str, Any]] | None:
    """Symbol, channel and stream parameters that an ack or error speaks of; None if it does not."""
    name, symbol, key = event.get("channel"), event.get("symbol"), str(event.get("key", ""))
    if name in {"book", "ticker", "trades"} and not (symbol and isinstance(symbol, str)):
        return None
    if name == "book":
        precision = str(event.get("prec", "P0"))
        channel: Channel = "raw_books" if precision == "R0" else "books"
        return (
            str(symbol),
            channel,
            {
                "precision": precision,
                "frequency": str(event.get("freq", "F0")),
                "length": int(event.get("len", 25)),
            },
        )
    if name in {"ticker", "trades"}:
        return str(symbol), name, {}
    if name == "candles" and key.count(":") >= 2:
        _, timeframe, symbol = key.split(":", 2)
        variant = ""
        if symbol.startswith("f"):  # a trading symbol may hold a colon of its own
            symbol, _, variant = symbol.partition(":")
        return symbol, "candles", {"timeframe": timeframe, "variant": variant}
    if name == "status" and key == LIQUIDATIONS_KEY:
        return key, "status", {"variant": LIQUIDATIONS}
    if name == "status" and key.startswith("deriv:"):
        return key.partition(":")[2], "status", {"variant": ""}
    return None
