"""Order books in flat memory, for compiled kernels: levels kept best first, with their wire text.

One record (`SIDE`) is one side of one book. `rank` and `key` hold what a level is sorted by, best
first: the price (negated for bids, so that smaller is always better), then the order id of a raw
book. `place` says where in `level` the rest of it stands, so that an insertion moves 18 bytes a
level and not its text. The text is kept as it came, because checksums are over the venue's digits.
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from schemas.tape import LEVELS, SLOT
from venues.text import COLON, memory

DEPTH: Final = 1280
"""Levels a side can hold: the deepest book of any venue here is 1000, and Kraken's is cut only
after a whole message."""
TEXT_BYTES: Final = 80
BID, ASK = 0, 1

LEVEL = np.dtype(
    [
        ("price", "f8"),
        ("size", "f8"),
        ("count", "i8"),
        ("check_length", "i4"),  # text[:check_length] is what the checksum covers: "key:amount"
        ("amount_at", "i4"),
        ("price_at", "i4"),
        ("price_length", "i4"),
        ("text", "u1", (TEXT_BYTES,)),
    ]
)
SIDE = np.dtype(
    [
        ("count", "i8"),
        ("free_count", "i8"),
        ("rank", "f8", (DEPTH,)),
        ("key", "i8", (DEPTH,)),
        ("place", "i4", (DEPTH,)),
        ("free", "i4", (DEPTH,)),
        ("level", LEVEL, (DEPTH,)),
    ]
)
ENTRY = np.dtype(
    [
        ("price", "f8"),
        ("amount", "f8"),
        ("count", "i8"),
        ("key", "i8"),
        ("price_at", "i4"),
        ("price_end", "i4"),
        ("amount_at", "i4"),
        ("amount_end", "i4"),
        ("key_at", "i4"),
        ("key_end", "i4"),
    ]
)
"""A level or order as a frame says it: the numbers, and where their digits stand in its text.
`key` is an order's id, a funding level's period, and 0 of other levels, which their price tells.
`amount` is negative on the ask side; `count` is 0 where the level goes."""


def make_books(count: int) -> np.ndarray:
    """`count` empty books, shape (count, 2)."""
    books = np.zeros((count, 2), SIDE)
    for book in range(count):
        clear(books.ctypes.data, book)
    return books


@njit(cache=True, nogil=True)
def clear(books: int, book: int) -> None:
    """Empty both sides."""
    sides = carray(memory(books), (book + 1, 2), SIDE)
    for which in range(2):
        side = sides[book, which]
        side.count = 0
        side.free_count = DEPTH
        free = side.free
        for index in range(DEPTH):
            free[index] = DEPTH - 1 - index


@njit(cache=True, nogil=True)
def find(side: Any, rank: float, key: int) -> tuple[int, bool]:
    """Where (rank, key) stands or would stand, and whether it is there."""
    ranks = side.rank
    keys = side.key
    low = 0
    high = side.count
    while low < high:
        middle = (low + high) >> 1
        if ranks[middle] < rank or (ranks[middle] == rank and keys[middle] < key):
            low = middle + 1
        else:
            high = middle
    return low, low < side.count and ranks[low] == rank and keys[low] == key


@njit(cache=True, nogil=True)
def find_key(side: Any, key: int) -> int:
    """Where an order id stands, or -1."""
    keys = side.key
    for index in range(side.count):
        if keys[index] == key:
            return index
    return -1


@njit(cache=True, nogil=True)
def insert(side: Any, at: int, rank: float, key: int) -> int:
    """Make room at `at`; the place of the new level's record. A full side drops its worst level."""
    if side.count == DEPTH:
        remove(side, DEPTH - 1)
        if at == DEPTH:
            at = DEPTH - 1
    ranks, keys, places = side.rank, side.key, side.place
    for index in range(side.count, at, -1):
        ranks[index] = ranks[index - 1]
        keys[index] = keys[index - 1]
        places[index] = places[index - 1]
    side.free_count -= 1
    place = side.free[side.free_count]
    ranks[at] = rank
    keys[at] = key
    places[at] = place
    side.count += 1
    return place  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def remove(side: Any, at: int) -> None:
    """Take the level at `at` out."""
    ranks, keys, places = side.rank, side.key, side.place
    side.free[side.free_count] = places[at]
    side.free_count += 1
    side.count -= 1
    for index in range(at, side.count):
        ranks[index] = ranks[index + 1]
        keys[index] = keys[index + 1]
        places[index] = places[index + 1]


