"""Rolling state of every instrument, compiled and free of allocation; columns are in `cuts.py`.

One record an instrument holds everything. Time is receive time in buckets of 100 ms; each bucket
keeps the sums of what happened in it, and four running windows (1, 5, 15, 60 s) are kept by adding
to the running bucket and taking out the one that leaves. The windows are summed anew from their
buckets every 64 rotations, so that rounding never builds up: what a window says depends on its
buckets alone.

Only slots that end a frame are looked at (`FRAME_END`): inside a frame a book may be invalid. Order
flow compares levels in whole ticks, because float32 offsets from two references never compare
equal.
"""

import math
from typing import Any, Final

import numpy as np
from numba import carray, njit

from schemas import features, tape
from schemas.tape import WHOLE_CONNECTION, Flag, Kind, Marker
from shm.atomics import memory

BUCKET_NS: Final = 100_000_000
BUCKETS: Final = 608
WINDOWS: Final = 4
WINDOW_BUCKETS = np.array([10, 50, 150, 600])
RESUM_EVERY: Final = 64
SPREADS: Final = 1024
SPREAD_BINS: Final = 2048
LEVELS: Final = tape.LEVELS
MERGED: Final = -1
"""In place of a tape's number: slots of several tapes."""

# Sums of a bucket.
(
    OFI_1, OFI_5, OFI_10, DEPTH_1, DEPTH_5, DEPTH_10, BOOK_EVENTS, BOUGHT, SOLD, TRADES, NOTIONAL,
    SQUARES, BIPOWER,
) = range(13)  # fmt: skip
SUMS: Final = 13

STATE = np.dtype(
    [
        ("tick_size", "f8"),
        ("has_book", "i8"),
        ("gapped", "i8"),
        ("touched", "i8"),
        ("tape", "i8"),  # which brought the book, and the connection there
        ("epoch", "i8"),
        ("since_ns", "i8"),  # unbroken history begins here
        ("book_ns", "i8"),
        ("trade_ns", "i8"),
        ("newest_ns", "i8"),
        ("reference", "f8"),
        ("book", "f4", (4 * LEVELS,)),
        ("ticks", "i8", (2, LEVELS)),
        ("sizes", "f8", (2, LEVELS)),
        ("mid", "f8"),
        ("last_return", "f8"),
        ("mean_fast", "f8"),
        ("mean_slow", "f8"),
        ("bucket", "i8"),
        ("rotations", "i8"),
        ("spreads", "i4", (SPREADS,)),
        ("spread_count", "i8"),
        ("spread_bins", "i4", (SPREAD_BINS,)),
        ("windows", "f8", (WINDOWS, SUMS)),
        ("mids", "f8", (BUCKETS,)),
        ("buckets", "f8", (BUCKETS, SUMS)),
    ]
)

_FAST = 1.0 - math.exp(-BUCKET_NS / 5e9)
_SLOW = 1.0 - math.exp(-BUCKET_NS / 30e9)
_NO_BID, _NO_ASK = -(1 << 60), 1 << 60

_TRADE, _BOOK_LEVEL, _MARKER = int(Kind.TRADE), int(Kind.BOOK_LEVEL), int(Kind.MARKER)
_FRAME_END, _SNAPSHOT, _PRIMARY = int(Flag.FRAME_END), int(Flag.SNAPSHOT), int(Flag.PRIMARY)
_BACKFILLED = int(Flag.BACKFILLED)
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
_MARKER_WORD = tape.MARKER.fields["marker"][1] // 4  # type: ignore[index]


def make_states(tick_sizes: list[float]) -> np.ndarray:
    """Fresh state for instruments in the order of the table."""
    states = np.zeros(max(len(tick_sizes), 1), STATE)
    states["tick_size"][: len(tick_sizes)] = tick_sizes
    return states


@njit(cache=True, nogil=True)
def _resum(state: Any) -> None:
    windows, buckets = state.windows, state.buckets
    for window in range(WINDOWS):
        for column in range(SUMS):
            total = 0.0
            for back in range(WINDOW_BUCKETS[window]):
                total += buckets[(state.bucket - back) % BUCKETS, column]
            windows[window, column] = total


