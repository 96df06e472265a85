"""dcctl train and dcctl models: through the real command line, and what they say."""

import json
import os
import subprocess
import sys

import pytest

from models.base import ModelError
from models.families import FAMILIES
from processes.cli.__main__ import EXIT_FAILED, EXIT_USAGE
from processes.model_registry import history, promoted
from tests.helpers import ROOT
from tests.recorded import Recorder
from tests.unit.training.lakes import write_rows
from tests.unit.training.markets import knowable, rows

QUICK = {"DC__training__baselines": "[]", "DC__training__expiry_days": "36500"}


def program(data, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "processes.cli", *arguments], cwd=ROOT, text=True,
        capture_output=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DC__paths__data": str(data), **QUICK},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def test_a_recorded_session_becomes_a_model(tmp_path):
    """A short session of the local exchange's market, as storage leaves it, to a trained ridge."""
    recorder = Recorder(tmp_path / "data", 3, 170.0)
    recorder.build(restarts=1)
    recorder.store()
    asked = ("train", "ridge", "--horizon", "5", "--folds", "1", "--json")
    made = json.loads(program(tmp_path / "data", *asked).stdout)[0]
    assert made["compared"] > 300
    assert made["difference"] is None
    assert made["findings"] == []
    assert not made["was_there"]
    listed = json.loads(program(tmp_path / "data", "models", "list", "--json").stdout)
    assert [(one["family"], one["version"]) for one in listed] == [("ridge", made["version"])]
    told = program(tmp_path / "data", "models", "promote", "ridge", "--force", code=2)
    assert "--reason" in told.stderr


@pytest.fixture
def lake(dcctl, monkeypatch):
    """Rows of which one column knows the coming second, in the data folder of dcctl."""
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    write_rows(dcctl.folder / "data", knowable())
    return dcctl.folder / "data"


def train(dcctl, *more):
    code = dcctl("train", "ridge", "--horizon", "5", "--folds", "2", "--recorded", "--json", *more)
    assert code == 0, dcctl.err
    return json.loads(dcctl.out)[0]


def test_promote_compare_and_roll_back(dcctl, lake, monkeypatch):
    first = train(dcctl)["version"]
    second = train(dcctl, "--symbols", "tBTCUSD")["version"]
    folder = lake / "models"
    assert promoted(folder, "ridge") is None
    monkeypatch.setenv("DC__inference__families", '["sgd","tcn"]')  # it shares the place of sgd
    assert dcctl("models", "promote", "ridge", first) == 0
    assert "inference: {families: [tcn, ridge]}" in dcctl.out
    assert "dcctl reload" in dcctl.out
    assert promoted(folder, "ridge") == folder / "ridge" / first
    monkeypatch.setenv("DC__inference__families", '["tcn","ridge"]')
    assert dcctl("models", "promote", "ridge", second, "--force", "--reason", "trial") == 0
    assert [one.reason for one in history(folder, "ridge")] == ["", "trial"]
    assert "speak" not in dcctl.out
    assert dcctl("models", "rollback", "ridge", "--reason", "enough") == 0
    assert promoted(folder, "ridge") == folder / "ridge" / first
    assert dcctl("models", "compare", f"ridge/{first}", f"ridge/{second}", "--json") == 0
    assert json.loads(dcctl.out)["shared"] > 1000
    assert dcctl("models", "compare", f"ridge/{first}", "ridge/promoted") == 0
    assert "neither is better" in dcctl.out
    assert dcctl("models", "show", "ridge", "promoted") == 0
    assert "rollback to" in dcctl.out
    assert dcctl("models", "list", "ridge") == 0
    assert [line.endswith("promoted") for line in dcctl.out.splitlines()[1:]].count(True) == 1
    assert dcctl("models", "rollback", "ridge") == EXIT_USAGE


