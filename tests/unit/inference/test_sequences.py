"""Windows over rows: the right rows, never over a hole, and no copies."""

import numpy as np
import pytest

from models.sequences import levels, sequences
from schemas import features
from schemas.features import WIDTH, CutReason
from schemas.tape import WHOLE_CONNECTION

SECOND = 10**9


def made(count: int, instruments: int = 2) -> np.ndarray:
    rows = np.zeros(count * instruments, features.SLOT)
    number = np.arange(len(rows))
    rows["instrument"] = number % instruments
    rows["cut_ns"] = (number // instruments + 1) * SECOND
    rows["reason"] = CutReason.BOUNDARY
    rows["values"] = number[:, None] * 100 + np.arange(WIDTH)
    rows["book"] = number[:, None] * 100 + np.arange(40)
    return rows


def naive(rows: np.ndarray, instrument: int, length: int) -> list[np.ndarray]:
    mine = [row for row in rows if row["instrument"] == instrument and row["reason"] <= 2]
    return [
        np.array([row["values"] for row in mine[at : at + length]])
        for at in range(len(mine) - length + 1)
        if all(
            mine[at + n + 1]["cut_ns"] - mine[at + n]["cut_ns"] == SECOND for n in range(length - 1)
        )
    ]


def test_windows_are_all_stretches_without_a_hole():
    rows = made(40)
    rows = np.delete(rows, [30, 51, 52])
    rows["reason"][11] = CutReason.TRIGGER
    rows["reason"][20], rows["instrument"][20] = CutReason.WARM, WHOLE_CONNECTION
    for instrument in (0, 1):
        wanted = naive(rows, instrument, 5)
        told = [w for found in sequences(rows, 5) if found.instrument == instrument
                for w in found.values]  # fmt: skip
        assert len(told) == len(wanted) > 20
        assert all((one == other).all() for one, other in zip(told, wanted, strict=True))


def test_windows_are_views_that_nobody_can_write():
    (found,) = sequences(made(1000, 1), 64)
    assert found.values.shape == (937, 64, WIDTH)
    assert found.book.shape == (937, 64, 40)
    assert found.invalid.shape == (937, 64)
    assert found.cut_ns.tolist() == [(n + 64) * SECOND for n in range(937)]
    assert np.shares_memory(found.values[0], found.values[1])
    assert not found.values.flags.writeable
    with pytest.raises(ValueError, match="0 rows"):
        sequences(made(3), 0)
    assert sequences(made(3), 4) == []


def test_levels_are_distances_and_logarithms():
    book = np.arange(40, dtype=np.float32)
    told = levels(book, np.float64(2000.0))
    assert told[:10] == pytest.approx(book[:10] * 5)
    assert told[10:20] == pytest.approx(np.log1p(book[10:20]))
    assert told[20:30] == pytest.approx(book[20:30] * 5)
    assert not levels(book, np.float64(0.0))[:10].any()
