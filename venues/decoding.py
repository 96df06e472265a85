"""What every venue's compiled decoder is given and gives back: tables, words, stops, results.

A decoder (`venues/<venue>/kernel.py`) takes the frames of one socket read in one call. It finds
each frame's channel in the connection's `CHANNEL` table, applies the frame whole or not at all, and
returns at the first frame it does not take, saying why (`DONE`, `EVENT`, `SLOW` ...). All arrays
are handed over by address (`A_*`), so that a call costs a handful of integers.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numba import carray, njit, types

from venues.text import memory

# What a channel is.
BOOK, RAW_BOOK, TRADES, TICKER, CANDLES, STATUS, LIQUIDATIONS = 1, 2, 3, 4, 5, 6, 7
FORMS: Final = {
    "books": BOOK,
    "raw_books": RAW_BOOK,
    "trades": TRADES,
    "ticker": TICKER,
    "candles": CANDLES,
    "status": STATUS,
    "liquidations": LIQUIDATIONS,
}
"""By the table of the lake that a stream fills."""

CHANNEL = np.dtype(
    [
        ("id", "i8"),  # the venue's number, or a hash of its name; 0 = this place is free
        ("form", "i8"),
        ("instrument", "i8"),
        ("stream", "i8"),
        ("book", "i8"),  # index of the book that the channel feeds, -1 without one
        ("primary_book", "i8"),  # index of the instrument's primary book, -1 without one
        ("trades", "i8"),  # index of the instrument's trade memory, -1 without one
        ("awaits_snapshot", "i8"),
        ("muted", "i8"),  # frames are counted in the sequence and otherwise dropped
        ("funding", "i8"),
        ("depth", "i8"),  # levels a side that the stream covers and we cut at; 0 = the venue cuts
        ("data_ns", "i8"),  # receive time of the last frame that was no heartbeat
        ("data_frames", "i8"),
        # Where the book was last known to be right: its snapshot, or its last checksum.
        ("good_sequence", "i8"),
        ("good_event_ns", "i8"),
        ("good_ns", "i8"),
    ]
)
CHANNELS: Final = 1024
"""Places of the channel table, at most half of them used: a connection has far fewer channels."""

ENTRIES: Final = 2200
"""Entries a frame may have: 1000 a side at Kraken, with room."""
ROWS: Final = 1024
COLUMNS: Final = 32
"""Rows of plain numbers a frame may have, and numbers a row: a candle snapshot has some 240."""

# Words of the connection's state.
(
    FLAGS, LAST_SEQUENCE, EPOCH, CONNECTION_TIME, FRAME_NS, FRAME_SEQUENCE, FROM_FIRST,
    FIRST_SEQUENCE, NEWEST_EVENT, ROW,
) = range(10)  # fmt: skip
# ROW: so many rows of the frame that a decoder stopped at are applied already, where a venue sends
# several instruments in one frame and one of them stopped it.
STATE_WORDS: Final = 16

# Tallies, added up by the caller.
(
    N_FRAMES, N_HEARTBEATS, N_UNKNOWN, N_TRADES, N_REPEATED, N_BOOK, N_RAW, N_VERIFIED, N_FAILED,
    N_MISSED, N_TAIL_MISMATCH, N_MUTED, N_TICKERS, N_CANDLES, N_STATUS,
) = range(15)  # fmt: skip
TALLIES: Final = 16

# Why a call returned.
DONE, FULL, EVENT, SLOW, GAP, BAD_CHECKSUM = 0, 1, 2, 3, 4, 5

# Results.
R_FRAMES, R_SLOTS, R_STOP, R_CHANNEL, R_EXPECTED, R_FOUND = 0, 1, 2, 3, 4, 5
RESULTS: Final = 8

# Addresses that a call is given.
(
    A_STATE, A_CHANNELS, A_BOOKS, A_TRADES, A_ENTRIES, A_ROWS, A_WIDTHS, A_TALLIES, A_RESULT,
    A_SLOTS, A_SCRATCH,
) = range(11)  # fmt: skip

WORD, WORDS, NUMBER = types.int64, types.int64[::1], types.float64
"""Kinds of an entry point's arguments."""


def compile_kernels(entry_points: Mapping[Any, tuple[Any, ...]]) -> None:
    """Compile all that Python calls of a decoder, so that no frame ever waits for it.

    From nothing that takes some twenty seconds; a collector that did it with the first rare frame
    would be taken for hung.

    Args:
        entry_points: kernels, and the kinds of their arguments.
    """
    for function, arguments in entry_points.items():
        function.compile(arguments)


@njit(cache=True, nogil=True)
def channel_place(channels: Any, number: int) -> int:
    """Place of a channel id in the table, or of the free place where it would stand."""
    place = (number * 0x9E3779B1 >> 8) & (CHANNELS - 1)
    while channels[place].id != 0 and channels[place].id != number:
        place = (place + 1) & (CHANNELS - 1)
    return place


@njit(cache=True, nogil=True)
def channel_place_of(addresses: int, number: int) -> int:
    """`channel_place` for Python callers."""
    context = carray(memory(addresses), (16,), np.int64)
    return channel_place(carray(memory(context[A_CHANNELS]), (CHANNELS,), CHANNEL), number)
