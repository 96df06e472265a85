"""The ten levels that tape slots carried, made again from the levels that are rows of the lake.

The same order and the same arithmetic as the collector's (`venues/book.py`), without the digits of
the wire, so that the bits are the same.
"""

from typing import Any

import numpy as np
from numba import carray, njit

from schemas.tape import SLOT, SLOT_BYTES, Flag, Kind, Marker, Side
from venues.book import ASK, BID, SIDE, clear, find, insert, make_books, remove, write_top
from venues.text import memory

_BOOK_LEVEL, _MARKER = int(Kind.BOOK_LEVEL), int(Kind.MARKER)
_FRAME_END, _DELETE, _PRIMARY = int(Flag.FRAME_END), int(Flag.DELETE), int(Flag.PRIMARY)
_FUNDING, _BEGIN, _IS_BID = int(Flag.FUNDING), int(Marker.SNAPSHOT_BEGIN), int(Side.BID)


@njit(cache=True, nogil=True)
def fill_payloads(books: int, count: int, slots_address: int, slots_count: int) -> None:
    """Apply primary levels to their instruments' books; fill the slots that end a frame.

    Args:
        books: address of (count, 2) SIDE. slots_address: of (slots_count) tape slots, in order.
    """
    sides = carray(memory(books), (count, 2), SIDE)
    slots = carray(memory(slots_address), (slots_count,), SLOT)
    words = carray(memory(slots_address), (slots_count, SLOT_BYTES // 4), np.uint32)
    for index in range(slots_count):
        slot = slots[index]
        if slot.flags & _PRIMARY == 0 or slot.instrument >= count:
            continue
        if slot.kind == _MARKER:
            if words[index, 24] == _BEGIN:
                clear(books, slot.instrument)
            continue
        if slot.kind != _BOOK_LEVEL:
            continue
        is_bid = slot.side == _IS_BID
        side = sides[slot.instrument, BID if is_bid else ASK]
        rank = -slot.price if is_bid else slot.price
        key: Any = np.int64(slot.count) if slot.flags & _FUNDING else 0
        at, found = find(side, rank, key)
        if slot.flags & _DELETE:
            if found:
                remove(side, at)
        else:
            place = side.place[at] if found else insert(side, at, rank, key)
            level = side.level[place]
            level.price = slot.price
            level.size = slot.size
        if slot.flags & _FRAME_END:
            write_top(books, slot.instrument, slot)


class Books:
    """The primary book of every instrument."""

    def __init__(self, instruments: int) -> None:
        self._books = make_books(max(instruments, 1))
        self.count = len(self._books)
        self.address = int(self._books.ctypes.data)
        """Of (count, 2) SIDE."""
