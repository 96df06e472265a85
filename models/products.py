"""Products of rows and a matrix whose bits are a row's own.

A BLAS sums a row in an order that hangs on its place in the batch and on the batch's size (on AMD
EPYC a row of sixteen has two results), and a replay, which may group rows otherwise, wants every
bit. Here each row is summed by itself, in the order of its columns.
"""

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def add_product(before: Any, inputs: Any, kernel: Any, out: Any) -> None:
    """`before + inputs @ kernel`.

    Args:
        before: (n, H). inputs: (n, W). kernel: (W, H). out: (n, H), written; all of one type.
    """
    for row in range(inputs.shape[0]):
        for column in range(kernel.shape[1]):
            out[row, column] = 0.0
        for tap in range(inputs.shape[1]):
            value = inputs[row, tap]
            for column in range(kernel.shape[1]):
                out[row, column] += value * kernel[tap, column]
        for column in range(kernel.shape[1]):
            out[row, column] += before[row, column]


def affine(inputs: np.ndarray, matrix: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """`inputs @ matrix + offsets`: (n, W), (W, H) and (H) give (n, H) of the inputs' type."""
    kind = inputs.dtype
    out = np.empty((len(inputs), matrix.shape[1]), kind)
    before = np.empty_like(out)
    before[:] = offsets
    kernel = np.ascontiguousarray(matrix, kind)
    add_product(before, np.ascontiguousarray(inputs), kernel, out)
    return out
