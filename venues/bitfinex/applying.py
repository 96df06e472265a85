"""Applying Bitfinex frames, compiled: the book, its checksum, and the slots of the tape.

Takes what was parsed, by the kernel or by Python, into the books and the slot block; there is one
place that writes each kind of slot. Nothing here can fail: what is not sound was refused before.
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from schemas.tape import SLOT, Flag, Kind, Side
from venues.bitfinex.parsing import rows_are_sound
from venues.book import ASK, BID, ENTRY, SIDE, TEXT_BYTES, crc32, find_key, remove, set_level
from venues.decoding import (
    A_BOOKS,
    A_CHANNELS,
    A_ENTRIES,
    A_ROWS,
    A_SLOTS,
    A_STATE,
    A_TALLIES,
    A_TRADES,
    A_WIDTHS,
    CANDLES,
    CHANNEL,
    CHANNELS,
    COLUMNS,
    ENTRIES,
    N_BOOK,
    N_CANDLES,
    N_MISSED,
    N_RAW,
    N_STATUS,
    N_TICKERS,
    RAW_BOOK,
    ROWS,
    STATE_WORDS,
    TALLIES,
    TICKER,
    TRADES,
)
from venues.slots import (
    apply_price_level,
    clear_payload,
    close_book_frame,
    open_book_frame,
    start_slot,
)
from venues.text import COLON, memory
from venues.trades import newest_known, write_trade

_BOOK_LEVEL, _L3_ORDER = int(Kind.BOOK_LEVEL), int(Kind.L3_ORDER)
_TICKER, _CANDLE, _STATUS = int(Kind.TICKER), int(Kind.CANDLE), int(Kind.STATUS)
_BID, _ASK = int(Side.BID), int(Side.ASK)
_FRAME_END, _SNAPSHOT, _DELETE = int(Flag.FRAME_END), int(Flag.SNAPSHOT), int(Flag.DELETE)
_NAN = float("nan")

# Where the columns of `tape.TICKER` and `tape.STATUS` stand in the venue's rows; -1 = not there.
_TICKER_AT = np.array([0, 1, 2, 3, 6, 7, 8, 9, 4, 5, -1, -1, -1, -1, -1])
_FUNDING_TICKER_AT = np.array([1, 3, 4, 6, 9, 10, 11, 12, 7, 8, 0, 2, 5, 15, -1])
_STATUS_AT = np.array([2, 3, 5, 7, 8, 9, 11, 14, 17, 21, 22])

CHECKSUM_LEVELS: Final = 25


@njit(cache=True, nogil=True)
def book_checksum(books: int, book: int, scratch: int) -> int:
    """The signed CRC-32 of the best 25 levels a side (docs.bitfinex.com, "Checksum")."""
    sides = carray(memory(books), (book + 1, 2), SIDE)
    text = carray(memory(scratch), (2 * CHECKSUM_LEVELS * (TEXT_BYTES + 1),), np.uint8)
    at = 0
    for rank in range(CHECKSUM_LEVELS):
        for which in range(2):
            side = sides[book, which]
            if rank < side.count:
                level = side.level[side.place[rank]]
                letters = level.text
                for index in range(level.check_length):
                    text[at] = letters[index]
                    at += 1
                text[at] = COLON
                at += 1
    value = crc32(text, max(at - 1, 0))
    return value - (1 << 32) if value >= 1 << 31 else value


@njit(cache=True, nogil=True)
def _apply_order(books: int, channel: Any, entry: Any, text: Any, slot: Any) -> int:
    """One entry of R0 into book and slot; results as `_apply_price_level`."""
    sides = carray(memory(books), (channel.book + 1, 2), SIDE)
    is_bid = entry.amount > 0.0
    side = sides[channel.book, BID if is_bid else ASK]
    slot.side = _BID if is_bid else _ASK
    slot.kind = _L3_ORDER
    slot.id_low = entry.key
    slot.price = entry.price
    at = find_key(side, entry.key)
    if entry.price == 0.0:
        slot.flags |= _DELETE
        if channel.funding != 0:
            slot.count = entry.count
        if at < 0:
            return 1
        slot.price = side.level[side.place[at]].price
        remove(side, at)
        return 0
    slot.size = abs(entry.amount)
    slot.count = entry.count
    if at >= 0:
        remove(side, at)
    rank = -entry.price if is_bid else entry.price
    return 0 if set_level(side, rank, entry, text, True) else -1


@njit(cache=True, nogil=True)
def apply_entries_of(
    context: Any, channel: Any, number: int, text: Any, state: Any, recv_ns: int, at: int
) -> int:
    """A whole book frame, parsed already, into the book and into slots from `at`; the next slot."""
    slots = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)
    words = carray(memory(context[A_SLOTS]), (1 << 20, 64), np.uint32)
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    raw = channel.form == RAW_BOOK
    books = context[A_BOOKS]
    at, flags = open_book_frame(slots, words, books, channel, state, recv_ns, at)
    first = at
    for index in range(number):
        slot = slots[at]
        start_slot(slot, channel, state, recv_ns, _BOOK_LEVEL)
        slot.flags |= flags
        if raw:
            missed = _apply_order(books, channel, entries[index], text, slot)
        else:
            missed = apply_price_level(books, channel, entries[index], text, slot)
        if missed != 0:
            tallies[N_MISSED] += 1
        if index < number - 1:
            clear_payload(slot)
        at += 1
    tallies[N_RAW if raw else N_BOOK] += number
    return close_book_frame(slots, words, books, channel, state, recv_ns, first, at, flags)


@njit(cache=True, nogil=True)
def apply_parsed(
    addresses: int, place: int, number: int, text_address: int, size: int, recv_ns: int, at: int
) -> int:
    """Apply `number` entries that Python has parsed into the entries array; the next slot."""
    context = carray(memory(addresses), (16,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channel = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)[place]
    text = carray(memory(text_address), (size,), np.uint8)
    return apply_entries_of(context, channel, number, text, state, recv_ns, at)


@njit(cache=True, nogil=True)
def _apply_trades(
    context: Any, channel: Any, number: int, state: Any, recv_ns: int, at: int, extra: int
) -> int:
    rows = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)
    slots = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)
    # A trade that a resubscription brings and that is newer than all we knew was missed.
    known = newest_known(context[A_TRADES], channel.trades) if extra & _SNAPSHOT else 0
    newest_first = number > 1 and rows[0, 0] > rows[number - 1, 0]
    for index in range(number):
        row = rows[number - 1 - index if newest_first else index]
        after = write_trade(
            context, channel, state, recv_ns, at, int(row[0]), int(row[1]) * 1_000_000,
            row[2], row[3], extra, known,
        )  # fmt: skip
        if after > at and channel.funding != 0:
            slots[at].count = np.uint32(row[4])
        at = after
    return at


@njit(cache=True, nogil=True)
def apply_rows_of(
    context: Any, channel: Any, number: int, state: Any, recv_ns: int, at: int, extra: int
) -> int:
    """Sound rows of a channel that is no book into slots from `at`; the next slot."""
    if channel.form == TRADES:
        return _apply_trades(context, channel, number, state, recv_ns, at, extra)
    rows = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)
    widths = carray(memory(context[A_WIDTHS]), (ROWS,), np.int64)
    slots = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)
    words = carray(memory(context[A_SLOTS]), (1 << 20, 32), np.float64)
    times = carray(memory(context[A_SLOTS]), (1 << 20, 32), np.int64)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    oldest_last = number > 1 and rows[0, 0] > rows[number - 1, 0]
    for index in range(number):
        which = number - 1 - index if oldest_last and channel.form == CANDLES else index
        row, width = rows[which], widths[which]
        slot = slots[at]
        if channel.form == TICKER:
            start_slot(slot, channel, state, recv_ns, _TICKER)
            clear_payload(slot)
            places = _FUNDING_TICKER_AT if channel.funding != 0 else _TICKER_AT
            for column in range(len(places)):
                place = places[column]
                words[at, 12 + column] = row[place] if 0 <= place < width else _NAN
            slot.price = words[at, 16]
            tallies[N_TICKERS] += 1
        elif channel.form == CANDLES:
            start_slot(slot, channel, state, recv_ns, _CANDLE)
            clear_payload(slot)
            times[at, 12] = np.int64(row[0]) * 1_000_000
            for column in range(1, 6):
                words[at, 12 + column] = row[column]
            words[at, 18] = words[at, 19] = _NAN
            slot.price = row[2]
            tallies[N_CANDLES] += 1
        else:
            start_slot(slot, channel, state, recv_ns, _STATUS)
            clear_payload(slot)
            slot.event_ns = np.int64(row[0]) * 1_000_000
            for column in range(len(_STATUS_AT)):
                place = _STATUS_AT[column]
                words[at, 12 + column] = row[place] if place < width else _NAN
            slot.price = words[at, 12]
            tallies[N_STATUS] += 1
        slot.flags |= extra
        if index == number - 1:
            slot.flags |= _FRAME_END
        at += 1
    return at


@njit(cache=True, nogil=True)
def apply_rows(addresses: int, place: int, number: int, recv_ns: int, at: int, extra: int) -> int:
    """Apply `number` rows that Python has parsed; the next slot, or -1 if they are not sound."""
    context = carray(memory(addresses), (16,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channel = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)[place]
    rows = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)
    widths = carray(memory(context[A_WIDTHS]), (ROWS,), np.int64)
    if not rows_are_sound(channel, rows, widths, number):
        return -1
    return apply_rows_of(context, channel, number, state, recv_ns, at, extra)
