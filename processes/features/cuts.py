"""Rows cut from the rolling state: every column, what a row is not to be trusted for, and a turn.

Formulas and sources of the columns stand in `schemas/features.py`, and what is told of each here
goes through `quality.py`. All instruments are moved on to the cut before any row is written, since
rows look at neighbours: at the peers of other venues, and at the derivative.
"""

import math
from typing import Any, Final

import numpy as np
from numba import carray, njit

from processes.features.bars import NEEDS, indicate, roll_bars
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
    rotate,
)
from processes.features.quality import bit, judge
from processes.features.state import (
    ATR,
    BIPOWER,
    BOLLINGER,
    BOOK_EVENTS,
    BOUGHT,
    BUCKET_NS,
    BUCKETS,
    DEPTH_1,
    DEPTH_5,
    DEPTH_10,
    DERIVATIVE_PRICE,
    DONCHIAN,
    EMA_CROSS,
    FUNDING,
    LEVELS,
    LIQUIDATED_LONG,
    LIQUIDATED_SHORT,
    MARK_PRICE,
    MAX_PEERS,
    NOTIONAL,
    OFI_1,
    OFI_5,
    OFI_10,
    PERIODS,
    RSI,
    SMA_CROSS,
    SOLD,
    SPOT_PRICE,
    SPREAD_BINS,
    SPREADS,
    SQUARES,
    STATE,
    SUMS,
    TRADES,
    WINDOW_BUCKETS,
    WINDOWS,
)
from schemas import features
from schemas.features import CATALOGUE, COLUMN, WIDTH, CutReason, Invalid
from shm.atomics import memory

WARM_NS: Final = 15_000_000_000
"""Rows carry `WARMING` until this much unbroken history is there."""
STATUS_NS: Final = 120_000_000_000
"""A derivative's status older than this is missing."""
LONGEST_HISTORY_S: Final = 1500.0
DAY_NS: Final = 86_400_000_000_000

_TRIGGER_CUT = int(CutReason.TRIGGER)
_CODES = {name: int(bit) for name, bit in Invalid.__members__.items()}
_NO_BOOK, _STALE, _GAPPED = _CODES["NO_BOOK"], _CODES["STALE"], _CODES["GAPPED"]
_CROSSED, _WARMING, _STUCK = _CODES["CROSSED"], _CODES["WARMING"], _CODES["STUCK"]
_NEEDS_NS = np.array([int(feature.needs_s * 1e9) for feature in CATALOGUE])
_BARS_OF = {"1s": 0, "1m": 1}
_INDICATED = np.array(
    [
        (COLUMN[f"{name}_{length}{unit}"], _BARS_OF[length], indicator)
        for name, indicator, lengths, unit in (
            ("sma_cross", SMA_CROSS, ("1m",), "_bps"),
            ("ema_cross", EMA_CROSS, ("1m",), "_bps"),
            ("rsi_14", RSI, ("1s", "1m"), ""),
            ("bollinger_20", BOLLINGER, ("1s", "1m"), ""),
            ("donchian_20", DONCHIAN, ("1s", "1m"), ""),
            ("atr_14", ATR, ("1s", "1m"), "_bps"),
        )
        for length in lengths
    ]
)
"""Columns of indicators: their place, whose bars, and which indicator."""


@njit(cache=True, nogil=True)
def _ratio(above: float, below: float) -> float:
    return above / below if below != 0.0 else 0.0


@njit(cache=True, nogil=True)
def _quantile(state: Any, share: float) -> int:
    """The exact quantile of the remembered spreads, in ticks."""
    held = min(state.spread_count, SPREADS)
    wanted = share * held
    bins = state.spread_bins
    below = 0
    for ticks in range(SPREAD_BINS):
        below += bins[ticks]
        if below >= wanted and below > 0:
            return ticks
    return 0


@njit(cache=True, nogil=True)
def _past_mid(state: Any, window: int) -> float:
    mids = state.mids
    return float(mids[(state.bucket - WINDOW_BUCKETS[window]) % BUCKETS])


