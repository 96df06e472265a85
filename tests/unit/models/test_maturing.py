"""Labels as the market runs are those of the whole recording, to the bit, each once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import ModelError
from models.labels import Paths, move_labels
from models.maturing import MOST, Maturing, room_for
from models.samples import UNKNOWN, Samples, Target
from schemas import features
from schemas.features import WIDTH, Invalid

SECOND = 10**9
TARGET = Target(horizon_s=3.0, move_bps=2.0)
GAP_S = 2.5
MARKETS = 3


def market(seed: int, count: int = 300) -> np.ndarray:
    """Rows of some instruments: now and then late, invalid, dropped, or of none at all."""
    draw = np.random.default_rng(seed)
    rows = np.zeros(count, features.SLOT)
    rows["sequence"] = np.arange(1, count + 1)
    steps = draw.choice([0, 300_000_000, SECOND, 4 * SECOND], count, p=[0.5, 0.2, 0.27, 0.03])
    rows["cut_ns"] = 1_760_000_000 * SECOND + np.cumsum(steps)
    rows["instrument"] = draw.choice([0, 1, 2, 65535], count, p=[0.4, 0.3, 0.28, 0.02])
    bad = [0, int(Invalid.STALE), int(Invalid.DROPPED)]
    rows["invalid"] = draw.choice(bad, count, p=[0.92, 0.05, 0.03])
    rows["reference_price"] = 100.0 * np.exp(2e-4 * draw.normal(size=count).cumsum())
    rows["values"] = draw.normal(size=(count, WIDTH))
    return rows


def wanted(rows: np.ndarray) -> list[tuple]:
    """What `move_labels` says of all of them at once, in the order in which it became known."""
    mine = rows[rows["instrument"] < MARKETS]
    paths = Paths(
        mine["instrument"].astype(np.int64), mine["cut_ns"], mine["reference_price"],
        mine["invalid"], np.zeros(len(mine), np.int64),
    )  # fmt: skip
    labels = move_labels(paths, TARGET, GAP_S)
    known = np.flatnonzero(labels.label != UNKNOWN)
    return sorted(
        (
            int(labels.matured_ns[at]), int(mine["instrument"][at]), int(mine["cut_ns"][at]),
            labels.move_bps[at].tobytes(), int(labels.label[at]), mine["values"][at].tobytes(),
        )
        for at in known
    )  # fmt: skip


def told(found: list[Samples]) -> list[tuple]:
    return [
        (
            int(some.matured_ns[at]), int(some.instrument[at]), int(some.cut_ns[at]),
            some.move_bps[at].tobytes(), int(some.label[at]), some.values[at].tobytes(),
        )
        for some in found
        for at in range(some.count)
    ]  # fmt: skip


def maturing(each: int = 200, **options) -> Maturing:
    return Maturing(MARKETS, TARGET, GAP_S, columns=WIDTH, each=each, **options)


@given(st.integers(0, 10**6), st.lists(st.integers(1, 90), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_labels_are_those_of_the_whole_recording_however_it_is_drained(seed, sizes):
    rows, one, found, at = market(seed), maturing(), [], 0
    number = 0
    while at < len(rows):
        size = sizes[number % len(sizes)]
        number += 1
        if (some := one.take(rows[at : at + size])) is not None:
            found.append(some)
        if number % 3 == 0:  # a restart changes nothing
            again = maturing()
            again.restore(one.state())
            one = again
        at += size
    known = told(found)
    assert sorted(known) == wanted(rows)
    assert [one[0] for one in known] == sorted(one[0] for one in known)
    assert known


def test_rows_that_were_learnt_from_end_paths_and_begin_none():
    rows = market(3)
    middle = int(rows["cut_ns"][150])
    found = maturing(not_before_ns=middle).take(rows)
    assert told([found]) == [one for one in told([maturing().take(rows)]) if one[2] > middle]


def test_no_label_leads_over_rows_that_are_missing():
    rows, one = market(4), maturing()
    one.take(rows[:100])
    one.forget()
    assert one.waiting == 0
    first = int(rows["cut_ns"][100])
    assert all(sample[2] >= first for sample in told([one.take(rows[100:])]))


def test_when_too_many_wait_the_oldest_is_given_up_and_counted():
    rows = market(5, 600)
    rows["cut_ns"] = rows["cut_ns"][0] + np.arange(600)  # no time passes
    one = maturing(each=16)
    assert one.take(rows) is None
    assert one.waiting == 16 * MARKETS
    good = (rows["instrument"] < MARKETS) & (rows["invalid"] == 0)
    assert one.lost == int(good.sum()) - 16 * MARKETS


def test_a_state_of_another_shape_is_refused():
    state = maturing().state()
    with pytest.raises(ModelError, match="waiting_lasts"):
        Maturing(MARKETS + 1, TARGET, GAP_S, columns=WIDTH, each=16).restore(state)
    state["waiting_counts"] = state["waiting_counts"] + 500
    with pytest.raises(ModelError, match="more rows wait"):
        maturing().restore(state)


def test_there_is_room_for_a_horizon_and_a_bound_to_it():
    assert room_for(2, 60.0, 1.0) >= 2 * 60
    assert 64 * room_for(64, 7200.0, 1.0) <= MOST
