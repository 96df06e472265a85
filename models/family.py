"""What every model family can do, whatever is inside: fit, predict, follow a market row by row.

A family's numbers are a dictionary of arrays, which `models.base` writes beside a manifest and
refuses when they are not those of the manifest. A model reads nothing but the samples it is given;
with the same samples and seed it fits the same numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np

from models.samples import Samples, Target

Weights = dict[str, np.ndarray]
Report = Callable[[float], object]
"""Told how far a fit has come, 0 to 1."""


class NotFittedError(Exception):
    """A model was asked before it was fitted."""

    def __init__(self) -> None:
        super().__init__("the model has not been fitted: call fit, or restore it from its weights")


class Follower(ABC):
    """A model that follows running markets: what it remembers of each instrument, and its step.

    Fed the rows of a `Samples` cut by cut it says what `Model.predict` says of them all at once,
    to the bound that the family's tests state.
    """

    @abstractmethod
    def step(
        self, values: np.ndarray, book: np.ndarray, price: np.ndarray, instrument: np.ndarray
    ) -> np.ndarray:
        """Take in one row of each of some instruments, none twice.

        Args:
            values: (k, F) float32. book: (k, 40) float32. price: (k) float64, mid, which the book
                is measured from. instrument: (k) integers below the number of instruments.

        Returns (k, OUTPUTS) float32; its memory is the follower's, valid until the next step.
        """

    @abstractmethod
    def forget(self) -> None:
        """Begin anew, as if no row had ever come."""


class Model(ABC):
    """One model of a family."""

    family: ClassVar[str]
    """As it is typed: `dcctl train FAMILY`."""
    learns_online: ClassVar[bool] = False
    """It goes on learning from rows whose labels have matured: it has `partial_fit`."""
    rows_back: ClassVar[int] = 0
    """How many earlier rows of an instrument a prediction is made of; what embargoes must cover."""

    @abstractmethod
    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        """Learn from all samples that have a label; forget what was learnt before.

        Raises:
            ModelError: there is too little to learn from.
        """

    @abstractmethod
    def predict(self, samples: Samples) -> np.ndarray:
        """What it says of each sample: (n, OUTPUTS) float32, NaN where it cannot say anything.

        Raises:
            NotFittedError: it has not been fitted.
        """

    @abstractmethod
    def follower(self, instruments: int) -> Follower:
        """Something that follows so many instruments with the numbers learnt.

        That of an online model says what the model has learnt by then.
        """

    @abstractmethod
    def explain(self, samples: Samples) -> np.ndarray:
        """How much each column has moved each prediction from down towards up.

        Returns (n, F) float64 contributions to the log-odds of up against down; with what the
        model says of an average row they sum to the prediction's, for families that are additive.
        """

    @abstractmethod
    def weights(self) -> Weights:
        """The numbers learnt."""

    @classmethod
    @abstractmethod
    def restored(cls, weights: Weights) -> Self:
        """A model with these numbers.

        Raises:
            ModelError: an array is missing, or of another shape.
        """


class OnlineModel(Model):
    """A model that goes on learning."""

    learns_online = True

    @abstractmethod
    def partial_fit(self, samples: Samples) -> None:
        """Learn from samples whose labels have matured, each of them once, in their order."""
