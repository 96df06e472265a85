"""The rolling state of every instrument, moved on event by event; compiled, free of allocation.

Time is receive time in buckets of 100 ms. An event adds to the sums of the running bucket and to
nothing else; four windows (1, 5, 15, 60 s) are kept of the buckets before it, by adding the one
that ends and taking out the one that leaves. The windows are summed anew from their buckets every
64 rotations, so that rounding never builds up. What is remembered is drawn in `state.py`; the
columns are in `cuts.py`.

Only slots that end a frame are looked at (`FRAME_END`): inside a frame a book may be invalid. Order
flow compares levels in whole ticks, because float32 offsets from two references never compare
equal. What cannot be true is counted and left out: a book with a number that is none, a trade
without a price or a size, or far from the book.
"""

import math
from typing import Any, Final

import numpy as np
from numba import carray, njit

from processes.features.bars import add_trade
from processes.features.state import (
    BIPOWER,
    BOOK_EVENTS,
    BOUGHT,
    BUCKET_NS,
    BUCKETS,
    DEPTH_1,
    DEPTH_5,
    DEPTH_10,
    DERIVATIVE_PRICE,
    FAST,
    FUNDING,
    LEVELS,
    LIQUIDATED_LONG,
    LIQUIDATED_SHORT,
    MARK_PRICE,
    NOTIONAL,
    OFI_1,
    OFI_5,
    OFI_10,
    RESUM_EVERY,
    SLOW,
    SOLD,
    SPOT_PRICE,
    SPREAD_BINS,
    SPREADS,
    SQUARES,
    STATE,
    SUMS,
    SYMBOL_WORDS,
    TRADES,
    WINDOW_BUCKETS,
    WINDOWS,
)
from schemas import features, tape
from schemas.settings import FeatureSettings
from schemas.tape import WHOLE_CONNECTION, Flag, Kind, Marker
from shm.atomics import memory

MERGED: Final = -1
"""In place of a tape's number: slots of several tapes."""
FAR_TRADE: Final = 0.1
"""A trade further from mid than this share of it is left out."""
FAR_STEP: Final = 0.2
"""A logarithmic step of mid that is taken for no return."""

_NO_BID, _NO_ASK = -(1 << 60), 1 << 60

_TRADE, _BOOK_LEVEL, _MARKER = int(Kind.TRADE), int(Kind.BOOK_LEVEL), int(Kind.MARKER)
_STATUS = int(Kind.STATUS)
_FRAME_END, _SNAPSHOT, _PRIMARY = int(Flag.FRAME_END), int(Flag.SNAPSHOT), int(Flag.PRIMARY)
_BACKFILLED, _LIQUIDATION = int(Flag.BACKFILLED), int(Flag.LIQUIDATION)
_BREAKS = np.array(
    [
        int(marker)
        for marker in (
            Marker.DISCONNECTED,
            Marker.GAP,
            Marker.RESYNC,
            Marker.STALE,
            Marker.MAINTENANCE_BEGIN,
        )
    ]
)
_END = int(Marker.SNAPSHOT_END)


def _word(form: np.dtype[np.void], name: str, size: int = 8) -> int:
    """Where a column begins, in words of so many bytes."""
    assert form.fields is not None
    return int(form.fields[name][1]) // size


_MARKER_WORD = _word(tape.MARKER, "marker", 4)
_BOOK_WORD = _word(tape.SLOT, "book", 4)
_DERIVATIVE_WORD = _word(tape.STATUS, "derivative_price")
_SPOT_WORD = _word(tape.STATUS, "spot_price")
_FUNDING_WORD = _word(tape.STATUS, "current_funding")
_MARK_WORD = _word(tape.STATUS, "mark_price")
_MATCH_WORD = _word(tape.LIQUIDATION, "is_match")
_SYMBOL_WORD = _word(tape.LIQUIDATION, "symbol")
_EXPONENT = np.uint32(0x7F800000)
"""Bits of a float32 that are all set where it is no number."""

