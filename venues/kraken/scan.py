"""Reading Kraken's JSON in compiled kernels: words, times, strings, a frame's envelope.

Whatever the order of keys and the spaces between them. Nothing here guesses: a text with an escape,
a key said twice, a nested value where a plain one belongs gives "not ok" (a place of -1), and the
frame goes to Python, which reads all that is JSON.

Short words (up to eight letters) are compared as one number, `word`; longer ones letter by letter.
"""

from typing import Any, Final

import numpy as np
from numba import njit

from venues.text import (
    CLOSE,
    COLON,
    COMMA,
    LARGE_E,
    NINE,
    OPEN,
    POINT,
    QUOTE,
    SMALL_E,
    ZERO,
    read_number,
)

OPEN_OBJECT, CLOSE_OBJECT, BACKSLASH = 123, 125, 92
_SPACE, _TAB, _NEWLINE, _RETURN = 32, 9, 10, 13
_NAN = float("nan")


def packed(text: str) -> int:
    """A word of up to eight letters as `word` gives it."""
    assert len(text) <= 8
    return int.from_bytes(text.encode(), "big")


W_CHANNEL, W_TYPE, W_DATA = packed("channel"), packed("type"), packed("data")
W_SNAPSHOT, W_UPDATE = packed("snapshot"), packed("update")
W_TRUE, W_FALSE, W_NULL = packed("true"), packed("false"), packed("null")
L_TIMESTAMP: Final = np.frombuffer(b"timestamp", np.uint8)
L_HEARTBEAT: Final = np.frombuffer(b"heartbeat", np.uint8)

HEARTBEAT: Final = -9
"""Stands for the channel `heartbeat`, as no word can."""

_ID_START, _ID_PRIME, _ID_BITS = 0x4BF29CE484222325, 0x100000001B3, (1 << 62) - 1


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
def is_word(text: Any, start: int, stop: int, letters: Any) -> bool:
    """Whether text[start:stop] are these letters."""
    if stop - start != len(letters):
        return False
    for index in range(len(letters)):
        if text[start + index] != letters[index]:
            return False
    return True


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
        if text[at] == BACKSLASH or text[at] < _SPACE or text[at] >= 128:
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
def read_plain(text: Any, at: int, end: int) -> tuple[float, int]:
    """The number at `at`, written without an exponent: (value, where it ends or -1)."""
    value, stop, ok = read_number(text, at, end)
    if not ok:
        return 0.0, -1
    for index in range(at, stop):
        if text[index] == SMALL_E or text[index] == LARGE_E:
            return 0.0, -1
    return value, stop


@njit(cache=True, nogil=True)
def read_value(text: Any, at: int, end: int) -> tuple[float, int]:
    """The number or null at `at`: (value, NaN for null, where it ends or -1)."""
    if at + 4 <= end and word(text, at, at + 4) == W_NULL:
        return _NAN, at + 4
    value, at, ok = read_number(text, at, end)
    return value, (at if ok else -1)


@njit(cache=True, nogil=True)
def skip_scalar(text: Any, at: int, end: int) -> int:
    """Behind a string, number, true, false or null; -1 for anything else."""
    if at >= end:
        return -1
    if text[at] == QUOTE:
        return read_string(text, at, end)[2]
    if at + 4 <= end:
        value = word(text, at, at + 4)
        if value == W_TRUE or value == W_NULL:
            return at + 4
    if at + 5 <= end and word(text, at, at + 5) == W_FALSE:
        return at + 5
    return read_value(text, at, end)[1]


