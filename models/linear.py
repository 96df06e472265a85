"""Online linear models: they learn from each sample once, in microseconds, when its label matures.

Three scorers against the rest (up, flat, down) over standardised rows, by one of three rules:

    sgd                 logistic loss, L2, rate falling with the root of the samples seen
    ftrl                FTRL-Proximal (McMahan et al.: Ad Click Prediction, 2013, algorithm 1)
    passive_aggressive  PA-I (Crammer et al.: Online Passive-Aggressive Algorithms, 2006)

Scores become chances by a scale and three offsets that are learnt too, each from the score that a
sample got before it was learnt from, so that a rule without chances of its own (PA) has calibrated
ones. The move is a linear regression by AdaGrad (Duchi, Hazan, Singer, 2011), its spread what that
regression was wrong by of late.

One set of weights serves all instruments: order flow moves prices much alike everywhere (Sirignano,
Cont: Universal Features of Price Formation, 2019), an index means nothing in another configuration,
and a market never seen gets an answer. Running means and spreads are part of the state, all of it
float64: a model restored in the middle goes on to the same bits. Nothing here allocates a row.
"""

import math
from typing import Any, ClassVar, Final, Self

import numpy as np
from numba import njit

from models.affine import CLIP
from models.arrays import taken
from models.chances import softmax
from models.family import NotFittedError, OnlineModel, Report, Weights
from models.learnable import learnable
from models.rowwise import RowModel
from models.samples import CLASSES, DOWN, OUTPUTS, UNKNOWN, UP, Samples, Target

CALIBRATION_RATE: Final = 0.05
MOVE_RATE: Final = 0.02
MEMORY: Final = 1e-4
"""Share of the newest residual in the spread of the move, once so many were seen."""
CHUNK: Final = 50_000
"""Samples between two words on how far a fit has come."""
_SGD, _FTRL, _PASSIVE_AGGRESSIVE = range(3)


@njit(cache=True, nogil=True)
def _note(values: Any, seen: Any, mean: Any, squares: Any) -> None:
    """Running mean and sum of squared deviations of each column (Welford, 1962)."""
    for column in range(len(mean)):
        value = np.float64(values[column])
        if math.isfinite(value):
            seen[column] += 1.0
            off = value - mean[column]
            mean[column] += off / seen[column]
            squares[column] += off * (value - mean[column])


@njit(cache=True, nogil=True)
def _standardise(values: Any, seen: Any, mean: Any, squares: Any, x: Any) -> None:
    """A row as the scorers see it, and a one for their offsets behind it; what is unknown is 0."""
    columns = len(mean)
    for column in range(columns):
        value = np.float64(values[column])
        x[column] = 0.0
        if squares[column] > 0.0 and math.isfinite(value):
            scaled = (value - mean[column]) / math.sqrt(squares[column] / seen[column])
            x[column] = min(max(scaled, -CLIP), CLIP)
    x[columns] = 1.0


@njit(cache=True, nogil=True)
def _dot(a: Any, b: Any) -> float:
    total = 0.0
    for place in range(len(a)):
        total += a[place] * b[place]
    return total


@njit(cache=True, nogil=True)
def _chances(scores: Any, calibration: Any, chances: Any) -> None:
    """Scores to chances: softmax of scale * score + offset."""
    for k in range(CLASSES):
        chances[k] = calibration[0] * scores[k] + calibration[1 + k]
    softmax(chances)


@njit(cache=True, nogil=True)
def _calibrate(scores: Any, label: int, calibration: Any, chances: Any) -> None:
    """One AdaGrad step of scale and offsets down the log loss."""
    _chances(scores, calibration[0], chances)
    slope = 0.0
    for k in range(CLASSES):
        error = chances[k] - (1.0 if k == label else 0.0)
        slope += error * scores[k]
        calibration[1, 1 + k] += error * error
        calibration[0, 1 + k] -= CALIBRATION_RATE * error / math.sqrt(calibration[1, 1 + k])
    if slope != 0.0:
        calibration[1, 0] += slope * slope
        scale = calibration[0, 0] - CALIBRATION_RATE * slope / math.sqrt(calibration[1, 0])
        calibration[0, 0] = max(scale, 0.0)


@njit(cache=True, nogil=True)
def _learn_sgd(x: Any, score: float, sign: float, w: Any, settings: Any, count: float) -> None:
    """Down the slope of log(1 + exp(-sign * score)) + l2 / 2 * |w|^2; the offset is not shrunk."""
    rate = settings[0] / count ** settings[1]
    shrink = max(1.0 - rate * settings[2], 0.0)
    step = rate * sign / (1.0 + math.exp(min(sign * score, 500.0)))
    last = len(x) - 1
    for place in range(last):
        w[place] = shrink * w[place] + step * x[place]
    w[last] += step