# Places of the columns, as constants of the compiled code.
_C = {name: np.int64(place) for name, place in COLUMN.items()}
C_SPREAD, C_Q50, C_Q90 = _C["spread_bps"], _C["spread_q50_bps"], _C["spread_q90_bps"]
C_RANK, C_MICRO = _C["spread_rank"], _C["microprice_bps"]
C_IMBALANCE = _C["imbalance_1"]
C_DEPTH, C_SLOPE = _C["depth_bid_5"], _C["slope_bid_bps"]
C_OFI = _C["ofi_1_1s"]
C_TRADE, C_VOLUME, C_COUNT = _C["trade_imbalance_1s"], _C["trade_volume_5s"], _C["trade_count_5s"]
C_VWAP, C_RETURN = _C["vwap_distance_60s_bps"], _C["return_1s_bps"]
C_VOLATILITY, C_BIPOWER = _C["volatility_5s_bps"], _C["bipower_60s_bps"]
C_RATE, C_MEAN, C_AGE = _C["book_rate_1s"], _C["mean_fast_bps"], _C["book_age_s"]
C_FUNDING, C_LIQUIDATION = _C["funding_bps"], _C["liquidation_imbalance_60s"]
C_LEAD, C_GAP, C_BASIS = _C["peer_lead_1s_bps"], _C["peer_gap_bps"], _C["peer_basis_bps"]
C_DAY, C_HISTORY = _C["day_sin"], _C["history_s"]


@njit(cache=True, nogil=True)
def _book_columns(state: Any, values: Any) -> None:
    ticks, sizes, mid = state.ticks, state.sizes, state.mid
    bid = ticks[0, 0] * state.tick_size
    ask = ticks[1, 0] * state.tick_size
    spread = (ask - bid) / mid * 1e4
    per_tick = state.tick_size / mid * 1e4
    values[C_SPREAD] = spread
    values[C_Q50] = _quantile(state, 0.5) * per_tick
    values[C_Q90] = _quantile(state, 0.9) * per_tick
    bins = state.spread_bins
    below = 0
    for smaller in range(min(max(ticks[1, 0] - ticks[0, 0], 0), SPREAD_BINS - 1)):
        below += bins[smaller]
    values[C_RANK] = _ratio(float(below), float(min(state.spread_count, SPREADS)))
    near_bid, near_ask = sizes[0, 0], sizes[1, 0]
    micro = _ratio(ask * near_bid + bid * near_ask, near_bid + near_ask)
    values[C_MICRO] = (micro / mid - 1.0) * 1e4 if micro > 0.0 else 0.0
    bought = sold = far_bid = far_ask = 0.0
    for level in range(LEVELS):
        bought += sizes[0, level]
        sold += sizes[1, level]
        if sizes[0, level] > 0.0:
            far_bid += sizes[0, level] * (1.0 - ticks[0, level] * state.tick_size / mid) * 1e4
        if sizes[1, level] > 0.0:
            far_ask += sizes[1, level] * (ticks[1, level] * state.tick_size / mid - 1.0) * 1e4
        if level == 0:
            values[C_IMBALANCE] = _ratio(bought - sold, bought + sold)
        elif level == 4:
            values[C_IMBALANCE + 1] = _ratio(bought - sold, bought + sold)
            values[C_DEPTH] = bought
            values[C_DEPTH + 1] = sold
    values[C_IMBALANCE + 2] = _ratio(bought - sold, bought + sold)
    values[C_SLOPE] = _ratio(far_bid, bought)
    values[C_SLOPE + 1] = _ratio(far_ask, sold)


@njit(cache=True, nogil=True)
def _balance(one: float, other: float) -> float:
    """(one - other) / (one + other) of amounts that a subtraction may have left a hair below 0."""
    one, other = max(one, 0.0), max(other, 0.0)
    return _ratio(one - other, one + other)


