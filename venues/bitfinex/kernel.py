"""The compiled half of the Bitfinex codec: one call takes all frames of a socket read.

For each frame: channel lookup, number parsing, the frame tail (sequence and server time), the
sequence check, the book, its checksum, and normalised slots with the top ten levels. At an event, a
number it cannot round exactly, or anything irregular it stops *before* the frame, nothing applied,
and says why; Python (`codec.py`) parses that frame and hands it to the same `apply` functions. So a
frame is always applied whole or not at all. Reading is in `parsing.py`, applying in `applying.py`.

Frames (docs.bitfinex.com/docs/ws-general and ws-public):
    [CHANNEL, "hb" | "cs", CRC | "te", [TRADE] | [ROW] | [[ROW], ...] TAIL]
    TAIL: nothing, or ,SEQUENCE with flag 65536, or ,TIME with flag 32768, or both in this order
"""

from typing import Any

import numpy as np
from numba import carray, njit

from venues.bitfinex.applying import (
    apply_entries_of,
    apply_parsed,
    apply_rows,
    apply_rows_of,
    book_checksum,
)
from venues.bitfinex.parsing import (
    IS_BOOK,
    IS_HEARTBEAT,
    IS_ROWS,
    IS_SLOW,
    parse_payload,
    read_tail,
)
from venues.decoding import (
    A_BOOKS,
    A_CHANNELS,
    A_RESULT,
    A_SCRATCH,
    A_STATE,
    A_TALLIES,
    BAD_CHECKSUM,
    CHANNEL,
    CHANNELS,
    CONNECTION_TIME,
    DONE,
    EVENT,
    FIRST_SEQUENCE,
    FLAGS,
    FRAME_NS,
    FRAME_SEQUENCE,
    FROM_FIRST,
    FULL,
    GAP,
    LAST_SEQUENCE,
    N_FAILED,
    N_FRAMES,
    N_HEARTBEATS,
    N_TAIL_MISMATCH,
    N_VERIFIED,
    NEWEST_EVENT,
    R_CHANNEL,
    R_EXPECTED,
    R_FOUND,
    R_FRAMES,
    R_SLOTS,
    R_STOP,
    RESULTS,
    SLOW,
    STATE_WORDS,
    TALLIES,
    WORD,
    WORDS,
    channel_place,
    channel_place_of,
)
from venues.slots import note_good
from venues.text import COMMA, OPEN, memory, read_integer


@njit(cache=True, nogil=True)
def _follows(state: Any, result: Any, sequence: int) -> bool:
    """Check a frame's sequence against the last; where it breaks, note what was expected."""
    last = state[LAST_SEQUENCE]
    if sequence == 0 or sequence == last + 1 or (last == 0 and state[FROM_FIRST] == 0):
        return True
    result[R_EXPECTED] = last + 1
    result[R_FOUND] = sequence
    return False


@njit(cache=True, nogil=True)
def take_tail(state: Any, sequence: int, time_ms: int) -> None:
    """Note a frame's sequence and server time; zeros where it has none."""
    if sequence > 0:
        state[LAST_SEQUENCE] = sequence
        if state[FIRST_SEQUENCE] == 0:
            state[FIRST_SEQUENCE] = sequence
    state[FRAME_SEQUENCE] = sequence
    state[FRAME_NS] = time_ms * 1_000_000
    if time_ms > 0:
        state[CONNECTION_TIME] = time_ms * 1_000_000
        state[NEWEST_EVENT] = max(state[NEWEST_EVENT], time_ms * 1_000_000)


@njit(cache=True, nogil=True)
def _checksum_holds(
    context: Any, channel: Any, place: int, crc: int, state: Any, recv_ns: int
) -> bool:
    """Compare a checksum frame with the book; a failure is noted in the results."""
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    result = carray(memory(context[A_RESULT]), (RESULTS,), np.int64)
    ours = book_checksum(context[A_BOOKS], channel.book, context[A_SCRATCH])
    if ours == crc and channel.awaits_snapshot == 0:
        tallies[N_VERIFIED] += 1
        note_good(channel, state, recv_ns)
        return True
    tallies[N_FAILED] += 1
    result[R_CHANNEL] = place
    result[R_EXPECTED] = ours
    result[R_FOUND] = crc
    return False


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

    Results in the R_* words: frames done (also the number of the frame it stopped before), slots
    written, and of a stop the channel's place and the numbers expected and found.
    """
    context = carray(memory(addresses), (16,), np.int64)
    result = carray(memory(context[A_RESULT]), (RESULTS,), np.int64)
    state = carray(memory(context[A_STATE]), (STATE_WORDS,), np.int64)
    channels = carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    bounds = carray(memory(bounds_address), (frames, 2), np.int64)
    text = carray(memory(text_address), (bounds[frames - 1, 1],), np.uint8)
    used = result[R_SLOTS]
    stop = DONE
    frame = first
    while frame < frames:
        at = bounds[frame, 0]
        end = bounds[frame, 1]
        stop = SLOW
        if at >= end or text[at] != OPEN:
            stop = EVENT
            break
        number, at, ok = read_integer(text, at + 1, end)
        if not ok or at + 1 >= end or text[at] != COMMA:
            break
        place = channel_place(channels, number)
        channel = channels[place]
        if channel.id == 0 or channel.muted != 0:
            break
        what, at, count, extra = parse_payload(context, channel, text, at + 1, end)
        if what == IS_SLOW:
            break
        sequence, time_ms, status = read_tail(text, at, end, state[FLAGS])
        if status < 0:
            break
        if what >= IS_ROWS and used + count + 2 > room:
            stop = FULL
            break
        if not _follows(state, result, sequence):
            stop = GAP
            break
        stop = DONE
        take_tail(state, sequence, time_ms)
        tallies[N_TAIL_MISMATCH] += status
        tallies[N_FRAMES] += 1
        frame += 1
        if what == IS_HEARTBEAT:
            tallies[N_HEARTBEATS] += 1
            continue
        channel.data_ns = recv_ns
        if what == IS_BOOK:
            used = apply_entries_of(context, channel, count, text, state, recv_ns, used)
        elif what == IS_ROWS:
            used = apply_rows_of(context, channel, count, state, recv_ns, used, extra)
        elif not _checksum_holds(context, channel, place, count, state, recv_ns):
            stop = BAD_CHECKSUM
            break
        channel.data_frames += 1
    result[R_FRAMES] = frame
    result[R_SLOTS] = used
    result[R_STOP] = stop
    return stop


ENTRY_POINTS: dict[Any, tuple[Any, ...]] = {
    decode_frames: (WORD,) * 7,
    apply_rows: (WORD,) * 6,
    apply_parsed: (WORD,) * 7,
    channel_place_of: (WORD,) * 2,
    take_tail: (WORDS, WORD, WORD),
}
"""What Python calls, and with what."""
