"""Reading Bitfinex frames, compiled: text to entries, rows and tails, and nothing applied yet.

Whatever is not plainly what it expects is "slow": Python (`codec.py`) parses that frame exactly. So
a frame that this reads can be applied whole.

Payloads (docs.bitfinex.com/docs/ws-public):
    book P0 to P4  [PRICE, COUNT, AMOUNT]         of a funding market  [RATE, PERIOD, COUNT, AMOUNT]
    book R0        [ORDER, PRICE, AMOUNT]         of a funding market  [OFFER, PERIOD, RATE, AMOUNT]
    trades         [ID, MTS, AMOUNT, PRICE]       of a funding market  [..., RATE, PERIOD]
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from schemas.tape import Flag
from venues.bitfinex.subscriptions import FLAG_SEQUENCE, FLAG_TIMESTAMP
from venues.book import ENTRY
from venues.decoding import (
    A_ENTRIES,
    A_ROWS,
    A_WIDTHS,
    BOOK,
    CANDLES,
    COLUMNS,
    ENTRIES,
    RAW_BOOK,
    ROWS,
    STATUS,
    TICKER,
    TRADES,
)
from venues.text import CLOSE, COMMA, OPEN, QUOTE, memory, read_integer, read_number

_SNAPSHOT, _CONFIRMED = int(Flag.SNAPSHOT), int(Flag.CONFIRMED)
_NAN = float("nan")
PERIOD_MAX: Final = 10_000
"""Days; the venue lends for 120 at most."""


@njit(cache=True, nogil=True)
def _read_period(text: Any, at: int, end: int) -> tuple[int, int]:
    """A funding entry's period in days and its comma: (period, where it ends, or -1)."""
    period, at, ok = read_integer(text, at, end)
    if not ok or period < 0 or period > PERIOD_MAX or at >= end or text[at] != COMMA:
        return 0, -1
    return period, at + 1


@njit(cache=True, nogil=True)
def _read_entry(text: Any, at: int, end: int, entry: Any, raw: bool, funding: bool) -> int:
    """Parse one book entry that begins at its `[`; where it ends, or -1 if it is irregular.

    Of a funding market `key` of a level and `count` of an order are the period, and `amount` has
    the other sign: an offer is positive there, and stands on the ask side.
    """
    at += 1
    entry.key = 0
    if raw:
        entry.key_at = at
        key, at, ok = read_integer(text, at, end)
        if not ok or key <= 0 or at >= end or text[at] != COMMA:
            return -1
        entry.key = key
        entry.key_end = at
        entry.count = 1
        at += 1
        if funding:
            entry.count, at = _read_period(text, at, end)
            if at < 0:
                return -1
    entry.price_at = at
    price, at, ok = read_number(text, at, end)
    if not ok or at >= end or text[at] != COMMA:
        return -1
    entry.price = price
    entry.price_end = at
    at += 1
    if funding and not raw:
        entry.key, at = _read_period(text, at, end)
        if at < 0:
            return -1
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
    entry.amount = -amount if funding else amount
    entry.amount_end = at
    if price < 0.0 or (price == 0.0 and not raw and not funding):
        return -1
    return at + 1


@njit(cache=True, nogil=True)
def _read_entries(
    text: Any, at: int, end: int, entries: Any, raw: bool, funding: bool
) -> tuple[int, int, bool]:
    """Parse `[entry]` or `[[entry], ...]`: (entries, where it ends or -1, was it a list)."""
    if at + 1 < end and text[at + 1] == CLOSE:
        return 0, at + 2, True
    if at + 1 < end and text[at + 1] != OPEN:
        return 1, _read_entry(text, at, end, entries[0], raw, funding), False
    at += 1
    number = 0
    while number < ENTRIES:
        if at >= end or text[at] != OPEN:
            return 0, -1, True
        at = _read_entry(text, at, end, entries[number], raw, funding)
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
def read_tail(text: Any, at: int, end: int, flags: int) -> tuple[int, int, int]:
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
    wants_sequence = (flags & FLAG_SEQUENCE) != 0
    wants_time = (flags & FLAG_TIMESTAMP) != 0
    if number != int(wants_sequence) + int(wants_time):
        return 0, 0, 1
    if wants_sequence:
        return first, second, 0
    return 0, first, 0


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
def rows_are_sound(channel: Any, rows: Any, widths: Any, number: int) -> bool:
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
            if funding and not 0.0 <= row[4] <= PERIOD_MAX:
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


# What a frame turned out to be, before anything is applied.
IS_SLOW, IS_HEARTBEAT, IS_CHECKSUM, IS_ROWS, IS_BOOK = 0, 1, 2, 3, 4


@njit(cache=True, nogil=True)
def _classify_tag(text: Any, at: int, end: int) -> tuple[int, int, int]:
    """The quoted word at `at`: (what the frame is, where the word ends, flags of its slots)."""
    if at + 4 < end and text[at + 4] == QUOTE and text[at + 1] == 102:  # fte, ftu
        at += 1
        if text[at + 1] != 116:
            return IS_SLOW, at, 0
    if at + 3 < end and text[at + 3] == QUOTE:
        a, b = text[at + 1], text[at + 2]
        if a == 104 and b == 98:  # hb
            return IS_HEARTBEAT, at + 4, 0
        if a == 99 and b == 115:  # cs
            return IS_CHECKSUM, at + 4, 0
        if a == 116 and (b == 101 or b == 117):  # te, tu
            return IS_ROWS, at + 4, _CONFIRMED if b == 117 else 0
    return IS_SLOW, at, 0


@njit(cache=True, nogil=True)
def parse_payload(
    context: Any, channel: Any, text: Any, at: int, end: int
) -> tuple[int, int, int, int]:
    """What stands behind the channel id: (what it is, where it ends, rows or CRC, slot flags)."""
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    rows = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)
    widths = carray(memory(context[A_WIDTHS]), (ROWS,), np.int64)
    is_book = channel.form == BOOK or channel.form == RAW_BOOK
    if text[at] == QUOTE:
        what, at, extra = _classify_tag(text, at, end)
        if what == IS_SLOW or what == IS_HEARTBEAT:
            return what, at, 0, 0
        if at + 1 >= end or text[at] != COMMA:
            return IS_SLOW, at, 0, 0
        if what == IS_CHECKSUM:
            crc, at, ok = read_integer(text, at + 1, end)
            return (IS_CHECKSUM if ok and is_book else IS_SLOW), at, crc, 0
        if channel.form != TRADES or text[at + 1] != OPEN:
            return IS_SLOW, at, 0, 0
        number, at = _read_rows(text, at + 1, end, rows, widths)
        sound = at >= 0 and number == 1 and rows_are_sound(channel, rows, widths, 1)
        return (IS_ROWS if sound else IS_SLOW), at, 1, extra
    if text[at] != OPEN:
        return IS_SLOW, at, 0, 0
    if is_book:
        number, at, listed = _read_entries(
            text, at, end, entries, channel.form == RAW_BOOK, channel.funding != 0
        )
        # The first frame after a subscription is the snapshot, whatever its form; a single update
        # in its place is for Python to judge.
        sound = at >= 0 and (listed or channel.awaits_snapshot == 0)
        return (IS_BOOK if sound else IS_SLOW), at, number, 0
    number, at = _read_rows(text, at, end, rows, widths)
    sound = at >= 0 and rows_are_sound(channel, rows, widths, number)
    is_first = channel.form == TRADES or (channel.form == CANDLES and channel.data_frames == 0)
    return (IS_ROWS if sound else IS_SLOW), at, number, _SNAPSHOT if is_first else 0
