"""A stack of causal dilated convolutions over rows: whole, in training, and a row at a time.

Every layer has a kernel of three rows and a ReLU, a linear head stands on the last one (Bai,
Kolter, Koltun: An Empirical Evaluation of Generic Convolutional and Recurrent Networks, 2018):

    h0[t] = x[t]
    hl[t] = relu(hl-1[t-2d] Kl0 + hl-1[t-d] Kl1 + hl-1[t] Kl2 + bl)     d: the layer's dilation
    y[t]  = hL[t] C + c             logits of up, flat, down · expected move · log of its spread

Rows before a stream begins count as zeros. A step computes one row of a stream from rows that are
kept: what they add to each layer is known before the step and is left to the caller, as is the
head, so that a step has as few operations as it can, on matrices as small as they can be; an
operation costs MLX more than its arithmetic here. The same numbers come out as of the whole
network, but for rounding. Batches have one of a few fixed sizes, since a product may round
otherwise in another shape, and since MLX compiles a shape once.
"""

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numba import njit

from models.family import Weights
from models.products import add_product

OUTPUTS: Final = 5
KERNEL: Final = 3
BATCHES: Final = (16, 64)
"""Rows of the batch shapes; more rows take several calls."""
CLIP: Final = 5.0
SPREAD_BOUND: Final = 5.0
"""The log of the move's spread is bound * tanh(y / bound): never stuck, never absurd."""
HEAD: Final = ("C", "c")
"""Names of the head's (H, 5) matrix and (5) offsets."""


class Layer(NamedTuple):
    """A convolution."""

    kernel: str
    """Name of its (3 * inputs, H) array, the oldest row first."""
    bias: str
    """Name of its (H) array."""
    dilation: int


Layers = tuple[Layer, ...]


def rows_back(layers: Layers) -> int:
    """How many earlier rows an output is made of."""
    return sum((KERNEL - 1) * layer.dilation for layer in layers)


# ---- a row at a time


class Stepper(Protocol):
    """Computes a batch of steps, up to the head.

    Each is made of the inputs x[t] (n, F), and of what earlier rows and the bias add to each layer,
    (n, H) each. Returns each layer's rows (n, H), the last layer's before its ReLU; n is one of
    BATCHES.
    """

    def __call__(self, inputs: np.ndarray, *past: np.ndarray) -> tuple[np.ndarray, ...]:
        """Step."""


