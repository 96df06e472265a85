"""Reading GMO Coin's frames inside the kernel: which keys a frame has and where their values stand.

Nothing is guessed and nothing is changed: a frame that is not plainly what the venue documents is
"irregular" here, and left to Python. Keys come in any order, with or without spaces, and unknown
ones with plain values are skipped. Keys, channels and symbols are known by a hash of their letters.
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from venues.book import DEPTH, TEXT_BYTES
from venues.decoding import ENTRIES
from venues.text import CLOSE, COLON, COMMA, MINUS, NINE, OPEN, QUOTE, ZERO, memory, read_number

OPEN_BRACE, _CLOSE_BRACE, _BACKSLASH, _SPACE, _DELETED = 123, 125, 92, 32, 127

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
    K_CHANNEL, K_SYMBOL, K_TIMESTAMP, K_ASKS, K_BIDS, K_PRICE, K_SIZE, K_SIDE, K_ASK, K_BID,
    K_LAST, K_VOLUME, K_HIGH, K_LOW,
) = range(len(_NAMES))  # fmt: skip
_KEYS = np.array([_hash_of(name) for name in _NAMES], np.uint64)
WHOSE: Final = 1 << K_CHANNEL | 1 << K_SYMBOL | 1 << K_TIMESTAMP
BOOK_KEYS: Final = WHOSE | 1 << K_ASKS | 1 << K_BIDS
TRADE_KEYS: Final = WHOSE | 1 << K_PRICE | 1 << K_SIZE | 1 << K_SIDE
# Values of a ticker in the order in which `kernel.apply_ticker` wants them.
TICKER_KEYS: Final = ("bid", "ask", "last", "volume", "high", "low")
_TICKER_VALUES = np.array([K_BID, K_ASK, K_LAST, K_VOLUME, K_HIGH, K_LOW])
TICKER_NEEDS: Final = (
    WHOSE | 1 << K_BID | 1 << K_ASK | 1 << K_LAST | 1 << K_VOLUME | 1 << K_HIGH | 1 << K_LOW
)

# A level as the venue writes it, for which no key needs to be looked up.
_USUAL_PRICE = np.frombuffer(b'{"price":"', np.uint8)
_USUAL_SIZE = np.frombuffer(b'","size":"', np.uint8)
_USUAL_END = np.frombuffer(b'"}', np.uint8)

_DAYS_BEFORE = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])
_TIME_LENGTH: Final = len("2026-09-23T03:25:47.765Z")


@njit(cache=True, nogil=True)
def _hashed(text: Any, at: int, end: int, value: Any) -> Any:
    for index in range(at, end):
        value = (value ^ np.uint64(text[index])) * _PRIME
    return value


@njit(cache=True, nogil=True)
def number_in_text(text: Any, channel: int, channel_end: int, symbol: int, symbol_end: int) -> int:
    """The positive 62-bit number that stands for a channel of a symbol."""
    value = _hashed(text, channel, channel_end, _OFFSET)
    value = (value ^ _SEPARATOR) * _PRIME
    number = np.int64(_hashed(text, symbol, symbol_end, value) & _POSITIVE)
    return 1 if number == 0 else number  # type: ignore[return-value]


@njit(cache=True, nogil=True)
def number_at(text_address: int, channel_size: int, size: int) -> int:
    """`number_in_text` for Python: `size` bytes, a channel and behind it a symbol."""
    text = carray(memory(text_address), (size,), np.uint8)
    return number_in_text(text, 0, channel_size, channel_size, size)


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
def _matches(text: Any, at: int, end: int, wanted: Any) -> bool:
    """Whether these very letters stand at `at`."""
    if at + len(wanted) > end:
        return False
    differing = 0
    for index in range(len(wanted)):  # to the end, so that it can be vectorised
        differing |= text[at + index] ^ wanted[index]
    return differing == 0


@njit(cache=True, nogil=True)
def _read_usual_level(text: Any, at: int, end: int, entry: Any, is_ask: bool) -> int:
    """A level written as the venue writes it; where it ends, or -1 if it is written otherwise."""
    if not _matches(text, at, end, _USUAL_PRICE):
        return -1
    begin = at + len(_USUAL_PRICE)
    price, at, price_ok = read_number(text, begin, end)
    if not price_ok or not _matches(text, at, end, _USUAL_SIZE):
        return -1
    entry.price = price
    entry.price_at = begin
    entry.price_end = at
    begin = at + len(_USUAL_SIZE)
    size, at, size_ok = read_number(text, begin, end)
    if not size_ok or not _matches(text, at, end, _USUAL_END):
        return -1
    entry.amount = -size if is_ask else size
    entry.amount_at = begin
    entry.amount_end = at
    return at + len(_USUAL_END) if price > 0.0 and size > 0.0 else -1


@njit(cache=True, nogil=True)
def _read_other_level(text: Any, at: int, end: int, entry: Any, is_ask: bool) -> int:
    """A level with its keys in any order; where it ends, or -1 if it is irregular."""
    seen = 0
    at += 1
    while True:
        key, at = _read_key(text, at, end)
        if at < 0:
            return -1
        if key in (K_PRICE, K_SIZE):
            begin = at + 1
            value, at = _quoted_number(text, at, end)
            if at < 0 or not value > 0.0 or (seen >> key) & 1:
                return -1
            if key == K_PRICE:
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
            return at if seen == 1 << K_PRICE | 1 << K_SIZE else -1


@njit(cache=True, nogil=True)
def _read_level(text: Any, at: int, end: int, entry: Any, is_ask: bool) -> int:
    """One `{"price":"1","size":"2"}` at its brace into an entry; where it ends, or -1."""
    after = _read_usual_level(text, at, end, entry, is_ask)
    if after < 0:
        after = _read_other_level(text, at, end, entry, is_ask)
    size = entry.price_end - entry.price_at + 1 + entry.amount_end - entry.amount_at
    entry.key = 0
    entry.count = 1
    return after if size <= TEXT_BYTES else -1


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
        if at >= end or text[at] != OPEN_BRACE:
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
def parse_frame(text: Any, at: int, end: int, entries: Any, spans: Any) -> int:
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
        if key in (K_ASKS, K_BIDS):
            spans[2 * key] = taken
            spans[2 * key + 1], at = _read_side(text, at, end, entries, taken, key == K_ASKS)
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
def read_time(text: Any, at: int, end: int) -> int:
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
def _number_in(text: Any, spans: Any, key: int) -> tuple[float, bool]:
    """The number that is all of a key's string: (value, ok)."""
    end = spans[2 * key + 1]
    value, at, ok = read_number(text, spans[2 * key], end)
    return value, ok and at == end


@njit(cache=True, nogil=True)
def read_trade(text: Any, spans: Any) -> tuple[float, float]:
    """(price, amount) of a trade, amount 0 if it is irregular; negative where the taker sold."""
    price, price_ok = _number_in(text, spans, K_PRICE)
    size, size_ok = _number_in(text, spans, K_SIZE)
    if not (price_ok and size_ok and price > 0.0 and size > 0.0):
        return 0.0, 0.0
    at, length = spans[2 * K_SIDE], spans[2 * K_SIDE + 1] - spans[2 * K_SIDE]
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
def read_ticker(text: Any, spans: Any, row: Any) -> bool:
    """A ticker's numbers into a row; False if one is none."""
    for index in range(len(_TICKER_VALUES)):
        row[index], ok = _number_in(text, spans, _TICKER_VALUES[index])
        if not ok:
            return False
    return True
