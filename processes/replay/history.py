"""History made again from the lake, by the code that writes it while an instance runs.

Rows of the lake become the slots that they were made from, and these the same statements as in
storage. What is written is the union of what was there and what the lake has, so it can be done
again, broken off, and done while an instance runs: between blocks the history's database changes
hands (`processes/storage/history_database.py`). Audit rows of log files are in no ring and stay as
they are. Fails with DatabaseError, or LakeError where a file cannot be read; what was written until
then stays, and to do it again goes on from there to the same end.
"""

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np
from msgspec import Struct

from processes.clock import monotonic_s, nap
from processes.journal_files import segments_of
from processes.lake_files import counting, folders_of, tape_folder
from processes.lake_holes import BY_DESIGN, Hole, read_holes
from processes.locks import hold
from processes.recordings.books import Books
from processes.recordings.rows import read_ring
from processes.recordings.slots import Indices, decision_slots
from processes.replay.history_slots import history_columns, history_slots
from processes.storage import history_rows as rows
from processes.storage.history_database import HistoryDatabase, Statements, turn_path
from processes.storage.history_trades import Gap, Symbol
from schemas.errors import DatabaseError, OperatorError
from schemas.instruments import Tables
from schemas.settings import Settings

MINUTE_NS: Final = rows.MINUTE_NS
TURN_S: Final = 5.0
"""So long the database is kept from storage at once."""
PATIENCE_S: Final = 30.0
"""So long storage may take to let go of it."""
LATE_NS: Final = 10 * MINUTE_NS
"""A minute's decisions are all told within it."""
BLOCK_SLOTS: Final = 8192
"""So many slots are written as one transaction at most: a server has a time limit."""
NO_END: Final = (1 << 63) - 1
CHANNELS: Final = ("candles", "trades")
Report = Callable[[str, int], None]
"""Told what was read, and how many rows of it."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What is made again; what is empty or 0 does not matter."""

    venue: str = ""
    symbol: str = ""
    """The venue's name, or a pair."""
    start_ns: int = 0
    end_ns: int = 0
    """What came, or was decided, from the one time until before the other; whole minutes."""

    def takes(self, venue: str, symbol: str, pair: str) -> bool:
        """Whether an instrument is wanted."""
        return self.venue in {"", venue} and self.symbol in {"", symbol, pair}

    def of(self, times_ns: np.ndarray) -> np.ndarray:
        """Which of these times are."""
        found: np.ndarray = times_ns >= self.start_ns
        return found & (times_ns < self.end_ns) if self.end_ns else found

    @property
    def span(self) -> tuple[int, int]:
        """First and last time of files that may hold what is wanted."""
        return self.start_ns - LATE_NS, self.end_ns + LATE_NS if self.end_ns else NO_END


class Made(Struct, kw_only=True):
    """What was read."""

    series: int = 0
    slots: int = 0
    decisions: int = 0
    rows: int = 0
    """Statements written; a row that changes more than once counts each time."""


class Turns:
    """The history's database, by turns with storage.

    Args:
        beside: an instance runs, which wants the database back between.
    """

    def __init__(self, settings: Settings, data: Path, *, beside: bool) -> None:
        self.database = HistoryDatabase(settings, data)
        self._path = turn_path(data)
        self._pause_s = 2 * settings.history.interval_s
        self._beside = beside
        self._held: IO[str] | None = None
        self._end_s = 0.0

    def take(self) -> HistoryDatabase:
        """The database, ours for the next write.

        Raises:
            DatabaseError: it cannot be had. OperatorError: another one rebuilds.
        """
        if self._held is not None and self._beside and monotonic_s() > self._end_s:
            self.leave()
            nap(self._pause_s)
        if self._held is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._held = hold(
                self._path,
                lambda owner: OperatorError(
                    f"another dcctl history rebuild is at work (process {owner}); wait for its end"
                ),
            )
            self._connect()
            self._end_s = monotonic_s() + TURN_S
        return self.database

    def _connect(self) -> None:
        deadline_s = monotonic_s() + PATIENCE_S
        while True:
            try:
                self.database.connect()
            except DatabaseError:
                if monotonic_s() > deadline_s:
                    raise
                nap(0.1)
            else:
                return

    def leave(self) -> None:
        """Let storage have it."""
        self.database.close()
        if self._held is not None:
            self._held.close()
            self._held = None


