"""The compiled half of the Bitfinex codec: one call takes all frames of a socket read.

For each frame: channel lookup, number parsing, the frame tail (sequence and server time), the
sequence check, the book, its checksum, and normalised slots with the top ten levels. At an event, a
number it cannot round exactly, or anything irregular it stops *before* the frame, nothing applied,
and says why; Python (`codec.py`) parses that frame and hands it to the same `apply` functions. So a
frame is always applied whole or not at all, and there is one place that writes each kind of slot.

Frames (docs.bitfinex.com/docs/ws-general and ws-public):
    [CHANNEL, "hb" | "cs", CRC | "te", [TRADE] | [ROW] | [[ROW], ...] TAIL]
    TAIL: nothing, or ,SEQUENCE with flag 65536, or ,TIME with flag 32768, or both in this order
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit, types

from schemas.tape import SLOT, Flag, Kind, Side
from venues.book import ASK, BID, ENTRY, SIDE, TEXT_BYTES, crc32, find_key, remove, set_level
from venues.decoding import (
    A_BOOKS,
    A_CHANNELS,
    A_ENTRIES,
    A_RESULT,
    A_ROWS,
    A_SCRATCH,
    A_SLOTS,
    A_STATE,
    A_TALLIES,
    A_TRADES,
    A_WIDTHS,
    BAD_CHECKSUM,
    BOOK,
    CANDLES,
    CHANNEL,
    CHANNELS,
    COLUMNS,
    CONNECTION_TIME,
    DONE,
    ENTRIES,
    EVENT,
    FIRST_SEQUENCE,
    FLAGS,
    FRAME_NS,
    FRAME_SEQUENCE,
    FROM_FIRST,
    FULL,
    GAP,
    LAST_SEQUENCE,
    N_BOOK,
    N_CANDLES,
    N_FAILED,
    N_FRAMES,
    N_HEARTBEATS,
    N_MISSED,
    N_RAW,
    N_STATUS,
    N_TAIL_MISMATCH,
    N_TICKERS,
    N_VERIFIED,
    NEWEST_EVENT,
    R_CHANNEL,
    R_EXPECTED,
    R_FOUND,
    R_FRAMES,
    R_SLOTS,
    R_STOP,
    RAW_BOOK,
    RESULTS,
    ROWS,
    SLOW,
    STATE_WORDS,
    STATUS,
    TALLIES,
    TICKER,
    TRADES,
    channel_place,
    channel_place_of,
)
from venues.slots import (
    apply_price_level,
    clear_payload,
    close_book_frame,
    note_good,
    open_book_frame,
    start_slot,
)
from venues.text import (
    CLOSE,
    COLON,
    COMMA,
    OPEN,
    QUOTE,
    memory,
    read_integer,
    read_number,
)
from venues.trades import newest_known, write_trade

SEQUENCE_FLAG: Final = 65536
TIMESTAMP_FLAG: Final = 32768

_BOOK_LEVEL, _L3_ORDER = int(Kind.BOOK_LEVEL), int(Kind.L3_ORDER)
_TICKER, _CANDLE, _STATUS = int(Kind.TICKER), int(Kind.CANDLE), int(Kind.STATUS)
_BID, _ASK = int(Side.BID), int(Side.ASK)
_FRAME_END, _SNAPSHOT, _DELETE = int(Flag.FRAME_END), int(Flag.SNAPSHOT), int(Flag.DELETE)
_CONFIRMED = int(Flag.CONFIRMED)
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
def _read_entry(text: Any, at: int, end: int, entry: Any, raw: bool) -> int:
    """Parse one book entry that begins at its `[`; where it ends, or -1 if it is irregular."""
    at += 1
    if raw:
        entry.key_at = at
        key, at, ok = read_integer(text, at, end)
        if not ok or key <= 0 or at >= end or text[at] != COMMA:
            return -1
        entry.key = key
        entry.key_end = at
        entry.count = 1
        at += 1
    else:
        entry.key = 0
    entry.price_at = at
    price, at, ok = read_number(text, at, end)
    if not ok or at >= end or text[at] != COMMA:
        return -1
    entry.price = price
    entry.price_end = at
    at += 1
    if not raw:
        count, at, ok = read_integer(text, at, end)
        if not ok or count < 0 or at >= end or text[at] != COMMA:
            return -1
        entry.count = count
        at += 1
    entry.amount_at = at
    amount, at, ok = read_number(text, at, end)
    if not ok or amount == 0.0 or at >= end or text[at] != CLOSE:
        return -1
    entry.amount = amount
    entry.amount_end = at
    if price < 0.0 or (price == 0.0 and not raw):
        return -1
    return at + 1


@njit(cache=True, nogil=True)
def _read_entries(text: Any, at: int, end: int, entries: Any, raw: bool) -> tuple[int, int, bool]:
    """Parse `[entry]` or `[[entry], ...]`: (entries, where it ends or -1, was it a list)."""
    if at + 1 < end and text[at + 1] == CLOSE:
        return 0, at + 2, True
    if at + 1 < end and text[at + 1] != OPEN:
        return 1, _read_entry(text, at, end, entries[0], raw), False
    at += 1
    number = 0
    while number < ENTRIES:
        if at >= end or text[at] != OPEN:
            return 0, -1, True
        at = _read_entry(text, at, end, entries[number], raw)
        if at < 0 or at >= end:
            return 0, -1, True
        number += 1
        if text[at] == CLOSE:
            return number, at + 1, True
        if text[at] != COMMA:
            return 0, -1, True
        at += 1
    return 0, -1, True


@njit(cache=True, nogil=True)
def _read_tail(text: Any, at: int, end: int, flags: int) -> tuple[int, int, int]:
    """The numbers after the payload up to the frame's end: (sequence, time ms, status).

    Status 0: as the flags say; 1: another number of them than the flags say; -1: no tail at all.
    Without known flags (-1) one number is a time if it is as large as one, else a sequence.
    """
    first = second = 0
    number = 0
    while at < end and text[at] == COMMA and number < 2:
        value, at, ok = read_integer(text, at + 1, end)
        if not ok:
            return 0, 0, -1
        if number == 0:
            first = value
        else:
            second = value
        number += 1
    if at + 1 != end or text[at] != CLOSE:
        return 0, 0, -1
    if flags < 0:
        if number == 1 and first >= 1_000_000_000_000:
            return 0, first, 0
        return first, second, 0
    wants_sequence = (flags & SEQUENCE_FLAG) != 0
    wants_time = (flags & TIMESTAMP_FLAG) != 0
    if number != int(wants_sequence) + int(wants_time):
        return 0, 0, 1
    if wants_sequence:
        return first, second, 0
    return 0, first, 0


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
        if at < 0:
            return 1
        slot.price = side.level[side.place[at]].price
        remove(side, at)
        return 0
    slot.size = abs(entry.amount)
    slot.count = 1
    if at >= 0:
        remove(side, at)
    rank = -entry.price if is_bid else entry.price
    return 0 if set_level(side, rank, entry, text, True) else -1


@njit(cache=True, nogil=True)
def _apply_entries(
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
    return _apply_entries(context, channel, number, text, state, recv_ns, at)


@njit(cache=True, nogil=True)
def _read_row(text: Any, at: int, end: int, row: Any) -> tuple[int, int]:
    """`[number or null, ...]` at its bracket: (numbers, where it ends or -1). A null is NaN."""
    number = 0
    while number < COLUMNS:
        at += 1
        if at + 4 <= end and text[at] == 110 and text[at + 3] == 108:  # null
            row[number] = _NAN
            at += 4
        else:
            value, at, ok = read_number(text, at, end)
            if not ok:
                return 0, -1
            row[number] = value
        number += 1
        if at >= end:
            return 0, -1
        if text[at] == CLOSE:
            return number, at + 1
        if text[at] != COMMA:
            return 0, -1
    return 0, -1


@njit(cache=True, nogil=True)
def _read_rows(text: Any, at: int, end: int, rows: Any, widths: Any) -> tuple[int, int]:
    """`[row]` or `[[row], ...]` of plain numbers: (rows, where it ends or -1)."""
    if at + 1 < end and text[at + 1] == CLOSE:
        return 0, at + 2
    if at + 1 < end and text[at + 1] != OPEN:
        widths[0], at = _read_row(text, at, end, rows[0])
        return 1, at
    number = 0
    while number < ROWS:
        at += 1
        if at >= end or text[at] != OPEN:
            return 0, -1
        widths[number], at = _read_row(text, at, end, rows[number])
        if at < 0 or at >= end:
            return 0, -1
        number += 1
        if text[at] == CLOSE:
            return number, at + 1
        if text[at] != COMMA:
            return 0, -1
    return 0, -1


@njit(cache=True, nogil=True)
def _rows_are_sound(channel: Any, rows: Any, widths: Any, number: int) -> bool:
    """Whether rows are what their channel may carry, so that applying them cannot fail."""
    funding = channel.funding != 0
    for index in range(number):
        row = rows[index]
        width = widths[index]
        if channel.form == TRADES:
            if width < (5 if funding else 4):
                return False
            # Not written as "row[3] <= 0": a NaN must fail.
            if not (row[0] > 0.0 and row[1] >= 0.0 and row[3] > 0.0 and abs(row[2]) > 0.0):
                return False
        elif channel.form == TICKER:
            if width < (12 if funding else 10):
                return False
        elif channel.form == CANDLES:
            if width < 6:
                return False
            for column in range(6):
                if not row[column] >= 0.0:
                    return False
        elif channel.form == STATUS:
            if width < 12 or not row[0] >= 0.0:
                return False
        else:
            return False
    return number > 0 or channel.form == TRADES or channel.form == CANDLES


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
def _apply_rows(
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
    if not _rows_are_sound(channel, rows, widths, number):
        return -1
    return _apply_rows(context, channel, number, state, recv_ns, at, extra)


# What a frame turned out to be, before anything is applied.
_IS_SLOW, _IS_HEARTBEAT, _IS_CHECKSUM, _IS_ROWS, _IS_BOOK = 0, 1, 2, 3, 4


@njit(cache=True, nogil=True)
def _classify_tag(text: Any, at: int, end: int) -> tuple[int, int, int]:
    """The quoted word at `at`: (what the frame is, where the word ends, flags of its slots)."""
    if at + 3 < end and text[at + 3] == QUOTE:
        a, b = text[at + 1], text[at + 2]
        if a == 104 and b == 98:  # hb
            return _IS_HEARTBEAT, at + 4, 0
        if a == 99 and b == 115:  # cs
            return _IS_CHECKSUM, at + 4, 0
        if a == 116 and (b == 101 or b == 117):  # te, tu
            return _IS_ROWS, at + 4, _CONFIRMED if b == 117 else 0
    return _IS_SLOW, at, 0


@njit(cache=True, nogil=True)
def _parse_payload(
    context: Any, channel: Any, text: Any, at: int, end: int
) -> tuple[int, int, int, int]:
    """What stands behind the channel id: (what it is, where it ends, rows or CRC, slot flags)."""
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    rows = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)
    widths = carray(memory(context[A_WIDTHS]), (ROWS,), np.int64)
    is_book = channel.form == BOOK or channel.form == RAW_BOOK
    if text[at] == QUOTE:
        what, at, extra = _classify_tag(text, at, end)
        if what == _IS_SLOW or what == _IS_HEARTBEAT:
            return what, at, 0, 0
        if at + 1 >= end or text[at] != COMMA:
            return _IS_SLOW, at, 0, 0
        if what == _IS_CHECKSUM:
            crc, at, ok = read_integer(text, at + 1, end)
            return (_IS_CHECKSUM if ok and is_book else _IS_SLOW), at, crc, 0
        if channel.form != TRADES or text[at + 1] != OPEN:
            return _IS_SLOW, at, 0, 0
        number, at = _read_rows(text, at + 1, end, rows, widths)
        sound = at >= 0 and number == 1 and _rows_are_sound(channel, rows, widths, 1)
        return (_IS_ROWS if sound else _IS_SLOW), at, 1, extra
    if text[at] != OPEN:
        return _IS_SLOW, at, 0, 0
    if is_book:
        if channel.funding != 0:
            return _IS_SLOW, at, 0, 0
        number, at, listed = _read_entries(text, at, end, entries, channel.form == RAW_BOOK)
        # The first frame after a subscription is the snapshot, whatever its form; a single update
        # in its place is for Python to judge.
        sound = at >= 0 and (listed or channel.awaits_snapshot == 0)
        return (_IS_BOOK if sound else _IS_SLOW), at, number, 0
    number, at = _read_rows(text, at, end, rows, widths)
    sound = at >= 0 and _rows_are_sound(channel, rows, widths, number)
    is_first = channel.form == TRADES or (channel.form == CANDLES and channel.data_frames == 0)
    return (_IS_ROWS if sound else _IS_SLOW), at, number, _SNAPSHOT if is_first else 0


@njit(cache=True, nogil=True)
def _follows(state: Any, result: Any, sequence: int) -> bool:
    """Check a frame's sequence against the last; where it breaks, note what was expected."""
    last = state[LAST_SEQUENCE]
    if sequence == 0 or sequence == last + 1 or (last == 0 and state[FROM_FIRST] == 0):
        return True
    result[R_EXPECTED] = last + 1
    result[R_FOUND] = sequence
    return False


