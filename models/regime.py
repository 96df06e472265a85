"""Regimes: a hidden Markov model and a Kalman trend, gating one logistic regression a state.

    states   a Gaussian HMM with diagonal covariances over a few slow columns (Rabiner: A Tutorial
    on
             Hidden Markov Models, 1989), fitted by scaled Baum-Welch, filtered forward live
    trend    a local linear trend on log mid (Durbin, Koopman: Time Series Analysis by State Space
             Methods, 2012, chapter 3): its slope, and the slope's t-value, are two more columns
    gate     a multinomial logistic and a ridge a state, mixed by the filtered chances of the states

States are ordered by their variance, so that 0 is the quietest whatever the fit began with. Only
what was known at a row is in it: filtered chances, never smoothed ones, in fitting too. Every
instrument has its own chances and its own trend; the numbers learnt are shared.
"""

import math
from typing import Any, Final, Self

import numpy as np
from numba import njit

from models.affine import CLIP, scaling, standardised
from models.arrays import taken
from models.base import ModelError
from models.family import Follower, Model, NotFittedError, Report, Weights
from models.learnable import learnable
from models.regressions import fit_logistic, fit_ridge
from models.samples import CLASSES, DOWN, OUTPUTS, UP, Samples, Target
from schemas.features import COLUMN

STATES: Final = 3
COLUMNS: Final = ("volatility_60s_bps", "spread_bps", "return_5s_bps", "book_rate_60s")
"""What tells the states apart."""
ROUNDS: Final = 40
"""Most rounds of Baum-Welch."""
TOLERANCE: Final = 1e-5
"""Nats a row that a round must gain for another one."""
VARIANCE_LEAST: Final = 1e-3
"""Of a standardised column in a state: no state may shrink onto a single row."""
PENALTY: Final = 1e-3
TREND: Final = 6
"""Numbers of an instrument's trend: level, slope, three of their covariance, scale; all of one."""
_MEMORY: Final = 0.03
"""Share of the newest surprise in the trend's scale."""
GRID: Final = tuple((level, level * share) for level in (0.3, 3.0) for share in (1e-3, 1e-2, 1e-1))
"""Variances of the steps of level and slope, against the noise of a mid, that are tried. A slope
that moves less would remember hours, and two lives of inference would not agree for as long."""


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


@njit(cache=True, nogil=True)
def trend_row(price: float, ratios: Any, trend: Any) -> tuple[float, float, float]:
    """One step of the local linear trend; slope in basis points a row, its t-value, log likelihood.

    Args:
        ratios: (2) variances of the steps of level and slope, against the noise's. trend: (TREND)
            level, slope (of log mid in basis points), covariance (level, both, slope) and variance
            of the noise; all zeros before the first row.
    """
    if not (price > 0.0 and math.isfinite(price)):
        return trend[1], 0.0, 0.0
    seen = math.log(price) * 1e4
    if trend[2] == 0.0:
        trend[0], trend[1] = seen, 0.0
        trend[2], trend[3], trend[4] = 1.0, 0.0, 1.0
        return 0.0, 0.0, 0.0
    level, slope = trend[0] + trend[1], trend[1]
    p00 = trend[2] + 2.0 * trend[3] + trend[4] + ratios[0]
    p01 = trend[3] + trend[4]
    p11 = trend[4] + ratios[1]
    surprise, spread = seen - level, p00 + 1.0
    square = surprise * surprise / spread
    likelihood = 0.0
    if trend[5] > 0.0:
        likelihood = -0.5 * (math.log(trend[5] * spread) + square / trend[5])
        trend[5] += _MEMORY * (square - trend[5])
    else:
        trend[5] = square
    gain, pull = p00 / spread, p01 / spread
    trend[0], trend[1] = level + gain * surprise, slope + pull * surprise
    trend[2], trend[3], trend[4] = p00 * (1.0 - gain), p01 * (1.0 - gain), p11 - pull * p01
    t_value = 0.0
    if trend[5] > 0.0:
        t_value = trend[1] / math.sqrt(trend[4] * trend[5])
    return trend[1], t_value, likelihood


