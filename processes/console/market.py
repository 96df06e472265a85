"""Slots of the rings become what pages show of each instrument. Bounded, and behind if need be.

Owns a book, the last trades, bars and predictions of each instrument, for as long as a picture
looks back. It only takes blocks that somebody else has read; a gap in them is a gap in a picture.
"""

from collections import deque
from typing import Final

import numpy as np

from processes.console.view import Bar, Forecast, Level, Market, Point, Trade
from schemas.features import COLUMN, Invalid
from schemas.instruments import Tables
from schemas.predictions import SPEAKERS, PredictionFlag, spoken
from schemas.tape import (
    CANDLE,
    LEVELS,
    STATUS,
    STATUS_COLUMNS,
    TICKER,
    Flag,
    Kind,
    Side,
    view_as,
)

TRADES: Final = 60
BARS: Final = 90
BAR_NS: Final = 5_000_000_000
POINTS: Final = 180
FEATURE_POINTS: Final = 60
_TICKER_COLUMNS: Final = ("bid", "bid_size", "ask", "ask_size", "last", "volume", "high", "low",
                          "daily_change_relative")  # fmt: skip
_QUIET: Final = int(Flag.SNAPSHOT | Flag.BACKFILLED | Flag.FUNDING)


class _One:
    """One instrument's past."""

    def __init__(self) -> None:
        self.book: tuple[float, np.ndarray, int] | None = None
        self.trades: deque[Trade] = deque(maxlen=TRADES)
        self.bars: deque[Bar] = deque(maxlen=BARS)
        self.candles: dict[int, Bar] = {}
        self.ticker: dict[str, float] = {}
        self.status: dict[str, float] = {}
        self.past: deque[Point] = deque(maxlen=POINTS)
        self.rows: deque[np.ndarray] = deque(maxlen=FEATURE_POINTS)
        self.row: np.void | None = None
        self.prediction: np.void | None = None
        self.features: dict[str, float] = {}
        self.feature_past: dict[str, list[float]] = {}
        self._is_drawn = True

    def feature_row(self, row: np.void) -> None:
        """A row of features."""
        self.row = row
        self.rows.append(row["values"])
        self._is_drawn = False

    def draw_features(self) -> None:
        """Bring the columns up to the newest row; new dicts, since a view keeps the old ones."""
        if not self._is_drawn:
            self._is_drawn = True
            columns = np.array(self.rows).T.tolist()
            self.feature_past = dict(zip(COLUMN, columns, strict=True))
            self.features = {name: past[-1] for name, past in self.feature_past.items()}

    def trade(self, slot: np.void) -> None:
        """A trade: to the list, and into the bar of its time."""
        price, size, at_ns = float(slot["price"]), float(slot["size"]), int(slot["recv_ns"])
        side = "buy" if slot["side"] == Side.BID else "sell"
        self.trades.appendleft(Trade(at_ns, side, price, size))
        if int(slot["flags"]) & _QUIET:
            return
        start_ns = at_ns // BAR_NS * BAR_NS
        if not self.bars or self.bars[-1].start_ns < start_ns:
            self.bars.append(Bar(start_ns, price, price, price, price, 0.0))
        bar = self.bars[-1]
        bar.high, bar.low = max(bar.high, price), min(bar.low, price)
        bar.close = price
        bar.volume += size

    def candle(self, slot: np.void) -> None:
        """A candle of the venue; the newest word about a span counts."""
        names = ("start_ns", "open", "high", "low", "close", "volume")
        start_ns, *rest = (slot[name].item() for name in names)
        self.candles[start_ns] = Bar(start_ns, *rest)
        while len(self.candles) > BARS:
            del self.candles[min(self.candles)]

    def levels(self) -> tuple[list[Level], list[Level]]:
        """Bids and asks, best first."""
        if self.book is None:
            return [], []
        reference, offsets, _ = self.book
        sides = []
        for base in (0, 2 * LEVELS):
            prices = (reference + offsets[base : base + LEVELS].astype(np.float64)).tolist()
            sizes = offsets[base + LEVELS : base + 2 * LEVELS].tolist()
            sides.append([Level(round(p, 8), s) for p, s in zip(prices, sizes, strict=True) if s])
        return sides[0], sides[1]


