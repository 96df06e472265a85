"""Reading GMO Coin's frames inside the kernel: which keys a frame has and where their values stand.

Nothing is guessed and nothing is changed: a frame that is not plainly what the venue documents is
"irregular" here, and left to Python. Keys come in any order, with or without spaces, and unknown
ones with plain values are skipped (`venues/objects.py`).
"""

from typing import Any, Final

import numpy as np
from numba import njit

from venues.book import DEPTH, TEXT_BYTES
from venues.decoding import ENTRIES
from venues.objects import (
    L_TIMESTAMP,
    OPEN_OBJECT,
    begins_with,
    is_word,
    next_item,
    next_key,
    packed,
    read_string,
    skip_scalar,
    skip_space,
    word,
)
from venues.text import OPEN, QUOTE, read_number

# Keys that are read, and the bit of each in the set of those seen.
_NAMES: Final = (
    "channel", "symbol", "timestamp", "asks", "bids", "price", "size", "side", "ask",
    "bid", "last", "volume", "high", "low",
)  # fmt: skip
(
    K_CHANNEL, K_SYMBOL, K_TIMESTAMP, K_ASKS, K_BIDS, K_PRICE, K_SIZE, K_SIDE, K_ASK, K_BID,
    K_LAST, K_VOLUME, K_HIGH, K_LOW,
) = range(len(_NAMES))  # fmt: skip
_KEYS = np.array([packed(name) if len(name) <= 8 else -1 for name in _NAMES])
WHOSE: Final = 1 << K_CHANNEL | 1 << K_SYMBOL | 1 << K_TIMESTAMP
BOOK_KEYS: Final = WHOSE | 1 << K_ASKS | 1 << K_BIDS
TRADE_KEYS: Final = WHOSE | 1 << K_PRICE | 1 << K_SIZE | 1 << K_SIDE
# Values of a ticker in the order in which `kernel.apply_ticker` wants them.
TICKER_KEYS: Final = ("bid", "ask", "last", "volume", "high", "low")
_TICKER_VALUES = np.array([K_BID, K_ASK, K_LAST, K_VOLUME, K_HIGH, K_LOW])
TICKER_NEEDS: Final = (
    WHOSE | 1 << K_BID | 1 << K_ASK | 1 << K_LAST | 1 << K_VOLUME | 1 << K_HIGH | 1 << K_LOW
)

# A level as the venue writes it, for which no key needs to be looked up.
_USUAL_PRICE = np.frombuffer(b'{"price":"', np.uint8)
_USUAL_SIZE = np.frombuffer(b'","size":"', np.uint8)
_USUAL_END = np.frombuffer(b'"}', np.uint8)


@njit(cache=True, nogil=True)
def _place_of_key(text: Any, start: int, stop: int) -> int:
    """A key's place among those that are read, or -1."""
    name = word(text, start, stop)
    if name < 0:
        return K_TIMESTAMP if is_word(text, start, stop, L_TIMESTAMP) else -1
    for key in range(len(_KEYS)):
        if _KEYS[key] == name:
            return key
    return -1


@njit(cache=True, nogil=True)
def _quoted_number(text: Any, at: int, end: int) -> tuple[float, int]:
    """The number in the string at `at`: (value, where its closing quote is, or -1)."""
    if at >= end or text[at] != QUOTE:
        return 0.0, -1
    value, at, ok = read_number(text, at + 1, end)
    if not ok or at >= end or text[at] != QUOTE:
        return 0.0, -1
    return value, at


@njit(cache=True, nogil=True)
def _read_usual_level(text: Any, at: int, end: int, entry: Any, is_ask: bool) -> int:
    """A level written as the venue writes it; where it ends, or -1 if it is written otherwise."""
    if not begins_with(text, at, end, _USUAL_PRICE):
        return -1
    begin = at + len(_USUAL_PRICE)
    price, at, price_ok = read_number(text, begin, end)
    if not price_ok or not begins_with(text, at, end, _USUAL_SIZE):
        return -1
    entry.price = price
    entry.price_at = begin
    entry.price_end = at
    begin = at + len(_USUAL_SIZE)
    size, at, size_ok = read_number(text, begin, end)
    if not size_ok or not begins_with(text, at, end, _USUAL_END):
        return -1
    entry.amount = -size if is_ask else size
    entry.amount_at = begin
    entry.amount_end = at
    return at + len(_USUAL_END) if price > 0.0 and size > 0.0 else -1