@njit(cache=True, nogil=True)
def _see(value: float) -> float:
    """A column as the states see it: its logarithm, since spreads and volatilities are skew."""
    return math.copysign(math.log1p(abs(value)), value)


@njit(cache=True, nogil=True)
def _observe(values: Any, columns: Any, mean: Any, scale: Any, row: Any) -> None:
    for place in range(len(columns)):
        value = (_see(np.float64(values[columns[place]])) - mean[place]) * scale[place]
        row[place] = value if math.isfinite(value) else np.nan


@njit(cache=True, nogil=True)
def walk(
    values: Any, price: Any, instrument: Any, columns: Any, column_mean: Any, column_scale: Any,
    start: Any, moves: Any, state_mean: Any, state_variance: Any, ratios: Any, chances: Any,
    begun: Any, trend: Any, told: Any,
) -> None:  # fmt: skip
    """Take rows in, one after another: what is known of the regime and the trend at each.

    Args:
        values: (k, F) float32. price: (k) float64. instrument: (k) integers. chances: (instruments,
            S), begun: (instruments) bool, trend: (instruments, TREND): the memory, written.
        told: (k, S + 2) float64, written: chances of the states, slope and t-value of the trend.
    """
    states = len(start)
    row, scratch = np.empty(len(columns)), np.empty((2, states))
    for k in range(len(price)):
        mine = instrument[k]
        _observe(values[k], columns, column_mean, column_scale, row)
        filter_row(
            row, not begun[mine], start, moves, state_mean, state_variance, chances[mine], scratch
        )
        begun[mine] = True
        for state in range(states):
            told[k, state] = chances[mine, state]
        slope, t_value, _ = trend_row(price[k], ratios, trend[mine])
        told[k, states], told[k, states + 1] = slope, t_value


@njit(cache=True, nogil=True)
def mix(
    values: Any, told: Any, out: Any, mean: Any, scale: Any, coefficients: Any, spread: Any
) -> None:
    """What the states' regressions say, mixed by the chances of the states.

    Args:
        values: (k, F) float32. told: (k, S + 2), as `walk` writes it. out: (k, OUTPUTS) float32,
            written. mean, scale: (F + 2). coefficients: (F + 3, 4 S): the logits and the move of
            each state. spread: (S).
    """
    states, columns = len(spread), values.shape[1]
    said = np.empty(len(coefficients[0]))
    for row in range(len(values)):
        for k in range(len(said)):
            said[k] = coefficients[columns + 2, k]
        for column in range(columns + 2):
            value = told[row, states + column - columns]
            if column < columns:
                value = np.float64(values[row, column])
            scaled = (value - mean[column]) * scale[column]
            if math.isfinite(scaled):
                scaled = min(max(scaled, -CLIP), CLIP)
                for k in range(len(said)):
                    said[k] += scaled * coefficients[column, k]
        chances = np.zeros(CLASSES)
        move = square = 0.0
        for state in range(states):
            first, share = 4 * state, told[row, state]
            highest = max(said[first], said[first + 1], said[first + 2])
            total = 0.0
            for k in range(CLASSES):
                total += math.exp(said[first + k] - highest)
            for k in range(CLASSES):
                chances[k] += share * math.exp(said[first + k] - highest) / total
            of_state = said[first + CLASSES]
            move += share * of_state
            square += share * (of_state * of_state + spread[state] * spread[state])
        for k in range(CLASSES):
            out[row, k] = chances[k]
        out[row, CLASSES] = move
        out[row, CLASSES + 1] = math.sqrt(max(square - move * move, 0.0))


