"""Drift: the same market has none, another has much, and a column that is gone is seen."""

import numpy as np
import pytest

from models.base import ModelError
from models.drift import ANOTHER, BINS, EDGES, bin_of, seen, stability
from processes.inference.drift import EVERY, LEAST_ROWS, WINDOW, Drift
from schemas import features
from schemas.features import COLUMN, WIDTH, CutReason, Invalid

ALL = np.ones(WIDTH, bool)


def made(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    rows = np.zeros(count, features.SLOT)
    values = draw.normal(size=(count, WIDTH))
    values[:, 1] = np.round(values[:, 1])  # few different values
    values[:, 2] = 0.0
    values[:, 0] += shift
    rows["values"], rows["reason"] = values, CutReason.BOUNDARY
    rows["masked"] = np.where(draw.random(count) < 0.2, 1 << 3, 0)
    return rows


def take(drift: Drift, rows: np.ndarray, block: int = 100) -> None:
    for at in range(0, len(rows), block):
        some = np.ascontiguousarray(rows[at : at + block])
        drift.take(len(some), int(some.ctypes.data))


@pytest.fixture(scope="module")
def trained() -> tuple[np.ndarray, np.ndarray]:
    rows = made(20_000, 1)
    return seen(rows["values"], rows["masked"])


def naive_index(trained, rows: np.ndarray) -> list[float]:
    """The formula, bin by bin."""
    edges, shares = trained
    found = []
    for column in range(WIDTH):
        counts = [0] * BINS
        for row in rows:
            hidden = bool(int(row["masked"]) >> column & 1)
            below = sum(float(row["values"][column]) > edge for edge in edges[column])
            counts[0 if hidden else 1 + below] += 1
        total = 0.0
        for count, share in zip(counts, shares[column].tolist(), strict=True):
            now, then = max(count / len(rows), 1e-4), max(share, 1e-4)
            total += (now - then) * np.log(now / then)
        found.append(total)
    return found


def test_the_index_is_the_formula(trained):
    rows = made(700, 2, shift=0.3)
    drift = Drift(*trained, ALL)
    take(drift, rows)
    wanted = naive_index(trained, rows)
    for clock in ("day_sin", "day_cos", "history_s"):  # the hours of a window are not all hours
        wanted[COLUMN[clock]] = 0.0
    assert drift.report() == pytest.approx(wanted, rel=1e-9)


def test_the_same_market_has_none_and_another_has_much(trained):
    drift = Drift(*trained, ALL)
    take(drift, made(5000, 3))
    assert drift.report().max() < 0.02
    take(drift, made(WINDOW, 4, shift=1.0))
    index = drift.report()
    assert index[0] > ANOTHER
    assert index[1:].max() < 0.02


def test_a_column_that_is_not_had_any_more_is_a_drift(trained):
    drift = Drift(*trained, ALL)
    rows = made(1000, 5)
    rows["masked"] |= np.uint64(1 << 7)
    take(drift, rows)
    assert (drift.report() > ANOTHER).nonzero()[0].tolist() == [7]


def test_what_the_model_does_not_look_at_does_not_drift(trained):
    used = ALL.copy()
    used[0] = False
    drift = Drift(*trained, used)
    take(drift, made(1000, 5, shift=4.0))
    assert drift.report()[0] == 0
    assert drift.report()[1:].any()


def test_what_left_the_window_does_not_count(trained):
    drift, fresh = Drift(*trained, ALL), Drift(*trained, ALL)
    last = made(WINDOW, 6)
    take(drift, made(3333, 7, shift=3.0), block=77)
    take(drift, last, block=77)
    take(fresh, last)
    assert drift.rows == fresh.rows == WINDOW
    assert drift.report().tolist() == fresh.report().tolist()


def test_only_rows_of_boundaries_that_can_be_trusted_count(trained):
    drift = Drift(*trained, ALL)
    rows = made(1000, 8, shift=9.0)
    rows["invalid"][::2] = int(Invalid.STALE)
    rows["reason"][1::2] = CutReason.TRIGGER
    take(drift, rows)
    assert drift.rows == 0
    assert not drift.is_due


def test_few_rows_say_nothing(trained):
    drift = Drift(*trained, ALL)
    take(drift, made(LEAST_ROWS - 1, 9, shift=5.0))
    assert drift.is_due
    assert LEAST_ROWS - 1 >= EVERY
    assert not drift.report().any()
    assert not drift.is_due


def test_bins_of_the_training_are_tenths(trained):
    edges, shares = trained
    assert edges.shape == (WIDTH, EDGES)
    assert shares.sum(axis=1) == pytest.approx(np.ones(WIDTH), abs=1e-5)
    assert shares[0, 1:] == pytest.approx(np.full(10, 0.1), abs=0.01)
    assert shares[3, 0] == pytest.approx(0.2, abs=0.01)
    assert bin_of(0.0, True, edges[0]) == 0
    assert np.isfinite(edges).all()
    counts = np.round(shares * 1e6).astype(np.int64)
    assert stability(shares, counts).max() < 1e-3


def test_bins_of_other_columns_are_refused(trained):
    with pytest.raises(ModelError, match="bins"):
        Drift(trained[0][:5], trained[1][:5], ALL)
