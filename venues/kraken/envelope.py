"""The outer object of Kraken's frames, read in compiled kernels, and the forms its values have.

What is irregular (a key said twice, a place of -1) is for Python, as `venues/objects.py` has it.
"""

from typing import Any, Final

import numpy as np
from numba import njit

from venues.objects import (
    L_TIMESTAMP,
    OPEN_OBJECT,
    W_NULL,
    is_word,
    next_key,
    packed,
    read_string,
    read_time,
    skip_scalar,
    skip_space,
    word,
)
from venues.text import CLOSE, LARGE_E, OPEN, QUOTE, SMALL_E, read_number

_NAN = float("nan")
_W_CHANNEL, _W_TYPE, _W_DATA = packed("channel"), packed("type"), packed("data")
W_SNAPSHOT, W_UPDATE = packed("snapshot"), packed("update")
_L_HEARTBEAT: Final = np.frombuffer(b"heartbeat", np.uint8)

HEARTBEAT: Final = -9
"""Stands for the channel `heartbeat`, as no word can."""


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
def read_time_text(text: Any, at: int, end: int) -> tuple[int, int]:
    """The time in the string at `at`: (ns, where the string ends or -1)."""
    start, stop, at = read_string(text, at, end)
    if at < 0:
        return 0, -1
    value = read_time(text, start, stop)
    return value, (at if value >= 0 else -1)


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
        if key == _W_CHANNEL:
            if channel != 0:
                return 0, 0, -1, -1, 0
            start, stop, at = read_string(text, at, end)
            channel = word(text, start, stop)
            if channel < 0:
                channel = HEARTBEAT if is_word(text, start, stop, _L_HEARTBEAT) else 0
        elif key == _W_TYPE:
            if kind != 0:
                return 0, 0, -1, -1, 0
            start, stop, at = read_string(text, at, end)
            kind = word(text, start, stop)
        elif key == _W_DATA:
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
