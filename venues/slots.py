"""Compiled writers of tape slots: one place that says how each kind is filled, for every venue.

A book frame is written as `open_book_frame`, then a slot a level, then `close_book_frame`: the
first empties the book where a snapshot begins, the last cuts the book at the depth that was
subscribed, marks the end of the frame and writes the ten best levels. A level that is cut is a
deletion flagged DERIVED, since a venue that leaves the cutting to its clients (Kraken) never says
so, and whoever rebuilds the book from the tape should not have to know the venue.
"""

from typing import Any

from numba import carray, njit

from schemas.tape import Flag, Kind, Marker, Side
from venues.book import ASK, BID, SIDE, clear, find, remove, set_level, write_top
from venues.decoding import EPOCH, FRAME_NS, FRAME_SEQUENCE
from venues.text import memory

_BOOK_LEVEL, _MARKER = int(Kind.BOOK_LEVEL), int(Kind.MARKER)
_BID, _ASK = int(Side.BID), int(Side.ASK)
_FRAME_END, _SNAPSHOT, _DELETE = int(Flag.FRAME_END), int(Flag.SNAPSHOT), int(Flag.DELETE)
_PRIMARY, _FUNDING, _DERIVED = int(Flag.PRIMARY), int(Flag.FUNDING), int(Flag.DERIVED)
_BEGIN, _END = int(Marker.SNAPSHOT_BEGIN), int(Marker.SNAPSHOT_END)


@njit(cache=True, nogil=True)
def start_slot(slot: Any, channel: Any, state: Any, recv_ns: int, kind: int) -> None:
    """Fill the header with what the channel and its frame say; the payload is left as it was."""
    slot.event_ns = state[FRAME_NS]
    slot.recv_ns = recv_ns
    slot.venue_sequence = state[FRAME_SEQUENCE]
    slot.price = 0.0
    slot.size = 0.0
    slot.id_low = 0
    slot.id_high = 0
    slot.epoch = state[EPOCH]
    slot.count = 0
    slot.kind = kind
    slot.side = 0
    slot.flags = _FUNDING if channel.funding != 0 else 0
    slot.instrument = channel.instrument
    slot.stream = channel.stream


@njit(cache=True, nogil=True)
def clear_payload(slot: Any) -> None:
    """No book, no columns."""
    slot.reference_price = 0.0
    top = slot.book
    for index in range(len(top)):
        top[index] = 0.0


@njit(cache=True, nogil=True)
def write_marker(
    slots: Any, words: Any, at: int, channel: Any, state: Any, recv_ns: int, marker: int
) -> None:
    """A marker of a channel that says nothing but itself and the channel's id."""
    slot = slots[at]
    start_slot(slot, channel, state, recv_ns, _MARKER)
    clear_payload(slot)
    if channel.book >= 0 and channel.book == channel.primary_book:
        slot.flags |= _PRIMARY
    words[at, 24] = marker
    words[at, 40] = channel.id & 0xFFFFFFFF
    words[at, 41] = channel.id >> 32


@njit(cache=True, nogil=True)
def apply_price_level(books: int, channel: Any, entry: Any, text: Any, slot: Any) -> int:
    """One price level into book and slot: 0, or 1 for a delete that hit nothing, or -1."""
    sides = carray(memory(books), (channel.book + 1, 2), SIDE)
    is_bid = entry.amount > 0.0
    side = sides[channel.book, BID if is_bid else ASK]
    rank = -entry.price if is_bid else entry.price
    slot.price = entry.price
    slot.side = _BID if is_bid else _ASK
    slot.kind = _BOOK_LEVEL
    slot.count = entry.count
    if channel.funding != 0:  # as `Flag.FUNDING` has it
        slot.id_low = entry.count
        slot.count = entry.key
    if entry.count > 0:
        slot.size = abs(entry.amount)
        return 0 if set_level(side, rank, entry, text, False) else -1
    slot.flags |= _DELETE
    at, found = find(side, rank, entry.key)
    if not found:
        return 1
    remove(side, at)
    return 0


@njit(cache=True, nogil=True)
def note_good(channel: Any, state: Any, recv_ns: int) -> None:
    """The channel's book is proven right as of this frame."""
    channel.good_sequence = state[FRAME_SEQUENCE]
    channel.good_event_ns = state[FRAME_NS]
    channel.good_ns = recv_ns


@njit(cache=True, nogil=True)
def open_book_frame(
    slots: Any, words: Any, books: int, channel: Any, state: Any, recv_ns: int, at: int
) -> tuple[int, int]:
    """Begin a frame of a book: (next slot, flags of the frame's levels)."""
    flags = _PRIMARY if channel.book == channel.primary_book else 0
    if channel.awaits_snapshot != 0:
        clear(books, channel.book)
        write_marker(slots, words, at, channel, state, recv_ns, _BEGIN)
        return at + 1, flags | _SNAPSHOT
    return at, flags


@njit(cache=True, nogil=True)
def _cut_window(
    slots: Any, books: int, channel: Any, state: Any, recv_ns: int, at: int, flags: int
) -> int:
    """Take the levels below the subscribed depth out, a slot each; the next slot."""
    sides = carray(memory(books), (channel.book + 1, 2), SIDE)
    for which in range(2):
        side = sides[channel.book, which]
        while side.count > channel.depth:
            level = side.level[side.place[side.count - 1]]
            clear_payload(slots[at - 1])
            slot = slots[at]
            start_slot(slot, channel, state, recv_ns, _BOOK_LEVEL)
            slot.flags |= flags | _DELETE | _DERIVED
            slot.price = level.price
            slot.side = _BID if which == BID else _ASK
            remove(side, side.count - 1)
            at += 1
    return at


@njit(cache=True, nogil=True)
def close_book_frame(
    slots: Any,
    words: Any,
    books: int,
    channel: Any,
    state: Any,
    recv_ns: int,
    first: int,
    at: int,
    flags: int,
) -> int:
    """End a frame of a book whose levels stand in slots `first` to `at`; the next slot."""
    if at > first:
        if channel.depth > 0:
            at = _cut_window(slots, books, channel, state, recv_ns, at, flags)
        last = slots[at - 1]
        last.flags |= _FRAME_END
        if channel.book == channel.primary_book:
            write_top(books, channel.book, last)
        else:
            clear_payload(last)
    if channel.awaits_snapshot != 0:
        write_marker(slots, words, at, channel, state, recv_ns, _END)
        at += 1
        channel.awaits_snapshot = 0
        note_good(channel, state, recv_ns)
    return at
