"""Linear functions of standardised rows: what ridge, the logistic and the regime model share.

Means and spreads are those of the rows that a model was fitted on. A column that never changed
there, or holds no number, counts as its mean. A row's numbers do not depend on its neighbours.
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from models.arrays import taken

CLIP: Final = 5.0
"""Standardised values beyond it are cut off: one wild row must not speak louder than all others."""


class Affine(NamedTuple):
    """K linear functions of F columns."""

    mean: np.ndarray
    """(F) float64."""
    scale: np.ndarray
    """(F) float64, one over the standard deviation; 0 for a column that never changed."""
    coefficients: np.ndarray
    """(F + 1, K) float64, of the standardised columns; the offsets last."""


@njit(cache=True, nogil=True)
def apply(values: Any, mean: Any, scale: Any, coefficients: Any, out: Any) -> None:
    """All functions of all rows.

    Args:
        values: (k, F) float32. out: (k, K) float64, written.
    """
    columns, functions = len(mean), coefficients.shape[1]
    for row in range(len(values)):
        for k in range(functions):
            out[row, k] = coefficients[columns, k]
        for column in range(columns):
            scaled = (np.float64(values[row, column]) - mean[column]) * scale[column]
            if math.isfinite(scaled):
                scaled = min(max(scaled, -CLIP), CLIP)
                for k in range(functions):
                    out[row, k] += scaled * coefficients[column, k]


def scaling(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of the columns of (n, F) rows; numbers that are not finite do not count."""
    rows = values.astype(np.float64)
    there = np.isfinite(rows)
    seen = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, rows, 0.0).sum(axis=0) / seen
    off = np.where(there, rows - mean, 0.0)
    spread = np.sqrt((off * off).sum(axis=0) / seen)
    # What rounding makes of a column that never changes is no spread.
    moved = spread > 1e-9 * np.abs(mean)
    scale = np.zeros(len(spread))
    np.divide(1.0, spread, out=scale, where=moved)
    return mean, scale


def standardised(values: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(n, F) float64: the rows as `apply` sees them."""
    rows = (values.astype(np.float64) - mean) * scale
    found: np.ndarray = np.clip(np.where(np.isfinite(rows), rows, 0.0), -CLIP, CLIP)
    return found


def affine_of(weights: dict[str, np.ndarray], functions: int) -> Affine:
    """Take `mean`, `scale` and `coefficients` of so many functions.

    Raises:
        ModelError: one is missing, or of another shape.
    """
    mean = taken(weights, "mean", None)
    scale = taken(weights, "scale", len(mean))
    return Affine(mean, scale, taken(weights, "coefficients", len(mean) + 1, functions))
