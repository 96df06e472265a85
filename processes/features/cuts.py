"""Rows cut from the rolling state: every column, what a row is not to be trusted for, and a turn.

The columns are computed in `columns.py` and judged in `quality.py`. All instruments are moved on to
the cut before any row is written, since rows look at neighbours: at the peers of other venues, and
at the derivative.
"""

from typing import Any

import numpy as np
from numba import carray, njit

from processes.features.bars import roll_bars
from processes.features.columns import WARM_NS, compute
from processes.features.kernels import (
    CUTTER_WORDS,
    W_BOUNDARY,
    W_COUNT,
    W_CUT,
    W_EVENTS,
    W_GENERATION,
    W_GRACE,
    W_INVALID,
    W_NEWEST,
    W_OUT,
    W_POSITIONS,
    W_ROWS,
    W_STALE,
    W_STATES,
    W_STUCK_AFTER,
    W_STUCK_ROWS,
    W_TRIGGER,
    W_TRIGGER_INTERVAL,
    W_TRIGGERED,
    apply_block,
)
from processes.features.quality import judge
from processes.features.state import BUCKET_NS, LEVELS, STATE
from processes.features.windows import rotate
from schemas import features
from schemas.features import CutReason, Invalid
from shm.atomics import memory

_TRIGGER_CUT = int(CutReason.TRIGGER)
_CODES = {name: int(bit) for name, bit in Invalid.__members__.items()}
_NO_BOOK, _STALE, _GAPPED = _CODES["NO_BOOK"], _CODES["STALE"], _CODES["GAPPED"]
_CROSSED, _WARMING, _STUCK = _CODES["CROSSED"], _CODES["WARMING"], _CODES["STUCK"]


@njit(cache=True, nogil=True)
def _validity(state: Any, cut_ns: int, stale_ns: int, stuck_after_ns: int) -> int:
    invalid = 0
    if cut_ns - state.book_ns > stale_ns:
        invalid |= _STALE
    if state.gapped != 0:
        invalid |= _GAPPED
    if state.ticks[0, 0] >= state.ticks[1, 0]:
        invalid |= _CROSSED
    if state.since_ns == 0 or cut_ns - state.since_ns < WARM_NS:
        invalid |= _WARMING
    if state.book_ns - state.changed_ns > stuck_after_ns:
        invalid |= _STUCK
    return invalid


@njit(cache=True, nogil=True)
def _write_columns(
    told: Any, states: Any, state: Any, row: Any, cut_ns: int, at_boundary: bool
) -> None:  # fmt: skip
    """All columns of a row, judged, and what it is not to be trusted for."""
    values = row["values"]
    missing = compute(states, state, values, cut_ns, told[W_STALE])
    invalid = _validity(state, cut_ns, told[W_STALE], told[W_STUCK_AFTER])
    masked, found = judge(told, state, values, missing, at_boundary, invalid == 0)
    row.masked = masked
    row.invalid = invalid | found
    if invalid & _STUCK:
        told[W_STUCK_ROWS] += 1
    if invalid | found:
        told[W_INVALID] += 1


@njit(cache=True, nogil=True)
def cut(
    words_address: int, cut_ns: int, touched_only: bool, reason: int, made_ns: int
) -> int:  # fmt: skip
    """Write a row an instrument that has a book (and is touched); how many rows."""
    told = carray(memory(words_address), (CUTTER_WORDS,), np.int64)
    count = told[W_COUNT]
    states = carray(memory(told[W_STATES]), (count,), STATE)
    rows = carray(memory(told[W_OUT]), (count,), features.SLOT)
    due = False
    for index in range(count):
        due |= states[index].has_book != 0 and (not touched_only or states[index].touched != 0)
    if not due:
        return 0  # a cut without a row is in no recording, so it must leave no trace
    for index in range(count):
        rotate(states[index], (cut_ns - 1) // BUCKET_NS)
        roll_bars(states[index], cut_ns)
    made = 0
    for index in range(count):
        state = states[index]
        if state.has_book == 0 or (touched_only and state.touched == 0):
            continue
        state.touched = 0
        row = rows[made]
        _write_columns(told, states, state, row, cut_ns, reason != _TRIGGER_CUT)
        row.cut_ns = cut_ns
        row.made_ns = made_ns
        row.cut = told[W_CUT] + 1
        row.tape_position_0 = told[W_POSITIONS]
        row.tape_position_1 = told[W_POSITIONS + 1]
        row.tape_position_2 = told[W_POSITIONS + 2]
        row.tape_position_3 = told[W_POSITIONS + 3]
        row.newest_recv_ns = state.newest_ns
        row.reference_price = state.mid
        row.instrument = index
        row.reason = reason
        row.config_generation = told[W_GENERATION]
        book, seen = row.book, state.book
        for place in range(4 * LEVELS):
            book[place] = seen[place]
        made += 1
    if made > 0:
        told[W_CUT] += 1
        told[W_ROWS] += made
    return made


@njit(cache=True, nogil=True)
def turn(
    words_address: int, slots_address: int, first: int, slots_count: int, now_ns: int,
    tape_number: int,
) -> tuple[int, int]:  # fmt: skip
    """Take slots up to the next boundary; without one in the way, make the trigger's cut.

    Returns the next slot, and how many rows were cut. With neither all slots taken nor the
    boundary still ahead, the boundary's cut comes first and is the caller's.
    """
    told = carray(memory(words_address), (CUTTER_WORDS,), np.int64)
    boundary_ns = told[W_BOUNDARY]
    done = apply_block(words_address, slots_address, first, slots_count, boundary_ns, tape_number)
    told[W_EVENTS] += done - first
    if done < slots_count or now_ns >= boundary_ns + told[W_GRACE]:
        return done, 0
    if told[W_TRIGGER] == 0 or now_ns - told[W_TRIGGERED] < told[W_TRIGGER_INTERVAL]:
        return done, 0
    if told[W_NEWEST] == 0:
        return done, 0
    made = cut(words_address, told[W_NEWEST] + 1, True, _TRIGGER_CUT, now_ns)
    if made > 0:
        told[W_TRIGGERED] = now_ns
    return done, made
