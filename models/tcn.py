"""A causal temporal convolution network over feature rows, and its streaming step.

Two layers of `models.stack`, dilations 1 and 2, 7 rows deep:

    h1[t] = relu(x[t-2] A0 + x[t-1] A1 + x[t] A2 + a)
    h2[t] = relu(h1[t-4] B0 + h1[t-2] B1 + h1[t] B2 + b)
    y[t]  = h2[t] C + c             logits of up, flat, down · expected move · log of its spread

Since the second layer looks back two rows and four, but never one, two rows in succession are
computed in one batch by the model chain, which keeps six rows of the inputs and four of the hidden
ones of each instrument.

Rows, by the way, are cuts: with 1 s cuts the network sees 7 s.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from models import stack
from models.family import Weights
from models.network import Network
from models.stack import BATCHES, CLIP, OUTPUTS, SPREAD_BOUND, Layer, Layers, Stepper, Windows

__all__ = [
    "BATCHES", "CLIP", "DEPTH", "HIDDEN_DEPTH", "LAYERS", "OUTPUTS", "SPREAD_BOUND", "MlxStepper",
    "NumpyStepper", "Stepper", "Tcn", "Weights", "fit", "forward", "normalise",
]  # fmt: skip

LAYERS: Final[Layers] = (Layer("A", "a", 1), Layer("B", "b", 2))
"""The weights: `A` (3F, H) and `a`, `B` (3H, H) and `b`, `C` (H, 5) and `c`, `mean` and `scale`
(F)."""
DEPTH: Final = stack.rows_back(LAYERS) + 1
"""Rows that an output is made of."""
HIDDEN_DEPTH: Final = stack.rows_back(LAYERS[1:]) + 1
"""Hidden rows that an output is made of: what stands before them changes nothing."""


class NumpyStepper(stack.NumpyStepper):
    """The step in numpy: the CPU rung, and the oracle of the others."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights, LAYERS)


class MlxStepper(stack.MlxStepper):
    """The step in MLX, compiled once a batch size. One thread makes it and calls it."""

    def __init__(self, weights: Weights, device: str) -> None:
        super().__init__(weights, LAYERS, device)


def normalise(rows: np.ndarray, weights: Weights) -> np.ndarray:
    """Feature values as the network takes them: centred, scaled, clipped. Shape (..., F)."""
    return stack.normalise(rows, weights["mean"], weights["scale"])


def forward(weights: Weights, inputs: np.ndarray) -> np.ndarray:
    """The whole network over windows (batch, time, F) in numpy: outputs (batch, time, 5)."""
    return stack.forward(weights, LAYERS, inputs)


def fit(
    inputs: np.ndarray,
    labels: np.ndarray,
    moves: np.ndarray,
    *,
    hidden: int,
    steps: int,
    seed: int,
    learning_rate: float = 2e-3,
    batch: int = 256,
    report: Callable[[int, float], object] = lambda *_: None,
) -> Weights:
    """Train on windows, as `models.stack.Windows` has them.

    Returns the weights without `mean` and `scale`, which are the caller's.
    """
    return stack.fit(
        Windows(inputs, labels, moves), LAYERS, hidden=hidden, steps=steps, seed=seed,
        learning_rate=learning_rate, batch=batch, report=report,
    )  # fmt: skip


class Tcn(Network):
    """The network over the columns of the catalogue."""

    family = "tcn"
    layers = LAYERS
    rows_back = DEPTH - 1
    sees = "features"
