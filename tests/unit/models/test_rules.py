"""Rules lean to their side at their threshold, and say the same a row and a block at a time."""

import math

import numpy as np
import pytest

from models.base import ModelError
from models.families import FAMILIES
from models.rules import (
    CONVICTION,
    Rule,
    bollinger_touch,
    donchian_breakout,
    moving_average_cross,
    rsi_thresholds,
)
from models.samples import DOWN, UP
from schemas.features import COLUMN
from tests.unit.models.markets import TARGET, planted

SCALARS = {
    "moving_average_cross": moving_average_cross,
    "rsi_thresholds": rsi_thresholds,
    "bollinger_touch": bollinger_touch,
    "donchian_breakout": donchian_breakout,
}
QUIET, VOLATILITY = (0.0, 1.0, 0.0), 12.0


@pytest.mark.parametrize(
    ("rule", "signal", "side"),
    [
        (rsi_thresholds, 29.9, UP), (rsi_thresholds, 0.0, UP),
        (rsi_thresholds, 70.1, DOWN), (rsi_thresholds, 100.0, DOWN),
        (bollinger_touch, 0.0, UP), (bollinger_touch, -0.4, UP),
        (bollinger_touch, 1.0, DOWN), (bollinger_touch, 3.0, DOWN),
        (donchian_breakout, 1.0, UP), (donchian_breakout, 0.0, DOWN),
    ],
)  # fmt: skip
def test_a_rule_leans_to_its_side(rule, signal, side):
    said = rule(signal, VOLATILITY)
    assert said[side] >= CONVICTION
    assert said[UP if side == DOWN else DOWN] == 0
    assert sum(said[:3]) == pytest.approx(1)
    sign = 1 if side == UP else -1
    assert said[3] == pytest.approx(sign * said[side] * VOLATILITY)
    assert said[4] == VOLATILITY


@pytest.mark.parametrize(
    ("rule", "signal"),
    [
        (rsi_thresholds, 30.0), (rsi_thresholds, 50.0), (rsi_thresholds, 70.0),
        (bollinger_touch, 0.01), (bollinger_touch, 0.5), (bollinger_touch, 0.99),
        (donchian_breakout, 0.01), (donchian_breakout, 0.99),
    ],
)  # fmt: skip
def test_between_its_thresholds_a_rule_says_nothing(rule, signal):
    said = rule(signal, VOLATILITY)
    assert said[:3] == QUIET
    assert said[3] == 0


def test_the_further_beyond_the_surer():
    assert rsi_thresholds(10.0, 1.0)[UP] > rsi_thresholds(20.0, 1.0)[UP]
    assert rsi_thresholds(0.0, 1.0)[UP] == 1
    assert bollinger_touch(1.4, 1.0)[DOWN] > bollinger_touch(1.1, 1.0)[DOWN]
    assert bollinger_touch(9.0, 1.0)[DOWN] == 1


def test_every_rule_is_a_family():
    rules = {name for name, family in FAMILIES.items() if issubclass(family, Rule)}
    assert rules == set(SCALARS)


@pytest.mark.parametrize("name", SCALARS)
def test_a_block_says_what_single_rows_say(name):
    family = FAMILIES[name]
    assert issubclass(family, Rule)
    model, given = family(), planted(100, 2, "noise", 1)
    draw = np.random.default_rng(2)
    given.values[:, COLUMN[family.signal]] = draw.choice(
        [-0.2, 0, 0.5, 1, 1.3, 20, 80], given.count
    )
    model.fit(given, TARGET, seed=1)
    said = model.predict(given)
    for row, values in enumerate(given.values):
        one = SCALARS[name](
            float(values[COLUMN[family.signal]]), float(values[COLUMN["volatility_60s_bps"]])
        )
        assert said[row] == pytest.approx(one, rel=1e-6)
    assert len(np.unique(said[:, :3], axis=0)) > 1


@pytest.mark.parametrize("name", SCALARS)
def test_a_rule_explains_itself_by_its_indicator_and_is_silent_without_it(name):
    family = FAMILIES[name]
    assert issubclass(family, Rule)
    model, given = family(), planted(50, 2, "noise", 3)
    at = COLUMN[family.signal]
    given.values[0, at] = math.nan
    told = model.explain(given)
    assert np.isnan(model.predict(given)[0]).all()
    assert told[0, at] == 0
    assert (np.delete(told, at, axis=1) == 0).all()
    said = model.predict(given)[1:]
    assert (np.sign(told[1:, at]) == np.sign(said[:, UP] - said[:, DOWN])).all()


def test_a_rule_takes_nobodys_weights():
    with pytest.raises(ModelError, match="is a rule"):
        FAMILIES["moving_average_cross"].restored({"mean": np.zeros(3)})
