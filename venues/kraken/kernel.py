"""The compiled half of the Kraken codec: one call takes all frames of a socket read.

For each frame: the envelope, its rows parsed whole, then row by row the channel, the book, its
checksum, and slots. A row is one symbol's; a frame may have several. At anything that is not
plainly right it stops *before* the row, nothing of it applied, with the rows before it counted in
the state word ROW; Python (`codec.py`) parses the frame and hands the rest of its rows, one by one,
to the same `apply_row`. So there is one place that writes each kind of slot.

Frames (docs.kraken.com/api/docs/websocket-v2), keys in any order:
    {"channel":"book","type":"snapshot"|"update","data":[{"symbol":..,"bids":[{"price":..,
     "qty":..}],"asks":[..],"checksum":..,"timestamp":..}]}
    trade, ticker and ohlc likewise; {"channel":"heartbeat"}
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from schemas.tape import SLOT, Flag, Kind
from venues.book import ASK, BID, DEPTH, ENTRY, SIDE, crc32
from venues.decoding import (
    A_BOOKS,
    A_CHANNELS,
    A_ENTRIES,
    A_RESULT,
    A_ROWS,
    A_SCRATCH,
    A_SLOTS,
    A_STATE,
    A_TALLIES,
    A_TRADES,
    BAD_CHECKSUM,
    BOOK,
    CANDLES,
    CHANNEL,
    CHANNELS,
    COLUMNS,
    CONNECTION_TIME,
    DONE,
    ENTRIES,
    EVENT,
    FRAME_NS,
    FRAME_SEQUENCE,
    FULL,
    N_BOOK,
    N_CANDLES,
    N_FAILED,
    N_FRAMES,
    N_HEARTBEATS,
    N_MISSED,
    N_MUTED,
    N_TICKERS,
    N_VERIFIED,
    NEWEST_EVENT,
    NUMBER,
    R_CHANNEL,
    R_EXPECTED,
    R_FOUND,
    R_FRAMES,
    R_SLOTS,
    R_STOP,
    RESULTS,
    ROW,
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
from venues.kraken.envelope import HEARTBEAT, W_SNAPSHOT, W_UPDATE, read_envelope
from venues.kraken.rows import (
    CANDLE_FIELDS,
    CHANGE_PCT,
    ROW_BIDS,
    ROW_CHECKSUM,
    ROW_COUNT,
    ROW_FIRST,
    ROW_ID,
    ROW_KNOWN,
    ROW_NUMBERS,
    ROW_START,
    ROW_TIME,
    ROW_TRADE,
    TICKER_FIELDS,
    read_rows,
)
from venues.objects import channel_number_at, packed, time_at
from venues.slots import (
    apply_price_level,
    clear_payload,
    close_book_frame,
    note_good,
    open_book_frame,
    start_slot,
)
from venues.text import COLON, POINT, ZERO, memory
from venues.trades import newest_known, write_trade

_L3_ORDER = int(Kind.L3_ORDER)
_BOOK_LEVEL, _TICKER, _CANDLE = int(Kind.BOOK_LEVEL), int(Kind.TICKER), int(Kind.CANDLE)
_FRAME_END, _SNAPSHOT = int(Flag.FRAME_END), int(Flag.SNAPSHOT)

_W_BOOK, _W_TRADE = packed("book"), packed("trade")
_W_TICKER, _W_OHLC = packed("ticker"), packed("ohlc")

CHECKSUM_LEVELS: Final = 10


@njit(cache=True, nogil=True)
def book_checksum(books: int, book: int, scratch: int) -> int:
    """The unsigned CRC-32 of the best ten levels a side, asks first.

    Of prices and quantities as the wire wrote them, without point and leading zeros
    (docs.kraken.com, "Book checksum v2").
    """
    sides = carray(memory(books), (book + 1, 2), SIDE)
    text = carray(memory(scratch), (8192,), np.uint8)
    at = 0
    for which in (ASK, BID):
        side = sides[book, which]
        for rank in range(min(side.count, CHECKSUM_LEVELS)):
            level = side.level[side.place[rank]]
            letters = level.text
            leading = True
            for index in range(level.check_length):
                letter = letters[index]
                if letter == COLON:
                    leading = True
                elif letter != POINT and not (leading and letter == ZERO):
                    leading = False
                    text[at] = letter
                    at += 1
    return crc32(text, at)


@njit(cache=True, nogil=True)
def note_time(state: Any, time_ns: int) -> None:
    """Note a row's time; the venue numbers no frame of the market."""
    state[FRAME_SEQUENCE] = 0
    state[FRAME_NS] = time_ns
    if time_ns > 0:
        state[CONNECTION_TIME] = max(state[CONNECTION_TIME], time_ns)
        state[NEWEST_EVENT] = max(state[NEWEST_EVENT], time_ns)


