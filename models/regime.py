"""Regimes: a hidden Markov model and a Kalman trend, gating one logistic regression a state.

    states   `models/hidden_markov.py` over a few slow columns, filtered forward
    trend    `models/trend.py`: its slope, and the slope's t-value, are two more columns
    gate     a multinomial logistic and a ridge a state, mixed by the filtered chances of the states

Only what was known at a row is in it: filtered chances, never smoothed ones, in fitting too. Every
instrument has its own chances and its own trend; the numbers learnt are shared.
"""

import math
from typing import Any, Final, Self

import numpy as np
from numba import njit

from models.affine import CLIP, scaling, standardised
from models.arrays import taken
from models.base import ModelError
from models.chances import softmax
from models.family import Follower, Model, NotFittedError, Report, Weights
from models.hidden_markov import filter_row, fit_states
from models.learnable import learnable
from models.regressions import fit_logistic, fit_ridge
from models.samples import CLASSES, DOWN, OUTPUTS, UP, Samples, Target
from models.trend import TREND, fit_trend, trend_row
from schemas.features import COLUMN

STATES: Final = 3
COLUMNS: Final = ("volatility_60s_bps", "spread_bps", "return_5s_bps", "book_rate_60s")
"""What tells the states apart."""
PENALTY: Final = 1e-3


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
            softmax(said[first : first + CLASSES])
            for k in range(CLASSES):
                chances[k] += share * said[first + k]
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
