"""Feature rows as networks take them: windows over the rows of one instrument.

A network steps on rows, and each row carries its columns and the forty values of its book at the
cut. Where rows follow each other without a hole, every stretch of so many is a window; none goes
over a cut that is missing, so that a time step is always the same. Windows are views of one array
of rows, not copies: those of a day take the memory of the day.
"""

import numpy as np
from msgspec import Struct

from schemas.features import CutReason
from schemas.tape import LEVELS, WHOLE_CONNECTION


class Windows(Struct, frozen=True):
    """Windows of one unbroken run of an instrument's rows."""

    instrument: int
    cut_ns: np.ndarray
    """(windows) int64: the cut of each window's last row."""
    values: np.ndarray
    """(windows, length, WIDTH) float32, read only."""
    book: np.ndarray
    """(windows, length, 40) float32, read only: bid offsets, bid sizes, ask offsets, ask sizes."""
    invalid: np.ndarray
    """(windows, length) uint64."""


def sequences(rows: np.ndarray, length: int) -> list[Windows]:
    """All windows of so many rows; rows of the trigger and markers are left out.

    Args:
        rows: `schemas.features.SLOT` records in order of their cuts, of any instruments.

    Raises:
        ValueError: the length is less than 1.
    """
    if length < 1:
        raise ValueError(f"a window of {length} rows")
    regular = rows["reason"] <= CutReason.SILENCE
    rows = rows[regular & (rows["instrument"] != WHOLE_CONNECTION)]
    found: list[Windows] = []
    for instrument in np.unique(rows["instrument"]).tolist():
        mine = rows[rows["instrument"] == instrument]
        steps = np.diff(mine["cut_ns"])
        usual = int(np.median(steps)) if len(steps) else 0
        runs = np.split(mine, np.flatnonzero(steps != usual) + 1)
        found += [_windows(instrument, run, length) for run in runs if len(run) >= length]
    return found


def _windows(instrument: int, run: np.ndarray, length: int) -> Windows:
    def view(name: str, width: int) -> np.ndarray:
        columns = np.ascontiguousarray(run[name]).reshape(len(run), width)
        slid = np.lib.stride_tricks.sliding_window_view(columns, length, axis=0)
        return slid.transpose(0, 2, 1)

    return Windows(
        instrument=instrument,
        cut_ns=np.ascontiguousarray(run["cut_ns"][length - 1 :]),
        values=view("values", run["values"].shape[1]),
        book=view("book", 4 * LEVELS),
        invalid=view("invalid", 1)[:, :, 0],
    )


def levels(book: np.ndarray, reference_price: np.ndarray) -> np.ndarray:
    """Books as a network takes them: distances in basis points, logarithms of sizes.

    Args:
        book: (..., 40) as in a row. reference_price: (...), mid at the cut.

    Returns (..., 40) float32.
    """
    found = np.empty(book.shape, np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(reference_price > 0, 1e4 / reference_price, 0.0)[..., None]
    for side in range(2):
        first = 2 * LEVELS * side
        prices, sizes = slice(first, first + LEVELS), slice(first + LEVELS, first + 2 * LEVELS)
        found[..., prices] = book[..., prices] * scale
        found[..., sizes] = np.log1p(book[..., sizes])
    return found
