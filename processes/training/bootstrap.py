"""How sure a figure is: blocks of time drawn again and again.

Neighbouring samples share their moves and their mood, so whole blocks of time are drawn, all
instruments together (Carlstein, The Use of Subseries Values for Estimating the Variance of a
General Statistic from a Stationary Sequence, 1986). Draws are of a seed: the same samples have the
same interval.
"""

from typing import Final

import numpy as np
from msgspec import Struct

DRAWS: Final = 400
MOST_BLOCKS: Final = 2000
MOST_RANKED: Final = 100_000
"""An area under a curve is bootstrapped on no more samples: every k-th of more."""
RANKED_DRAWS: Final = 200
TAIL: Final = 0.025


class Interval(Struct, frozen=True, kw_only=True):
    """A figure and the middle 95 % of its draws."""

    low: float
    value: float
    high: float


class Blocks:
    """Blocks of time, and how often each is drawn.

    Args:
        cut_ns: (n) int64, never falling. horizon_ns: a block is two of them or more, and 20 cuts.
    """

    def __init__(self, cut_ns: np.ndarray, horizon_ns: int, seed: int) -> None:
        cuts = np.unique(cut_ns)
        usual_ns = int(np.median(np.diff(cuts))) if len(cuts) > 1 else 1
        span_ns = int(cuts[-1] - cuts[0]) + 1 if len(cuts) else 1
        length_ns = max(2 * horizon_ns, 20 * usual_ns, span_ns // MOST_BLOCKS + 1)
        # A block without a sample, as in a gap between sessions, is none.
        _, self.of = np.unique((cut_ns - cut_ns[:1]) // length_ns, return_inverse=True)
        self.count = int(self.of.max()) + 1 if len(self.of) else 0
        self.length_s = length_ns / 1e9
        draw = np.random.default_rng(seed)
        even = np.full(max(self.count, 1), 1.0 / max(self.count, 1))
        self._drawn = draw.multinomial(self.count, even, DRAWS).astype(np.float64)

    def mean(self, values: np.ndarray, weight: np.ndarray | None = None) -> Interval:
        """Of the mean of (n) values, or of a weighted one; zeros where nothing weighs."""
        weights = np.ones(len(values)) if weight is None else weight.astype(np.float64)
        held = np.where(weights > 0, values, 0.0)
        sums = np.bincount(self.of, held * weights, self.count)
        counts = np.bincount(self.of, weights, self.count)
        total = float(counts.sum())
        if not total:
            return Interval(low=0.0, value=0.0, high=0.0)
        drawn = self._drawn @ counts
        there = drawn > 0
        return _interval(float(sums.sum() / total), (self._drawn @ sums)[there] / drawn[there])

    def auc(self, score: np.ndarray, positive: np.ndarray) -> Interval:
        """Of the area under the curve of a score, for telling positives from the others.

        With one side only nothing is known: 0.5, between 0 and 1.
        """
        if not 0 < positive.sum() < len(positive):
            return Interval(low=0.0, value=0.5, high=1.0)
        value = auc(score, positive)
        step = len(score) // MOST_RANKED + 1
        ranked = Ranked(score[::step], positive[::step])
        blocks = self.of[::step]
        drawn = np.array([ranked.auc(one[blocks]) for one in self._drawn[:RANKED_DRAWS]])
        return _interval(value, drawn[np.isfinite(drawn)])


class Ranked:
    """A score in order, so that areas under its curve with other weights cost one pass each."""

    def __init__(self, score: np.ndarray, positive: np.ndarray) -> None:
        self._order = np.argsort(score, kind="stable")
        ordered = score[self._order]
        starts = np.flatnonzero(np.diff(ordered) != 0) + 1
        self._starts = np.concatenate([[0], starts]).astype(np.intp)
        self._positive = positive[self._order].astype(np.float64)

    def auc(self, weight: np.ndarray) -> float:
        """The area (Mann and Whitney's U, ties half) with (n) weights; NaN with one side only."""
        mine = weight[self._order]
        above = np.add.reduceat(mine * self._positive, self._starts)
        below = np.add.reduceat(mine * (1.0 - self._positive), self._starts)
        total = float(above.sum() * below.sum())
        if not total:
            return float("nan")
        return float((above * (np.cumsum(below) - below / 2.0)).sum() / total)


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """The area under the curve; NaN with one side only."""
    return Ranked(score, positive).auc(np.ones(len(score)))


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, [TAIL, 1.0 - TAIL]) if len(drawn) else (value, value)
    return Interval(low=float(low), value=value, high=float(high))
