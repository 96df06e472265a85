"""Figures against scikit-learn's and naive ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from models.samples import CLASSES, DOWN, FLAT, OUTPUTS, UP
from processes.training.bootstrap import Blocks, auc
from processes.training.evaluation import (
    THRESHOLDS,
    Forecasts,
    base_rates,
    chances_of,
    evaluate,
    log_losses,
    reliability,
)
from tests.unit.training.markets import SECOND, TARGET, ClosedForm, changed, rows

HORIZON = int(TARGET.horizon_s * SECOND)


def forecasts(seed=1, count=1500, known=0.6, mute=0.0):
    samples, _ = rows(count, 2, seed, known=known)
    model = ClosedForm()
    half = samples.count // 2
    model.fit(samples.take(slice(half)), TARGET, seed=1)
    test = samples.take(slice(half, None))
    test = test.take(test.known)
    said = model.predict(test)
    said[np.random.default_rng(seed).random(len(said)) < mute] = np.nan
    flat = np.tile(base_rates(samples.label[:half]), (test.count, 1))
    return Forecasts(test, said, flat, np.full(test.count, 0.5))


def test_figures_are_those_of_scikit_learn():
    made = forecasts()
    told = evaluate(made, HORIZON, 1, {})
    chances, label = made.chances, made.samples.label
    assert told.log_loss.value == pytest.approx(metrics.log_loss(label, chances), rel=1e-9)
    for side, found in ((UP, told.auc_up), (DOWN, told.auc_down)):
        expected = metrics.roc_auc_score(label == side, chances[:, side])
        assert found.value == pytest.approx(expected, rel=1e-9)
        assert found.low < found.value < found.high
    moved = label != FLAT
    expected = metrics.roc_auc_score(label[moved] == UP, (chances[:, UP] - chances[:, DOWN])[moved])
    assert told.auc_direction.value == pytest.approx(expected, rel=1e-9)
    assert told.accuracy.value == pytest.approx(
        metrics.accuracy_score(label, chances.argmax(axis=1))
    )
    brier = sum(metrics.brier_score_loss(label == k, chances[:, k]) for k in range(CLASSES))
    assert told.brier.value == pytest.approx(brier, rel=1e-9)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_the_area_is_the_share_of_pairs_told_right(pairs):
    score = np.array([float(one) for one, _ in pairs])
    positive = np.array([one for _, one in pairs])
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in score[positive] for b in score[~positive]
    ]
    found = auc(score, positive)
    assert np.isnan(found) if not wins else found == pytest.approx(np.mean(wins))


def test_entries_are_counted_one_by_one():
    made = forecasts(count=600)
    samples, chances = made.samples, made.chances
    told = {one.threshold: one for one in evaluate(made, HORIZON, 1, {}).thresholds}
    assert list(told) == list(THRESHOLDS)
    for threshold in (0.0, 0.2, 0.4):
        net, hits, trades, total, free = [], 0, 0, 0.0, {}
        for at in range(samples.count):
            lean = chances[at, UP] - chances[at, DOWN]
            if abs(lean) < threshold or not lean:
                continue
            gross = np.sign(lean) * samples.move_bps[at]
            net.append(gross - 0.5)
            hits += gross > 0
            one = int(samples.instrument[at])
            if samples.cut_ns[at] >= free.get(one, 0):
                trades += 1
                total += net[-1]
                free[one] = samples.matured_ns[at]
        row = told[threshold]
        assert row.entries == len(net)
        assert row.net_bps.value == pytest.approx(np.mean(net))
        assert row.hit_rate == pytest.approx(hits / len(net))
        assert (row.trades, row.total_net_bps) == (trades, pytest.approx(total))
        days = (len(np.unique(samples.cut_ns)) - 1) / 86_400
        assert row.turnover_per_day == pytest.approx(2 * trades / days)


@given(st.integers(0, 99))
def test_bins_hold_every_forecast_once(seed):
    made = forecasts(seed, 300)
    chances, label = made.chances, made.samples.label
    told = reliability(chances, label)
    for side, bins in ((UP, told.up), (DOWN, told.down)):
        assert sum(one.count for one in bins) == made.samples.count
        for one in bins:
            mine = (chances[:, side] >= one.low) & (chances[:, side] < one.high)
            mine |= (one.high == 1.0) & (chances[:, side] == 1.0)
            # A chance on the edge of two bins is in either.
            assert abs(int(mine.sum()) - one.count) <= 1
            assert one.low - 1e-9 <= one.said <= one.high + 1e-9
        came = sum(one.came * one.count for one in bins)
        assert came == pytest.approx((label == side).sum())


def test_silence_wins_nothing():
    made = forecasts(mute=1.0)
    told = evaluate(made, HORIZON, 1, {})
    assert told.unsaid == told.samples
    flat = next(one for one in told.versus if one.name == "flat")
    assert flat.difference.value == flat.difference.low == flat.difference.high == 0.0
    some = evaluate(forecasts(mute=0.3), HORIZON, 1, {})
    assert 0 < some.unsaid < some.samples


def test_a_sure_mistake_costs_much_but_not_all():
    said = np.full((1, OUTPUTS), 0.0)
    said[0, UP] = 1.0
    chances = chances_of(said, np.full((1, CLASSES), 1 / 3))
    assert log_losses(chances, np.array([DOWN]))[0] == pytest.approx(-np.log(1e-6), rel=1e-3)


def test_intervals_are_of_their_seed():
    made = forecasts()
    assert evaluate(made, HORIZON, 5, {}) == evaluate(made, HORIZON, 5, {})
    assert evaluate(made, HORIZON, 5, {}).log_loss != evaluate(made, HORIZON, 6, {}).log_loss


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Means of an autocorrelated series: 95 % intervals hold 0 in 88 % of 200 or more.

    Blocks of 80 points, of which 5 depend on one another; 24 blocks a series, so that they are a
    little too narrow.
    """
    held, tries, draw = 0, 200, np.random.default_rng(1)
    for seed in range(tries):
        noise = draw.normal(size=1930)
        values = np.convolve(noise, np.ones(5), mode="valid")[:1920]
        blocks = Blocks(SECOND * np.arange(1920), 40 * SECOND, seed)
        assert blocks.count == 24
        told = blocks.mean(values)
        held += told.low <= 0.0 <= told.high
    assert held / tries >= 0.88, held


