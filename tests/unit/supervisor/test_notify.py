"""What a service manager is told: by a real datagram socket, by a whole supervisor's turns."""

import os
import signal
import socket
from pathlib import Path

import msgspec
import pytest

from processes.supervisor import notify
from processes.supervisor.child import State
from processes.supervisor.notify import Manager
from tests.helpers import wait_until
from tests.instances import short_folder
from tests.unit.supervisor.test_supervisor import all_ready, instance, supervise  # noqa: F401


class Listener:
    """The other end, as systemd holds it."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """What has come since the last look, a datagram each."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def listener():
    with short_folder() as folder:
        made = Listener(str(folder / "notify"))
        yield made
        made.socket.close()


@pytest.fixture
def now(monkeypatch):
    """The manager's clock, set by hand."""
    at = [100.0]
    monkeypatch.setattr(notify, "monotonic_s", lambda: at[0])
    return at


def manager_of(listener: Listener, **more: str) -> Manager:
    return Manager.of_environment({"NOTIFY_SOCKET": listener.socket.getsockname(), **more})


def test_ready_once_when_all_run_and_patience_before(listener, now):
    manager = manager_of(listener)
    manager.look("starting", fresh=True)
    assert listener.heard() == ["STATUS=starting", "EXTEND_TIMEOUT_USEC=30000000"]
    manager.look("starting", fresh=True)
    assert listener.heard() == []
    now[0] += 11
    manager.look("degraded", fresh=True)
    assert listener.heard() == ["STATUS=degraded", "EXTEND_TIMEOUT_USEC=30000000"]
    manager.look("running", fresh=True)
    assert listener.heard() == ["STATUS=running", "READY=1"]
    for state in ("degraded", "running"):
        now[0] += 60
        manager.look(state, fresh=True)
    assert listener.heard() == ["STATUS=degraded", "STATUS=running"]
    manager.stopping()
    manager.look("stopping", fresh=True)
    assert listener.heard() == ["STOPPING=1", "STATUS=stopping", "EXTEND_TIMEOUT_USEC=30000000"]
    manager.close()


def test_the_watchdog_hears_every_third_and_only_while_all_beat(listener, now):
    manager = manager_of(listener, WATCHDOG_USEC="15000000", WATCHDOG_PID=str(os.getpid()))

    def heard(fresh: bool) -> int:
        manager.look("running", fresh=fresh)
        return listener.heard().count("WATCHDOG=1")

    assert heard(True) == 1
    now[0] += 4.9
    assert heard(True) == 0
    now[0] += 0.2
    assert heard(True) == 1
    for _ in range(4):
        now[0] += 5.1
        assert heard(False) == 0
    assert heard(True) == 1, "as soon as they beat again"
    manager.close()


@pytest.mark.parametrize(
    "more", [{}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "1"}]
)
def test_no_watchdog_unless_it_is_ours(listener, now, more):
    manager = manager_of(listener, **more)
    manager.look("running", fresh=True)
    assert "WATCHDOG=1" not in listener.heard()
    manager.close()


def test_the_variables_are_not_handed_on_to_children():
    environment = {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "x"}
    Manager.of_environment(environment).close()
    assert environment == {"HOME": "x"}


def test_without_a_manager_nothing_is_said_and_a_dead_one_harms_nobody(tmp_path):
    for address in ("", str(tmp_path / "nobody")):
        manager = Manager(address, 1.0)
        manager.look("running", fresh=True)
        manager.reloading()
        manager.reloaded()
        manager.stopping()
        manager.close()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="abstract sockets are of Linux")
def test_an_abstract_address():
    listener = Listener(f"@dc-test-{os.getpid()}")
    manager = Manager(f"@dc-test-{os.getpid()}")
    manager.stopping()
    assert listener.heard() == ["STOPPING=1"]
    manager.close()
    listener.socket.close()


@pytest.fixture
def supervisor(listener, monkeypatch, supervise):  # noqa: F811
    """One that a manager has started, which watches it."""
    monkeypatch.setenv("NOTIFY_SOCKET", listener.socket.getsockname())
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    made = supervise()
    assert "NOTIFY_SOCKET" not in os.environ
    yield made
    for child in made._children:
        if not child.pid:
            child.state = State.STOPPED


def test_a_supervisor_is_ready_when_every_child_is_and_says_its_end(
    listener, supervisor, monkeypatch
):
    for child in supervisor._children:
        monkeypatch.setattr(child, "tick", lambda _: False)
    supervisor._turn()
    assert not {"READY=1"} & set(listener.heard())
    all_ready(supervisor)
    found = set()

    def heard() -> bool:
        supervisor._turn()
        found.update(listener.heard())
        return {"READY=1", "WATCHDOG=1"} <= found

    wait_until(heard, 10, "both words")
    supervisor._reload_by_signal()
    first, second = listener.heard()
    assert first.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert second == "READY=1"
    for child in supervisor._children:
        child.state = State.STOPPED
    supervisor._stop_all()
    assert listener.heard()[0] == "STOPPING=1"


def test_a_critical_child_that_hangs_silences_the_watchdog_and_another_does_not(
    listener, supervisor, monkeypatch
):
    """Both are stopped by a real signal; only the supervisor's own cure is held back here."""
    children = {child.spec.name: child for child in supervisor._children}
    assert {name for name, child in children.items() if child.spec.is_critical} == {
        "storage", "execution", "inference", "features", "collector.bitfinex",
    }  # fmt: skip
    storage, simulator = children["storage"], children["simulator"]
    for child in (storage, simulator):
        child.start()

    def started(child) -> bool:
        supervisor._turn()
        return child.state == State.READY

    wait_until(lambda: started(storage) & started(simulator), 240, "both ready")
    hasty = msgspec.structs.replace(storage._settings, hung_after_s=0.5)
    for child in (storage, simulator):
        monkeypatch.setattr(child, "_end_hung", lambda _: None)
        monkeypatch.setattr(child, "_settings", hasty)
    listener.heard()

    def heard() -> bool:
        supervisor._turn()
        return "WATCHDOG=1" in listener.heard()

    wait_until(heard, 10, "the watchdog's word")
    simulator._process.send_signal(signal.SIGSTOP)
    now_ns = supervisor._clock.now_ns
    wait_until(lambda: not simulator.is_fresh(now_ns()), 10, "an old heartbeat")
    wait_until(heard, 10, "the watchdog's word: the simulator is not critical")
    storage._process.send_signal(signal.SIGSTOP)
    wait_until(lambda: not storage.is_fresh(now_ns()), 10, "an old heartbeat")
    listener.heard()
    for _ in range(40):  # 0.8 s: eight of the watchdog's turns
        assert not heard()
    for child in (storage, simulator):
        child._process.send_signal(signal.SIGCONT)
    wait_until(heard, 10, "the watchdog's word again")