def observed(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n, D) float64: the columns as the states see them, not yet standardised."""
    seen = values[:, columns].astype(np.float64)
    return np.copysign(np.log1p(np.abs(seen)), seen)


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


def fit_trend(streams: list[np.ndarray]) -> np.ndarray:
    """The pair of `GRID` under which the mids (n) of all streams are likeliest."""
    found = []
    for pair in GRID:
        ratios, total = np.array(pair), 0.0
        for prices in streams:
            total += _trend_likelihood(prices, ratios)
        found.append(total)
    return np.array(GRID[int(np.argmax(found))])


@njit(cache=True, nogil=True)
def _trend_likelihood(prices: Any, ratios: Any) -> float:
    trend, total = np.zeros(TREND), 0.0
    for t in range(len(prices)):
        _, _, likelihood = trend_row(prices[t], ratios, trend)
        total += likelihood
    return total


class Regime(Model):
    """States, trend, and a gate of regressions.

    The weights, float64 but for `columns`: `columns` (D) int64, which ones tell the states apart;
    `column_mean`, `column_scale` (D) of their logarithms; `start` (S), `moves` (S, S),
    `state_mean`, `state_variance` (S, D); `ratios` (2) of the trend; `mean`, `scale` (F + 2),
    `coefficients` (F + 3, 4 S) and `spread` (S) of the gate.
    """

    family = "regime"
    rows_back = 300
    """Filters forget: of what stands further back less than a thousandth is left in a chance."""

    def __init__(self, states: int = STATES) -> None:
        assert 2 <= states <= 4
        self._states = states
        self._weights: Weights = {}

    @property
    def _fitted(self) -> Weights:
        if not self._weights:
            raise NotFittedError
        return self._weights

    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        """Fit states and trend on all rows, then the gate on the labelled ones."""
        del target, seed
        learnable(samples)
        columns = np.array([COLUMN[name] for name in COLUMNS])
        seen = observed(samples.values, columns)
        column_mean, column_scale = scaling(seen)
        with np.errstate(invalid="ignore"):
            rows = (seen - column_mean) * column_scale
        rows[~np.isfinite(rows)] = np.nan
        streams = [where for _, where in samples.streams()]
        found = fit_states(
            [rows[where] for where in streams], self._states, lambda share: report(0.6 * share)
        )
        names = ("start", "moves", "state_mean", "state_variance")
        self._weights = {
            "columns": columns, "column_mean": column_mean, "column_scale": column_scale,
            **dict(zip(names, found, strict=True)),
            "ratios": fit_trend([samples.price[where] for where in streams]),
        }  # fmt: skip
        report(0.7)
        self._fit_gate(samples)
        report(1.0)

    def _fit_gate(self, samples: Samples) -> None:
        told = self._told(samples)
        usable = samples.known & np.isfinite(samples.move_bps)
        known, chances = samples.take(usable), told[usable, : self._states]
        wide = np.hstack([known.values, told[usable, self._states :]])
        mean, scale = scaling(wide)
        rows = standardised(wide, mean, scale)
        coefficients = np.zeros((rows.shape[1] + 1, self._states, CLASSES + 1))
        spread = np.zeros(self._states)
        for state in range(self._states):
            # Every sample counts a little everywhere: a rare state leans on what is always so.
            shares = chances[:, state] + 0.02
            coefficients[:, state, :CLASSES] = fit_logistic(
                rows, known.label, penalty=PENALTY, shares=shares
            )
            coefficients[:, state, CLASSES], spread[state] = fit_ridge(
                rows, known.move_bps, penalty=PENALTY, shares=shares
            )
        self._weights |= {
            "mean": mean, "scale": scale,
            "coefficients": coefficients.reshape(len(coefficients), -1), "spread": spread,
        }  # fmt: skip

    def _told(self, samples: Samples) -> np.ndarray:
        """What `walk` tells of all samples, each instrument from its first one."""
        _, place = np.unique(samples.instrument, return_inverse=True)
        memory = _Memory(int(place.max(initial=0)) + 1, self._states)
        told = np.empty((samples.count, self._states + 2))
        memory.walk(samples.values, samples.price, place, self._fitted, told)
        return told

    def predict(self, samples: Samples) -> np.ndarray:
        """What it says of each sample."""
        weights = self._fitted
        out = np.empty((samples.count, OUTPUTS), np.float32)
        mix(samples.values, self._told(samples), out, *_gate(weights))
        return out

    def regimes(self, samples: Samples) -> np.ndarray:
        """(n, S): the filtered chance of each state, the quietest first."""
        chances: np.ndarray = self._told(samples)[:, : self._states]
        return chances

    def follower(self, instruments: int) -> "RegimeFollower":
        """Something that follows so many instruments with the numbers learnt."""
        return RegimeFollower(self._fitted, instruments)

    def explain(self, samples: Samples) -> np.ndarray:
        """What each column adds to the states' log-odds, mixed by the chances of the states.

        Exact where one state is certain; what the trend and the choice of the state add is no
        column's.
        """
        weights, told = self._fitted, self._told(samples)
        columns = samples.values.shape[1]
        by_state = weights["coefficients"].reshape(-1, self._states, CLASSES + 1)[:columns]
        slopes = told[:, : self._states] @ (by_state[:, :, UP] - by_state[:, :, DOWN]).T
        rows = standardised(samples.values, weights["mean"][:-2], weights["scale"][:-2])
        found: np.ndarray = rows * slopes
        return found

    def weights(self) -> Weights:
        """States, trend and gate."""
        return {name: array.copy() for name, array in self._fitted.items()}

    @classmethod
    def restored(cls, weights: Weights) -> Self:
        """A model with these numbers."""
        columns = taken(weights, "columns", None, dtype=np.int64)
        states, seen = len(taken(weights, "start", None)), len(columns)
        wide = len(taken(weights, "mean", None))
        shapes: dict[str, tuple[int, ...]] = {
            "column_mean": (seen,), "column_scale": (seen,), "start": (states,),
            "moves": (states, states), "state_mean": (states, seen),
            "state_variance": (states, seen), "ratios": (2,), "mean": (wide,), "scale": (wide,),
            "coefficients": (wide + 1, (CLASSES + 1) * states), "spread": (states,),
        }  # fmt: skip
        found = {name: taken(weights, name, *shape) for name, shape in shapes.items()}
        sound = (
            2 <= states <= 4
            and bool(((columns >= 0) & (columns < wide - 2)).all())
            and all((found[name] > 0).all() for name in ("start", "moves", "state_variance"))
        )
        if not sound:
            raise ModelError("the states in the weights are damaged: train the model anew")
        model = cls(states)
        model._weights = {"columns": columns} | found
        return model


def _gate(weights: Weights) -> tuple[np.ndarray, ...]:
    return weights["mean"], weights["scale"], weights["coefficients"], weights["spread"]


class _Memory:
    """What is remembered of each instrument."""

    def __init__(self, instruments: int, states: int) -> None:
        self.chances = np.zeros((instruments, states))
        self.begun = np.zeros(instruments, np.bool_)
        self.trend = np.zeros((instruments, TREND))

    def walk(
        self, values: np.ndarray, price: np.ndarray, instrument: np.ndarray, weights: Weights,
        told: np.ndarray,
    ) -> None:  # fmt: skip
        """Take rows in."""
        walk(
            values, price, instrument, weights["columns"], weights["column_mean"],
            weights["column_scale"], weights["start"], weights["moves"], weights["state_mean"],
            weights["state_variance"], weights["ratios"], self.chances, self.begun, self.trend,
            told,
        )  # fmt: skip


class RegimeFollower(Follower):
    """The filters of all instruments, and the gate."""

    def __init__(self, weights: Weights, instruments: int) -> None:
        states = len(weights["start"])
        self._weights = weights
        self._memory = _Memory(instruments, states)
        self._told = np.empty((instruments, states + 2))
        self._out = np.empty((instruments, OUTPUTS), np.float32)

    def step(
        self, values: np.ndarray, book: np.ndarray, price: np.ndarray, instrument: np.ndarray
    ) -> np.ndarray:
        """Take in one row of each of some instruments, none twice."""
        del book
        told, out = self._told[: len(price)], self._out[: len(price)]
        self._memory.walk(values, price, instrument, self._weights, told)
        mix(values, told, out, *_gate(self._weights))
        return out

    @property
    def regimes(self) -> np.ndarray:
        """(instruments) int64: the likeliest state of each, -1 before its first row."""
        found: np.ndarray = np.where(self._memory.begun, self._memory.chances.argmax(axis=1), -1)
        return found

    def forget(self) -> None:
        """Begin anew, as if no row had ever come."""
        self._memory.chances[:] = 0
        self._memory.begun[:] = False
        self._memory.trend[:] = 0
