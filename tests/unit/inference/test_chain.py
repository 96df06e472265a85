"""The model chain: a step is the whole network, rungs fall and rise, no row is lost."""

import os
import threading

import numpy as np
import pytest

from models import base
from models.base import ModelError, load_manifest, load_weights
from models.rules import moving_average_cross
from models.tcn import BATCHES, HIDDEN_DEPTH, MlxStepper, NumpyStepper, forward, normalise
from processes.inference.chain import Chain
from processes.inference.threads import patient
from processes.places import ROOT
from schemas import features, predictions
from schemas.features import CATALOGUE, COLUMN, Invalid
from schemas.layout import join
from schemas.lineup import LineUp, Standing
from schemas.predictions import MODELS, Device, Rung
from schemas.settings import InferenceSettings
from tests.helpers import QuietLog

RULE = Standing(place="moving_average_cross", family="moving_average_cross")
SHIPPED = ROOT / "models" / "shipped" / "tcn"


class Made:
    """A chain whose clock and publications are at hand."""

    def __init__(self, instruments=3, folder=SHIPPED, **settings):
        self.now_ns = 10**9
        self.rungs: list[tuple[Rung, str]] = []
        self.published: list[np.ndarray] = []
        self.chain = Chain(
            InferenceSettings(**settings),
            folder,
            instruments,
            lambda address, count, cut_ns: self.published.append(
                self.chain._memory.out[:count].copy()
            ),
            lambda: self.now_ns,
            QuietLog(),
            lambda rung, why: self.rungs.append((rung, why)),
        )
        self.chain.load()

    def take(self, rows):
        block = np.ascontiguousarray(rows)
        self.chain.take(block, int(block.ctypes.data))

    @property
    def told(self):
        return join(self.published, predictions.SLOT)


def rows(count, instruments=1, seed=0):
    draw = np.random.default_rng(seed)
    made = np.zeros(count, features.SLOT)
    weights = load_weights(SHIPPED)
    scale = np.where(weights["scale"] > 0, weights["scale"], 1)  # 0: a column is not looked at
    made["values"] = weights["mean"] + draw.normal(size=(count, len(CATALOGUE))) / scale
    made["instrument"] = draw.integers(0, instruments, count)
    made["sequence"] = np.arange(1, count + 1)
    made["reference_price"] = 100.0
    return made


@pytest.mark.parametrize("device", ["auto", "numpy"])
def test_streaming_gives_what_the_whole_network_gives(device):
    made = Made(device=device)
    stream = rows(40)
    for row in range(40):
        made.take(stream[row : row + 1])
    weights = load_weights(SHIPPED)
    whole = forward(weights, normalise(stream["values"][:, : len(CATALOGUE)], weights)[None])[0]
    logits = whole[:, :3] - whole[:, :3].max(axis=1, keepdims=True)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    told = made.told["outputs"][:, MODELS.index("tcn")]
    assert told[:, :3] == pytest.approx(chances, abs=2e-5)
    assert told[:, 3] == pytest.approx(whole[:, 3], abs=2e-4)
    assert (made.told["device"] == (Device.MLX_CPU if device == "auto" else Device.NUMPY)).all()


def test_mlx_and_its_numpy_twin_agree():
    weights = load_weights(SHIPPED)
    mlx, twin = MlxStepper(weights, "cpu"), NumpyStepper(weights)
    draw = np.random.default_rng(3)
    for batch in BATCHES:
        inputs = draw.normal(size=(batch, len(CATALOGUE))).astype(np.float32)
        first, second = draw.normal(size=(2, batch, weights["A"].shape[1])).astype(np.float32)
        told, wanted = mlx(inputs, first, second), twin(inputs, first, second)
        for one, other in zip(told, wanted, strict=True):
            assert one == pytest.approx(other, abs=3e-5)


@pytest.mark.parametrize("make", [lambda w: MlxStepper(w, "cpu"), NumpyStepper])
def test_a_rows_bits_do_not_depend_on_its_place_or_its_neighbours(make):
    """What makes a replay exact: how rows were grouped does not matter within a batch size."""
    weights = load_weights(SHIPPED)
    step = make(weights)
    draw = np.random.default_rng(4)
    width = weights["A"].shape[1]
    for batch in BATCHES:
        row = draw.normal(size=len(CATALOGUE)).astype(np.float32)
        past = draw.normal(size=(2, width)).astype(np.float32)
        seen = set()
        for place in range(batch):
            inputs = draw.normal(size=(batch, len(row))).astype(np.float32)
            first, second = draw.normal(size=(2, batch, width)).astype(np.float32)
            inputs[place], first[place], second[place] = row, *past
            hidden, deeper = step(inputs, first, second)
            seen.add(hidden[place].tobytes() + deeper[place].tobytes())
        assert len(seen) == 1, f"batch {batch}"