@njit(cache=True, nogil=True)
def _read_other_level(text: Any, at: int, end: int, entry: Any, is_ask: bool) -> int:
    """A level with its keys in any order; where it ends, or -1 if it is irregular."""
    seen = 0
    at += 1
    first = True
    while True:
        start, stop, at = next_key(text, at, end, first)
        if at < 0:
            return -1
        if start == stop:
            return at if seen == 1 << K_PRICE | 1 << K_SIZE else -1
        first = False
        key = _place_of_key(text, start, stop)
        if key in (K_PRICE, K_SIZE):
            begin = at + 1
            value, at = _quoted_number(text, at, end)
            if at < 0 or not value > 0.0 or (seen >> key) & 1:
                return -1
            if key == K_PRICE:
                entry.price = value
                entry.price_at = begin
                entry.price_end = at
            else:
                entry.amount = -value if is_ask else value
                entry.amount_at = begin
                entry.amount_end = at
            seen |= 1 << key
            at += 1
        else:
            at = skip_scalar(text, at, end)
            if at < 0:
                return -1


@njit(cache=True, nogil=True)
def _read_level(text: Any, at: int, end: int, entry: Any, is_ask: bool) -> int:
    """One `{"price":"1","size":"2"}` at its brace into an entry; where it ends, or -1."""
    after = _read_usual_level(text, at, end, entry, is_ask)
    if after < 0:
        after = _read_other_level(text, at, end, entry, is_ask)
    size = entry.price_end - entry.price_at + 1 + entry.amount_end - entry.amount_at
    entry.key = 0
    entry.count = 1
    return after if size <= TEXT_BYTES else -1


@njit(cache=True, nogil=True)
def _read_side(
    text: Any, at: int, end: int, entries: Any, first: int, is_ask: bool
) -> tuple[int, int]:
    """A side's levels at their bracket, best first: (how many, where they end or -1)."""
    if at >= end or text[at] != OPEN:
        return 0, -1
    at += 1
    number = 0
    while True:
        at, done = next_item(text, at, end, number == 0)
        if at < 0 or done:
            return number, at
        if number == DEPTH or first + number == ENTRIES or text[at] != OPEN_OBJECT:
            return 0, -1
        entry = entries[first + number]
        at = _read_level(text, at, end, entry, is_ask)
        if at < 0:
            return 0, -1
        if number > 0:
            step = entry.price - entries[first + number - 1].price
            if not (step > 0.0 if is_ask else step < 0.0):
                return 0, -1
        number += 1


@njit(cache=True, nogil=True)
def parse_frame(text: Any, at: int, end: int, entries: Any, spans: Any) -> int:
    """Find the values of a frame's keys: the set of keys seen, 0 if the frame is irregular.

    `spans` takes two numbers a key: where the inside of its string begins and ends; of asks and
    bids the first entry and how many there are.
    """
    seen = 0
    taken = 0
    at += 1
    first = True
    while True:
        start, stop, at = next_key(text, at, end, first)
        if at < 0:
            return 0
        if start == stop:
            return seen if skip_space(text, at, end) == end else 0
        first = False
        key = _place_of_key(text, start, stop)
        if key >= 0 and (seen >> key) & 1:
            return 0
        if key in (K_ASKS, K_BIDS):
            spans[2 * key] = taken
            spans[2 * key + 1], at = _read_side(text, at, end, entries, taken, key == K_ASKS)
            taken += spans[2 * key + 1]
            seen |= 1 << key
        elif key >= 0:
            spans[2 * key], spans[2 * key + 1], at = read_string(text, at, end)
            seen |= 1 << key
        else:
            at = skip_scalar(text, at, end)
        if at < 0:
            return 0


@njit(cache=True, nogil=True)
def _number_in(text: Any, spans: Any, key: int) -> tuple[float, bool]:
    """The number that is all of a key's string: (value, ok)."""
    end = spans[2 * key + 1]
    value, at, ok = read_number(text, spans[2 * key], end)
    return value, ok and at == end


@njit(cache=True, nogil=True)
def read_trade(text: Any, spans: Any) -> tuple[float, float]:
    """(price, amount) of a trade, amount 0 if it is irregular; negative where the taker sold."""
    price, price_ok = _number_in(text, spans, K_PRICE)
    size, size_ok = _number_in(text, spans, K_SIZE)
    if not (price_ok and size_ok and price > 0.0 and size > 0.0):
        return 0.0, 0.0
    at, length = spans[2 * K_SIDE], spans[2 * K_SIDE + 1] - spans[2 * K_SIDE]
    if length == 3 and text[at] == 66 and text[at + 1] == 85 and text[at + 2] == 89:  # BUY
        return price, size
    if (
        length == 4
        and text[at] == 83
        and text[at + 1] == 69
        and text[at + 2] == 76
        and text[at + 3] == 76
    ):  # SELL
        return price, -size
    return 0.0, 0.0


@njit(cache=True, nogil=True)
def read_ticker(text: Any, spans: Any, row: Any) -> bool:
    """A ticker's numbers into a row; False if one is none."""
    for index in range(len(_TICKER_VALUES)):
        row[index], ok = _number_in(text, spans, _TICKER_VALUES[index])
        if not ok:
            return False
    return True