@njit(cache=True, nogil=True)
def rotate(state: Any, bucket: int) -> None:
    """Move the running bucket on to `bucket`."""
    if bucket <= state.bucket:
        return
    windows, buckets, mids = state.windows, state.buckets, state.mids
    if bucket - state.bucket >= BUCKETS:
        for window in range(WINDOWS):
            for column in range(SUMS):
                windows[window, column] = 0.0
        for place in range(BUCKETS):
            mids[place] = state.mid
            for column in range(SUMS):
                buckets[place, column] = 0.0
        state.mean_fast = state.mean_slow = state.mid
        state.bucket = bucket
        return
    while state.bucket < bucket:
        mids[state.bucket % BUCKETS] = state.mid
        state.mean_fast += _FAST * (state.mid - state.mean_fast)
        state.mean_slow += _SLOW * (state.mid - state.mean_slow)
        state.bucket += 1
        place = state.bucket % BUCKETS
        for window in range(WINDOWS):
            leaving = (state.bucket - WINDOW_BUCKETS[window]) % BUCKETS
            for column in range(SUMS):
                windows[window, column] -= buckets[leaving, column]
        for column in range(SUMS):
            buckets[place, column] = 0.0
        state.rotations += 1
        if state.rotations % RESUM_EVERY == 0:
            _resum(state)


@njit(cache=True, nogil=True)
def _add(state: Any, column: int, value: float) -> None:
    windows = state.windows
    state.buckets[state.bucket % BUCKETS, column] += value
    for window in range(WINDOWS):
        windows[window, column] += value


@njit(cache=True, nogil=True)
def _note_spread(state: Any, ticks: int) -> None:
    spreads, bins = state.spreads, state.spread_bins
    place = state.spread_count % SPREADS
    if state.spread_count >= SPREADS:
        bins[spreads[place]] -= 1
    held = min(max(ticks, 0), SPREAD_BINS - 1)
    spreads[place] = held
    bins[held] += 1
    state.spread_count += 1


@njit(cache=True, nogil=True)
def _order_flow(state: Any, ticks: Any, sizes: Any) -> None:
    """Cont, Kukanov and Stoikov's e_n at each level, summed over 1, 5 and 10 of them."""
    old_ticks, old_sizes = state.ticks, state.sizes
    total = 0.0
    for level in range(LEVELS):
        bid, old_bid = ticks[0, level], old_ticks[0, level]
        ask, old_ask = ticks[1, level], old_ticks[1, level]
        if bid >= old_bid:
            total += sizes[0, level]
        if bid <= old_bid:
            total -= old_sizes[0, level]
        if ask <= old_ask:
            total -= sizes[1, level]
        if ask >= old_ask:
            total += old_sizes[1, level]
        if level == 0:
            _add(state, OFI_1, total)
        elif level == 4:
            _add(state, OFI_5, total)
    _add(state, OFI_10, total)


@njit(cache=True, nogil=True)
def _read_levels(state: Any, slot: Any, ticks: Any, sizes: Any) -> None:
    """A slot's ten levels a side in whole ticks; levels that are not there stand infinitely far."""
    book = slot.book
    for side in range(2):
        base = 2 * LEVELS * side
        for level in range(LEVELS):
            size = book[base + LEVELS + level]
            sizes[side, level] = size
            if size > 0.0:
                price = slot.reference_price + book[base + level]
                ticks[side, level] = np.int64(np.rint(price / state.tick_size))
            else:
                ticks[side, level] = _NO_BID if side == 0 else _NO_ASK