@njit(cache=True, nogil=True)
def _learn_ftrl(x: Any, score: float, sign: float, w: Any, z: Any, n: Any, settings: Any) -> None:
    """Algorithm 1 of McMahan et al.; `w` is kept for the next prediction."""
    alpha, beta, l1, l2 = settings[0], settings[1], settings[2], settings[3]
    error = -sign / (1.0 + math.exp(min(sign * score, 500.0)))
    for place in range(len(x)):
        gradient = error * x[place]
        grown = n[place] + gradient * gradient
        sigma = (math.sqrt(grown) - math.sqrt(n[place])) / alpha
        z[place] += gradient - sigma * w[place]
        n[place] = grown
        w[place] = 0.0
        if abs(z[place]) > l1:
            pull = z[place] - math.copysign(l1, z[place])
            w[place] = -pull / ((beta + math.sqrt(grown)) / alpha + l2)


@njit(cache=True, nogil=True)
def _learn_passive_aggressive(x: Any, score: float, sign: float, w: Any, settings: Any) -> None:
    """The least change that gives this sample its margin, but no step longer than C."""
    loss = max(1.0 - sign * score, 0.0)
    step = sign * min(settings[0], loss / _dot(x, x))
    for place in range(len(x)):
        w[place] += step * x[place]


@njit(cache=True, nogil=True)
def _learn_move(x: Any, move: float, coefficients: Any, variances: Any, count: float) -> None:
    """One AdaGrad step of the regression, and what it was wrong by before."""
    share = max(1.0 / count, MEMORY)
    wrong = _dot(coefficients[0], x) - move
    variances[1] += share * (wrong * wrong - variances[1])
    variances[0] += share * (move * move - variances[0])
    typical = math.sqrt(variances[0])
    if typical <= 0.0:
        return
    error = min(max(wrong / typical, -CLIP), CLIP)
    for place in range(len(x)):
        gradient = error * x[place]
        if gradient != 0.0:
            coefficients[1, place] += gradient * gradient
            step = gradient / math.sqrt(coefficients[1, place])
            coefficients[0, place] -= MOVE_RATE * typical * step


@njit(cache=True, nogil=True)
def _learn(
    rule: int, values: Any, labels: Any, moves: Any, x: Any, settings: Any, count: Any,
    seen: Any, mean: Any, squares: Any, scorers: Any, memory: Any, calibration: Any, move: Any,
    variances: Any,
) -> None:  # fmt: skip
    """Learn from the labelled ones of the rows, in their order."""
    scores, chances = np.empty(CLASSES), np.empty(CLASSES)
    for row in range(len(labels)):
        if labels[row] == UNKNOWN:
            continue
        _note(values[row], seen, mean, squares)
        _standardise(values[row], seen, mean, squares, x)
        count[0] += 1.0
        for k in range(CLASSES):
            scores[k] = _dot(scorers[k], x)
        _calibrate(scores, labels[row], calibration, chances)
        for k in range(CLASSES):
            sign = 1.0 if k == labels[row] else -1.0
            if rule == _SGD:
                _learn_sgd(x, scores[k], sign, scorers[k], settings, count[0])
            elif rule == _FTRL:
                z, n = memory[0, k], memory[1, k]
                _learn_ftrl(x, scores[k], sign, scorers[k], z, n, settings)
            else:
                _learn_passive_aggressive(x, scores[k], sign, scorers[k], settings)
        if math.isfinite(moves[row]):
            _learn_move(x, moves[row], move, variances, count[0])


@njit(cache=True, nogil=True)
def _say(
    values: Any, x: Any, scores: Any, out: Any, seen: Any, mean: Any, squares: Any, scorers: Any,
    calibration: Any, move: Any, variances: Any,
) -> None:  # fmt: skip
    spread = math.sqrt(variances[1])
    for row in range(len(values)):
        _standardise(values[row], seen, mean, squares, x)
        for k in range(CLASSES):
            scores[0, k] = _dot(scorers[k], x)
        _chances(scores[0], calibration[0], scores[1])
        for k in range(CLASSES):
            out[row, k] = scores[1, k]
        out[row, CLASSES] = _dot(move[0], x)
        out[row, CLASSES + 1] = spread


