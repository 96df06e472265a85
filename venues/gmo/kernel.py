"""The compiled half of the GMO Coin codec: one call takes all frames of a socket read.

A frame is a JSON object with its keys in any order and its prices and sizes in strings; `channel`
and `symbol` say whose it is, since the venue has no channel numbers. Every orderbooks frame is the
whole book; it is written as the difference to the last one. At an error, a number it cannot round
exactly, or anything irregular the kernel stops *before* the frame, nothing applied; Python
(`codec.py`) parses that frame and hands it to the same `apply` functions.

Frames (api.coin.z.com/docs, public WebSocket API; unknown keys are skipped):
    {"channel":"orderbooks","symbol":S,"timestamp":T,"asks":[{"price":P,"size":Q},...],"bids":[...]}
    {"channel":"trades","symbol":S,"timestamp":T,"price":P,"size":Q,"side":"BUY"|"SELL"}
    {"channel":"ticker","symbol":S,"timestamp":T,"ask","bid","high","last","low","volume": P}
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit, types

from schemas.tape import SLOT, Flag, Kind, Side
from venues.book import ASK, BID, DEPTH, ENTRY, SIDE, TEXT_BYTES, remove, set_level
from venues.decoding import (
    A_BOOKS,
    A_CHANNELS,
    A_ENTRIES,
    A_RESULT,
    A_ROWS,
    A_SLOTS,
    A_STATE,
    A_TALLIES,
    A_WIDTHS,
    BOOK,
    CHANNEL,
    CHANNELS,
    COLUMNS,
    CONNECTION_TIME,
    DONE,
    ENTRIES,
    EVENT,
    FRAME_NS,
    FULL,
    N_BOOK,
    N_FRAMES,
    N_TICKERS,
    NEWEST_EVENT,
    R_FRAMES,
    R_SLOTS,
    R_STOP,
    RESULTS,
    ROWS,
    SLOW,
    STATE_WORDS,
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
from venues.text import CLOSE, COLON, COMMA, MINUS, NINE, OPEN, QUOTE, ZERO, memory, read_number
from venues.trades import write_trade

_OPEN_BRACE, _CLOSE_BRACE, _BACKSLASH, _SPACE, _DELETED = 123, 125, 92, 32, 127
_BOOK_LEVEL, _TICKER = int(Kind.BOOK_LEVEL), int(Kind.TICKER)
_BID, _ASK = int(Side.BID), int(Side.ASK)
_FRAME_END, _DELETE, _DERIVED = int(Flag.FRAME_END), int(Flag.DELETE), int(Flag.DERIVED)
_NAN = float("nan")

UNSURE: Final = 2
"""`awaits_snapshot` of a book that missed a frame: the next one is for Python, which ends the gap
and then lets it be written as a snapshot."""

# Names are known by their hash: FNV-1a (Fowler, Noll, Vo), 64 bits. Unsigned, since overflow of
# signed numbers is undefined in what numba makes, and LLVM draws its conclusions from that.
_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_POSITIVE: Final = np.uint64((1 << 62) - 1)
_SEPARATOR: Final = np.uint64(COLON)


def _hash_of(name: bytes) -> int:
    value = int(_OFFSET)
    for byte in name:
        value = ((value ^ byte) * int(_PRIME)) & 0xFFFFFFFFFFFFFFFF
    return value


# Keys that are read, and the bit of each in the set of those seen.
_NAMES: Final = (
    b"channel", b"symbol", b"timestamp", b"asks", b"bids", b"price", b"size", b"side", b"ask",
    b"bid", b"last", b"volume", b"high", b"low",
)  # fmt: skip
(
    _CHANNEL, _SYMBOL, _TIMESTAMP, _ASKS, _BIDS, _PRICE, _SIZE, _SIDE, _ASK_PRICE, _BID_PRICE,
    _LAST, _VOLUME, _HIGH, _LOW,
) = range(len(_NAMES))  # fmt: skip
_KEYS = np.array([_hash_of(name) for name in _NAMES], np.uint64)
_WHOSE: Final = 1 << _CHANNEL | 1 << _SYMBOL | 1 << _TIMESTAMP
_BOOK_KEYS: Final = _WHOSE | 1 << _ASKS | 1 << _BIDS
_TRADE_KEYS: Final = _WHOSE | 1 << _PRICE | 1 << _SIZE | 1 << _SIDE
# Values of a ticker in the order in which `apply_ticker` wants them.
TICKER_KEYS: Final = ("bid", "ask", "last", "volume", "high", "low")
_TICKER_VALUES = np.array([_BID_PRICE, _ASK_PRICE, _LAST, _VOLUME, _HIGH, _LOW])
_TICKER_NEEDS: Final = (
    _WHOSE | 1 << _BID_PRICE | 1 << _ASK_PRICE | 1 << _LAST | 1 << _VOLUME | 1 << _HIGH | 1 << _LOW
)
# Where those values stand among the columns of `tape.TICKER`.
_TICKER_COLUMNS = np.array([0, 2, 4, 5, 6, 7])
_TICKER_WIDTH: Final = 15

_DAYS_BEFORE = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])
_TIME_LENGTH: Final = len("2026-09-23T03:25:47.765Z")


@njit(cache=True, nogil=True)
def _hashed(text: Any, at: int, end: int, value: Any) -> Any:
    for index in range(at, end):
        value = (value ^ np.uint64(text[index])) * _PRIME
    return value


@njit(cache=True, nogil=True)
def _number_of(text: Any, channel: int, channel_end: int, symbol: int, symbol_end: int) -> int:
    """The positive 62-bit number that stands for a channel of a symbol."""
    value = _hashed(text, channel, channel_end, _OFFSET)
    value = (value ^ _SEPARATOR) * _PRIME
    number = np.int64(_hashed(text, symbol, symbol_end, value) & _POSITIVE)
    return 1 if number == 0 else number  # type: ignore[return-value]


@njit(cache=True, nogil=True)
def number_at(text_address: int, channel_size: int, size: int) -> int:
    """`_number_of` for Python: channel and symbol stand one behind the other in `size` bytes."""
    text = carray(memory(text_address), (size,), np.uint8)
    return _number_of(text, 0, channel_size, channel_size, size)


@njit(cache=True, nogil=True)
def _skip_spaces(text: Any, at: int, end: int) -> int:
    while at < end and (text[at] == _SPACE or 9 <= text[at] <= 10 or text[at] == 13):
        at += 1
    return at


@njit(cache=True, nogil=True)
def _string_end(text: Any, at: int, end: int) -> int:
    """Where the string that begins at its quote `at` has its other quote; -1 if irregular."""
    at += 1
    while at < end and text[at] != QUOTE:
        if text[at] < _SPACE or text[at] >= _DELETED or text[at] == _BACKSLASH:
            return -1
        at += 1
    return at if at < end else -1


@njit(cache=True, nogil=True)
def _read_key(text: Any, at: int, end: int) -> tuple[int, int]:
    """A key and its colon: (its place in _KEYS or -1, where the value begins, -1 if irregular)."""
    at = _skip_spaces(text, at, end)
    if at >= end or text[at] != QUOTE:
        return -1, -1
    value: Any = _OFFSET
    at += 1
    while at < end and text[at] != QUOTE:
        if text[at] < _SPACE or text[at] >= _DELETED or text[at] == _BACKSLASH:
            return -1, -1
        value = (value ^ np.uint64(text[at])) * _PRIME
        at += 1
    at = _skip_spaces(text, at + 1, end)
    if at >= end or text[at] != COLON:
        return -1, -1
    at = _skip_spaces(text, at + 1, end)
    if at >= end:
        return -1, -1
    for key in range(len(_KEYS)):
        if _KEYS[key] == value:
            return key, at
    return -1, at


@njit(cache=True, nogil=True)
def _next_member(text: Any, at: int, end: int, close: int) -> tuple[int, bool]:
    """Past the comma or the closing sign behind a value: (where, was it the end); -1 if neither."""
    at = _skip_spaces(text, at, end)
    if at < end and text[at] == COMMA:
        return at + 1, False
    if at < end and text[at] == close:
        return at + 1, True
    return -1, True


@njit(cache=True, nogil=True)
def _skip_scalar(text: Any, at: int, end: int) -> int:
    """Past a string or number nobody asked for; -1 for what is for Python to judge."""
    if text[at] == QUOTE:
        at = _string_end(text, at, end)
        return at + 1 if at >= 0 else -1
    if text[at] == MINUS or ZERO <= text[at] <= NINE:
        _, at, ok = read_number(text, at, end)
        return at if ok else -1
    return -1


@njit(cache=True, nogil=True)
def _quoted_number(text: Any, at: int, end: int) -> tuple[float, int]:
    """The number in the string at `at`: (value, where its closing quote is, or -1)."""
    if text[at] != QUOTE:
        return 0.0, -1
    value, at, ok = read_number(text, at + 1, end)
    if not ok or at >= end or text[at] != QUOTE:
        return 0.0, -1
    return value, at


@njit(cache=True, nogil=True)
def _read_level(text: Any, at: int, end: int, entry: Any, is_ask: bool) -> int:
    """One `{"price":"1","size":"2"}` at its brace into an entry; where it ends, or -1."""
    seen = 0
    at += 1
    while True:
        key, at = _read_key(text, at, end)
        if at < 0:
            return -1
        if key == _PRICE or key == _SIZE:
            begin = at + 1
            value, at = _quoted_number(text, at, end)
            if at < 0 or not value > 0.0 or (seen >> key) & 1:
                return -1
            if key == _PRICE:
                entry.price = value
                entry.price_at = begin
                entry.price_end = at
            else:
                entry.amount = -value if is_ask else value
                entry.amount_at = begin
                entry.amount_end = at
            seen |= 1 << key
            at += 1
        else:
            at = _skip_scalar(text, at, end)
            if at < 0:
                return -1
        at, closed = _next_member(text, at, end, _CLOSE_BRACE)
        if at < 0:
            return -1
        if closed:
            break
    if seen != 1 << _PRICE | 1 << _SIZE:
        return -1
    size = entry.price_end - entry.price_at + 1 + entry.amount_end - entry.amount_at
    entry.key = 0
    entry.count = 1
    return at if size <= TEXT_BYTES else -1


@njit(cache=True, nogil=True)
def _read_side(
    text: Any, at: int, end: int, entries: Any, first: int, is_ask: bool
) -> tuple[int, int]:
    """A side's levels at their bracket, best first: (how many, where they end or -1)."""
    if text[at] != OPEN:
        return 0, -1
    at = _skip_spaces(text, at + 1, end)
    if at < end and text[at] == CLOSE:
        return 0, at + 1
    number = 0
    while number < DEPTH and first + number < ENTRIES:
        at = _skip_spaces(text, at, end)
        if at >= end or text[at] != _OPEN_BRACE:
            return 0, -1
        entry = entries[first + number]
        at = _read_level(text, at, end, entry, is_ask)
        if at < 0:
            return 0, -1
        if number > 0:
            step = entry.price - entries[first + number - 1].price
            if not (step > 0.0 if is_ask else step < 0.0):
                return 0, -1
        number += 1
        at, closed = _next_member(text, at, end, CLOSE)
        if at < 0 or closed:
            return number, at
    return 0, -1


