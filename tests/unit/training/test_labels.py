"""Labels against naive ones, and what they may never look at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.labels import Barriers, Labels, Paths, barrier_labels, move_labels
from models.samples import DOWN, FLAT, UNKNOWN, UP, Target

SECOND = 10**9
GAP_S = 3.0
TARGET = Target(horizon_s=4.0, move_bps=5.0)
BARRIERS = Barriers(take_bps=4.0, stop_bps=9.0)


def naive_path(paths: Paths, at: int) -> tuple[list[int], bool]:
    """Rows after a row up to its horizon, one by one; and whether that is reached unbroken."""
    end = int(paths.cut_ns[at]) + int(TARGET.horizon_s * SECOND)
    found, before = [], at
    if paths.invalid[at]:
        return [], False
    for row in range(at + 1, len(paths.cut_ns)):
        if paths.instrument[row] != paths.instrument[at]:
            continue
        if (
            int(paths.invalid[row]) & ~32
            or paths.session[row] != paths.session[before]
            or paths.cut_ns[row] - paths.cut_ns[before] > GAP_S * SECOND
        ):
            return found, False
        found.append(row)
        before = row
        if paths.cut_ns[row] >= end:
            return found, True
    return found, False


def naive_move(paths: Paths, at: int) -> tuple[float, int, int] | None:
    found, whole = naive_path(paths, at)
    if not whole:
        return None
    move = float(np.log(paths.price[found[-1]] / paths.price[at]) * 1e4)
    label = FLAT if abs(move) < TARGET.move_bps else UP if move > 0 else DOWN
    return move, label, int(paths.cut_ns[found[-1]])


def naive_barrier(paths: Paths, at: int, cost: float) -> tuple[float, int, int] | None:
    found, whole = naive_path(paths, at)
    if cost >= BARRIERS.stop_bps or paths.invalid[at]:
        return None
    alive = {"long", "short"}
    for row in found:
        move = float(np.log(paths.price[row]) * 1e4 - np.log(paths.price[at]) * 1e4)
        told = float(np.log(paths.price[row] / paths.price[at]) * 1e4)
        for side, own in (("long", move), ("short", -move)):
            if side in alive and own - cost >= BARRIERS.take_bps:
                return told, UP if side == "long" else DOWN, int(paths.cut_ns[row])
        for side, own in (("long", move), ("short", -move)):
            if own - cost <= -BARRIERS.stop_bps:
                alive.discard(side)
        if not alive or (whole and row == found[-1]):
            return told, FLAT, int(paths.cut_ns[row])
    return None


@st.composite
def recordings(draw):
    count = draw(st.integers(1, 40))
    steps = draw(
        st.lists(st.sampled_from([0, 1, 1, 1, 2, 3, 4, 9]), min_size=count, max_size=count)
    )
    moves = draw(st.lists(st.integers(-60, 60), min_size=count, max_size=count))
    return Paths(
        np.array(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)), np.uint16),
        10**18 + np.cumsum(np.array(steps, np.int64)) * SECOND,
        100 * np.exp(np.cumsum(moves) / 1e5 * 1.37),
        np.array(
            draw(st.lists(st.sampled_from([0] * 9 + [2, 32]), min_size=count, max_size=count)),
            np.uint64,
        ),
        np.sort(draw(st.lists(st.integers(1, 2), min_size=count, max_size=count))).astype(np.int64),
    )


def strict(paths: Paths) -> Paths:
    """One row an instrument and cut, as rings have them."""
    seen = np.unique(
        np.stack([paths.cut_ns, paths.instrument.astype(np.int64)]), axis=1, return_index=True
    )
    where = np.sort(seen[1])
    return Paths(*(column[where] for column in paths))


def told(labels: Labels, at: int):
    if labels.label[at] == UNKNOWN:
        return None
    return float(labels.move_bps[at]), int(labels.label[at]), int(labels.matured_ns[at])


@given(recordings())
def test_moves_are_those_of_a_naive_reading(paths):
    paths = strict(paths)
    labels = move_labels(paths, TARGET, GAP_S)
    assert [told(labels, at) for at in range(len(paths.cut_ns))] == [
        naive_move(paths, at) for at in range(len(paths.cut_ns))
    ]


@given(recordings(), st.integers(0, 10**6))
def test_barriers_are_those_of_a_naive_reading(paths, seed):
    paths = strict(paths)
    cost = np.random.default_rng(seed).uniform(0, 10, len(paths.cut_ns))
    labels = barrier_labels(paths, TARGET, BARRIERS, cost, GAP_S)
    assert [told(labels, at) for at in range(len(paths.cut_ns))] == [
        naive_barrier(paths, at, float(cost[at])) for at in range(len(paths.cut_ns))
    ]


@given(recordings(), st.integers(0, 10**6), st.booleans())
def test_no_label_looks_at_what_comes_after_it_matured(paths, seed, barriers):
    """Whatever is changed behind a label's own time, the label is the same."""
    paths = strict(paths)
    draw = np.random.default_rng(seed)
    cost = draw.uniform(0, 8, len(paths.cut_ns))

    def label(of: Paths) -> Labels:
        if barriers:
            return barrier_labels(of, TARGET, BARRIERS, cost[: len(of.cut_ns)], GAP_S)
        return move_labels(of, TARGET, GAP_S)

    labels = label(paths)
    for at in np.flatnonzero(labels.label != UNKNOWN):
        later = paths.cut_ns > labels.matured_ns[at]
        other = paths._replace(
            price=np.where(later, paths.price * draw.uniform(0.5, 2, len(later)), paths.price),
            invalid=np.where(later, draw.integers(0, 2, len(later)), paths.invalid).astype("u8"),
        )
        assert told(label(other), at) == told(labels, at)
        cut_short = Paths(*(column[~later] for column in paths))
        assert told(label(cut_short), at) == told(labels, at)


@given(recordings())
def test_what_matures_does_so_after_its_cut_and_within_its_reach(paths):
    paths = strict(paths)
    labels = move_labels(paths, TARGET, GAP_S)
    known = labels.label != UNKNOWN
    waited = (labels.matured_ns - paths.cut_ns)[known]
    assert (waited >= TARGET.horizon_s * SECOND).all()
    assert (waited <= (TARGET.horizon_s + GAP_S) * SECOND).all()
    assert np.isnan(labels.move_bps[~known]).all()


@pytest.mark.parametrize("what", ["gap", "session", "invalid"])
def test_no_label_crosses_a_break(what):
    count = 20
    cuts = 10**18 + SECOND * np.arange(count)
    session, invalid = np.ones(count, np.int64), np.zeros(count, np.uint64)
    if what == "gap":
        cuts[10:] += 3 * SECOND
    elif what == "session":
        session[10:] = 2
    else:
        invalid[10] = 4
    paths = Paths(np.zeros(count, np.uint16), cuts, np.full(count, 100.0), invalid, session)
    labels = move_labels(paths, TARGET, GAP_S)
    last = {"gap": 15, "session": 15, "invalid": 15}[what]
    known = np.flatnonzero(labels.label != UNKNOWN).tolist()
    first_after = 11 if what == "invalid" else 10
    assert known == [*range(6), *range(first_after, last + 1)]