@njit(cache=True, nogil=True)
def set_level(side: Any, rank: float, entry: Any, text: Any, raw: bool) -> bool:
    """Insert or replace the level of an entry with its wire text; False if that is too long."""
    key_at, key_end = entry.price_at, entry.price_end
    extra = 0
    if raw:
        key_at, key_end = entry.key_at, entry.key_end
        extra = entry.price_end - entry.price_at
    check_length = key_end - key_at + 1 + entry.amount_end - entry.amount_at
    if check_length + extra > TEXT_BYTES:
        return False
    at, found = find(side, rank, entry.key)
    place = side.place[at] if found else insert(side, at, rank, entry.key)
    level = side.level[place]
    level.price = entry.price
    level.size = abs(entry.amount)
    level.count = entry.count
    letters = level.text
    end = 0
    for index in range(key_at, key_end):
        letters[end] = text[index]
        end += 1
    letters[end] = COLON
    end += 1
    level.amount_at = end
    for index in range(entry.amount_at, entry.amount_end):
        letters[end] = text[index]
        end += 1
    level.check_length = end
    level.price_at = 0
    level.price_length = key_end - key_at
    if raw:
        level.price_at = end
        level.price_length = extra
        for index in range(entry.price_at, entry.price_end):
            letters[end] = text[index]
            end += 1
    return True


@njit(cache=True, nogil=True)
def write_top(books: int, book: int, slot: Any) -> None:
    """Put the best ten levels and their reference price, the mid, into a tape slot."""
    sides = carray(memory(books), (book + 1, 2), SIDE)
    bids, asks = sides[book, BID], sides[book, ASK]
    reference = 0.0
    if bids.count > 0 and asks.count > 0:
        reference = (asks.rank[0] - bids.rank[0]) / 2.0
    elif bids.count > 0:
        reference = -bids.rank[0]
    elif asks.count > 0:
        reference = asks.rank[0]
    slot.reference_price = reference
    top = slot.book
    for which in range(2):
        side = sides[book, which]
        levels = side.level
        places = side.place
        number = min(side.count, LEVELS)
        offset = 2 * LEVELS * which
        for index in range(number):
            level = levels[places[index]]
            top[offset + index] = level.price - reference
            top[offset + LEVELS + index] = level.size
        for index in range(number, LEVELS):
            top[offset + index] = 0.0
            top[offset + LEVELS + index] = 0.0


def _crc_tables() -> np.ndarray:
    tables = np.zeros((8, 256), np.uint32)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
        tables[0, byte] = value
    for step in range(1, 8):
        for byte in range(256):
            before = int(tables[step - 1, byte])
            tables[step, byte] = (before >> 8) ^ int(tables[0, before & 255])
    return tables


_CRC = _crc_tables()


@njit(cache=True, nogil=True)
def crc32(data: Any, length: int) -> int:
    """CRC-32 (IEEE 802.3, as zlib's) of data[:length], eight bytes a step (Intel, slicing-by-8)."""
    value = np.uint32(0xFFFFFFFF)
    at = 0
    while at + 8 <= length:
        low = value ^ (
            np.uint32(data[at])
            | (np.uint32(data[at + 1]) << np.uint32(8))
            | (np.uint32(data[at + 2]) << np.uint32(16))
            | (np.uint32(data[at + 3]) << np.uint32(24))
        )
        value = (
            _CRC[7, low & np.uint32(255)]
            ^ _CRC[6, (low >> np.uint32(8)) & np.uint32(255)]
            ^ _CRC[5, (low >> np.uint32(16)) & np.uint32(255)]
            ^ _CRC[4, low >> np.uint32(24)]
            ^ _CRC[3, data[at + 4]]
            ^ _CRC[2, data[at + 5]]
            ^ _CRC[1, data[at + 6]]
            ^ _CRC[0, data[at + 7]]
        )
        at += 8
    while at < length:
        value = (value >> np.uint32(8)) ^ _CRC[0, (value ^ np.uint32(data[at])) & np.uint32(255)]
        at += 1
    return np.int64(value ^ np.uint32(0xFFFFFFFF))  # type: ignore[return-value]


def wire_levels(books: np.ndarray, book: int, side: int, limit: int) -> list[tuple[int, str, str]]:
    """The best levels as (order id or 0, price text, amount text), the wire's own digits."""
    record = books[book, side]
    out = []
    for index in range(min(int(record["count"]), limit)):
        level = record["level"][record["place"][index]]
        text = bytes(level["text"])
        price_at = int(level["price_at"])
        price = text[price_at : price_at + int(level["price_length"])]
        amount = text[int(level["amount_at"]) : int(level["check_length"])]
        out.append((int(record["key"][index]), price.decode(), amount.decode()))
    return out


assert SLOT.fields is not None
