"""A Gaussian hidden Markov model with diagonal covariances, filtered forward, fitted on streams.

After Rabiner (A Tutorial on Hidden Markov Models, 1989), with scaled Baum-Welch. States are ordered
by their variance, so that 0 is the quietest whatever the fit began with. A column that is NaN says
nothing of the state.
"""

import math
from typing import Any, Final

import numpy as np
from numba import njit

from models.family import Report

ROUNDS: Final = 40
"""Most rounds of Baum-Welch."""
TOLERANCE: Final = 1e-5
"""Nats a row that a round must gain for another one."""
VARIANCE_LEAST: Final = 1e-3
"""Of a standardised column in a state: no state may shrink onto a single row."""


@njit(cache=True, nogil=True)
def densities(row: Any, mean: Any, variance: Any, found: Any) -> float:
    """Gaussian densities of a row in each state, over the greatest; the log of the greatest.

    A column that is NaN says nothing. Args: row (D), mean and variance (S, D), found (S) written.
    """
    highest = -math.inf
    for state in range(len(mean)):
        total = 0.0
        for column in range(len(row)):
            if not math.isnan(row[column]):
                off = row[column] - mean[state, column]
                spread = variance[state, column]
                total -= 0.5 * (off * off / spread + math.log(2.0 * math.pi * spread))
        found[state] = total
        highest = max(highest, total)
    for state in range(len(mean)):
        found[state] = math.exp(found[state] - highest)
    return highest


@njit(cache=True, nogil=True)
def filter_row(
    row: Any, begins: bool, start: Any, moves: Any, mean: Any, variance: Any, chances: Any,
    scratch: Any,
) -> float:  # fmt: skip
    """One step of the forward filter; the log likelihood of the row.

    Args:
        begins: whether it is an instrument's first row. start: (S). moves: (S, S), row to column.
        chances: (S), of the row before, then of this one. scratch: (2, S).
    """
    states = len(start)
    highest = densities(row, mean, variance, scratch[0])
    total = 0.0
    for state in range(states):
        before = start[state]
        if not begins:
            before = 0.0
            for origin in range(states):
                before += chances[origin] * moves[origin, state]
        scratch[1, state] = before * scratch[0, state]
        total += scratch[1, state]
    for state in range(states):
        chances[state] = scratch[1, state] / total
    return highest + math.log(total)


@njit(cache=True, nogil=True)
def expect(
    rows: Any, start: Any, moves: Any, mean: Any, variance: Any, first: Any, pairs: Any,
    weight: Any, sums: Any, squares: Any,
) -> float:  # fmt: skip
    """Baum-Welch's expectation over one stream, added to the totals; its log likelihood.

    Args:
        rows: (n, D). first: (S) chances of the first row. pairs: (S, S) expected moves. weight,
            sums, squares: (S, D), of the values that are there.
    """
    count, states = len(rows), len(start)
    forward, density = np.empty((count, states)), np.empty((count, states))
    scale, scratch = np.empty(count), np.empty((2, states))
    chances = np.empty(states)
    likelihood = 0.0
    for t in range(count):
        found = filter_row(rows[t], t == 0, start, moves, mean, variance, chances, scratch)
        likelihood += found
        scale[t] = math.exp(found - densities(rows[t], mean, variance, density[t]))
        for state in range(states):
            forward[t, state] = chances[state]
    backward, earlier = np.ones(states), np.empty(states)
    for t in range(count - 1, -1, -1):
        for state in range(states):
            share = forward[t, state] * backward[state]
            if t == 0:
                first[state] += share
            for column in range(rows.shape[1]):
                value = rows[t, column]
                if not math.isnan(value):
                    weight[state, column] += share
                    sums[state, column] += share * value
                    squares[state, column] += share * value * value
        if t == 0:
            break
        for origin in range(states):
            earlier[origin] = 0.0
            for state in range(states):
                path = moves[origin, state] * density[t, state] * backward[state] / scale[t]
                earlier[origin] += path
                pairs[origin, state] += forward[t - 1, origin] * path
        for state in range(states):
            backward[state] = earlier[state]
    return likelihood


def fit_states(
    streams: list[np.ndarray], states: int, report: Report = lambda _: None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Baum-Welch over streams: start (S), moves (S, S), mean and variance (S, D).

    Begins from equal shares of the rows by how far they are from the mean of all, so it draws
    nothing. States come out ordered by the sum of their variances.

    Args:
        streams: (n, D) float64 each, about standardised; NaN where a value is not there.
    """
    rows = np.vstack(streams)
    rows = np.where(np.isnan(rows), 0.0, rows)
    rank = np.argsort(np.argsort(np.abs(rows).sum(axis=1), kind="stable"), kind="stable")
    groups = rank * states // len(rows)
    mean = np.array([rows[groups == state].mean(axis=0) for state in range(states)])
    variance = np.array([rows[groups == state].var(axis=0) for state in range(states)])
    variance = np.maximum(variance, 0.05)
    start, moves = np.full(states, 1 / states), np.full((states, states), 0.05 / (states - 1))
    np.fill_diagonal(moves, 0.95)
    before = -math.inf
    for number in range(ROUNDS):
        first, pairs = np.full(states, 1e-3), np.full((states, states), 1e-3)
        weight, sums, squares = np.zeros((3, states, rows.shape[1]))
        likelihood = sum(
            expect(part, start, moves, mean, variance, first, pairs, weight, sums, squares)
            for part in streams
        ) / len(rows)  # fmt: skip
        start, moves = first / first.sum(), pairs / pairs.sum(axis=1, keepdims=True)
        there = np.maximum(weight, 1e-9)
        mean = sums / there
        variance = np.maximum(squares / there - mean * mean, VARIANCE_LEAST)
        report((number + 1) / ROUNDS)
        if likelihood - before < TOLERANCE:
            break
        before = likelihood
    order = np.argsort(variance.sum(axis=1), kind="stable")
    return start[order], moves[order][:, order], mean[order], variance[order]
