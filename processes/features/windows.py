"""Running windows over buckets of 100 ms; compiled, free of allocation.

An event adds to the sums of the running bucket and to nothing else; four windows (1, 5, 15, 60 s)
are kept of the buckets before it, by adding the one that ends and taking out the one that leaves.
They are summed anew from their buckets every 64 rotations, so that rounding never builds up: what a
window says depends on its buckets alone.
"""

from typing import Any

from numba import njit

from processes.features.state import (
    BUCKETS,
    FAST,
    RESUM_EVERY,
    SLOW,
    SUMS,
    WINDOW_BUCKETS,
    WINDOWS,
)


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
