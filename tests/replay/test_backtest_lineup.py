"""A backtest has the promoted models speak, as the instance would."""

import ctypes

import numpy as np
import pytest

from config.loader import load
from processes.model_registry import models_folder
from processes.replay.backtest.rows import REMEMBERED, Predictor
from schemas import predictions
from schemas.errors import OperatorError
from schemas.predictions import MODELS, RULES
from schemas.settings import Settings
from tests.lineups import ALL, MARKETS, fitted, market, plant, promote

VERSION = "20261121T000000-4s-aaaaaa"


def settings(strategy: str) -> Settings:
    families = [*(one for one in ALL if one != "cnn"), *RULES[1:]]
    changes = {
        "inference.families": f"[{', '.join(families)}]", "inference.device": "numpy",
        "strategy.name": strategy,
    }  # fmt: skip
    return load("demo", environment={}, changes=changes)


@pytest.fixture
def models(tmp_path):
    for family in ("sgd", "gbdt", "regime"):
        plant(tmp_path, family, VERSION, fitted(family))
        promote(tmp_path, family, VERSION)
    return models_folder(tmp_path)


def test_the_promoted_versions_speak_and_an_online_one_learns_on_its_way(models):
    told = []
    for _ in range(2):
        predictor, rows = Predictor(settings("gbdt"), MARKETS, models), market(40)
        assert predictor.rows_back > REMEMBERED  # the regime's filters begin full
        rows["sequence"] = np.arange(1, len(rows) + 1)
        said = []
        for begin in range(0, len(rows), MARKETS):
            cut = np.ascontiguousarray(rows[begin : begin + MARKETS])
            if begin < 10 * MARKETS:
                predictor.warm(cut, int(cut.ctypes.data))
                continue
            address, count = predictor.take(cut, int(cut.ctypes.data))
            slots = np.zeros(count, predictions.SLOT)
            ctypes.memmove(slots.ctypes.data, address, slots.nbytes)
            said.append(slots)
        told.append(np.concatenate([some.view(np.uint8) for some in said]).tobytes())
        last = said[-1]
        for name in ("tcn", *RULES, "linear", "gbdt", "regime"):
            assert np.isfinite(last["outputs"][:, MODELS.index(name)]).all(), name
        assert np.isnan(last["outputs"][:, MODELS.index("cnn")]).all()
        assert len({int(some["learner_state"][0]) for some in said}) > 10
    assert told[0] == told[1]


def test_a_strategy_whose_model_is_not_promoted_is_refused_in_words(tmp_path):
    with pytest.raises(OperatorError, match="needs the gbdt: none is promoted; type: dcctl"):
        Predictor(settings("gbdt"), MARKETS, models_folder(tmp_path))
    for rule in RULES:
        Predictor(settings(rule), MARKETS, models_folder(tmp_path))
