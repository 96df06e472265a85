"""Always flat: leaves what is held, and enters nothing. For winding down without the switch."""

from numba import njit

from processes.execution.strategies.base import EXIT, FLAT, HOLD, NONE, Parameters
from schemas.predictions import SPEAKERS
from schemas.settings import StrategySettings


@njit(cache=True, nogil=True)
def stay_flat(held: int) -> tuple[int, float, float]:
    """Out of whatever is held, with all confidence."""
    if held != 0:
        return EXIT, 1.0, 0.0
    return HOLD, 0.0, 0.0


class AlwaysFlat:
    """Reads no model at all."""

    rule = FLAT
    model = SPEAKERS.index("moving_average_cross")
    needs_network = False

    def parameters(self, settings: StrategySettings) -> Parameters:
        """None."""
        del settings
        return NONE