@njit(cache=True, nogil=True)
def _apply_book(
    context: Any, channel: Any, place: int, row: int, text: Any, state: Any, recv_ns: int, at: int,
    is_snapshot: bool,
) -> tuple[int, int]:  # fmt: skip
    """A book's row into the book and into slots from `at`: (next slot, DONE or why not)."""
    slots = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)
    words = carray(memory(context[A_SLOTS]), (1 << 20, 64), np.uint32)
    whole = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.int64)[row]
    entries = carray(memory(context[A_ENTRIES]), (ENTRIES,), ENTRY)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    result = carray(memory(context[A_RESULT]), (RESULTS,), np.int64)
    books = context[A_BOOKS]
    sides = carray(memory(books), (channel.book + 1, 2), SIDE)
    number, bids = whole[ROW_COUNT], whole[ROW_BIDS]
    held_bids = 0 if is_snapshot else sides[channel.book, BID].count
    held_asks = 0 if is_snapshot else sides[channel.book, ASK].count
    # The book is cut only after the whole message: all of it must have room until then.
    if held_bids + bids > DEPTH or held_asks + number - bids > DEPTH:
        return at, SLOW
    if is_snapshot:
        channel.awaits_snapshot = 1
    elif channel.awaits_snapshot != 0:
        return at, SLOW
    at, flags = open_book_frame(slots, words, books, channel, state, recv_ns, at)
    first = at
    for index in range(whole[ROW_FIRST], whole[ROW_FIRST] + number):
        slot = slots[at]
        start_slot(slot, channel, state, recv_ns, _BOOK_LEVEL)
        slot.flags |= flags
        if apply_price_level(books, channel, entries[index], text, slot) != 0:
            tallies[N_MISSED] += 1
        slot.count = 0  # the venue does not say how many orders there are
        clear_payload(slot)
        at += 1
    tallies[N_BOOK] += number
    at = close_book_frame(slots, words, books, channel, state, recv_ns, first, at, flags)
    if whole[ROW_CHECKSUM] >= 0:
        ours = book_checksum(books, channel.book, context[A_SCRATCH])
        if ours != whole[ROW_CHECKSUM]:
            tallies[N_FAILED] += 1
            result[R_CHANNEL] = place
            result[R_EXPECTED] = ours
            result[R_FOUND] = whole[ROW_CHECKSUM]
            return at, BAD_CHECKSUM
        tallies[N_VERIFIED] += 1
        note_good(channel, state, recv_ns)
    return at, DONE