@njit(cache=True, nogil=True)
def _parse_frame(text: Any, at: int, end: int, entries: Any, spans: Any) -> int:
    """Find the values of a frame's keys: the set of keys seen, 0 if the frame is irregular.

    `spans` takes two numbers a key: where the inside of its string begins and ends; of asks and
    bids the first entry and how many there are.
    """
    seen = 0
    taken = 0
    at += 1
    while True:
        key, at = _read_key(text, at, end)
        if at < 0 or (key >= 0 and (seen >> key) & 1):
            return 0
        if key == _ASKS or key == _BIDS:
            spans[2 * key] = taken
            spans[2 * key + 1], at = _read_side(text, at, end, entries, taken, key == _ASKS)
            taken += spans[2 * key + 1]
            seen |= 1 << key
        elif key >= 0:
            if text[at] != QUOTE:
                return 0
            spans[2 * key] = at + 1
            at = _string_end(text, at, end)
            spans[2 * key + 1] = at
            at += 1 if at >= 0 else 0
            seen |= 1 << key
        else:
            at = _skip_scalar(text, at, end)
        if at < 0:
            return 0
        at, closed = _next_member(text, at, end, _CLOSE_BRACE)
        if at < 0:
            return 0
        if closed:
            break
    return seen if _skip_spaces(text, at, end) == end else 0


