"""What a word of each model family costs: microseconds a cut at 1, 8 and 64 instruments.

A cut is one call of the family's follower with a row of every instrument, as inference makes it:
standardisation, memory and head included. Cases are interleaved, and the first cuts of each are not
counted. Networks have drawn weights (a product costs the same whatever it multiplies), all others
are fitted on drawn rows. The peer of a network is the plain way to the same number: the whole
network in numpy over the window that an output is made of; that of the shipped kind, `tcn`, also
the same in onnxruntime, in `.venv-peers`. For families that go on learning, what a matured sample
costs is measured too.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
from msgspec import convert

from benchmarks.figures import Figure, Runs, figure, interleave
from benchmarks.peering import PeerProcess, peer_processes
from models import stack
from models.families import FAMILIES
from models.family import Follower, Model, OnlineModel, Weights
from models.network import BOOK, HIDDEN, Network
from models.samples import DOWN, FLAT, UP, Samples, Target
from processes.inference.chain import Chain
from processes.inference.places import Place
from processes.places import ROOT
from schemas import features
from schemas.features import CATALOGUE
from schemas.lineup import Standing
from schemas.predictions import NETWORK, PLACE_OF, RULE, RULES
from schemas.settings import InferenceSettings

INSTRUMENTS: Final = (1, 8, 64)
TARGET: Final = Target(horizon_s=10.0, move_bps=1.0)
START_NS: Final = 1_760_000_000_000_000_000
LINE_UP: Final = ("tcn", "cnn", "sgd", "gbdt", "regime", *RULES[1:])
"""One model in each place, beside the rule that the chain has itself."""
ONNX: Final = "onnxruntime"
WARM: Final = 50
"""Cuts before those that count."""


def drawn(cuts: int, instruments: int) -> Samples:
    """Rows in which two columns know something of the moves."""
    draw = np.random.default_rng(1)
    count = cuts * instruments
    values = draw.normal(size=(count, len(CATALOGUE))).astype(np.float32)
    book = np.exp(draw.normal(size=(count, BOOK))).astype(np.float32)
    move = 2 * (values[:, 0] - values[:, 1] + draw.normal(size=count))
    label = np.where(move > TARGET.move_bps, UP, np.where(move < -TARGET.move_bps, DOWN, FLAT))
    cut_ns = START_NS + np.repeat(np.arange(cuts), instruments) * 10**9
    return Samples(
        values=values, book=book, invalid=np.zeros(count, np.uint64),
        instrument=np.tile(np.arange(instruments), cuts).astype(np.uint16), cut_ns=cut_ns,
        price=np.exp(1e-4 * draw.normal(size=count).cumsum()), move_bps=move,
        label=label.astype(np.int8), matured_ns=cut_ns + 10**10,
    )  # fmt: skip


def drawn_network(family: type[Network]) -> Network:
    """A network of the family's shape that nobody has fitted."""
    draw = np.random.default_rng(2)
    name, columns = ("book_", BOOK) if family.sees == "book" else ("", len(CATALOGUE))
    weights: Weights = {f"{name}mean": np.zeros(columns), f"{name}scale": np.ones(columns)}
    for layer in family.layers:
        weights[layer.kernel] = draw.normal(size=(3 * columns, HIDDEN)) / np.sqrt(3 * columns)
        weights[layer.bias] = np.zeros(HIDDEN)
        columns = HIDDEN
    weights |= {"C": draw.normal(size=(HIDDEN, 5)), "c": np.zeros(5)}
    return family.restored({key: array.astype(np.float32) for key, array in weights.items()})


def made(family: type[Model], samples: Samples) -> Model:
    """A model of the family that can be asked."""
    if issubclass(family, Network):
        return drawn_network(family)
    model = family()
    model.fit(samples, TARGET, seed=1)
    return model


class Cuts:
    """A follower over cuts of some instruments."""

    def __init__(self, follower: Follower, instruments: int, cuts: int) -> None:
        self._follower = follower
        rows = drawn(cuts + WARM, instruments)
        self._cuts = [
            (rows.values[at], rows.book[at], rows.price[at], rows.instrument[at])
            for at in (
                slice(first, first + instruments) for first in range(0, rows.count, instruments)
            )
        ]
        self.p99: list[float] = []

    def run(self) -> float:
        """The median in microseconds a cut; p99 is kept beside."""
        step, taken = self._follower.step, []
        for cut in self._cuts:
            began_ns = time.perf_counter_ns()
            step(*cut)
            taken.append(time.perf_counter_ns() - began_ns)
        p50, p99 = np.percentile(taken[WARM:], (50, 99)) / 1e3
        self.p99.append(float(p99))
        return float(p50)


