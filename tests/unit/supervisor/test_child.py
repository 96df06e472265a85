"""A child's state machine: the written table, real processes, real signals."""

import os
import signal
from pathlib import Path

import pytest

from processes.clock import Clock
from processes.supervisor import child as child_module
from processes.supervisor.child import TRANSITIONS, Child, ChildSpec, State
from schemas.settings import SupervisorSettings
from shm.control import CONTROL_BYTES, ControlBlock, format_control
from shm.identity import identity_of, is_alive
from shm.segment import Segment, segment_name
from tests.helpers import QuietLog, wait_until

PROGRAM = "tests.unit.supervisor.sample_child"


@pytest.fixture
def control(instance):
    name = segment_name(instance, "control")
    segment = Segment.create(name, CONTROL_BYTES)
    format_control(segment, 1)
    block = ControlBlock(segment)
    block.allot("sample")
    yield block
    segment.close()
    Segment.unlink(name)


@pytest.fixture
def make(control, instance, tmp_path, monkeypatch):
    made = []
    monkeypatch.setenv("SAMPLE_CONTROL", segment_name(instance, "control"))
    clock = Clock(0)

    def build(behaviour: str, **settings) -> Child:
        monkeypatch.setenv("SAMPLE_BEHAVIOUR", behaviour)
        spec = ChildSpec(name="sample", module=PROGRAM, stage=0, stop_order=0)
        log = QuietLog()
        defaults = {"backoff_first_s": 0.01, "backoff_longest_s": 0.05, "stop_timeout_s": 1.0}
        child = Child(
            spec,
            0,
            control,
            SupervisorSettings(**{**defaults, **settings}),
            tmp_path,
            tmp_path,
            log,
        )
        made.append(child)
        return child

    def until(child: Child, *states: State, deadline_s: float = 30.0) -> None:
        def reached() -> bool:
            child.tick(clock.now_ns())
            return child.state in states

        wait_until(reached, deadline_s, f"{states} from {child.state}")

    build.until = until
    yield build
    for child in made:
        child.stop()
        until(child, State.STOPPED, State.FAILED)


def test_the_table_is_closed_and_documented():
    assert {state for state, _ in TRANSITIONS} == set(State)
    document = child_module.__doc__
    for (before, event), after in TRANSITIONS.items():
        line = next(
            row for row in document.splitlines()
            if row.split()[:3] == [before.value, event.value, after.value]
        )  # fmt: skip
        assert line


def test_start_ready_stop(make):
    child = make("good")
    child.start()
    assert child.state == State.STARTING
    make.until(child, State.READY)
    pid = child.pid
    child.stop()
    make.until(child, State.STOPPED)
    assert child.pid == 0
    assert identity_of(pid) == 0
    assert child.restarts == 0


def test_a_killed_child_comes_back(make):
    child = make("good")
    child.start()
    make.until(child, State.READY)
    first = child.pid
    child._process.kill()
    make.until(child, State.BACKING_OFF)
    assert child.exit_text == "killed by signal 9"
    make.until(child, State.READY)
    assert child.pid != first
    assert child.restarts == 1


def test_a_child_that_keeps_dying_is_given_up_and_can_be_started_by_hand(make):
    child = make("dies", budget=3)
    child.start()
    make.until(child, State.FAILED)
    assert child.restarts == 3
    assert child.exit_text == "exit code 5"
    child.start()
    assert child.state == State.STARTING
    make.until(child, State.FAILED)


def test_a_child_that_hangs_is_not_alive(make, tmp_path):
    child = make("hangs", hung_after_s=0.5)
    child.start()
    make.until(child, State.READY)
    first = child.pid
    make.until(child, State.BACKING_OFF)
    assert "signal" in child.exit_text
    assert identity_of(first) == 0


def test_a_stopped_process_is_hung_too(make):
    child = make("good", hung_after_s=0.5)
    child.start()
    make.until(child, State.READY)
    child._process.send_signal(signal.SIGSTOP)
    make.until(child, State.BACKING_OFF)


def test_a_child_that_is_forgiven_is_given_its_time_again_and_no_more(make):
    child = make("good", hung_after_s=1.0)
    child.start()
    make.until(child, State.READY)
    pid = child.pid
    os.kill(pid, signal.SIGSTOP)
    now_ns = child._control.row(child.row).beat_ns
    late_ns = now_ns + 60_000_000_000
    child.forgive()
    child.tick(late_ns)
    assert child.state == State.READY
    assert not child._kill_s, "nobody has signalled it"
    assert child.is_fresh(late_ns)
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: child._control.row(child.row).beat_ns > now_ns, 10, "a beat")
    assert child.pid == pid
    os.kill(pid, signal.SIGSTOP)
    make.until(child, State.BACKING_OFF)


def test_a_child_that_never_gets_ready_is_ended(make):
    child = make("silent", ready_timeout_s=1.0)
    child.start()
    make.until(child, State.BACKING_OFF)


def test_a_child_that_is_not_ready_any_more_says_so(make):
    child = make("wavers")
    child.start()
    make.until(child, State.READY)
    make.until(child, State.STARTING)
    make.until(child, State.READY)
    assert child.restarts == 0


def test_a_stubborn_family_is_killed_whole(make, tmp_path):
    child = make("stubborn")
    child.start()
    make.until(child, State.READY)
    grandchild = identity_of(int((tmp_path / "grandchild").read_text()))
    assert is_alive(grandchild)
    child.stop()
    make.until(child, State.STOPPED)
    wait_until(lambda: not is_alive(grandchild), 5, "the grandchild's end")


def test_restart_is_not_counted_against_the_budget(make):
    child = make("good", budget=1)
    child.start()
    for _ in range(3):
        make.until(child, State.READY)
        before = child.pid
        child.restart()
        make.until(child, State.STARTING)
        make.until(child, State.READY)
        assert child.pid != before


def test_a_child_ends_when_its_parents_pipe_closes(make, tmp_path):
    child = make("good")
    child.start()
    make.until(child, State.READY)
    os.close(child._guard)
    child._guard = -1
    make.until(child, State.BACKING_OFF)
    assert Path(tmp_path / "sample.err").exists()
