"""From the lake to a running inference: what `dcctl train` makes is fitted on the rows that live
models step on, says of them what they say, and sees when they are of another market."""

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from config.loader import load
from models import base, network
from models.drift import ANOTHER, BINS, EDGES, SEEN_EDGES, SEEN_SHARES
from models.families import FAMILIES
from processes.inference.drift import LEAST_ROWS
from processes.model_registry import models_folder
from processes.storage.store import Lake, Split, TableView
from processes.training.dataset import Dataset, Selection, Source, collect
from processes.training.trainer import Desk, train
from processes.training.work import Work
from schemas.features import COLUMN, FINGERPRINT, WIDTH, Invalid
from schemas.instruments import Tables
from schemas.metrics import place
from schemas.predictions import RULES
from schemas.training import TargetSettings
from tests.lineups import V1, Instance, Make, fitted, instances, market, plant, promote

CUTS = 450
CLOSE = {"tcn": 2e-5, "cnn": 5e-5}
"""How far networks may be from the whole of them, as their own tests say."""


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Some rows were dropped: the record has them, and no model sees them."""
    some = market(CUTS)
    dropped = np.random.default_rng(5).random(len(some)) < 0.1
    some["invalid"][dropped] |= np.uint64(Invalid.DROPPED)
    some["values"][dropped] = 1e6
    return some


@pytest.fixture
def make(rows, closed_logs) -> Iterator[Make]:
    del closed_logs
    with instances(rows) as instance:
        yield instance


def store(one: Instance, rows: np.ndarray) -> None:
    """Rows in the instance's lake, as storage writes them."""
    content = (one.data / "state" / "instruments.json").read_bytes()
    tables = msgspec.json.decode(content, type=Tables)
    split = Split("features", TableView(tables))
    lake = Lake(one.data / "lake", split, one.session, one.bare.settings.storage)
    for first in range(0, len(rows), 1000):
        lake.write(rows[first : first + 1000])
    lake.seal_all()


def collected(one: Instance) -> Dataset:
    return collect(Source(one.data, Selection(recorded=True)), one.data / "collected")


def test_live_models_say_what_they_predict_of_the_rows_of_a_training(make):
    families = ("cnn", "gbdt", "regime", "tcn", "ridge")
    one = make(*families, *RULES, promoted=families)
    one.start()
    one.live(60, 1, 4, 2)
    store(one, np.concatenate(one.written))
    samples = collected(one).samples
    assert 0.05 < 1 - samples.count / one.fed < 0.2
    keys = zip(samples.cut_ns.tolist(), samples.instrument.tolist(), strict=True)
    at = {key: number for number, key in enumerate(keys)}
    told = one.slots[["cut_ns", "instrument"]].tolist()
    assert len(told) > 60
    places = [at[key] for key in told]  # of none that was dropped
    for family in (*families, *RULES):
        model = FAMILIES[family]() if family in RULES else fitted(family)
        wanted, said = model.predict(samples)[places], one.outputs(family)
        if family in CLOSE:
            assert said == pytest.approx(wanted, rel=2e-5, abs=CLOSE[family]), family
        else:
            assert said.tobytes() == wanted.tobytes(), family


@pytest.mark.parametrize("family", ["tcn", "gbdt"])
def test_a_trained_model_sees_another_market_and_not_its_own(make, family, monkeypatch):
    monkeypatch.setattr(network, "STEPS", (5, 5))
    one = make("moving_average_cross", family)
    first = market(400, 7)
    first["sequence"] = np.arange(1, len(first) + 1)
    store(one, first)
    models = models_folder(one.data)
    settings = load("demo", environment={}, changes={"training.baselines": "[]"})
    source = Source(one.data, Selection(recorded=True))
    with Work(models) as work:
        desk = Desk(models, work, settings, source, collected(one), 2, 1)
        made = train(desk, family, TargetSettings(horizon_s=4.0, move_bps=1.0), lambda *_: None)
    promote(one.data, family, made.report.version)
    one.start()
    one.live(250, 25)
    drift = one.predictor._chain.drift
    assert drift is not None
    assert drift.rows > LEAST_ROWS
    assert 0 < drift.report().max() < 0.1
    at, end = COLUMN["imbalance_5"], one.fed
    one.rows = one.rows.copy()
    one.rows["values"][end:, at] *= 1.5
    one.live(200, 25)
    assert (drift.report() > ANOTHER).nonzero()[0].tolist() == [at]
    drift._reported = 0
    one.predictor._tell_drift()
    context = one.predictor._context
    assert context.metrics.get(place("drift_columns")) == 1
    assert context.metrics.get(place("drift_psi_milli", "imbalance_5")) > 1000 * ANOTHER


def test_the_first_beside_the_network_tells_the_drift_where_there_is_none(make):
    """And the network's own, where it has one, whatever is promoted beside it."""
    edges, shares = np.zeros((WIDTH, EDGES), np.float32), np.ones((WIDTH, BINS), np.float32) / BINS
    for families, wanted in ((("ridge", "gbdt"), "ridge"), (("tcn", "ridge"), "tcn")):
        one = make(*families)
        for family in set(families) - {"tcn"}:
            folder = plant(one.data, family, V1, fitted(family))
            weights = base.load_weights(folder) | {SEEN_EDGES: edges, SEEN_SHARES: shares}
            base.save_model(folder, base.load_manifest(folder, FINGERPRINT), weights)
            promote(one.data, family, V1)
        one.start()
        assert one.predictor._chain._binned_by == wanted
