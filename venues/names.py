"""Times and channel numbers of a venue's texts, read as the compiled kernels read them."""

from functools import lru_cache
from typing import Any

import numpy as np

from schemas.errors import DecodeError
from venues.objects import channel_number_at, time_at


def time_ns(text: Any) -> int:
    """An RFC 3339 time in UTC with up to nine decimals as ns since 1970, exact to the digit.

    Raises:
        DecodeError: it is none, or not within 1970 to 2261.
    """
    if isinstance(text, str) and text.isascii():
        letters = np.frombuffer(text.encode() or b" ", np.uint8)
        value = int(time_at(letters.ctypes.data, len(letters)))
        if value >= 0:
            return value
    raise DecodeError(f"{str(text)[:40]!r} is no time")


@lru_cache(maxsize=4096)
def channel_number(channel: str, symbol: str, minutes: int = 0) -> int:
    """The number of a channel: 62 bits of (wire channel, symbol, interval), never 0."""
    name = channel.encode()
    letters = np.frombuffer(name + symbol.encode(), np.uint8)
    return int(channel_number_at(letters.ctypes.data, len(name), len(letters), minutes))