def test_grouping_does_not_change_a_bit(seed):
    stream = rows(300, instruments=3, seed=seed)
    alone, grouped = Made(), Made()
    for row in range(len(stream)):
        alone.take(stream[row : row + 1])
    draw = np.random.default_rng(seed)
    at = 0
    while at < len(stream):
        # Now and then so many that most of them are in no output any more.
        size = int(draw.choice([1, 2, 3, 5, 8, 12, 40]))
        grouped.take(stream[at : at + size])
        at += size
    mine = {int(slot["feature_sequence"]): slot["outputs"].tobytes() for slot in alone.told}
    told = grouped.told
    assert len(told) < len(stream)
    for slot in told:
        assert slot["outputs"].tobytes() == mine[int(slot["feature_sequence"])]


def test_of_rows_that_waited_only_the_newest_is_published():
    made = Made()
    stream = rows(50, instruments=3, seed=2)  # so many of each that only the last five are stepped
    made.take(stream)
    newest = {int(r["instrument"]): int(r["sequence"]) for r in stream}
    told = {int(s["instrument"]): int(s["feature_sequence"]) for s in made.told}
    assert told == newest
    assert made.chain.steps == 3 * HIDDEN_DEPTH
    assert made.chain.superseded == 50 - len(newest)


def test_a_dropped_row_is_in_no_memory_and_no_prediction():
    stream = rows(60, instruments=2, seed=9)
    stream["invalid"][[5, 6, 30, 59]] = int(Invalid.DROPPED | Invalid.CROSSED)
    kept = stream[stream["invalid"] == 0]
    whole, without = Made(), Made()
    for at in range(0, len(stream), 4):
        part = stream[at : at + 4]
        whole.take(part)
        without.take(part[part["invalid"] == 0])
    assert whole.told["feature_sequence"].tolist() == without.told["feature_sequence"].tolist()
    assert whole.told["outputs"].tobytes() == without.told["outputs"].tobytes()
    assert set(whole.told["feature_sequence"]) <= set(kept["sequence"])
    before = len(whole.told)
    whole.take(stream[59:])
    assert len(whole.told) == before


def test_more_instruments_than_a_small_batch():
    made, one_by_one = Made(instruments=100), Made(instruments=100)
    stream = rows(400, instruments=100, seed=8)
    made.take(stream)
    for row in stream:
        one_by_one.take(np.array([row], features.SLOT))
    last = {int(s["instrument"]): s["outputs"][0] for s in one_by_one.told}
    for slot in made.told:
        assert slot["outputs"][0] == pytest.approx(last[int(slot["instrument"])], abs=1e-5)
        assert slot["batch_rows"] == BATCHES[-1]


def test_rows_of_no_instrument_are_passed_over():
    made = Made(instruments=1)
    stream = rows(3)
    stream["instrument"][1] = 65535
    made.take(stream)
    assert made.chain.steps == 2
    made.take(stream[1:2])
    assert len(made.published) == 1


def test_the_rule_speaks_on_every_rung():
    made = Made(enabled=False)
    assert made.chain.rung == Rung.POSITIONS_ONLY
    stream = rows(1)
    stream["values"][0, COLUMN["mean_cross_bps"]] = 5
    stream["values"][0, COLUMN["volatility_60s_bps"]] = 10
    made.take(stream)
    told = made.told[0]
    assert np.isnan(told["outputs"][0]).all()
    assert told["outputs"][1] == pytest.approx(moving_average_cross(5.0, 10.0), rel=1e-6)
    assert (told["blend"] == told["outputs"][1]).all()
    assert told["model_version"] == LineUp(standings=(RULE,)).version
    assert told["rung"] == Rung.POSITIONS_ONLY


def test_the_rule():
    up, flat, down, move, spread = moving_average_cross(3.0, 6.0)
    assert up + flat + down == pytest.approx(1)
    assert (down, move, spread) == (0, 3, 6)
    assert moving_average_cross(-3.0, 6.0)[2] == up
    assert moving_average_cross(0.0, 0.0)[:3] == (0, 1, 0)


