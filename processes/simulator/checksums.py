"""The venues' checksums of a book, over the very texts that were sent.

Sources: Bitfinex, page ws-order-book-checksum; Kraken, guides book-checksum-v2 and l3-checksum-v2.
Proven on the recorded checksums of both (tests/unit/simulator/test_checksums.py).
"""

import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

BITFINEX_RANKS = 25
KRAKEN_LEVELS = 10


def bitfinex_checksum(bids: Sequence[str], asks: Sequence[str]) -> int:
    """Signed CRC-32 of `key:amount` texts, bid and ask in turn, best first.

    The key is the price of a level or, in raw books, the order's id; amounts keep their sign.
    """
    parts: list[str] = []
    for rank in range(BITFINEX_RANKS):
        parts += [side[rank] for side in (bids, asks) if rank < len(side)]
    value = zlib.crc32(":".join(parts).encode())
    return value - (1 << 32) if value >= 1 << 31 else value


def kraken_checksum(asks: Iterable[tuple[str, str]], bids: Iterable[tuple[str, str]]) -> int:
    """Unsigned CRC-32 of (price, quantity) texts: all asks, then all bids, best first.

    The caller gives no more than the best ten levels; in level3 each level's orders, oldest first.
    """
    joined = "".join([digits(price) + digits(qty) for price, qty in chain(asks, bids)])
    return zlib.crc32(joined.encode())


@lru_cache(65_536)
def digits(text: str) -> str:
    """A number's text without the point and without leading zeros; trailing zeros stay."""
    return text.replace(".", "").lstrip("0")
