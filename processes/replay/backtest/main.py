"""A whole backtest: sessions one after another, their tapes through features, chain and machine.

Positions and the day's result go over from session to session as over a restart of execution;
windows, memories and orders do not (docs/decisions/0018-backtest-sessions.md).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from config.loader import flatten
from processes.clock import utc_text
from processes.execution.beginning import Beginning
from processes.execution.positions import ZERO
from processes.model_registry import models_folder
from processes.recordings.recording import Recording
from processes.recordings.span import FOREVER, SESSION_NS, Span
from processes.replay.backtest.gaps import Gaps
from processes.replay.backtest.record import Journal, Record
from processes.replay.backtest.result import Gap, Result
from processes.replay.backtest.rows import Predictor, Rows
from processes.replay.backtest.stretches import Piece, stretches
from processes.replay.backtest.tops import Tops
from processes.replay.backtest.trading import Trading
from processes.sessions import sessions_of
from schemas.errors import UsageError
from schemas.instruments import Instrument
from schemas.settings import Settings
from schemas.trading import KillLevel

Report = Callable[[int, int], None]
"""Told of the time that the tapes have come to, and how many events were taken."""


def nothing_there(data: Path, span: Span) -> UsageError:
    """The error that says what there is instead."""
    known = sessions_of(data)
    if not known:
        return UsageError(f"nothing is recorded in {data}; type: dcctl start")
    listed = "; ".join(f"{one} from {utc_text(one * SESSION_NS)}" for one in known[-5:])
    return UsageError(
        f"no event is recorded between {_said(span.from_ns)} and {_said(span.to_ns)}. "
        f"Sessions there are: {listed}. Type: dcctl backtest --session last"
    )


def _said(time_ns: int) -> str:
    if time_ns in {0, FOREVER}:
        return "the beginning" if not time_ns else "the end"
    return utc_text(time_ns)


class Session:
    """One session's part of a backtest."""

    def __init__(
        self,
        recording: Recording,
        settings: Settings,
        span: Span,
        record: Record,
    ) -> None:
        instruments = list(recording.tables.instruments)
        self.events = 0
        self.last_ns = 0
        self.first_ns = 0
        self._recording = recording
        self._span = span
        self._record = record
        self._tops = Tops(len(instruments))
        self.predictor = Predictor(settings, len(instruments), models_folder(recording.data))
        self.trading = Trading(
            recording.session, recording.tables, settings, self._tops, Journal(record),
            record.on_send, record.on_fill, record.on_time, record.on_pull,
        )  # fmt: skip
        self.rows = Rows(
            instruments, len(recording.venues), settings,
            span.from_ns, self.predictor, self.trading.decide,
        )  # fmt: skip
        self._gaps = Gaps(instruments, list(recording.venues), span.from_ns)

    def run(self, beginning: Beginning, level: KillLevel, report: Report) -> list[Gap]:
        """Take all of the span, the switch as the session before left it; the gaps in it."""
        for pieces in self._pieces():
            ends_ns = max(int(piece.times[-1]) for piece in pieces if len(piece.times))
            for number, piece in enumerate(pieces):
                self._gaps.take(number, piece)
            self._tops.begin(pieces)
            if ends_ns >= self._span.from_ns and not self.first_ns:
                self._begin(pieces, beginning, level)
            self.rows.take(pieces)
            if self.first_ns:
                self.trading.advance(ends_ns)
                self.last_ns = ends_ns
            report(ends_ns, self.rows.events)
        if not self.first_ns:
            return []
        self.trading.end(self.last_ns)
        return self._gaps.end(self.last_ns)

    def _begin(self, pieces: Sequence[Piece], beginning: Beginning, level: KillLevel) -> None:
        began_ns = min(int(piece.times[0]) for piece in pieces if len(piece.times))
        self.first_ns = max(self._span.from_ns, began_ns)
        self._record.begin(self.first_ns, self._tops)
        self.trading.begin(self.first_ns, beginning, level)

    def _pieces(self) -> Iterator[Sequence[Piece]]:
        """Stretches of the tapes up to the end of the span."""
        tapes = [self._recording.tape(venue) for venue in self._recording.venues]
        for pieces in stretches(tapes):
            some = [piece.part(0, piece.before(self._span.to_ns)) for piece in pieces]
            if not any(len(piece.times) for piece in some):
                return
            yield some


def backtest(
    data: Path,
    sessions: Sequence[int],
    span: Span,
    settings: Settings,
    report: Report = lambda *_: None,
) -> Result:
    """Run sessions, as far as they are in the span, one after another.

    Raises:
        UsageError: nothing of them is in it. OperatorError: one cannot be read.
    """
    recordings = [Recording(data, session) for session in sessions]
    instruments = _instruments(recordings)
    record = Record(instruments)
    beginning, level = Beginning(), KillLevel.NONE
    done: list[Session] = []
    gaps: list[Gap] = []
    for recording in recordings:
        one = Session(recording, settings, span, record)
        for instrument in record.book.held():
            mark = record.book.mark(instrument, ZERO)
            one.trading.machine.book.see(instrument, float(mark))
        gaps += one.run(beginning, level, report)
        if one.first_ns:
            done.append(one)
            level = one.trading.machine.kill_level
            kept = Beginning.of([], one.trading.machine.book).encode()
            beginning = Beginning.decode(kept)
    if not done:
        raise nothing_there(data, span)
    traded = {fill.instrument for fill in record.fills}
    rung = done[-1].predictor.rung.name.lower()
    return Result(
        profile=settings.profile,
        from_ns=done[0].first_ns,
        to_ns=done[-1].last_ns,
        sessions=[one.trading.session for one in done],
        currencies=sorted({i.pair.partition("/")[2] for i in instruments if i.index in traded}),
        model=f"{rung} on {done[-1].predictor.device.name.lower()}",
        events=sum(one.rows.events for one in done),
        rows=sum(one.rows.made for one in done),
        predictions=sum(one.predictor.made for one in done),
        decisions=record.decisions,
        digest=record.digest(),
        summary=record.summary(),
        pulled=record.pulled,
        reasons=record.reasons(),
        hours=record.hours(),
        positions=record.held(),
        gaps=gaps,
        trades=record.trades,
        fills=record.fills,
        equity=record.points,
        settings=flatten(settings),
    )


def _instruments(recordings: Sequence[Recording]) -> list[Instrument]:
    """Of all sessions; an index means the same in each."""
    found = {item.index: item for one in recordings for item in one.tables.instruments}
    return [found[index] for index in sorted(found)]
