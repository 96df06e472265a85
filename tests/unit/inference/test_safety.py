"""What inference does with a model that kills it, with too much memory, and with MLX that is not
there, hangs or is slow: the rung or place that the documents name, and no row without its drain."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from processes.clock import Clock, measure_offset_ns, monotonic_s
from processes.inference.chain import Chain
from processes.inference.flight import MOST_DEATHS, Flight
from processes.inference.main import FLIGHT, MemoryCeilingError
from processes.supervisor.child import Child, ChildSpec, State
from schemas.predictions import MODELS, RULE, Device, Rung
from schemas.settings import SupervisorSettings
from tests.helpers import QuietLog, wait_until
from tests.lineups import MARKETS, V1, Instance, Make, instances, market


@pytest.fixture
def make(closed_logs) -> Iterator[Make]:
    del closed_logs
    with instances(market(60)) as instance:
        families = ("tcn", "moving_average_cross", "gbdt")
        yield partial(instance, *families, promoted=("gbdt",))


def die_of(one: Instance, place: str) -> None:
    """As a process does that is killed while a model computes."""
    flight = Flight(one.data / "state" / FLIGHT)
    flight.enter(MODELS.index(place))
    flight.close()


def test_who_computed_outlives_the_process(tmp_path):
    path = tmp_path / "flight"
    first = Flight(path)
    assert (first.died_of, first.deaths) == (-1, 0)
    first.enter(2)
    first.leave()
    first.close()
    found = Flight(path)
    assert found.died_of == -1
    for deaths in range(1, 12):
        found.enter(2)
        found.close()
        found = Flight(path)
        assert (found.died_of, found.deaths) == (2, min(deaths, MOST_DEATHS))
    other = Flight(path)  # this time nothing computed
    assert (other.died_of, other.deaths) == (-1, 0)
    other.enter(0)
    again = Flight(path)
    assert (again.died_of, again.deaths) == (0, 1)


def test_after_mlx_has_hung_the_network_goes_on_in_numpy_and_mlx_is_tried_later(make):
    one = make(inference__device="cpu", inference__retry_s=3600.0)
    die_of(one, "tcn")
    one.start()
    one.live(5)
    assert (one.slots["rung"] == Rung.CPU).all()
    assert (one.slots["device"] == Device.NUMPY).all()
    assert np.isfinite(one.outputs("tcn")).all()
    chain = one.predictor._chain
    chain._retry_s = chain._shy_s = 0.0  # the time has passed
    one.live(2)
    assert one.slots["rung"][-1] == Rung.MLX
    replay = one.replayed()
    assert (replay.comparison.first, replay.comparison.excluded) == (None, [])


def test_a_model_that_the_process_died_of_waits_and_the_others_speak(make):
    one = make(inference__retry_s=3600.0)
    die_of(one, "gbdt")
    one.start()
    one.live(3)
    assert "gbdt waits: the process before died of it" in one.text()
    assert np.isnan(one.outputs("gbdt")).all()
    assert np.isfinite(one.outputs("tcn")).all()


def test_without_mlx_the_network_speaks_in_numpy(make, monkeypatch):
    def missing(_):
        raise ImportError("No module named 'mlx'")

    monkeypatch.setattr(Chain, "_make_mlx", missing)
    one = make(inference__device="auto")
    one.start()
    one.live(3)
    assert (one.slots["device"] == Device.NUMPY).all()
    assert "cpu: MLX cannot be used" in one.text()
    assert len(one.slots) == 3 * MARKETS


def test_a_process_that_has_grown_too_big_ends_in_order(make):
    one = make(inference__max_memory_mb=64)
    one.start()
    one.feed(1)
    with pytest.raises(MemoryCeilingError, match=r"inference\.max_memory_mb is 64"):
        one.turn()
    one.collect()
    assert len(one.slots) == MARKETS  # what had come was said before


def test_health_is_a_real_forward_pass_of_all_that_stand(make):
    one = make()
    one.start()
    told = one.predictor._health()
    assert told["rung"] == "cpu"
    assert told["models"] == {"gbdt": V1}
    place = one.predictor._chain.places.get("gbdt")

    def broken(*_):
        raise RuntimeError("no trees")

    place.model.follower = broken
    one.predictor._chain._stepper = broken
    told = one.predictor._health()
    assert told["rung"] == "positions_only"
    assert told["models"] == {}
    assert any("no trees" in fault for fault in told["faults"])


def test_when_no_row_comes_health_is_asked_all_the_same(make):
    one = make()
    one.start()
    place = one.predictor._chain.places.get("gbdt")
    place.model.follower = None  # it cannot even be called
    one.predictor._proved_s = -1e9
    one.predictor.look_after()
    assert one.predictor._chain.places.get("gbdt") is None


def compute_threads(pid: int) -> list[int]:
    """MLX's threads of a process: those that run in batches."""
    found = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return [thread for thread in found if os.sched_getscheduler(thread) == os.SCHED_BATCH]


