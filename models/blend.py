"""A blend of models: stacking on what they said of samples that they had not learnt from.

The members' log-chances are the columns of one more multinomial logistic regression (Wolpert:
Stacked Generalization, 1992); its temperature is then set on a later part, purged, so that of what
it calls p likely, p comes (Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks,
2017). The move is a ridge regression of the members' moves, its spread what that was wrong by
there.

It is given out-of-fold predictions: from in-sample ones it would learn to trust who overfits most.
A member that has nothing to say of a sample (NaN) counts as the base rates and no move.
"""

import math
from typing import Final, Self

import numpy as np

from models.arrays import taken
from models.base import ModelError
from models.family import NotFittedError, Weights
from models.learnable import held_out, learnable
from models.products import affine
from models.regressions import fit_logistic, fit_ridge, softmax
from models.samples import CLASSES, OUTPUTS, Samples

PENALTY: Final = 1e-2
HELD_OUT: Final = 0.3
CHANCE_LEAST: Final = 1e-3
"""A member's chances are kept from 0 by so much: rules say never, and are wrong at times."""
TEMPERATURES: Final = (0.25, 4.0)


class Blend:
    """One model made of what M others say.

    The weights, float64: `rates` (3) the base rates; `coefficients` (3 M + 1, 3) of the logits of
    the log-chances, against the base rates' own; `temperature` (1), which divides them; `moves`
    (M + 1), of the members' moves; `spread` (1), basis points.
    """

    def __init__(self) -> None:
        self._weights: Weights = {}

    def fit(self, outputs: np.ndarray, samples: Samples) -> None:
        """Learn whom to trust.

        Args:
            outputs: (n, M, OUTPUTS), what each member said of each sample, out of fold.

        Raises:
            ModelError: there is too little to learn from.
        """
        assert outputs.shape == (samples.count, outputs.shape[1], OUTPUTS)
        earlier, later = held_out(samples, HELD_OUT)
        train = learnable(samples.take(earlier))
        rates = np.bincount(train.label, minlength=CLASSES) + 1.0
        self._weights = {"rates": rates / rates.sum()}
        rows, moves = self._rows(outputs[earlier])
        found, _ = fit_ridge(moves, train.move_bps, penalty=PENALTY * float(moves.var()) + 1e-9)
        coefficients = fit_logistic(rows, train.label, penalty=PENALTY)
        look = samples.take(later)
        rows, moves = self._rows(outputs[later])
        logits = rows @ coefficients[:-1] + coefficients[-1]
        left = look.move_bps - moves @ found[:-1] - found[-1]
        self._weights |= {
            "coefficients": coefficients, "moves": found,
            "temperature": np.array([_temperature(logits, look.label)]),
            "spread": np.array([max(float(np.sqrt(np.mean(left * left))), 1e-6)]),
        }  # fmt: skip

    def _rows(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-chances (n, 3 M) against the base rates, and moves (n, M); 0 for who is silent."""
        seen = outputs.astype(np.float64)
        silent = np.isfinite(seen).sum(axis=2, keepdims=True) < OUTPUTS
        chances = np.maximum(np.where(silent, 1.0, seen[:, :, :CLASSES]), CHANCE_LEAST)
        logs = np.log(chances / chances.sum(axis=2, keepdims=True)) - np.log(self._weights["rates"])
        logs = np.where(silent, 0.0, logs)
        moves = np.where(silent[:, :, 0], 0.0, seen[:, :, CLASSES])
        return logs.reshape(len(logs), -1), moves

    @property
    def members(self) -> int:
        """How many models it is made of.

        Raises:
            NotFittedError: it has not been fitted.
        """
        if not self._weights:
            raise NotFittedError
        return len(self._weights["moves"]) - 1

    def predict(self, outputs: np.ndarray) -> np.ndarray:
        """What the blend says: (n, OUTPUTS) float32 of the members' (n, M, OUTPUTS).

        Raises:
            NotFittedError: it has not been fitted.
            ModelError: there are more or fewer members than it was fitted on.
        """
        weights, members = self._weights, self.members
        if outputs.shape[1:] != (members, OUTPUTS):
            raise ModelError(
                f"the blend is of {members} models and is given {outputs.shape[1]}: fit it anew"
            )
        rows, moves = self._rows(outputs)
        logits = affine(rows, weights["coefficients"][:-1], weights["coefficients"][-1])
        found = np.empty((len(outputs), OUTPUTS), np.float32)
        found[:, :CLASSES] = softmax(logits / weights["temperature"])
        found[:, CLASSES] = affine(moves, weights["moves"][:-1, None], weights["moves"][-1:])[:, 0]
        found[:, CLASSES + 1] = weights["spread"]
        return found

    def weights(self) -> Weights:
        """The numbers learnt."""
        if not self._weights:
            raise NotFittedError
        return {name: array.copy() for name, array in self._weights.items()}

    @classmethod
    def restored(cls, weights: Weights) -> Self:
        """A blend with these numbers.

        Raises:
            ModelError: an array is missing, or of another shape.
        """
        blend = cls()
        moves = taken(weights, "moves", None)
        columns = CLASSES * (len(moves) - 1)
        blend._weights = {
            "rates": taken(weights, "rates", CLASSES),
            "coefficients": taken(weights, "coefficients", columns + 1, CLASSES),
            "moves": moves,
            "temperature": taken(weights, "temperature", 1),
            "spread": taken(weights, "spread", 1),
        }
        if not (blend._weights["temperature"] > 0).all():
            raise ModelError("the temperature in the weights is not above 0: fit the blend anew")
        return blend


def _temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits by for the least log loss, by golden section on its logarithm."""

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        highest = scaled.max(axis=1)
        total = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
        return float((total - scaled[np.arange(len(labels)), labels]).mean())

    # Convex in one over the temperature, so it has one valley.
    golden = (math.sqrt(5) - 1) / 2
    low, high = (math.log(bound) for bound in TEMPERATURES)
    for _ in range(40):
        first, second = high - golden * (high - low), low + golden * (high - low)
        if loss(first) < loss(second):
            high = second
        else:
            low = first
    return math.exp((low + high) / 2)