class Windows(Follower):
    """The plain way: the whole network over the newest rows of each instrument, in numpy."""

    def __init__(self, network: Network, instruments: int) -> None:
        self._network = network
        columns = len(network.weights_in_use[network.layers[0].kernel]) // stack.KERNEL
        self._rows = np.zeros((instruments, network.rows_back + 1, columns), np.float32)
        self._out = np.empty((instruments, stack.OUTPUTS), np.float32)

    def step(
        self, values: np.ndarray, book: np.ndarray, price: np.ndarray, instrument: np.ndarray
    ) -> np.ndarray:
        """Move every window on by a row, and compute it all."""
        self._rows[instrument, :-1] = self._rows[instrument, 1:]
        self._rows[instrument, -1] = self._network.inputs(values, book, price)
        weights, layers = self._network.weights_in_use, self._network.layers
        raw = stack.forward(weights, layers, self._rows[instrument])[:, -1]
        stack.speak(raw, self._out)
        return self._out

    def forget(self) -> None:
        """Begin anew."""
        self._rows[:] = 0


class LineUpCuts:
    """Cuts of some instruments through inference's chain, with the families beside the network.

    Everything a cut costs inference is in it: standardisation, memories, slots and their line-up;
    not the ring. The network steps in numpy, as the followers do. An online model learns nothing,
    since no label matures here; `model_sgd_learns` says what a sample costs.
    """

    def __init__(self, models: Sequence[Model], instruments: int, cuts: int) -> None:
        families = tuple(model.family for model in models)
        settings = convert({"device": "numpy", "families": (*families, RULE)}, InferenceSettings)
        self._chain = Chain(
            settings, ROOT / settings.model, instruments, lambda *_: None, time.monotonic_ns,
            structlog.wrap_logger(structlog.ReturnLogger()), lambda *_: None,
        )  # fmt: skip
        self._chain.load()
        self._chain.compile()
        for model in models:
            if model.family != NETWORK:
                standing = Standing(place=PLACE_OF[model.family], family=model.family)
                self._chain.places.put(Place(standing, model, instruments))
        samples = drawn(cuts + WARM, instruments)
        rows = np.zeros(samples.count, features.SLOT)
        for name, array in (
            ("values", samples.values), ("book", samples.book), ("cut_ns", samples.cut_ns),
            ("reference_price", samples.price), ("instrument", samples.instrument),
        ):  # fmt: skip
            rows[name] = array
        rows["sequence"] = np.arange(1, len(rows) + 1)
        self._cuts = [
            np.ascontiguousarray(rows[at : at + instruments])
            for at in range(0, len(rows), instruments)
        ]
        self.p99: list[float] = []

    def run(self) -> float:
        """The median in microseconds a cut; p99 is kept beside."""
        take, taken = self._chain.take, []
        for cut in self._cuts:
            address = int(cut.ctypes.data)
            began_ns = time.perf_counter_ns()
            take(cut, address)
            taken.append(time.perf_counter_ns() - began_ns)
        p50, p99 = np.percentile(taken[WARM:], (50, 99)) / 1e3
        self.p99.append(float(p99))
        return float(p50)


def followers(model: Model, instruments: int) -> dict[str, Follower]:
    """Every way in which a model follows, by name."""
    found = {model.family: model.follower(instruments)}
    if isinstance(model, Network):
        found[f"{model.family}_mlx"] = model.follower(instruments, "cpu")
        found[f"{model.family}_window"] = Windows(model, instruments)
    return found


