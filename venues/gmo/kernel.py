"""The compiled half of the GMO Coin codec: one call takes all frames of a socket read.

A frame is a JSON object with its keys in any order and its prices and sizes in strings; `channel`
and `symbol` say whose it is, since the venue has no channel numbers. Every orderbooks frame is the
whole book; it is written as the difference to the last one. At an error, a number it cannot round
exactly, or anything irregular the kernel stops *before* the frame, nothing applied; Python
(`codec.py`) parses that frame and hands it to the same `apply` functions.

Frames (api.coin.z.com/docs, public WebSocket API; unknown keys are skipped):
    {"channel":"orderbooks","symbol":S,"timestamp":T,"asks":[{"price":P,"size":Q},...],"bids":[...]}
    {"channel":"trades","symbol":S,"timestamp":T,"price":P,"size":Q,"side":"BUY"|"SELL"}
    {"channel":"ticker","symbol":S,"timestamp":T,"ask","bid","high","last","low","volume": P}
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from schemas.tape import SLOT, Flag, Kind, Side
from venues.book import ASK, BID, ENTRY, SIDE, remove, set_level
from venues.decoding import (
    A_BOOKS,
    A_CHANNELS,
    A_ENTRIES,
    A_RESULT,
    A_ROWS,
    A_SLOTS,
    A_STATE,
    A_TALLIES,
    A_WIDTHS,
    BOOK,
    CHANNEL,
    CHANNELS,
    COLUMNS,
    CONNECTION_TIME,
    DONE,
    ENTRIES,
    EVENT,
    FRAME_NS,
    FULL,
    N_BOOK,
    N_FRAMES,
    N_TICKERS,
    NEWEST_EVENT,
    NUMBER,
    R_FRAMES,
    R_SLOTS,
    R_STOP,
    RESULTS,
    ROWS,
    SLOW,
    STATE_WORDS,
    TALLIES,
    TICKER,
    TRADES,
    WORD,
    WORDS,
    channel_place,
    channel_place_of,
)
from venues.gmo.parser import (
    BOOK_KEYS,
    K_ASKS,
    K_BIDS,
    K_CHANNEL,
    K_SYMBOL,
    K_TIMESTAMP,
    TICKER_NEEDS,
    TRADE_KEYS,
    WHOSE,
    parse_frame,
    read_ticker,
    read_trade,
)
from venues.objects import OPEN_OBJECT, channel_number, channel_number_at, read_time, time_at
from venues.slots import (
    apply_price_level,
    clear_payload,
    close_book_frame,
    note_good,
    open_book_frame,
    start_slot,
)
from venues.text import memory
from venues.trades import write_trade

_BOOK_LEVEL, _TICKER = int(Kind.BOOK_LEVEL), int(Kind.TICKER)
_BID, _ASK = int(Side.BID), int(Side.ASK)
_FRAME_END, _DELETE, _DERIVED = int(Flag.FRAME_END), int(Flag.DELETE), int(Flag.DERIVED)
_NAN = float("nan")

UNSURE: Final = 2
"""`awaits_snapshot` of a book that missed a frame: the next one is for Python, which ends the gap
and then lets it be written as a snapshot."""

# Where the values of `parser.TICKER_KEYS` stand among the columns of `tape.TICKER`.
_TICKER_COLUMNS = np.array([0, 2, 4, 5, 6, 7])
_TICKER_WIDTH: Final = 15


@njit(cache=True, nogil=True)
def take_time(state: Any, event_ns: int) -> None:
    """Note a frame's time; frames of different symbols overtake each other."""
    state[FRAME_NS] = event_ns
    state[CONNECTION_TIME] = max(state[CONNECTION_TIME], event_ns)
    state[NEWEST_EVENT] = max(state[NEWEST_EVENT], event_ns)


@njit(cache=True, nogil=True)
def _drop_missing(
    slots: Any, side: Any, entries: Any, first: int, number: int, channel: Any, state: Any,
    recv_ns: int, at: int, flags: int, is_ask: bool,
) -> int:  # fmt: skip
    """Take out the levels that a full book lists no longer, a slot each; the next slot."""
    ranks = side.rank
    index = 0
    held = 0
    while held < side.count:
        rank = ranks[held]
        while index < number and (
            entries[first + index].price if is_ask else -entries[first + index].price
        ) < rank:  # fmt: skip
            index += 1
        if index < number and abs(entries[first + index].price) == abs(rank):
            held += 1
            continue
        slot = slots[at]
        start_slot(slot, channel, state, recv_ns, _BOOK_LEVEL)
        clear_payload(slot)
        slot.flags |= flags | _DELETE | _DERIVED
        slot.price = abs(rank)
        slot.side = _ASK if is_ask else _BID
        remove(side, held)
        at += 1
    return at


