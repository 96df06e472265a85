"""Follow the moving averages, but only where the market moves enough to pay for its spread.

Parameters of the rule: the threshold; how many spreads a minute's volatility must be; the share of
that volatility that is expected to be gained. The expected move is the rule's own: volatility over
the horizon grows with its square root, and this takes one minute of it.
"""

from math import isfinite

from numba import njit

from processes.execution.strategies.base import HOLD, LONG, SHORT, TREND, Parameters
from schemas.predictions import SPEAKERS
from schemas.settings import StrategySettings


@njit(cache=True, nogil=True)
def trend(
    threshold: float, spreads: float, share: float, up: float, down: float,
    spread_bps: float, volatility_bps: float,
) -> tuple[int, float, float]:  # fmt: skip
    """Action, confidence, and the expected move in bp."""
    lead, move = up - down, share * volatility_bps
    if not isfinite(volatility_bps) or volatility_bps < spreads * spread_bps:
        return HOLD, abs(lead), 0.0
    if lead > threshold:
        return LONG, abs(lead), move
    if -lead > threshold:
        return SHORT, abs(lead), move
    return HOLD, abs(lead), 0.0


class VolatilityTrend:
    """Settings: `strategy.volatility_trend`."""

    rule = TREND
    model = SPEAKERS.index("moving_average_cross")
    needs_network = False

    def parameters(self, settings: StrategySettings) -> Parameters:
        """Threshold, spreads, share."""
        mine = settings.volatility_trend
        return Parameters(settings.enter_threshold, mine.spreads, mine.share)
