"""What the configuration wants of Kraken, the requests for it, and how answers find them.

Rules (docs.kraken.com/api/docs/websocket-v2): a request may name many symbols of one channel, and
is answered symbol by symbol; a refusal may name no symbol, so each request carries a number that
says what it was for; one depth a symbol and connection; level3 has an address of its own, needs a
token, and takes 200 units of requests a second.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from schemas.errors import DecodeError
from schemas.feeds import KrakenSettings
from schemas.instruments import Channel, Stream
from venues.wire import Request, Subscription, WantedStream

WIRE_NAMES: Final[dict[Channel, str]] = {
    "ticker": "ticker",
    "trades": "trade",
    "books": "book",
    "raw_books": "level3",
    "candles": "ohlc",
}
CHANNELS: Final[dict[str, Channel]] = {wire: name for name, wire in WIRE_NAMES.items()}
MINUTES: Final = {
    "1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1D": 1440, "1W": 10080,
    "15D": 21600,
}  # fmt: skip
"""The venue's intervals by timeframe."""
TIMEFRAMES: Final = {minutes: name for name, minutes in MINUTES.items()}
BOOK_DEPTHS: Final = (10, 25, 100, 500, 1000)
LEVEL3_DEPTHS: Final = (10, 100, 1000)

LEVEL3_UNITS: Final = {10: 5, 100: 25, 1000: 100}
"""What a level3 symbol costs by depth."""
LEVEL3_UNITS_PER_S: Final = 200
LEVEL3_SYMBOLS: Final = 200
"""Symbols that a level3 connection takes."""
SYMBOLS_PER_REQUEST: Final = 100
STREAMS_PER_CONNECTION: Final = 500
"""Ours: what the table of channels holds."""

_SUBSCRIBE, _UNSUBSCRIBE, PING_ID = 1, 2, 3
INSTRUMENTS_ID: Final = 7
"""Of no stream, as a ping's."""


def wanted_streams(settings: KrakenSettings) -> Iterable[WantedStream]:
    """All streams of the settings; a symbol is its own common form."""
    for symbol in settings.symbols:
        if "books" in settings.channels:
            yield symbol, symbol, "books", {"length": settings.book_depth}, True
        if "raw_books" in settings.channels:
            yield symbol, symbol, "raw_books", {"length": settings.level3_depth}, False
        if "trades" in settings.channels:
            yield symbol, symbol, "trades", {}, False
        if "ticker" in settings.channels:
            yield symbol, symbol, "ticker", {}, False
        if "candles" in settings.channels:
            for timeframe in settings.candles:
                yield symbol, symbol, "candles", {"timeframe": timeframe}, False


def plan(wanted: list[Subscription], symbols: int) -> list[list[Subscription]]:
    """Spread subscriptions over connections, level3 on its own; a symbol's streams stay together.

    Args:
        symbols: how many a connection may have.
    """
    level3 = [each for each in wanted if each.stream.channel == "raw_books"]
    public = [each for each in wanted if each.stream.channel != "raw_books"]
    return [*_fill(public, symbols), *_fill(level3, min(symbols, LEVEL3_SYMBOLS))]


def _fill(wanted: list[Subscription], symbols: int) -> list[list[Subscription]]:
    by_instrument: dict[int, list[Subscription]] = {}
    for subscription in wanted:
        by_instrument.setdefault(subscription.instrument.index, []).append(subscription)
    connections: list[list[Subscription]] = []
    held = symbols
    for group in by_instrument.values():
        if held == symbols or len(connections[-1]) + len(group) > STREAMS_PER_CONNECTION:
            connections.append([])
            held = 0
        connections[-1] += group
        held += 1
    return connections


def is_level3(wanted: list[Subscription]) -> bool:
    """Whether these are a level3 connection's."""
    return any(each.stream.channel == "raw_books" for each in wanted)


def name_of(subscription: Subscription) -> tuple[str, str, int]:
    """(wire channel, symbol, interval in minutes): what tells a connection's channels apart."""
    stream = subscription.stream
    minutes = MINUTES[stream.timeframe] if stream.timeframe else 0
    return WIRE_NAMES[stream.channel], subscription.instrument.symbol, minutes