# The cutter's words, which it shares with the kernels: what it holds, what is due, how far it is.
(
    W_STATES,  # address of (W_COUNT) STATE
    W_COUNT,
    W_OUT,  # address of (W_COUNT) rows
    W_BOUNDARY,  # time of the next boundary
    W_GRACE,  # how long after a boundary its events may still be on their way
    W_STALE,  # age from which a book is stale
    W_STUCK_AFTER,  # how long events may come and change nothing
    W_TRIGGER,  # 1 if rows are cut between boundaries too
    W_TRIGGER_INTERVAL,
    W_TRIGGERED,  # time of the last of those
    W_CUT,  # number of the last cut
    W_GENERATION,  # of the settings
    W_NEWEST,  # the newest receive time
    W_EVENTS,  # counted: slots taken, rows cut, and how many of them are not to be trusted
    W_ROWS,
    W_INVALID,
    W_REFUSED,  # counted: events that cannot be true, crossed books, events far from the last
    W_CROSSED,
    W_FAR,
    W_MISSING,  # counted: columns by fault, what became of them, and rows
    W_OUT_OF_RANGE,
    W_STUCK,
    W_OUTLIER,
    W_FILLED,
    W_MASKED,
    W_DROPPED,
    W_STUCK_ROWS,
    W_COLUMNS,  # (WIDTH) faults of each column, those that were missing not counted
) = range(28)
W_POSITIONS: Final = W_COLUMNS + features.WIDTH
"""The last sequence of each tape that rows carry."""
CUTTER_WORDS: Final = W_POSITIONS + features.MAX_TAPES


def obey(words: np.ndarray, settings: FeatureSettings) -> None:
    """Take the settings that rows depend on."""
    words[W_STALE] = int(settings.stale_after_s * 1e9)
    words[W_STUCK_AFTER] = int(settings.stuck_after_s * 1e9)


@njit(cache=True, nogil=True)
def _resum(state: Any) -> None:
    windows, buckets = state.windows, state.buckets
    for window in range(WINDOWS):
        for column in range(SUMS):
            total = 0.0
            for back in range(1, WINDOW_BUCKETS[window]):
                total += buckets[(state.bucket - back) % BUCKETS, column]
            windows[window, column] = total


@njit(cache=True, nogil=True)
def _begin_anew(state: Any, bucket: int) -> None:
    """Nothing has happened within any window."""
    windows, buckets, mids, running = state.windows, state.buckets, state.mids, state.running
    for column in range(SUMS):
        running[column] = 0.0
        for window in range(WINDOWS):
            windows[window, column] = 0.0
    for place in range(BUCKETS):
        mids[place] = state.mid
        for column in range(SUMS):
            buckets[place, column] = 0.0
    state.mean_fast = state.mean_slow = state.mid
    state.bucket = bucket


@njit(cache=True, nogil=True)
def _turn_bucket(state: Any) -> None:
    """The running bucket ends, and the next begins."""
    windows, buckets, mids, running = state.windows, state.buckets, state.mids, state.running
    ended = state.bucket % BUCKETS
    mids[ended] = state.mid
    state.mean_fast += FAST * (state.mid - state.mean_fast)
    state.mean_slow += SLOW * (state.mid - state.mean_slow)
    for column in range(SUMS):
        buckets[ended, column] = running[column]
    state.bucket += 1
    for window in range(WINDOWS):
        leaving = (state.bucket - WINDOW_BUCKETS[window]) % BUCKETS
        for column in range(SUMS):
            windows[window, column] += running[column] - buckets[leaving, column]
    for column in range(SUMS):
        running[column] = 0.0
    state.rotations += 1
    if state.rotations % RESUM_EVERY == 0:
        _resum(state)


@njit(cache=True, nogil=True)
def rotate(state: Any, bucket: int) -> None:
    """Move the running bucket on to `bucket`."""
    if bucket <= state.bucket:
        return
    if bucket - state.bucket >= BUCKETS:
        _begin_anew(state, bucket)
        return
    while state.bucket < bucket:
        _turn_bucket(state)


@njit(cache=True, nogil=True)
def _note_spread(state: Any, ticks: int) -> None:
    spreads, bins = state.spreads, state.spread_bins
    place = state.spread_count & (SPREADS - 1)
    if state.spread_count >= SPREADS:
        bins[spreads[place]] -= 1
    held = min(max(ticks, 0), SPREAD_BINS - 1)
    spreads[place] = held
    bins[held] += 1
    state.spread_count += 1


