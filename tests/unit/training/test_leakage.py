"""The future, planted on purpose, is caught by name; what is clean is not accused."""

import numpy as np
import pytest

from processes.training import leakage
from processes.training.folds import Plan, walk_forward
from schemas.features import COLUMN
from tests.unit.training.markets import SECOND, TARGET, ClosedForm, changed, paths, rows

GAP_S = 3.0


def fit(train, test):
    model = ClosedForm()
    model.fit(train, TARGET, seed=1)
    return model.predict(test)


def look(samples, session, seed=1, folds=None):
    folds = folds or walk_forward(samples, Plan(3, 5 * SECOND))
    return leakage.check(samples, paths(samples, session), folds, TARGET, GAP_S, seed, fit)


def planted(samples, column, values):
    held = samples.values.copy()
    held[:, COLUMN[column]] = values
    return changed(samples, values=held)


def test_clean_rows_are_not_accused(long_run):
    """Half on pure noise, half where a column knows as much of the next second as there is."""
    accused = []
    for seed in range(40 if long_run else 8):
        samples, session = rows(1000, 2, seed, known=0.0 if seed % 2 else 0.5)
        accused += [(seed, one.check, one.text) for one in look(samples, session, seed).findings]
    assert not accused, accused


@pytest.mark.parametrize("known", [1.0, 0.6, 0.4])
def test_a_column_made_of_the_future_is_caught_by_name(known, long_run):
    """The move over the horizon, mixed with noise: `known` is its correlation with the column."""
    caught, seeds = 0, 10 if long_run else 3
    for seed in range(seeds):
        samples, session = rows(1500, 2, seed)
        move = np.nan_to_num(samples.move_bps)
        noise = np.random.default_rng(seed).normal(size=samples.count) * move.std()
        leak = known * move + np.sqrt(1 - known**2) * noise
        told = look(planted(samples, "ofi_1_5s", leak), session).findings
        assert {one.column for one in told if one.check == "column"} <= {"ofi_1_5s"}
        caught += any(one.column == "ofi_1_5s" for one in told)
    assert caught == seeds


def test_the_price_of_the_next_row_is_caught_by_name():
    samples, session = rows(1500, 2, 3)
    coming = np.roll(np.log(samples.price), -2) - np.log(samples.price)
    told = look(planted(samples, "spread_rank", coming), session).findings
    assert [one.column for one in told] == ["spread_rank"]


def test_labels_of_the_past_are_caught():
    """Labels that end at their row, not begin there: what knows the past then tells all."""
    samples, session = rows(1500, 2, 4)
    move, label = samples.move_bps.copy(), samples.label.copy()
    for _, where in samples.streams():
        move[where[5:]], label[where[5:]] = samples.move_bps[where[:-5]], samples.label[where[:-5]]
        label[where[:5]] = -1
    told = look(changed(samples, move_bps=move, label=label), session).findings
    assert "return_5s_bps" in [one.column for one in told]


def test_rows_that_are_a_horizon_late_are_out_of_step():
    samples, session = rows(3000, 2, 5, known=0.95)
    values = samples.values.copy()
    early = values[:, COLUMN["imbalance_1"]].copy()
    for _, where in samples.streams():
        # What is known of the next five seconds, in rows that come five seconds too early.
        sums = np.convolve(early[where], np.ones(5), "full")[4:][: len(where)]
        values[where, COLUMN["imbalance_1"]] = np.roll(sums, -5)
    told = look(changed(samples, values=values), session).findings
    assert "lag" in [one.check for one in told]


def test_a_fold_that_was_not_purged_is_caught():
    samples, session = rows(1500, 2, 6)
    folds = walk_forward(samples, Plan(3, 5 * SECOND))
    whole = [fold._replace(train=np.arange(fold.test.start)) for fold in folds]
    told = look(samples, session, folds=whole).findings
    assert [one.check for one in told] == ["overlap"] * 3
    assert not leakage.overlaps(samples, folds)


def test_a_model_that_has_seen_its_tests_is_caught_on_shuffled_labels():
    samples, session = rows(1500, 2, 7)
    folds = walk_forward(samples, Plan(3, 5 * SECOND))

    def cheat(train, test):
        said = fit(train, test)
        said[np.arange(test.count), test.label] += 0.3
        return said

    told = leakage.check(samples, paths(samples, session), folds, TARGET, GAP_S, 1, cheat)
    assert [one.check for one in told.findings] == ["shuffle"]


def test_shuffling_moves_labels_and_nothing_else():
    samples, _ = rows(1500, 2, 8)
    mixed = leakage.shuffle(samples, 5 * SECOND, 1)
    assert (mixed.label != samples.label).mean() > 0.3
    assert (mixed.values == samples.values).all()
    assert (mixed.matured_ns == samples.matured_ns).all()
    for _, where in samples.streams():
        assert np.array_equal(np.sort(mixed.label[where]), np.sort(samples.label[where]))
