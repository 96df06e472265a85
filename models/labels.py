"""What the market did after each row: labels of event time alone.

A label is of the path of mid from a row's cut to the first row at or after the horizon, and is
known when that row is cut. A path that leads over a gap in the recording, from one session into
another, or over a row whose price is not to be trusted is no path: its label is UNKNOWN, as is that
of every row that is not to be trusted itself. No label is made of a price after its `matured_ns`.

Triple barriers are those of López de Prado (Advances in Financial Machine Learning, 2018, ch. 3):
profit taken, loss stopped, time over, whichever comes first; here net of what a round trip costs,
and for a long and a short trade side by side.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from models.samples import DOWN, FLAT, UNKNOWN, UP, Target
from schemas.features import Invalid

SECOND_NS: Final = 1_000_000_000
COLUMN_BITS: Final = sum(
    int(bit) for name, bit in Invalid.__members__.items() if name in {"NOT_FINITE", "DROPPED"}
)
"""A column of such a row is not to be trusted, but its price is: paths lead over it."""
_UP, _FLAT, _DOWN, _UNKNOWN = np.int8(UP), np.int8(FLAT), np.int8(DOWN), np.int8(UNKNOWN)


class Labels(NamedTuple):
    """Labels of n rows, as `Samples` has them."""

    move_bps: np.ndarray
    label: np.ndarray
    matured_ns: np.ndarray


class Barriers(NamedTuple):
    """Where a trade ends, net of its costs, in basis points."""

    take_bps: float
    stop_bps: float


class Paths(NamedTuple):
    """n rows in the order of `Samples`, and what is needed to follow mid from one to another."""

    instrument: np.ndarray
    """(n) integers."""
    cut_ns: np.ndarray
    """(n) int64, never falling."""
    price: np.ndarray
    """(n) float64."""
    invalid: np.ndarray
    """(n) uint64."""
    session: np.ndarray
    """(n) int64."""


def stretches(paths: Paths, where: np.ndarray, gap_ns: int) -> np.ndarray:
    """Numbers of the unbroken stretches that an instrument's rows are in.

    Args:
        where: (m) places of the instrument's rows. gap_ns: rows further apart have a gap between.

    Returns (m) int64; a row whose price is not to be trusted is in a stretch of its own.
    """
    bad = paths.invalid[where] & ~np.uint64(COLUMN_BITS) != 0
    breaks = np.zeros(len(where), np.int64)
    breaks += bad
    breaks[1:] += bad[:-1]
    breaks[1:] += np.diff(paths.cut_ns[where]) > gap_ns
    breaks[1:] += np.diff(paths.session[where]) != 0
    numbers: np.ndarray = np.cumsum(breaks)
    return numbers


def move_labels(paths: Paths, target: Target, gap_s: float) -> Labels:
    """UP and DOWN where mid moved by the target's threshold or more over its horizon.

    Args:
        gap_s: rows of an instrument further apart have a gap between.
    """
    horizon_ns = horizon_of(target)
    labels = _unknown(paths, horizon_ns)
    for where in _instruments(paths):
        cuts = paths.cut_ns[where]
        end, known = _ends(paths, where, horizon_ns, int(gap_s * SECOND_NS))
        at, to = where[known], where[end[known]]
        labels.move_bps[at], labels.label[at] = moves_of(paths.price[at], paths.price[to], target)
        labels.matured_ns[at] = cuts[end[known]]
    return labels


def moves_of(before: np.ndarray, after: np.ndarray, target: Target) -> tuple[np.ndarray, ...]:
    """Moves in basis points from one mid to another, and their labels."""
    move = np.log(after / before) * 1e4
    return move, np.where(np.abs(move) < target.move_bps, FLAT, np.where(move > 0, UP, DOWN))


def barrier_labels(
    paths: Paths, target: Target, barriers: Barriers, cost_bps: np.ndarray, gap_s: float
) -> Labels:
    """UP where a long trade would have taken its profit, DOWN where a short one would, else FLAT.

    A barrier that is touched before a path breaks is known; the rest of that path is not needed. A
    row that costs as much as the stop has no label: its trades would end as they begin.

    Args:
        cost_bps: (n) what a round trip costs that is entered at each row: fees, spread, slippage.
        gap_s: rows of an instrument further apart have a gap between.
    """
    horizon_ns = horizon_of(target)
    labels = _unknown(paths, horizon_ns)
    for where in _instruments(paths):
        numbers = stretches(paths, where, int(gap_s * SECOND_NS))
        own = np.zeros(len(where), np.int64)
        found = np.full(len(where), _UNKNOWN)
        _follow(
            paths.cut_ns[where], np.log(paths.price[where]) * 1e4, numbers,
            paths.invalid[where] != 0, np.ascontiguousarray(cost_bps[where], np.float64),
            horizon_ns, barriers.take_bps, barriers.stop_bps, own, found,
        )  # fmt: skip
        known = np.flatnonzero(found != UNKNOWN)
        at, to = where[known], where[own[known]]
        labels.move_bps[at] = np.log(paths.price[to] / paths.price[at]) * 1e4
        labels.label[at] = found[known]
        labels.matured_ns[at] = paths.cut_ns[to]
    return labels


def horizon_of(target: Target) -> int:
    """The horizon in nanoseconds."""
    return round(target.horizon_s * SECOND_NS)


def _unknown(paths: Paths, horizon_ns: int) -> Labels:
    count = len(paths.cut_ns)
    return Labels(
        np.full(count, np.nan), np.full(count, UNKNOWN, np.int8), paths.cut_ns + horizon_ns
    )


def _instruments(paths: Paths) -> list[np.ndarray]:
    return [np.flatnonzero(paths.instrument == one) for one in np.unique(paths.instrument)]


def _ends(
    paths: Paths, where: np.ndarray, horizon_ns: int, gap_ns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which row (of these) ends each row's path, and the places of those whose path is whole."""
    cuts = paths.cut_ns[where]
    end = np.searchsorted(cuts, cuts + horizon_ns, side="left")
    numbers = stretches(paths, where, gap_ns)
    there = end < len(cuts)
    whole = np.zeros(len(cuts), bool)
    whole[there] = numbers[end[there]] == numbers[there]
    whole &= paths.invalid[where] == 0
    return end, np.flatnonzero(whole)


@njit(cache=True, nogil=True)
def _follow(
    cuts: np.ndarray, level_bps: np.ndarray, numbers: np.ndarray, bad: np.ndarray,
    cost_bps: np.ndarray, horizon_ns: int, take_bps: float, stop_bps: float, ends: np.ndarray,
    labels: np.ndarray,
) -> None:  # fmt: skip
    """Follow each row's two trades to their ends: where they are, and what comes of them."""
    count = len(cuts)
    for at in range(count):
        if bad[at] or cost_bps[at] >= stop_bps:
            continue
        up, down = take_bps + cost_bps[at], stop_bps - cost_bps[at]
        is_long, is_short = True, True
        for to in range(at + 1, count):
            if numbers[to] != numbers[at]:
                break
            move = level_bps[to] - level_bps[at]
            if is_long and move >= up:
                labels[at], ends[at] = _UP, to
                break
            if is_short and move <= -up:
                labels[at], ends[at] = _DOWN, to
                break
            is_long &= move > -down
            is_short &= move < down
            if not (is_long or is_short) or cuts[to] - cuts[at] >= horizon_ns:
                labels[at], ends[at] = _FLAT, to
                break
