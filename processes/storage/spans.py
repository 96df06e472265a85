"""The notes beside the lake that explain what storage left out on purpose: a hole a span.

A span is told before the first slot of it is written, and until it is over with more sequences than
it holds, so that one synced line does for a hundred thousand slots. What a killed storage has left
too large is set right by its next life, which does not know any more how much was left out. May
fail for want of room (OSError), and can then be called again.
"""

from pathlib import Path
from typing import Final

from processes.lake_holes import BY_DESIGN, SAMPLED, TOPS, UNKNOWN, Hole, note_hole, read_holes
from processes.storage.pressure import Step

AHEAD: Final = 1 << 20
"""A span is told this much longer than it is."""
REASONS: Final = {Step.SAMPLED: SAMPLED, Step.TOPS: TOPS}


class Spans:
    """Spans of one tape and session, of which at most one goes on."""

    def __init__(self, lake: Path, ring: str, session: int) -> None:
        self.left_out = 0
        """Over all spans of this life."""
        self._lake = lake
        self._ring = ring
        self._session = session
        self._step = Step.FULL
        self._first = 0
        self._told = 0
        self._time_ns = 0
        self._mine = 0

    def mend(self, position: int) -> None:
        """End what an earlier life was killed in, at the last slot it has written."""
        for hole in read_holes(self._lake, self._ring):
            mine = hole.session == self._session and hole.reason in BY_DESIGN
            if mine and hole.left_out == UNKNOWN and hole.last > position:
                self._note(hole.first, position, hole.time_ns, hole.reason, UNKNOWN, UNKNOWN)

    def cover(self, step: Step, first: int, last: int, time_ns: int) -> None:
        """See that a window about to be written is told."""
        if self._step == Step.FULL:
            self._first, self._time_ns, self._mine, self._told = first, time_ns, 0, 0
        if last > self._told:
            reason = REASONS[step]
            self._note(self._first, last + AHEAD, self._time_ns, reason, UNKNOWN, UNKNOWN)
            self._told = last + AHEAD
        self._step = step

    def count(self, left_out: int) -> None:
        """So many slots of the window were left out, and it is written."""
        self._mine += left_out
        self.left_out += left_out

    def end(self, step: Step, position: int, owed: int) -> None:
        """Another step is in force behind a position: say what the span before it was."""
        if self._step in {Step.FULL, step}:
            return
        reason = REASONS[self._step]
        self._note(self._first, position, self._time_ns, reason, self._mine, owed)
        self._step = Step.FULL

    def _note(
        self, first: int, last: int, time_ns: int, reason: str, left_out: int, owed: int
    ) -> None:
        hole = Hole(
            session=self._session, first=first, last=last, time_ns=time_ns, reason=reason,
            left_out=left_out, owed=owed,
        )  # fmt: skip
        note_hole(self._lake, self._ring, hole)
