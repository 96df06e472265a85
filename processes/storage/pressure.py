"""How much of the books storage keeps when it falls behind: a machine of three steps.

    step     load >= tops_at   >= sample_at   >= back_below   below that for back_after_s
    -------  ----------------  -------------  --------------  ---------------------------
    full     tops              sampled        full            full
    sampled  tops              sampled        sampled         full, once nothing is owed
    tops     tops              tops           tops            sampled

Down it goes at once, and two steps if need be; back one step at a time, each after a while of its
own. It cannot fail, and knows neither rings nor files: it is told a load and the time.
"""

from enum import IntEnum

from schemas.settings import PressureSettings


class Step(IntEnum):
    """What is kept of a tape's books; of anything else all is kept, always."""

    FULL = 0
    SAMPLED = 1
    """Every level's newest state at each sample."""
    TOPS = 2
    """As before, of primary books the best levels only."""


class Pressure:
    """The step in force for one tape.

    Args:
        now_s: of the clock that `turn` is told.
    """

    def __init__(self, settings: PressureSettings, now_s: float = 0.0) -> None:
        self.settings = settings
        self.step = Step.FULL
        self.switches = 0
        self.outside = 0.0
        """Load that is not this ring's: of journals, and of rings of which all is kept."""
        self._low_since_s = now_s

    def turn(self, lag: float, now_s: float, *, owes: bool = False) -> Step:
        """The step from now on.

        Args:
            lag: behind the ring, as a share of its capacity.
            owes: books need levels that were left out, so that not all may be kept yet.
        """
        settings = self.settings
        if not settings.enabled:
            return self.step
        load = max(lag, self.outside)
        if load >= settings.back_below:
            self._low_since_s = now_s
        wanted = self.step
        if load >= settings.tops_at:
            wanted = Step.TOPS
        elif load >= settings.sample_at:
            wanted = max(self.step, Step.SAMPLED)
        elif now_s - self._low_since_s >= settings.back_after_s:
            wanted = self._back(owes=owes)
        if wanted != self.step:
            self.step = wanted
            self.switches += 1
            self._low_since_s = now_s
        return self.step

    def _back(self, *, owes: bool) -> Step:
        if self.step == Step.TOPS:
            return Step.SAMPLED
        return self.step if owes else Step.FULL