class OnlineLinear(RowModel, OnlineModel):
    """What the three rules share; `rule` and `settings` make the difference.

    The weights, all float64: `settings` (S); `count` (1) samples learnt; `seen`, `mean`, `squares`
    (F) of the rows; `scorers` (3, F + 1); `memory` (2, 3, F + 1 or 0), FTRL's z and n;
    `calibration` (2, 4) scale and offsets, and their squared gradients; `move` (2, F + 1) likewise;
    `variances` (2) of the move and of what was left of it, in squared basis points.
    """

    rule: ClassVar[int]
    settings: ClassVar[tuple[float, ...]]

    def __init__(self) -> None:
        self._state: Weights = {}
        self._x = np.empty(0)
        self._scores = np.empty((2, CLASSES))

    def _begin(self, columns: int) -> None:
        kept = columns + 1 if self.rule == _FTRL else 0
        calibration = np.zeros((2, 1 + CLASSES))
        calibration[0, 0] = 1.0
        # In the order in which the kernel takes them.
        self._take({
            "settings": np.array(self.settings),
            "count": np.zeros(1),
            "seen": np.zeros(columns),
            "mean": np.zeros(columns),
            "squares": np.zeros(columns),
            "scorers": np.zeros((CLASSES, columns + 1)),
            "memory": np.zeros((2, CLASSES, kept)),
            "calibration": calibration,
            "move": np.zeros((2, columns + 1)),
            "variances": np.zeros(2),
        })  # fmt: skip

    def _take(self, state: Weights) -> None:
        self._state = state
        self._x = np.empty(len(state["mean"]) + 1)
        names = ("seen", "mean", "squares", "scorers", "calibration", "move", "variances")
        self._spoken = [state[name] for name in names]

    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        """Begin anew and learn from each sample once, in order; nothing is drawn."""
        del target, seed
        known = learnable(samples)
        self._begin(known.values.shape[1])
        for first in range(0, known.count, CHUNK):
            self.partial_fit(known.take(slice(first, first + CHUNK)))
            report(min((first + CHUNK) / known.count, 1.0))

    def partial_fit(self, samples: Samples) -> None:
        """Learn from samples whose labels have matured, each of them once, in their order."""
        if not self._state:
            self._begin(samples.values.shape[1])
        _learn(
            self.rule, samples.values, samples.label, samples.move_bps, self._x,
            *self._state.values(),
        )  # fmt: skip

    def say(self, values: np.ndarray, book: np.ndarray, out: np.ndarray) -> None:
        """Write what it says of each row."""
        del book
        if not self._state:
            raise NotFittedError
        _say(values, self._x, self._scores, out, *self._spoken)

    def explain(self, samples: Samples) -> np.ndarray:
        """Exact: the log-odds are linear in the standardised columns, 0 for an average row."""
        if not self._state:
            raise NotFittedError
        state = self._state
        spread = np.sqrt(state["squares"] / np.maximum(state["seen"], 1))
        scaled = np.zeros(samples.values.shape)
        np.divide(samples.values - state["mean"], spread, out=scaled, where=spread > 0)
        scaled = np.clip(np.where(np.isfinite(scaled), scaled, 0.0), -CLIP, CLIP)
        slope = (state["scorers"][UP] - state["scorers"][DOWN])[:-1]
        told: np.ndarray = scaled * slope * state["calibration"][0, 0]
        return told

    def weights(self) -> Weights:
        """The whole state."""
        if not self._state:
            raise NotFittedError
        return {name: array.copy() for name, array in self._state.items()}

    @classmethod
    def restored(cls, weights: Weights) -> Self:
        """A model that goes on where those weights were taken."""
        model = cls()
        columns = len(taken(weights, "mean", None))
        model._begin(columns)
        model._take({
            name: taken(weights, name, *array.shape) for name, array in model._state.items()
        })  # fmt: skip
        return model


class Sgd(OnlineLinear):
    """Logistic regression by stochastic gradient; settings: first rate, its power, L2."""

    family = "sgd"
    rule = _SGD
    settings = (0.05, 0.5, 1e-4)


class Ftrl(OnlineLinear):
    """FTRL-Proximal; settings: alpha, beta, L1, L2 of the paper."""

    family = "ftrl"
    rule = _FTRL
    settings = (0.03, 1.0, 1.0, 1.0)


class PassiveAggressive(OnlineLinear):
    """PA-I; settings: C, the longest step, small since labels of prices are mostly noise."""

    family = "passive_aggressive"
    rule = _PASSIVE_AGGRESSIVE
    settings = (5e-4,)


assert OUTPUTS == CLASSES + 2
