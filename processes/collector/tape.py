"""The tape's writing end: slot blocks into the ring, and what is counted on the way."""

from collections.abc import Callable
from typing import Protocol

from processes.runtime import SignallingWriter
from schemas.metrics import place
from shm.counters import CounterPage
from venues.wire import SlotBlock


class Publisher(Protocol):
    """Where slots go, as who writes them sees it."""

    recv_ns: int

    def publish(self, block: SlotBlock, count: int) -> None:
        """Commit the first `count` slots of a block."""


class Tape:
    """Publishes slot blocks.

    Args:
        writer: the ring. metrics: this process's counters. now_ns: the session's clock.
    """

    def __init__(
        self, writer: SignallingWriter, metrics: CounterPage, now_ns: Callable[[], int]
    ) -> None:
        self._writer = writer
        self._metrics = metrics
        self._now_ns = now_ns
        self._latency = place("recv_to_tape")
        self.recv_ns = 0
        """When the bytes now being decoded were read: what the latency is measured from."""

    def publish(self, block: SlotBlock, count: int) -> None:
        """Commit the first `count` slots of a block."""
        self._writer.append_at(block.address, count)
        if self.recv_ns:
            self._metrics.observe(self._latency, self._now_ns() - self.recv_ns)