@njit(cache=True, nogil=True)
def _apply_numbers(
    context: Any, channel: Any, row: int, state: Any, recv_ns: int, at: int, is_snapshot: bool
) -> int:
    """A row of a ticker or a candle into the slot at `at`; the next slot."""
    slots = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)
    columns = carray(memory(context[A_SLOTS]), (1 << 20, 32), np.float64)
    times = carray(memory(context[A_SLOTS]), (1 << 20, 32), np.int64)
    whole = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.int64)[row]
    numbers = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)[row]
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    slot = slots[at]
    if channel.form == TICKER:
        start_slot(slot, channel, state, recv_ns, _TICKER)
        clear_payload(slot)
        for column in range(len(TICKER_FIELDS)):
            columns[at, 12 + column] = numbers[ROW_NUMBERS + column]
        # Percent at the venue, a share on the tape.
        columns[at, 12 + CHANGE_PCT] = numbers[ROW_NUMBERS + CHANGE_PCT] / 100.0
        slot.price = columns[at, 16]
        tallies[N_TICKERS] += 1
    else:
        start_slot(slot, channel, state, recv_ns, _CANDLE)
        clear_payload(slot)
        times[at, 12] = whole[ROW_START]
        for column in range(len(CANDLE_FIELDS)):
            columns[at, 13 + column] = numbers[ROW_NUMBERS + column]
        slot.price = columns[at, 14]
        tallies[N_CANDLES] += 1
    slot.flags |= _FRAME_END
    if is_snapshot:
        slot.flags |= _SNAPSHOT
    return at + 1


@njit(cache=True, nogil=True)
def _apply_row(
    context: Any, form: int, row: int, text: Any, recv_ns: int, at: int, is_snapshot: bool,
    known: int,
) -> tuple[int, int]:  # fmt: skip
    """One row into slots from `at`: (next slot, DONE, BAD_CHECKSUM, or SLOW and nothing done).

    Args:
        known: the newest trade known before the frame, where it is a snapshot of trades.
    """
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channels = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    whole = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.int64)[row]
    numbers = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.float64)[row]
    place = channel_place(channels, whole[ROW_ID])
    channel = channels[place]
    if channel.id == 0 or channel.form != form:
        return at, SLOW
    if channel.muted != 0:
        tallies[N_MUTED] += 1
        return at, DONE
    status = DONE
    if form == BOOK:
        note_time(state, whole[ROW_TIME])
        at, status = _apply_book(
            context, channel, place, row, text, state, recv_ns, at, is_snapshot
        )
        if status == SLOW:
            return at, SLOW
    elif form == TRADES:
        note_time(state, whole[ROW_TIME])
        at = write_trade(
            context, channel, state, recv_ns, at, whole[ROW_TRADE], whole[ROW_TIME],
            numbers[ROW_NUMBERS], numbers[ROW_NUMBERS + 1], _SNAPSHOT if is_snapshot else 0, known,
        )  # fmt: skip
    else:
        note_time(state, whole[ROW_TIME])
        at = _apply_numbers(context, channel, row, state, recv_ns, at, is_snapshot)
    channel.data_ns = recv_ns
    channel.data_frames += 1
    return at, status


@njit(cache=True, nogil=True)
def _known_trades(context: Any, row: int) -> int:
    """The newest trade known of a row's channel, 0 where there is none."""
    channels = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)
    whole = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.int64)[row]
    channel = channels[channel_place(channels, whole[ROW_ID])]
    return newest_known(context[A_TRADES], channel.trades) if channel.trades >= 0 else 0


@njit(cache=True, nogil=True)
def _apply_rows(
    context: Any, form: int, rows: int, text: Any, recv_ns: int, at: int, is_snapshot: bool
) -> tuple[int, int]:
    """A frame's rows from the state word ROW on: (next slot, DONE, BAD_CHECKSUM or SLOW).

    ROW is left at the row to go on with, at 0 behind the last.
    """
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    whole = carray(memory(context[A_ROWS]), (ROWS, COLUMNS), np.int64)
    if form == TRADES and is_snapshot:
        # Before the first is remembered: what is newer than all we knew was missed.
        for row in range(state[ROW], rows):
            whole[row, ROW_KNOWN] = _known_trades(context, row)
    status = DONE
    while state[ROW] < rows and status == DONE:
        row = state[ROW]
        known = whole[row, ROW_KNOWN] if form == TRADES and is_snapshot else 0
        at, status = _apply_row(context, form, row, text, recv_ns, at, is_snapshot, known)
        if status != SLOW:
            state[ROW] += 1
    if status != SLOW and state[ROW] >= rows:
        state[ROW] = 0
    return at, status


