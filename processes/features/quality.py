"""Whether the columns of a row are to be believed, and what stands in place of those that are not.

Looked at once a column and cut, in this order: is it missing; is it a number within its range; has
it been the very same for too long while book events came; is it too far from what it usually is.
What a column is held to, and what becomes of it, stands in the catalogue. All of it follows from
the rows before, so that a replay comes to the same.

"Usually" is a running median and a running median of the distance from it, which cost a comparison
and a step each: the median goes up by a share of the scale when the value is above it and down when
it is below (Robbins, Monro: A Stochastic Approximation Method, 1951, on the sign); the scale grows
or shrinks by the same share. No single value moves them by more than that, however far it is. They
learn at boundaries only, so that they mean the same with and without the trigger.
"""

import math
from typing import Any, Final

import numpy as np
from numba import njit

from processes.features.kernels import (
    W_COLUMNS,
    W_DROPPED,
    W_FILLED,
    W_MASKED,
    W_MISSING,
    W_OUT_OF_RANGE,
    W_OUTLIER,
    W_STUCK,
)
from schemas.features import CATALOGUE, OUTLIER, WIDTH, Invalid, Policy

LEARNT: Final = 60
"""Values without which nothing is an outlier."""
SLOWEST: Final = 0.02
"""Least share of the scale that a value moves median and scale by; the n-th moves them by 1/n."""

_LOW = np.array([feature.low for feature in CATALOGUE])
_HIGH = np.array([feature.high for feature in CATALOGUE])
_GRAIN = np.array([feature.grain for feature in CATALOGUE])
_NEUTRAL = np.array([feature.neutral for feature in CATALOGUE], np.float32)
_POLICY = np.array([int(feature.policy) for feature in CATALOGUE])
_STUCK_AFTER = np.array([feature.stuck_after for feature in CATALOGUE])
_FILL, _DROP = int(Policy.FILL), int(Policy.DROP)
_NOT_FINITE, _DROPPED = int(Invalid.NOT_FINITE), int(Invalid.DROPPED)
_ONE = np.uint64(1)
_BELIEVED = -1


@njit(cache=True, nogil=True)
def bit(column: Any) -> Any:
    """The column's bit in a mask."""
    return _ONE << np.uint64(column)


@njit(cache=True, nogil=True)
def _learn(state: Any, column: int, value: float) -> None:
    centre, scale, seen = state.centre, state.scale, state.seen
    seen[column] += 1
    share = max(1.0 / seen[column], SLOWEST)
    grain = _GRAIN[column]
    if seen[column] == 1:
        centre[column] = value
        return
    distance = abs(value - centre[column])
    step = share * max(scale[column], grain)
    centre[column] += math.copysign(min(step, distance), value - centre[column])
    if distance > scale[column]:
        scale[column] = max(scale[column], grain) * (1.0 + share)
    else:
        scale[column] /= 1.0 + share


@njit(cache=True, nogil=True)
def _fault(state: Any, column: int, value: float, news: bool) -> int:
    """The counter of what is wrong with a number that is there, or `_BELIEVED`."""
    if not _LOW[column] <= value <= _HIGH[column]:
        return W_OUT_OF_RANGE
    if 0 < _STUCK_AFTER[column] <= state.repeats[column] and news:
        return W_STUCK
    grain = _GRAIN[column]
    if grain > 0.0 and state.seen[column] >= LEARNT:
        far = OUTLIER * max(state.scale[column], grain)
        if abs(value - state.centre[column]) > far:
            return W_OUTLIER
    return _BELIEVED


@njit(cache=True, nogil=True)
def judge(
    told: Any, state: Any, values: Any, missing: Any, at_boundary: bool, is_trusted: bool
) -> tuple[Any, int]:  # fmt: skip
    """Replace what is not believed.

    Args:
        values: (WIDTH) float32 of a row. missing: bits of the columns that are not had.
        at_boundary: whether the row is one of a boundary. is_trusted: whether its book can be.

    Returns the bits of the columns that were replaced, and `Invalid` bits of the row.
    """
    masked, invalid = np.uint64(0), 0
    news = at_boundary and state.spread_count != state.books_judged
    good, has_good, stood, repeats = state.good, state.has_good, state.stood, state.repeats
    for column in range(WIDTH):
        value = values[column]
        fault = W_MISSING
        if missing & bit(column) == 0:
            if not math.isfinite(value):
                fault = W_OUT_OF_RANGE
                invalid |= _NOT_FINITE
            else:
                if news:
                    repeats[column] = repeats[column] + 1 if value == stood[column] else 0
                    stood[column] = value
                fault = _fault(state, column, value, news)
                if at_boundary and is_trusted:
                    _learn(state, column, value)
        if fault in (_BELIEVED, W_STUCK):
            good[column], has_good[column] = value, 1
        if fault == _BELIEVED:
            continue
        told[fault] += 1
        masked |= bit(column)
        filled = _POLICY[column] == _FILL and has_good[column] != 0
        values[column] = good[column] if filled else _NEUTRAL[column]
        told[W_FILLED if filled else W_MASKED] += 1
        if fault != W_MISSING:
            told[W_COLUMNS + column] += 1
            if _POLICY[column] == _DROP:
                invalid |= _DROPPED
    if at_boundary:
        state.books_judged = state.spread_count
    if invalid & _DROPPED:
        told[W_DROPPED] += 1
    return masked, invalid
