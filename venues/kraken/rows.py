"""Rows of Kraken's data frames, parsed inside compiled kernels into the tables of a call.

A row is one symbol's part of a frame's `data`. Nothing is changed here but the tables of rows and
entries; what is not plainly right gives -1, and the frame goes to Python.

Some beginnings are written `np.int64(0)`: numba compiles a function once more for each constant
that it is called with.
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from venues.book import ENTRY
from venues.decoding import (
    A_ENTRIES,
    A_ROWS,
    BOOK,
    COLUMNS,
    ENTRIES,
    ROWS,
    TICKER,
    TRADES,
)
from venues.kraken.envelope import read_plain, read_time_text, read_value
from venues.objects import (
    L_TIMESTAMP,
    OPEN_OBJECT,
    channel_number,
    is_word,
    next_item,
    next_key,
    packed,
    read_string,
    skip_scalar,
    word,
)
from venues.text import OPEN, memory, read_integer

_NAN = float("nan")

# A channel's name as the number of a channel is made of it.
_L_BOOK, _L_TRADE, _L_TICKER, _L_OHLC = (
    np.frombuffer(name, np.uint8) for name in (b"book", b"trade", b"ticker", b"ohlc")
)
_W_SYMBOL, _W_BIDS, _W_ASKS = packed("symbol"), packed("bids"), packed("asks")
_W_CHECKSUM, _W_PRICE, _W_QTY = packed("checksum"), packed("price"), packed("qty")
_W_SIDE, _W_BUY, _W_SELL, _W_TRADE_ID = (packed(w) for w in ("side", "buy", "sell", "trade_id"))
_W_INTERVAL = packed("interval")
_L_BEGIN = np.frombuffer(b"interval_begin", np.uint8)
_L_CHANGE_PCT = np.frombuffer(b"change_pct", np.uint8)

# A row, parsed and not applied: whole numbers, and from ROW_NUMBERS on numbers.
ROW_ID, ROW_TIME = 0, 1
ROW_FIRST, ROW_COUNT, ROW_CHECKSUM, ROW_BIDS = 2, 3, 4, 5
ROW_TRADE, ROW_KNOWN = 2, 3
ROW_START = 2
ROW_NUMBERS: Final = 8
TICKER_FIELDS: Final = (
    "bid", "bid_qty", "ask", "ask_qty", "last", "volume", "high", "low", "change", "change_pct",
    "", "", "", "", "vwap",
)  # fmt: skip
"""The venue's names of the columns of `tape.TICKER`."""
CANDLE_FIELDS: Final = ("open", "close", "high", "low", "volume", "vwap", "trades")
"""The venue's names of the columns of `tape.CANDLE` behind the start."""
_TICKER_NUMBERS, _CANDLE_NUMBERS = len(TICKER_FIELDS), len(CANDLE_FIELDS)
CHANGE_PCT: Final = TICKER_FIELDS.index("change_pct")
_TICKER_WORDS = np.array([packed(name) if len(name) <= 8 else -1 for name in TICKER_FIELDS])
_CANDLE_WORDS = np.array([packed(name) for name in CANDLE_FIELDS])
NEEDED: Final = 5
"""Of a ticker bid, ask and last must stand there, of a candle the first five."""


@njit(cache=True, nogil=True)
def _read_levels(
    text: Any, at: int, end: int, entries: Any, used: int, is_bid: bool
) -> tuple[int, int]:
    """`[{"price":..,"qty":..}, ...]` into entries: (where it ends or -1, next entry)."""
    if at >= end or text[at] != OPEN:
        return -1, used
    at += 1
    first = True
    while True:
        at, done = next_item(text, at, end, first)
        if at < 0 or done:
            return at, used
        if used >= ENTRIES or text[at] != OPEN_OBJECT:
            return -1, used
        entry = entries[used]
        price, quantity = -1.0, -1.0
        at += 1
        first = True
        while True:
            start, stop, at = next_key(text, at, end, first)
            if at < 0:
                return -1, used
            if start == stop:
                break
            first = False
            key = word(text, start, stop)
            if key == _W_PRICE:
                if price >= 0.0:
                    return -1, used
                entry.price_at = at
                price, at = read_plain(text, at, end)
                entry.price_end = at
            elif key == _W_QTY:
                if quantity >= 0.0:
                    return -1, used
                entry.amount_at = at
                quantity, at = read_plain(text, at, end)
                entry.amount_end = at
            else:
                at = skip_scalar(text, at, end)
            if at < 0:
                return -1, used
        first = False
        if not (price > 0.0 and quantity >= 0.0):
            return -1, used
        entry.price = price
        entry.key = 0
        # The sign says which side, also of a level that goes.
        entry.count = 1 if quantity > 0.0 else 0
        entry.amount = quantity if quantity > 0.0 else 1.0
        if not is_bid:
            entry.amount = -entry.amount
        used += 1


