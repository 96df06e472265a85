"""The bus: every request gets one answer or a sentence, and no message ends who receives it."""

import signal
import threading
from pathlib import Path

import pytest
import zmq

from processes.bus import Bus, command_endpoint, request, subscribe
from schemas.errors import NotRunningError, OperatorError
from schemas.messages import (
    Command,
    KillChanged,
    ProcessChanged,
    Reply,
    decode_fact,
    decode_reply,
    encode,
)
from tests.helpers import python, run_python, wait_until
from tests.instances import short_folder


@pytest.fixture
def run():
    with short_folder() as folder:
        yield folder


@pytest.fixture
def bus(run):
    made = Bus(run, "somebody")
    yield made
    made.close()


class Serving:
    """A thread that answers, as a main loop does now and then."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self.fault: BaseException | None = None

    def _live(self) -> None:
        try:
            while not self._end.is_set():
                self._bus.commands.poll(5)
                self._bus.serve_commands()
        except BaseException as error:  # noqa: BLE001 (the test looks at it)
            self.fault = error

    def __enter__(self) -> "Serving":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        assert self.fault is None, self.fault


def test_a_command_is_answered(run, bus):
    bus.on_command("double", lambda arguments: {"twice": 2 * arguments["number"]})
    with Serving(bus):
        assert request(run, "somebody", "double", {"number": 21}) == {"twice": 42}
        assert request(run, "somebody", "double", {"number": 1}) == {"twice": 2}


def test_a_refusal_is_its_sentence(run, bus):
    def refuse(_):
        raise OperatorError("not today; try dcctl status")

    bus.on_command("refuse", refuse)
    with Serving(bus), pytest.raises(OperatorError, match="not today"):
        request(run, "somebody", "refuse")


def test_an_unknown_command_names_those_there_are(run, bus):
    bus.on_command("one", lambda _: 1)
    bus.on_command("two", lambda _: 2)
    with Serving(bus), pytest.raises(OperatorError, match="no command three; one, two"):
        request(run, "somebody", "three")


def test_nobody_there(run):
    with pytest.raises(NotRunningError, match="somebody is not running"):
        request(run, "somebody", "ping")


def test_somebody_who_does_not_answer(run, bus):
    with pytest.raises(OperatorError, match=r"did not answer ping within 0\.05 s"):
        request(run, "somebody", "ping", timeout_s=0.05)


def test_a_socket_file_that_nobody_listens_at(run):
    bus = Bus(run, "somebody")
    path = command_endpoint(run, "somebody").removeprefix("ipc://")
    bus.close()
    Path(path).touch()
    with pytest.raises(OperatorError, match="did not answer"):
        request(run, "somebody", "ping", timeout_s=0.05)


@pytest.mark.parametrize(
    "arguments", [{}, {"number": None}, {"number": "x"}, {"number": []}, {"more": 1}]
)
def test_wrong_arguments_are_refused_and_the_next_command_is_answered(run, bus, arguments):
    """A handler that trips over what it was sent must not take its process with it."""
    bus.on_command("half", lambda given: 100 // int(given["number"]))
    with Serving(bus):
        with pytest.raises(OperatorError, match="half"):
            request(run, "somebody", "half", arguments)
        assert request(run, "somebody", "half", {"number": 4}) == 25


@pytest.mark.parametrize(
    "frames",
    [
        [b""], [b"garbage"], [b"", b""], [b"", b"\xc1"], [b"", b"\x00" * 100], [b"a", b"b", b"c"],
        [b"", encode(Reply(id=1, ok=True))], [b"", encode(Command(id=2**63, name="x" * 100_000))],
        [b"", encode(KillChanged(level=3, by="x", time_ns=1))],
    ],
)  # fmt: skip
def test_what_is_no_command_is_answered_as_such(run, bus, frames):
    bus.on_command("ping", lambda _: "pong")
    with Serving(bus):
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.connect(command_endpoint(run, "somebody"))
            socket.send_multipart(frames)
            assert socket.poll(10_000)
            reply = decode_reply(socket.recv_multipart()[-1])
            assert not reply.ok
            assert reply.error
        assert request(run, "somebody", "ping") == "pong"


def test_who_asks_and_leaves_harms_nobody(run, bus):
    bus.on_command("ping", lambda _: "pong")
    with pytest.raises(OperatorError):
        request(run, "somebody", "ping", timeout_s=0.01)
    with Serving(bus):
        assert request(run, "somebody", "ping") == "pong"


def test_facts_reach_who_listens_and_no_one_need(run, bus):
    fact = ProcessChanged(process="features", state="ready", time_ns=5)
    bus.publish(fact)
    socket = subscribe(bus.context, run, ["somebody"])
    heard = []

    def hear() -> bool:
        bus.publish(fact)
        while socket.poll(0):
            heard.append(socket.recv_multipart())
        return bool(heard)

    wait_until(hear, 10, "the subscription")
    socket.close(0)
    assert heard[0][0] == b"fact.process"
    assert decode_fact(heard[0][1]) == fact


def test_a_bus_leaves_no_socket_and_takes_a_dead_ones_place(run):
    first = Bus(run, "somebody")
    assert {path.name for path in run.iterdir()} == {"somebody.pub", "somebody.ctl"}
    first.close()
    assert list(run.iterdir()) == []
    for name in ("somebody.pub", "somebody.ctl"):
        (run / name).touch()  # what a SIGKILL leaves
    second = Bus(run, "somebody")
    second.on_command("ping", lambda _: "pong")
    with Serving(second):
        assert request(run, "somebody", "ping") == "pong"
    second.close()
    assert list(run.iterdir()) == []


ASKERS = """
import os, random, signal, sys, threading, time
from pathlib import Path
from processes.bus import request

