"""GMO Coin over REST: public market data, typed (api.coin.z.com/docs, "Public API").

An answer is `{"status":0,"data":...}`; any other status is an error whose `messages` carry codes.
A candle's day begins at 06:00 in Japan, its year at the new year there. Prices and sizes are texts
and stay exact.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
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
    integer,
    iso_ms,
    number,
    number_or_none,
    part,
    show,
    text,
)
from venues.rest import Answer, Request, RestClient, check_status

T = TypeVar("T")
BY_DAY: Final = ("1min", "5min", "10min", "15min", "30min", "1hour")
BY_YEAR: Final = ("4hour", "8hour", "12hour", "1day", "1week", "1month")
DAY_OFFSET: Final = timedelta(hours=3)
"""06:00 in Japan is 21:00 UTC of the day before."""
YEAR_OFFSET: Final = timedelta(hours=9)
FIRST_DAY: Final = "20210415"
"""There are no candles shorter than 4 hours from before this."""
FIRST_YEAR: Final = "2018"
"""The venue opened in September 2018."""
LIMITED: Final = frozenset({"ERR-5003"})
MAINTENANCE: Final = frozenset({"ERR-5201", "ERR-5202", "ERR-5203"})
BUSY: Final = frozenset({"ERR-554", "ERR-626"})
NO_SUCH: Final = "ERR-5207"
"""Symbol, interval or date."""


class Status(Struct, frozen=True, kw_only=True):
    """`OPEN`, `PREOPEN` (orders refused, cancels allowed) or `MAINTENANCE`."""

    status: str


class Ticker(Struct, frozen=True, kw_only=True):
    """A symbol now; `mts` is the time of the answer, not of a trade."""

    symbol: str
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    high: Decimal | None
    low: Decimal | None
    volume: Decimal
    mts: int


class Level(Struct, frozen=True, kw_only=True):
    """A level of a book."""

    price: Decimal
    size: Decimal


class Book(Struct, frozen=True, kw_only=True):
    """A book, both sides from the best; up to 500 levels each."""

    symbol: str
    bids: list[Level]
    asks: list[Level]


class Trade(Struct, frozen=True, kw_only=True):
    """One side of a match: the venue lists a buy and a sell for each, without ids."""

    price: Decimal
    size: Decimal
    side: Literal["BUY", "SELL"]
    mts: int


class Trades(Struct, frozen=True, kw_only=True):
    """A page of trades, newest first."""

    page: int
    count: int
    rows: list[Trade]


class Candle(Struct, frozen=True, kw_only=True):
    """A candle; `mts` is its beginning."""

    mts: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class SymbolRules(Struct, frozen=True, kw_only=True):
    """What an order of a symbol must obey; a maker's fee below 0 is paid to the maker."""

    symbol: str
    min_size: Decimal
    max_size: Decimal
    size_step: Decimal
    tick_size: Decimal
    taker_fee: Decimal
    maker_fee: Decimal
    min_close_size: Decimal | None


def read(answer: Answer) -> Any:
    """The answer's `data`, or the error that it is.

    Raises:
        VenueError: what the venue said instead.
    """
    try:
        value = decode(answer.body)
    except AnswerError as error:
        check_status(answer)
        raise AnswerError(f"{answer.what}: {error}") from None
    status = part(value, "status")
    if status is not None and status != 0:
        raise _error(answer.what, value)
    check_status(answer)
    if status is None:
        raise AnswerError(f"{answer.what}: no status in {show(value)}")
    return part(value, "data")


