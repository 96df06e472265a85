"""The bus: facts by PUB/SUB, commands by request and reply. Every process binds one of each.

There is no proxy: who wants facts subscribes to each process's PUB. The PUB socket also carries the
doorbell's signals (`shm/doorbell.py`), under topics of their own.
"""

import itertools
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import zmq

from processes.clock import monotonic_s
from schemas.errors import NotRunningError, OperatorError
from schemas.messages import (
    Command,
    Fact,
    Reply,
    decode_command,
    decode_reply,
    encode,
    topic,
)
from shm.sockets import socket_path

ZmqContext = zmq.Context[zmq.Socket[bytes]]
Handler = Callable[[dict[str, Any]], Any]
"""Takes a command's arguments, returns what goes back; raises `OperatorError` to refuse it."""
INTERRUPTED_WITHIN_MS: Final = 50
"""How long a request goes on after a Ctrl-C."""
_ids = itertools.count(1)


def publisher_endpoint(run: Path, process: str) -> str:
    """Where a process publishes."""
    return f"ipc://{socket_path(run, f'{process}.pub')}"


def command_endpoint(run: Path, process: str) -> str:
    """Where a process takes commands."""
    return f"ipc://{socket_path(run, f'{process}.ctl')}"


class Bus:
    """One process's two sockets."""

    def __init__(self, run: Path, process: str) -> None:
        self.context: ZmqContext = zmq.Context()
        self.publisher = self.context.socket(zmq.PUB)
        self.publisher.linger = 0
        self.publisher.setsockopt(zmq.SNDHWM, 1000)
        self._router = self.context.socket(zmq.ROUTER)
        self._router.linger = 200
        self._handlers: dict[str, Handler] = {}
        self._paths = [
            Path(endpoint(run, process).removeprefix("ipc://"))
            for endpoint in (publisher_endpoint, command_endpoint)
        ]
        for socket, path in zip((self.publisher, self._router), self._paths, strict=True):
            path.unlink(missing_ok=True)
            socket.bind(f"ipc://{path}")

    @property
    def commands(self) -> "zmq.Socket[bytes]":
        """The ROUTER socket, for who polls it together with others."""
        return self._router

    def publish(self, fact: Fact) -> None:
        """Tell whoever listens; nobody need."""
        self.publisher.send_multipart([topic(fact), encode(fact)])

    def on_command(self, name: str, handler: Handler) -> None:
        """Answer commands of this name."""
        self._handlers[name] = handler

    def serve_commands(self) -> int:
        """Answer all commands that have come; how many."""
        served = 0
        while self._router.poll(0):
            sender, *_, body = self._router.recv_multipart()
            self._router.send_multipart([sender, b"", encode(self._answer(body))])
            served += 1
        return served

    def _answer(self, body: bytes) -> Reply:
        try:
            command = decode_command(body)
        except ValueError as error:
            return Reply(id=0, ok=False, error=f"not a command: {error}")
        handler = self._handlers.get(command.name)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            return Reply(id=command.id, ok=False, error=f"no command {command.name}; {known}")
        try:
            return Reply(id=command.id, ok=True, result=handler(command.arguments))
        except OperatorError as error:
            return Reply(id=command.id, ok=False, error=str(error))
        except (LookupError, TypeError, ValueError) as error:
            # Whoever may connect may send anything; that must not end who listens.
            text = f"{command.name} does not take {command.arguments}: {error!r}"
            return Reply(id=command.id, ok=False, error=text)

    def close(self) -> None:
        """Close both sockets and remove their files."""
        self.publisher.close(0)
        self._router.close(200)
        self.context.term()
        for path in self._paths:
            path.unlink(missing_ok=True)


def request(
    run: Path,
    process: str,
    name: str,
    arguments: dict[str, Any] | None = None,
    *,
    timeout_s: float = 5.0,
) -> Any:
    """Send one command and wait for its answer.

    Raises:
        OperatorError: it was refused, or there is no answer in time.
    """
    endpoint = command_endpoint(run, process)
    if not Path(endpoint.removeprefix("ipc://")).exists():
        raise NotRunningError(f"{process} is not running: dcctl start")
    command = Command(id=next(_ids), name=name, arguments=arguments or {})
    with _interrupts_held():
        body = _exchange(endpoint, encode(command), timeout_s)
    if body is None:
        raise OperatorError(f"{process} did not answer {name} within {timeout_s:g} s")
    reply = decode_reply(body)
    if not reply.ok:
        raise OperatorError(reply.error)
    return reply.result


def _exchange(endpoint: str, command: bytes, timeout_s: float) -> bytes | None:
    """The answer; None when there is none in time, or somebody interrupts."""
    until_s = monotonic_s() + timeout_s
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        socket.send_multipart([b"", command])
        while not socket.poll(min(INTERRUPTED_WITHIN_MS, _ms_until(until_s))):
            if monotonic_s() >= until_s or signal.SIGINT in signal.sigpending():
                return None
        return socket.recv_multipart()[-1]


def _ms_until(until_s: float) -> int:
    return max(0, math.ceil((until_s - monotonic_s()) * 1e3))


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A Ctrl-C in here is raised at the end.

    Sockets and contexts have destructors in Python: raised inside of one, KeyboardInterrupt is
    printed and forgotten, and raised before one has closed its socket, the context waits for ever.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def subscribe(context: ZmqContext, run: Path, processes: Sequence[str]) -> "zmq.Socket[bytes]":
    """A SUB socket that hears the facts of these processes."""
    socket = context.socket(zmq.SUB)
    socket.linger = 0
    socket.setsockopt(zmq.SUBSCRIBE, b"fact.")
    for process in processes:
        socket.connect(publisher_endpoint(run, process))
    return socket