@njit(cache=True, nogil=True)
def _read_book_row(
    text: Any, at: int, end: int, whole: Any, entries: Any, used: int
) -> tuple[int, int]:
    """A book's object, behind its brace: (where it ends or -1, next entry)."""
    symbol_at, symbol_end = -1, -1
    bids, asks = -1, -1
    whole[ROW_CHECKSUM] = -1
    whole[ROW_TIME] = 0
    whole[ROW_FIRST] = used
    first = True
    while True:
        start, stop, at = next_key(text, at, end, first)
        if at < 0:
            return -1, used
        if start == stop:
            break
        first = False
        key = word(text, start, stop)
        if key == _W_SYMBOL:
            if symbol_at >= 0:
                return -1, used
            symbol_at, symbol_end, at = read_string(text, at, end)
        elif key == _W_BIDS or key == _W_ASKS:
            is_bid = key == _W_BIDS
            if (bids if is_bid else asks) >= 0:
                return -1, used
            before = used
            at, used = _read_levels(text, at, end, entries, used, is_bid)
            if is_bid:
                bids = used - before
            else:
                asks = used - before
        elif key == _W_CHECKSUM:
            if whole[ROW_CHECKSUM] >= 0:
                return -1, used
            value, at, ok = read_integer(text, at, end)
            if not ok or value < 0 or value >= 1 << 32:
                return -1, used
            whole[ROW_CHECKSUM] = value
        elif is_word(text, start, stop, L_TIMESTAMP):
            if whole[ROW_TIME] != 0:
                return -1, used
            whole[ROW_TIME], at = read_time_text(text, at, end)
        else:
            at = skip_scalar(text, at, end)
        if at < 0:
            return -1, used
    if symbol_at < 0 or bids < 0 or asks < 0:
        return -1, used
    whole[ROW_ID] = channel_number(_L_BOOK, text, symbol_at, symbol_end, 0)
    whole[ROW_COUNT] = bids + asks
    whole[ROW_BIDS] = bids
    return at, used


@njit(cache=True, nogil=True)
def _read_trade_row(text: Any, at: int, end: int, whole: Any, numbers: Any) -> int:
    """A trade's object, behind its brace: where it ends or -1."""
    symbol_at, symbol_end = -1, -1
    price, quantity, sign = -1.0, -1.0, 0.0
    whole[ROW_TIME] = whole[ROW_TRADE] = 0
    first = True
    while True:
        start, stop, at = next_key(text, at, end, first)
        if at < 0:
            return -1
        if start == stop:
            break
        first = False
        key = word(text, start, stop)
        if key == _W_SYMBOL:
            if symbol_at >= 0:
                return -1
            symbol_at, symbol_end, at = read_string(text, at, end)
        elif key == _W_SIDE:
            if sign != 0.0:
                return -1
            start, stop, at = read_string(text, at, end)
            key = word(text, start, stop)
            sign = 1.0 if key == _W_BUY else (-1.0 if key == _W_SELL else 0.0)
        elif key == _W_PRICE:
            if price >= 0.0:
                return -1
            price, at = read_plain(text, at, end)
        elif key == _W_QTY:
            if quantity >= 0.0:
                return -1
            quantity, at = read_plain(text, at, end)
        elif key == _W_TRADE_ID:
            if whole[ROW_TRADE] != 0:
                return -1
            whole[ROW_TRADE], at, ok = read_integer(text, at, end)
            if not ok:
                return -1
        elif is_word(text, start, stop, L_TIMESTAMP):
            if whole[ROW_TIME] != 0:
                return -1
            whole[ROW_TIME], at = read_time_text(text, at, end)
        else:
            at = skip_scalar(text, at, end)
        if at < 0:
            return -1
    if symbol_at < 0 or whole[ROW_TRADE] <= 0 or whole[ROW_TIME] == 0 or sign == 0.0:
        return -1
    if not (price > 0.0 and quantity > 0.0):
        return -1
    whole[ROW_ID] = channel_number(_L_TRADE, text, symbol_at, symbol_end, 0)
    numbers[ROW_NUMBERS] = sign * quantity
    numbers[ROW_NUMBERS + 1] = price
    return at