@njit(cache=True, nogil=True)
def _digits(text: Any, at: int, count: int) -> int:
    """A number of exactly `count` digits; a large negative one if another sign is among them."""
    value: Any = 0
    for index in range(at, at + count):
        if not ZERO <= text[index] <= NINE:
            return -(1 << 40)
        value = value * 10 + np.int64(text[index]) - ZERO
    return value  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def _read_time(text: Any, at: int, end: int) -> int:
    """`2026-09-23T03:25:47.765Z` in ns UTC, or -1; years 1970 to 2199."""
    if (
        end - at != _TIME_LENGTH
        or text[at + 4] != MINUS
        or text[at + 7] != MINUS
        or text[at + 10] != 84
        or text[at + 13] != COLON
        or text[at + 16] != COLON
        or text[at + 19] != 46
        or text[at + 23] != 90
    ):
        return -1
    year, month, day = _digits(text, at, 4), _digits(text, at + 5, 2), _digits(text, at + 8, 2)
    hour, minute = _digits(text, at + 11, 2), _digits(text, at + 14, 2)
    second, milli = _digits(text, at + 17, 2), _digits(text, at + 20, 3)
    if not (1970 <= year < 2200 and 1 <= month <= 12 and 0 <= hour < 24 and milli >= 0):
        return -1
    leap = 1 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 0
    length = _DAYS_BEFORE[month] - _DAYS_BEFORE[month - 1] + (leap if month == 2 else 0)
    if not (1 <= day <= length and 0 <= minute < 60 and 0 <= second < 60):
        return -1
    past = year - 1
    days = past * 365 + past // 4 - past // 100 + past // 400 - 719162
    days += _DAYS_BEFORE[month - 1] + (leap if month > 2 else 0) + day - 1
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    return seconds * 1_000_000_000 + milli * 1_000_000  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def take_time(state: Any, event_ns: int) -> None:
    """Note a frame's time; frames of different symbols overtake each other."""
    state[FRAME_NS] = event_ns
    state[CONNECTION_TIME] = max(state[CONNECTION_TIME], event_ns)
    state[NEWEST_EVENT] = max(state[NEWEST_EVENT], event_ns)


