"""Values of GMO Coin's messages as Python reads them: exactly, or not at all.

The venue writes prices, sizes and money as JSON strings and times as RFC 3339 in UTC
(`venues/names.py`).
"""

import re
from typing import Any, Final

from schemas.errors import DecodeError
from venues.numbers import NumberText, as_number, as_text

_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ERROR: Final = re.compile(r"ERR-([0-9]{1,6})\b\s*(.*)", re.DOTALL)


def number(value: Any) -> NumberText:
    """A number in a string (or a bare one), with its wire text.

    Raises:
        DecodeError: it is something else.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return NumberText(value)
    return as_number(value)


def text(value: Any) -> str:
    """A string.

    Raises:
        DecodeError: it is something else, or empty.
    """
    if value == "":
        raise DecodeError("an empty text")
    return as_text(value)


def error_of(said: Any) -> tuple[int, str]:
    """`ERR-5106 Invalid request parameter. symbol` as its code and its words.

    Raises:
        DecodeError: it has another form.
    """
    found = _ERROR.match(text(said))
    if found is None:
        raise DecodeError(f"an error without a code: {str(said)[:100]}")
    return int(found[1]), found[2]
