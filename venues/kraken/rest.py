"""Kraken over REST: public market data, typed (docs.kraken.com/api, "Market Data").

Every answer is HTTP 200 with `{"error":[...],"result":...}`; a text in `error` that begins with E
is an error, with W a warning. Prices and volumes are texts and stay exact.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar

from msgspec import Struct

from schemas.errors import (
    AnswerError,
    MaintenanceError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
    VenueError,
)
from venues.exact import (
    decode,
    each,
    each_named,
    integer,
    integer_or_none,
    iso_ms,
    number,
    number_or_none,
    part,
    show,
    table,
    text,
    text_or_empty,
)
from venues.rest import Answer, Request, RestClient, check_status

T = TypeVar("T")
NS: Final = 1_000_000_000
INTERVALS: Final = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
"""Minutes of a candle."""
OHLC_ROWS: Final = 720
"""The venue serves no more than the newest so many candles."""
LIMITED: Final = (
    "EAPI:Rate limit",
    "EOrder:Rate limit",
    "EGeneral:Temporary lockout",
    "EGeneral:Too many requests",
)
BUSY: Final = (
    "EService:Unavailable",
    "EService:Busy",
    "EService:Timeout",
    "EGeneral:Internal error",
    "EAPI:Invalid nonce",
)
"""A nonce that came too late says nothing against the key: the next one is higher."""


class Pair(Struct, frozen=True, kw_only=True):
    """A pair as REST lists it. `wsname` is the v1 name (`XBT/USD`)."""

    name: str
    altname: str
    wsname: str
    base: str
    quote: str
    price_decimals: int
    lot_decimals: int
    cost_decimals: int | None
    lot_multiplier: int
    leverage_buy: tuple[int, ...]
    leverage_sell: tuple[int, ...]
    fees: tuple[tuple[Decimal, Decimal], ...]
    """(volume in 30 days, percent of a taker)."""
    fees_maker: tuple[tuple[Decimal, Decimal], ...]
    fee_volume_currency: str
    margin_call: Decimal | None
    margin_stop: Decimal | None
    min_size: Decimal | None
    min_cost: Decimal | None
    tick_size: Decimal | None
    status: str
    """`online`, `cancel_only`, ...; empty in answers of before 2022."""
    long_position_limit: Decimal | None
    short_position_limit: Decimal | None


class SystemStatus(Struct, frozen=True, kw_only=True):
    """`online`, `maintenance`, `cancel_only` or `post_only`."""

    status: str
    time_ms: int


class Candle(Struct, frozen=True, kw_only=True):
    """A candle; `mts` is its beginning. The last row is the running one."""

    mts: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal
    trades: int


class Candles(Struct, frozen=True, kw_only=True):
    """Rows oldest first, and what to give as `since` to go on."""

    rows: list[Candle]
    last_s: int


class Trade(Struct, frozen=True, kw_only=True):
    """A trade; `time_ns` has the venue's own resolution."""

    id: int
    time_ns: int
    price: Decimal
    volume: Decimal
    side: Literal["buy", "sell"]
    kind: Literal["market", "limit"]
    miscellaneous: str


class Trades(Struct, frozen=True, kw_only=True):
    """Rows oldest first, and what to give as `since` to go on."""

    rows: list[Trade]
    last_ns: int


class Level(Struct, frozen=True, kw_only=True):
    """A level of a book."""

    price: Decimal
    volume: Decimal
    time_s: int


class Depth(Struct, frozen=True, kw_only=True):
    """A book, both sides from the best."""

    bids: list[Level]
    asks: list[Level]


class Asset(Struct, frozen=True, kw_only=True):
    """An asset; `altname` is the name people use."""

    name: str
    altname: str
    decimals: int
    display_decimals: int
    status: str


class Ticker(Struct, frozen=True, kw_only=True):
    """A pair now; volume, prices and counts of the last 24 hours."""

    name: str
    bid: Decimal
    bid_lot: Decimal
    ask: Decimal
    ask_lot: Decimal
    last: Decimal
    volume: Decimal
    vwap: Decimal
    trades: int
    low: Decimal
    high: Decimal
    open: Decimal


def read(answer: Answer) -> Any:
    """The answer's `result`, or the error that it is.

    Raises:
        VenueError: what the venue said instead.
    """
    try:
        value = decode(answer.body)
    except AnswerError as error:
        check_status(answer)
        raise AnswerError(f"{answer.what}: {error}") from None
    errors = part(value, "error")
    for said in errors if isinstance(errors, list) else []:
        if isinstance(said, str) and not said.startswith("W"):
            raise error_of(answer.what, said)
    check_status(answer)
    if not isinstance(value, dict) or "result" not in value:
        raise AnswerError(f"{answer.what}: no result in {show(value)}")
    return value["result"]


def error_of(what: str, said: str) -> VenueError:
    """The venue's word for what is wrong as one of our errors."""
    text = f"{what}: {said}"
    if said.startswith(LIMITED):
        return RateLimitedError(text, code=said)
    if "maintenance" in said.lower():
        return MaintenanceError(text, code=said)
    if said.startswith(BUSY):
        return UnavailableError(text, code=said)
    return RefusedError(text, code=said)


