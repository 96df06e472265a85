"""Shared memory of a benchmark's own, gone when the benchmark is."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from schemas import metrics
from shm.counters import CounterPage, CounterPages, counters_bytes, format_counters
from shm.readers import READERS_BYTES, format_readers
from shm.ring import format_ring, ring_bytes
from shm.segment import Segment, segment_name


@contextmanager
def private_ring(
    dtype: np.dtype[Any], layout: int, capacity: int
) -> Iterator[tuple[Segment, Segment]]:
    """A new ring and its page of readers."""
    instance = secrets.token_hex(3)
    sizes = {"bench": ring_bytes(dtype.itemsize, capacity), "bench.r": READERS_BYTES}
    segments: list[Segment] = []
    try:
        for channel, size in sizes.items():
            segments.append(Segment.create(segment_name(instance, channel), size))
        format_ring(segments[0], dtype.itemsize, capacity, layout, 1)
        format_readers(segments[1])
        yield segments[0], segments[1]
    finally:
        _remove(segments)


@contextmanager
def private_counters() -> Iterator[CounterPage]:
    """A counter page of a process that is none."""
    name = segment_name(secrets.token_hex(3), "bench.c")
    segment = Segment.create(name, counters_bytes(1, metrics.SLOTS))
    try:
        format_counters(segment, 1, metrics.SLOTS)
        yield CounterPages(segment, metrics.SLOTS).take(0)
    finally:
        _remove([segment])


def _remove(segments: list[Segment]) -> None:
    for segment in segments:
        segment.close()
        Segment.unlink(segment.name)