@njit(cache=True, nogil=True)
def _take_levels(state: Any, slot: Any, flows: bool) -> bool:
    """Take a slot's ten levels a side in place of those before; whether they differ.

    With `flows`, Cont, Kukanov and Stoikov's e_n of each level is summed over 1, 5 and 10 of them.
    Prices are in whole ticks; levels that are not there stand infinitely far.
    """
    book, ticks, sizes, running = slot.book, state.ticks, state.sizes, state.running
    reference, tick_size = slot.reference_price, state.tick_size
    flow = depth = 0.0
    differs = False
    for level in range(LEVELS):
        old_bid, old_ask = ticks[0, level], ticks[1, level]
        old_bought, old_sold = sizes[0, level], sizes[1, level]
        bought = float(book[LEVELS + level])
        sold = float(book[3 * LEVELS + level])
        bid: Any = np.int64(np.rint((reference + book[level]) / tick_size))
        ask: Any = np.int64(np.rint((reference + book[2 * LEVELS + level]) / tick_size))
        bid = bid if bought > 0.0 else _NO_BID
        ask = ask if sold > 0.0 else _NO_ASK
        flow += (bought if bid >= old_bid else 0.0) - (old_bought if bid <= old_bid else 0.0)
        flow += (old_sold if ask >= old_ask else 0.0) - (sold if ask <= old_ask else 0.0)
        depth += bought + sold
        differs |= (bid != old_bid) | (ask != old_ask)
        differs |= (bought != old_bought) | (sold != old_sold)
        ticks[0, level], ticks[1, level] = bid, ask
        sizes[0, level], sizes[1, level] = bought, sold
        if level == 0:
            running[OFI_1] += flow if flows else 0.0
            running[DEPTH_1] += depth / 2.0
        elif level == 4:
            running[OFI_5] += flow if flows else 0.0
            running[DEPTH_5] += depth / 2.0
    running[OFI_10] += flow if flows else 0.0
    running[DEPTH_10] += depth / 2.0
    running[BOOK_EVENTS] += 1.0
    return differs


@njit(cache=True, nogil=True)
def _apply_book(told: Any, state: Any, slot: Any, which: int) -> None:
    mid = slot.reference_price
    if state.tick_size <= 0.0:
        # Five significant digits (the venue's rule where the table knows no tick).
        state.tick_size = 10.0 ** (math.floor(math.log10(mid)) - 4)
    goes_on = slot.flags & _SNAPSHOT == 0 and state.has_book != 0
    if _take_levels(state, slot, goes_on):
        state.changed_ns = slot.recv_ns
    if goes_on:
        if mid != state.mid:
            step = math.log(mid / state.mid)
            if abs(step) > FAR_STEP:
                told[W_FAR] += 1
                step = 0.0
            running = state.running
            running[SQUARES] += step * step
            running[BIPOWER] += abs(step) * abs(state.last_return)
            state.last_return = step
        else:
            state.last_return = 0.0
    elif state.mid == 0.0:
        state.mean_fast = state.mean_slow = mid
        mids = state.mids
        for place in range(BUCKETS):
            mids[place] = mid
    book, seen = state.book, slot.book
    for index in range(4 * LEVELS):
        book[index] = seen[index]
    ticks, sizes = state.ticks, state.sizes
    state.reference = mid
    state.mid = mid
    state.has_book = 0
    if sizes[0, 0] > 0.0 and sizes[1, 0] > 0.0:
        state.has_book = 1
        _note_spread(state, ticks[1, 0] - ticks[0, 0])
        if ticks[0, 0] >= ticks[1, 0]:
            told[W_CROSSED] += 1
    state.book_ns = slot.recv_ns
    state.tape = which
    state.epoch = slot.epoch
    if state.since_ns == 0 and state.has_book != 0:
        # A builder that begins in the middle of a tape may never see a snapshot.
        state.since_ns = slot.recv_ns


@njit(cache=True, nogil=True)
def _is_book(slot: Any, halves: Any, index: int) -> bool:
    """Whether a book's slot holds nothing but numbers."""
    highest = np.uint32(0)
    for word in range(_BOOK_WORD, _BOOK_WORD + 4 * LEVELS):
        highest = max(highest, halves[index, word] & _EXPONENT)
    return bool(highest < _EXPONENT) and 0.0 < slot.reference_price < math.inf


