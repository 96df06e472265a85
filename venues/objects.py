"""Reading JSON objects inside compiled kernels: members, items, strings, times, channel numbers.

Whatever the order of keys and the spaces between them. Nothing here guesses: a text with an escape,
a nested value where a plain one belongs gives "not ok" (a place of -1), nothing has been changed,
and the frame goes to Python, which reads all that is JSON.

Short words (up to eight letters) are compared as one number, `word`; longer ones letter by letter.
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from venues.text import CLOSE, COLON, COMMA, MINUS, NINE, POINT, QUOTE, ZERO, memory, read_number

OPEN_OBJECT, CLOSE_OBJECT = 123, 125
_BACKSLASH, _SPACE, _TAB, _NEWLINE, _RETURN = 92, 32, 9, 10, 13
_UPPER_T, _UPPER_Z = 84, 90


def packed(text: str) -> int:
    """A word of up to eight letters as `word` gives it."""
    assert len(text) <= 8
    return int.from_bytes(text.encode(), "big")


_W_TRUE, _W_FALSE, W_NULL = packed("true"), packed("false"), packed("null")
L_TIMESTAMP: Final = np.frombuffer(b"timestamp", np.uint8)

_DAYS_BEFORE = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])
_YEAR_FIRST, _YEAR_LAST = 1970, 2261
_DAYS_TO_1970: Final = 719_162
_SHORTEST, _LONGEST = len("2026-09-15T23:41:47Z"), len("2026-09-15T23:41:47.461426256Z")

# Unsigned, since overflow of signed numbers is undefined in what numba makes, and LLVM draws its
# conclusions from that.
_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_POSITIVE: Final = np.uint64((1 << 62) - 1)
_SEPARATOR: Final = np.uint64(COLON)


@njit(cache=True, nogil=True)
def word(text: Any, start: int, stop: int) -> int:
    """Up to eight letters of a plain string as a number; minus the length of a longer word.

    A word of eight letters has its first bit clear, since ASCII has: words are never negative.
    """
    if stop - start > 8:
        return start - stop
    value = 0
    for index in range(start, stop):
        value = (value << 8) | text[index]
    return value


@njit(cache=True, nogil=True)
def begins_with(text: Any, at: int, end: int, letters: Any) -> bool:
    """Whether these very letters stand at `at`."""
    if at + len(letters) > end:
        return False
    differing = 0
    for index in range(len(letters)):  # to the end, so that it can be vectorised
        differing |= text[at + index] ^ letters[index]
    return differing == 0


@njit(cache=True, nogil=True)
def is_word(text: Any, start: int, stop: int, letters: Any) -> bool:
    """Whether text[start:stop] are these letters."""
    return stop - start == len(letters) and begins_with(text, start, stop, letters)


@njit(cache=True, nogil=True)
def skip_space(text: Any, at: int, end: int) -> int:
    """The next place that holds no white space."""
    while at < end and (
        text[at] == _SPACE or text[at] == _NEWLINE or text[at] == _TAB or text[at] == _RETURN
    ):
        at += 1
    return at


@njit(cache=True, nogil=True)
def read_string(text: Any, at: int, end: int) -> tuple[int, int, int]:
    """The plain string at `at`: (first letter, end of the letters, where it ends or -1).

    ASCII without escapes; whether other text is sound is for Python to judge.
    """
    if at >= end or text[at] != QUOTE:
        return at, at, -1
    at += 1
    start = at
    while at < end and text[at] != QUOTE:
        if text[at] == _BACKSLASH or text[at] < _SPACE or text[at] >= 128:
            return start, start, -1
        at += 1
    if at >= end:
        return start, start, -1
    return start, at, at + 1


@njit(cache=True, nogil=True)
def next_key(text: Any, at: int, end: int, first: bool) -> tuple[int, int, int]:
    """Go to an object's next member: (first letter of its key, end of the key, its value's place).

    `at` stands behind the brace of the object, or behind the last value. At the object's end the
    key is empty and the place is behind the brace; -1 where there is neither.
    """
    at = skip_space(text, at, end)
    if at < end and text[at] == CLOSE_OBJECT:
        return at, at, at + 1
    if not first:
        if at >= end or text[at] != COMMA:
            return at, at, -1
        at = skip_space(text, at + 1, end)
    start, stop, at = read_string(text, at, end)
    if at < 0 or start == stop:
        return start, start, -1
    at = skip_space(text, at, end)
    if at >= end or text[at] != COLON:
        return start, start, -1
    return start, stop, skip_space(text, at + 1, end)


@njit(cache=True, nogil=True)
def next_item(text: Any, at: int, end: int, first: bool) -> tuple[int, bool]:
    """Go to an array's next value: (its place, False), or (behind the bracket, True), or -1.

    `at` stands behind the bracket of the array, or behind the last value.
    """
    at = skip_space(text, at, end)
    if at < end and text[at] == CLOSE:
        return at + 1, True
    if not first:
        if at >= end or text[at] != COMMA:
            return -1, False
        at = skip_space(text, at + 1, end)
    return (at if at < end else -1), False


@njit(cache=True, nogil=True)
def skip_scalar(text: Any, at: int, end: int) -> int:
    """Behind a string, number, true, false or null; -1 for anything else."""
    if at >= end:
        return -1
    if text[at] == QUOTE:
        return read_string(text, at, end)[2]
    if at + 4 <= end:
        value = word(text, at, at + 4)
        if value == _W_TRUE or value == W_NULL:
            return at + 4
    if at + 5 <= end and word(text, at, at + 5) == _W_FALSE:
        return at + 5
    _, at, ok = read_number(text, at, end)
    return at if ok else -1


@njit(cache=True, nogil=True)
def _digits(text: Any, at: int, count: int) -> int:
    """So many digits as a number, -1 if one is none."""
    value = 0
    for index in range(at, at + count):
        if not ZERO <= text[index] <= NINE:
            return -1
        value = value * 10 + (text[index] - ZERO)
    return value


@njit(cache=True, nogil=True)
def _fraction_ns(text: Any, at: int, decimals: int) -> int:
    """The point and the decimals of a second in ns, -1 if they are none."""
    if text[at] != POINT or decimals == 0:
        return -1
    fraction = _digits(text, at + 1, decimals)
    for _ in range(9 - decimals):
        fraction *= 10
    return fraction


@njit(cache=True, nogil=True)
def read_time(text: Any, start: int, stop: int) -> int:
    """RFC 3339 in UTC with up to nine decimals, as ns since 1970 or -1. Exact to the digit.

    `2026-09-15T23:41:47.461426256Z`; the years 1970 to 2261, which is what int64 ns hold.
    """
    length = stop - start
    if length < _SHORTEST or length > _LONGEST or text[stop - 1] != _UPPER_Z:
        return -1
    if text[start + 4] != MINUS or text[start + 7] != MINUS or text[start + 10] != _UPPER_T:
        return -1
    if text[start + 13] != COLON or text[start + 16] != COLON:
        return -1
    year, month = _digits(text, start, 4), _digits(text, start + 5, 2)
    day, hour = _digits(text, start + 8, 2), _digits(text, start + 11, 2)
    minute, second = _digits(text, start + 14, 2), _digits(text, start + 17, 2)
    if not (_YEAR_FIRST <= year <= _YEAR_LAST and 1 <= month <= 12 and 0 <= hour <= 23):
        return -1
    leap = 1 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 0
    days = _DAYS_BEFORE[month] - _DAYS_BEFORE[month - 1] + (leap if month == 2 else 0)
    if not (1 <= day <= days and 0 <= minute <= 59 and 0 <= second <= 59):
        return -1
    fraction = 0
    if length > _SHORTEST:
        fraction = _fraction_ns(text, start + _SHORTEST - 1, length - _SHORTEST - 1)
        if fraction < 0:
            return -1
    past = year - 1
    number = past * 365 + past // 4 - past // 100 + past // 400 - _DAYS_TO_1970
    number += _DAYS_BEFORE[month - 1] + (leap if month > 2 else 0) + day - 1
    seconds = ((number * 24 + hour) * 60 + minute) * 60 + second
    return int(seconds * 1_000_000_000 + fraction)


@njit(cache=True, nogil=True)
def _folded(value: Any, text: Any, start: int, stop: int) -> Any:
    """FNV-1a (Fowler, Noll, Vo), 64 bits, over some letters."""
    for index in range(start, stop):
        value = (value ^ np.uint64(text[index])) * _PRIME
    return value


@njit(cache=True, nogil=True)
def channel_number(channel: Any, text: Any, start: int, stop: int, interval: int) -> int:
    """A number for (channel, symbol, interval), where the venue gives none: 62 bits, never 0.

    `channel` is the letters of its wire name, text[start:stop] the symbol, `interval` minutes. Two
    names of one number are refused where they are registered (`Channels.register_name`).
    """
    value = _folded(_OFFSET, channel, 0, len(channel))
    value = _folded((value ^ _SEPARATOR) * _PRIME, text, start, stop)
    # Above all letters: no interval can pass for the end of a symbol.
    value = (value ^ np.uint64(interval + 256)) * _PRIME
    number = np.int64(value & _POSITIVE)
    return 1 if number == 0 else number  # type: ignore[return-value]


@njit(cache=True, nogil=True)
def channel_number_at(address: int, channel_size: int, size: int, interval: int) -> int:
    """`channel_number` for Python: `size` bytes, a channel's name and behind it a symbol."""
    text = carray(memory(address), (size,), np.uint8)
    return channel_number(text[:channel_size], text, channel_size, size, interval)


@njit(cache=True, nogil=True)
def time_at(address: int, size: int) -> int:
    """`read_time` for Python."""
    return read_time(carray(memory(address), (size,), np.uint8), 0, size)
