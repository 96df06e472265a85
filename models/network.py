"""Networks as models: what they see of a row, windows to fit them on, streams to ask them about.

What a network sees is its own choice: the catalogue's columns, the 40 values of the book, or both;
it stands in its weights, as the means and scales of what it sees. The last part of the training
span, purged, decides when fitting ends. Fitting needs MLX; asking and following need numpy alone,
unless a device of MLX is asked for. One network serves all instruments, each with rows of its own.
"""

import math
from typing import Any, ClassVar, Final, Literal, Self, get_args

import numpy as np
from numba import njit

from models import stack
from models.affine import scaling
from models.arrays import taken
from models.base import ModelError
from models.family import Follower, Model, NotFittedError, Report, Weights
from models.learnable import held_out, learnable
from models.products import affine
from models.samples import DOWN, OUTPUTS, UNKNOWN, UP, Samples, Target
from models.stack import BATCHES, HEAD, KERNEL, Layers, MlxStepper, NumpyStepper, Stepper, Windows

Sees = Literal["features", "book", "both"]
BOOK: Final = 40
LEVELS: Final = BOOK // 4
HELD_OUT: Final = 0.15
WINDOW: Final = 64
"""Rows of a window that are learnt from; those before them that they are made of are seen too."""
BATCH: Final = 32
STEPS: Final = (300, 5000)
"""The least and the most steps of a fit."""
EPOCHS: Final = 30
HIDDEN: Final = 16
DROPOUT: Final = 0.2
LEARNING_RATE: Final = 5e-3
UNSEEN_WINDOWS: Final = 256
"""At most so many windows are looked at to decide when fitting ends, evenly out of all."""
FURTHEST: Final = 8.0
"""Moves beyond so many of their standard deviations are cut off: they would drown the loss."""
CHUNK: Final = 8192
"""Rows of a stream that are computed at once."""


@njit(cache=True, nogil=True)
def book_rows(book: Any, price: Any, out: Any) -> None:
    """Books as networks see them; NaN for a level that is not there.

    Args:
        book: (k, 40) float32, as on the tape: offsets from mid, sizes, of bids, then of asks.
        price: (k) float64, mid. out: (k, 40) float32, written: distances in basis points, and
            logarithms of sizes against the mean of the book's sizes.
    """
    for row in range(len(book)):
        total, levels = 0.0, 0
        for side in range(2):
            for level in range(LEVELS):
                size = book[row, (2 * side + 1) * LEVELS + level]
                if size > 0.0 and math.isfinite(size):
                    total += size
                    levels += 1
        for side in range(2):
            for level in range(LEVELS):
                at = 2 * side * LEVELS + level
                size = book[row, at + LEVELS]
                out[row, at] = out[row, at + LEVELS] = np.nan
                if size > 0.0 and math.isfinite(size) and price[row] > 0.0:
                    out[row, at] = book[row, at] / price[row] * 1e4
                    out[row, at + LEVELS] = math.log(size * levels / total)


