"""Which sequences of a ring were seen: a bit each, so that a thousand million rows are 125 MB."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

CHUNK_BITS: Final = 1 << 20
Interval = tuple[int, int]
"""First and last, both in it."""


class SequenceSet:
    """Sequences from 1 on, added in any order."""

    def __init__(self) -> None:
        self.count = 0
        self.last = 0
        self._chunks: dict[int, np.ndarray] = {}

    def add(self, sequences: np.ndarray) -> int:
        """Add strictly rising sequences; how many of them were there already."""
        if not len(sequences):
            return 0
        self.last = max(self.last, int(sequences[-1]))
        numbers = sequences.astype(np.int64)
        chunks = numbers // CHUNK_BITS
        doubles = 0
        for part in np.split(numbers, np.flatnonzero(np.diff(chunks)) + 1):
            doubles += self._add(int(part[0]) // CHUNK_BITS, part % CHUNK_BITS)
        self.count += len(numbers) - doubles
        return doubles

    def _add(self, chunk: int, bits: np.ndarray) -> int:
        held = self._chunks.get(chunk)
        if held is None:
            held = self._chunks[chunk] = np.zeros(CHUNK_BITS // 8, np.uint8)
        places = bits >> 3
        masks = (1 << (bits & 7)).astype(np.uint8)
        starts = np.flatnonzero(np.diff(places, prepend=-1))
        new = np.bitwise_or.reduceat(masks, starts)
        where = places[starts]
        doubles = int(np.unpackbits(held[where] & new).sum())
        held[where] |= new
        return doubles

    def missing(self, last: int) -> list[Interval]:
        """What of 1 to `last` was never added."""
        found: list[Interval] = []
        for chunk in range(last // CHUNK_BITS + 1):
            first = chunk * CHUNK_BITS
            held = self._chunks.get(chunk)
            if held is None:
                gaps = [(first, first + CHUNK_BITS - 1)]
            else:
                gaps = _runs_of_zeros(np.unpackbits(held, bitorder="little"), first)
            for gap in gaps:
                low, high = max(gap[0], 1), min(gap[1], last)
                if low > high:
                    continue
                if found and found[-1][1] == low - 1:
                    found[-1] = (found[-1][0], high)
                else:
                    found.append((low, high))
        return found


def _runs_of_zeros(bits: np.ndarray, first: int) -> list[Interval]:
    edges = np.flatnonzero(np.diff(bits, prepend=1, append=1))
    return [(first + int(low), first + int(high) - 1) for low, high in edges.reshape(-1, 2)]


def without(intervals: Iterable[Interval], covers: Iterable[Interval]) -> list[Interval]:
    """The parts of intervals that no cover reaches."""
    left = list(intervals)
    for low, high in covers:
        left = [
            part
            for first, last in left
            for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if part[0] <= part[1]
        ]
    return left


def within(intervals: Sequence[Interval], cover: Interval) -> list[Interval]:
    """The parts of rising intervals that a cover reaches."""
    low, high = cover
    found = []
    for index in range(bisect_left(intervals, low, key=lambda one: one[1]), len(intervals)):
        first, last = intervals[index]
        if first > high:
            break
        found.append((max(first, low), min(last, high)))
    return found


def length(intervals: Iterable[Interval]) -> int:
    """How many sequences intervals hold."""
    return sum(last - first + 1 for first, last in intervals)