@njit(cache=True, nogil=True)
def _drop_missing(
    slots: Any, side: Any, entries: Any, first: int, number: int, channel: Any, state: Any,
    recv_ns: int, at: int, flags: int, is_ask: bool,
) -> int:  # fmt: skip
    """Take out the levels that a full book lists no longer, a slot each; the next slot."""
    ranks = side.rank
    index = 0
    held = 0
    while held < side.count:
        rank = ranks[held]
        while index < number and (
            entries[first + index].price if is_ask else -entries[first + index].price
        ) < rank:  # fmt: skip
            index += 1
        if index < number and abs(entries[first + index].price) == abs(rank):
            held += 1
            continue
        slot = slots[at]
        start_slot(slot, channel, state, recv_ns, _BOOK_LEVEL)
        clear_payload(slot)
        slot.flags |= flags | _DELETE | _DERIVED
        slot.price = abs(rank)
        slot.side = _ASK if is_ask else _BID
        remove(side, held)
        at += 1
    return at


@njit(cache=True, nogil=True)
def _set_changed(
    context: Any, slots: Any, side: Any, first: int, number: int, text: Any, channel: Any,
    state: Any, recv_ns: int, at: int, flags: int,
) -> int:  # fmt: skip
    """Put in the levels that are new or have another size, a slot each; the next slot.

    All levels of the side are among the `number` entries, so the two are walked side by side.
    """
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    for index in range(number):
        entry = entries[first + index]
        rank = entry.price if entry.amount < 0.0 else -entry.price
        if index < side.count and side.rank[index] == rank:
            level = side.level[side.place[index]]
            if level.size == abs(entry.amount):
                size = entry.price_end - entry.price_at + 1 + entry.amount_end - entry.amount_at
                if level.check_length != size:  # the same number, written otherwise
                    set_level(side, rank, entry, text, False)
                continue
        slot = slots[at]
        start_slot(slot, channel, state, recv_ns, _BOOK_LEVEL)
        clear_payload(slot)
        slot.flags |= flags
        apply_price_level(context[A_BOOKS], channel, entry, text, slot)
        at += 1
    return at


