"""A local linear trend on log mid by a Kalman filter: its slope, and the slope's t-value.

After Durbin and Koopman (Time Series Analysis by State Space Methods, 2012, chapter 3). Variances
are counted against that of the noise, which is followed as it goes.
"""

import math
from typing import Any, Final

import numpy as np
from numba import njit

TREND: Final = 6
"""Numbers of an instrument's trend: level, slope, three of their covariance, scale; all of one."""
_MEMORY: Final = 0.03
"""Share of the newest surprise in the trend's scale."""
GRID: Final = tuple((level, level * share) for level in (0.3, 3.0) for share in (1e-3, 1e-2, 1e-1))
"""Variances of the steps of level and slope, against the noise of a mid, that are tried. A slope
that moves less would remember hours, and two lives of inference would not agree for as long."""


@njit(cache=True, nogil=True)
def trend_row(price: float, ratios: Any, trend: Any) -> tuple[float, float, float]:
    """One step of the local linear trend; slope in basis points a row, its t-value, log likelihood.

    Args:
        ratios: (2) variances of the steps of level and slope, against the noise's. trend: (TREND)
            level, slope (of log mid in basis points), covariance (level, both, slope) and variance
            of the noise; all zeros before the first row.
    """
    if not (price > 0.0 and math.isfinite(price)):
        return trend[1], 0.0, 0.0
    seen = math.log(price) * 1e4
    if trend[2] == 0.0:
        trend[0], trend[1] = seen, 0.0
        trend[2], trend[3], trend[4] = 1.0, 0.0, 1.0
        return 0.0, 0.0, 0.0
    level, slope = trend[0] + trend[1], trend[1]
    p00 = trend[2] + 2.0 * trend[3] + trend[4] + ratios[0]
    p01 = trend[3] + trend[4]
    p11 = trend[4] + ratios[1]
    surprise, spread = seen - level, p00 + 1.0
    square = surprise * surprise / spread
    likelihood = 0.0
    if trend[5] > 0.0:
        likelihood = -0.5 * (math.log(trend[5] * spread) + square / trend[5])
        trend[5] += _MEMORY * (square - trend[5])
    else:
        trend[5] = square
    gain, pull = p00 / spread, p01 / spread
    trend[0], trend[1] = level + gain * surprise, slope + pull * surprise
    trend[2], trend[3], trend[4] = p00 * (1.0 - gain), p01 * (1.0 - gain), p11 - pull * p01
    t_value = 0.0
    if trend[5] > 0.0:
        t_value = trend[1] / math.sqrt(trend[4] * trend[5])
    return trend[1], t_value, likelihood


@njit(cache=True, nogil=True)
def _trend_likelihood(prices: Any, ratios: Any) -> float:
    trend, total = np.zeros(TREND), 0.0
    for t in range(len(prices)):
        _, _, likelihood = trend_row(prices[t], ratios, trend)
        total += likelihood
    return total


def fit_trend(streams: list[np.ndarray]) -> np.ndarray:
    """The pair of `GRID` under which the mids (n) of all streams are likeliest."""
    found = []
    for pair in GRID:
        ratios, total = np.array(pair), 0.0
        for prices in streams:
            total += _trend_likelihood(prices, ratios)
        found.append(total)
    return np.array(GRID[int(np.argmax(found))])
