"""Where past rows come from: each venue's way of paging, behind one form.

A page is rows in the job's order and where to go on. Pages may overlap: the downloader drops what
it holds by time and id. A source never keeps anything between two pages, so a resumed download asks
exactly what an uninterrupted one would have asked.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Struct

from processes.history.timeframes import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.errors import OperatorError, RefusedError
from schemas.history import Job
from venues.bitfinex.rest import BitfinexRest, Sort
from venues.gmo import rest as gmo
from venues.kraken import rest as kraken
from venues.rest import RestClient

MS_NS: Final = 1_000_000


class Record(NamedTuple):
    """One row, and what it is ordered and known by."""

    key: int
    """Its time in the source's own unit."""
    id: int
    """What tells it from others of the same time."""
    mts: int
    values: tuple[Any, ...]


class Page(Struct, frozen=True, kw_only=True):
    """Rows in the job's order."""

    records: list[Record]
    cursor: int
    """Where the next page begins."""
    ended: bool = False
    """There is nothing behind it."""
    empty_ends: bool = True
    """A page without a new row is the last one; not so for windows of fixed length."""
    full: bool = False
    """As many rows as were asked for."""
    beyond: int | None = None
    """Where a page begins that has nothing of the last time; None = where `cursor` is."""


class Source(Protocol):
    """One channel of one venue."""

    def first(self, job: Job) -> int:
        """Where a job begins."""

    async def page(self, job: Job, cursor: int, *, wide: bool) -> Page:
        """The page there; `wide`: as many rows as the venue ever gives."""

    async def note(self, job: Job, now_ms: int) -> str:
        """What the venue cannot give of a job, as a sentence.

        Raises:
            OperatorError: it cannot be done at all.
        """


def _candle(mts: int, row: Any) -> Record:
    values = (mts, row.open, row.close, row.high, row.low, row.volume)
    return Record(mts, 0, mts, values)


class BitfinexPages:
    """What Bitfinex's candles and trades have in common: ends inclusive, either order."""

    ROWS_MAX = 10_000

    def __init__(self, client: RestClient, page_rows: int) -> None:
        self._rest = BitfinexRest(client)
        self._page_rows = page_rows

    def first(self, job: Job) -> int:
        """The range's beginning or its last millisecond."""
        return job.start_ms if job.sort == "asc" else job.end_ms - 1

    async def note(self, _job: Job, _now_ms: int) -> str:
        """Nothing is missing."""
        return ""

    def _range(self, job: Job, cursor: int, *, wide: bool) -> tuple[int, int, int, Sort]:
        rows = self.ROWS_MAX if wide else self._page_rows
        if job.sort == "asc":
            return cursor, job.end_ms - 1, rows, 1
        return job.start_ms, cursor, rows, -1


class BitfinexCandles(BitfinexPages):
    """Candles of a pair or of funding."""

    async def page(self, job: Job, cursor: int, *, wide: bool) -> Page:
        """The next candles; each time has one, so the next page begins behind the last."""
        start, end, rows, sort = self._range(job, cursor, wide=wide)
        if start > end:
            return Page(records=[], cursor=cursor, ended=True)
        found = await self._rest.candles(
            job.timeframe, job.rest_symbol, start_ms=start, end_ms=end, limit=rows, sort=sort
        )
        records = [_candle(row.mts, row) for row in found]
        following = records[-1].key + sort if records else cursor
        return Page(records=records, cursor=following)


class BitfinexTrades(BitfinexPages):
    """Trades of a pair; many may have one time, so the next page begins **at** the last."""

    async def page(self, job: Job, cursor: int, *, wide: bool) -> Page:
        """The next trades."""
        start, end, rows, sort = self._range(job, cursor, wide=wide)
        found = await self._rest.trades(
            job.rest_symbol, start_ms=start, end_ms=end, limit=rows, sort=sort
        )
        records = [
            Record(row.mts, row.id, row.mts, (row.id, row.mts, row.amount, row.price))
            for row in found
        ]
        following = records[-1].key if records else cursor
        return Page(
            records=records, cursor=following, full=len(found) >= rows, beyond=following + sort
        )


