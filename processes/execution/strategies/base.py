"""What every strategy is, and the words that its rule answers with."""

from typing import Final, NamedTuple, Protocol

from schemas.settings import StrategySettings
from schemas.trading import Action

HOLD, LONG, SHORT, EXIT = (
    int(action) for action in (Action.HOLD, Action.ENTER_LONG, Action.ENTER_SHORT, Action.EXIT)
)
FOLLOW, FLAT, TREND = range(3)
"""Rules: what the policy's kernel calls. A new one gets a number here and a line there."""


class Parameters(NamedTuple):
    """What a rule is given beside the prediction."""

    first: float = 0.0
    second: float = 0.0
    third: float = 0.0


NONE: Final = Parameters()


class Strategy(Protocol):
    """What the policy asks of a strategy."""

    rule: int
    model: int
    """Place of the model it reads in SPEAKERS."""
    needs_network: bool

    def parameters(self, settings: StrategySettings) -> Parameters:
        """For its rule."""