class KrakenRest:
    """The venue's public calls over one client. A pair may be named in any of REST's ways."""

    def __init__(self, client: RestClient) -> None:
        self.client = client

    async def _get(
        self, call: str, make: Callable[[Any], T], params: Sequence[tuple[str, str]] = ()
    ) -> T:
        request = Request(endpoint="public", path=f"/0/public/{call}", params=params)
        return await self.client.call(request, lambda answer: make(read(answer)))

    async def system_status(self) -> SystemStatus:
        """Whether the venue trades."""

        def make(value: Any) -> SystemStatus:
            return SystemStatus(status=text(value, "status"), time_ms=iso_ms(value, "timestamp"))

        return await self._get("SystemStatus", make)

    async def asset_pairs(self, pairs: Sequence[str] = ()) -> list[Pair]:
        """What can be traded; all of it if none is named."""
        return await self._get("AssetPairs", each_named(_pair), _naming(pairs))

    async def assets(self, assets: Sequence[str] = ()) -> list[Asset]:
        """What can be held; all of it if none is named."""
        params = [("asset", ",".join(assets))] if assets else []
        return await self._get("Assets", each_named(_asset), params)

    async def tickers(self, pairs: Sequence[str] = ()) -> list[Ticker]:
        """Pairs now; all of them if none is named."""
        return await self._get("Ticker", each_named(_ticker), _naming(pairs))

    async def ohlc(self, pair: str, minutes: int = 1, *, since_s: int | None = None) -> Candles:
        """Candles; never more than the newest 720, whatever `since_s` says."""
        params = [("pair", pair), ("interval", str(minutes))]
        params += [] if since_s is None else [("since", str(since_s))]

        def make(value: Any) -> Candles:
            return Candles(
                rows=[_candle(row) for row in _only(value)], last_s=integer(value, "last")
            )

        return await self._get("OHLC", make, params)

    async def trades(
        self, pair: str, *, since_ns: int | None = None, count: int | None = None
    ) -> Trades:
        """Trades from a time on, oldest first; at most 1,000."""
        named = (("since", since_ns), ("count", count))
        params = [("pair", pair), *((name, str(v)) for name, v in named if v is not None)]

        def make(value: Any) -> Trades:
            return Trades(
                rows=[_trade(row) for row in _only(value)], last_ns=integer(value, "last")
            )

        return await self._get("Trades", make, params)

    async def depth(self, pair: str, count: int = 100) -> Depth:
        """A book of up to 500 levels a side."""

        def make(value: Any) -> Depth:
            book = _only(value)
            return Depth(
                bids=each(_level)(part(book, "bids")),
                asks=each(_level)(part(book, "asks")),
            )

        return await self._get("Depth", make, [("pair", pair), ("count", str(count))])


def _naming(pairs: Sequence[str]) -> list[tuple[str, str]]:
    return [("pair", ",".join(pairs))] if pairs else []


def _only(value: Any) -> Any:
    """What stands under the pair's own name, whichever of its names that is."""
    found = [inner for name, inner in table(value).items() if name != "last"]
    if len(found) != 1:
        raise AnswerError(f"not one pair: {show(value)}")
    return found[0]


def _fees(value: Any) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((number(row, 0), number(row, 1)) for row in value or [])


def _pair(name: str, row: Mapping[str, Any]) -> Pair:
    return Pair(
        name=name,
        altname=text(row, "altname"),
        wsname=text_or_empty(row, "wsname"),
        base=text(row, "base"),
        quote=text(row, "quote"),
        price_decimals=integer(row, "pair_decimals"),
        lot_decimals=integer(row, "lot_decimals"),
        cost_decimals=integer_or_none(row, "cost_decimals"),
        lot_multiplier=integer(row, "lot_multiplier"),
        leverage_buy=tuple(int(one) for one in part(row, "leverage_buy") or []),
        leverage_sell=tuple(int(one) for one in part(row, "leverage_sell") or []),
        fees=_fees(part(row, "fees")),
        fees_maker=_fees(part(row, "fees_maker")),
        fee_volume_currency=text_or_empty(row, "fee_volume_currency"),
        margin_call=number_or_none(row, "margin_call"),
        margin_stop=number_or_none(row, "margin_stop"),
        min_size=number_or_none(row, "ordermin"),
        min_cost=number_or_none(row, "costmin"),
        tick_size=number_or_none(row, "tick_size"),
        status=text_or_empty(row, "status"),
        long_position_limit=number_or_none(row, "long_position_limit"),
        short_position_limit=number_or_none(row, "short_position_limit"),
    )


def _asset(name: str, row: Any) -> Asset:
    return Asset(
        name=name,
        altname=text(row, "altname"),
        decimals=integer(row, "decimals"),
        display_decimals=integer(row, "display_decimals"),
        status=text_or_empty(row, "status"),
    )


def _ticker(name: str, row: Any) -> Ticker:
    return Ticker(
        name=name,
        bid=number(part(row, "b"), 0),
        bid_lot=number(part(row, "b"), 2),
        ask=number(part(row, "a"), 0),
        ask_lot=number(part(row, "a"), 2),
        last=number(part(row, "c"), 0),
        volume=number(part(row, "v"), 1),
        vwap=number(part(row, "p"), 1),
        trades=integer(part(row, "t"), 1),
        low=number(part(row, "l"), 1),
        high=number(part(row, "h"), 1),
        open=number(row, "o"),
    )


def _candle(row: Any) -> Candle:
    return Candle(
        mts=integer(row, 0) * 1000,
        open=number(row, 1),
        high=number(row, 2),
        low=number(row, 3),
        close=number(row, 4),
        vwap=number(row, 5),
        volume=number(row, 6),
        trades=integer(row, 7),
    )


def _trade(row: Any) -> Trade:
    return Trade(
        price=number(row, 0),
        volume=number(row, 1),
        time_ns=int(number(row, 2) * NS),
        side="buy" if text(row, 3) == "b" else "sell",
        kind="market" if text(row, 4) == "m" else "limit",
        miscellaneous=text_or_empty(row, 5),
        id=integer(row, 6),
    )


def _level(row: Any) -> Level:
    return Level(price=number(row, 0), volume=number(row, 1), time_s=integer(row, 2))