def test_a_network_that_raises_falls_to_its_twin_and_climbs_back():
    made = Made(retry_s=0.000001)
    assert made.chain.rung == Rung.MLX

    def broken(*_):
        raise RuntimeError("the device is gone")

    made.chain._stepper = broken
    made.take(rows(1))
    assert made.chain.rung == Rung.CPU
    assert "the device is gone" in made.rungs[-1][1]
    assert len(made.told) == 1  # the rule's word was published all the same
    made.take(rows(1))
    assert made.told[-1]["rung"] == Rung.CPU
    assert made.told[-1]["device"] == Device.NUMPY
    made.chain._stepper = broken
    made.take(rows(1))
    assert made.chain.rung == Rung.POSITIONS_ONLY
    assert made.chain.falls == 2
    made.chain.retry()
    assert made.chain.rung == Rung.MLX


def test_after_a_fall_the_memory_is_made_again_and_is_the_rungs_own():
    """Else a prediction would depend on when its rung was taken, and a replay could not tell."""
    stream = rows(12)
    fallen, always = Made(), Made(device="numpy")
    for row in stream[:9]:
        fallen.take(np.array([row], features.SLOT))
        always.take(np.array([row], features.SLOT))
    fallen.chain.fall("for a test")
    assert fallen.chain.cold
    fallen.chain.forget()
    before = np.ascontiguousarray(stream[:9])
    fallen.chain.warm(before, int(before.ctypes.data))
    assert not fallen.chain.cold
    for row in stream[9:]:
        fallen.take(np.array([row], features.SLOT))
        always.take(np.array([row], features.SLOT))
    assert fallen.told["outputs"][9:].tobytes() == always.told["outputs"][9:].tobytes()


def test_a_prediction_says_where_its_drain_began():
    made = Made()
    stream = rows(7)
    made.take(stream[:3])
    made.take(stream[3:])
    assert made.told["drain_first"].tolist() == [1, 4]


def test_missed_deadlines_in_a_row_fall_and_single_ones_do_not():
    made = Made(misses_to_fall=3, deadline_ms=1.0)
    slow = made.chain._stepper

    def late(*arrays):
        made.now_ns += 2_000_000
        return slow(*arrays)

    for step in (late, late, slow, late, late):
        made.chain._stepper = step
        made.take(rows(1))
    assert made.chain.rung == Rung.MLX
    assert made.chain.misses == 4
    made.chain._stepper = late
    made.take(rows(1))
    assert made.chain.rung == Rung.CPU
    assert made.told["flags"].tolist() == [1, 1, 0, 1, 1, 1]


def copy_of_shipped(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (base.MANIFEST, base.WEIGHTS):
        (folder / name).write_bytes((SHIPPED / name).read_bytes())
    return folder


def test_a_model_that_is_not_for_us_is_refused(tmp_path):
    folder = copy_of_shipped(tmp_path)
    with pytest.raises(ModelError, match="another feature layout"):
        load_manifest(folder, features.FINGERPRINT + 1)
    (folder / base.WEIGHTS).write_bytes(b"torn")
    with pytest.raises(ModelError, match="not those of the manifest"):
        load_manifest(folder, features.FINGERPRINT)
    (folder / base.MANIFEST).write_text("{")
    with pytest.raises(ModelError, match="no model can be read"):
        load_manifest(folder, features.FINGERPRINT)
    with pytest.raises(ModelError, match="no model can be read"):
        load_manifest(tmp_path / "nowhere", features.FINGERPRINT)


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    folder = copy_of_shipped(tmp_path)
    weights = load_weights(folder)
    weights["B"] = weights["B"].copy()
    weights["B"][0, 0] = np.nan
    manifest = load_manifest(folder, features.FINGERPRINT)
    base.save_model(folder, manifest, weights)
    with pytest.raises(ModelError, match="B hold numbers that are not finite"):
        load_weights(folder)


def test_a_missing_model_leaves_the_rules(tmp_path):
    made = Made(folder=tmp_path)
    assert made.chain.rung == Rung.POSITIONS_ONLY
    assert "no model can be read" in made.rungs[-1][1]
    made.take(rows(1))
    assert len(made.told) == 1


def test_the_shipped_model_says_what_it_is():
    manifest = load_manifest(SHIPPED, features.FINGERPRINT)
    assert "simulator" in manifest.trained_on
    assert manifest.columns == [feature.name for feature in CATALOGUE]
    assert manifest.metrics["log_loss"] < manifest.metrics["log_loss_of_base_rate"] - 0.1
    assert (ROOT / manifest.made_by).exists()
    assert Made().chain.drift is not None  # it brings the bins of its training


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux schedules so")
def test_a_patient_thread_does_not_interrupt_who_wakes_it():
    began, end = threading.Event(), threading.Event()
    found: list[int] = []

    def live() -> None:
        found.append(threading.get_native_id())
        began.set()
        end.wait()

    with patient():
        thread = threading.Thread(target=live)
        thread.start()
        began.wait()
    assert os.sched_getscheduler(found[0]) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    end.set()
    thread.join()
