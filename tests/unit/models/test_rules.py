"""Rules lean to their side at their threshold, and say the same a row and a block at a time."""

import math
from dataclasses import replace

import numpy as np
import pytest

from models.base import ModelError
from models.families import FAMILIES
from models.rules import (
    CONVICTION,
    RsiThresholds,
    Rule,
    bollinger_touch,
    donchian_breakout,
    moving_average_cross,
    rsi_thresholds,
)
from models.samples import DOWN, UP, Samples
from models.zones import PRIOR, SHARES
from schemas.features import COLUMN
from tests.unit.models.markets import TARGET, base_rate, log_loss, planted

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
    with pytest.raises(ModelError, match="hold no edges"):
        FAMILIES["moving_average_cross"].restored({"mean": np.zeros(3)})


def turning(count: int, seed: int, low: float, high: float) -> Samples:
    """Rows in which the market turns where RSI is below or above edges of its own."""
    given = planted(count, 2, "noise", seed)
    draw = np.random.default_rng(seed)
    rsi = draw.uniform(0, 100, given.count)
    given.values[:, COLUMN["rsi_14_1m"]] = rsi
    given.values[:, COLUMN["volatility_60s_bps"]] = 4.0
    side = np.where(rsi < low, 1.0, np.where(rsi > high, -1.0, 0.0))
    move = 3.0 * side + draw.normal(size=given.count)
    label = np.where(move > TARGET.move_bps, UP, np.where(move < -TARGET.move_bps, DOWN, 1))
    known = given.known
    return replace(
        given, move_bps=np.where(known, move, np.nan),
        label=np.where(known, label, -1).astype(np.int8),
    )  # fmt: skip


def test_a_trained_rule_finds_where_its_edges_tell_most_and_counts_what_came():
    given, unseen = turning(2000, 1, 20.0, 90.0), turning(2000, 2, 20.0, 90.0)
    model = RsiThresholds()
    model.fit(given, TARGET, seed=1)
    edges, outputs = model.weights()["edges"], model.weights()["outputs"]
    assert edges == pytest.approx([20, 90], abs=1.5)
    known = given.known
    rsi = given.values[known, COLUMN["rsi_14_1m"]]
    for zone, mine in enumerate(
        (rsi <= edges[0], (rsi > edges[0]) & (rsi < edges[1]), rsi >= edges[1])
    ):
        shares = np.bincount(given.label[known][mine], minlength=3) / mine.sum()
        assert outputs[zone, :3] == pytest.approx(shares, abs=0.1)
        assert outputs[zone, 3] * 4 == pytest.approx((3, 0, -3)[zone], abs=0.4)
    gained = log_loss(RsiThresholds().predict(unseen), unseen).mean()
    assert log_loss(model.predict(unseen), unseen).mean() < gained - 0.1
    rates = np.tile(base_rate(given), (unseen.count, 1))
    assert log_loss(model.predict(unseen), unseen).mean() < log_loss(rates, unseen).mean() - 0.2


def naive_edges(given: Samples, textbook: tuple[float, float]) -> tuple[float, float]:
    """All pairs of edges, row by row."""
    known = given.known
    rsi = np.sort(given.values[known, COLUMN["rsi_14_1m"]].astype(np.float64))
    last = len(rsi) - 1
    lows = [float(rsi[math.floor(share * last)]) for share in SHARES]
    highs = [float(rsi[math.ceil((1 - share) * last)]) for share in SHARES]
    pairs = [textbook, *((low, high) for low in lows for high in highs)]
    pairs += [(low, textbook[1]) for low, _ in pairs] + [(textbook[0], high) for _, high in pairs]
    rates = (np.bincount(given.label[known], minlength=3) + 1) / (known.sum() + 3)
    best, found = -math.inf, textbook
    for low, high in pairs:
        if not low < high:
            continue
        zones: list[list[int]] = [[], [], []]
        values = given.values[known, COLUMN["rsi_14_1m"]].tolist()
        for value, label in zip(values, given.label[known].tolist(), strict=True):
            zones[0 if value <= low else 2 if value >= high else 1].append(label)
        total = 0.0
        for zone in zones:
            chances = [(zone.count(k) + PRIOR * rates[k]) / (len(zone) + PRIOR) for k in range(3)]
            total += sum(math.log(chances[label]) for label in zone)
        if total > best + 1e-9:
            best, found = total, (low, high)
    return found


def test_edges_are_those_under_which_the_labels_are_likeliest():
    given = turning(150, 3, 15.0, 60.0)
    model = RsiThresholds()
    model.fit(given, TARGET, seed=1)
    wanted = naive_edges(given, RsiThresholds.edges)
    assert model.weights()["edges"].tolist() == pytest.approx(wanted)


def test_an_indicator_that_never_moves_leaves_the_base_rates():
    given = planted(200, 2, "noise", 4)
    given.values[:, COLUMN["rsi_14_1m"]] = 50.0
    model = RsiThresholds()
    model.fit(given, TARGET, seed=1)
    assert model.predict(given)[0, :3] == pytest.approx(base_rate(given), abs=0.01)
    given.values[:, COLUMN["rsi_14_1m"]] = math.nan
    with pytest.raises(ModelError, match="is none in nearly all rows"):
        model.fit(given, TARGET, seed=1)