@njit(cache=True, nogil=True)
def take_tail(state: Any, sequence: int, time_ms: int) -> None:
    """Note a frame's sequence and server time; zeros where it has none."""
    if sequence > 0:
        state[LAST_SEQUENCE] = sequence
        if state[FIRST_SEQUENCE] == 0:
            state[FIRST_SEQUENCE] = sequence
    state[FRAME_SEQUENCE] = sequence
    state[FRAME_NS] = time_ms * 1_000_000
    if time_ms > 0:
        state[CONNECTION_TIME] = time_ms * 1_000_000
        state[NEWEST_EVENT] = max(state[NEWEST_EVENT], time_ms * 1_000_000)


@njit(cache=True, nogil=True)
def _checksum_holds(
    context: Any, channel: Any, place: int, crc: int, state: Any, recv_ns: int
) -> bool:
    """Compare a checksum frame with the book; a failure is noted in the results."""
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    result = carray(memory(context[A_RESULT]), (RESULTS,), np.int64)
    ours = book_checksum(context[A_BOOKS], channel.book, context[A_SCRATCH])
    if ours == crc and channel.awaits_snapshot == 0:
        tallies[N_VERIFIED] += 1
        note_good(channel, state, recv_ns)
        return True
    tallies[N_FAILED] += 1
    result[R_CHANNEL] = place
    result[R_EXPECTED] = ours
    result[R_FOUND] = crc
    return False


