"""Rule strategies as models: they speak without training, with the five outputs of a network.

Each looks at one indicator of the catalogue and at the last minute's volatility, which is what a
market usually moves and the measure of every expected move:

    moving_average_cross  the trend goes on as far as the means have come apart
    rsi_thresholds        what was sold or bought too fast turns (Wilder: New Concepts in Technical
                          Trading Systems, 1978): below 30 up, above 70 down
    bollinger_touch       a close at a band turns (Bollinger: Bollinger on Bollinger Bands, 2001)
    donchian_breakout     a close at the edge of 20 bars goes on (Donchian's channel, 1960)

Scalar functions, compiled: inference calls them for every row that it publishes. What they say as
the textbook has it are convictions, not frequencies. Trained, a rule keeps its indicator and its
three zones; where the edges of these tell most, and what came of each, is counted (`zones.py`).
"""

import math
from typing import Any, ClassVar, Final, Self

import numpy as np
from numba import njit

from models.base import ModelError
from models.family import Report, Weights
from models.learnable import LEAST, learnable
from models.rowwise import RowModel
from models.samples import DOWN, OUTPUTS, UP, Samples, Target
from models.zones import Zones, counted, say_zone, zones_of
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
def _reading(rule: int, signal: float, volatility: float) -> float:
    """What the zones of a rule are zones of: how far means have come apart is so by volatility."""
    return signal / max(volatility, VOLATILITY_LEAST) if rule == _CROSS else signal


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
        for k in range(OUTPUTS):
            out[row, k] = said[k] if there else np.nan


@njit(cache=True, nogil=True)
def _say_counted(
    rule: int, values: Any, signal_at: int, volatility_at: int, edges: Any, outputs: Any, out: Any
) -> None:
    for row in range(len(values)):
        signal = np.float64(values[row, signal_at])
        volatility = np.float64(values[row, volatility_at])
        if math.isfinite(signal) and math.isfinite(volatility):
            usual = max(volatility, VOLATILITY_LEAST)
            say_zone(_reading(rule, signal, volatility), usual, edges, outputs, out[row])
        else:
            out[row] = np.nan


class Rule(RowModel):
    """A rule as the textbook has it, or one whose zones were counted."""

    rule: ClassVar[int]
    signal: ClassVar[str]
    """The column it looks at."""
    edges: ClassVar[tuple[float, float]]
    """Of its zones, in the textbook."""

    def __init__(self) -> None:
        self._signal_at = COLUMN[self.signal]
        self._volatility_at = COLUMN["volatility_60s_bps"]
        self._zones: Zones | None = None

    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        """Count what came of its zones."""
        del target, seed
        known = learnable(samples)
        signal = known.values[:, self._signal_at].astype(np.float64)
        volatility = known.values[:, self._volatility_at].astype(np.float64)
        had = np.isfinite(signal) & np.isfinite(volatility)
        if had.sum() < LEAST:
            raise ModelError(f"{self.signal} is none in nearly all rows: take a longer span")
        usual = np.maximum(volatility[had], VOLATILITY_LEAST)
        reading = signal[had] / usual if self.rule == _CROSS else signal[had]
        self._zones = counted(reading, known.label[had], known.move_bps[had] / usual, self.edges)
        report(1.0)

    def say(self, values: np.ndarray, book: np.ndarray, out: np.ndarray) -> None:
        """Write what it says of each row; NaN where the indicator is none."""
        del book
        if self._zones is None:
            _say(self.rule, values, self._signal_at, self._volatility_at, out)
        else:
            _say_counted(self.rule, values, self._signal_at, self._volatility_at, *self._zones, out)

    def explain(self, samples: Samples) -> np.ndarray:
        """The log-odds, all of them its indicator's; 0 where it says nothing."""
        said = np.maximum(self.predict(samples).astype(np.float64), CHANCE_LEAST)
        found = np.zeros(samples.values.shape)
        found[:, self._signal_at] = np.nan_to_num(np.log(said[:, UP] / said[:, DOWN]))
        return found

    def weights(self) -> Weights:
        """Its zones; none of the textbook's."""
        return self._zones.weights() if self._zones is not None else {}

    @classmethod
    def restored(cls, weights: Weights) -> Self:
        """The rule with these zones, or as the textbook has it."""
        model = cls()
        model._zones = zones_of(weights) if weights else None
        return model


class MovingAverageCross(Rule):
    """Means of 5 s and 30 s."""

    family = "moving_average_cross"
    rule = _CROSS
    signal = "mean_cross_bps"
    edges = (-math.atanh(CONVICTION) / STRENGTH, math.atanh(CONVICTION) / STRENGTH)


class RsiThresholds(Rule):
    """14 bars of a minute."""

    family = "rsi_thresholds"
    rule = _RSI
    signal = "rsi_14_1m"
    edges = (OVERSOLD, OVERBOUGHT)


class BollingerTouch(Rule):
    """20 bars of a minute."""

    family = "bollinger_touch"
    rule = _BOLLINGER
    signal = "bollinger_20_1m"
    edges = (0.0, 1.0)


class DonchianBreakout(Rule):
    """20 bars of a minute."""

    family = "donchian_breakout"
    rule = _DONCHIAN
    signal = "donchian_20_1m"
    edges = (0.0, 1.0)
