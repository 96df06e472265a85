"""What a market has done: its trades, its candles in the venue's timeframes, its figures.

Figures (open, high, low, volume) run from the market's first trade. Candles exist only for times
in which something traded.
"""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from processes.simulator.market import Market, Trade

TRADES_KEPT = 10_000
CANDLES_KEPT = 1_500
QUOTES_KEPT = 1_000
MINUTE, HOUR, DAY = 60, 3600, 86_400
MONDAY_S = 4 * DAY
"""1970-01-05 was the first Monday."""


class TimeFrame(Struct, frozen=True):
    """The grid on which candles of one length begin."""

    seconds: int = 0
    """0 = calendar months."""
    shift_s: int = 0
    """How much later than on the UTC grid each candle begins."""

    def span_s(self, time_s: int) -> tuple[int, int]:
        """Begin and end of the candle that holds a time."""
        if self.seconds:
            begin_s = (time_s - self.shift_s) // self.seconds * self.seconds + self.shift_s
            return begin_s, begin_s + self.seconds
        moment = datetime.fromtimestamp(time_s - self.shift_s, UTC)
        begin = datetime(moment.year, moment.month, 1, tzinfo=UTC)
        year, month = divmod(moment.year * 12 + moment.month, 12)
        end = datetime(year, month + 1, 1, tzinfo=UTC)
        return int(begin.timestamp()) + self.shift_s, int(end.timestamp()) + self.shift_s


BITFINEX_FRAMES = {
    "1m": TimeFrame(MINUTE),
    "5m": TimeFrame(5 * MINUTE),
    "15m": TimeFrame(15 * MINUTE),
    "30m": TimeFrame(30 * MINUTE),
    "1h": TimeFrame(HOUR),
    "3h": TimeFrame(3 * HOUR),
    "6h": TimeFrame(6 * HOUR),
    "12h": TimeFrame(12 * HOUR),
    "1D": TimeFrame(DAY),
    "1W": TimeFrame(7 * DAY, MONDAY_S),
    "14D": TimeFrame(14 * DAY, MONDAY_S),
    "1M": TimeFrame(),
}
KRAKEN_FRAMES = {
    str(minutes): TimeFrame(minutes * MINUTE)
    for minutes in (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
}
JST_DAY_S = 21 * HOUR
"""A day of GMO Coin begins at 06:00 in Japan, 21:00 UTC of the day before."""
GMO_FRAMES = {
    "1min": TimeFrame(MINUTE),
    "5min": TimeFrame(5 * MINUTE),
    "10min": TimeFrame(10 * MINUTE),
    "15min": TimeFrame(15 * MINUTE),
    "30min": TimeFrame(30 * MINUTE),
    "1hour": TimeFrame(HOUR),
    "4hour": TimeFrame(4 * HOUR, JST_DAY_S),
    "8hour": TimeFrame(8 * HOUR, JST_DAY_S),
    "12hour": TimeFrame(12 * HOUR, JST_DAY_S),
    "1day": TimeFrame(DAY, JST_DAY_S),
    "1week": TimeFrame(7 * DAY, MONDAY_S - DAY + JST_DAY_S),
    "1month": TimeFrame(0, JST_DAY_S - DAY),
}


class Candle(Struct):
    """Prices in ticks, volume in units; `turnover` is the sum of ticks times units."""

    start_ms: int
    open: int
    close: int
    high: int
    low: int
    units: int = 0
    count: int = 0
    turnover: int = 0

    def take(self, trade: Trade) -> None:
        """Book one trade."""
        self.close = trade.ticks
        self.high, self.low = max(self.high, trade.ticks), min(self.low, trade.ticks)
        self.units += trade.units
        self.count += 1
        self.turnover += trade.ticks * trade.units


class Quote(Struct, frozen=True):
    """The best prices at one time, in ticks; 0 = the side was empty."""

    time_ms: int
    bid: int
    ask: int


class History:
    """One market's past."""

    def __init__(self, market: Market, frames: Mapping[str, TimeFrame] = BITFINEX_FRAMES) -> None:
        self.market = market
        self.frames = frames
        self.trades: deque[Trade] = deque(maxlen=TRADES_KEPT)
        self.total = 0
        """Trades ever made; `since` takes an earlier value of it."""
        self.candles: dict[str, deque[Candle]] = {n: deque(maxlen=CANDLES_KEPT) for n in frames}
        self.quotes: deque[Quote] = deque(maxlen=QUOTES_KEPT)
        """Taken on the hour."""
        self.volume = self.turnover = 0
        self.high = self.low = self.open = self.last = 0
        self._ends_s: dict[str, int] = dict.fromkeys(frames, 0)
        self._parts: dict[str, tuple[History, Callable[[Trade], bool]]] = {}

    def add(self, trade: Trade) -> None:
        """Book one trade."""
        self.trades.append(trade)
        self.total += 1
        self.volume += trade.units
        self.turnover += trade.ticks * trade.units
        self.last = trade.ticks
        if not self.open:
            self.open = self.high = self.low = trade.ticks
        self.high, self.low = max(self.high, trade.ticks), min(self.low, trade.ticks)
        time_s = trade.time_ns // 10**9
        for name, end_s in self._ends_s.items():
            if time_s >= end_s:
                begin_s, self._ends_s[name] = self.frames[name].span_s(time_s)
                self.candles[name].append(Candle(begin_s * 1000, *[trade.ticks] * 4))
            self.candles[name][-1].take(trade)
        for part, takes in self._parts.values():
            if takes(trade):
                part.add(trade)

    def since(self, mark: int) -> list[Trade]:
        """Trades after the first `mark` ones, oldest first, as far as they are kept."""
        new = min(self.total - mark, len(self.trades))
        return [self.trades[-back] for back in range(new, 0, -1)]

    def part(self, name: str, takes: Callable[[Trade], bool]) -> "History":
        """The history of some of the trades only, kept under a name from the first call on."""
        if name not in self._parts:
            part = History(self.market, self.frames)
            for trade in self.trades:
                if takes(trade):
                    part.add(trade)
            self._parts[name] = (part, takes)
        return self._parts[name][0]

    def note_quote(self, time_ns: int) -> None:
        """Keep the best prices once an hour."""
        hour_ms = time_ns // (HOUR * 10**9) * HOUR * 1000
        if not self.quotes or self.quotes[-1].time_ms != hour_ms:
            market = self.market
            self.quotes.append(Quote(hour_ms, market.best(1) or 0, market.best(-1) or 0))
