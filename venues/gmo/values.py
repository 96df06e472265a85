"""Values of GMO Coin's messages as Python reads them: exactly, or not at all.

The venue writes prices, sizes and money as JSON strings and times as ISO 8601 in UTC.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from schemas.errors import DecodeError
from venues.numbers import NumberText

_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z"
)
_ERROR: Final = re.compile(r"ERR-([0-9]{1,6})\b\s*(.*)", re.DOTALL)
_YEARS: Final = range(1970, 2200)
"""Times outside of these do not fit 64 bits of nanoseconds, or are none."""


def number(value: Any) -> NumberText:
    """A number in a string (or a bare one), with its wire text.

    Raises:
        DecodeError: it is something else.
    """
    if isinstance(value, NumberText):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return NumberText(value)
    raise DecodeError(f"{str(value)[:40]!r} is no number")


def time_ns(value: Any) -> int:
    """`2026-09-23T03:25:47.765Z` in ns UTC.

    Raises:
        DecodeError: it is something else, or no time there is.
    """
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise DecodeError(f"{str(value)[:40]!r} is no time")
    try:
        moment = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError:
        raise DecodeError(f"{value!r} is no time") from None
    if moment.year not in _YEARS:
        raise DecodeError(f"{value!r} is no time of this market")
    return int(moment.timestamp()) * 1_000_000_000 + int((found[2] or "").ljust(9, "0"))


def text(value: Any) -> str:
    """A string.

    Raises:
        DecodeError: it is something else, or empty.
    """
    if isinstance(value, str) and value:
        return value
    raise DecodeError(f"{str(value)[:40]!r} is no text")


def error_of(said: Any) -> tuple[int, str]:
    """`ERR-5106 Invalid request parameter. symbol` as its code and its words.

    Raises:
        DecodeError: it has another form.
    """
    found = _ERROR.match(text(said))
    if found is None:
        raise DecodeError(f"an error without a code: {str(said)[:100]}")
    return int(found[1]), found[2]
