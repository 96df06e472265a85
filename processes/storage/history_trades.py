"""Trades of a tape as rows of history: bars, which trades they count, and where they may lack some.

A minute keeps which trades its bar counts, so a trade that is told again, by a snapshot, another
session, or the lake, changes nothing, and one that comes late corrects the bar. What is written
is the union of what was there and what is given: in any order, and however often, the same.

A bar is complete when all of it lies within one session's hearing of its trades and no open gap
touches it. A gap is what the tape says of itself (GAP, UNSUBSCRIBED) or a stretch that could not be
read; a BACKFILLED marker without a reason closes the first kind, a reading of the lake the last.
Keeps what it has read of the database until told to forget; writes nothing itself.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
from msgspec import Struct

from processes.databases.base import Statement
from processes.storage.history_rows import Names
from processes.storage.rows import pick
from processes.storage.trade_bars import (
    TIMEFRAMES,
    Bar,
    Identity,
    bar_of,
    decimal_text,
    minutes_of,
    packed,
    start_of,
    unpacked,
)
from schemas import tape
from schemas.tape import WHOLE_CONNECTION, Flag, Kind, Marker, MarkerReason

KEPT_BARS: Final = 20_000
"""So many bars are kept in memory before all are read anew."""
FOREVER_NS: Final = (1 << 63) - 1
TRADES: Final = "trades"
_STATE: Final = (
    "SELECT first_ns, first_session, first_number, last_ns, last_session, last_number, open, high, "
    "low, close, volume_exact, notional_exact, trades, recv_ns FROM bars WHERE venue = ? "
    "AND symbol = ? AND timeframe = ? AND variant = ? AND source = 'trades' AND start_ns = ?"
)
_COUNTED: Final = (
    "SELECT counted FROM bar_trades WHERE venue = ? AND symbol = ? AND variant = ? AND start_ns = ?"
)
_COUNT: Final = (
    "INSERT INTO bar_trades VALUES (?,?,?,?,?) ON CONFLICT (venue, symbol, variant, start_ns) "
    "DO UPDATE SET counted = excluded.counted"
)


def _complete(venue: str, symbol: str, start: str, end: str) -> str:
    """SQL that says whether all trades of a bar are known."""
    return (
        f"CASE WHEN EXISTS (SELECT 1 FROM trade_streams s WHERE s.venue = {venue} "
        f"AND s.symbol = {symbol} AND s.first_ns <= {start} AND (s.last_ns >= {end} "
        "OR NOT EXISTS (SELECT 1 FROM trade_streams l WHERE l.venue = s.venue "
        "AND l.symbol = s.symbol AND l.session > s.session))) "
        f"AND NOT EXISTS (SELECT 1 FROM trade_gaps g WHERE g.venue = {venue} "
        f"AND g.symbol = {symbol} AND g.closed = 0 AND g.first_ns < {end} "
        f"AND g.last_ns >= {start}) THEN 1 ELSE 0 END"
    )


_CHANGED: Final = (
    "open", "high", "low", "close", "volume", "average_price", "trades", "recv_ns", "complete",
    "volume_exact", "notional_exact", "first_ns", "first_session", "first_number", "last_ns",
    "last_session", "last_number",
)  # fmt: skip
_BAR: Final = (
    f"INSERT INTO bars VALUES (?,?,?,?,'trades',?,?,?,?,?,?,?,?,?,{_complete(*'????')},"
    "?,?,?,?,?,?,?,?) ON CONFLICT (venue, symbol, timeframe, variant, source, start_ns) "
    f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _CHANGED)}"
)
_REFRESH: Final = (
    "UPDATE bars SET complete = "
    f"{_complete('bars.venue', 'bars.symbol', 'bars.start_ns', 'bars.start_ns + ?')} "
    "WHERE venue = ? AND symbol = ? AND timeframe = ? AND source = 'trades' "
    "AND start_ns > ? AND start_ns <= ?"
)
_STREAM: Final = (
    "INSERT INTO trade_streams VALUES (?,?,?,?,?) ON CONFLICT (venue, symbol, session) "
    "DO UPDATE SET first_ns = excluded.first_ns, last_ns = excluded.last_ns"
)
_GAP: Final = "INSERT INTO trade_gaps VALUES (?,?,?,?,?,?,?,?,?,0) ON CONFLICT DO NOTHING"
_RESUMED: Final = (
    "UPDATE trade_gaps SET last_ns = ? WHERE venue = ? AND symbol = ? AND session = ? "
    f"AND kind = 'unsubscribed' AND sequence < ? AND last_ns = {FOREVER_NS}"
)
_CLOSE: Final = (
    "UPDATE trade_gaps SET closed = 1 "
    "WHERE venue = ? AND symbol = ? AND session = ? AND sequence = ? AND kind = ?"
)
_OPEN_GAPS: Final = (
    "SELECT session, sequence, kind, first_ns, last_ns, from_recv_ns, to_recv_ns FROM trade_gaps "
    "WHERE venue = ? AND symbol = ? AND closed = 0"
)
Read = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
Symbol = tuple[str, str]
"""Venue, symbol."""
_Place = tuple[str, str, str, str, int]
"""A bar's venue, symbol, timeframe, variant and start."""


