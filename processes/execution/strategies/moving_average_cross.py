"""Two moving averages that cross: the rule model of the chain, which needs no network."""

from processes.execution.strategies.follow_model import FollowModel


class MovingAverageCross(FollowModel):
    """In the direction in which the fast mean has crossed the slow one."""

    def __init__(self) -> None:
        super().__init__("moving_average_cross", needs_network=False)