@njit(cache=True, nogil=True)
def _apply_book(
    context: Any, channel: Any, asks_at: int, asks: int, bids_at: int, bids: int, text: Any,
    state: Any, recv_ns: int, at: int,
) -> int:  # fmt: skip
    """A whole book as entries, best first, into the book and into slots from `at`; the next."""
    slots = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)
    words = carray(memory(context[A_SLOTS]), (1 << 20, 64), np.uint32)
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    books = context[A_BOOKS]
    at, flags = open_book_frame(slots, words, books, channel, state, recv_ns, at)
    sides = carray(memory(books), (channel.book + 1, 2), SIDE)
    bid_side, ask_side = sides[channel.book, BID], sides[channel.book, ASK]
    first = at
    # Deletions first, so that no side ever holds more than the larger of both books.
    at = _drop_missing(
        slots, bid_side, entries, bids_at, bids, channel, state, recv_ns, at, flags, False
    )
    at = _drop_missing(
        slots, ask_side, entries, asks_at, asks, channel, state, recv_ns, at, flags, True
    )
    dropped = at
    at = _set_changed(
        context, slots, bid_side, bids_at, bids, text, channel, state, recv_ns, at, flags
    )
    at = _set_changed(
        context, slots, ask_side, asks_at, asks, text, channel, state, recv_ns, at, flags
    )
    tallies[N_BOOK] += at - dropped
    at = close_book_frame(slots, words, books, channel, state, recv_ns, first, at, flags)
    note_good(channel, state, recv_ns)
    return at


@njit(cache=True, nogil=True)
def apply_book(
    addresses: int, place: int, asks: int, bids: int, text_address: int, size: int, recv_ns: int,
    at: int,
) -> int:  # fmt: skip
    """Apply a book that Python has parsed: entries of the asks, then of the bids; the next slot."""
    context = carray(memory(addresses), (16,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channel = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)[place]
    text = carray(memory(text_address), (size,), np.uint8)
    return _apply_book(context, channel, 0, asks, asks, bids, text, state, recv_ns, at)


@njit(cache=True, nogil=True)
def _apply_trade(
    context: Any, channel: Any, price: float, amount: float, state: Any, recv_ns: int, at: int
) -> int:
    """One trade, negative where the taker sold; the next slot. The venue gives no id."""
    note_good(channel, state, recv_ns)
    return write_trade(
        context, channel, state, recv_ns, at, 0, state[FRAME_NS], amount, price, 0, 0
    )


@njit(cache=True, nogil=True)
def apply_trade(
    addresses: int, place: int, price: float, amount: float, recv_ns: int, at: int
) -> int:
    """`_apply_trade` for Python."""
    context = carray(memory(addresses), (16,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channel = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)[place]
    return _apply_trade(context, channel, price, amount, state, recv_ns, at)


@njit(cache=True, nogil=True)
def _apply_ticker(context: Any, channel: Any, state: Any, recv_ns: int, at: int) -> int:
    """The ticker whose values stand in row 0, in the order of TICKER_KEYS; the next slot."""
    row = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)[0]
    slots = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)
    words = carray(memory(context[A_SLOTS]), (1 << 20, 32), np.float64)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    slot = slots[at]
    start_slot(slot, channel, state, recv_ns, _TICKER)
    clear_payload(slot)
    for column in range(_TICKER_WIDTH):
        words[at, 12 + column] = _NAN
    for index in range(len(_TICKER_COLUMNS)):
        words[at, 12 + _TICKER_COLUMNS[index]] = row[index]
    slot.price = words[at, 16]
    slot.flags |= _FRAME_END
    tallies[N_TICKERS] += 1
    note_good(channel, state, recv_ns)
    return at + 1


