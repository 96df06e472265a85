"""Rule strategies as models: they need no training and give the same five outputs as a network.

Scalar functions, compiled: inference calls them for every row that it publishes.
"""

import math

from numba import njit

STRENGTH = 4.0


@njit(cache=True, nogil=True)
def moving_average_cross(
    cross_bps: float, volatility_bps: float
) -> tuple[float, float, float, float, float]:
    """The fast mean of mid against the slow one, measured in what the market usually moves.

    Args:
        cross_bps: feature `mean_cross_bps`. volatility_bps: feature `volatility_60s_bps`.

    Returns up, flat and down, which sum to 1; the expected move, which is the distance of the means
    (the trend goes on as far as it has come); and its spread, the minute's volatility.
    """
    volatility = max(float(volatility_bps), 0.01)
    strength = math.tanh(STRENGTH * cross_bps / volatility)
    move = float(cross_bps)
    return max(strength, 0.0), 1.0 - abs(strength), max(-strength, 0.0), move, volatility
