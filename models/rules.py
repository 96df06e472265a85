"""Rule strategies as models: they need no training and give the same five outputs as a network.

Each looks at one indicator of the catalogue and at the last minute's volatility, which is what a
market usually moves and the measure of every expected move:

    moving_average_cross  the trend goes on as far as the means have come apart
    rsi_thresholds        what was sold or bought too fast turns (Wilder: New Concepts in Technical
                          Trading Systems, 1978): below 30 up, above 70 down
    bollinger_touch       a close at a band turns (Bollinger: Bollinger on Bollinger Bands, 2001)
    donchian_breakout     a close at the edge of 20 bars goes on (Donchian's channel, 1960)

Scalar functions, compiled: inference calls them for every row that it publishes. Their chances are
convictions, not frequencies: the blend is what calibrates them.
"""

import math
from typing import Any, ClassVar, Final, Self

import numpy as np
from numba import njit

from models.base import ModelError
from models.family import Report, Weights
from models.rowwise import RowModel
from models.samples import DOWN, UP, Samples, Target
from schemas.features import COLUMN

STRENGTH = 4.0
CONVICTION: Final = 0.5
"""Chance of its side that a rule begins with where its threshold is touched."""
OVERSOLD: Final = 30.0
OVERBOUGHT: Final = 70.0
BANDWIDTH: Final = 0.5
"""How far beyond a band, in widths between the bands, a rule is certain."""
VOLATILITY_LEAST: Final = 0.01
CHANCE_LEAST: Final = 1e-3
"""Chances are kept from 0 by so much where odds are made of them."""

Outputs = tuple[float, float, float, float, float]


@njit(cache=True, nogil=True)
def moving_average_cross(cross_bps: float, volatility_bps: float) -> Outputs:
    """The fast mean of mid against the slow one, measured in what the market usually moves.

    Args:
        cross_bps: feature `mean_cross_bps`. volatility_bps: feature `volatility_60s_bps`.

    Returns up, flat and down, which sum to 1; the expected move, which is the distance of the means
    (the trend goes on as far as it has come); and its spread, the minute's volatility.
    """
    volatility = max(float(volatility_bps), VOLATILITY_LEAST)
    strength = math.tanh(STRENGTH * cross_bps / volatility)
    move = float(cross_bps)
    return max(strength, 0.0), 1.0 - abs(strength), max(-strength, 0.0), move, volatility


@njit(cache=True, nogil=True)
def _leaning(side: float, beyond: float, volatility_bps: float) -> Outputs:
    """Outputs of a rule that leans to a side (1 up, -1 down, 0 neither).

    Args:
        beyond: how far beyond its threshold, 1 where it is certain.
    """
    volatility = max(float(volatility_bps), VOLATILITY_LEAST)
    strength = side * (CONVICTION + (1.0 - CONVICTION) * min(max(beyond, 0.0), 1.0))
    move = strength * volatility
    return max(strength, 0.0), 1.0 - abs(strength), max(-strength, 0.0), move, volatility


@njit(cache=True, nogil=True)
def rsi_thresholds(rsi: float, volatility_bps: float) -> Outputs:
    """Against what went too fast. Args: rsi: 0 to 100, 50 where there is none."""
    if rsi < OVERSOLD:
        return _leaning(1.0, (OVERSOLD - rsi) / OVERSOLD, volatility_bps)
    if rsi > OVERBOUGHT:
        return _leaning(-1.0, (rsi - OVERBOUGHT) / (100.0 - OVERBOUGHT), volatility_bps)
    return _leaning(0.0, 0.0, volatility_bps)


@njit(cache=True, nogil=True)
def bollinger_touch(percent_b: float, volatility_bps: float) -> Outputs:
    """Back between the bands. Args: percent_b: 0 at the lower band, 1 at the upper one."""
    if percent_b <= 0.0:
        return _leaning(1.0, -percent_b / BANDWIDTH, volatility_bps)
    if percent_b >= 1.0:
        return _leaning(-1.0, (percent_b - 1.0) / BANDWIDTH, volatility_bps)
    return _leaning(0.0, 0.0, volatility_bps)


@njit(cache=True, nogil=True)
def donchian_breakout(position: float, volatility_bps: float) -> Outputs:
    """On where the channel is left. Args: position: 0 at its lowest low, 1 at its highest high."""
    if position >= 1.0:
        return _leaning(1.0, 0.0, volatility_bps)
    if position <= 0.0:
        return _leaning(-1.0, 0.0, volatility_bps)
    return _leaning(0.0, 0.0, volatility_bps)


_CROSS, _RSI, _BOLLINGER, _DONCHIAN = range(4)


@njit(cache=True, nogil=True)
def _say(rule: int, values: Any, signal_at: int, volatility_at: int, out: Any) -> None:
    for row in range(len(values)):
        signal = np.float64(values[row, signal_at])
        volatility = np.float64(values[row, volatility_at])
        if rule == _CROSS:
            said = moving_average_cross(signal, volatility)
        elif rule == _RSI:
            said = rsi_thresholds(signal, volatility)
        elif rule == _BOLLINGER:
            said = bollinger_touch(signal, volatility)
        else:
            said = donchian_breakout(signal, volatility)
        there = math.isfinite(signal) and math.isfinite(volatility)
        for k in range(5):
            out[row, k] = said[k] if there else np.nan


class Rule(RowModel):
    """A rule: nothing is fitted, and there are no weights."""

    rule: ClassVar[int]
    signal: ClassVar[str]
    """The column it looks at."""

    def __init__(self) -> None:
        self._signal_at = COLUMN[self.signal]
        self._volatility_at = COLUMN["volatility_60s_bps"]

    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        """There is nothing to learn."""
        del samples, target, seed
        report(1.0)

    def say(self, values: np.ndarray, book: np.ndarray, out: np.ndarray) -> None:
        """Write what it says of each row; NaN where the indicator is none."""
        del book
        _say(self.rule, values, self._signal_at, self._volatility_at, out)

    def explain(self, samples: Samples) -> np.ndarray:
        """The log-odds, all of them its indicator's; 0 where it says nothing."""
        said = np.maximum(self.predict(samples).astype(np.float64), CHANCE_LEAST)
        found = np.zeros(samples.values.shape)
        found[:, self._signal_at] = np.nan_to_num(np.log(said[:, UP] / said[:, DOWN]))
        return found

    def weights(self) -> Weights:
        """None."""
        return {}

    @classmethod
    def restored(cls, weights: Weights) -> Self:
        """The rule."""
        if weights:
            raise ModelError(f"{cls.family} is a rule and has no weights: these are not its own")
        return cls()


class MovingAverageCross(Rule):
    """Means of 5 s and 30 s."""

    family = "moving_average_cross"
    rule = _CROSS
    signal = "mean_cross_bps"


class RsiThresholds(Rule):
    """14 bars of a minute."""

    family = "rsi_thresholds"
    rule = _RSI
    signal = "rsi_14_1m"


class BollingerTouch(Rule):
    """20 bars of a minute."""

    family = "bollinger_touch"
    rule = _BOLLINGER
    signal = "bollinger_20_1m"


class DonchianBreakout(Rule):
    """20 bars of a minute."""

    family = "donchian_breakout"
    rule = _DONCHIAN
    signal = "donchian_20_1m"