@contextmanager
def held_up(threads: list[int]) -> Iterator[Callable[[], None]]:
    """Single threads that do not run any more, whoever waits for them.

    Gives what must be called while they are: a thread that ended is in its tracer's debt.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    seize, interrupt, every_child = 0x4206, 0x4207, 0x40000000
    left = set(threads)

    def collect(options: int = os.WNOHANG | every_child) -> None:
        for thread in tuple(left):
            with suppress(ChildProcessError):
                found, status = os.waitpid(thread, options)
                if not found or os.WIFSTOPPED(status):
                    continue
            left.discard(thread)

    for thread in threads:
        for request in (seize, interrupt):
            if libc.ptrace(request, ctypes.c_long(thread), None, None):
                pytest.skip(f"no thread may be held up here: {os.strerror(ctypes.get_errno())}")
        os.waitpid(thread, every_child)
    yield collect
    wait_until(lambda: (collect(), not left)[1], 20)


@pytest.mark.skipif(sys.platform != "linux", reason="threads of others are held up by ptrace")
def test_mlx_that_hangs_for_real_ends_the_process_and_the_next_speaks_without_it(closed_logs):
    """Its compute thread stands still in the middle of a cut; the process waits for it."""
    del closed_logs
    with instances(market(1000)) as make:
        hang(make("tcn", RULE, inference__device="cpu", inference__retry_s=5.0))


def hang(one: Instance) -> None:
    memory, fed_s = one.bare.memory, [0.0]
    assert memory is not None
    settings = SupervisorSettings(hung_after_s=1.0, backoff_first_s=0.01)
    clock, log = Clock(measure_offset_ns()), QuietLog()
    spec = ChildSpec(name="inference", module="processes.inference.main", stage=0, stop_order=0)
    row = memory.control.find("inference")
    child = Child(spec, row, memory.control, settings, one.bare.paths.run, one.bare.paths.logs, log)

    def until(done: Callable[[], object]) -> None:
        def looked() -> object:
            child.tick(clock.now_ns())
            one.collect()
            return done()

        wait_until(looked, 60)

    def told(rung: Rung) -> Callable[[], object]:
        def said() -> bool:
            if monotonic_s() - fed_s[0] > 0.05:
                fed_s[0] = monotonic_s()
                one.feed(1)
            return bool(one.told) and one.slots["rung"][-1] == rung

        return said

    try:
        child.start()
        until(lambda: child.state == State.READY)
        until(told(Rung.MLX))
        first, threads = child.pid, compute_threads(child.pid)
        assert threads
        with held_up(threads) as collect:
            one.feed(1)
            until(lambda: (collect(), child.pid not in {0, first})[1])
        assert ("error", "hung: no heartbeat") in [(line[0], line[1]) for line in log.lines]
        assert child.exit_text.startswith("killed by signal")
        until(lambda: child.state == State.READY)
        before = len(one.slots)
        until(told(Rung.CPU))
        assert (one.slots["device"][before:] == Device.NUMPY).all()
        assert np.isfinite(one.outputs("tcn")[before:]).all()
        until(told(Rung.MLX))  # it is tried again after its time
    finally:
        child.stop()
        until(lambda: child.state == State.STOPPED)
    replay = one.replayed()
    assert (replay.comparison.first, replay.comparison.excluded) == (None, [])
    assert replay.comparison.compared == len(one.slots)
