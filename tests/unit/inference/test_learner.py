"""Learning while it runs: each matured row once, the same weights whatever was restarted between,
and the same bits in a replay."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from models.base import ModelError
from models.families import FAMILIES
from models.labels import Paths, move_labels
from models.linear import OnlineLinear
from models.samples import UNKNOWN, Samples
from processes.inference.learner import read_kept, state_of
from processes.inference.roster import LEARNER
from schemas.control import ProcessState
from shm.identity import pid_of
from tests.helpers import ROOT, wait_until
from tests.lineups import (
    MARKETS,
    START_NS,
    TARGET,
    V2,
    Instance,
    Make,
    assert_replayed,
    fitted,
    instances,
    market,
    plant,
    promote,
)

SECOND = 10**9


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return market(300, seed=4)


@pytest.fixture
def make(rows, closed_logs) -> Iterator[Make]:
    del closed_logs
    with instances(rows) as made:

        def instance(family: str = "sgd", *, trained_to_ns: int = 0, **settings: object):
            families = ("moving_average_cross", family, "regime")
            told = {"trained_to_ns": trained_to_ns}
            return made(*families, promoted=families[1:], manifest=told, **settings)

        yield instance


def learner(one: Instance):
    return one.predictor._chain.places.learner


def weights(one: Instance) -> dict[str, bytes]:
    model: OnlineLinear = learner(one)._model
    return {name: array.tobytes() for name, array in model.weights().items()}


def matured(rows: np.ndarray, gap_s: float) -> Samples:
    """Samples of a recording as `labels.py` has them, in the order in which they became known."""
    paths = Paths(
        rows["instrument"].astype(np.int64), rows["cut_ns"], rows["reference_price"],
        rows["invalid"], np.zeros(len(rows), np.int64),
    )  # fmt: skip
    found = move_labels(paths, TARGET, gap_s)
    known = np.flatnonzero(found.label != UNKNOWN)
    known = known[np.lexsort((rows["cut_ns"][known], rows["instrument"][known],
                              found.matured_ns[known]))]  # fmt: skip
    return Samples(
        values=rows["values"][known], book=rows["book"][known], invalid=rows["invalid"][known],
        instrument=rows["instrument"][known], cut_ns=rows["cut_ns"][known],
        price=rows["reference_price"][known], move_bps=found.move_bps[known],
        label=found.label[known], matured_ns=found.matured_ns[known],
    )  # fmt: skip


@pytest.mark.parametrize("family", ["sgd", "ftrl", "passive_aggressive"])
def test_it_learns_what_the_labels_of_the_recording_teach_in_one_go(make, family):
    one = make(family)
    one.start()
    one.live(80, 1, 4, 2)
    assert learner(one).learnt > 150
    known = matured(np.concatenate(one.written), one.bare.settings.training.gap_s)
    assert learner(one).learnt == known.count
    model = FAMILIES[family].restored(fitted(family).weights())
    assert isinstance(model, OnlineLinear)
    model.partial_fit(known)
    assert {name: array.tobytes() for name, array in model.weights().items()} == weights(one)
    # The state is told, and moves.
    assert len(set(one.slots["learner_state"].tolist())) > 20
    states = one.slots["learner_state"]
    one.live(1)
    before = learner(one).state
    one.live(1)
    assert one.slots["learner_state"][-1] == before  # what a drain knew came before it
    assert (states > 0).all()
    assert_replayed(one)


def test_rows_that_the_version_was_trained_on_teach_nothing_again(make):
    one = make(trained_to_ns=START_NS + 60 * SECOND)
    one.start()
    one.live(60, 5)
    assert learner(one).learnt == 0
    one.live(20)
    assert 0 < learner(one).learnt <= 20 * MARKETS


@pytest.mark.parametrize("killed", [False, True])
def test_a_restart_in_the_middle_changes_no_weight(make, killed):
    whole, broken = make(), make(inference__checkpoint_s=0.001)
    whole.start()
    whole.live(150, 1)
    broken.start()
    broken.live(40, 3, 1)
    for _ in range(3):
        broken.live(15, 2, 5)
        broken.stop(killed=killed)
        broken.feed(5)  # while nobody infers
        broken.start()
        broken.turn()
    broken.live(50, 4, 1)
    assert weights(broken) == weights(whole)
    assert broken.slots["learner_state"][-1] == whole.slots["learner_state"][-1]
    assert learner(broken).state == learner(whole).state
    assert broken.predictor._roster.rows_lost == 0
    assert_replayed(broken)


def is_ready(one: Instance, pid: int) -> bool:
    control = one._features.control
    row = control.row(control.find("inference"))
    return pid_of(row.owner) == pid and row.state == ProcessState.READY


def test_a_process_that_is_killed_for_real_changes_no_weight(make):
    whole, broken = make(), make(inference__checkpoint_s=0.05)
    whole.start()
    whole.live(60, 1)
    kept = broken.data / "state" / LEARNER
    command = [sys.executable, "-m", "processes.inference.main", "--run",
               str(broken.bare.paths.run), "--name", "inference"]  # fmt: skip
    environment, goal = {**os.environ, "PYTHONPATH": str(ROOT)}, 0
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        process = subprocess.Popen(command, env=environment, cwd=ROOT)
        try:
            goal += 20 * MARKETS
            broken.feed(10)  # in silence, most of it
            wait_until(lambda pid=process.pid: is_ready(broken, pid), 60)
            for _ in range(10):
                broken.feed(1)

            def taken(goal=goal) -> bool:
                broken.collect()
                return bool(broken.told) and int(broken.slots["feature_sequence"][-1]) == goal

            wait_until(taken, 60)
            wait_until(kept.exists, 20)
            process.send_signal(number)
            process.wait(20)
        finally:
            process.kill()
            process.wait(20)
    found = read_kept(kept.read_bytes())
    assert found.sequence == 60 * MARKETS
    mine = learner(whole)._model.weights()
    assert {name: found.arrays[name].tobytes() for name in mine} == weights(whole)
    assert_replayed(broken)


def test_rows_that_the_ring_has_lost_are_told_and_the_replay_knows(make):
    one = make(rings__features=256, inference__checkpoint_s=3600.0)
    one.start()
    one.live(60, 2)
    one.stop()
    state = read_kept((one.data / "state" / LEARNER).read_bytes())
    one.feed(100)  # more than the ring holds
    one.start()
    assert one.predictor._roster.rows_lost == 160 * MARKETS - 256 - state.sequence
    one.live(40, 1)
    assert learner(one).learnt > 0
    before = state_of({n: a for n, a in state.arrays.items() if not n.startswith("waiting")})
    assert one.slots["learner_state"][-1] != before
    assert_replayed(one)


def test_a_reader_that_is_lapped_goes_on_and_the_replay_knows(make):
    one = make(rings__features=256)
    one.start()
    one.live(40, 2)
    one.feed(90)  # the ring turns over while it is away
    one.turn()
    one.live(30, 1)
    assert one.predictor._roster.rows_lost > 0
    assert_replayed(one)


def test_a_rollback_begins_where_its_version_was_trained_to(make):
    one = make()
    one.start()
    one.live(30)
    plant(one.data, "sgd", V2, fitted("sgd", 2))
    promote(one.data, "sgd", V2)

    def swapped() -> bool:
        one.live(1)
        return one.predictor._chain.places.get("linear").standing.version == V2

    wait_until(swapped, 20)
    assert learner(one).learnt == 0
    one.live(20, 1, 2)
    assert learner(one).learnt > 0
    assert one.predictor._roster.samples > learner(one).learnt
    assert_replayed(one)


def test_what_was_kept_and_is_damaged_is_not_gone_on_from(make):
    one = make()
    one.start()
    one.live(30)
    one.stop()
    kept = one.data / "state" / LEARNER
    kept.write_bytes(kept.read_bytes()[:-200])
    one.start()
    one.live(10)
    assert_replayed(one)
    with pytest.raises(ModelError, match="cannot be read"):
        read_kept(kept.read_bytes()[:100])


def test_without_learning_the_state_is_none(make):
    one = make(inference__learn=False)
    one.start()
    one.live(20)
    assert learner(one) is None
    assert (one.slots["learner_state"] == 0).all()
    assert np.isfinite(one.outputs("sgd")).all()
    assert_replayed(one)