def _error(what: str, value: Any) -> VenueError:
    messages = part(value, "messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    code = str(part(first, "message_code") or "")
    words = str(part(first, "message_string") or "")
    said = f"{what}: status {show(part(value, 'status'))}: {code} {words}".strip()
    if code in LIMITED:
        return RateLimitedError(said, code=code)
    if code in MAINTENANCE:
        return MaintenanceError(said, code=code)
    return UnavailableError(said, code=code) if code in BUSY else RefusedError(said, code=code)


class GmoRest:
    """The venue's public calls over one client."""

    def __init__(self, client: RestClient) -> None:
        self.client = client

    async def _get(
        self, call: str, make: Callable[[Any], T], params: Sequence[tuple[str, str]] = ()
    ) -> T:
        request = Request(endpoint="public", path=f"/public/v1/{call}", params=params)
        return await self.client.call(request, lambda answer: make(read(answer)))

    async def status(self) -> Status:
        """Whether the venue trades."""
        return await self._get("status", lambda value: Status(status=text(value, "status")))

    async def tickers(self, symbol: str = "") -> list[Ticker]:
        """One symbol now, or all of them."""
        params = [("symbol", symbol)] if symbol else []
        return await self._get("ticker", each(_ticker), params)

    async def book(self, symbol: str) -> Book:
        """A symbol's book."""

        def make(value: Any) -> Book:
            return Book(
                symbol=text(value, "symbol"),
                bids=each(_level)(part(value, "bids")),
                asks=each(_level)(part(value, "asks")),
            )

        return await self._get("orderbooks", make, [("symbol", symbol)])

    async def trades(self, symbol: str, *, page: int = 1, count: int = 100) -> Trades:
        """The newest trades, 100 a page at most; pages shift as trades come."""

        def make(value: Any) -> Trades:
            pagination = part(value, "pagination")
            return Trades(
                page=integer(pagination, "currentPage"),
                count=integer(pagination, "count"),
                rows=each(_trade)(part(value, "list")),
            )

        params = [("symbol", symbol), ("page", str(page)), ("count", str(count))]
        return await self._get("trades", make, params)

    async def candles(self, symbol: str, interval: str, date: str) -> list[Candle]:
        """The candles of one of the venue's days (`YYYYMMDD`) or years (`YYYY`), oldest first."""
        params = [("symbol", symbol), ("interval", interval), ("date", date)]
        return await self._get("klines", each(_candle), params)

    async def symbols(self) -> list[SymbolRules]:
        """What can be traded."""
        return await self._get("symbols", each(_symbol))


def candle_date(interval: str, mts: int) -> str:
    """The `date` under which the venue keeps a candle that begins at `mts` (ms UTC)."""
    moment = datetime.fromtimestamp(mts // 1000, UTC)
    if interval in BY_DAY:
        return f"{moment + DAY_OFFSET:%Y%m%d}"
    return f"{moment + YEAR_OFFSET:%Y}"


def date_beside(date: str, step: int) -> str:
    """The day or year that is `step` of them later."""
    if len(date) == 4:
        return f"{int(date) + step:04d}"
    moment = datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC)
    return f"{moment + timedelta(days=step):%Y%m%d}"


def _ticker(row: Any) -> Ticker:
    return Ticker(
        symbol=text(row, "symbol"),
        bid=number_or_none(row, "bid"),
        ask=number_or_none(row, "ask"),
        last=number_or_none(row, "last"),
        high=number_or_none(row, "high"),
        low=number_or_none(row, "low"),
        volume=number(row, "volume"),
        mts=iso_ms(row, "timestamp"),
    )


def _level(row: Any) -> Level:
    return Level(price=number(row, "price"), size=number(row, "size"))


def _trade(row: Any) -> Trade:
    side = text(row, "side")
    if side not in {"BUY", "SELL"}:
        raise AnswerError(f"no side: {show(row)}")
    return Trade(
        price=number(row, "price"),
        size=number(row, "size"),
        side="BUY" if side == "BUY" else "SELL",
        mts=iso_ms(row, "timestamp"),
    )


def _candle(row: Any) -> Candle:
    return Candle(
        mts=integer(row, "openTime"),
        open=number(row, "open"),
        high=number(row, "high"),
        low=number(row, "low"),
        close=number(row, "close"),
        volume=number(row, "volume"),
    )


def _symbol(row: Any) -> SymbolRules:
    return SymbolRules(
        symbol=text(row, "symbol"),
        min_size=number(row, "minOrderSize"),
        max_size=number(row, "maxOrderSize"),
        size_step=number(row, "sizeStep"),
        tick_size=number(row, "tickSize"),
        taker_fee=number(row, "takerFee"),
        maker_fee=number(row, "makerFee"),
        min_close_size=number_or_none(row, "minCloseOrderSize"),
    )
