"""A causal temporal convolution network over feature rows, and its streaming step.

Two dilated causal convolutions (kernel 3, dilations 1 and 2) with ReLU and a linear head (Bai,
Kolter, Koltun: An Empirical Evaluation of Generic Convolutional and Recurrent Networks, 2018), 7
rows deep:

    h1[t] = relu(x[t-2] A0 + x[t-1] A1 + x[t] A2 + a)
    h2[t] = relu(h1[t-4] B0 + h1[t-2] B1 + h1[t] B2 + b)
    y[t]  = h2[t] C + c             logits of up, flat, down · expected move · log of its spread

A step computes one row of a stream, from the rows before it that are kept: six of the inputs and
four of the hidden ones. What the earlier rows add to each layer is known before the step, and is
left to the caller, as is the head, which is 80 products: an operation costs MLX more than its
arithmetic here, so the step has as few as it can, on matrices as small as they can be. The same
numbers come out (`tests/unit/inference`). Since the second layer looks back two rows and four, but
never one, two rows in succession are computed in one batch. Batches have one of a few fixed sizes,
since a product may round otherwise in another shape, and since MLX compiles a shape once.

Rows, by the way, are cuts: with 1 s cuts the network sees 7 s.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np

OUTPUTS: Final = 5
KERNEL: Final = 3
DEPTH: Final = 7
"""Rows that an output is made of."""
HIDDEN_DEPTH: Final = 5
"""Hidden rows that an output is made of: what stands before them changes nothing."""
BATCHES: Final = (16, 64)
"""Rows of the batch shapes; a drain of more rows takes several calls."""
CLIP: Final = 5.0
SPREAD_BOUND: Final = 5.0
"""The log of the move's spread is bound * tanh(y / bound): never stuck, never absurd."""

Weights = dict[str, np.ndarray]
"""`A` (3F, H) and `a`, `B` (3H, H) and `b`, `C` (H, 5) and `c`, `mean` and `scale` (F)."""


