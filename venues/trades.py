"""Trades: their slots, and the memory of ids that keeps one from standing on the tape twice."""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from schemas.tape import SLOT, Flag, Kind, Side
from venues.book import write_top
from venues.decoding import (
    A_BOOKS,
    A_SLOTS,
    A_TALLIES,
    A_TRADES,
    N_REPEATED,
    N_TRADES,
    NEWEST_EVENT,
    TALLIES,
)
from venues.slots import clear_payload, start_slot
from venues.text import memory

_TRADE = int(Kind.TRADE)
_BID, _ASK = int(Side.BID), int(Side.ASK)
_FRAME_END, _BACKFILLED = int(Flag.FRAME_END), int(Flag.BACKFILLED)

MEMORY: Final = 256
TRADE_MEMORY = np.dtype(
    [
        ("newest", "i8"),
        ("newest_ns", "i8"),  # when the trade of the highest id was made
        ("oldest_told", "i8"),  # lowest id told since it was last set to 0, known ones too
        ("count", "i8"),
        ("ids", "i8", (MEMORY,)),
    ]
)
"""The last trade ids of an instrument, newest overwriting oldest; outlives connections."""


@njit(cache=True, nogil=True)
def remember_trade(memories: int, which: int, number: int, event_ns: int) -> bool:
    """Note a trade id; False if it was known: one of the last 256, or older than all of them."""
    known = carray(memory(memories), (which + 1,), TRADE_MEMORY)[which]
    if known.oldest_told == 0 or number < known.oldest_told:
        known.oldest_told = number
    ids = known.ids
    held = min(known.count, MEMORY)
    if number <= known.newest:
        oldest = number
        for index in range(held):
            if ids[index] == number:
                return False
            oldest = min(oldest, ids[index])
        if held == MEMORY and number <= oldest:
            return False
    ids[known.count % MEMORY] = number
    known.count += 1
    if number > known.newest:
        known.newest = number
        known.newest_ns = event_ns
    return True


@njit(cache=True, nogil=True)
def newest_known(memories: int, which: int) -> int:
    """The highest trade id known of an instrument, 0 if none is."""
    return carray(memory(memories), (which + 1,), TRADE_MEMORY)[which].newest  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def write_trade(
    context: Any,
    channel: Any,
    state: Any,
    recv_ns: int,
    at: int,
    trade: int,
    event_ns: int,
    amount: float,
    price: float,
    extra: int,
    known_before: int,
) -> int:
    """One trade into the slot at `at` unless its id is known; the next slot.

    Args:
        trade: the venue's id; 0 where it gives none, and nothing is remembered. amount: negative
            where the taker sold. extra: flags. known_before: the newest id before a snapshot, 0
            outside of one; what it brings that is not known was missed, and is marked so.
    """
    slots = carray(memory(context[A_SLOTS]), (1 << 20,), SLOT)
    tallies = carray(memory(context[A_TALLIES]), (TALLIES,), np.int64)
    if trade != 0 and not remember_trade(context[A_TRADES], channel.trades, trade, event_ns):
        tallies[N_REPEATED] += 1
        return at
    tallies[N_TRADES] += 1
    slot = slots[at]
    start_slot(slot, channel, state, recv_ns, _TRADE)
    slot.id_low = trade
    slot.event_ns = event_ns
    state[NEWEST_EVENT] = max(state[NEWEST_EVENT], event_ns)
    slot.size = abs(amount)
    slot.side = _BID if amount > 0.0 else _ASK
    slot.price = price
    slot.count = 1
    slot.flags |= extra | _FRAME_END
    if known_before > 0:
        slot.flags |= _BACKFILLED
    if channel.primary_book >= 0:
        write_top(context[A_BOOKS], channel.primary_book, slot)
    else:
        clear_payload(slot)
    return at + 1
