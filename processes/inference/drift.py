"""Drift of the feature rows against the training, over the newest of them.

Rows of boundaries that can be trusted are counted into the bins that the model brought, those of
all instruments together, as it was trained. The oldest of WINDOW rows leaves when one comes, so
what is told is of the last minutes to hours, never of a whole run. Nothing here touches a row or a
prediction.
"""

from typing import Final

import numpy as np
from numba import carray, njit

from models.base import ModelError
from models.drift import BINS, EDGES, bin_of, stability
from schemas import features
from schemas.features import COLUMN, WIDTH, CutReason
from shm.atomics import memory

WINDOW: Final = 8192
LEAST_ROWS: Final = 500
"""Fewer rows say nothing: every index is 0 then."""
EVERY: Final = 256
"""Rows between two reports."""
_BOUNDARY, _SILENCE = int(CutReason.BOUNDARY), int(CutReason.SILENCE)
_ONE, _NONE = np.uint64(1), np.uint64(0)
_CLOCKS: Final = np.isin(np.arange(WIDTH), [COLUMN[n] for n in ("day_sin", "day_cos", "history_s")])


@njit(cache=True, nogil=True)
def _take(
    rows_address: int, count: int, edges_at: int, counts_at: int, kept_at: int, taken: int
) -> int:
    """Count rows in, and those out that leave the window; how many were taken ever."""
    rows = carray(memory(rows_address), (count,), features.SLOT)
    edges = carray(memory(edges_at), (WIDTH, EDGES), np.float32)
    counts = carray(memory(counts_at), (WIDTH, BINS), np.int64)
    kept = carray(memory(kept_at), (WINDOW, WIDTH), np.uint8)
    for index in range(count):
        row = rows[index]
        if row.invalid != 0 or row.reason not in (_BOUNDARY, _SILENCE):
            continue
        values = row["values"]
        place = taken % WINDOW
        for column in range(WIDTH):
            if taken >= WINDOW:
                counts[column, kept[place, column]] -= 1
            is_masked = (row.masked >> np.uint64(column)) & _ONE != _NONE
            found = bin_of(values[column], is_masked, edges[column])
            kept[place, column] = found
            counts[column, found] += 1
        taken += 1
    return taken


class Drift:
    """Counts of the newest rows in a training's bins.

    Args:
        edges: (WIDTH, EDGES). shares: (WIDTH, BINS). is_used: (WIDTH) bool, what the model looks
            at. Columns that are clocks never count: the hours of a window are not those of a day.

    Raises:
        ModelError: the bins have another shape.
    """

    def __init__(self, edges: np.ndarray, shares: np.ndarray, is_used: np.ndarray) -> None:
        self._edges = np.ascontiguousarray(edges, np.float32)
        self._shares = shares
        self._is_used = is_used & ~_CLOCKS
        self._counts = np.zeros((WIDTH, BINS), np.int64)
        self._kept = np.zeros((WINDOW, WIDTH), np.uint8)
        if self._edges.shape != (WIDTH, EDGES) or shares.shape != (WIDTH, BINS):
            raise ModelError("its bins are not those of the catalogue's columns")
        self._edges_at = int(self._edges.ctypes.data)
        self._counts_at = int(self._counts.ctypes.data)
        self._kept_at = int(self._kept.ctypes.data)
        self._taken = 0
        self._reported = 0

    @property
    def rows(self) -> int:
        """Rows that the index is made of now."""
        return min(self._taken, WINDOW)

    @property
    def is_due(self) -> bool:
        """Whether enough rows have come since the last report."""
        return self._taken - self._reported >= EVERY

    def take(self, count: int, address: int) -> None:
        """Take feature rows that stand at an address."""
        self._taken = _take(
            address, count, self._edges_at, self._counts_at, self._kept_at, self._taken
        )

    def report(self) -> np.ndarray:
        """The index of every column now, (WIDTH) float64.

        0 of those that the model does not look at, and of all while there are too few rows.
        """
        self._reported = self._taken
        if self.rows < LEAST_ROWS:
            return np.zeros(WIDTH)
        index: np.ndarray = stability(self._shares, self._counts) * self._is_used
        return index
