"""What speaks against a promotion, each on purpose."""

import shutil

import msgspec
import numpy as np
import pytest

from models.base import MANIFEST, WEIGHTS, Manifest, ModelError
from models.families import FAMILIES
from processes.training.promotion import beside, objections
from processes.training.result import REPORT
from schemas.errors import OperatorError
from schemas.training import TargetSettings
from tests.unit.training.lakes import write_rows
from tests.unit.training.markets import SECOND, START, ClosedForm, changed, rows
from tests.unit.training.test_trainer import go

NOW = START + 3600 * SECOND
LATER = NOW + 30 * 86_400 * SECOND


class Contrary(ClosedForm):
    """Says down where it should say up."""

    def predict(self, samples):
        said = super().predict(samples)
        return said[:, [2, 1, 0, 3, 4]]


@pytest.fixture(scope="module")
def good(lake):
    return go(lake).folder


@pytest.fixture
def copy(good, tmp_path):
    """A good model that may be spoilt."""
    return shutil.copytree(good, tmp_path / good.name)


def rewrite(folder, **values):
    path = folder / MANIFEST
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, **values)))


def test_a_good_model_is_promoted_without_a_word(good):
    assert objections(good, None, NOW) == []
    assert objections(good, good, NOW) == []


def test_an_old_one_is_not(good):
    assert "expired" in objections(good, None, LATER)[0]


def test_one_of_other_rows_is_not(copy):
    rewrite(copy, features=1)
    assert objections(copy, None, NOW) == ["it was made for another feature layout"]


def test_one_that_knows_nothing_is_not(tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILIES, ClosedForm.family, ClosedForm)
    write_rows(tmp_path, rows(1500, 2, 3)[0])
    assert "not better than the flat baseline" in objections(go(tmp_path).folder, None, NOW)[0]


def test_one_that_has_seen_the_future_is_not(tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILIES, ClosedForm.family, ClosedForm)
    samples, _ = rows(1500, 2, 3)
    values = samples.values.copy()
    values[:, 7] = np.nan_to_num(samples.move_bps)
    write_rows(tmp_path, changed(samples, values=values))
    told = objections(go(tmp_path).folder, None, NOW)
    assert told
    assert all(text.startswith("leakage: ") for text in told)


def test_one_that_is_worse_than_the_promoted_is_not(lake, good, monkeypatch):
    monkeypatch.setitem(FAMILIES, ClosedForm.family, Contrary)
    dull = go(lake, "dull").folder
    told = objections(dull, good, NOW)
    assert [text for text in told if "worse than" in text]
    assert not [text for text in objections(good, dull, NOW) if "worse" in text]
    both = beside(good, dull)
    assert both.difference.high < 0
    assert both.first == pytest.approx(both.second + both.difference.value)
    assert beside(dull, good).difference.value == -both.difference.value


def test_one_that_shares_no_test_with_the_promoted_is_not_compared_in_silence(good, tmp_path):
    other = tmp_path / "other"
    later = changed(rows(1500, 2, 5, known=0.9)[0])
    write_rows(other, changed(later, cut_ns=later.cut_ns + 10**14))
    told = objections(go(other).folder, good, NOW)
    assert [text for text in told if "share 0 tests" in text]


def test_models_of_different_things_are_not_compared(lake, good):
    other = go(lake, target=TargetSettings(horizon_s=3.0, move_bps=1.0)).folder
    with pytest.raises(OperatorError, match="predict different things"):
        beside(good, other)


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, REPORT])
def test_a_damaged_one_is_refused_whatever_is_forced(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises((ModelError, OperatorError), match="train it anew"):
        objections(copy, None, NOW)
