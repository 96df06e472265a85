"""Times and channel numbers of Kraken's texts, read as the compiled kernels read them."""

from functools import lru_cache
from typing import Any

import numpy as np

from schemas.errors import DecodeError
from venues.kraken.kernel import channel_id_of, time_of
from venues.kraken.scan import packed


def time_ns(text: Any) -> int:
    """A timestamp's text as ns since 1970, exact to the digit.

    Raises:
        DecodeError: it is none, or not within 1970 to 2261.
    """
    if isinstance(text, str):
        letters = np.frombuffer(text.encode() or b" ", np.uint8)
        value = time_of(letters.ctypes.data, len(letters))
        if value >= 0:
            return value
    raise DecodeError(f"{str(text)[:40]!r} is no time")


@lru_cache(maxsize=4096)
def channel_number(channel: str, symbol: str, minutes: int) -> int:
    """The number of a channel: 62 bits of (wire channel, symbol, interval), never 0."""
    letters = np.frombuffer(symbol.encode() or b" ", np.uint8)
    return channel_id_of(packed(channel), letters.ctypes.data, len(symbol.encode()), minutes)
