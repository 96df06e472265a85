"""Strategies by the names that settings and decisions know them by."""

from typing import Final

from processes.execution.strategies.always_flat import AlwaysFlat
from processes.execution.strategies.base import Strategy
from processes.execution.strategies.follow_model import FollowModel
from processes.execution.strategies.moving_average_cross import MovingAverageCross
from processes.execution.strategies.volatility_trend import VolatilityTrend
from schemas.decisions import STRATEGIES
from schemas.predictions import RULES

REGISTRY: Final[dict[str, Strategy]] = {
    "moving_average_cross": MovingAverageCross(),
    "tcn": FollowModel("tcn", needs_network=True),
    "always_flat": AlwaysFlat(),
    "volatility_trend": VolatilityTrend(),
    **{
        name: FollowModel(name, needs_network=False)
        for name in ("cnn", "linear", "gbdt", "regime", *RULES[1:], "blend")
    },
}
assert set(REGISTRY) < set(STRATEGIES)