class BitfinexTickers:
    """Hourly best prices. The call knows no order, so it is asked for windows that it can fill."""

    WINDOW_MS = 200 * HOUR_MS
    ROWS_MAX = 250
    KEPT_MS = 366 * DAY_MS

    def __init__(self, client: RestClient) -> None:
        self._rest = BitfinexRest(client)

    def first(self, job: Job) -> int:
        """The beginning of the first window, or the end of the last."""
        return job.start_ms if job.sort == "asc" else job.end_ms

    async def note(self, job: Job, now_ms: int) -> str:
        """About a year is kept."""
        if job.start_ms >= now_ms - self.KEPT_MS:
            return ""
        return "Bitfinex keeps about a year of tickers; what is older is not in the file"

    async def page(self, job: Job, cursor: int, *, wide: bool) -> Page:
        """All rows of one window."""
        del wide
        kept = self._kept_from(job)
        if job.sort == "asc":
            begin = max(cursor, kept)
            end = min(begin + self.WINDOW_MS, job.end_ms)
        else:
            end = cursor
            begin = max(end - self.WINDOW_MS, kept, job.start_ms)
        if begin >= end:
            return Page(records=[], cursor=cursor, ended=True)
        records = await self._window(job.rest_symbol, begin, end)
        if job.sort == "asc":
            records.reverse()
        following, last = (end, job.end_ms) if job.sort == "asc" else (begin, job.start_ms)
        return Page(records=records, cursor=following, ended=following == last, empty_ends=False)

    def _kept_from(self, job: Job) -> int:
        """Earlier windows are empty for certain: as of the day that the job was asked for."""
        return max(job.start_ms, job.created_ns // MS_NS - 2 * self.KEPT_MS)

    async def _window(self, symbol: str, begin: int, end: int) -> list[Record]:
        """Newest first. Asked again for what lies before the oldest row until that is nothing."""
        records: list[Record] = []
        until = end - 1
        while until >= begin:
            found = await self._rest.tickers_history(
                [symbol], start_ms=begin, end_ms=until, limit=self.ROWS_MAX
            )
            records += [Record(r.mts, 0, r.mts, (r.symbol, r.bid, r.ask, r.mts)) for r in found]
            oldest = min((row.mts for row in found), default=begin)
            # A row an hour: within two of the window's beginning nothing can be hidden, unless
            # the answer was full.
            if not found or (oldest - begin < 2 * HOUR_MS and len(found) < self.ROWS_MAX):
                break
            until = oldest - 1
        return sorted(records, reverse=True)


class KrakenCandles:
    """The newest 720 candles, in one answer."""

    MINUTES: Final = {
        "1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1D": 1440, "1W": 10080,
        "15D": 21600,
    }  # fmt: skip

    def __init__(self, client: RestClient) -> None:
        self._rest = kraken.KrakenRest(client)

    def first(self, job: Job) -> int:
        """All of it at once."""
        return job.start_ms

    async def note(self, job: Job, now_ms: int) -> str:
        """What lies before the newest 720 is gone."""
        kept = now_ms - kraken.OHLC_ROWS * self.MINUTES[job.timeframe] * MINUTE_MS
        if job.end_ms <= kept:
            raise OperatorError(
                f"Kraken serves only the newest {kraken.OHLC_ROWS} candles of {job.timeframe}; all "
                "of this range is older: take a longer --timeframe, or trades"
            )
        if job.start_ms >= kept:
            return ""
        return (
            f"Kraken serves only the newest {kraken.OHLC_ROWS} candles of {job.timeframe}; what is "
            "older is not in the file: take a longer --timeframe, or trades"
        )

    async def page(self, job: Job, cursor: int, *, wide: bool) -> Page:
        """The whole."""
        del wide
        minutes = self.MINUTES[job.timeframe]
        # `since` is exclusive on some days of the venue's history: one second earlier is asked.
        found = await self._rest.ohlc(job.rest_symbol, minutes, since_s=cursor // 1000 - 1)
        records = [_candle(row.mts, row) for row in found.rows]
        if job.sort == "desc":
            records.reverse()
        return Page(records=records, cursor=job.end_ms, ended=True)


class KrakenTrades:
    """Trades from a time on. The time of one trade is asked again: others may share it."""

    ROWS_MAX = 1000

    def __init__(self, client: RestClient, page_rows: int) -> None:
        self._rest = kraken.KrakenRest(client)
        self._page_rows = page_rows

    def first(self, job: Job) -> int:
        """`since`, in nanoseconds; whether it is inclusive does not matter."""
        return max(job.start_ms * MS_NS - 1, 0)

    async def note(self, job: Job, _now_ms: int) -> str:
        """The venue knows one order only."""
        if job.sort == "desc":
            raise OperatorError("Kraken serves trades oldest first only: type --sort asc")
        return ""

    async def page(self, job: Job, cursor: int, *, wide: bool) -> Page:
        """The next trades; amounts below 0 are taker's sales."""
        rows = self.ROWS_MAX if wide else self._page_rows
        found = await self._rest.trades(job.rest_symbol, since_ns=cursor, count=rows)
        records = [
            Record(row.time_ns, row.id, row.time_ns // MS_NS, self._values(row))
            for row in found.rows
        ]
        last = records[-1].key if records else cursor + 1
        over = bool(records) and records[-1].mts >= job.end_ms
        return Page(
            records=records, cursor=last - 1, ended=over, full=len(records) >= rows, beyond=last
        )

    @staticmethod
    def _values(row: kraken.Trade) -> tuple[int, int, Decimal, Decimal]:
        amount = row.volume if row.side == "buy" else -row.volume
        return row.id, row.time_ns // MS_NS, amount, row.price


class GmoCandles:
    """Candles, a file a day (from 06:00 in Japan) or a year."""

    INTERVALS: Final = {
        "1m": "1min", "5m": "5min", "10m": "10min", "15m": "15min", "30m": "30min", "1h": "1hour",
        "4h": "4hour", "8h": "8hour", "12h": "12hour", "1D": "1day", "1W": "1week", "1M": "1month",
    }  # fmt: skip
    STEP_MS = DAY_MS

    def __init__(self, client: RestClient) -> None:
        self._rest = gmo.GmoRest(client)

    def first(self, job: Job) -> int:
        """The date of the range's beginning or end, as a number."""
        dates = self._dates(job)
        return int(dates[0] if job.sort == "asc" else dates[1])

    def _dates(self, job: Job) -> tuple[str, str]:
        """First and last `date`.

        Years are taken a day early and late: where exactly the venue cuts them is not written
        anywhere, and rows are known by their time.
        """
        interval = self.INTERVALS[job.timeframe]
        if interval in gmo.BY_DAY:
            first = gmo.candle_date(interval, job.start_ms)
            return max(first, gmo.FIRST_DAY), gmo.candle_date(interval, job.end_ms - 1)
        first = gmo.candle_date(interval, job.start_ms - self.STEP_MS)
        return max(first, gmo.FIRST_YEAR), gmo.candle_date(interval, job.end_ms + self.STEP_MS)

    async def note(self, job: Job, now_ms: int) -> str:
        """Whether the symbol is there at all, since a date without candles looks the same."""
        del now_ms
        known = [rules.symbol for rules in await self._rest.symbols()]
        if job.rest_symbol not in known:
            raise OperatorError(f"GMO Coin has no {job.rest_symbol}; it has {', '.join(known)}")
        first, last = self._dates(job)
        if first > last:
            raise OperatorError("GMO Coin has no candles of that time; they begin on 2021-04-15")
        interval = self.INTERVALS[job.timeframe]
        if interval in gmo.BY_DAY and gmo.candle_date(interval, job.start_ms) < gmo.FIRST_DAY:
            return "GMO Coin has no candles below 4h from before 2021-04-15"
        return ""

    async def page(self, job: Job, cursor: int, *, wide: bool) -> Page:
        """One date's candles."""
        del wide
        interval = self.INTERVALS[job.timeframe]
        first, last = self._dates(job)
        date = str(cursor)
        try:
            found = await self._rest.candles(job.rest_symbol, interval, date)
        except RefusedError as error:
            if error.code != gmo.NO_SUCH:
                raise
            found = []  # the symbol is known: a date of before it was listed
        records = [_candle(row.mts, row) for row in found]
        step = 1 if job.sort == "asc" else -1
        if step < 0:
            records.reverse()
        ended = date == (last if step > 0 else first)
        return Page(
            records=records,
            cursor=int(gmo.date_beside(date, step)),
            ended=ended,
            empty_ends=False,
        )


CANDLE_TIMEFRAMES: Final[dict[str, tuple[str, ...]]] = {
    "bitfinex": ("1m", "5m", "15m", "30m", "1h", "3h", "6h", "12h", "1D", "1W", "14D", "1M"),
    "kraken": tuple(KrakenCandles.MINUTES),
    "gmo": tuple(GmoCandles.INTERVALS),
}
CHANNELS: Final[dict[str, dict[str, str]]] = {
    "bitfinex": {"candles": "", "trades": "", "tickers": ""},
    "kraken": {"candles": "", "trades": "", "tickers": "Kraken keeps no past tickers"},
    "gmo": {
        "candles": "",
        "trades": "GMO Coin gives only its newest trades, without ids and in pages that shift, so "
        "a past range of them cannot be had whole",
        "tickers": "GMO Coin keeps no past tickers",
    },
}
"""Per venue and channel why it cannot be had; nothing if it can."""


def check_channel(venue: str, channel: str, timeframe: str) -> None:
    """Whether a venue has such rows.

    Raises:
        OperatorError: it has not, or not of that timeframe; the text says what it has.
    """
    table = CHANNELS[venue]
    if channel not in table:
        raise OperatorError(f"no channel {channel}; there are {', '.join(table)}")
    if table[channel]:
        has = ", ".join(name for name, why in table.items() if not why)
        raise OperatorError(f"{table[channel]}; it has: {has}")
    if channel == "candles" and timeframe not in CANDLE_TIMEFRAMES[venue]:
        allowed = ", ".join(CANDLE_TIMEFRAMES[venue])
        raise OperatorError(f"{venue} has no candles of {timeframe}; --timeframe may be {allowed}")


def source_of(job: Job, client: RestClient) -> Source:
    """Where a job's rows come from."""
    rows = getattr(client.settings, "page_rows", 0)
    makers: dict[tuple[str, str], Callable[[], Source]] = {
        ("bitfinex", "candles"): lambda: BitfinexCandles(client, rows),
        ("bitfinex", "trades"): lambda: BitfinexTrades(client, rows),
        ("bitfinex", "tickers"): lambda: BitfinexTickers(client),
        ("kraken", "candles"): lambda: KrakenCandles(client),
        ("kraken", "trades"): lambda: KrakenTrades(client, rows),
        ("gmo", "candles"): lambda: GmoCandles(client),
    }
    return makers[job.venue, job.channel]()
