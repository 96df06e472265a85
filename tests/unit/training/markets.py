"""Made-up rows with a known truth, and a model that is a closed form."""

from typing import Any

import numpy as np

from models.base import ModelError
from models.family import Follower, Model, NotFittedError, Report, Weights
from models.labels import Paths, move_labels
from models.samples import CLASSES, DOWN, FLAT, OUTPUTS, UP, Samples, Target
from schemas.features import CATALOGUE, COLUMN

SECOND = 10**9
START = 1_760_000_000 * SECOND
TARGET = Target(horizon_s=5.0, move_bps=1.0)


def rows(
    count: int, instruments: int = 2, seed: int = 1, *, known: float = 0.0, step_bps: float = 1.0
) -> tuple[Samples, np.ndarray]:
    """Rows a second apart of random walks, labelled; and the session of each.

    Args:
        known: correlation of column imbalance_1 with the very next second's move, which is all that
            can be known of the future. Column return_5s_bps is of the past, others are noise.
    """
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(count, instruments, len(CATALOGUE))).astype(np.float32)
    steps = draw.normal(size=(count, instruments)) * step_bps
    signal = known * steps + np.sqrt(1 - known**2) * step_bps * draw.normal(size=steps.shape)
    logs = np.cumsum(np.concatenate([np.zeros((1, instruments)), steps[:-1]]), axis=0)
    values[:, :, COLUMN["imbalance_1"]] = signal / step_bps
    values[:, :, COLUMN["return_5s_bps"]] = (
        logs - np.concatenate([np.zeros((5, instruments)), logs[:-5]])[:count]
    )
    values[:, :, COLUMN["spread_bps"]] = 0.2
    total = count * instruments
    samples = Samples(
        values=values.reshape(total, -1),
        book=np.zeros((total, 40), np.float32),
        invalid=np.zeros(total, np.uint64),
        instrument=np.tile(np.arange(instruments, dtype=np.uint16), count),
        cut_ns=np.repeat(START + SECOND * np.arange(count), instruments),
        price=100.0 * np.exp(logs.reshape(total) / 1e4),
        move_bps=np.zeros(total),
        label=np.zeros(total, np.int8),
        matured_ns=np.zeros(total, np.int64),
    )
    session = np.ones(total, np.int64)
    return labelled(samples, session), session


def knowable() -> Samples:
    """Rows of which one column tells the coming second, and, as columns do, the past still better:
    a linear model beats the flat baseline beyond doubt, and it does not look like the future."""
    samples, _ = rows(2000, 2, 1, known=0.9)
    column = samples.values[:, COLUMN["imbalance_1"]]
    column += samples.values[:, COLUMN["return_5s_bps"]] / np.float32(np.sqrt(5))
    return samples


def paths(samples: Samples, session: np.ndarray) -> Paths:
    return Paths(samples.instrument, samples.cut_ns, samples.price, samples.invalid, session)


def labelled(samples: Samples, session: np.ndarray, target: Target = TARGET) -> Samples:
    made = move_labels(paths(samples, session), target, 3.0)
    return changed(samples, **made._asdict())


def changed(samples: Samples, **columns: Any) -> Samples:
    held = {name: getattr(samples, name) for name in samples.__dataclass_fields__}
    return Samples(**held | columns)


class ClosedForm(Model):
    """Ridge regression of the move on the columns; chances from a Gaussian about it."""

    family = "closed_form"
    rows_back = 0

    def __init__(self) -> None:
        self._weights: Weights = {}

    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        known = samples.known
        if known.sum() < 10:
            raise ModelError("there is too little to learn from")
        x, y = samples.values[known].astype(np.float64), samples.move_bps[known]
        mean, scale = x.mean(axis=0), 1 / np.maximum(x.std(axis=0), 1e-9)
        x = (x - mean) * scale
        slope = np.linalg.solve(x.T @ x + 10.0 * np.eye(x.shape[1]), x.T @ (y - y.mean()))
        rest = y - y.mean() - x @ slope
        self._weights = {
            "mean": mean, "scale": scale, "slope": slope,
            "more": np.array([y.mean(), max(rest.std(), 1e-6), target.move_bps]),
        }  # fmt: skip
        report(1.0)

    def predict(self, samples: Samples) -> np.ndarray:
        if not self._weights:
            raise NotFittedError
        w = self._weights
        base, spread, threshold = w["more"]
        move = base + ((samples.values - w["mean"]) * w["scale"]) @ w["slope"]
        made = np.zeros((samples.count, OUTPUTS), np.float32)
        made[:, DOWN] = _normal((-threshold - move) / spread)
        made[:, UP] = _normal((move - threshold) / spread)
        made[:, FLAT] = 1 - made[:, UP] - made[:, DOWN]
        made[:, CLASSES], made[:, CLASSES + 1] = move, spread
        return made

    def follower(self, instruments: int) -> Follower:
        return _Steps(self)

    def explain(self, samples: Samples) -> np.ndarray:
        w = self._weights
        part: np.ndarray = (samples.values - w["mean"]) * w["scale"] * w["slope"] / w["more"][1]
        return part

    def weights(self) -> Weights:
        return self._weights

    @classmethod
    def restored(cls, weights: Weights) -> "ClosedForm":
        mine = ["mean", "more", "scale", "slope"]
        if not set(mine) <= set(weights):
            raise ModelError("an array is missing")
        made = cls()
        made._weights = {name: weights[name] for name in mine}
        return made


class _Steps(Follower):
    def __init__(self, model: ClosedForm) -> None:
        self._model = model

    def step(self, values: np.ndarray, *_: np.ndarray) -> np.ndarray:
        some, _ = rows(1, 1)
        return self._model.predict(changed(some.take(np.zeros(len(values), int)), values=values))

    def forget(self) -> None:
        pass


def _normal(x: np.ndarray) -> np.ndarray:
    """The normal distribution function (Abramowitz and Stegun 26.2.17, to 7.5e-8)."""
    t = 1 / (1 + 0.2316419 * np.abs(x))
    series = (0.319381530, -0.356563782, 1.781477937, -1.821255978, 1.330274429)
    tail = sum(c * t ** (n + 1) for n, c in enumerate(series)) * np.exp(-x * x / 2) / 2.5066282746
    return np.where(x > 0, 1 - tail, tail)