class Gap(Struct, frozen=True):
    """When not all trades of a symbol are known."""

    session: int
    sequence: int
    kind: str
    first_ns: int
    last_ns: int
    from_recv_ns: int
    to_recv_ns: int


def refresh(symbol: Symbol, first_ns: int, last_ns: int) -> Iterator[Statement]:
    """Say anew which bars are complete, of those that a stretch of time touches."""
    for timeframe, length in TIMEFRAMES.items():
        yield (_REFRESH, (length, length, *symbol, timeframe, first_ns - length, last_ns))


class TradeHistory:
    """Makes statements of trades.

    Args:
        read: asks the database.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._bars: dict[_Place, Bar | None] = {}
        self._counted: dict[tuple[str, str, str, int], set[Identity]] = {}
        self._streams: dict[Symbol, dict[int, tuple[int, int]]] = {}
        self._gaps: dict[Symbol, list[Gap]] = {}

    def forget(self) -> None:
        """Read everything anew: what was given may not have been written."""
        self._bars.clear()
        self._counted.clear()
        self._streams.clear()
        self._gaps.clear()

    def take(self, slots: np.ndarray, session: int, names: Names) -> list[Statement]:
        """The rows of a stretch of one tape.

        Args:
            slots: (n) tape.SLOT, in order; others than those of trades streams are passed over.
        """
        if len(self._bars) > KEPT_BARS:
            self.forget()
        made: list[Statement] = []
        for index, mine in _by_instrument(slots, names):
            item = names.instrument(index)
            symbol = (item.venue, item.symbol)
            made += self._hear(symbol, session, mine)
            for at in np.flatnonzero(mine["kind"] == Kind.MARKER):
                made += self._mark(symbol, session, mine[at : at + 1].view(tape.MARKER)[0])
            trades = mine[(mine["kind"] == Kind.TRADE) & (mine["event_ns"] > 0)]
            for variant, these in _by_variant(trades, names):
                made += self._count(symbol, variant, session, these)
        return made

    def miss(self, venue: str, session: int, first: int, until_ns: int) -> list[Statement]:
        """A tape's sequences from `first` on, to a slot received at `until_ns`, were not read."""
        found = self._read(
            "SELECT symbol, last_ns FROM trade_streams WHERE venue = ? AND session = ?",
            (venue, session),
        )
        made: list[Statement] = []
        for name, last_ns in found:
            made += self.add_gap(
                (venue, name),
                Gap(session, first, "unread", last_ns, until_ns, last_ns, until_ns),
            )
        return made

    def add_gap(self, symbol: Symbol, gap: Gap) -> list[Statement]:
        """A stretch of which not all is known; nothing if it was noted before."""
        known = self._gaps_of(symbol)
        if gap not in known:
            known.append(gap)
        told = (*symbol, gap.session, gap.sequence, gap.kind, gap.first_ns, gap.last_ns)
        made: list[Statement] = [(_GAP, (*told, gap.from_recv_ns, gap.to_recv_ns))]
        return [*made, *refresh(symbol, gap.first_ns, gap.last_ns)]

    def close_gap(self, symbol: Symbol, gap: Gap) -> list[Statement]:
        """All of a stretch is known after all."""
        known = self._gaps_of(symbol)
        self._gaps[symbol] = [one for one in known if one != gap]
        made: list[Statement] = [(_CLOSE, (*symbol, gap.session, gap.sequence, gap.kind))]
        return [*made, *refresh(symbol, gap.first_ns, gap.last_ns)]

    def open_gaps(self, symbol: Symbol) -> list[Gap]:
        """Gaps that are not closed."""
        return list(self._gaps_of(symbol))

    # ---- when trades were heard of

    def _hear(self, symbol: Symbol, session: int, slots: np.ndarray) -> Iterator[Statement]:
        """A session's trades were heard of at these times."""
        known = self._streams_of(symbol)
        old = known.get(session)
        first, last = int(slots["recv_ns"].min()), int(slots["recv_ns"].max())
        if old is not None:
            first, last = min(first, old[0]), max(last, old[1])
        if old == (first, last):
            return
        known[session] = (first, last)
        yield (_STREAM, (*symbol, session, first, last))
        if old is None:
            before = max((number for number in known if number < session), default=session)
            yield from refresh(symbol, min(known[before][1], first), last)
            return
        if first < old[0]:
            yield from refresh(symbol, first, old[0])
        if last > old[1] and session < max(known):
            yield from refresh(symbol, old[1], last)

    def _mark(self, symbol: Symbol, session: int, slot: Any) -> Iterator[Statement]:
        """What a marker of a trades stream says of what is known."""
        what, recv_ns, sequence = slot["marker"], int(slot["recv_ns"]), int(slot["sequence"])
        from_ns, to_ns = int(slot["from_recv_ns"]), int(slot["to_recv_ns"])
        if what == Marker.GAP:
            first_ns = min(int(slot["from_event_ns"]) or from_ns, from_ns)
            last_ns = max(int(slot["to_event_ns"]), to_ns, recv_ns)
            gap = Gap(session, sequence, "gap", first_ns, last_ns, from_ns, to_ns)
            yield from self.add_gap(symbol, gap)
        elif what == Marker.UNSUBSCRIBED:
            gap = Gap(session, sequence, "unsubscribed", recv_ns, FOREVER_NS, recv_ns, FOREVER_NS)
            yield from self.add_gap(symbol, gap)
        elif what == Marker.SUBSCRIBED:
            yield (_RESUMED, (recv_ns, *symbol, session, sequence))
            yield from refresh(symbol, recv_ns, FOREVER_NS)
        elif what == Marker.BACKFILLED and slot["reason"] == MarkerReason.NONE:
            for gap in self.open_gaps(symbol):
                whole = from_ns <= gap.from_recv_ns and gap.to_recv_ns <= to_ns
                before = gap.session == session and gap.sequence < sequence
                if whole and before and gap.kind == "gap":
                    yield from self.close_gap(symbol, gap)

    # ---- bars

    def _count(
        self, symbol: Symbol, variant: str, session: int, trades: np.ndarray
    ) -> Iterator[Statement]:
        """Trades of one symbol and variant into the bars that they belong to."""
        changed: dict[_Place, Bar] = {}
        for start_ns, mine in minutes_of(trades):
            counted = self._counted_of(symbol, variant, start_ns)
            new = bar_of(mine, session, counted)
            if new is None:
                continue
            yield (_COUNT, (*symbol, variant, start_ns, packed(counted)))
            for timeframe in TIMEFRAMES:
                place = (*symbol, timeframe, variant, start_of(timeframe, start_ns))
                old = self._bar_of(place)
                self._bars[place] = changed[place] = new if old is None else old.joined(new)
        for (*key, start_ns), bar in changed.items():
            end_ns = start_ns + TIMEFRAMES[key[2]]
            yield (
                _BAR,
                (
                    *key, start_ns, bar.open, bar.high, bar.low, bar.close, float(bar.volume),
                    bar.average_price, float(bar.trades), bar.recv_ns,
                    *symbol, start_ns, end_ns, *symbol, end_ns, start_ns,
                    decimal_text(bar.volume), decimal_text(bar.notional), *bar.first, *bar.last,
                ),
            )  # fmt: skip

    # ---- what the database has

    def _bar_of(self, place: _Place) -> Bar | None:
        if place not in self._bars:
            found = self._read(_STATE, place)
            self._bars[place] = _bar(found[0]) if found else None
        return self._bars[place]

    def _counted_of(self, symbol: Symbol, variant: str, start_ns: int) -> set[Identity]:
        place = (*symbol, variant, start_ns)
        if place not in self._counted:
            found = self._read(_COUNTED, place)
            self._counted[place] = unpacked(found[0][0]) if found else set()
        return self._counted[place]

    def _streams_of(self, symbol: Symbol) -> dict[int, tuple[int, int]]:
        if symbol not in self._streams:
            found = self._read(
                "SELECT session, first_ns, last_ns FROM trade_streams "
                "WHERE venue = ? AND symbol = ?",
                symbol,
            )
            self._streams[symbol] = {session: (first, last) for session, first, last in found}
        return self._streams[symbol]

    def _gaps_of(self, symbol: Symbol) -> list[Gap]:
        if symbol not in self._gaps:
            self._gaps[symbol] = [Gap(*row) for row in self._read(_OPEN_GAPS, symbol)]
        return self._gaps[symbol]


