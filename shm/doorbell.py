"""The doorbell: how a writer wakes the readers that said they sleep, and how a reader sleeps.

A signal carries nothing: it says "look at the ring". One that is lost costs a reader's timeout (20
ms at most), never data. Two bodies behind one interface:

*zmq* (the usual one): each writer's process has a PUB socket; a reader subscribes to its own name,
so that a ring with several readers wakes only those that sleep.
*datagram*: a Unix datagram socket a reader, one byte a signal; several times quicker, same rules.
"""

import errno
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import zmq

from shm.readers import ReadersPage, RingReader
from shm.sockets import socket_path

TOPIC = b"!"


class Ringer(Protocol):
    """The writer's side."""

    def ring(self, armed: int) -> None:
        """Wake the readers whose row bits are set."""

    def close(self) -> None:
        """Give up what the ringer itself opened."""


class Waiter(Protocol):
    """The reader's side."""

    def wait(self, timeout_ms: int) -> None:
        """Sleep until rung, or for the timeout."""

    def close(self) -> None:
        """Give the socket up."""


class _Bells:
    """From armed bits to the addresses of their readers, remembered; rows may change hands."""

    def __init__(self, page: ReadersPage, address_of: Callable[[str], bytes]) -> None:
        self._page = page
        self._address_of = address_of
        self._known: dict[int, list[bytes]] = {}
        self._asked = 0

    def of(self, armed: int) -> list[bytes]:
        """Addresses of the readers whose bits are set."""
        self._asked += 1
        if self._asked % 1024 == 0:
            self._known.clear()
        found = self._known.get(armed)
        if found is None:
            rows = [row for row in self._page.rows() if armed >> row.place & 1]
            found = self._known[armed] = [self._address_of(row.name) for row in rows]
        return found


class ZmqRinger:
    """Rings over the writing process's PUB socket."""

    def __init__(self, publisher: "zmq.Socket[bytes]", page: ReadersPage) -> None:
        self._publisher = publisher
        self._bells = _Bells(page, lambda name: TOPIC + name.encode())

    def ring(self, armed: int) -> None:
        """Publish each sleeper's name."""
        for topic in self._bells.of(armed):
            # A full queue of a reader that is stuck must not hold the writer up.
            try:
                self._publisher.send(topic, zmq.NOBLOCK)
            except zmq.Again:
                continue

    def close(self) -> None:
        """Nothing: the PUB socket belongs to the process."""


class ZmqWaiter:
    """Sleeps on one SUB socket that hears all writers a process reads from."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", name: str, endpoints: Sequence[str]
    ) -> None:
        self._socket = context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.RCVHWM, 64)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        # The whole topic: `features` must not be woken with `features2`.
        self._socket.setsockopt(zmq.SUBSCRIBE, TOPIC + name.encode())
        for endpoint in endpoints:
            self._socket.connect(endpoint)
        self._timeout_ms = -1

    def wait(self, timeout_ms: int) -> None:
        """Receive one signal, or give up after the timeout."""
        if timeout_ms != self._timeout_ms:
            self._socket.setsockopt(zmq.RCVTIMEO, timeout_ms)
            self._timeout_ms = timeout_ms
        try:
            self._socket.recv()
        except zmq.Again:
            return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _bell_path(directory: Path, name: str) -> str:
    return socket_path(directory, f"{name}.bell")


class DatagramRinger:
    """Sends one byte to the bell of each sleeper."""

    def __init__(self, directory: Path, page: ReadersPage) -> None:
        self._bells = _Bells(page, lambda name: _bell_path(directory, name).encode())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self, armed: int) -> None:
        """One byte each; a bell that is full is ringing already, one that is gone has a timeout."""
        for path in self._bells.of(armed):
            try:
                self._socket.sendto(b"!", path)
            except OSError as error:
                if error.errno not in {
                    errno.EAGAIN, errno.ENOBUFS, errno.ENOENT, errno.ECONNREFUSED
                }:  # fmt: skip
                    raise

    def close(self) -> None:
        """Close the sending socket."""
        self._socket.close()


class DatagramWaiter:
    """Sleeps on a datagram socket of the reader's own."""

    def __init__(self, directory: Path, name: str) -> None:
        self._path = _bell_path(directory, name)
        Path(self._path).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._path)
        self._timeout_ms = -1

    def wait(self, timeout_ms: int) -> None:
        """Receive one byte, or give up after the timeout."""
        if timeout_ms != self._timeout_ms:
            # A timeout of the socket itself: one system call a wait where settimeout() makes two.
            microseconds = struct.pack(
                "ll" if sys.platform == "linux" else "li4x", timeout_ms // 1000,
                timeout_ms % 1000 * 1000,
            )  # fmt: skip
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, microseconds)
            self._timeout_ms = timeout_ms
        try:
            self._socket.recv(8)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Close and remove the socket."""
        self._socket.close()
        Path(self._path).unlink(missing_ok=True)


class Inbox:
    """Several rings and one place to sleep: what a reading process blocks on.

    Args:
        readers: the rings to wake for. waiter: where to sleep.
        spin: called before sleeping; True if it has seen something come (see `spin_us`).
    """

    def __init__(
        self,
        readers: Sequence[RingReader],
        waiter: Waiter,
        spin: Callable[[], bool] | None = None,
    ) -> None:
        self._readers = list(readers)
        self._waiter = waiter
        self._spin = spin

    def wait(self, timeout_ms: int) -> None:
        """Return at once if any ring has something new, else when rung or after the timeout."""
        if self._spin is not None and self._spin():
            return
        for index, reader in enumerate(self._readers):
            if not reader.arm():
                for other in self._readers[:index]:
                    other.disarm()
                return
        self._waiter.wait(timeout_ms)
        for reader in self._readers:
            reader.disarm()

    def close(self) -> None:
        """Give the socket up; the readers stay."""
        self._waiter.close()
