"""The doorbell: how a writer wakes the readers that said they sleep, and how a reader sleeps.

A signal carries nothing: it says "look at the ring". One that is lost costs a reader's timeout (20
ms at most), never data. Two bodies behind one interface:

*zmq* (the usual one): each writer's process has a PUB socket; a reader subscribes to its own name,
so that a ring with several readers wakes only those that sleep.
*datagram*: a Unix datagram socket a reader, one byte a signal; several times quicker, same rules.
"""

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import zmq

from shm.errors import SharedMemoryError
from shm.readers import ReadersPage, RingReader

SOCKET_PATH_BYTES_MAX = 103
"""macOS allows 104 with the end mark."""
TOPIC = b"!"


def socket_path(directory: Path, name: str) -> str:
    """Path of a socket in the run directory.

    Raises:
        SharedMemoryError: too long for macOS.
    """
    path = str(directory / name)
    if len(path.encode()) > SOCKET_PATH_BYTES_MAX:
        raise SharedMemoryError(
            f"socket path {path} is longer than {SOCKET_PATH_BYTES_MAX} bytes; set paths.run to a "
            "shorter folder"
        )
    return path


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


class _RowNames:
    """Names of a ring's reader rows, looked up again when a bit is new or its row changed hands."""

    def __init__(self, page: ReadersPage) -> None:
        self._page = page
        self._names: dict[int, str] = {}
        self._seen = 0

    def names(self, armed: int) -> list[str]:
        self._seen += 1
        if armed & ~sum(1 << index for index in self._names) or self._seen % 1024 == 0:
            self._names = {row.place: row.name for row in self._page.rows()}
        return [name for index, name in self._names.items() if armed >> index & 1]


class ZmqRinger:
    """Rings over the writing process's PUB socket."""

    def __init__(self, publisher: "zmq.Socket[bytes]", page: ReadersPage) -> None:
        self._publisher = publisher
        self._rows = _RowNames(page)

    def ring(self, armed: int) -> None:
        """Publish each sleeper's name."""
        for name in self._rows.names(armed):
            # A full queue of a reader that is stuck must not hold the writer up.
            with contextlib.suppress(zmq.Again):
                self._publisher.send(TOPIC + name.encode(), zmq.NOBLOCK)

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
        with contextlib.suppress(zmq.Again):
            self._socket.recv()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _bell_path(directory: Path, name: str) -> str:
    return socket_path(directory, f"{name}.bell")


class DatagramRinger:
    """Sends one byte to the bell of each sleeper."""

    def __init__(self, directory: Path, page: ReadersPage) -> None:
        self._directory = directory
        self._rows = _RowNames(page)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self, armed: int) -> None:
        """One byte each; a bell that is full is ringing already, one that is gone has a timeout."""
        for name in self._rows.names(armed):
            try:
                self._socket.sendto(b"!", _bell_path(self._directory, name))
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
        with contextlib.suppress(BlockingIOError):
            self._socket.recv(8)

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
        armed = []
        for reader in self._readers:
            if not reader.arm():
                break
            armed.append(reader)
        else:
            self._waiter.wait(timeout_ms)
        for reader in armed:
            reader.disarm()

    def close(self) -> None:
        """Give the socket up; the readers stay."""
        self._waiter.close()
