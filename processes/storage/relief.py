"""One tape's back-pressure: the step in force, the windows that are thinned, the notes of both.

While all is kept it costs one comparison a block and holds nothing. May fail for want of room
(OSError) like all that writes; what was written by then is true, and the same call goes on.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from processes.clock import monotonic_s
from processes.storage.journal import Journal
from processes.storage.pressure import Pressure, Step
from processes.storage.spans import Spans
from processes.storage.thinning import Thinner
from schemas.settings import PressureSettings

OnStep = Callable[[str, Step, float], object]
"""Told of each change: the ring, the step from now on, and the load."""


class Relief:
    """What is left out of one tape, and when.

    Args:
        lake: its root. on_step: told of each step, both ways.
    """

    def __init__(
        self,
        settings: PressureSettings,
        lake: Path,
        ring: str,
        session: int,
        on_step: OnStep = lambda *_: None,
    ) -> None:
        self.pressure = Pressure(settings, monotonic_s())
        self.ending = False
        """No more slots will come, so that the last window is over."""
        self._ring = ring
        self._wait_s = settings.sample_ms / 1e3
        self._thinner = Thinner(settings)
        self._spans = Spans(lake, ring, session)
        self._on_step = on_step
        self._tail = (0, 0.0)
        """First slot of the window that is not over, and since when it was that."""

    @property
    def step(self) -> Step:
        """The step in force."""
        return self.pressure.step

    @property
    def left_out(self) -> int:
        """Slots left out so far."""
        return self._spans.left_out

    @property
    def owed(self) -> int:
        """Levels that books still need."""
        return self._thinner.owed

    def begin(self, position: int) -> None:
        """End the notes of an earlier life, which has written up to a position."""
        self._spans.mend(position)

    def turn(self, lag: float, position: int) -> bool:
        """Whether slots are left out of what comes after a position."""
        before = self.step
        step = self.pressure.turn(lag, monotonic_s(), owes=self.owed > 0)
        if step != before:
            self._on_step(self._ring, step, max(lag, self.pressure.outside))
        self._spans.end(step, position, 0)
        return step != Step.FULL

    def write(self, block: np.ndarray, journal: Journal, *, full: bool) -> Iterator[np.ndarray]:
        """Write the windows that are over; their slots, as soon as they are in the journal.

        Args:
            block: what follows the journal's position. full: it has no room for more.
        """
        begin = 0
        for end in self._thinner.ends(block, full=full, late=self._is_late(block, full=full)):
            window = block[begin:end]
            first, last = int(window["sequence"][0]), int(window["sequence"][-1])
            thinned = self._thinner.thin(window, self.step)
            self._spans.cover(self.step, first, last, int(window["recv_ns"][0]))
            journal.append(thinned.rows, thin_first=first)
            self._thinner.commit(thinned)
            self._spans.count(thinned.left_out)
            yield thinned.rows
            begin = end

    def _is_late(self, block: np.ndarray, *, full: bool) -> bool:
        first, now_s = int(block["sequence"][0]), monotonic_s()
        if self._tail[0] != first:
            self._tail = (first, now_s)
        return not full and (self.ending or now_s - self._tail[1] >= self._wait_s)

    def end(self, position: int) -> None:
        """The last slot is written; what books still need they will not get."""
        self._spans.end(Step.FULL, position, self.owed)