@njit(cache=True, nogil=True)
def skip_array(text: Any, at: int, end: int) -> int:
    """Behind the array that begins at `at`, or -1; what stands in it is read later."""
    depth = 0
    while at < end:
        letter = text[at]
        if letter == QUOTE:
            at = read_string(text, at, end)[2]
            if at < 0:
                return -1
            continue
        if letter == OPEN:
            depth += 1
        elif letter == CLOSE:
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return -1


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
def read_time(text: Any, start: int, stop: int) -> tuple[int, bool]:
    """RFC 3339 in UTC with up to nine decimals, as ns since 1970: (time, ok). Exact to the digit.

    `2026-09-15T23:41:47.461426256Z`; the years 1970 to 2261, which is what int64 ns hold.
    """
    length = stop - start
    if length < 20 or length > 30 or text[stop - 1] != 90:  # Z
        return 0, False
    if text[start + 4] != 45 or text[start + 7] != 45 or text[start + 10] != 84:  # - - T
        return 0, False
    if text[start + 13] != COLON or text[start + 16] != COLON:
        return 0, False
    year, month = _digits(text, start, 4), _digits(text, start + 5, 2)
    day, hour = _digits(text, start + 8, 2), _digits(text, start + 11, 2)
    minute, second = _digits(text, start + 14, 2), _digits(text, start + 17, 2)
    if not (1970 <= year <= 2261 and 1 <= month <= 12 and 0 <= hour <= 23):
        return 0, False
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = 31
    if month == 4 or month == 6 or month == 9 or month == 11:
        days = 30
    elif month == 2:
        days = 29 if leap else 28
    if not (1 <= day <= days and 0 <= minute <= 59 and 0 <= second <= 59):
        return 0, False
    fraction = 0
    if length > 20:
        decimals = length - 21
        if text[start + 19] != POINT or decimals == 0:
            return 0, False
        fraction = _digits(text, start + 20, decimals)
        if fraction < 0:
            return 0, False
        for _ in range(9 - decimals):
            fraction *= 10
    # Days since 1970-01-01, years counted from March (Hinnant, chrono-Compatible Low-Level Date
    # Algorithms, days_from_civil).
    shifted = year - (1 if month <= 2 else 0)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    number = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    seconds = number * 86400 + hour * 3600 + minute * 60 + second
    return seconds * 1_000_000_000 + fraction, True


@njit(cache=True, nogil=True)
def read_time_text(text: Any, at: int, end: int) -> tuple[int, int]:
    """The time in the string at `at`: (ns, where the string ends or -1)."""
    start, stop, at = read_string(text, at, end)
    if at < 0:
        return 0, -1
    value, ok = read_time(text, start, stop)
    return value, (at if ok else -1)


@njit(cache=True, nogil=True)
def channel_id(kind: int, text: Any, start: int, stop: int, interval: int) -> int:
    """A number for (channel, symbol, interval), since the venue gives none: 62 bits, never 0.

    FNV-1a over the symbol's bytes; `kind` is the channel's word. Two names of one number are
    refused where they are registered.
    """
    value = (_ID_START ^ kind) * _ID_PRIME
    for index in range(start, stop):
        value = (value ^ text[index]) * _ID_PRIME
    value = (value ^ (interval + 256)) * _ID_PRIME
    value = (value ^ (value >> 31)) & _ID_BITS
    return max(value, 1)


@njit(cache=True, nogil=True)
def read_envelope(text: Any, at: int, end: int) -> tuple[int, int, int, int, int]:
    """A data frame's outer object: (channel, type, place of data, end of data, time ns).

    The channel is its word, or HEARTBEAT, or 0 where this is no frame of the kind (an answer to a
    request, another channel's longer name, a key said twice). Places are -1 without
    data, the time is 0 without a timestamp.
    """
    at = skip_space(text, at, end)
    if at >= end or text[at] != OPEN_OBJECT:
        return 0, 0, -1, -1, 0
    at += 1
    channel, kind, data_at, data_end, time_ns = 0, 0, -1, -1, 0
    first = True
    while True:
        start, stop, at = next_key(text, at, end, first)
        if at < 0:
            return 0, 0, -1, -1, 0
        if start == stop:
            break
        first = False
        key = word(text, start, stop)
        if key == W_CHANNEL:
            if channel != 0:
                return 0, 0, -1, -1, 0
            start, stop, at = read_string(text, at, end)
            channel = word(text, start, stop)
            if channel < 0:
                channel = HEARTBEAT if is_word(text, start, stop, L_HEARTBEAT) else 0
        elif key == W_TYPE:
            if kind != 0:
                return 0, 0, -1, -1, 0
            start, stop, at = read_string(text, at, end)
            kind = word(text, start, stop)
        elif key == W_DATA:
            if data_at >= 0 or at >= end or text[at] != OPEN:
                return 0, 0, -1, -1, 0
            data_at = at
            at = data_end = skip_array(text, at, end)
        elif is_word(text, start, stop, L_TIMESTAMP):
            if time_ns != 0:
                return 0, 0, -1, -1, 0
            time_ns, at = read_time_text(text, at, end)
        else:
            at = skip_scalar(text, at, end)
        if at < 0:
            return 0, 0, -1, -1, 0
    if skip_space(text, at, end) != end:
        return 0, 0, -1, -1, 0
    return channel, kind, data_at, data_end, time_ns