class Markets:
    """All instruments."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[int, _One] = {}
        self._first_candles: dict[int, int] = {}

    def set_tables(self, tables: Tables) -> None:
        """Instruments were added."""
        self._tables = tables

    def _of(self, index: int) -> _One:
        return self._known.setdefault(index, _One())

    def symbol(self, index: int) -> str:
        """The venue's name of an instrument."""
        found = self._tables.instruments
        return found[index].symbol if index < len(found) else ""

    def take_tape(self, slots: np.ndarray) -> None:
        """A block of a tape."""
        if not len(slots):
            return
        kinds, flags = slots["kind"], slots["flags"]
        booked = (kinds <= Kind.BOOK_LEVEL) & (flags & Flag.FRAME_END != 0)
        for index in np.unique(slots["instrument"][booked]).tolist():
            at = int(np.nonzero(booked & (slots["instrument"] == index))[0][-1])
            slot = slots[at]
            if slot["book"].any():
                self._of(index).book = (
                    float(slot["reference_price"]), slot["book"].copy(), int(slot["recv_ns"]),
                )  # fmt: skip
        for slot in slots[kinds == Kind.TRADE]:
            self._of(int(slot["instrument"])).trade(slot)
        for kind, form in ((Kind.TICKER, TICKER), (Kind.STATUS, STATUS), (Kind.CANDLE, CANDLE)):
            mine = slots[kinds == kind]
            if len(mine):
                self._take(kind, view_as(mine, form))

    def _take(self, kind: Kind, slots: np.ndarray) -> None:
        for slot in slots:
            one = self._of(int(slot["instrument"]))
            if kind == Kind.CANDLE:
                # Of several timeframes the one that came first is shown.
                stream = int(slot["stream"])
                if self._first_candles.setdefault(int(slot["instrument"]), stream) == stream:
                    one.candle(slot)
            elif kind == Kind.TICKER:
                one.ticker = _finite(slot, _TICKER_COLUMNS)
            elif not int(slot["flags"]) & Flag.LIQUIDATION:
                one.status = _finite(slot, STATUS_COLUMNS)

    def take_features(self, slots: np.ndarray) -> None:
        """A block of feature rows."""
        for slot in slots:
            if slot["reference_price"] > 0:
                self._of(int(slot["instrument"])).feature_row(slot.copy())

    def take_predictions(self, slots: np.ndarray) -> None:
        """A block of predictions."""
        for slot in slots:
            one = self._of(int(slot["instrument"]))
            one.prediction = slot.copy()
            up, flat, down, move, _ = slot["blend"].tolist()
            middle = float(slot["reference_price"])
            one.past.append(Point(int(slot["cut_ns"]), middle, up, flat, down, move))

    def marks(self) -> dict[int, float]:
        """The middle price of each instrument, from its newest feature row."""
        rows = {index: one.row for index, one in self._known.items()}
        return {
            index: float(row["reference_price"]) for index, row in rows.items() if row is not None
        }

    def all(self) -> list[Market]:
        """Every instrument that anything is known of."""
        known = self._tables.instruments
        return [
            self._market(index, one)
            for index, one in sorted(self._known.items())
            if index < len(known)
        ]

    def _market(self, index: int, one: _One) -> Market:
        item = self._tables.instruments[index]
        bids, asks = one.levels()
        middle = (bids[0].price + asks[0].price) / 2 if bids and asks else 0.0
        past = list(one.past)
        first = past[0].middle if past else 0.0
        row, prediction = one.row, one.prediction
        forecasts: list[Forecast] = []
        if prediction is not None:
            forecasts = [
                Forecast(name, up, flat, down, move)
                for name, (up, flat, down, move, _) in zip(
                    SPEAKERS, spoken(prediction), strict=True
                )
                if np.isfinite(up)
            ]
        one.draw_features()
        return Market(
            index=index,
            venue=item.venue,
            symbol=item.symbol,
            pair=item.pair,
            bids=bids,
            asks=asks,
            middle=middle,
            spread_bps=(asks[0].price - bids[0].price) / middle * 1e4 if middle else 0.0,
            book_ns=one.book[2] if one.book else 0,
            last=one.trades[0].price if one.trades else 0.0,
            last_side=one.trades[0].side if one.trades else "",
            change_bps=(middle / first - 1) * 1e4 if middle and first else 0.0,
            trades=list(one.trades),
            bars=[Bar(b.start_ns, b.open, b.high, b.low, b.close, b.volume) for b in one.bars],
            candles=[one.candles[start] for start in sorted(one.candles)],
            ticker=one.ticker,
            status=one.status,
            features=one.features,
            feature_past=one.feature_past,
            invalid=[bit.name.lower() for bit in Invalid if bit.name and int(row["invalid"]) & bit]
            if row is not None
            else [],
            cut_ns=int(row["cut_ns"]) if row is not None else 0,
            forecasts=forecasts,
            past=past,
            late=prediction is not None and bool(int(prediction["flags"]) & PredictionFlag.LATE),
        )


def _finite(slot: np.void, names: tuple[str, ...]) -> dict[str, float]:
    found = {name: float(slot[name]) for name in names}
    return {name: value for name, value in found.items() if np.isfinite(value)}
