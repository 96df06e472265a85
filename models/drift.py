"""How far the rows that come now are from those that a model was trained on.

The population stability index of a column (Siddiqi: Credit Risk Scorecards, 2006) compares shares
of the same bins: sum over bins of (now - then) * ln(now / then). Below 0.1 counts as the same,
above 0.25 as another population. Bins are of a column's tenths in training, and one more holds the
rows in which it was masked: a column that is suddenly not had is a drift, too.

A model carries its bins as two arrays beside its weights: SEEN_EDGES (F, EDGES) and SEEN_SHARES (F,
BINS), float32.
"""

from typing import Any, Final

import numpy as np
from numba import njit

EDGES: Final = 9
BINS: Final = EDGES + 2
"""The first is of masked rows; the others lie between the edges and beyond them."""
SEEN_EDGES: Final = "seen_edges"
SEEN_SHARES: Final = "seen_shares"
NO_EDGE: Final = np.finfo(np.float32).max
"""Where a column has fewer edges, since many of its values are the same."""
ANOTHER: Final = 0.25
"""An index above which a column is of another population."""
LEAST_SHARE: Final = 1e-4
"""Shares below this count as this, so that an empty bin has a logarithm."""


@njit(cache=True, nogil=True)
def bin_of(value: float, is_masked: bool, edges: Any) -> int:
    """Which bin a value is in: 0 masked, else 1 and one for each of (EDGES) edges below it."""
    if is_masked:
        return 0
    found = 1
    for place in range(EDGES):
        if value > edges[place]:
            found += 1
    return found


def seen(values: np.ndarray, masked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges and shares of the rows of a training.

    Args:
        values: (rows, F) float32. masked: (rows) uint64, bit n: column n is masked.
    """
    columns = values.shape[1]
    edges = np.full((columns, EDGES), NO_EDGE, np.float32)
    shares = np.zeros((columns, BINS), np.float32)
    for column in range(columns):
        hidden = (masked >> np.uint64(column)) & np.uint64(1) != 0
        shown = values[~hidden, column]
        if len(shown):
            tenths = np.quantile(shown, np.arange(1, 10) / 10, method="lower")
            different = np.unique(tenths.astype(np.float32))
            edges[column, : len(different)] = different
        bins = np.where(hidden, 0, 1 + np.searchsorted(edges[column], values[:, column]))
        shares[column] = np.bincount(bins, minlength=BINS) / len(values)
    return edges, shares


def stability(shares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The index of every column, (F) float64.

    Args:
        shares: (F, BINS), of the training. counts: (F, BINS), of now, at least one row.
    """
    now = np.maximum(counts / counts.sum(axis=1, keepdims=True), LEAST_SHARE)
    then = np.maximum(shares.astype(np.float64), LEAST_SHARE)
    index: np.ndarray = ((now - then) * np.log(now / then)).sum(axis=1)
    return index
