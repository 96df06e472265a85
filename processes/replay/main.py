"""A whole replay: every stage is fed with what was recorded before it, and judged by itself.

If each stage makes of its recorded input what is recorded after it, the chain does: that is what
`identical` says. A stage that differs therefore does not drag the others along.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from processes.clock import monotonic_s
from processes.logs import Log
from processes.replay.comparison import Comparison, Difference, Excluded
from processes.replay.decisions import DecisionReplay
from processes.replay.features import FeatureReplay
from processes.replay.predictions import PredictionReplay
from processes.replay.recording import Recording, whole
from processes.sessions import this_machine
from schemas import features

STAGES: Final = ("features", "predictions", "decisions")

Report = Callable[[str, int], None]
"""Told of the stage and how many slots it has made."""


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


def replay(data: Path, session: int, log: Log, report: Report = lambda *_: None) -> Verdict:
    """Replay a session.

    Raises:
        OperatorError: it is not there, or cannot be read.
    """
    recording = Recording(data, session)
    seconds: dict[str, float] = {}
    began_s = monotonic_s()
    rows = Comparison("features", features.SLOT)
    built = FeatureReplay(recording, rows)
    for block in whole(recording.features(), "cut"):
        built.take(block)
        report("features", built.rows)
    seconds["features"], began_s = monotonic_s() - began_s, monotonic_s()
    predicted = PredictionReplay(recording, recording.features(), log)
    for block in whole(recording.predictions(), "made_ns"):
        predicted.take(block)
        report("predictions", predicted.made)
    seconds["predictions"], began_s = monotonic_s() - began_s, monotonic_s()
    decided = DecisionReplay(recording, recording.predictions())
    for block in whole(recording.decisions(), "time_ns"):
        decided.take(block)
        report("decisions", decided.made)
    seconds["decisions"] = monotonic_s() - began_s
    stages = (rows, predicted.comparison, decided.comparison)
    differences = [stage.first for stage in stages if stage.first is not None]
    return Verdict(
        session=session,
        events=built.events,
        rows=built.rows,
        predictions=predicted.made,
        decisions=decided.made,
        identical=not differences and rows.compared > 0,
        first_difference=differences[0] if differences else None,
        events_per_s=built.events / max(seconds["features"], 1e-9),
        seconds=seconds,
        excluded=[span for stage in stages for span in stage.excluded],
        made_elsewhere=recording.folder.made().differences(this_machine()),
    )
