"""Reading JSON text inside compiled kernels: numbers, and bytes as memory.

A kernel here never guesses: text that is not plainly what it expects gives "not ok", nothing has
been changed, and the caller hands the frame to the exact and slower decoder in Python.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

QUOTE, COMMA, MINUS, PLUS, POINT = 34, 44, 45, 43, 46
ZERO, NINE, COLON, OPEN, CLOSE = 48, 57, 58, 91, 93
SMALL_E, LARGE_E = 101, 69

_POWERS = np.array([10.0**n for n in range(23)])
_EXACT = 1 << 53


@intrinsic
def memory(typingctx: Any, address: Any) -> Any:
    """An address as a pointer, for `numba.carray`. Private memory only: no atomics here."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen


@njit(cache=True, nogil=True)
def read_number(text: Any, at: int, end: int) -> tuple[float, int, bool]:
    """The number at `at`: (value, where it ends, ok).

    Correctly rounded, or not ok: up to 2^53 and 22 decimal places a quotient of two exact doubles
    is the double nearest to the text (Clinger, How to Read Floating Point Numbers Accurately,
    1990).
    """
    start = at
    negative = at < end and text[at] == MINUS
    if negative:
        at += 1
    mantissa = 0
    exponent = 0
    digits = 0
    first = at
    while at < end and ZERO <= text[at] <= NINE:
        mantissa = mantissa * 10 + (text[at] - ZERO)
        digits += 1
        at += 1
    if digits == 0 or (digits > 1 and text[first] == ZERO):
        return 0.0, start, False
    if at < end and text[at] == POINT:
        at += 1
        point = at
        while at < end and ZERO <= text[at] <= NINE:
            mantissa = mantissa * 10 + (text[at] - ZERO)
            digits += 1
            at += 1
        if at == point:
            return 0.0, start, False
        exponent = point - at
    if digits > 18:
        return 0.0, start, False
    if at < end and (text[at] == SMALL_E or text[at] == LARGE_E):
        at += 1
        down = at < end and text[at] == MINUS
        if at < end and (text[at] == MINUS or text[at] == PLUS):
            at += 1
        power = 0
        point = at
        while at < end and ZERO <= text[at] <= NINE and at - point < 4:
            power = power * 10 + (text[at] - ZERO)
            at += 1
        if at == point:
            return 0.0, start, False
        exponent += -power if down else power
    if mantissa > _EXACT or exponent > 22 or exponent < -22:
        return 0.0, start, False
    value = float(mantissa)
    value = value / _POWERS[-exponent] if exponent < 0 else value * _POWERS[exponent]
    return (-value if negative else value), at, True


@njit(cache=True, nogil=True)
def read_integer(text: Any, at: int, end: int) -> tuple[int, int, bool]:
    """The integer at `at`: (value, where it ends, ok); at most 18 digits."""
    start = at
    negative = at < end and text[at] == MINUS
    if negative:
        at += 1
    value = 0
    first = at
    while at < end and ZERO <= text[at] <= NINE:
        value = value * 10 + (text[at] - ZERO)
        at += 1
    if at == first or at - first > 18 or (at - first > 1 and text[first] == ZERO):
        return 0, start, False
    return (-value if negative else value), at, True
