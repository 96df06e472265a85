"""Both doorbells behave alike: a sleeper is woken, nobody else is, and no wake-up is lost."""

import threading

import pytest
import zmq

from shm.doorbell import DatagramRinger, DatagramWaiter, Inbox, ZmqRinger, ZmqWaiter
from shm.errors import SharedMemoryError
from shm.readers import ReadersPage
from shm.sockets import socket_path
from tests.helpers import make_ring, slots, wait_until

FOREVER_MS = 20_000
"""Longer than any test may take: what returns sooner was woken."""


class ZmqBell:
    def __init__(self, folder):
        self.context = zmq.Context()
        self.endpoint = f"ipc://{folder}/pub"
        self.publisher = self.context.socket(zmq.PUB)
        self.publisher.bind(self.endpoint)
        self.waiters = []

    def waiter(self, name):
        self.waiters.append(ZmqWaiter(self.context, name, [self.endpoint]))
        waiter = self.waiters[-1]
        # PUB knows a subscriber only when its subscription has arrived.
        while not waiter._socket.poll(20):
            self.publisher.send(b"!" + name.encode())
        while waiter._socket.poll(0):
            waiter._socket.recv()
        return waiter

    def ringer(self, page):
        return ZmqRinger(self.publisher, page)

    def close(self):
        for waiter in self.waiters:
            waiter.close()
        self.publisher.close(0)
        self.context.term()


class DatagramBell:
    def __init__(self, folder):
        self.folder = folder
        self.open = []

    def waiter(self, name):
        self.open.append(DatagramWaiter(self.folder, name))
        return self.open[-1]

    def ringer(self, page):
        self.open.append(DatagramRinger(self.folder, page))
        return self.open[-1]

    def close(self):
        for thing in self.open:
            thing.close()


@pytest.fixture(params=[ZmqBell, DatagramBell])
def bell(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


def test_no_wake_up_is_lost(instance, bell):
    rounds = 3000
    with make_ring(instance, capacity=64) as made:
        writer, reader = made.writer(), made.reader()
        ringer = bell.ringer(ReadersPage(made.page))
        inbox = Inbox([reader], bell.waiter("reader"))
        seen = 0

        def read() -> None:
            nonlocal seen
            while seen < rounds:
                inbox.wait(FOREVER_MS)
                seen += len(reader.read())

        thread = threading.Thread(target=read)
        thread.start()
        for number in range(rounds):
            # Sometimes wait for the reader, sometimes run into it while it falls asleep.
            if number % 3 == 0:
                wait_until(lambda sent=number: seen == sent, what="the reader")
            armed = writer.append(slots(1))
            if armed:
                ringer.ring(armed)
        thread.join(30)
        assert seen == rounds
        assert reader.lost == 0


def test_only_the_sleeper_is_woken(instance, bell):
    with make_ring(instance) as made:
        writer, asleep, awake = made.writer(), made.reader("asleep"), made.reader("awake")
        ringer = bell.ringer(ReadersPage(made.page))
        sleeping, other = bell.waiter("asleep"), bell.waiter("awake")
        assert asleep.arm()
        assert writer.append(slots(1)) == 1 << asleep.row
        ringer.ring(1 << asleep.row)
        sleeping.wait(FOREVER_MS)
        rung = threading.Event()
        thread = threading.Thread(target=lambda: (other.wait(50), rung.set()))
        thread.start()
        thread.join(10)
        assert rung.is_set()
        assert not awake.lost


def test_a_wait_ends_at_its_timeout_without_a_signal(bell):
    waiter = bell.waiter("nobody")
    waiter.wait(5)
    waiter.wait(1)


def test_a_ring_for_somebody_who_is_gone_does_no_harm(instance, bell):
    with make_ring(instance) as made:
        writer, reader = made.writer(), made.reader("gone")
        ringer = bell.ringer(ReadersPage(made.page))
        assert reader.arm()
        ringer.ring(writer.append(slots(1)))


def test_socket_paths_fit_macos_or_are_refused(tmp_path):
    with pytest.raises(SharedMemoryError, match=r"paths\.run"):
        socket_path(tmp_path, "x" * 100)