@njit(cache=True, nogil=True)
def _read_ticker_row(text: Any, at: int, end: int, whole: Any, numbers: Any) -> int:
    """A ticker's object, behind its brace: where it ends or -1."""
    symbol_at, symbol_end = -1, -1
    whole[ROW_TIME] = 0
    for column in range(_TICKER_NUMBERS):
        numbers[ROW_NUMBERS + column] = _NAN
    seen = 0
    first = True
    while True:
        start, stop, at = next_key(text, at, end, first)
        if at < 0:
            return -1
        if start == stop:
            break
        first = False
        key = word(text, start, stop)
        column = -1
        for index in range(_TICKER_NUMBERS):
            if key > 0 and _TICKER_WORDS[index] == key:
                column = index
        if key < 0 and is_word(text, start, stop, _L_CHANGE_PCT):
            column = CHANGE_PCT
        if column >= 0:
            if seen >> column & 1:
                return -1
            seen |= 1 << column
            numbers[ROW_NUMBERS + column], at = read_value(text, at, end)
        elif key == _W_SYMBOL:
            if symbol_at >= 0:
                return -1
            symbol_at, symbol_end, at = read_string(text, at, end)
        elif is_word(text, start, stop, L_TIMESTAMP):
            if whole[ROW_TIME] != 0:
                return -1
            whole[ROW_TIME], at = read_time_text(text, at, end)
        else:
            at = skip_scalar(text, at, end)
        if at < 0:
            return -1
    if symbol_at < 0 or seen & 0b10101 != 0b10101:
        return -1
    whole[ROW_ID] = channel_number(_L_TICKER, text, symbol_at, symbol_end, 0)
    return at


@njit(cache=True, nogil=True)
def _read_candle_row(text: Any, at: int, end: int, whole: Any, numbers: Any, sent_ns: int) -> int:
    """A candle's object, behind its brace: where it ends or -1.

    Its own `timestamp` (deprecated) is when the interval ends, and no time of an event; that is
    the envelope's.
    """
    symbol_at, symbol_end = -1, -1
    whole[ROW_TIME] = sent_ns
    whole[ROW_START] = 0
    interval = 0
    for column in range(_CANDLE_NUMBERS):
        numbers[ROW_NUMBERS + column] = _NAN
    seen = 0
    first = True
    while True:
        start, stop, at = next_key(text, at, end, first)
        if at < 0:
            return -1
        if start == stop:
            break
        first = False
        key = word(text, start, stop)
        column = -1
        for index in range(_CANDLE_NUMBERS):
            if _CANDLE_WORDS[index] == key:
                column = index
        if column >= 0:
            if seen >> column & 1:
                return -1
            seen |= 1 << column
            numbers[ROW_NUMBERS + column], at = read_value(text, at, end)
        elif key == _W_SYMBOL:
            if symbol_at >= 0:
                return -1
            symbol_at, symbol_end, at = read_string(text, at, end)
        elif key == _W_INTERVAL:
            if interval != 0:
                return -1
            interval, at, ok = read_integer(text, at, end)
            if not ok or interval <= 0:
                return -1
        elif is_word(text, start, stop, _L_BEGIN):
            if whole[ROW_START] != 0:
                return -1
            whole[ROW_START], at = read_time_text(text, at, end)
        else:
            at = skip_scalar(text, at, end)
        if at < 0:
            return -1
    if symbol_at < 0 or interval == 0 or whole[ROW_START] == 0:
        return -1
    for column in range(NEEDED):
        # Not written as "< 0": a NaN must fail.
        if not numbers[ROW_NUMBERS + column] >= 0.0:
            return -1
    whole[ROW_ID] = channel_number(_L_OHLC, text, symbol_at, symbol_end, interval)
    return at


@njit(cache=True, nogil=True)
def read_rows(
    context: Any, form: int, text: Any, at: int, end: int, sent_ns: int
) -> tuple[int, int]:
    """A frame's `data` array into the tables: (rows or -1, slots that they may take)."""
    whole = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.int64)
    numbers = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    number, used = 0, int(np.int64(0))
    at += 1
    while True:
        at, done = next_item(text, at, end, number == 0)
        if at < 0:
            return -1, 0
        if done:
            break
        if number == ROWS or text[at] != OPEN_OBJECT:
            return -1, 0
        at += 1
        if form == BOOK:
            at, used = _read_book_row(text, at, end, whole[number], entries, used)
        elif form == TRADES:
            at = _read_trade_row(text, at, end, whole[number], numbers[number])
        elif form == TICKER:
            at = _read_ticker_row(text, at, end, whole[number], numbers[number])
        else:
            at = _read_candle_row(text, at, end, whole[number], numbers[number], sent_ns)
        if at < 0:
            return -1, 0
        number += 1
    if at != end:
        return -1, 0
    # Each level may push another one out, and a snapshot has two markers.
    return number, 2 * used + 2 * number