@njit(cache=True, nogil=True)
def _flow_columns(state: Any, values: Any) -> None:
    w = state.sums
    for window in range(3):
        depth = _ratio(w[window, DEPTH_1], w[window, BOOK_EVENTS])
        values[C_OFI + window] = _ratio(w[window, OFI_1], depth)
    for window in range(2):
        depth_5 = _ratio(w[window, DEPTH_5], w[window, BOOK_EVENTS])
        depth_10 = _ratio(w[window, DEPTH_10], w[window, BOOK_EVENTS])
        values[C_OFI + 3 + window] = _ratio(w[window, OFI_5], depth_5)
        values[C_OFI + 5 + window] = _ratio(w[window, OFI_10], depth_10)
    for place in range(3):
        window = place if place < 2 else 3  # 1, 5 and 60 s
        values[C_TRADE + place] = _balance(w[window, BOUGHT], w[window, SOLD])
    traded = w[3, BOUGHT] + w[3, SOLD]
    values[C_VOLUME] = w[1, BOUGHT] + w[1, SOLD]
    values[C_VOLUME + 1] = traded
    values[C_COUNT] = w[1, TRADES] / 5.0
    vwap = _ratio(w[3, NOTIONAL], traded)
    values[C_VWAP] = (state.mid / vwap - 1.0) * 1e4 if vwap > 0.0 else 0.0


@njit(cache=True, nogil=True)
def _price_columns(state: Any, values: Any, cut_ns: int) -> None:
    w, mid = state.sums, state.mid
    for window in range(WINDOWS):
        values[C_RETURN + window] = math.log(mid / _past_mid(state, window)) * 1e4
    values[C_VOLATILITY] = math.sqrt(max(w[1, SQUARES], 0.0)) * 1e4
    values[C_VOLATILITY + 1] = math.sqrt(max(w[3, SQUARES], 0.0)) * 1e4
    values[C_BIPOWER] = math.sqrt(max(w[3, BIPOWER], 0.0) * math.pi / 2.0) * 1e4
    values[C_RATE] = w[0, BOOK_EVENTS]
    values[C_RATE + 1] = w[3, BOOK_EVENTS] / 60.0
    values[C_MEAN] = (mid / state.mean_fast - 1.0) * 1e4
    values[C_MEAN + 1] = (mid / state.mean_slow - 1.0) * 1e4
    values[C_MEAN + 2] = (state.mean_fast / state.mean_slow - 1.0) * 1e4
    values[C_AGE] = (cut_ns - state.book_ns) / 1e9
    values[C_AGE + 1] = min((cut_ns - state.trade_ns) / 1e9, 60.0)


@njit(cache=True, nogil=True)
def _indicator_columns(state: Any, values: Any) -> Any:
    """Columns of bars; the bits of those that need more bars."""
    missing = np.uint64(0)
    for period in range(PERIODS):
        indicate(state, period)
    indicators, closed = state.indicators, state.bars_closed
    for place in range(len(_INDICATED)):
        column, period, indicator = _INDICATED[place]
        values[column] = indicators[period, indicator]
        if closed[period] < NEEDS[indicator]:
            missing |= bit(column)
    return missing


@njit(cache=True, nogil=True)
def _derivative_columns(states: Any, state: Any, values: Any, cut_ns: int) -> Any:
    """Columns of the derivative's status and liquidations; the bits of those that are not had."""
    missing = np.uint64(0)
    for column in range(3):
        values[C_FUNDING + column] = 0.0
    values[C_LIQUIDATION] = values[C_LIQUIDATION + 1] = 0.0
    if state.derivative < 0:
        for column in range(3):
            missing |= bit(C_FUNDING + column)
        return missing | bit(C_LIQUIDATION) | bit(C_LIQUIDATION + 1)
    other = states[state.derivative]
    status = other.status
    if other.status_ns == 0 or cut_ns - other.status_ns > STATUS_NS:
        missing |= bit(C_FUNDING) | bit(C_FUNDING + 1) | bit(C_FUNDING + 2)
    else:
        price = status[DERIVATIVE_PRICE]
        values[C_FUNDING] = status[FUNDING] * 1e4
        for column, place in ((1, SPOT_PRICE), (2, MARK_PRICE)):
            if price > 0.0 and status[place] > 0.0:
                values[C_FUNDING + column] = (price / status[place] - 1.0) * 1e4
            else:
                missing |= bit(C_FUNDING + column)
    windows, running = other.windows, other.running
    short = windows[3, LIQUIDATED_SHORT] + running[LIQUIDATED_SHORT]
    long = windows[3, LIQUIDATED_LONG] + running[LIQUIDATED_LONG]
    values[C_LIQUIDATION] = _balance(short, long)
    values[C_LIQUIDATION + 1] = max(short, 0.0) + max(long, 0.0)
    return missing