@njit(cache=True, nogil=True)
def decode_frames(
    addresses: int, text_address: int, bounds_address: int, first: int, frames: int, recv_ns: int,
    room: int,
) -> int:  # fmt: skip
    """Take frames `first` to `frames` of a batch; why it stopped.

    Args:
        addresses: of an int64 array of the A_* addresses.
        text_address: the frames' bytes. bounds_address: (frames, 2) int64, where each begins and
            ends.
        recv_ns: receive time of the batch. room: slots there are.

    Results in the R_* words: frames done (also the number of the frame it stopped before), slots
    written, and of a stop the channel's place and the numbers expected and found.
    """
    context = carray(memory(addresses), (16,), np.int64)
    result = carray(memory(context[A_RESULT]), (RESULTS,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channels = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    bounds = carray(memory(bounds_address), (frames, 2), np.int64)
    text = carray(memory(text_address), (bounds[frames - 1, 1],), np.uint8)
    used = result[R_SLOTS]
    stop = DONE
    frame = first
    while frame < frames:
        at = bounds[frame, 0]
        end = bounds[frame, 1]
        stop = SLOW
        if at >= end or text[at] != OPEN:
            stop = EVENT
            break
        number, at, ok = read_integer(text, at + 1, end)
        if not ok or at + 1 >= end or text[at] != COMMA:
            break
        place = channel_place(channels, number)
        channel = channels[place]
        if channel.id == 0 or channel.muted != 0:
            break
        what, at, count, extra = _parse_payload(context, channel, text, at + 1, end)
        if what == _IS_SLOW:
            break
        sequence, time_ms, status = _read_tail(text, at, end, state[FLAGS])
        if status < 0:
            break
        if what >= _IS_ROWS and used + count + 2 > room:
            stop = FULL
            break
        if not _follows(state, result, sequence):
            stop = GAP
            break
        stop = DONE
        take_tail(state, sequence, time_ms)
        tallies[N_TAIL_MISMATCH] += status
        tallies[N_FRAMES] += 1
        frame += 1
        if what == _IS_HEARTBEAT:
            tallies[N_HEARTBEATS] += 1
            continue
        channel.data_ns = recv_ns
        if what == _IS_BOOK:
            used = _apply_entries(context, channel, count, text, state, recv_ns, used)
        elif what == _IS_ROWS:
            used = _apply_rows(context, channel, count, state, recv_ns, used, extra)
        elif not _checksum_holds(context, channel, place, count, state, recv_ns):
            stop = BAD_CHECKSUM
            break
        channel.data_frames += 1
    result[R_FRAMES] = frame
    result[R_SLOTS] = used
    result[R_STOP] = stop
    return stop


def compile_kernels() -> None:
    """Compile all that Python calls, so that no frame ever waits for it.

    From nothing that takes some twenty seconds; a collector that did it with the first rare frame
    would be taken for hung.
    """
    word, words = types.int64, types.int64[::1]
    for function, arguments in ENTRY_POINTS.items():
        function.compile(tuple(words if kind == "words" else word for kind in arguments))


ENTRY_POINTS: dict[Any, tuple[str, ...]] = {
    decode_frames: ("word",) * 7,
    apply_rows: ("word",) * 6,
    apply_parsed: ("word",) * 7,
    channel_place_of: ("word",) * 2,
    take_tail: ("words", "word", "word"),
}
"""What Python calls, and with what."""