run, draw, deaf = Path(sys.argv[1]), random.Random(int(sys.argv[2])), 0
pause, (heard, tell) = threading.Event(), os.pipe()
for _ in range(int(sys.argv[3])):
    asker = os.fork()
    if asker == 0:
        try:
            os.write(tell, b".")
            while True:
                request(run, "somebody", "ping", timeout_s=60)
        except KeyboardInterrupt:
            os._exit(130)
        finally:
            os._exit(1)
    os.read(heard, 1)  # before it asks, an interrupt would be none of a request's
    pause.wait(draw.uniform(0.02, 0.06))
    os.kill(asker, signal.SIGINT)
    until_s = time.monotonic() + 30
    while not (ended := os.waitpid(asker, os.WNOHANG))[0] and time.monotonic() < until_s:
        pause.wait(0.002)
    if not ended[0]:
        os.kill(asker, signal.SIGKILL)
        ended = os.waitpid(asker, 0)
    deaf += os.waitstatus_to_exitcode(ended[1]) != 130
print(deaf)
"""


def test_an_interrupt_is_never_lost_in_a_request(run, bus, seed, long_run):
    """Raised inside of a destructor, it would be printed and forgotten, or leave it hanging."""
    bus.on_command("ping", lambda _: {})
    with Serving(bus):
        told = run_python(
            "-c", ASKERS, str(run), str(seed), "2000" if long_run else "60", deadline_s=500
        )
    assert told.returncode == 0, told.stderr
    assert told.stdout == "0\n", told.stderr[-2000:]


def test_an_interrupt_does_not_wait_for_an_answer_that_never_comes(run, bus):
    """Nobody serves the bus here."""
    asker = python(
        "-c",
        "import sys; from pathlib import Path; from processes.bus import request\n"
        "print('asks', flush=True); request(Path(sys.argv[1]), 'somebody', 'ping', timeout_s=500)",
        str(run),
    )
    try:
        assert asker.stdout.readline() == "asks\n"
        wait_until(lambda: bus.commands.poll(5), 30, "the request is there")
        asker.send_signal(signal.SIGINT)
        _, errors = asker.communicate(timeout=20)
        assert errors.endswith("KeyboardInterrupt\n")
    finally:
        asker.kill()
        asker.communicate()
