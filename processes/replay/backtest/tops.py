"""The newest book of every instrument as of a moment of the tape, moved on by compiled loops.

Between a break of the stream and the next whole book, an instrument has none: nobody knows what
stood there. No Python runs for an event here.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numba import carray, njit

from processes.execution.fills import Level, levels_of
from processes.replay.backtest.stretches import Piece
from schemas.tape import LEVELS, MARKER, SLOT, SLOT_BYTES, WHOLE_CONNECTION, Flag, Kind, Marker
from shm.atomics import memory

TOP: Final = np.dtype(
    [
        ("reference", "f8"),
        ("tape", "i8"),
        ("epoch", "i8"),
        ("whole", "i8"),  # 1 if the book is to be believed
        ("book", "f4", (4 * LEVELS,)),
    ]
)
BREAKS: Final = (
    Marker.DISCONNECTED, Marker.GAP, Marker.RESYNC, Marker.STALE, Marker.MAINTENANCE_BEGIN,
)  # fmt: skip
"""Markers after which a book is not known; the same that make a feature row GAPPED."""
SAME_PRICE: Final = 5e-9
"""Two prices that differ by less than this share of them are one: see `fills.price_of`."""

_TRADE, _BOOK, _MARKER = int(Kind.TRADE), int(Kind.BOOK_LEVEL), int(Kind.MARKER)
_FRAME_END, _PRIMARY = int(Flag.FRAME_END), int(Flag.PRIMARY)
_UNTIMELY = int(Flag.SNAPSHOT) | int(Flag.BACKFILLED)
_BROKEN = np.array([int(marker) for marker in BREAKS])
_END = int(Marker.SNAPSHOT_END)
_WORD = MARKER.fields["marker"][1] // 4  # type: ignore[index]


@njit(cache=True, nogil=True)
def move(
    tops_address: int, count: int, slots_address: int, slots_count: int, first: int, last: int,
    tape: int,
) -> None:  # fmt: skip
    """Take slots `first` to `last` of a tape."""
    tops = carray(memory(tops_address), (count,), TOP)
    slots = carray(memory(slots_address), (slots_count,), SLOT)
    words = carray(memory(slots_address), (slots_count, SLOT_BYTES // 4), np.uint32)
    for index in range(first, last):
        slot = slots[index]
        if slot.kind == _BOOK:
            if slot.flags & _FRAME_END == 0 or slot.flags & _PRIMARY == 0:
                continue
            if slot.instrument >= count or slot.reference_price <= 0.0:
                continue
            top: Any = tops[slot.instrument]
            book, seen = top.book, slot.book
            for place in range(4 * LEVELS):
                book[place] = seen[place]
            if top.reference == 0.0:
                top.whole = 1
            top.reference = slot.reference_price
            top.tape, top.epoch = tape, slot.epoch
        elif slot.kind == _MARKER:
            marker = words[index, _WORD]
            broken = False
            for place in range(len(_BROKEN)):
                broken |= marker == _BROKEN[place]
            if slot.instrument == WHOLE_CONNECTION:
                for place in range(count):
                    if broken and tops[place].tape == tape and tops[place].epoch == slot.epoch:
                        tops[place].whole = 0
            elif slot.instrument < count and slot.flags & _PRIMARY:
                if broken:
                    tops[slot.instrument].whole = 0
                elif marker == _END:
                    tops[slot.instrument].whole = 1


@njit(cache=True, nogil=True)
def find(
    slots_address: int, slots_count: int, first: int, last: int, watched_address: int, count: int
) -> int:
    """The next slot that may matter to an order of a watched instrument; `last` if there is none.

    Args:
        watched_address: of (count) uint8.
    """
    slots = carray(memory(slots_address), (slots_count,), SLOT)
    watched = carray(memory(watched_address), (count,), np.uint8)
    for index in range(first, last):
        slot = slots[index]
        if slot.instrument >= count or watched[slot.instrument] == 0:
            continue
        if slot.kind == _BOOK:
            if slot.flags & _FRAME_END and slot.flags & _PRIMARY:
                return index
        elif slot.kind == _TRADE:
            if slot.flags & _UNTIMELY == 0:
                return index
        elif slot.kind == _MARKER and slot.flags & _PRIMARY:
            return index
    return last


@njit(cache=True, nogil=True)
def vanish(
    slots_address: int, slots_count: int, first: int, last: int, instrument: int, base: int,
    prices: Any, gone: Any,
) -> None:  # fmt: skip
    """Mark prices that a book of the instrument did not show, in any of the slots.

    Args:
        base: where the side's offsets begin in a book. prices: (n) float64. gone: (n) uint8.
    """
    slots = carray(memory(slots_address), (slots_count,), SLOT)
    for index in range(first, last):
        slot = slots[index]
        if slot.kind != _BOOK or slot.instrument != instrument or slot.flags & _FRAME_END == 0:
            continue
        if slot.flags & _PRIMARY == 0 or slot.reference_price <= 0.0:
            continue
        book = slot.book
        for place in range(len(prices)):
            shown = False
            for level in range(LEVELS):
                if book[base + LEVELS + level] > 0.0:
                    price = slot.reference_price + book[base + level]
                    shown |= abs(price - prices[place]) <= SAME_PRICE * price
            if not shown:
                gone[place] = 1


class Tops:
    """All books, and the pieces of the tapes from which they are moved on."""

    def __init__(self, instruments: int) -> None:
        self._tops = np.zeros(max(instruments, 1), TOP)
        self._tops["tape"] = -1
        self._address = int(self._tops.ctypes.data)
        self._watched = np.zeros(len(self._tops), np.uint8)
        self._watched_address = int(self._watched.ctypes.data)
        self._pieces: Sequence[Piece] = ()
        self._at: list[int] = []
        self._taken: dict[tuple[int, bool], dict[Decimal, Decimal]] = {}
        self._checked: dict[tuple[int, bool], list[int]] = {}

    def begin(self, pieces: Sequence[Piece]) -> None:
        """Go on with these pieces; the ones before are done."""
        self.advance((1 << 63) - 1)
        for key in list(self._taken):
            self.taken(*key)
        self._pieces = pieces
        self._at = [0] * len(pieces)
        for checked in self._checked.values():
            checked[:] = self._at

    def advance(self, time_ns: int) -> None:
        """Move on up to a time, itself included."""
        for number in range(len(self._pieces)):
            self._move(number, self._pieces[number].upto(time_ns))

    def _move(self, number: int, end: int) -> None:
        piece, at = self._pieces[number], self._at[number]
        if end > at:
            move(self._address, len(self._tops), piece.address, len(piece.times), at, end, number)
            self._at[number] = end

    def watch(self, instrument: int, *, on: bool) -> None:
        """Whether events of an instrument matter to somebody."""
        self._watched[instrument] = on

    def next_event(self, until_ns: int) -> tuple[int, np.void] | None:
        """Move on up to the next event of a watched instrument; its time, and its slot."""
        best: tuple[int, int, int] | None = None
        for number, piece in enumerate(self._pieces):
            end = piece.upto(until_ns)
            index = find(
                piece.address, len(piece.times), self._at[number], end, self._watched_address,
                len(self._watched),
            )  # fmt: skip
            if index < end:
                found = (int(piece.times[index]), number, index)
                best = found if best is None else min(best, found)
        if best is None:
            return None
        time_ns, number, index = best
        for other in range(len(self._pieces)):
            if other != number:
                self._move(other, self._pieces[other].before(time_ns))
        self._move(number, index + 1)
        return time_ns, self._pieces[number].slots[index]

    def is_whole(self, instrument: int) -> bool:
        """There is a book, and it is to be believed."""
        return bool(self._tops[instrument]["whole"])

    def middle(self, instrument: int) -> float:
        """The middle price of the newest book; 0 without one."""
        return float(self._tops[instrument]["reference"])

    def levels(self, instrument: int, *, asks: bool) -> list[Level]:
        """One side of the newest book."""
        top = self._tops[instrument]
        return levels_of(top["book"], float(top["reference"]), asks=asks)

    def taken(self, instrument: int, asks: bool) -> dict[Decimal, Decimal]:
        """What our orders have had of levels that have stood ever since; to be added to."""
        key = (instrument, asks)
        taken = self._taken.setdefault(key, {})
        checked = self._checked.setdefault(key, list(self._at))
        if taken:
            listed = list(taken)
            prices = np.array([float(price) for price in listed])
            gone = np.zeros(len(listed), np.uint8)
            for number, piece in enumerate(self._pieces):
                vanish(
                    piece.address, len(piece.times), checked[number], self._at[number],
                    instrument, 2 * LEVELS if asks else 0, prices, gone,
                )  # fmt: skip
            for price, is_gone in zip(listed, gone.tolist(), strict=True):
                if is_gone:
                    del taken[price]
        checked[:] = self._at
        return taken