@njit(cache=True, nogil=True)
def _apply_trade(told: Any, state: Any, slot: Any) -> None:
    price, size = slot.price, slot.size
    if not (0.0 < price < math.inf and 0.0 < size < math.inf):
        told[W_REFUSED] += 1
        return
    if state.has_book != 0 and abs(price / state.mid - 1.0) > FAR_TRADE:
        told[W_FAR] += 1
        return
    rotate(state, slot.recv_ns // BUCKET_NS)
    running = state.running
    running[BOUGHT if slot.side == 1 else SOLD] += size
    running[TRADES] += 1.0
    running[NOTIONAL] += size * price
    state.trade_ns = slot.recv_ns
    add_trade(state, price, size, slot.recv_ns)


@njit(cache=True, nogil=True)
def _apply_status(state: Any, told: Any, recv_ns: int) -> None:
    """Keep what a status slot tells; what it leaves out stays as it was.

    Args:
        told: (32) float64, the slot.
    """
    status = state.status
    for word, place in (
        (_DERIVATIVE_WORD, DERIVATIVE_PRICE),
        (_SPOT_WORD, SPOT_PRICE),
        (_FUNDING_WORD, FUNDING),
        (_MARK_WORD, MARK_PRICE),
    ):
        if math.isfinite(told[word]):
            status[place] = told[word]
    state.status_ns = recv_ns


@njit(cache=True, nogil=True)
def _apply_liquidation(states: Any, slot: Any, numbers: Any, words: Any) -> None:
    """Add a position that the venue begins to liquidate to its instrument, if that is listed.

    Its executions come again, one by one, and are not counted twice.
    """
    if numbers[_MATCH_WORD] != 0.0 or not 0.0 < slot.size < math.inf:
        return
    venue = states[slot.instrument].venue
    for index in range(len(states)):
        state = states[index]
        symbol = state.symbol
        same = state.venue == venue
        for word in range(SYMBOL_WORDS):
            same &= symbol[word] == words[_SYMBOL_WORD + word]
        if same:
            rotate(state, slot.recv_ns // BUCKET_NS)
            running = state.running
            running[LIQUIDATED_LONG if slot.side == 1 else LIQUIDATED_SHORT] += slot.size


@njit(cache=True, nogil=True)
def _apply_marker(states: Any, count: int, slot: Any, which: int, marker: int) -> None:
    broken = False
    for index in range(len(_BREAKS)):
        broken |= marker == _BREAKS[index]
    if slot.instrument == WHOLE_CONNECTION:
        for index in range(count):
            state = states[index]
            # Each venue numbers its connections by itself.
            if broken and state.tape == which and state.epoch == slot.epoch:
                state.gapped = 1
                state.touched = 1
        return
    if slot.instrument >= count:
        return
    state = states[slot.instrument]
    if broken and slot.flags & _PRIMARY:
        state.gapped = 1
        state.touched = 1
    elif marker == _END and slot.flags & _PRIMARY:
        if state.gapped != 0 or state.since_ns == 0:
            state.since_ns = slot.recv_ns
        state.gapped = 0


@njit(cache=True, nogil=True)
def lapse(words_address: int, now_ns: int) -> None:
    """Slots of the tape were lost: every history begins anew."""
    told = carray(memory(words_address), (CUTTER_WORDS,), np.int64)
    states = carray(memory(told[W_STATES]), (told[W_COUNT],), STATE)
    for index in range(len(states)):
        states[index].since_ns = now_ns


@njit(cache=True, nogil=True)
def apply_block(
    words_address: int, slots_address: int, first: int, slots_count: int, until_ns: int,
    tape_number: int,
) -> int:  # fmt: skip
    """Take slots `first` to `slots_count` that were received before `until_ns`; the next one.

    They are of the tape of that number; with MERGED each has its tape's number in `spare`.
    """
    told = carray(memory(words_address), (CUTTER_WORDS,), np.int64)
    count = told[W_COUNT]
    states = carray(memory(told[W_STATES]), (count,), STATE)
    slots = carray(memory(slots_address), (slots_count,), tape.SLOT)
    halves = carray(memory(slots_address), (slots_count, tape.SLOT_BYTES // 4), np.uint32)
    words = carray(memory(slots_address), (slots_count, tape.SLOT_BYTES // 8), np.uint64)
    numbers = carray(memory(slots_address), (slots_count, tape.SLOT_BYTES // 8), np.float64)
    for index in range(first, slots_count):
        slot = slots[index]
        if slot.recv_ns >= until_ns:
            return index
        which: Any = np.int64(slot.spare) if tape_number == MERGED else tape_number
        told[W_POSITIONS + which] = slot.sequence
        if slot.kind == _MARKER:
            _apply_marker(states, count, slot, which, halves[index, _MARKER_WORD])
            continue
        if slot.instrument >= count:
            continue
        state = states[slot.instrument]
        told[W_NEWEST] = max(told[W_NEWEST], slot.recv_ns)
        state.newest_ns = slot.recv_ns
        state.touched = 1
        if slot.kind == _BOOK_LEVEL:
            if slot.flags & _FRAME_END and slot.flags & _PRIMARY and slot.reference_price != 0.0:
                if not _is_book(slot, halves, index):
                    told[W_REFUSED] += 1
                    continue
                rotate(state, slot.recv_ns // BUCKET_NS)
                _apply_book(told, state, slot, which)
        elif slot.kind == _TRADE and slot.flags & (_SNAPSHOT | _BACKFILLED) == 0:
            _apply_trade(told, state, slot)
        elif slot.kind == _STATUS:
            if slot.flags & _LIQUIDATION:
                _apply_liquidation(states, slot, numbers[index], words[index])
            else:
                _apply_status(state, numbers[index], slot.recv_ns)
    return slots_count
