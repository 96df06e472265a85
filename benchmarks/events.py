"""The event that every transport carries, how it is sent and how it is received.

128 bytes: a number, the time of sending, 14 doubles. Whatever the transport, the sender packs all
of it and the receiver unpacks all of it, one by one, in Python. This file needs no library, because
peers run it in an environment of their own.
"""

import struct
import time
from array import array
from collections.abc import Callable, Iterable
from typing import Any

EVENT = struct.Struct("<qq14d")
VALUES = tuple(float(number) for number in range(14))
WARM_SHARE = 0.1
"""Of a paced run's events, so many at the beginning are left out."""

Send = Callable[[bytearray], object]
Receive = Callable[[], Iterable[tuple[Any, ...]]]
"""Waits for events if there are none; some of those that have come."""


def send_all(send: Send, first: int, count: int) -> int:
    """Send events as fast as the transport takes them; when it began, monotonic ns."""
    buffer = bytearray(EVENT.size)
    pack = EVENT.pack_into
    began_ns = time.monotonic_ns()
    for number in range(first, first + count):
        pack(buffer, 0, number, began_ns, *VALUES)
        send(buffer)
    return began_ns


def send_paced(send: Send, first: int, count: int, rate: float) -> int:
    """Send events at an even pace by sleeping: a spinning sender would starve queue threads."""
    buffer = bytearray(EVENT.size)
    pack, now_ns = EVENT.pack_into, time.monotonic_ns
    began_ns = now_ns()
    sent = 0
    while sent < count:
        due = min(int((now_ns() - began_ns) * rate / 1e9) + 1, count)
        while sent < due:
            pack(buffer, 0, first + sent, now_ns(), *VALUES)
            send(buffer)
            sent += 1
        wait_s = (began_ns - now_ns()) / 1e9 + sent / rate
        if wait_s > 0:
            time.sleep(wait_s)
    return began_ns


def receive_all(receive: Receive, first: int, count: int) -> tuple[int, list[float]]:
    """Receive `count` events without a gap: when it was done, and each one's microseconds."""
    now_ns = time.monotonic_ns
    latencies = array("q")
    expected = first
    last = first + count
    while expected < last:
        for number, sent_ns, *_ in receive():
            assert number == expected, f"event {expected} expected, {number} came"
            expected += 1
            latencies.append(now_ns() - sent_ns)
    done_ns = now_ns()
    return done_ns, [value / 1e3 for value in latencies]


def percentiles_us(latencies: list[float]) -> dict[str, float]:
    """p50 and p99 after the warm-up."""
    kept = sorted(latencies[int(len(latencies) * WARM_SHARE) :])
    return {"p50": kept[len(kept) // 2], "p99": kept[int(len(kept) * 0.99)]}
