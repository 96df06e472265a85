"""Times in account events, read without a compiled kernel.

Account events are few, and the first of them comes when money has just moved: to load a kernel for
it would hold up a broker's loop, and the killer, for a second or two. Frames of markets are read by
kernels (`venues/names.py`), to the same digit.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from schemas.errors import DecodeError

_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?Z"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS: Final = range(1970, 2262)
"""What int64 ns hold."""


def account_time_ns(text: Any) -> int:
    """An RFC 3339 time in UTC with up to nine decimals as ns since 1970, exact to the digit.

    Raises:
        DecodeError: it is none, or not within 1970 to 2261.
    """
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is not None and int(found[1]) in _YEARS:
        try:
            moment = datetime(*map(int, found.groups()[:6]), tzinfo=UTC)  # type: ignore[misc, arg-type]
        except ValueError:
            pass  # no such day or hour
        else:
            past = moment - _EPOCH
            seconds = past.days * 86_400 + past.seconds
            return seconds * 1_000_000_000 + int((found[7] or "").ljust(9, "0"))
    raise DecodeError(f"{str(text)[:40]!r} is no time")
