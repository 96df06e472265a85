"""Ways for events from one process to another: the project's ring and what it is held against.

A link is made by the sending process and handed to the receiving one when that is spawned. Each end
opens what it needs of it.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zmq

from benchmarks.events import EVENT, Receive, Send
from shm.doorbell import DatagramRinger, DatagramWaiter, Inbox, Ringer, Waiter, ZmqRinger, ZmqWaiter
from shm.readers import ReadersPage, RingReader
from shm.ring import RingWriter
from shm.segment import Segment

SLOT = np.dtype([("sequence", "<i8"), ("sent_ns", "<i8"), ("values", "<f8", (14,))])
LAYOUT = 0x62656E6368  # "bench"
CAPACITY = 1 << 16
LOOK_EVERY = 1024
"""Events after which a sender looks whether the reader is about to be lapped."""
READER = "reader"
TIMEOUT_MS = 20


class Link(Protocol):
    """One way."""

    def open_sender(self) -> tuple[Send, Callable[[], None]]:
        """What sends an event, and what closes this end."""

    def open_receiver(self) -> tuple[Receive, Callable[[], None]]:
        """What waits for events, and what closes this end."""


def wait_for_room(page: ReadersPage, row: int, writer: RingWriter) -> None:
    """The ring's writer never waits; a benchmark without loss lets the reader come near."""
    while writer.committed - page.load(row)[0] > CAPACITY // 2:
        time.sleep(0.0002)


class RingLink:
    """The project's ring with one of its doorbells."""

    def __init__(self, ring: str, readers: str, folder: str, doorbell: str) -> None:
        self._ring = ring
        self._readers = readers
        self._folder = folder
        self._doorbell = doorbell

    def open_writer(self) -> tuple[RingWriter, Ringer, ReadersPage, Callable[[], None]]:
        """The writing end's parts."""
        ring, readers = Segment.attach(self._ring), Segment.attach(self._readers)
        page = ReadersPage(readers)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        ringer: Ringer
        if self._doorbell == "zmq":
            publisher = context.socket(zmq.PUB)
            publisher.linger = 0
            publisher.bind(f"ipc://{self._folder}/writer.pub")
            ringer = ZmqRinger(publisher, page)
        else:
            ringer = DatagramRinger(Path(self._folder), page)

        def close() -> None:
            ringer.close()
            context.destroy(linger=0)

        return RingWriter(ring, readers, SLOT, LAYOUT), ringer, page, close

    def open_sender(self) -> tuple[Send, Callable[[], None]]:
        """What sends an event, and what closes this end."""
        writer, ringer, page, close = self.open_writer()
        source = np.zeros(EVENT.size, np.uint8)
        view, address, append = source.data, int(source.ctypes.data), writer.append_at
        row = [each.place for each in page.rows() if each.name == READER]
        until_look = LOOK_EVERY

        def send(event: bytearray) -> None:
            nonlocal until_look
            view[:] = event
            armed = append(address, 1)
            if armed:
                ringer.ring(armed)
            until_look -= 1
            if not until_look:
                until_look = LOOK_EVERY
                wait_for_room(page, row[0], writer)

        return send, close

    def open_reader(self, limit: int) -> tuple[RingReader, Inbox, Callable[[], None]]:
        """The reading end's parts."""
        ring, readers = Segment.attach(self._ring), Segment.attach(self._readers)
        reader = RingReader(ring, readers, SLOT, LAYOUT, READER, start="oldest", limit=limit)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        waiter: Waiter
        if self._doorbell == "zmq":
            waiter = ZmqWaiter(context, READER, [f"ipc://{self._folder}/writer.pub"])
        else:
            waiter = DatagramWaiter(Path(self._folder), READER)
        inbox = Inbox([reader], waiter)

        def close() -> None:
            reader.release()
            inbox.close()
            context.destroy(linger=0)

        return reader, inbox, close

    def open_receiver(self) -> tuple[Receive, Callable[[], None]]:
        """What waits for events, and what closes this end."""
        reader, inbox, close = self.open_reader(4096)

        def receive() -> Iterable[tuple[Any, ...]]:
            reader.acknowledge()
            inbox.wait(TIMEOUT_MS)
            block = reader.read()
            assert reader.lost == 0
            return EVENT.iter_unpack(block.data)

        return receive, close


class QueueLink:
    """`multiprocessing.Queue`: a pipe, a lock and a thread that pickles."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def open_sender(self) -> tuple[Send, Callable[[], None]]:
        """What sends an event, and what closes this end."""
        put = self._queue.put

        def close() -> None:
            self._queue.close()
            self._queue.join_thread()

        return lambda event: put(bytes(event)), close

    def open_receiver(self) -> tuple[Receive, Callable[[], None]]:
        """What waits for events, and what closes this end."""
        get, unpack = self._queue.get, EVENT.unpack
        return lambda: (unpack(get()),), lambda: None


class PushLink:
    """ZeroMQ PUSH and PULL with the event in the message."""

    def __init__(self, folder: str) -> None:
        self._endpoint = f"ipc://{folder}/push"

    def open_sender(self) -> tuple[Send, Callable[[], None]]:
        """What sends an event, and what closes this end."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.PUSH)
        socket.bind(self._endpoint)
        return lambda event: socket.send(bytes(event)), lambda: context.destroy(linger=0)

    def open_receiver(self) -> tuple[Receive, Callable[[], None]]:
        """What waits for events, and what closes this end."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.PULL)
        socket.connect(self._endpoint)
        receive, unpack = socket.recv, EVENT.unpack
        return lambda: (unpack(receive()),), lambda: context.destroy(linger=0)