def test_a_rival_is_compared_sample_by_sample():
    made = forecasts(count=4000, known=0.9)
    told = evaluate(
        made, HORIZON, 1, {}, {"twin": made.said, "mute": np.full_like(made.said, np.nan)}
    )
    versus = {one.name: one for one in told.versus}
    assert versus["twin"].difference.value == 0.0
    assert versus["mute"].difference == versus["flat"].difference
    assert versus["flat"].difference.high < 0, "what can be known is known better than by nobody"


def test_parts_are_the_whole():
    made = forecasts()
    told = evaluate(made, HORIZON, 1, {0: "a:X", 1: "a:Y"})
    for parts in (told.by_regime, told.by_hour, told.by_instrument):
        assert sum(one.samples for one in parts) == told.samples
        mean = sum(one.log_loss * one.samples for one in parts) / told.samples
        assert mean == pytest.approx(told.log_loss.value)
    assert [one.name for one in told.by_instrument] == ["a:X", "a:Y"]
    assert len(told.by_regime) == 3


def test_noise_shows_no_skill():
    """On what cannot be known the closed form is not better than the flat baseline: 40 seeds."""
    better = 0
    for seed in range(40):
        told = evaluate(forecasts(seed + 100, 800, known=0.0), HORIZON, 1, {})
        flat = next(one for one in told.versus if one.name == "flat")
        better += flat.difference.high < 0
    assert better <= 4, f"{better} of 40 runs on noise looked better than knowing nothing"


def test_a_part_of_one_kind_says_that_it_knows_nothing():
    made = forecasts()
    flat = made.samples.label == FLAT
    samples = made.samples.take(flat)
    told = evaluate(
        Forecasts(samples, made.said[flat], made.flat[flat], made.cost_bps[flat]), HORIZON, 1, {}
    )
    assert (told.auc_direction.low, told.auc_direction.value, told.auc_direction.high) == (
        0,
        0.5,
        1,
    )
    assert changed(samples).count == told.samples
