"""What every other family has to beat: the base rates, a ridge regression, a plain logistic.

    base_rate  how often each label came, whatever the row says: whoever follows it stays flat
    ridge      Hoerl, Kennard: Ridge Regression, 1970; chances from a Gaussian around the move
    logistic   scikit-learn's multinomial logistic regression

All three are fitted in closed form or by a deterministic method; nothing is drawn.
"""

import math
from typing import Any, Final, Self

import numpy as np
from numba import njit

from models.affine import Affine, affine_of, apply, scaling, standardised
from models.arrays import taken
from models.chances import softmax
from models.family import NotFittedError, Report, Weights
from models.learnable import learnable
from models.regressions import fit_logistic, fit_ridge
from models.rowwise import RowModel
from models.samples import CLASSES, DOWN, UP, Samples, Target

PENALTY: Final = 1e-3
"""What a squared standardised coefficient costs in the mean loss of a sample."""


class BaseRate(RowModel):
    """Says the same of every row: how often each label came, no move, and how far prices go.

    The weights: `outputs` (5) float32.
    """

    family = "base_rate"

    def __init__(self) -> None:
        self._outputs = np.zeros(0, np.float32)

    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        """Count the labels."""
        del target, seed, report
        known = learnable(samples)
        rates = np.bincount(known.label, minlength=CLASSES) / known.count
        self._outputs = np.array([*rates, 0.0, known.move_bps.std()], np.float32)

    def say(self, values: np.ndarray, book: np.ndarray, out: np.ndarray) -> None:
        """Write the base rates."""
        del values, book
        if not len(self._outputs):
            raise NotFittedError
        out[:] = self._outputs

    def explain(self, samples: Samples) -> np.ndarray:
        """No column moves it."""
        if not len(self._outputs):
            raise NotFittedError
        return np.zeros(samples.values.shape)

    def weights(self) -> Weights:
        """The five outputs."""
        if not len(self._outputs):
            raise NotFittedError
        return {"outputs": self._outputs.copy()}

    @classmethod
    def restored(cls, weights: Weights) -> Self:
        """A model that says these outputs."""
        model = cls()
        model._outputs = taken(weights, "outputs", CLASSES + 2, dtype=np.float32)
        return model


class _Linear(RowModel):
    """A model of linear functions of a row."""

    functions: int

    def __init__(self) -> None:
        self._affine: Affine | None = None

    @property
    def affine(self) -> Affine:
        """What was fitted.

        Raises:
            NotFittedError: nothing was.
        """
        if self._affine is None:
            raise NotFittedError
        return self._affine

    def _raw(self, values: np.ndarray) -> np.ndarray:
        raw = np.empty((len(values), self.functions))
        apply(values, *self.affine, raw)
        return raw


@njit(cache=True, nogil=True)
def _above(threshold: float, move: float, spread: float) -> float:
    """Chance that a Gaussian around the move lies above the threshold."""
    return 0.5 * math.erfc((threshold - move) / (spread * math.sqrt(2.0)))


@njit(cache=True, nogil=True)
def _say_gaussian(raw: Any, threshold: float, spread: float, out: Any) -> None:
    for row in range(len(raw)):
        move = raw[row, 0]
        up, down = _above(threshold, move, spread), _above(threshold, -move, spread)
        out[row, 0] = up
        out[row, 1] = 1.0 - up - down
        out[row, 2] = down
        out[row, 3] = move
        out[row, 4] = spread