@njit(cache=True, nogil=True)
def _set_changed(
    context: Any, slots: Any, side: Any, first: int, number: int, text: Any, channel: Any,
    state: Any, recv_ns: int, at: int, flags: int,
) -> int:  # fmt: skip
    """Put in the levels that are new or have another size, a slot each; the next slot.

    All levels of the side are among the `number` entries, so the two are walked side by side.
    """
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    for index in range(number):
        entry = entries[first + index]
        rank = entry.price if entry.amount < 0.0 else -entry.price
        if index < side.count and side.rank[index] == rank:
            level = side.level[side.place[index]]
            if level.size == abs(entry.amount):
                size = entry.price_end - entry.price_at + 1 + entry.amount_end - entry.amount_at
                if level.check_length != size:  # the same number, written otherwise
                    set_level(side, rank, entry, text, False)
                continue
        slot = slots[at]
        start_slot(slot, channel, state, recv_ns, _BOOK_LEVEL)
        clear_payload(slot)
        slot.flags |= flags
        apply_price_level(context[A_BOOKS], channel, entry, text, slot)
        at += 1
    return at


@njit(cache=True, nogil=True)
def _apply_book(
    context: Any, channel: Any, asks_at: int, asks: int, bids_at: int, bids: int, text: Any,
    state: Any, recv_ns: int, at: int,
) -> int:  # fmt: skip
    """A whole book as entries, best first, into the book and into slots from `at`; the next."""
    slots = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)
    words = carray(memory(context[A_SLOTS]), (1 << 20, 64), np.uint32)
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    books = context[A_BOOKS]
    at, flags = open_book_frame(slots, words, books, channel, state, recv_ns, at)
    sides = carray(memory(books), (channel.book + 1, 2), SIDE)
    bid_side, ask_side = sides[channel.book, BID], sides[channel.book, ASK]
    first = at
    # Deletions first, so that no side ever holds more than the larger of both books.
    at = _drop_missing(
        slots, bid_side, entries, bids_at, bids, channel, state, recv_ns, at, flags, False
    )
    at = _drop_missing(
        slots, ask_side, entries, asks_at, asks, channel, state, recv_ns, at, flags, True
    )
    dropped = at
    at = _set_changed(
        context, slots, bid_side, bids_at, bids, text, channel, state, recv_ns, at, flags
    )
    at = _set_changed(
        context, slots, ask_side, asks_at, asks, text, channel, state, recv_ns, at, flags
    )
    tallies[N_BOOK] += at - dropped
    at = close_book_frame(slots, words, books, channel, state, recv_ns, first, at, flags)
    note_good(channel, state, recv_ns)
    return at


@njit(cache=True, nogil=True)
def apply_book(
    addresses: int, place: int, asks: int, bids: int, text_address: int, size: int, recv_ns: int,
    at: int,
) -> int:  # fmt: skip
    """Apply a book that Python has parsed: entries of the asks, then of the bids; the next slot."""
    context = carray(memory(addresses), (16,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channel = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)[place]
    text = carray(memory(text_address), (size,), np.uint8)
    return _apply_book(context, channel, 0, asks, asks, bids, text, state, recv_ns, at)


@njit(cache=True, nogil=True)
def _apply_trade(
    context: Any, channel: Any, price: float, amount: float, state: Any, recv_ns: int, at: int
) -> int:
    """One trade, negative where the taker sold; the next slot. The venue gives no id."""
    note_good(channel, state, recv_ns)
    return write_trade(
        context, channel, state, recv_ns, at, 0, state[FRAME_NS], amount, price, 0, 0
    )


@njit(cache=True, nogil=True)
def apply_trade(
    addresses: int, place: int, price: float, amount: float, recv_ns: int, at: int
) -> int:
    """`_apply_trade` for Python."""
    context = carray(memory(addresses), (16,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channel = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)[place]
    return _apply_trade(context, channel, price, amount, state, recv_ns, at)


@njit(cache=True, nogil=True)
def _apply_ticker(context: Any, channel: Any, state: Any, recv_ns: int, at: int) -> int:
    """The ticker whose values stand in row 0, ordered as `parser.TICKER_KEYS`; the next slot."""
    row = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)[0]
    slots = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)
    words = carray(memory(context[A_SLOTS]), (1 << 20, 32), np.float64)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    slot = slots[at]
    start_slot(slot, channel, state, recv_ns, _TICKER)
    clear_payload(slot)
    for column in range(_TICKER_WIDTH):
        words[at, 12 + column] = _NAN
    for index in range(len(_TICKER_COLUMNS)):
        words[at, 12 + _TICKER_COLUMNS[index]] = row[index]
    slot.price = words[at, 16]
    slot.flags |= _FRAME_END
    tallies[N_TICKERS] += 1
    note_good(channel, state, recv_ns)
    return at + 1