class Stepper(Protocol):
    """Computes a batch of steps, up to the head.

    Each is made of the inputs x[t] (n, F) and of what earlier rows add to the layers: `first` (n,
    H) is x[t-2] A0 + x[t-1] A1 + a, `second` (n, H) is h1[t-4] B0 + h1[t-2] B1 + b.
    """

    def __call__(
        self, inputs: np.ndarray, first: np.ndarray, second: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """h1 (n, H), and h2 (n, H) before its ReLU; n is one of BATCHES."""


def newest_of(kernel: np.ndarray) -> np.ndarray:
    """The part of a layer's kernel that takes the newest of its three rows."""
    return np.ascontiguousarray(kernel[-(len(kernel) // KERNEL) :])


class NumpyStepper:
    """The step in numpy: the CPU rung, and the oracle of the others."""

    def __init__(self, weights: Weights) -> None:
        self._first, self._second = newest_of(weights["A"]), newest_of(weights["B"])

    def __call__(
        self, inputs: np.ndarray, first: np.ndarray, second: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Step."""
        hidden: np.ndarray = np.maximum(first + inputs @ self._first, np.float32(0))
        return hidden, second + hidden @ self._second


class MlxStepper:
    """The step in MLX, compiled once a batch size. One thread makes it and calls it."""

    def __init__(self, weights: Weights, device: str) -> None:
        import mlx.core as mx  # noqa: PLC0415  (only a process that infers may load MLX)

        self._mx: Any = mx
        mx.set_default_device(mx.gpu if device == "gpu" else mx.cpu)
        mx.set_cache_limit(64 << 20)
        kernels = mx.array(newest_of(weights["A"])), mx.array(newest_of(weights["B"]))

        def step(inputs: Any, first: Any, second: Any) -> tuple[Any, Any]:
            hidden = mx.maximum(mx.addmm(first, inputs, kernels[0]), 0)
            return hidden, mx.addmm(second, hidden, kernels[1])

        self._step: Callable[..., tuple[Any, Any]] = mx.compile(step)
        mx.eval(*kernels)
        columns, width = kernels[0].shape
        for rows in BATCHES:
            past = np.zeros((rows, width), np.float32)
            self(np.zeros((rows, columns), np.float32), past, past)

    def __call__(
        self, inputs: np.ndarray, first: np.ndarray, second: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Step."""
        array = self._mx.array
        hidden, deeper = self._step(array(inputs), array(first), array(second))
        self._mx.eval(hidden, deeper)
        # Views of MLX's memory, which lives as long as they do.
        return np.array(hidden, copy=False), np.array(deeper, copy=False)


def normalise(rows: np.ndarray, weights: Weights) -> np.ndarray:
    """Feature values as the network takes them: centred, scaled, clipped. Shape (..., F)."""
    scaled = (rows - weights["mean"]) * weights["scale"]
    clipped: np.ndarray = np.clip(scaled, -CLIP, CLIP).astype(np.float32)
    return clipped


def forward(weights: Weights, inputs: np.ndarray) -> np.ndarray:
    """The whole network over windows (batch, time, F) in numpy: outputs (batch, time, 5).

    Rows before the window count as zeros, as a stream begins.
    """
    hidden = np.maximum(_causal(inputs, weights["A"], 1) + weights["a"], 0)
    deeper = np.maximum(_causal(hidden, weights["B"], 2) + weights["b"], 0)
    outputs: np.ndarray = deeper @ weights["C"] + weights["c"]
    return outputs


def _causal(rows: np.ndarray, kernel: np.ndarray, dilation: int) -> np.ndarray:
    padding = np.zeros((rows.shape[0], (KERNEL - 1) * dilation, rows.shape[2]), rows.dtype)
    padded = np.concatenate([padding, rows], axis=1)
    taps = [padded[:, tap * dilation : tap * dilation + rows.shape[1]] for tap in range(KERNEL)]
    product: np.ndarray = np.concatenate(taps, axis=2) @ kernel
    return product


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
    """Train on windows.

    Args:
        inputs: (windows, time, F), normalised. labels: (windows, time), 0 up, 1 flat, 2 down, -1
            where nothing is known. moves: (windows, time), the move in basis points.

    Returns the weights without `mean` and `scale`, which are the caller's.
    """
    import mlx.core as mx  # noqa: PLC0415
    from mlx import optimizers  # noqa: PLC0415

    draw = np.random.default_rng(seed)
    columns = inputs.shape[2]

    # The spread begins where it is right on average: a far start would drown the rest of the loss.
    typical = np.log(max(float(moves[labels >= 0].std()), 1e-3))

    def initial(rows: int, width: int) -> Any:
        return mx.array((draw.normal(size=(rows, width)) * np.sqrt(2 / rows)).astype(np.float32))

    weights = {
        "A": initial(KERNEL * columns, hidden),
        "a": mx.zeros(hidden),
        "B": initial(KERNEL * hidden, hidden),
        "b": mx.zeros(hidden),
        "C": initial(hidden, OUTPUTS) * 0.1,
        "c": mx.array(np.array([0, 0, 0, 0, typical], np.float32)),
    }

    def causal(rows: Any, kernel: Any, dilation: int) -> Any:
        padded = mx.pad(rows, [(0, 0), ((KERNEL - 1) * dilation, 0), (0, 0)])
        length = rows.shape[1]
        taps = [padded[:, tap * dilation : tap * dilation + length] for tap in range(KERNEL)]
        return mx.concatenate(taps, axis=2) @ kernel

    def loss(w: dict[str, Any], x: Any, y: Any, move: Any, known: Any) -> Any:
        first = mx.maximum(causal(x, w["A"], 1) + w["a"], 0)
        second = mx.maximum(causal(first, w["B"], 2) + w["b"], 0)
        out = second @ w["C"] + w["c"]
        logits = out[..., :3]
        picked = mx.take_along_axis(logits, y[..., None], axis=2)[..., 0]
        entropy = mx.logsumexp(logits, axis=2) - picked
        # A Gaussian for the move: its mean, and the log of its spread.
        log_spread = SPREAD_BOUND * mx.tanh(out[..., 4] / SPREAD_BOUND)
        gaussian = log_spread + 0.5 * ((move - out[..., 3]) * mx.exp(-log_spread)) ** 2
        return mx.sum((entropy + 0.3 * gaussian) * known) / mx.maximum(mx.sum(known), 1)

    gradient = mx.value_and_grad(loss)
    optimizer = optimizers.AdamW(learning_rate=learning_rate, weight_decay=1e-3)
    for step in range(steps):
        chosen = draw.integers(0, len(inputs), batch)
        y = labels[chosen]
        value, gradients = gradient(
            weights,
            mx.array(inputs[chosen]),
            mx.array(np.maximum(y, 0)),
            mx.array(moves[chosen].astype(np.float32)),
            mx.array((y >= 0).astype(np.float32)),
        )
        weights = optimizer.apply_gradients(gradients, weights)
        mx.eval(weights, optimizer.state, value)
        if step % 50 == 0:
            report(step, float(value))
    return {name: np.array(array) for name, array in weights.items()}