class Ridge(_Linear):
    """Linear regression of the move.

    The weights, float64: `mean`, `scale` (F), `coefficients` (F + 1, 1) in basis points a standard
    deviation, `gaussian` (2): the move that counts as one, and the spread around what is expected.
    """

    family = "ridge"
    functions = 1

    def __init__(self) -> None:
        super().__init__()
        self._gaussian = np.zeros(2)

    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        """Solve the regression."""
        del seed, report
        known = learnable(samples)
        mean, scale = scaling(known.values)
        rows = standardised(known.values, mean, scale)
        slopes, spread = fit_ridge(rows, known.move_bps, penalty=PENALTY)
        self._affine = Affine(mean, scale, slopes[:, None])
        self._gaussian = np.array([target.move_bps, spread])

    def say(self, values: np.ndarray, book: np.ndarray, out: np.ndarray) -> None:
        """Write what it says of each row."""
        del book
        _say_gaussian(self._raw(values), self._gaussian[0], self._gaussian[1], out)

    def explain(self, samples: Samples) -> np.ndarray:
        """To first order: what each column adds to the move, times the slope of the log-odds at 0.

        The log-odds of a Gaussian are all but linear in its mean while that is small against the
        spread, as it is in markets.
        """
        mean, scale, coefficients = self.affine
        threshold, spread = self._gaussian
        density = math.exp(-0.5 * (threshold / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
        slope = 2 * density / max(_above(threshold, 0.0, spread), 1e-300)
        told: np.ndarray = standardised(samples.values, mean, scale) * coefficients[:-1, 0] * slope
        return told

    def weights(self) -> Weights:
        """The regression and its spread."""
        found = {name: array.copy() for name, array in self.affine._asdict().items()}
        return found | {"gaussian": self._gaussian.copy()}

    @classmethod
    def restored(cls, weights: Weights) -> Self:
        """A model with this regression."""
        model = cls()
        model._affine = affine_of(weights, cls.functions)
        model._gaussian = taken(weights, "gaussian", 2)
        return model


@njit(cache=True, nogil=True)
def _say_classes(raw: Any, moves: Any, out: Any) -> None:
    for row in range(len(raw)):
        softmax(raw[row])
        move = square = 0.0
        for k in range(CLASSES):
            chance = raw[row, k]
            out[row, k] = chance
            move += chance * moves[0, k]
            square += chance * moves[1, k]
        out[row, CLASSES] = move
        out[row, CLASSES + 1] = math.sqrt(max(square - move * move, 0.0))


class Logistic(_Linear):
    """Multinomial logistic regression; the move is the mean of the classes' moves.

    The weights, float64: `mean`, `scale` (F), `coefficients` (F + 1, 3) of the logits, `moves`
    (2, 3): mean move and mean squared move of each class, in basis points and their square.
    """

    family = "logistic"
    functions = CLASSES

    def __init__(self) -> None:
        super().__init__()
        self._moves = np.zeros((2, CLASSES))

    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        """Let scikit-learn fit the coefficients."""
        del target, seed, report
        known = learnable(samples)
        mean, scale = scaling(known.values)
        rows = standardised(known.values, mean, scale)
        self._affine = Affine(mean, scale, fit_logistic(rows, known.label, penalty=PENALTY))
        self._moves = moves_of_classes(known)

    def say(self, values: np.ndarray, book: np.ndarray, out: np.ndarray) -> None:
        """Write what it says of each row."""
        del book
        _say_classes(self._raw(values), self._moves, out)

    def explain(self, samples: Samples) -> np.ndarray:
        """Exact: the log-odds are linear."""
        mean, scale, coefficients = self.affine
        slope = coefficients[:-1, UP] - coefficients[:-1, DOWN]
        told: np.ndarray = standardised(samples.values, mean, scale) * slope
        return told

    def weights(self) -> Weights:
        """The regression and the classes' moves."""
        found = {name: array.copy() for name, array in self.affine._asdict().items()}
        return found | {"moves": self._moves.copy()}

    @classmethod
    def restored(cls, weights: Weights) -> Self:
        """A model with this regression."""
        model = cls()
        model._affine = affine_of(weights, cls.functions)
        model._moves = taken(weights, "moves", 2, CLASSES)
        return model


def moves_of_classes(known: Samples) -> np.ndarray:
    """(2, 3): mean move and mean squared move of each class; 0 for one that never came."""
    found = np.zeros((2, CLASSES))
    for k in range(CLASSES):
        moves = known.move_bps[known.label == k]
        if len(moves):
            found[:, k] = moves.mean(), (moves * moves).mean()
    return found
