"""Bars of trades, and indicators on the closed ones; compiled, free of allocation.

Time is receive time, as everywhere in a row. A bar in which nothing was traded is flat at the close
before it, so that bars have no holes. Indicators are computed when a bar has closed, from the last
64 closed bars and nothing else: a builder that has seen these says the same as one that has run for
a year. They are what TA-Lib says of the same bars (`tests/unit/features/test_bars.py`).
"""

from typing import Any, Final

import numpy as np
from numba import njit

from processes.features.state import (
    ATR,
    BAR_NS,
    BARS,
    BOLLINGER,
    CLOSE,
    DONCHIAN,
    EMA_CROSS,
    HIGH,
    LOW,
    OPEN,
    PERIODS,
    RSI,
    SMA_CROSS,
    VOLUME,
)

WILDER: Final = 14
LONG: Final = 20
"""Closes of the slow simple mean, of the bands and of the channel."""
SHORT: Final = 5
EMA_FAST: Final = 12
EMA_SLOW: Final = 26
NEEDS = np.array([LONG, EMA_SLOW, WILDER + 1, LONG, LONG, WILDER + 1])
"""Closed bars without which an indicator is missing, in the order of the indicators."""
DEVIATIONS: Final = 2.0


@njit(cache=True, nogil=True)
def _close(state: Any, period: int) -> None:
    bar, kept = state.bar, state.bars
    place = state.bars_closed[period] % BARS
    for column in range(5):
        kept[period, place, column] = bar[period, column]
    for column in range(4):
        bar[period, column] = kept[period, place, CLOSE]
    bar[period, VOLUME] = 0.0
    closed = state.bars_closed
    closed[period] += 1


@njit(cache=True, nogil=True)
def roll_bars(state: Any, now_ns: int) -> None:
    """Close what has ended by a time."""
    numbers = state.bar_number
    for period in range(PERIODS):
        number = now_ns // BAR_NS[period]
        if numbers[period] == 0 or number <= numbers[period]:
            continue
        # After a long silence all that is kept is flat; more of the same says nothing.
        for _ in range(min(number - numbers[period], BARS + 1)):
            _close(state, period)
        numbers[period] = number


@njit(cache=True, nogil=True)
def add_trade(state: Any, price: float, size: float, recv_ns: int) -> None:
    """Take a trade into the running bars."""
    roll_bars(state, recv_ns)
    bar, numbers = state.bar, state.bar_number
    for period in range(PERIODS):
        if numbers[period] == 0 or bar[period, VOLUME] == 0.0:
            numbers[period] = max(numbers[period], recv_ns // BAR_NS[period])
            for column in range(OPEN, CLOSE + 1):
                bar[period, column] = price
        bar[period, HIGH] = max(bar[period, HIGH], price)
        bar[period, LOW] = min(bar[period, LOW], price)
        bar[period, CLOSE] = price
        bar[period, VOLUME] += size


@njit(cache=True, nogil=True)
def _at(state: Any, period: int, back: int, column: int) -> float:
    """A column of a closed bar; 0 back is the newest."""
    bars = state.bars
    return float(bars[period, (state.bars_closed[period] - 1 - back) % BARS, column])


@njit(cache=True, nogil=True)
def _simple_mean(state: Any, period: int, length: int) -> float:
    total = 0.0
    for back in range(length):
        total += _at(state, period, back, CLOSE)
    return total / length


@njit(cache=True, nogil=True)
def _exponential_mean(state: Any, period: int, length: int, held: int) -> float:
    mean = 0.0
    for back in range(held - 1, held - 1 - length, -1):
        mean += _at(state, period, back, CLOSE)
    mean /= length
    for back in range(held - 1 - length, -1, -1):
        mean += (_at(state, period, back, CLOSE) - mean) * 2.0 / (length + 1.0)
    return mean


@njit(cache=True, nogil=True)
def _strength(state: Any, period: int, held: int) -> float:
    gained = lost = 0.0
    for number in range(1, held):
        back = held - 1 - number
        change = _at(state, period, back, CLOSE) - _at(state, period, back + 1, CLOSE)
        up, down = max(change, 0.0), max(-change, 0.0)
        if number <= WILDER:
            gained += up / WILDER
            lost += down / WILDER
        else:
            gained = (gained * (WILDER - 1) + up) / WILDER
            lost = (lost * (WILDER - 1) + down) / WILDER
    moved = gained + lost
    return 100.0 * gained / moved if moved > 1e-12 * _at(state, period, 0, CLOSE) else 50.0


@njit(cache=True, nogil=True)
def _true_range(state: Any, period: int, held: int) -> float:
    mean = 0.0
    for number in range(1, held):
        back = held - 1 - number
        before = _at(state, period, back + 1, CLOSE)
        high, low = _at(state, period, back, HIGH), _at(state, period, back, LOW)
        wide = max(high, before) - min(low, before)
        if number <= WILDER:
            mean += wide / WILDER
        else:
            mean = (mean * (WILDER - 1) + wide) / WILDER
    return mean


@njit(cache=True, nogil=True)
def _bands(state: Any, period: int) -> float:
    """%b; the middle where there is no width."""
    mean = _simple_mean(state, period, LONG)
    squares = 0.0
    for back in range(LONG):
        squares += (_at(state, period, back, CLOSE) - mean) ** 2
    width = DEVIATIONS * np.sqrt(squares / LONG)
    if width <= 1e-12 * mean:
        return 0.5
    return float((_at(state, period, 0, CLOSE) - mean + width) / (2.0 * width))


@njit(cache=True, nogil=True)
def _channel(state: Any, period: int) -> float:
    low = high = _at(state, period, 0, CLOSE)
    for back in range(LONG):
        low = min(low, _at(state, period, back, LOW))
        high = max(high, _at(state, period, back, HIGH))
    return (_at(state, period, 0, CLOSE) - low) / (high - low) if high > low else 0.5


@njit(cache=True, nogil=True)
def indicate(state: Any, period: int) -> None:
    """Compute the indicators of the closed bars, if one has closed since."""
    closed, done, out = state.bars_closed, state.indicators_of, state.indicators
    if done[period] == closed[period]:
        return
    done[period] = closed[period]
    held = min(closed[period], BARS)
    if held < WILDER + 1:
        return
    close = _at(state, period, 0, CLOSE)
    out[period, RSI] = _strength(state, period, held)
    out[period, ATR] = _true_range(state, period, held) / close * 1e4
    if held >= LONG:
        slow = _simple_mean(state, period, LONG)
        out[period, SMA_CROSS] = (_simple_mean(state, period, SHORT) / slow - 1.0) * 1e4
        out[period, BOLLINGER] = _bands(state, period)
        out[period, DONCHIAN] = _channel(state, period)
    if held >= EMA_SLOW:
        slow = _exponential_mean(state, period, EMA_SLOW, held)
        fast = _exponential_mean(state, period, EMA_FAST, held)
        out[period, EMA_CROSS] = (fast / slow - 1.0) * 1e4
