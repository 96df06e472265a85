"""Counter pages: 64-bit numbers that one process writes and everyone may read.

    offset size field
    ------ ---- ----------------------------------------------------------------------------------
         0    8 magic, written last
         8    8 layout version
        16    8 pages
        24    8 slots a page
       128      pages; each 128 bytes of head (0 owner identity), then its slots of 8 bytes

A process zeroes its page when it takes it: counters begin anew with the process, as Prometheus
expects of a restart. What the slots mean stands in `schemas/metrics.py`.
"""

from typing import Final

import numpy as np
from numba import carray, njit

from shm.atomics import (
    add_to_word,
    load_relaxed,
    memory,
    read_word,
    store_relaxed,
    write_word,
)
from shm.errors import LayoutMismatchError
from shm.identity import own_identity
from shm.segment import Segment

MAGIC: Final = 0x31544E43_4344  # "DCCNT1"
LAYOUT_VERSION: Final = 1
PAGES_AT: Final = 128
HEAD_BYTES: Final = 128

BUCKETS: Final = 104
FIRST_OCTAVE: Final = 10


def counters_bytes(pages: int, slots: int) -> int:
    """Size of the segment."""
    return PAGES_AT + pages * (HEAD_BYTES + 8 * slots)


def format_counters(segment: Segment, pages: int, slots: int) -> None:
    """Make pages of a new segment of zeros."""
    write_word(segment.address + 8, LAYOUT_VERSION)
    write_word(segment.address + 16, pages)
    write_word(segment.address + 24, slots)
    write_word(segment.address, MAGIC)


@njit(cache=True, nogil=True)
def observe(histogram: int, value_ns: int) -> None:
    """Count one value into a histogram of BUCKETS slots, a sum and a count, at this address.

    Buckets: below 1024 ns, then four an octave (see `schemas/metrics.py`).
    """
    value = max(value_ns, 0)
    bucket = 0
    if value >> FIRST_OCTAVE:
        octave = FIRST_OCTAVE
        while value >> (octave + 1):
            octave += 1
        bucket = (octave - FIRST_OCTAVE) * 4 + ((value >> (octave - 2)) & 3) + 1
        bucket = min(bucket, BUCKETS - 1)
    at = histogram + 8 * bucket
    store_relaxed(at, load_relaxed(at) + 1)
    at = histogram + 8 * BUCKETS
    store_relaxed(at, load_relaxed(at) + value)
    at += 8
    store_relaxed(at, load_relaxed(at) + 1)


@njit(cache=True, nogil=True)
def observe_ages(histogram: int, times: int, step: int, count: int, now_ns: int) -> None:
    """Count how long ago each of `count` times was; they stand `step` bytes apart."""
    for index in range(count):
        observe(histogram, now_ns - load_relaxed(times + index * step))


@njit(cache=True, nogil=True)
def copy_words(source: int, count: int, target: int) -> None:
    """Copy words that somebody is writing, each of them whole."""
    out = carray(memory(target), (count,), np.int64)
    for index in range(count):
        out[index] = load_relaxed(source + 8 * index)


class CounterPages:
    """All pages of an instance, as a reader sees them.

    Raises:
        LayoutMismatchError: the segment holds no pages of this many slots.
    """

    def __init__(self, segment: Segment, slots: int) -> None:
        found = tuple(read_word(segment.address + at) for at in (0, 8, 24))
        if found != (MAGIC, LAYOUT_VERSION, slots):
            raise LayoutMismatchError(f"shared memory /{segment.name} holds no counters like ours")
        self._segment = segment
        self._slots = slots
        self.pages = read_word(segment.address + 16)

    def _page(self, index: int) -> int:
        assert 0 <= index < self.pages
        return self._segment.address + PAGES_AT + index * (HEAD_BYTES + 8 * self._slots)

    def owner(self, index: int) -> int:
        """Identity of the process that writes a page; 0 if nobody has."""
        return read_word(self._page(index))

    def values(self, index: int) -> list[int]:
        """All slots of a page."""
        found = np.zeros(self._slots, np.int64)
        copy_words(self._page(index) + HEAD_BYTES, self._slots, int(found.ctypes.data))
        return found.tolist()

    def take(self, index: int) -> "CounterPage":
        """Make a page this process's own: zeroed, and written by nobody else."""
        page = self._page(index)
        for slot in range(self._slots):
            write_word(page + HEAD_BYTES + 8 * slot, 0)
        write_word(page, own_identity())
        return CounterPage(page + HEAD_BYTES, self._slots)


class CounterPage:
    """The page that this process writes."""

    def __init__(self, address: int, slots: int) -> None:
        self._address = address
        self._slots = slots

    def address(self, slot: int) -> int:
        """Where a slot stands, for a kernel that counts by itself."""
        assert 0 <= slot < self._slots
        return self._address + 8 * slot

    def add(self, slot: int, value: int = 1) -> None:
        """Count."""
        add_to_word(self.address(slot), value)

    def set(self, slot: int, value: int) -> None:
        """Set a gauge."""
        write_word(self.address(slot), value)

    def get(self, slot: int) -> int:
        """One slot."""
        return read_word(self.address(slot))

    def observe(self, slot: int, value_ns: int) -> None:
        """Count a value into the histogram that begins at this slot."""
        observe(self.address(slot), value_ns)

    def observe_ages(self, slot: int, times: int, step: int, count: int, now_ns: int) -> None:
        """As `observe`, for times that stand `step` bytes apart in memory."""
        observe_ages(self.address(slot), times, step, count, now_ns)