def test_noise_is_not_promoted_but_by_force(dcctl, monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    folder = dcctl.folder / "data" / "models"
    write_rows(dcctl.folder / "data", rows(1500, 2, 1)[0])
    train(dcctl)
    assert dcctl("models", "promote", "ridge") == EXIT_FAILED
    assert "not better than the flat baseline" in dcctl.err
    assert "--force --reason" in dcctl.err
    assert promoted(folder, "ridge") is None
    assert dcctl("models", "promote", "ridge", "--force") == EXIT_USAGE
    assert dcctl("models", "promote", "ridge", "--force", "--reason", "to see it run") == 0
    told = history(folder, "ridge")[0]
    assert told.reason == "to see it run"
    assert "flat baseline" in told.overruled[0]


def test_what_is_typed_wrong_says_what_there_is(dcctl, lake):
    assert dcctl("train", "nonsense") == EXIT_USAGE
    assert "say all, or one of" in dcctl.err
    assert dcctl("train", "ridge", "--horizon", "7") == EXIT_USAGE
    assert "training.targets has 5, 15, 60" in dcctl.err
    assert dcctl("train", "ridge", "--from", "2026-01-02", "--to", "2026-01-01") == EXIT_USAGE
    assert "is not before" in dcctl.err
    assert dcctl("train", "ridge", "--from", "2026-01-02", "--days", "3") == EXIT_USAGE
    assert "leave them out" in dcctl.err
    assert dcctl("train", "ridge", "--days", "3") == EXIT_USAGE
    assert "no feature row is recorded" in dcctl.err
    assert dcctl("models", "show", "ridge") == EXIT_USAGE
    assert "dcctl train all" in dcctl.err
    assert dcctl("models", "rollback", "ridge") == EXIT_USAGE
    assert dcctl("models", "list") == 0
    assert "dcctl train all" in dcctl.out


def test_families_that_fail_do_not_stop_the_others_and_the_reason_is_told_once(
    dcctl, lake, monkeypatch
):
    class Failing(FAMILIES["ridge"]):
        family = "failing"

        def fit(self, *_, **__):
            raise ModelError("there is nothing to learn")

    some = {"failing": Failing, "faltering": Failing, "ridge": FAMILIES["ridge"]}
    monkeypatch.setattr("processes.cli.train.FAMILIES", some)
    for name in ("failing", "faltering"):
        monkeypatch.setitem(FAMILIES, name, Failing)
    asked = ("train", "all", "--folds", "2", "--recorded", "--json", "--horizon")
    assert dcctl(*asked, "5") == EXIT_FAILED
    assert "failing 5 s, faltering 5 s: there is nothing to learn" in dcctl.err
    assert dcctl.err.count("there is nothing to learn") == 1
    assert [one["family"] for one in json.loads(dcctl.out)] == ["ridge"]


def test_each_target_has_a_model_of_its_own(dcctl, lake):
    asked = ("train", "ridge", "--horizon", "5,15", "--folds", "1", "--recorded")
    assert dcctl(*asked) == 0
    assert "promote FAMILY VERSION" in dcctl.out
    for told in ("rows out of the lake", "5 s, ridge, fold 1 of 1", "15 s, ridge, fold 1 of 1"):
        assert told in dcctl.err
    assert dcctl("models", "list", "--json") == 0
    assert sorted(one["horizon_s"] for one in json.loads(dcctl.out)) == [5.0, 15.0]


def test_a_blend_is_trained_of_what_is_there_and_promoted(dcctl, lake):
    asked = ("--horizon", "5", "--folds", "4", "--recorded", "--json")
    assert dcctl("train", "blend", *asked) == EXIT_FAILED
    assert "a blend takes two models of 5 s and there is 0; type: dcctl train all" in dcctl.err
    for family in ("ridge", "moving_average_cross"):
        assert dcctl("train", family, *asked) == 0, dcctl.err
    assert dcctl("train", "blend", *asked) == 0, dcctl.err
    told = json.loads(dcctl.out)[0]
    assert told["less_flat"]["high"] < 0
    assert dcctl("models", "promote", "blend", told["version"]) == 0, dcctl.err
    assert dcctl("models", "show", "blend", "promoted") == 0
    assert promoted(lake / "models", "blend") == lake / "models" / "blend" / told["version"]
