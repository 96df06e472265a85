"""Inference alone with its real rings: models in a registry, rows that are written by the test, and
a replay of what it said."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.models import drawn_network
from models.base import Manifest, save_model
from models.blend import Blend
from models.cnn import Cnn
from models.families import FAMILIES
from models.family import Model
from models.samples import Target
from models.tcn import Tcn
from processes import model_registry
from processes.inference.main import Predictor
from processes.places import Resolved
from processes.recordings.recording import Recording
from processes.replay.predictions import PredictionReplay
from processes.runtime import Context
from processes.sessions import SessionFolder
from schemas import features, predictions
from schemas.features import CATALOGUE, CutReason
from schemas.instruments import Instrument, Tables
from schemas.layout import join
from schemas.predictions import MODELS, PLACE_OF
from tests.helpers import QuietLog
from tests.instances import Bare, bare_instance
from tests.unit.models.markets import planted

SECOND = 10**9
START_NS = 1_760_000_000 * SECOND
MARKETS = 3
TARGET = Target(horizon_s=4.0, move_bps=1.0)
ALL = ("tcn", "moving_average_cross", "cnn", "sgd", "gbdt", "regime")
V1, V2 = "20261121T000000-4s-aaaaaa", "20261122T000000-4s-bbbbbb"
HEAD = {"rings__features": 8192, "rings__predictions": 8192, "inference__device": "numpy"}


@cache
def fitted(family: str, seed: int = 1) -> Model:
    """A model that can speak; networks have drawn weights."""
    if family in {"tcn", "cnn"}:
        network = drawn_network(Cnn if family == "cnn" else Tcn)
        weights = {name: array * np.float32(seed) for name, array in network.weights().items()}
        return FAMILIES[family].restored(weights)
    model = FAMILIES[family]()
    model.fit(planted(200, MARKETS, "linear", seed), TARGET, seed=seed)
    return model


def plant(data: Path, family: str, version: str, model: Model | Blend, **changed: Any) -> Path:
    """A version in the registry, not promoted."""
    folder = model_registry.models_folder(data) / family / version
    manifest = Manifest(
        name=family, family=family, version=version, features=features.FINGERPRINT,
        columns=[one.name for one in CATALOGUE], horizon_s=TARGET.horizon_s,
        move_bps=TARGET.move_bps, trained_on="", made_by="a test", metrics={}, libraries={},
        weights="", **changed,
    )  # fmt: skip
    save_model(folder, manifest, model.weights())
    return folder


def promote(data: Path, family: str, version: str) -> None:
    """Point to it, as dcctl models promote does once it has asked."""
    folder = model_registry.models_folder(data)
    model_registry.promote(folder, family, version, time.time_ns(), "", [])


def market(cuts: int, seed: int = 1) -> np.ndarray:
    """Feature rows of all markets, a cut a second, now and then one that nobody may see."""
    some = planted(cuts, MARKETS, "linear", seed)
    draw = np.random.default_rng(seed)
    rows = np.zeros(some.count, features.SLOT)
    rows["cut"] = 1 + np.repeat(np.arange(cuts), MARKETS)
    rows["cut_ns"] = START_NS + rows["cut"].astype(np.int64) * SECOND
    rows["reason"] = CutReason.BOUNDARY
    rows["instrument"] = some.instrument
    rows["values"], rows["book"] = some.values, some.book
    rows["reference_price"] = some.price
    rows["invalid"] = draw.choice([0, 1], some.count, p=[0.97, 0.03])
    return rows


class Instance:
    """Inference in this process, over rows that `feed` writes."""

    def __init__(self, bare: Bare, rows: np.ndarray) -> None:
        self.bare = bare
        self.data = bare.paths.data
        bare.put_in_force()
        bare.open()
        tables = Tables(
            instruments=[
                Instrument(
                    index=number, venue="bitfinex", symbol=f"tM{number}USD", pair=f"M{number}/USD",
                    tick_size=0.1,
                )
                for number in range(MARKETS)
            ],
            streams=[],
        )  # fmt: skip
        (self.data / "state").mkdir(parents=True, exist_ok=True)
        (self.data / "state" / "instruments.json").write_bytes(msgspec.json.encode(tables))
        self._features = Context(bare.paths.run, "features")
        self.session = self._features.session
        resolved = Resolved(generation=1, folders={}, settings=bare.settings)
        SessionFolder(self.data, self.session).keep(resolved, tables)
        self._writer = self._features.writer("features")
        self.rows = rows
        self.fed = 0
        self.written: list[np.ndarray] = []
        """Rows as the ring has numbered them."""
        self._context: Context | None = None
        self.predictor: Predictor
        self._storage = Context(bare.paths.run, "storage")
        self._told = self._storage.reader("predictions", start="oldest")
        self.told: list[np.ndarray] = []

    def feed(self, cuts: int) -> None:
        """Write the rows of the next cuts."""
        some = self.rows[self.fed : self.fed + cuts * MARKETS].copy()
        some["sequence"] = self._writer.committed + 1 + np.arange(len(some))
        self._writer.append(some)
        self.written.append(some)
        self.fed += len(some)

    def start(self) -> None:
        """A process begins: it reads where the one before stopped."""
        self._context = Context(self.bare.paths.run, "inference")
        self.predictor = Predictor(self._context)
        self.predictor.warm()

    def stop(self, *, killed: bool = False) -> None:
        """It ends in order, or as a process that was killed."""
        assert self._context is not None
        if not killed:
            self.predictor.end()
        self._context.close()
        self._context = None

    def live(self, cuts: int, *sizes: int) -> None:
        """Feed cuts and let them be taken, so many at a time."""
        done, number = 0, 0
        while done < cuts:
            size = min((sizes or (1,))[number % len(sizes or (1,))], cuts - done)
            self.feed(size)
            self.turn()
            done, number = done + size, number + 1

    def turn(self) -> None:
        """One turn of the loop."""
        self.predictor.turn()
        self.predictor.look_after()
        self.collect()

    def collect(self) -> None:
        """Take what was published."""
        while len(block := self._told.read()):
            self.told.append(block.copy())

    @property
    def slots(self) -> np.ndarray:
        """All predictions."""
        return join(self.told, predictions.SLOT)

    def text(self) -> str:
        """What dcctl status says of it."""
        assert self._context is not None
        return self._context.control.row(self._context.row).text

    def outputs(self, family: str) -> np.ndarray:
        """What a place has said, prediction by prediction."""
        return self.slots["outputs"][:, MODELS.index(PLACE_OF[family])]

    def replayed(self) -> PredictionReplay:
        """All of it made again of the rows."""
        recording = Recording(self.data, self.session)
        replay = PredictionReplay(recording, iter([join(self.written, features.SLOT)]), QuietLog())
        replay.take(self.slots)
        return replay

    def end(self) -> None:
        """Give everything back."""
        if self._context is not None:
            self.stop()
        self._features.close()
        self._storage.close()


Make = Callable[..., Instance]


@contextmanager
def instances(rows: np.ndarray) -> Iterator[Make]:
    """Instances whose line-up is these families, some of them promoted; all end with the test."""
    with ExitStack() as held:

        def instance(
            *families: str,
            promoted: tuple[str, ...] = (),
            manifest: dict[str, object] | None = None,
            **settings: object,
        ) -> Instance:
            wanted = {**HEAD, "inference__families": list(families), **settings}
            one = Instance(held.enter_context(bare_instance(**wanted)), rows)
            held.callback(one.end)
            for family in promoted:
                plant(one.data, family, V1, fitted(family), **(manifest or {}))
                promote(one.data, family, V1)
            return one

        yield instance


def assert_replayed(one: Instance) -> None:
    """Everything comes out again, to the bit."""
    found = one.replayed()
    assert found.comparison.first is None
    assert found.comparison.excluded == []
    assert found.comparison.compared == len(one.slots) > 0
