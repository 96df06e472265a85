"""Rows that wait for their labels: what an online model is fed while the market runs.

It gives what `labels.move_labels` gives of the same rows, to the bit and each once, as soon as the
row has come that ends a path (the tests hold the two together). Rows of each instrument wait in a
ring of their own; when that is full the oldest is given up and counted. Never fails; never looks
ahead: a label is made of the row that was taken last, or of one before it.
"""

from typing import Any, Final

import numpy as np
from numba import njit

from models.arrays import taken
from models.base import ModelError
from models.family import Weights
from models.labels import COLUMN_BITS, SECOND_NS, horizon_of, moves_of
from models.samples import Samples, Target
from schemas.tape import LEVELS

MOST: Final = 1 << 17
"""Rows that wait at the most, of all instruments together; 250 bytes each."""
_COLUMN_BITS: Final = np.uint64(COLUMN_BITS)
_NONE: Final = np.uint64(0)
_WHOLE: Final = 3
"""Of an instrument: cut of its last row, whether its price was bad, number of its stretch."""


@njit(cache=True, nogil=True)
def _take(
    rows: Any, horizon_ns: int, gap_ns: int, not_before_ns: int, lasts: Any, heads: Any,
    counts: Any, values: Any, cuts: Any, prices: Any, numbers: Any, told: Any, ends: Any,
    came: Any,
) -> tuple[int, int]:  # fmt: skip
    """Take rows in: how many labels are known by them, and how many rows were given up.

    Args:
        rows: feature slots. lasts: (N, 3). heads, counts: (N) of each ring. values: (N, P, F),
            cuts, prices, numbers: (N, P). told: (n, F) float32; ends: (n, 2) float64, price before
            and after; came: (n, 3) int64, instrument, cut and when it was known: written.
    """
    instruments, most, columns = values.shape
    found = lost = 0
    for at in range(len(rows)):
        row = rows[at]
        mine = row.instrument
        if mine >= instruments:
            continue
        bad = row.invalid & ~_COLUMN_BITS != _NONE
        last = lasts[mine]
        if bad or last[1] != 0 or row.cut_ns - last[0] > gap_ns:
            last[2] += 1
        last[0], last[1] = row.cut_ns, 1 if bad else 0
        while counts[mine] and cuts[mine, heads[mine]] + horizon_ns <= row.cut_ns:
            place = heads[mine]
            if numbers[mine, place] == last[2]:
                for column in range(columns):
                    told[found, column] = values[mine, place, column]
                ends[found, 0], ends[found, 1] = prices[mine, place], row.reference_price
                came[found, 0], came[found, 1] = mine, cuts[mine, place]
                came[found, 2] = row.cut_ns
                found += 1
            heads[mine] = (place + 1) % most
            counts[mine] -= 1
        if row.invalid != _NONE or row.cut_ns <= not_before_ns:
            continue
        if counts[mine] == most:
            heads[mine] = (heads[mine] + 1) % most
            counts[mine] -= 1
            lost += 1
        place = (heads[mine] + counts[mine]) % most
        seen = row["values"]
        for column in range(columns):
            values[mine, place, column] = seen[column]
        cuts[mine, place], prices[mine, place] = row.cut_ns, row.reference_price
        numbers[mine, place] = last[2]
        counts[mine] += 1
    return found, lost


