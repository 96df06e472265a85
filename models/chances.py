"""Scores of up, flat and down to chances, in compiled code."""

import math
from typing import Any

from numba import njit

from models.samples import CLASSES


@njit(cache=True, nogil=True)
def softmax(scores: Any) -> None:
    """Turn one row's three scores into chances, in place.

    Args:
        scores: (CLASSES) float64.
    """
    highest = max(scores[0], scores[1], scores[2])
    total = 0.0
    for k in range(CLASSES):
        scores[k] = math.exp(scores[k] - highest)
        total += scores[k]
    for k in range(CLASSES):
        scores[k] /= total