class Rebuild:
    """One making of the history.

    Args:
        data: the instance's folder. beside: an instance runs there. report: as `Report`.
    """

    def __init__(
        self, settings: Settings, data: Path, wanted: Wanted, report: Report, *, beside: bool
    ) -> None:
        self.made = Made()
        self._lake = data / "lake"
        self._journals = data / "journal"
        self._tables = _read_tables(data)
        self._indices = Indices(self._tables)
        self._books = Books(len(self._tables.instruments))
        self._names = rows.Names(lambda: self._tables)
        self._wanted = wanted
        self._report = report
        self._turns = Turns(settings, data, beside=beside)

    @property
    def where(self) -> str:
        """The database, for people."""
        return self._turns.database.where

    def run(self) -> Made:
        """Make it all."""
        try:
            for channel in CHANNELS:
                for item in self._tables.instruments:
                    if self._wanted.takes(item.venue, item.symbol, item.pair):
                        self._make_series(item.venue, item.symbol, channel)
            self._make_decisions()
        finally:
            self._turns.leave()
        return self.made

    def _write(self, statements: Statements) -> None:
        if statements:
            self._turns.database.write(statements)
            self.made.rows += len(statements)

    # ---- tapes

    def _make_series(self, venue: str, symbol: str, channel: str) -> None:
        """One symbol's candles or trades, session by session."""
        folder = tape_folder(venue, channel, symbol)
        for session in self._sessions(folder):
            self.made.series += 1
            series = _Series((venue, symbol), session, _lapped(self._lake, venue, session))
            span = self._wanted.span
            for parts in read_ring(self._lake, folder, session, history_columns, span):
                slots = history_slots(parts, self._indices, self._books)
                slots = slots[self._wanted.of(slots["recv_ns"])]
                for first in range(0, len(slots), BLOCK_SLOTS):
                    block = slots[first : first + BLOCK_SLOTS]
                    database = self._turns.take()
                    if channel == "candles":
                        self._write([*rows.bars(block, session, self._names)])
                    else:
                        told = database.trades.take(block, session, self._names)
                        self._write(told + self._gaps(database, series.pass_over(block)))
                self.made.slots += len(slots)
                self._report(f"{channel} of {venue} {symbol}", len(slots))
            if channel == "trades" and series.last:
                self._heal(series)

    @staticmethod
    def _gaps(database: HistoryDatabase, found: list[tuple[Symbol, Gap]]) -> Statements:
        return [one for at in found for one in database.trades.add_gap(*at)]

    def _heal(self, series: "_Series") -> None:
        """What history could not read then, and the lake has, is a gap no more."""
        trades = self._turns.take().trades
        made = self._gaps(self._turns.database, series.rest())
        for gap in trades.open_gaps(series.symbol):
            if gap.kind == "unread" and gap.session == series.session and series.has(gap):
                made += trades.close_gap(series.symbol, gap)
        self._write(made)

    def _sessions(self, folder: str) -> list[int]:
        """Sessions that have rows of the wanted time there."""
        top, (first_ns, last_ns) = self._lake / folder, self._wanted.span
        found: set[int] = set()
        for day in folders_of(top) if top.is_dir() else []:
            for file in counting(day):
                found.update(
                    piece.session
                    for piece in file.pieces
                    if piece.last_ns >= first_ns and piece.first_ns <= last_ns
                )
        return sorted(found)

    # ---- decisions

    def _make_decisions(self) -> None:
        """Signals, profit, and of the audit log what execution was told."""
        wanted = [
            one.index
            for one in self._tables.instruments
            if self._wanted.takes(one.venue, one.symbol, one.pair)
        ]
        minutes = _Minutes()
        for session in self._sessions("decisions"):
            self._turns.take()
            last = self._last_told(session)
            for parts in read_ring(self._lake, "decisions", session, span=self._wanted.span):
                slots = decision_slots(parts, self._indices)
                slots = slots[self._wanted.of(slots["time_ns"])]
                if not len(slots):
                    continue
                mine = slots[np.isin(slots["instrument"], wanted)]
                made = [*rows.signals(mine, session, self._names)]
                if not (self._wanted.venue or self._wanted.symbol):
                    made += rows.audit_of_inputs(slots, session)
                minutes.add([*rows.profit(mine[mine["sequence"] <= last], self._names)])
                self._turns.take()
                self._write(made + minutes.done())
                self.made.decisions += len(slots)
                self._report("decisions", len(slots))
            if last != NO_END:
                minutes.break_off()
        self._turns.take()
        self._write(minutes.done(at_end=True))

    def _last_told(self, session: int) -> int:
        """Last decision of a session that storage has counted, or will never count."""
        place = self._turns.database.places.get("decisions")
        if place is not None and place.mark:
            if session != int(place.mark):
                return NO_END if session < int(place.mark) else 0
            return place.place
        segments = segments_of(self._journals).get("decisions", [])
        return min((one.first - 1 for one in segments if one.session == session), default=NO_END)


