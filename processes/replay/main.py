"""A whole replay: every stage is fed with what was recorded before it, and judged by itself.

If each stage makes of its recorded input what is recorded after it, the chain does: that is what
`identical` says. A stage that differs therefore does not drag the others along.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np

from processes.clock import monotonic_s, nap
from processes.logs import Log
from processes.recordings.comparison import Comparison, Difference, Excluded
from processes.recordings.features import FeatureReplay
from processes.recordings.recording import Recording, whole
from processes.recordings.span import FOREVER
from processes.replay.decisions import DecisionReplay
from processes.replay.predictions import PredictionReplay
from processes.sessions import this_machine
from schemas import features

STAGES: Final = ("features", "predictions", "decisions")
STEP_S: Final = 0.05

Report = Callable[[str, np.ndarray], object]
"""Told of each stage's recorded slots that were made again."""


class Stage(Protocol):
    """Makes recorded slots again, and compares them."""

    def take(self, block: np.ndarray) -> object:
        """Take recorded slots, in order."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay found."""

    session: int
    events: int
    """Slots of the tapes that went through the feature kernels."""
    rows: int
    predictions: int
    decisions: int
    identical: bool
    """All that was compared is the same, to the bit, and there was something to compare."""
    first_difference: Difference | None
    events_per_s: float
    """Through the feature kernels, reading of the lake included."""
    seconds: dict[str, float]
    excluded: list[Excluded]
    made_elsewhere: list[str]
    """How the machine that recorded it differed from this one."""


class Feed:
    """Recorded slots in blocks, up to one time after another.

    Args:
        field: their time; slots of one time stay together.
    """

    def __init__(self, blocks: Iterator[np.ndarray], field: str, together: str) -> None:
        self._blocks = whole(blocks, together)
        self._field = field
        self._held: np.ndarray | None = None

    def up_to(self, time_ns: int) -> Iterator[np.ndarray]:
        """The next blocks, with no slot later than a time."""
        while (block := self._next()) is not None:
            later = np.flatnonzero(block[self._field] > time_ns)
            end = int(later[0]) if len(later) else len(block)
            if end:
                yield np.ascontiguousarray(block[:end])
            if end < len(block):
                self._held = block[end:]
                return

    def _next(self) -> np.ndarray | None:
        block, self._held = self._held, None
        return block if block is not None else next(self._blocks, None)

    def first_ns(self) -> int:
        """Time of the next slot; FOREVER if there is none."""
        self._held = self._next()
        return FOREVER if self._held is None else int(self._held[self._field][0])


class Replay:
    """All stages of a session, moved on by recorded time."""

    def __init__(self, data: Path, session: int, log: Log, report: Report) -> None:
        self._recording = recording = Recording(data, session)
        self._report = report
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._rows = Comparison("features", features.SLOT)
        self._built = FeatureReplay(recording, self._rows)
        self._predicted = PredictionReplay(recording, recording.features(), log)
        self._decided = DecisionReplay(recording, recording.predictions())
        self._stages: dict[str, tuple[Feed, Stage]] = {
            "features": (Feed(recording.features(), "cut_ns", "cut"), self._built),
            "predictions": (
                Feed(recording.predictions(), "made_ns", "made_ns"), self._predicted,
            ),
            "decisions": (Feed(recording.decisions(), "time_ns", "time_ns"), self._decided),
        }  # fmt: skip

    def first_ns(self) -> int:
        """Time of the first row, prediction or decision that is left; FOREVER after the last."""
        return min(feed.first_ns() for feed, _ in self._stages.values())

    def run(self, until_ns: int = FOREVER) -> None:
        """Go on up to a time of the recording."""
        for name, (feed, stage) in self._stages.items():
            began_s = monotonic_s()
            for block in feed.up_to(until_ns):
                stage.take(block)
                self._report(name, block)
            self._seconds[name] += monotonic_s() - began_s

    def verdict(self) -> Verdict:
        """What was found so far."""
        stages = (self._rows, self._predicted.comparison, self._decided.comparison)
        differences = [stage.first for stage in stages if stage.first is not None]
        return Verdict(
            session=self._recording.session,
            events=self._built.events,
            rows=self._built.rows,
            predictions=self._predicted.made,
            decisions=self._decided.made,
            identical=not differences and self._rows.compared > 0,
            first_difference=differences[0] if differences else None,
            events_per_s=self._built.events / max(self._seconds["features"], 1e-9),
            seconds=self._seconds,
            excluded=[span for stage in stages for span in stage.excluded],
            made_elsewhere=self._recording.folder.made().differences(this_machine()),
        )


def replay(
    data: Path, session: int, log: Log, report: Report = lambda *_: None, speed: float = 0.0
) -> Verdict:
    """Replay a session.

    Args:
        speed: as many times as fast as it was recorded; 0 = as fast as it goes.

    Raises:
        OperatorError: it is not there, or cannot be read.
    """
    going = Replay(data, session, log, report)
    if not speed:
        going.run()
        return going.verdict()
    began_s, first_ns = monotonic_s(), going.first_ns()
    while going.first_ns() != FOREVER:
        passed_ns = int((monotonic_s() - began_s) * speed * 1e9)
        going.run(first_ns + passed_ns)
        nap(STEP_S)
    return going.verdict()