@njit(cache=True, nogil=True)
def apply_row(
    addresses: int, form: int, text_address: int, size: int, recv_ns: int, is_snapshot: int,
    known: int,
) -> int:  # fmt: skip
    """Apply the row that Python has parsed into the first place of the tables: `_apply_row`."""
    context = carray(memory(addresses), (16,), np.int64)
    result = carray(memory(context[A_RESULT]), (RESULTS,), np.int64)
    text = carray(memory(text_address), (size,), np.uint8)
    used, status = _apply_row(
        context, form, int(np.int64(0)), text, recv_ns, result[R_SLOTS], is_snapshot != 0, known
    )
    result[R_SLOTS] = used
    return status


@njit(cache=True, nogil=True)
def _form_of(channel: int) -> int:
    if channel == _W_BOOK:
        return BOOK
    if channel == _W_TRADE:
        return TRADES
    if channel == _W_TICKER:
        return TICKER
    return CANDLES if channel == _W_OHLC else 0


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
        recv_ns: receive time of the batch. room: slots there are.

    Results in the R_* words: frames done (also the number of the frame it stopped at, of which
    ROW rows are done), slots written, and of a bad checksum the channel's place and both numbers.
    """
    context = carray(memory(addresses), (16,), np.int64)
    result = carray(memory(context[A_RESULT]), (RESULTS,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    bounds = carray(memory(bounds_address), (frames, 2), np.int64)
    text = carray(memory(text_address), (bounds[frames - 1, 1],), np.uint8)
    used = result[R_SLOTS]
    stop = DONE
    frame = first
    while frame < frames:
        channel, kind, at, end, sent_ns = read_envelope(text, bounds[frame, 0], bounds[frame, 1])
        stop = EVENT
        if channel == HEARTBEAT and at < 0 and kind == 0:
            tallies[N_HEARTBEATS] += 1
            tallies[N_FRAMES] += 1
            stop = DONE
            frame += 1
            continue
        form = _form_of(channel)
        if form == 0:
            break
        stop = SLOW
        if at < 0 or (kind != W_SNAPSHOT and kind != W_UPDATE):
            break
        rows, wanted = read_rows(context, form, text, at, end, sent_ns)
        if rows < 0:
            break
        if used + wanted > room:
            stop = FULL
            break
        used, stop = _apply_rows(context, form, rows, text, recv_ns, used, kind == W_SNAPSHOT)
        if stop == SLOW:
            break
        if state[ROW] == 0:
            tallies[N_FRAMES] += 1
            frame += 1
        if stop != DONE:
            break
    result[R_FRAMES] = frame
    result[R_SLOTS] = used
    result[R_STOP] = stop
    return stop


@njit(cache=True, nogil=True)
def write_order(
    addresses: int, place: int, recv_ns: int, event_ns: int, price: float, size: float,
    id_low: int, id_high: int, side: int, flags: int,
) -> None:  # fmt: skip
    """One order of level3 into the next slot; there must be room for it."""
    context = carray(memory(addresses), (16,), np.int64)
    result = carray(memory(context[A_RESULT]), (RESULTS,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channel = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)[place]
    slot = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)[result[R_SLOTS]]
    result[R_SLOTS] += 1
    start_slot(slot, channel, state, recv_ns, _L3_ORDER)
    clear_payload(slot)
    slot.event_ns = event_ns
    slot.price = price
    slot.size = size
    slot.count = 1
    slot.id_low = id_low
    slot.id_high = id_high
    slot.side = side
    slot.flags |= flags


ENTRY_POINTS: dict[Any, tuple[Any, ...]] = {
    decode_frames: (WORD,) * 7,
    apply_row: (WORD,) * 7,
    write_order: (WORD, WORD, WORD, WORD, NUMBER, NUMBER, WORD, WORD, WORD, WORD),
    channel_place_of: (WORD,) * 2,
    channel_number_at: (WORD,) * 4,
    time_at: (WORD,) * 2,
    note_time: (WORDS, WORD),
}
"""What Python calls, and with what."""