def ask_onnx(
    peer: PeerProcess, network: Network, instruments: int, cuts: int, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """The same cuts in onnxruntime: (cuts) microseconds, and (instruments, 5) of the last cut."""
    weights, rows = network.weights_in_use, drawn(cuts + WARM, instruments).values
    arrays: Any = {
        f"{what}_{number}": weights[name]
        for number, layer in enumerate(network.layers)
        for what, name in (("kernel", layer.kernel), ("bias", layer.bias))
    }
    path = folder / f"network_{instruments}.npz"
    np.savez(
        path, mean=weights["mean"], scale=weights["scale"], head=weights[stack.HEAD[0]],
        head_bias=weights[stack.HEAD[1]], rows=rows.reshape(-1, instruments, rows.shape[1]),
        dilations=np.array([layer.dilation for layer in network.layers]), **arrays,
    )  # fmt: skip
    told = peer.ask(f"run {path}")
    return np.array(told["taken_us"])[WARM:], np.array(told["said"])


def _learning(model: OnlineModel, samples: Samples) -> Callable[[], float]:
    """Microseconds a sample that an online model learns from one at a time."""
    rows = [samples.take(slice(row, row + 1)) for row in range(2000)]

    def run() -> float:
        began_ns = time.perf_counter_ns()
        for row in rows:
            model.partial_fit(row)
        return (time.perf_counter_ns() - began_ns) / len(rows) / 1e3

    return run


def _lineups(models: Sequence[Model], cuts: int, rounds: int) -> dict[str, Figure]:
    """A cut through the whole line-up, and through the one that is shipped."""
    mine = {model.family: model for model in models if model.family in LINE_UP}
    found: dict[str, Figure] = {}
    for instruments in INSTRUMENTS:
        cases = {
            "lineup": LineUpCuts([mine[name] for name in LINE_UP], instruments, cuts),
            "lineup_shipped": LineUpCuts([mine[NETWORK]], instruments, cuts),
        }
        runs = interleave({name: case.run for name, case in cases.items()}, rounds)
        for name, case in cases.items():
            p99 = figure(case.p99, "µs").value
            found[f"model_{name}_{instruments}"] = figure(
                runs[name], "µs/cut", less_is_better=True,
                note=f"median of {cuts} cuts of {instruments} instruments; p99 {p99:g} µs",
            )  # fmt: skip
    return found


def _families(models: Sequence[Model], cuts: int, rounds: int) -> dict[str, Figure]:
    """A cut by every family, and by onnxruntime, turn by turn."""
    network = next(model for model in models if model.family == NETWORK)
    assert isinstance(network, Network)
    found: dict[str, Figure] = {}
    with (
        peer_processes({ONNX: ("network.py",)}) as (running, absent),
        tempfile.TemporaryDirectory() as folder,
    ):
        for instruments in INSTRUMENTS:
            cases = {
                name: Cuts(follower, instruments, cuts)
                for model in models
                for name, follower in followers(model, instruments).items()
            }
            asked: dict[str, Callable[[], float]] = {name: one.run for name, one in cases.items()}
            for name, peer in running.items():
                asked[name] = lambda peer=peer, count=instruments: float(  # type: ignore[misc]
                    np.median(ask_onnx(peer, network, count, cuts, Path(folder))[0])
                )
            runs: dict[str, Runs] = {**interleave(asked, rounds), **absent}
            for name, case in cases.items():
                found[f"model_{name}_{instruments}"] = _figure(name, case, runs, cuts, instruments)
    return found


def _figure(name: str, case: Cuts, runs: Mapping[str, Runs], cuts: int, instruments: int) -> Figure:
    family, ours = name.removesuffix("_mlx"), runs[name]
    assert not isinstance(ours, str)
    wanted = [f"{family}_window", *([ONNX] if family == NETWORK else [])]
    peers = {peer: runs[peer] for peer in wanted if peer in runs and peer != name}
    note = (
        f"median of {cuts} cuts of {instruments} instruments; p99 {figure(case.p99, '').value:g} µs"
    )
    return figure(ours, "µs/cut", peers, less_is_better=True, note=note)


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """All figures of the families."""
    cuts, rounds = (50, 1) if quick else (1000, 5)
    samples = drawn(500, 8)
    models = [made(family, samples) for family in FAMILIES.values()]
    found = _families(models, cuts, rounds) | _lineups(models, cuts, rounds)
    online = {m.family: _learning(m, samples) for m in models if isinstance(m, OnlineModel)}
    for name, taken in interleave(online, rounds).items():
        found[f"model_{name}_learns"] = figure(taken, "µs/sample", note="one sample a call")
    return found
