"""How much of what can be known of the simulator's market each family recovers.

What a market does next is not certain even to who made it. The bound is that of a predictor with
the generator's own state in hand, hidden pressure and every resting order included: at a moment of
an unseen day the state is copied, and each copy goes on with draws of its own. The shares of up,
flat and down among the copies are the chances that no model can beat; base rates against them, in
nats a row, is what there is to be known. A family's share is what it gains of that on all rows of
the unseen days, from rows alone, none of which shows the pressure.

With K copies the entropy of the shares is too low by (CLASSES - 1) / 2K on average (Miller, 1955),
which is added. Everything follows from the seeds.
"""

import pickle
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from benchmarks.figures import Figure
from config.loader import ROOT
from models.base import load_weights
from models.families import FAMILIES
from models.family import Model
from models.labels import Paths, move_labels, moves_of
from models.learnable import learnable
from models.samples import CLASSES, Samples, Target
from processes.simulator.flow import Flow, make_market
from processes.simulator.market import Trade
from processes.training.simulated import simulated_rows
from schemas.features import Invalid
from schemas.predictions import NETWORK

LEAD_IN_S: Final = 120.0
"""What the market is old when `simulated_rows` cuts its first row."""
TARGET: Final = Target(horizon_s=10.0, move_bps=0.6)
"""Of the shipped network, too."""
LEAST_CHANCE: Final = 1e-6
GAP_S: Final = 10.0


class World(NamedTuple):
    """A market as a generator makes it."""

    symbol: str
    seed: int
    events_per_s: float


class Value(NamedTuple):
    """A mean over moments, and its standard error."""

    mean: float
    error: float


class Bound(NamedTuple):
    """What can be known of the labels of an unseen day, in nats a row."""

    entropy: Value
    """Of the chances given the generator's state: log loss of who knows it."""
    scored: Value
    """Log loss of the shares among the copies on what then came, which is no less."""
    moments: int


def _hear_nothing(_: Trade) -> None:
    """Nobody listens to the trades of a copy."""