def subscribe_requests(
    wanted: list[Subscription], settings: KrakenSettings, token: str = ""
) -> list[Request]:
    """The requests for these streams: one for all symbols of a stream, within the venue's limits.

    Args:
        token: for level3.
    """
    by_stream: dict[int, list[Subscription]] = {}
    for subscription in wanted:
        by_stream.setdefault(subscription.stream.index, []).append(subscription)
    requests = []
    for group in by_stream.values():
        stream = group[0].stream
        limit = SYMBOLS_PER_REQUEST
        if stream.channel == "raw_books":
            limit = LEVEL3_UNITS_PER_S // LEVEL3_UNITS[stream.length]
        for start in range(0, len(group), limit):
            part = group[start : start + limit]
            symbols = [each.instrument.symbol for each in part]
            params = _params(stream, symbols, settings, token) | {"snapshot": True}
            text = _request("subscribe", params, request_id(_SUBSCRIBE, stream.index))
            requests.append(Request(text=text, subscriptions=part))
    return requests


def unsubscribe_request(
    subscription: Subscription, settings: KrakenSettings, token: str = ""
) -> str:
    """The request to end one stream, with the parameters that it was asked for with."""
    stream, instrument = subscription.stream, subscription.instrument
    params = _params(stream, [instrument.symbol], settings, token)
    number = request_id(_UNSUBSCRIBE, stream.index, instrument.index)
    return _request("unsubscribe", params, number)


def ping_request() -> str:
    """What keeps a connection open that has nothing to say."""
    return json.dumps({"method": "ping", "req_id": PING_ID})


def instruments_request() -> str:
    """The channel of all pairs and assets: a snapshot, then what changes. It names no symbol."""
    return _request("subscribe", {"channel": "instrument", "snapshot": True}, INSTRUMENTS_ID)


def _params(
    stream: Stream, symbols: list[str], settings: KrakenSettings, token: str
) -> dict[str, Any]:
    params: dict[str, Any] = {"channel": WIRE_NAMES[stream.channel], "symbol": symbols}
    if stream.length:
        params["depth"] = stream.length
    if stream.timeframe:
        params["interval"] = MINUTES[stream.timeframe]
    if stream.channel == "ticker":
        params["event_trigger"] = settings.ticker_trigger
    if stream.channel == "raw_books":
        params["token"] = token
    return params


def _request(method: str, params: dict[str, Any], number: int) -> str:
    return json.dumps({"method": method, "params": params, "req_id": number})


def request_id(what: int, stream: int, instrument: int = 0) -> int:
    """A request's number: what it was, of which stream, and for an end of which instrument."""
    return what | stream << 2 | instrument << 18


def asked_for(number: int) -> tuple[str, int, int]:
    """What a request of this number was: (method or nothing, stream, instrument)."""
    method = {_SUBSCRIBE: "subscribe", _UNSUBSCRIBE: "unsubscribe"}.get(number & 3, "")
    return method, number >> 2 & 0xFFFF, number >> 18 & 0xFFFF


def describe(result: dict[str, Any]) -> tuple[str, Channel, dict[str, Any]] | None:
    """Symbol, channel and stream parameters that an ack speaks of; None if of no market channel.

    Raises:
        DecodeError, KeyError, TypeError, ValueError: the ack lacks what its channel needs.
    """
    name = result.get("channel")
    if not isinstance(name, str):
        raise DecodeError("an ack without a channel")
    channel = CHANNELS.get(name)
    if channel is None:
        return None
    symbol = str(result["symbol"])
    if channel in {"books", "raw_books"}:
        return symbol, channel, {"length": int(result.get("depth", 10))}
    if channel == "candles":
        return symbol, channel, {"timeframe": TIMEFRAMES[int(result["interval"])]}
    return symbol, channel, {}


def smallest_depth(levels: int, depths: tuple[int, ...]) -> int:
    """The smallest allowed depth that holds so many levels; 0 if none does."""
    return next((depth for depth in depths if depth >= levels), 0)