class Maturing:
    """Rows of N instruments whose labels are not known yet.

    Args:
        target: what labels say. gap_s: rows of an instrument further apart have a gap between.
        columns: of a row. each: rows of an instrument that wait at the most.
        not_before_ns: rows up to this cut were learnt from already: they end paths, and begin none.
    """

    def __init__(
        self,
        instruments: int,
        target: Target,
        gap_s: float,
        *,
        columns: int,
        each: int,
        not_before_ns: int = 0,
    ) -> None:
        self.lost = 0
        """Rows that were given up, since too many waited."""
        self._target = target
        self._horizon_ns, self._gap_ns = horizon_of(target), int(gap_s * SECOND_NS)
        self._not_before_ns = not_before_ns
        self._each = each
        self._lasts = np.zeros((instruments, _WHOLE), np.int64)
        self._heads = np.zeros(instruments, np.int64)
        self._counts = np.zeros(instruments, np.int64)
        self._values = np.zeros((instruments, each, columns), np.float32)
        self._cuts = np.zeros((instruments, each), np.int64)
        self._prices = np.zeros((instruments, each))
        self._numbers = np.zeros((instruments, each), np.int64)

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return int(self._counts.sum())

    def take(self, rows: np.ndarray) -> Samples | None:
        """Take feature slots in, in order; the samples whose labels are known by them, if any.

        They are in the order in which they became known, with books of zeros.
        """
        room = self.waiting + len(rows)
        told = np.empty((room, self._values.shape[2]), np.float32)
        ends, came = np.empty((room, 2)), np.empty((room, _WHOLE), np.int64)
        found, lost = _take(
            rows, self._horizon_ns, self._gap_ns, self._not_before_ns, self._lasts, self._heads,
            self._counts, self._values, self._cuts, self._prices, self._numbers, told, ends, came,
        )  # fmt: skip
        self.lost += lost
        if not found:
            return None
        move, label = moves_of(ends[:found, 0], ends[:found, 1], self._target)
        return Samples(
            values=told[:found], book=np.zeros((found, 4 * LEVELS), np.float32),
            invalid=np.zeros(found, np.uint64), instrument=came[:found, 0].astype(np.uint16),
            cut_ns=came[:found, 1], price=ends[:found, 0], move_bps=move,
            label=label.astype(np.int8), matured_ns=came[:found, 2],
        )  # fmt: skip

    def forget(self) -> None:
        """Give all that wait up, since rows are missing now: no label leads over them."""
        self._counts[:] = self._heads[:] = 0
        self._lasts[:, 2] += 1

    # ---- over restarts

    def state(self) -> Weights:
        """What waits, as arrays; the oldest row of each instrument first."""
        order = [
            (number, (head + np.arange(count)) % self._each)
            for number, (head, count) in enumerate(
                zip(self._heads.tolist(), self._counts.tolist(), strict=True)
            )
        ]

        def whole(kept: np.ndarray) -> np.ndarray:
            return np.concatenate([kept[number, places] for number, places in order])

        return {
            "waiting_lasts": self._lasts.copy(), "waiting_counts": self._counts.copy(),
            "waiting_values": whole(self._values), "waiting_cuts": whole(self._cuts),
            "waiting_prices": whole(self._prices), "waiting_numbers": whole(self._numbers),
        }  # fmt: skip

    def restore(self, state: Weights) -> None:
        """Go on where that state was taken.

        Raises:
            ModelError: an array is missing, or of another shape.
        """
        instruments, _, columns = self._values.shape
        lasts = taken(state, "waiting_lasts", instruments, _WHOLE, dtype=np.int64)
        counts = taken(state, "waiting_counts", instruments, dtype=np.int64)
        if counts.min(initial=0) < 0 or counts.max(initial=0) > self._each:
            raise ModelError("more rows wait in the state than there is room for")
        total = int(counts.sum())
        values = taken(state, "waiting_values", total, columns, dtype=np.float32)
        cuts = taken(state, "waiting_cuts", total, dtype=np.int64)
        prices = taken(state, "waiting_prices", total)
        numbers = taken(state, "waiting_numbers", total, dtype=np.int64)
        self._lasts[:], self._counts[:], self._heads[:] = lasts, counts, 0
        at = 0
        for number, count in enumerate(counts.tolist()):
            mine, some = slice(0, count), slice(at, at + count)
            self._values[number, mine], self._cuts[number, mine] = values[some], cuts[some]
            self._prices[number, mine], self._numbers[number, mine] = prices[some], numbers[some]
            at += count


def room_for(instruments: int, horizon_s: float, cut_interval_s: float) -> int:
    """How many rows of an instrument may wait: twice those of its boundaries, for triggers."""
    wanted = 2 * int(horizon_s / cut_interval_s + 1) + 16
    return min(wanted, max(MOST // max(instruments, 1), 16))