def newest_of(kernel: np.ndarray) -> np.ndarray:
    """The part of a layer's kernel that takes the newest of its three rows."""
    return np.ascontiguousarray(kernel[-(len(kernel) // KERNEL) :])


class NumpyStepper:
    """The step in numpy: the CPU rung, and the oracle of the others."""

    def __init__(self, weights: Weights, layers: Layers) -> None:
        self._kernels = [newest_of(weights[layer.kernel]) for layer in layers]

    def __call__(self, inputs: np.ndarray, *past: np.ndarray) -> tuple[np.ndarray, ...]:
        """Step."""
        found: list[np.ndarray] = []
        for kernel, before in zip(self._kernels, past, strict=True):
            if found:
                inputs = found[-1] = np.maximum(found[-1], np.float32(0))
            found.append(np.empty_like(before))
            add_product(before, inputs, kernel, found[-1])
        return tuple(found)


class MlxStepper:
    """The step in MLX, compiled once a batch size. One thread makes it and calls it."""

    def __init__(self, weights: Weights, layers: Layers, device: str) -> None:
        import mlx.core as mx  # noqa: PLC0415  (only a process that infers may load MLX)

        self._mx: Any = mx
        mx.set_default_device(mx.gpu if device == "gpu" else mx.cpu)
        mx.set_cache_limit(64 << 20)
        kernels = [mx.array(newest_of(weights[layer.kernel])) for layer in layers]

        def step(inputs: Any, *past: Any) -> tuple[Any, ...]:
            found: list[Any] = []
            for kernel, before in zip(kernels, past, strict=True):
                if found:
                    inputs = found[-1] = mx.maximum(found[-1], 0)
                found.append(mx.addmm(before, inputs, kernel))
            return tuple(found)

        self._step: Callable[..., tuple[Any, ...]] = mx.compile(step)
        mx.eval(*kernels)
        for rows in BATCHES:
            past = [np.zeros((rows, kernel.shape[1]), np.float32) for kernel in kernels]
            self(np.zeros((rows, kernels[0].shape[0]), np.float32), *past)

    def __call__(self, inputs: np.ndarray, *past: np.ndarray) -> tuple[np.ndarray, ...]:
        """Step."""
        array = self._mx.array
        found = self._step(array(inputs), *(array(one) for one in past))
        self._mx.eval(*found)
        # Views of MLX's memory, which lives as long as they do.
        return tuple(np.array(one, copy=False) for one in found)


@njit(cache=True, nogil=True)
def recall(kept: Any, rows_seen: Any, instrument: Any, kernel: Any, bias: Any, past: Any) -> None:
    """What earlier rows and the bias add to a layer.

    Args:
        kept: (instruments, 2 * dilation, W) float32, a ring of each instrument's newest rows.
        rows_seen: (instruments) int64. instrument: (k). past: (n, H) float32, written; rows from k
            on are left as they are.
    """
    span, width = kept.shape[1], kept.shape[2]
    for row in range(len(instrument)):
        mine = instrument[row]
        older = rows_seen[mine] % span
        old = (older + span // 2) % span
        for column in range(past.shape[1]):
            past[row, column] = bias[column]
        for tap in range(width):
            far, near = kept[mine, older, tap], kept[mine, old, tap]
            for column in range(past.shape[1]):
                past[row, column] += far * kernel[tap, column]
                past[row, column] += near * kernel[width + tap, column]


@njit(cache=True, nogil=True)
def keep(kept: Any, rows_seen: Any, instrument: Any, rows: Any) -> None:
    """Put the newest row of each instrument in the place of its oldest."""
    for row in range(len(instrument)):
        mine = instrument[row]
        place = rows_seen[mine] % kept.shape[1]
        for column in range(kept.shape[2]):
            kept[mine, place, column] = rows[row, column]


@njit(cache=True, nogil=True)
def outputs_of(raw: Any, out: Any) -> None:
    """Five raw outputs: logits to chances, the move as it is, the spread bounded."""
    highest = max(raw[0], raw[1], raw[2])
    total = 0.0
    for column in range(3):
        weight = math.exp(raw[column] - highest)
        out[column] = weight
        total += weight
    for column in range(3):
        out[column] /= total
    out[3] = raw[3]
    out[4] = math.exp(SPREAD_BOUND * math.tanh(raw[4] / SPREAD_BOUND))


@njit(cache=True, nogil=True)
def speak(raw: Any, out: Any) -> None:
    """The outputs of (k, 5) raw ones."""
    for row in range(len(out)):
        outputs_of(raw[row], out[row])


# ---- whole


def normalise(rows: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Rows as a network takes them: centred, scaled, clipped, and 0 for what is no number.

    Shape (..., F), float32.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.clip((rows - mean) * scale, -CLIP, CLIP)
    scaled[np.isnan(scaled)] = 0
    taken: np.ndarray = scaled.astype(np.float32, copy=False)
    return taken


def forward(weights: Weights, layers: Layers, inputs: np.ndarray) -> np.ndarray:
    """The whole network over windows (batch, time, F) in numpy: raw outputs (batch, time, 5).

    Rows before the window count as zeros, as a stream begins.
    """
    rows = inputs
    for layer in layers:
        product = _causal(rows, weights[layer.kernel], layer.dilation)
        rows = np.maximum(product + weights[layer.bias], 0)
    outputs: np.ndarray = rows @ weights[HEAD[0]] + weights[HEAD[1]]
    return outputs


def _causal(rows: np.ndarray, kernel: np.ndarray, dilation: int) -> np.ndarray:
    padding = np.zeros((rows.shape[0], (KERNEL - 1) * dilation, rows.shape[2]), rows.dtype)
    padded = np.concatenate([padding, rows], axis=1)
    taps = [padded[:, tap * dilation : tap * dilation + rows.shape[1]] for tap in range(KERNEL)]
    product: np.ndarray = np.concatenate(taps, axis=2) @ kernel
    return product


# ---- in training


class Windows(NamedTuple):
    """Pieces of streams."""

    inputs: np.ndarray
    """(windows, time, F) float32, normalised."""
    labels: np.ndarray
    """(windows, time): 0 up, 1 flat, 2 down, -1 where nothing is known."""
    moves: np.ndarray
    """(windows, time), the move in basis points; finite where there is a label."""


PAST: Final = 0.2
"""How strongly earlier rows speak when fitting begins, against the newest. With all alike, deep
stacks drown the newest row in the noise of thirty others and learn nothing that is not linear."""
LOOK_EVERY: Final = 20
"""Steps between two looks at unseen windows."""
PATIENCE: Final = 8
"""Looks without a better one, after which fitting ends."""
REPORT_EVERY: Final = 50


def fit(
    windows: Windows,
    layers: Layers,
    *,
    hidden: int,
    steps: int,
    seed: int,
    learning_rate: float = 2e-3,
    batch: int = 256,
    dropout: float = 0.0,
    unseen: Windows | None = None,
    report: Callable[[int, float], object] = lambda *_: None,
) -> Weights:
    """Train on windows in MLX with AdamW; the weights of all layers and the head.

    With `unseen` windows the weights are those that did best on them. By `dropout` so many of the
    columns are hidden in each window, anew at every step: most columns say nothing most of the
    time, and a network that leans on few of them learns the past by heart.
    """
    import mlx.core as mx  # noqa: PLC0415
    from mlx import optimizers  # noqa: PLC0415

    draw = np.random.default_rng(seed)
    # The spread begins where it is right on average: a far start would drown the rest of the loss.
    typical = np.log(max(float(windows.moves[windows.labels >= 0].std()), 1e-3))

    def initial(rows: int, width: int) -> np.ndarray:
        drawn: np.ndarray = draw.normal(size=(rows, width)) * np.sqrt(2 / rows)
        return drawn

    weights: dict[str, Any] = {}
    columns = windows.inputs.shape[2]
    for layer in layers:
        kernel = np.vstack([initial(columns, hidden) for _ in range(KERNEL)])
        kernel[:-columns] *= PAST
        weights[layer.kernel] = mx.array(kernel.astype(np.float32))
        weights[layer.bias] = mx.zeros(hidden)
        columns = hidden
    weights[HEAD[0]] = mx.array((initial(hidden, OUTPUTS) * 0.1).astype(np.float32))
    weights[HEAD[1]] = mx.array(np.array([0, 0, 0, 0, typical], np.float32))

    loss = _loss(layers)
    gradient = mx.value_and_grad(loss)
    optimizer = optimizers.AdamW(learning_rate=learning_rate, weight_decay=1e-3)
    looked = None if unseen is None else _arrays(unseen, np.arange(len(unseen.inputs)))
    best, best_loss, looks = weights, math.inf, 0
    for step in range(steps):
        chosen = draw.integers(0, len(windows.inputs), batch)
        inputs, *known = _arrays(windows, chosen)
        if dropout > 0:
            shown = draw.random((batch, 1, windows.inputs.shape[2])) >= dropout
            inputs *= mx.array(shown.astype(np.float32) / np.float32(1 - dropout))
        value, gradients = gradient(weights, inputs, *known)
        weights = optimizer.apply_gradients(gradients, weights)
        mx.eval(weights, optimizer.state, value)
        if step % REPORT_EVERY == 0:
            report(step, float(value))
        if looked is not None and (step + 1) % LOOK_EVERY == 0:
            found = float(loss(weights, *looked))
            looks += 1
            if found < best_loss:
                best, best_loss, looks = weights, found, 0
            if looks >= PATIENCE:
                break
    found_weights = weights if looked is None else best
    return {name: np.array(array) for name, array in found_weights.items()}


def _arrays(windows: Windows, chosen: np.ndarray) -> tuple[Any, Any, Any, Any]:
    """Inputs, labels, moves, and 1 where they are known, of some windows."""
    import mlx.core as mx  # noqa: PLC0415

    labels = windows.labels[chosen]
    return (
        mx.array(windows.inputs[chosen]),
        mx.array(np.maximum(labels, 0)),
        mx.array(windows.moves[chosen].astype(np.float32)),
        mx.array((labels >= 0).astype(np.float32)),
    )


def _loss(layers: Layers) -> Callable[..., Any]:
    """Cross entropy of the label, and a Gaussian's log likelihood of the move, a known row."""
    import mlx.core as mx  # noqa: PLC0415

    def causal(rows: Any, kernel: Any, dilation: int) -> Any:
        padded = mx.pad(rows, [(0, 0), ((KERNEL - 1) * dilation, 0), (0, 0)])
        length = rows.shape[1]
        taps = [padded[:, tap * dilation : tap * dilation + length] for tap in range(KERNEL)]
        return mx.concatenate(taps, axis=2) @ kernel

    def loss(w: dict[str, Any], x: Any, y: Any, move: Any, known: Any) -> Any:
        for layer in layers:
            x = mx.maximum(causal(x, w[layer.kernel], layer.dilation) + w[layer.bias], 0)
        out = x @ w[HEAD[0]] + w[HEAD[1]]
        logits = out[..., :3]
        picked = mx.take_along_axis(logits, y[..., None], axis=2)[..., 0]
        entropy = mx.logsumexp(logits, axis=2) - picked
        # A Gaussian for the move: its mean, and the log of its spread.
        log_spread = SPREAD_BOUND * mx.tanh(out[..., 4] / SPREAD_BOUND)
        gaussian = log_spread + 0.5 * ((move - out[..., 3]) * mx.exp(-log_spread)) ** 2
        return mx.sum((entropy + 0.3 * gaussian) * known) / mx.maximum(mx.sum(known), 1)

    return loss
