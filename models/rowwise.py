"""Models whose word on a row depends on that row alone: they follow a market without a memory."""

from abc import abstractmethod
from typing import final

import numpy as np

from models.family import Follower, Model
from models.samples import OUTPUTS, Samples


class RowModel(Model):
    """A model that looks at one row at a time."""

    @abstractmethod
    def say(self, values: np.ndarray, book: np.ndarray, out: np.ndarray) -> None:
        """Write what it says of each row.

        Args:
            values: (k, F) float32. book: (k, 40) float32. out: (k, OUTPUTS) float32.

        Raises:
            NotFittedError: it has not been fitted.
        """

    def predict(self, samples: Samples) -> np.ndarray:
        """What it says of each sample: (n, OUTPUTS) float32."""
        out = np.empty((samples.count, OUTPUTS), np.float32)
        self.say(samples.values, samples.book, out)
        return out

    def follower(self, instruments: int) -> "RowFollower":
        """Something that asks this model about each row; what the model learns, it says."""
        return RowFollower(self, instruments)


@final
class RowFollower(Follower):
    """Asks a model about rows, with nothing to remember."""

    def __init__(self, model: RowModel, instruments: int) -> None:
        self._model = model
        self._out = np.empty((instruments, OUTPUTS), np.float32)

    def step(
        self, values: np.ndarray, book: np.ndarray, price: np.ndarray, instrument: np.ndarray
    ) -> np.ndarray:
        """What the model says of the rows."""
        del price
        out = self._out[: len(instrument)]
        self._model.say(values, book, out)
        return out

    def forget(self) -> None:
        """There is nothing to forget."""