@njit(cache=True, nogil=True)
def _peer_columns(states: Any, state: Any, values: Any, cut_ns: int, stale_ns: int) -> Any:
    """Columns of other venues, means over those whose book can be trusted; bits of the missing."""
    lead_1 = lead_5 = gap = basis = 0.0
    met = same = 0
    peers, same_pair = state.peers, state.same_pair
    for place in range(MAX_PEERS):
        if peers[place] < 0:
            continue
        peer = states[peers[place]]
        if peer.has_book == 0 or peer.gapped != 0 or cut_ns - peer.book_ns > stale_ns:
            continue
        if peer.since_ns == 0 or cut_ns - peer.since_ns < WARM_NS:
            continue
        met += 1
        lead_1 += math.log(peer.mid / _past_mid(peer, 0))
        lead_5 += math.log(peer.mid / _past_mid(peer, 1))
        gap += math.log(peer.mid / peer.mean_slow)
        if same_pair[place] != 0:
            same += 1
            basis += peer.mid
    for column in range(2):
        values[C_LEAD + column] = 0.0
    values[C_GAP] = values[C_BASIS] = 0.0
    if met == 0:
        return bit(C_LEAD) | bit(C_LEAD + 1) | bit(C_GAP) | bit(C_BASIS)
    mid = state.mid
    values[C_LEAD] = (lead_1 / met - math.log(mid / _past_mid(state, 0))) * 1e4
    values[C_LEAD + 1] = (lead_5 / met - math.log(mid / _past_mid(state, 1))) * 1e4
    values[C_GAP] = (gap / met - math.log(mid / state.mean_slow)) * 1e4
    if same == 0:
        return bit(C_BASIS)
    values[C_BASIS] = math.log(basis / same / mid) * 1e4
    return np.uint64(0)


@njit(cache=True, nogil=True)
def _time_columns(state: Any, values: Any, cut_ns: int) -> Any:
    """Time of day and history; the bits of all columns for which there is too little of it."""
    angle = 2.0 * math.pi * (cut_ns % DAY_NS) / DAY_NS
    values[C_DAY] = math.sin(angle)
    values[C_DAY + 1] = math.cos(angle)
    history_ns = cut_ns - state.since_ns if state.since_ns != 0 else 0
    values[C_HISTORY] = min(max(history_ns / 1e9, 0.0), LONGEST_HISTORY_S)
    missing = np.uint64(0)
    for column in range(WIDTH):
        if history_ns < _NEEDS_NS[column]:
            missing |= bit(column)
    return missing


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
def _sum_up(state: Any) -> None:
    """Windows with the running bucket; a window without an event holds nothing, not a hair."""
    sums, windows, running = state.sums, state.windows, state.running
    for window in range(WINDOWS):
        for column in range(SUMS):
            sums[window, column] = windows[window, column] + running[column]
        if sums[window, TRADES] < 0.5:
            sums[window, BOUGHT] = sums[window, SOLD] = sums[window, NOTIONAL] = 0.0


@njit(cache=True, nogil=True)
def _write_columns(
    told: Any, states: Any, state: Any, row: Any, cut_ns: int, at_boundary: bool
) -> None:  # fmt: skip
    """All columns of a row, judged, and what it is not to be trusted for."""
    values = row["values"]
    _sum_up(state)
    _book_columns(state, values)
    _flow_columns(state, values)
    _price_columns(state, values, cut_ns)
    missing = _time_columns(state, values, cut_ns)
    missing |= _indicator_columns(state, values)
    missing |= _derivative_columns(states, state, values, cut_ns)
    missing |= _peer_columns(states, state, values, cut_ns, told[W_STALE])
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