def _bar(row: tuple[Any, ...]) -> Bar:
    """A bar as `_STATE` reads it."""
    prices, (volume, notional, trades, recv_ns) = row[6:10], row[10:]
    return Bar(
        first=row[0:3], last=row[3:6], open=prices[0], high=prices[1], low=prices[2],
        close=prices[3], volume=Decimal(volume), notional=Decimal(notional), trades=int(trades),
        recv_ns=recv_ns,
    )  # fmt: skip


def _by_instrument(slots: np.ndarray, names: Names) -> Iterator[tuple[int, np.ndarray]]:
    """(instrument, slots of its trades streams) of each that has any."""
    streams = np.unique(slots["stream"]).tolist()
    wanted = [
        index
        for index in streams
        if index != WHOLE_CONNECTION and names.stream(index).channel == TRADES
    ]
    mine = pick(slots, np.flatnonzero(np.isin(slots["stream"], wanted)))
    for index in np.unique(mine["instrument"]).tolist():
        yield index, mine[mine["instrument"] == index]


def _by_variant(trades: np.ndarray, names: Names) -> Iterator[tuple[str, np.ndarray]]:
    """(variant, its trades): a funding market's periods are markets of their own."""
    periods = np.where(trades["flags"] & Flag.FUNDING != 0, trades["count"], 0)
    pairs = trades["stream"].astype(np.int64) << 32 | periods
    for pair in np.unique(pairs).tolist():
        stream, period = names.stream(pair >> 32), pair & 0xFFFFFFFF
        yield f"p{period}" if period else stream.suffix, trades[pairs == pair]
