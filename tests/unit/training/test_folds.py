"""Folds: nothing that is learnt from touches what is tested on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import ModelError
from processes.training import folds
from processes.training.folds import Plan, walk_forward
from tests.unit.training.markets import SECOND, changed, rows


@st.composite
def plans(draw):
    return Plan(
        folds=draw(st.integers(1, 8)),
        embargo_ns=draw(st.integers(0, 40)) * SECOND,
        window_ns=draw(st.sampled_from([0, 60, 200])) * SECOND,
        rows_back=draw(st.integers(0, 20)),
    )


@given(plans(), st.integers(1, 3), st.integers(0, 99))
def test_no_label_learnt_from_touches_a_test(plan, instruments, seed):
    samples, _ = rows(400, instruments, seed)
    draw = np.random.default_rng(seed)
    late = samples.matured_ns + draw.integers(0, 30, samples.count) * SECOND
    samples = changed(samples, matured_ns=late)
    made = list(folds._folds(samples, plan))
    assert len(made) == plan.folds
    for fold in made:
        test = samples.take(fold.test)
        train = samples.take(fold.train)
        assert fold.from_ns == test.cut_ns[0]
        assert fold.to_ns == test.cut_ns[-1]
        free_ns = plan.embargo_ns + plan.rows_back * SECOND
        assert (train.matured_ns < fold.from_ns - free_ns).all()
        assert (train.cut_ns < fold.from_ns).all()
        if plan.window_ns:
            assert (train.cut_ns >= fold.from_ns - plan.window_ns).all()
        context = samples.take(fold.context)
        for one in np.unique(test.instrument):
            before = (context.instrument == one) & (context.cut_ns < fold.from_ns)
            assert before.sum() >= plan.rows_back
            assert samples.cut_ns[fold.context.start] < fold.from_ns or not plan.rows_back


@given(plans(), st.integers(0, 99))
def test_tests_follow_one_another_and_leave_nothing_out(plan, seed):
    samples, _ = rows(300, 2, seed)
    made = list(folds._folds(samples, plan))
    ends = [fold.test.stop for fold in made]
    assert [fold.test.start for fold in made][1:] == ends[:-1]
    assert ends[-1] == samples.count
    for fold in made[1:]:
        assert samples.cut_ns[fold.test.start] > samples.cut_ns[fold.test.start - 1]


def test_what_is_purged_is_no_more_than_it_must_be():
    samples, _ = rows(600, 2)
    plan = Plan(folds=3, embargo_ns=10 * SECOND, rows_back=4)
    for fold in walk_forward(samples, plan):
        mine = set(fold.train.tolist())
        for place in range(fold.test.start):
            free = samples.matured_ns[place] < fold.from_ns - 14 * SECOND
            assert free == (place in mine)


def test_too_little_says_what_to_type():
    samples, _ = rows(60, 1)
    with pytest.raises(ModelError, match="--folds"):
        walk_forward(samples, Plan(folds=5, embargo_ns=10 * SECOND))
