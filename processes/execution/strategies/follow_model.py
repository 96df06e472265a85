"""Follow one model: in when its probability of one side leads by the threshold, as far as it says.

Parameters of the rule: the threshold.
"""

from numba import njit

from processes.execution.strategies.base import FOLLOW, HOLD, LONG, SHORT, Parameters
from schemas.predictions import SPEAKERS
from schemas.settings import StrategySettings


@njit(cache=True, nogil=True)
def follow(threshold: float, up: float, down: float, move: float) -> tuple[int, float, float]:
    """Action, confidence, and the expected move in bp in the direction of the action."""
    lead = up - down
    if lead > threshold:
        return LONG, abs(lead), move
    if -lead > threshold:
        return SHORT, abs(lead), -move
    return HOLD, abs(lead), move


class FollowModel:
    """Of a model of inference's line-up by its place, or of the blend."""

    rule = FOLLOW

    def __init__(self, model: str, *, needs_network: bool) -> None:
        self.model = SPEAKERS.index(model)
        self.needs_network = needs_network

    def parameters(self, settings: StrategySettings) -> Parameters:
        """The confidence that a signal needs."""
        return Parameters(settings.enter_threshold)
