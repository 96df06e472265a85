"""A training goes on where it was broken off, and comes out the same to the byte."""

import msgspec
import numpy as np
import pytest

from config.loader import load
from models.base import ModelError, load_manifest, load_weights
from models.samples import Target
from processes.training import trainer
from processes.training.dataset import Selection, Source, collect
from processes.training.result import read_report
from processes.training.trainer import OUT_OF_FOLD, PAGE, Desk, train
from processes.training.work import Work
from schemas import features
from schemas.errors import OperatorError
from schemas.features import COLUMN
from schemas.training import TargetSettings
from tests.unit.training.lakes import write_rows
from tests.unit.training.markets import ClosedForm, changed, knowable, rows

TARGET = TargetSettings(horizon_s=5.0, move_bps=1.0)


class PowerCutError(Exception):
    """The power went."""


@pytest.fixture(scope="module")
def trained(lake):
    return go(lake)


def go(lake, models="models", target=TARGET, seed=1, **changed):
    values = {"training.baselines": "[ridge]", **changed}
    settings = load("demo", environment={}, changes=values)
    source = Source(lake, Selection(recorded=True))
    told = []
    with Work(lake / models) as work:
        dataset = collect(source, work.rows(source.mark))
        desk = Desk(lake / models, work, settings, source, dataset, 3, seed)
        made = train(desk, "closed_form", target, lambda *one: told.append(one))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    return made


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_inputs_give_the_same_bytes(lake, trained):
    other = go(lake, "other")
    assert not other.was_there
    assert contents(trained.folder) == contents(other.folder)
    assert go(lake, "other", seed=2).report.version != other.report.version


def test_a_training_that_is_broken_off_goes_on_where_it_was(lake, trained, monkeypatch):
    real, fits = ClosedForm.fit, []

    def fit(self, *rest, **more):
        if len(fits) == 2:
            raise PowerCutError
        fits.append(1)
        return real(self, *rest, **more)

    monkeypatch.setattr(ClosedForm, "fit", fit)
    with pytest.raises(PowerCutError):
        go(lake, "broken")
    assert not list((lake / "broken").glob("closed_form/*"))
    again = []
    monkeypatch.setattr(
        ClosedForm, "fit", lambda self, *a, **k: (again.append(1), real(self, *a, **k))
    )
    made = go(lake, "broken")
    # Three folds, all together, and shuffled labels: two of them had been done.
    assert len(again) == 3
    assert contents(made.folder) == contents(trained.folder)


def test_a_version_that_is_there_is_not_made_again(lake, trained, monkeypatch):
    monkeypatch.setattr(ClosedForm, "fit", lambda *_, **__: pytest.fail("fitted again"))
    again = go(lake)
    assert again.was_there
    assert not trained.was_there
    assert again.report == trained.report


def test_the_folder_is_that_of_a_model_that_can_be_loaded(trained):
    made = trained
    assert {path.name for path in made.folder.iterdir()} == {
        "manifest.json", "weights.npz", "report.json", PAGE, OUT_OF_FOLD,
    }  # fmt: skip
    manifest = load_manifest(made.folder, features.FINGERPRINT)
    model = ClosedForm.restored(load_weights(made.folder))
    some, _ = rows(300, 2, 9, known=0.9)
    assert np.isfinite(model.predict(some)).all()
    assert (manifest.family, manifest.version) == ("closed_form", made.report.version)
    assert manifest.trained_from_ns == made.report.from_ns < manifest.trained_to_ns
    assert manifest.expires_ns - manifest.trained_to_ns == 7 * 86_400 * 10**9
    assert manifest.instruments == ["bitfinex:tBTCUSD", "bitfinex:tETHUSD"]
    assert manifest.metrics["log_loss"] == made.report.evaluation.log_loss.value
    assert "ridge" in [one.name for one in made.report.evaluation.versus]
    assert read_report(made.folder) == made.report
    page = (made.folder / PAGE).read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("<svg") == 6


def test_what_can_be_known_is_found_and_said(trained):
    told = trained.report
    assert told.flat.difference.high < 0
    assert not told.leakage.findings
    assert told.importances[0].column == "imbalance_1"
    assert sum(one.share for one in told.importances) == pytest.approx(1.0)
    assert [one.number for one in told.folds] == [1, 2, 3]
    assert sum(one.tested for one in told.folds) == told.evaluation.samples


def test_the_future_in_a_column_is_told_by_name(lake, tmp_path):
    samples, _ = rows(1500, 2, 1)
    values = samples.values.copy()
    values[:, COLUMN["ofi_5_1s"]] = np.nan_to_num(samples.move_bps)
    write_rows(tmp_path / "leaky", changed(samples, values=values))
    told = go(tmp_path / "leaky").report
    assert {one.column for one in told.leakage.findings if one.column} == {"ofi_5_1s"}
    assert "has seen the future" in next((tmp_path / "leaky").rglob(PAGE)).read_text()


def test_out_of_fold_is_what_models_said_that_had_not_seen_it(trained):
    made = trained
    with np.load(made.folder / OUT_OF_FOLD) as held:
        said, cut_ns, label = held["said"], held["cut_ns"], held["label"]
    assert len(said) == len(cut_ns) == len(label)
    assert (cut_ns >= made.report.folds[0].from_ns).all()
    samples = knowable()
    fold = made.report.folds[0]
    before = samples.matured_ns < fold.from_ns - 5 * 10**9
    model = ClosedForm()
    model.fit(samples.take(before & samples.known), Target(5.0, 1.0), seed=1)
    mine = (samples.cut_ns >= fold.from_ns) & (samples.cut_ns <= fold.to_ns)
    assert np.allclose(model.predict(samples.take(mine)), said[: mine.sum()], atol=1e-5)


def test_triple_barriers_are_learnt_too(lake):
    made = go(
        lake, **{"training.labels": "triple_barrier", "training.take_bps": "1",
        "training.stop_bps": "6", "execution.paper.fee_bps": "0.1", "training.slippage_bps": "0"},
    )  # fmt: skip
    assert made.report.labels == load_manifest(made.folder, features.FINGERPRINT).labels
    assert min(made.report.evaluation.shares) > 0.02


def test_too_little_says_what_to_type(lake):
    with pytest.raises(ModelError, match="--horizon"):
        go(lake, target=TargetSettings(horizon_s=1900.0, move_bps=1.0))


def test_one_training_works_at_a_time(lake):
    with Work(lake / "models"), pytest.raises(OperatorError, match="another dcctl train"):
        go(lake)


def test_other_work_is_kept_within_bounds(tmp_path):
    with Work(tmp_path) as work:
        for number in range(5):
            work.rows(f"{number}").mkdir(exist_ok=True)
        assert len(list((tmp_path / ".work").glob("rows-*"))) <= 2
        assert work.rows("4").is_dir()


def test_the_report_has_no_time_of_its_making(trained):
    text = msgspec.json.encode(trained.report).decode()
    assert "made_ns" not in text
    assert trainer.MADE_BY in text