@njit(cache=True, nogil=True)
def _apply_book(state: Any, slot: Any, which: int, ticks: Any, sizes: Any) -> None:
    if slot.reference_price <= 0.0:
        return
    if state.tick_size <= 0.0:
        # Five significant digits (the venue's rule where the table knows no tick).
        state.tick_size = 10.0 ** (math.floor(math.log10(slot.reference_price)) - 4)
    _read_levels(state, slot, ticks, sizes)
    snapshot = slot.flags & _SNAPSHOT
    mid = slot.reference_price
    both = sizes[0, 0] > 0.0 and sizes[1, 0] > 0.0
    if snapshot != 0 or state.has_book == 0:
        if state.mid == 0.0:
            state.mean_fast = state.mean_slow = mid
            mids = state.mids
            for place in range(BUCKETS):
                mids[place] = mid
    else:
        _order_flow(state, ticks, sizes)
        step = math.log(mid / state.mid)
        _add(state, SQUARES, step * step)
        _add(state, BIPOWER, abs(step) * abs(state.last_return))
        state.last_return = step
    old_ticks, old_sizes, book, seen = state.ticks, state.sizes, state.book, slot.book
    depth = 0.0
    for level in range(LEVELS):
        depth += sizes[0, level] + sizes[1, level]
        if level == 0:
            _add(state, DEPTH_1, depth / 2.0)
        elif level == 4:
            _add(state, DEPTH_5, depth / 2.0)
        for side in range(2):
            old_ticks[side, level] = ticks[side, level]
            old_sizes[side, level] = sizes[side, level]
    _add(state, DEPTH_10, depth / 2.0)
    _add(state, BOOK_EVENTS, 1.0)
    for index in range(4 * LEVELS):
        book[index] = seen[index]
    state.reference = mid
    state.mid = mid
    if both:
        _note_spread(state, ticks[1, 0] - ticks[0, 0])
    state.has_book = 1 if both else 0
    state.book_ns = slot.recv_ns
    state.tape = which
    state.epoch = slot.epoch


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


# The cutter's words, which it shares with the kernels: what it holds, what is due, how far it is.
(
    W_STATES,  # address of (W_COUNT) STATE
    W_COUNT,
    W_OUT,  # address of (W_COUNT) rows
    W_BOUNDARY,  # time of the next boundary
    W_GRACE,  # how long after a boundary its events may still be on their way
    W_STALE,  # age from which a book is stale
    W_TRIGGER,  # 1 if rows are cut between boundaries too
    W_TRIGGER_INTERVAL,
    W_TRIGGERED,  # time of the last of those
    W_CUT,  # number of the last cut
    W_GENERATION,  # of the settings
    W_NEWEST,  # the newest receive time
    W_EVENTS,  # counted: slots taken, rows cut, and how many of them are not to be trusted
    W_ROWS,
    W_INVALID,
    W_POSITIONS,  # the last sequence of each tape that rows carry
) = range(16)
CUTTER_WORDS: Final = W_POSITIONS + features.MAX_TAPES


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
    words = carray(memory(slots_address), (slots_count, tape.SLOT_BYTES // 4), np.uint32)
    ticks = np.empty((2, LEVELS), np.int64)
    sizes = np.empty((2, LEVELS), np.float64)
    for index in range(first, slots_count):
        slot = slots[index]
        if slot.recv_ns >= until_ns:
            return index
        which: Any = np.int64(slot.spare) if tape_number == MERGED else tape_number
        told[W_POSITIONS + which] = slot.sequence
        if slot.kind == _MARKER:
            _apply_marker(states, count, slot, which, words[index, _MARKER_WORD])
            continue
        if slot.instrument >= count:
            continue
        state = states[slot.instrument]
        told[W_NEWEST] = max(told[W_NEWEST], slot.recv_ns)
        state.newest_ns = slot.recv_ns
        state.touched = 1
        if slot.kind == _BOOK_LEVEL:
            if slot.flags & _FRAME_END and slot.flags & _PRIMARY:
                rotate(state, slot.recv_ns // BUCKET_NS)
                _apply_book(state, slot, which, ticks, sizes)
                if state.since_ns == 0 and state.has_book != 0:
                    # A builder that begins in the middle of a tape may never see a snapshot.
                    state.since_ns = slot.recv_ns
        elif slot.kind == _TRADE and slot.flags & (_SNAPSHOT | _BACKFILLED) == 0:
            rotate(state, slot.recv_ns // BUCKET_NS)
            _add(state, BOUGHT if slot.side == 1 else SOLD, slot.size)
            _add(state, TRADES, 1.0)
            _add(state, NOTIONAL, slot.size * slot.price)
            state.trade_ns = slot.recv_ns
    return slots_count