@njit(cache=True, nogil=True)
def apply_ticker(addresses: int, place: int, recv_ns: int, at: int) -> int:
    """`_apply_ticker` for Python."""
    context = carray(memory(addresses), (16,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channel = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)[place]
    return _apply_ticker(context, channel, state, recv_ns, at)


@njit(cache=True, nogil=True)
def _number_in(text: Any, spans: Any, key: int) -> tuple[float, bool]:
    """The number that is all of a key's string: (value, ok)."""
    end = spans[2 * key + 1]
    value, at, ok = read_number(text, spans[2 * key], end)
    return value, ok and at == end


@njit(cache=True, nogil=True)
def _read_trade(text: Any, spans: Any) -> tuple[float, float]:
    """(price, amount) of a trade, amount 0 if it is irregular; negative where the taker sold."""
    price, price_ok = _number_in(text, spans, _PRICE)
    size, size_ok = _number_in(text, spans, _SIZE)
    if not (price_ok and size_ok and price > 0.0 and size > 0.0):
        return 0.0, 0.0
    at, length = spans[2 * _SIDE], spans[2 * _SIDE + 1] - spans[2 * _SIDE]
    if length == 3 and text[at] == 66 and text[at + 1] == 85 and text[at + 2] == 89:  # BUY
        return price, size
    if (
        length == 4
        and text[at] == 83
        and text[at + 1] == 69
        and text[at + 2] == 76
        and text[at + 3] == 76
    ):  # SELL
        return price, -size
    return 0.0, 0.0


@njit(cache=True, nogil=True)
def _read_ticker(text: Any, spans: Any, row: Any) -> bool:
    """A ticker's numbers into a row; False if one is none."""
    for index in range(len(_TICKER_VALUES)):
        row[index], ok = _number_in(text, spans, _TICKER_VALUES[index])
        if not ok:
            return False
    return True


@njit(cache=True, nogil=True)
def _slots_needed(context: Any, channel: Any, spans: Any) -> int:
    """The most slots that a frame can come to."""
    if channel.form != BOOK:
        return 1
    sides = carray(memory(context[A_BOOKS]), (channel.book + 1, 2), SIDE)
    held = sides[channel.book, BID].count + sides[channel.book, ASK].count
    return held + spans[2 * _ASKS + 1] + spans[2 * _BIDS + 1] + 2  # type: ignore[no-any-return]


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

    Results in the R_* words: frames done (also the number of the frame it stopped before), and
    slots written.
    """
    context = carray(memory(addresses), (16,), np.int64)
    result = carray(memory(context[A_RESULT]), (RESULTS,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channels = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    spans = carray(memory(context[A_WIDTHS]), (ROWS,), np.int64)
    row = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)[0]
    bounds = carray(memory(bounds_address), (frames, 2), np.int64)
    text = carray(memory(text_address), (bounds[frames - 1, 1],), np.uint8)
    used = result[R_SLOTS]
    stop = DONE
    frame = first
    while frame < frames:
        at = bounds[frame, 0]
        end = bounds[frame, 1]
        if at >= end or text[at] != _OPEN_BRACE:
            stop = EVENT
            break
        stop = SLOW
        seen = _parse_frame(text, at, end, entries, spans)
        if seen & _WHOSE != _WHOSE:
            break
        number = _number_of(
            text, spans[2 * _CHANNEL], spans[2 * _CHANNEL + 1],
            spans[2 * _SYMBOL], spans[2 * _SYMBOL + 1],
        )  # fmt: skip
        channel = channels[channel_place(channels, number)]
        event_ns = _read_time(text, spans[2 * _TIMESTAMP], spans[2 * _TIMESTAMP + 1])
        if channel.id == 0 or channel.muted != 0 or event_ns < 0:
            break
        price = amount = 0.0
        if channel.form == BOOK:
            if seen & _BOOK_KEYS != _BOOK_KEYS or channel.awaits_snapshot == UNSURE:
                break
        elif channel.form == TRADES:
            if seen & _TRADE_KEYS != _TRADE_KEYS:
                break
            price, amount = _read_trade(text, spans)
            if amount == 0.0:
                break
        elif (
            channel.form != TICKER
            or seen & _TICKER_NEEDS != _TICKER_NEEDS
            or not _read_ticker(text, spans, row)
        ):
            break
        if used + _slots_needed(context, channel, spans) > room:
            stop = FULL
            break
        stop = DONE
        take_time(state, event_ns)
        if channel.form == BOOK:
            used = _apply_book(
                context, channel, spans[2 * _ASKS], spans[2 * _ASKS + 1], spans[2 * _BIDS],
                spans[2 * _BIDS + 1], text, state, recv_ns, used,
            )  # fmt: skip
        elif channel.form == TRADES:
            used = _apply_trade(context, channel, price, amount, state, recv_ns, used)
        else:
            used = _apply_ticker(context, channel, state, recv_ns, used)
        channel.data_ns = recv_ns
        channel.data_frames += 1
        tallies[N_FRAMES] += 1
        frame += 1
    result[R_FRAMES] = frame
    result[R_SLOTS] = used
    result[R_STOP] = stop
    return stop


def compile_kernels() -> None:
    """Compile all that Python calls, so that no frame ever waits for it."""
    kinds = {"word": types.int64, "words": types.int64[::1], "number": types.float64}
    for function, arguments in ENTRY_POINTS.items():
        function.compile(tuple(kinds[kind] for kind in arguments))


ENTRY_POINTS: dict[Any, tuple[str, ...]] = {
    decode_frames: ("word",) * 7,
    apply_book: ("word",) * 8,
    apply_trade: ("word", "word", "number", "number", "word", "word"),
    apply_ticker: ("word",) * 4,
    number_at: ("word",) * 3,
    take_time: ("words", "word"),
    channel_place_of: ("word",) * 2,
}
"""What Python calls, and with what."""