class Network(Model):
    """A stack of convolutions, fitted and asked as every other model is.

    The weights, float32: the layers' and the head's (`models.stack`); `mean` and `scale` (F) if it
    sees features, `book_mean` and `book_scale` (40) if it sees the book.
    """

    layers: ClassVar[Layers]
    sees: ClassVar[Sees]
    """What it sees if it is not told otherwise."""

    def __init__(self, sees: Sees | None = None) -> None:
        self._sees: Sees = sees or self.sees
        assert self._sees in get_args(Sees)
        self._weights: Weights = {}

    def inputs(self, values: np.ndarray, book: np.ndarray, price: np.ndarray) -> np.ndarray:
        """Rows as the network takes them: (k, F, 40 or F + 40) float32."""
        weights = self.weights_in_use
        parts = []
        if "mean" in weights:
            parts.append(stack.normalise(values, weights["mean"], weights["scale"]))
        if "book_mean" in weights:
            seen = np.empty((len(book), BOOK), np.float32)
            book_rows(book, price, seen)
            parts.append(stack.normalise(seen, weights["book_mean"], weights["book_scale"]))
        return parts[0] if len(parts) == 1 else np.hstack(parts)

    @property
    def weights_in_use(self) -> Weights:
        """The arrays themselves, not copies; not to be written to.

        Raises:
            NotFittedError: there are none.
        """
        if not self._weights:
            raise NotFittedError
        return self._weights

    @property
    def sees_book(self) -> bool:
        """Whether it looks at the book."""
        return self._sees != "features"

    # ---- fitting

    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        """Train on windows of the earlier part, and end by the later one."""
        del target
        learnable(samples)
        earlier, later = held_out(samples, HELD_OUT)
        known = learnable(samples.take(earlier))
        self._weights = self._scales(known)
        windows = self._windows(samples, earlier)
        unseen = self._windows(samples, later)
        chosen = np.unique(np.linspace(0, len(unseen.inputs) - 1, UNSEEN_WINDOWS).astype(int))
        steps = min(max(len(windows.inputs) * EPOCHS // BATCH, STEPS[0]), STEPS[1])
        self._weights |= stack.fit(
            windows, self.layers, hidden=HIDDEN, steps=steps, seed=seed, batch=BATCH,
            learning_rate=LEARNING_RATE, dropout=DROPOUT,
            unseen=Windows(*(array[chosen] for array in unseen)),
            report=lambda step, _: report(step / steps),
        )  # fmt: skip
        report(1.0)

    def _scales(self, known: Samples) -> Weights:
        found: Weights = {}
        if self._sees != "book":
            found["mean"], found["scale"] = scaling(known.values)
        if self._sees != "features":
            seen = np.empty((known.count, BOOK), np.float32)
            book_rows(known.book, known.price, seen)
            found["book_mean"], found["book_scale"] = scaling(seen)
        return {name: array.astype(np.float32) for name, array in found.items()}

    def _windows(self, samples: Samples, wanted: np.ndarray) -> Windows:
        """Windows over all streams that hold a wanted sample; only those have a label."""
        back = self.rows_back
        labels = np.where(wanted, samples.label, UNKNOWN)
        far = FURTHEST * max(float(samples.move_bps[wanted].std()), 1e-9)
        moves = np.clip(np.where(wanted, samples.move_bps, 0.0), -far, far)
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for _, where in samples.streams():
            inputs = self.inputs(samples.values[where], samples.book[where], samples.price[where])
            mine = labels[where]
            for begin in range(0, len(where), WINDOW):
                end = min(begin + WINDOW, len(where))
                if (mine[begin:end] == UNKNOWN).all():
                    continue
                # Zeros stand before a stream begins, and behind its end.
                first = max(begin - back, 0)
                x = np.zeros((back + WINDOW, inputs.shape[1]), np.float32)
                y = np.full(back + WINDOW, UNKNOWN, np.int32)
                m = np.zeros(back + WINDOW)
                at = back - (begin - first)
                x[at : at + end - first] = inputs[first:end]
                y[back : back + end - begin] = mine[begin:end]
                m[back : back + end - begin] = moves[where[begin:end]]
                parts.append((x, y, m))
        return Windows(*(np.array(arrays) for arrays in zip(*parts, strict=True)))

    # ---- asking

    def predict(self, samples: Samples) -> np.ndarray:
        """What it says of each sample: the whole network over each instrument's stream."""
        found = np.empty((samples.count, OUTPUTS), np.float32)
        for _, where in samples.streams():
            inputs = self.inputs(samples.values[where], samples.book[where], samples.price[where])
            said = np.empty((len(where), OUTPUTS), np.float32)
            stack.speak(self._raw(inputs), said)
            found[where] = said
        return found

    def _raw(self, inputs: np.ndarray) -> np.ndarray:
        """Raw outputs of a stream (n, 5), in pieces that begin with the rows they are made of."""
        raw = np.empty((len(inputs), OUTPUTS), np.float32)
        for begin in range(0, len(inputs), CHUNK):
            first = max(begin - self.rows_back, 0)
            piece = inputs[first : begin + CHUNK]
            made = stack.forward(self._weights, self.layers, piece[None])[0]
            raw[begin : begin + CHUNK] = made[begin - first :]
        return raw

    def explain(self, samples: Samples) -> np.ndarray:
        """By occlusion: what the log-odds lose when a column is at its mean in all rows.

        Zeros for a network that sees only the book. Not additive: what two columns say together
        counts for both.
        """
        columns = len(self.weights_in_use.get("mean", ()))
        found = np.zeros(samples.values.shape)
        found[:, :columns] = self._occluded(samples, slice(0, columns))
        return found

    def explain_book(self, samples: Samples) -> np.ndarray:
        """The same of the 40 values of the book: (n, 40); zeros if it does not see them."""
        columns = len(self.weights_in_use.get("mean", ()))
        sees = len(self.weights_in_use.get("book_mean", ()))
        found = np.zeros((samples.count, BOOK))
        found[:, :sees] = self._occluded(samples, slice(columns, columns + sees))
        return found

    def _occluded(self, samples: Samples, inputs_at: slice) -> np.ndarray:
        found = np.zeros((samples.count, inputs_at.stop - inputs_at.start))
        for _, where in samples.streams():
            inputs = self.inputs(samples.values[where], samples.book[where], samples.price[where])
            whole = self._raw(inputs)
            odds = whole[:, UP] - whole[:, DOWN]
            for place, column in enumerate(range(inputs_at.start, inputs_at.stop)):
                kept = inputs[:, column].copy()
                inputs[:, column] = 0
                without = self._raw(inputs)
                inputs[:, column] = kept
                found[where, place] = odds - (without[:, UP] - without[:, DOWN])
        return found

    def follower(self, instruments: int, device: str = "numpy") -> "NetworkFollower":
        """Something that follows so many instruments, on `numpy`, or MLX's `cpu` or `gpu`."""
        weights = self.weights_in_use
        stepper: Stepper = (
            NumpyStepper(weights, self.layers)
            if device == "numpy"
            else MlxStepper(weights, self.layers, device)
        )
        return NetworkFollower(self, instruments, stepper)

    def weights(self) -> Weights:
        """All layers, the head, means and scales."""
        return {name: array.copy() for name, array in self.weights_in_use.items()}

    @classmethod
    def restored(cls, weights: Weights) -> Self:
        """A network with these weights; what it sees is what they hold means of."""
        kind = np.float32
        found: Weights = {}
        columns = 0
        for mean, scale, length in (("mean", "scale", None), ("book_mean", "book_scale", BOOK)):
            if mean in weights or scale in weights:
                found[mean] = taken(weights, mean, length, dtype=kind)
                found[scale] = taken(weights, scale, len(found[mean]), dtype=kind)
                columns += len(found[mean])
        if not found:
            raise ModelError("the weights hold no mean: train the model anew")
        hidden = columns
        for layer in cls.layers:
            found[layer.bias] = taken(weights, layer.bias, None, dtype=kind)
            width = len(found[layer.bias])
            found[layer.kernel] = taken(weights, layer.kernel, KERNEL * hidden, width, dtype=kind)
            hidden = width
        found[HEAD[0]] = taken(weights, HEAD[0], hidden, OUTPUTS, dtype=kind)
        found[HEAD[1]] = taken(weights, HEAD[1], OUTPUTS, dtype=kind)
        features, book = "mean" in found, "book_mean" in found
        model = cls("both" if features and book else "book" if book else "features")
        model._weights = found
        return model


class NetworkFollower(Follower):
    """The network a row at a time, with the rows that each layer still looks back at."""

    def __init__(self, network: Network, instruments: int, stepper: Stepper) -> None:
        weights = network.weights_in_use
        self._network = network
        self._stepper = stepper
        self._head = weights[HEAD[0]], weights[HEAD[1]]
        self._kernels = [(weights[one.kernel], weights[one.bias]) for one in network.layers]
        self._kept = [
            np.zeros(
                (instruments, (KERNEL - 1) * layer.dilation, len(kernel) // KERNEL), kernel.dtype
            )
            for layer, (kernel, _) in zip(network.layers, self._kernels, strict=True)
        ]
        self._rows_seen = np.zeros(instruments, np.int64)
        # One size for all steps: how rows were grouped then changes no bit.
        self._size = next((size for size in BATCHES if size >= instruments), BATCHES[-1])
        self._out = np.empty((instruments, OUTPUTS), np.float32)
        self._inputs = np.zeros((self._size, self._kept[0].shape[2]), np.float32)
        self._past = [np.zeros((self._size, len(bias)), np.float32) for _, bias in self._kernels]

    def step(
        self, values: np.ndarray, book: np.ndarray, price: np.ndarray, instrument: np.ndarray
    ) -> np.ndarray:
        """Take in one row of each of some instruments, none twice."""
        rows = self._network.inputs(values, book, price)
        out = self._out[: len(rows)]
        for first in range(0, len(rows), self._size):
            some = slice(first, first + self._size)
            self._step(rows[some], instrument[some], out[some])
        return out

    def _step(self, rows: np.ndarray, instrument: np.ndarray, out: np.ndarray) -> None:
        count, seen = len(rows), self._rows_seen
        inputs, past = self._inputs, self._past
        inputs[:count] = rows
        for kept, (kernel, bias), before in zip(self._kept, self._kernels, past, strict=True):
            stack.recall(kept, seen, instrument, kernel, bias, before)
        made = self._stepper(inputs, *past)
        for kept, newest in zip(self._kept, (inputs, *made[:-1]), strict=True):
            stack.keep(kept, seen, instrument, newest)
        seen[instrument] += 1
        raw = affine(np.maximum(made[-1], np.float32(0)), self._head[0], self._head[1])
        stack.speak(raw, out)

    def forget(self) -> None:
        """Begin anew, as if no row had ever come."""
        for kept in self._kept:
            kept[:] = 0
        self._rows_seen[:] = 0