class _Series:
    """How far the trades of a symbol and session are read, and which holes they go over."""

    def __init__(self, symbol: Symbol, session: int, lapped: list[Hole]) -> None:
        self.symbol = symbol
        self.session = session
        self.last = 0
        self._first_ns = self._last_ns = 0
        self._lapped = lapped
        self._firsts = {hole.first for hole in lapped}

    def pass_over(self, slots: np.ndarray) -> list[tuple[Symbol, Gap]]:
        """Read these; the gaps that holes before their last have made."""
        found = []
        sequences = slots["sequence"]
        while self._lapped and self._lapped[0].first <= int(sequences[-1]):
            hole = self._lapped.pop(0)
            place = int(np.searchsorted(sequences, np.uint64(hole.first)))
            before_ns = int(slots["recv_ns"][:place].max()) if place else 0
            found += self._gap(hole, max(before_ns, self._last_ns))
        self._first_ns = self._first_ns or int(slots["recv_ns"].min())
        self._last_ns = max(self._last_ns, int(slots["recv_ns"].max()))
        self.last = int(sequences[-1])
        return found

    def rest(self) -> list[tuple[Symbol, Gap]]:
        """Gaps of the holes behind the last slot."""
        return [one for hole in self._lapped for one in self._gap(hole, self._last_ns)]

    def _gap(self, hole: Hole, before_ns: int) -> list[tuple[Symbol, Gap]]:
        if not before_ns:
            return []  # nothing was heard of it yet in this session
        span = (before_ns, hole.time_ns)
        return [(self.symbol, Gap(self.session, hole.first, "unread", *span, *span))]

    def has(self, gap: Gap) -> bool:
        """Whether the lake has all of what could not be read then."""
        inside = self._first_ns <= gap.first_ns and gap.last_ns <= self._last_ns
        return inside and gap.sequence not in self._firsts


class _Minutes:
    """Profit rows until their minutes are whole."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Any, ...], list[Any]] = {}
        self._newest_ns = 0

    def add(self, told: Statements) -> None:
        """Rows of some decisions, in their order."""
        at = rows.DECISIONS_AT
        for _, values in told:
            row = [*values]
            before = self._rows.get(values[:at])
            row[at] += before[at] if before is not None else 0
            self._rows[values[:at]] = row
            self._newest_ns = max(self._newest_ns, int(values[0]))

    def break_off(self) -> None:
        """Storage will add to the newest minute, or has added more: it is not ours."""
        self._rows = {key: row for key, row in self._rows.items() if key[0] < self._newest_ns}

    def done(self, *, at_end: bool = False) -> Statements:
        """Rows of minutes that nothing is added to any more."""
        whole = [key for key in self._rows if at_end or key[0] < self._newest_ns - LATE_NS]
        return [(rows.WHOLE_PROFIT, tuple(self._rows.pop(key))) for key in whole]


def _lapped(lake: Path, venue: str, session: int) -> list[Hole]:
    """Stretches of a tape that storage has lost."""
    found = [hole for hole in read_holes(lake, f"tape.{venue}") if hole.session == session]
    return sorted((h for h in found if h.reason not in BY_DESIGN), key=lambda hole: hole.first)


def _read_tables(data: Path) -> Tables:
    path = data / "state" / "instruments.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tables)
    except (OSError, msgspec.DecodeError) as error:
        raise OperatorError(f"{path} cannot be read ({error}); is there a recording?") from None