@njit(cache=True, nogil=True)
def apply_ticker(addresses: int, place: int, recv_ns: int, at: int) -> int:
    """`_apply_ticker` for Python."""
    context = carray(memory(addresses), (16,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channel = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)[place]
    return _apply_ticker(context, channel, state, recv_ns, at)


@njit(cache=True, nogil=True)
def _slots_needed(context: Any, channel: Any, spans: Any) -> int:
    """The most slots that a frame can come to."""
    if channel.form != BOOK:
        return 1
    sides = carray(memory(context[A_BOOKS]), (channel.book + 1, 2), SIDE)
    held = sides[channel.book, BID].count + sides[channel.book, ASK].count
    return held + spans[2 * K_ASKS + 1] + spans[2 * K_BIDS + 1] + 2  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def decode_frames(
    addresses: int, text_address: int, bounds_address: int, first: int, frames: int, recv_ns: int,
    room: int,
) -> int:  # fmt: skip
    """Take frames `first` to `frames` of a batch; why it stopped.

    Args:
        addresses: of an int64 array of the A_* addresses.
        text_address: the frames' bytes. bounds_address: (frames, 2) int64, where each begins and
            ends.
        recv_ns: receive time of the batch; 0 where a recording has none, and the newest time that
            the venue gave stands for it. room: slots there are.

    Results in the R_* words: frames done (also the number of the frame it stopped before), and
    slots written.
    """
    context = carray(memory(addresses), (16,), np.int64)
    result = carray(memory(context[A_RESULT]), (RESULTS,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channels = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    spans = carray(memory(context[A_WIDTHS]), (ROWS,), np.int64)
    row = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)[0]
    bounds = carray(memory(bounds_address), (frames, 2), np.int64)
    text = carray(memory(text_address), (bounds[frames - 1, 1],), np.uint8)
    used = result[R_SLOTS]
    stop = DONE
    frame = first
    while frame < frames:
        at = bounds[frame, 0]
        end = bounds[frame, 1]
        if at >= end or text[at] != OPEN_OBJECT:
            stop = EVENT
            break
        stop = SLOW
        seen = parse_frame(text, at, end, entries, spans)
        if seen & WHOSE != WHOSE:
            break
        name = text[spans[2 * K_CHANNEL] : spans[2 * K_CHANNEL + 1]]
        number = channel_number(name, text, spans[2 * K_SYMBOL], spans[2 * K_SYMBOL + 1], 0)
        channel = channels[channel_place(channels, number)]
        event_ns = read_time(text, spans[2 * K_TIMESTAMP], spans[2 * K_TIMESTAMP + 1])
        if channel.id == 0 or channel.muted != 0 or event_ns < 0:
            break
        price = amount = 0.0
        if channel.form == BOOK:
            if seen & BOOK_KEYS != BOOK_KEYS or channel.awaits_snapshot == UNSURE:
                break
        elif channel.form == TRADES:
            if seen & TRADE_KEYS != TRADE_KEYS:
                break
            price, amount = read_trade(text, spans)
            if amount == 0.0:
                break
        elif (
            channel.form != TICKER
            or seen & TICKER_NEEDS != TICKER_NEEDS
            or not read_ticker(text, spans, row)
        ):
            break
        if used + _slots_needed(context, channel, spans) > room:
            stop = FULL
            break
        stop = DONE
        take_time(state, event_ns)
        when = recv_ns if recv_ns > 0 else state[NEWEST_EVENT]
        if channel.form == BOOK:
            used = _apply_book(
                context, channel, spans[2 * K_ASKS], spans[2 * K_ASKS + 1], spans[2 * K_BIDS],
                spans[2 * K_BIDS + 1], text, state, when, used,
            )  # fmt: skip
        elif channel.form == TRADES:
            used = _apply_trade(context, channel, price, amount, state, when, used)
        else:
            used = _apply_ticker(context, channel, state, when, used)
        channel.data_ns = when
        channel.data_frames += 1
        tallies[N_FRAMES] += 1
        frame += 1
    result[R_FRAMES] = frame
    result[R_SLOTS] = used
    result[R_STOP] = stop
    return stop


ENTRY_POINTS: dict[Any, tuple[Any, ...]] = {
    decode_frames: (WORD,) * 7,
    apply_book: (WORD,) * 8,
    apply_trade: (WORD, WORD, NUMBER, NUMBER, WORD, WORD),
    apply_ticker: (WORD,) * 4,
    channel_number_at: (WORD,) * 4,
    time_at: (WORD,) * 2,
    take_time: (WORDS, WORD),
    channel_place_of: (WORD,) * 2,
}
"""What Python calls, and with what."""
