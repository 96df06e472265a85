"""Tapes side by side in event time: stretches that part no two slots of one instant.

Slots of a stretch are all earlier than those of the next, whatever their tape, so that whoever
takes stretches one after another takes the tapes merged by (receive time, tape, sequence).
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from processes.recordings.span import FOREVER
from schemas import tape
from schemas.layout import join


class Piece:
    """Slots of one tape, and when they were received, never running backwards."""

    def __init__(self, slots: np.ndarray, times: np.ndarray) -> None:
        self.slots = slots
        self.times = times
        self.address = int(slots.ctypes.data)

    def upto(self, time_ns: int) -> int:
        """How many slots came up to a time, itself included."""
        return int(np.searchsorted(self.times, time_ns, side="right"))

    def before(self, time_ns: int) -> int:
        """How many slots came before a time."""
        return int(np.searchsorted(self.times, time_ns, side="left"))

    def part(self, begin: int, end: int) -> "Piece":
        """Some of the slots, not copied."""
        return Piece(self.slots[begin:end], self.times[begin:end])


EMPTY: Final = Piece(np.zeros(0, tape.SLOT), np.zeros(0, np.int64))


class _Reader:
    """One tape, a block ahead."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self.held = EMPTY
        self.ended = False
        self._last_ns = 0

    def more(self) -> None:
        """Hold a further block."""
        slots = next(self._blocks, None)
        if slots is None:
            self.ended = True
            return
        # Several connections share a tape: a stamp may be a little older than the one before it.
        times = np.maximum.accumulate(np.maximum(slots["recv_ns"], self._last_ns))
        self._last_ns = int(times[-1])
        if len(self.held.times):
            slots = join([self.held.slots, slots], tape.SLOT)
            times = np.concatenate([self.held.times, times])
        self.held = Piece(np.ascontiguousarray(slots), times)

    def take(self, until_ns: int) -> Piece:
        """What is held of before a time."""
        end = self.held.before(until_ns)
        taken, self.held = self.held.part(0, end), self.held.part(end, len(self.held.times))
        return taken


def stretches(tapes: list[Iterator[np.ndarray]]) -> Iterator[list[Piece]]:
    """All tapes, a piece of each at a time.

    Args:
        tapes: blocks of `tape.SLOT`, in order.
    """
    readers = [_Reader(blocks) for blocks in tapes]
    while True:
        for reader in readers:
            if not reader.ended and not len(reader.held.times):
                reader.more()
        while True:
            open_ends = [r for r in readers if not r.ended]
            until_ns = min((int(r.held.times[-1]) for r in open_ends), default=FOREVER)
            if not open_ends or any(
                len(r.held.times) and r.held.times[0] < until_ns for r in readers
            ):
                break
            for reader in open_ends:  # one instant is all there is: see what else it brings
                if int(reader.held.times[-1]) == until_ns:
                    reader.more()
        pieces = [reader.take(until_ns) for reader in readers]
        if any(len(piece.times) for piece in pieces):
            yield pieces
        if not open_ends:
            return
