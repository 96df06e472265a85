"""The ladder below the model chain: in full, positions only, flat and stopped; and back up.

The chain itself (MLX, CPU, no network) falls and climbs in inference, and says its rung with each
prediction. Here is what trading makes of it: while no prediction comes that the strategy can use,
nothing is entered and positions are kept; when that lasts longer than `risk.positions_only_s`, they
are closed and nothing is entered. The first predictions that can be used end it. A strategy that
needs no network can use the predictions of every rung; none can use what does not come.

Part of the machine: predictions and the timer are its inputs. A life begins in full.
"""

from typing import Final

from schemas.predictions import Rung
from schemas.trading import Step

FALLEN_NS: Final = 10_000_000_000
"""Without a usable prediction for so long, only positions are kept."""


class Degradation:
    """Where on the ladder trading is."""

    def __init__(self) -> None:
        self.step = Step.FULL
        self._usable_ns = 0
        """When predictions could be used last, or this life began; 0 before the first turn."""
        self._has_seen = False
        """A prediction of this life could be used."""

    def obey(self, positions_only_s: float, *, needs_network: bool) -> None:
        """Take settings; 0 s = never flat."""
        self._flat_ns = int(positions_only_s * 1e9)
        self._needs_network = needs_network

    def see(self, rung: int, now_ns: int) -> None:
        """Predictions have come, on this rung at best."""
        if rung < Rung.POSITIONS_ONLY or not self._needs_network:
            self._usable_ns = now_ns
            self._has_seen = True

    def turn(self, now_ns: int) -> str:
        """Time has passed: why the step is another one now, or nothing."""
        self._usable_ns = self._usable_ns or now_ns
        lasted_ns = now_ns - self._usable_ns
        step = Step.FULL
        if self._flat_ns and lasted_ns >= self._flat_ns:
            step = Step.FLAT
        elif lasted_ns >= FALLEN_NS:
            step = Step.POSITIONS_ONLY
        if step is self.step:
            return ""
        self.step = step
        if step is Step.FULL:
            return "predictions can be used again"
        if not self._has_seen:
            return f"waiting for a first prediction, since {lasted_ns / 1e9:.0f} s"
        return f"no prediction could be used for {lasted_ns / 1e9:.0f} s"