def futures(
    world: World, target: Target, seconds: Sequence[float], copies: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """What may come of a market after these moments, again and again.

    Args:
        seconds: after the first row's cut, rising. copies: of the state at each moment.

    Returns (moments, CLASSES) how many copies went up, nowhere and down; (moments) what came.
    """
    market, ticks = make_market(world.symbol, 1)
    market.on_trade = _hear_nothing
    flow = Flow(market, ticks, world.seed, world.events_per_s)
    counts = np.zeros((len(seconds), CLASSES))
    came = np.zeros(len(seconds), np.intp)
    for number, second in enumerate(seconds):
        flow.advance(LEAD_IN_S + second, 0)
        state, before = pickle.dumps(flow), _mid(flow)
        after = np.empty(copies + 1)
        for copy in range(copies + 1):
            other: Flow = pickle.loads(state)  # noqa: S301  (of this very process)
            if copy:  # the first is what came
                other.part(f"{seed} {number} {copy}")
            other.advance(LEAD_IN_S + second + target.horizon_s, 0)
            after[copy] = _mid(other)
        labels = moves_of(np.full(copies + 1, before), after, target)[1]
        came[number] = labels[0]
        counts[number] = np.bincount(labels[1:], minlength=CLASSES)
    return counts, came


def bound_of(counts: np.ndarray, came: np.ndarray) -> Bound:
    """The bound out of what `futures` gives."""
    copies = counts.sum(axis=1, keepdims=True)
    shares = counts / copies
    entropy = -(shares * np.log(np.maximum(shares, LEAST_CHANCE))).sum(axis=1)
    entropy += (CLASSES - 1) / (2 * copies[:, 0])
    smooth = (counts + 1 / CLASSES) / (copies + 1)
    scored = -np.log(smooth[np.arange(len(came)), came])
    return Bound(_value(entropy), _value(scored), len(came))


def _mid(flow: Flow) -> float:
    bid, ask = flow.market.best(1), flow.market.best(-1)
    assert bid is not None
    assert ask is not None
    return (bid + ask) / 2


def _value(found: np.ndarray) -> Value:
    return Value(float(found.mean()), float(found.std() / np.sqrt(len(found))))


# ---- families


def samples_of(worlds: Sequence[World], target: Target, seconds: float) -> Samples:
    """Rows of some markets as a training has them, each an instrument of its own."""
    parts = []
    for number, world in enumerate(worlds):
        rows = simulated_rows(world.symbol, world.seed, seconds, world.events_per_s)
        rows["instrument"] = number
        parts.append(rows)
    rows = np.concatenate(parts)
    rows = rows[np.argsort(rows["cut_ns"], kind="stable")]
    paths = Paths(
        rows["instrument"], rows["cut_ns"], rows["reference_price"], rows["invalid"],
        np.zeros(len(rows), np.int64),
    )  # fmt: skip
    labels = move_labels(paths, target, GAP_S)
    whole = Samples(
        values=rows["values"], book=rows["book"], invalid=rows["invalid"],
        instrument=rows["instrument"], cut_ns=rows["cut_ns"], price=rows["reference_price"],
        **labels._asdict(),
    )  # fmt: skip
    return whole.take(rows["invalid"] & np.uint64(Invalid.DROPPED) == 0)


def gains(model: Model, base: np.ndarray, unseen: Samples) -> Value:
    """Nats a row that a model knows more than base rates (CLASSES), on rows with a label."""
    known = unseen.known
    said = model.predict(unseen)[known, :CLASSES].astype(np.float64)
    said = np.where(np.isfinite(said), said, base)
    label = unseen.label[known]
    at = np.arange(len(label)), label
    gained = np.log(np.maximum(said[at], LEAST_CHANCE)) - np.log(base[label])
    # Labels overlap: rows of two horizons are one draw, more or less.
    blocks = np.array_split(gained, max(len(gained) // 40, 2))
    means = np.array([block.mean() for block in blocks])
    return Value(float(gained.mean()), float(means.std() / np.sqrt(len(means))))


def base_of(samples: Samples) -> np.ndarray:
    """(CLASSES): how often each label came."""
    known = learnable(samples)
    rates: np.ndarray = np.bincount(known.label, minlength=CLASSES) / known.count
    return rates


def fitted(family: str, samples: Samples, target: Target) -> Model:
    """A model of a family."""
    model = FAMILIES[family]()
    model.fit(samples, target, seed=1)
    return model


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """The bound, and which share of it each family recovers; least and most by two errors."""
    hours, moments, copies, rate = (0.2, 10, 8, 20.0) if quick else (0.75, 120, 32, 60.0)
    seen, unseen = (
        [
            World(symbol, first + number, rate)
            for number, symbol in enumerate(("tBTCUSD", "tETHUSD"))
        ]
        for first in (301, 401)
    )
    learnt, asked = (samples_of(worlds, TARGET, hours * 3600) for worlds in (seen, unseen))
    base, moments = base_of(asked), moments // len(unseen)
    made = [
        futures(world, TARGET, np.linspace(60, hours * 3600 - 60, moments).tolist(), copies, number)
        for number, world in enumerate(unseen)
    ]
    counts, came = (np.concatenate(arrays) for arrays in zip(*made, strict=True))
    found = bound_of(counts, came)
    most = -float((base * np.log(base)).sum())
    note = (
        f"{hours:g} h of {len(unseen)} markets at {rate:g} orders/s, {len(came)} moments of "
        f"{copies} futures, base rates {most:.3f} nats a row; least and most: two standard errors"
    )

    def told(value: Value, unit: str, scale: float) -> Figure:
        low, high = value.mean - 2 * value.error, value.mean + 2 * value.error
        return Figure(
            value=value.mean / scale, unit=unit, low=low / scale, high=high / scale,
            runs=asked.count, note=note,
        )  # fmt: skip

    whole = Value(most - found.entropy.mean, found.entropy.error)
    figures = {"attainable": told(whole, "nats a row", 1.0)}
    models = {family: fitted(family, learnt, TARGET) for family in FAMILIES}
    shipped = FAMILIES[NETWORK].restored(load_weights(ROOT / "models" / "shipped" / NETWORK))
    for name, model in (models | {f"{NETWORK}, shipped": shipped}).items():
        share = gains(model, base, asked)
        figures[f"attained_{name}"] = told(share, "of it", whole.mean)
    return figures
