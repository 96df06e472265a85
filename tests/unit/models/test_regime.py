"""Filters against naive ones, and a planted hidden Markov model that is found again."""

import math
from dataclasses import replace

import numpy as np
import pytest

from models.affine import scaling
from models.base import ModelError
from models.hidden_markov import fit_states
from models.regime import COLUMNS, Regime, observed
from models.samples import Samples
from models.trend import TREND, fit_trend, trend_row
from schemas.features import COLUMN
from tests.unit.models.markets import FIRST, TARGET, planted

START = np.array([0.6, 0.3, 0.1])
MOVES = np.array([[0.97, 0.02, 0.01], [0.03, 0.95, 0.02], [0.02, 0.04, 0.94]])
MEAN = np.array([[-1.0, 0.5], [0.5, -0.5], [2.0, 1.5]])
VARIANCE = np.array([[0.05, 0.1], [0.2, 0.3], [0.6, 0.9]])


def hidden_markov(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 2) and the states (n) that they come from."""
    draw = np.random.default_rng(seed)
    states = np.zeros(count, int)
    states[0] = draw.choice(3, p=START)
    for t in range(1, count):
        states[t] = draw.choice(3, p=MOVES[states[t - 1]])
    return MEAN[states] + draw.normal(size=(count, 2)) * np.sqrt(VARIANCE[states]), states


def test_planted_states_are_found_and_ordered_by_variance():
    streams = [hidden_markov(3000, seed)[0] for seed in (1, 2)]
    _, moves, mean, variance = fit_states(streams, 3)
    assert mean == pytest.approx(MEAN, abs=0.08)
    assert variance == pytest.approx(VARIANCE, rel=0.2)
    assert moves == pytest.approx(MOVES, abs=0.02)


@pytest.mark.parametrize("flip", [False, True])
def test_the_order_of_states_does_not_depend_on_where_the_fit_began(flip):
    """Mirrored rows begin from the same shares but lie elsewhere; variances order them the same."""
    rows = hidden_markov(3000, 3)[0]
    found = fit_states([-rows if flip else rows], 3)
    assert (np.diff(found[3].sum(axis=1)) > 0).all()
    assert found[2] * (-1 if flip else 1) == pytest.approx(MEAN, abs=0.15)


def test_a_round_of_baum_welch_never_loses_likelihood():
    told: list[float] = []
    fit_states([hidden_markov(500, 4)[0]], 2, told.append)
    assert len(told) > 2
    assert told[-1] <= 1


def naive_chances(weights: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """The forward filter in logarithms, a state at a time."""
    states = len(weights["start"])
    found = np.zeros((len(rows), states))
    for t, row in enumerate(rows):
        logs = []
        for state in range(states):
            before = sum(found[t - 1, o] * weights["moves"][o, state] for o in range(states))
            total = math.log(weights["start"][state] if t == 0 else before)
            for x, m, v in zip(
                row, weights["state_mean"][state], weights["state_variance"][state], strict=True
            ):
                if math.isfinite(x):
                    total += -0.5 * math.log(2 * math.pi * v) - (x - m) ** 2 / (2 * v)
            logs.append(total)
        shifted = np.exp(np.array(logs) - max(logs))
        found[t] = shifted / shifted.sum()
    return found


@pytest.fixture(scope="module")
def seen() -> Samples:
    """Two markets whose slow columns follow planted states, in which the truth turns round."""
    given = planted(2500, 2, "linear", 5)
    values = given.values.copy()
    label, move = given.label.copy(), given.move_bps.copy()
    for instrument, where in given.streams():
        rows, states = hidden_markov(len(where), 10 + instrument)
        values[where, COLUMN[COLUMNS[0]]] = np.exp(rows[:, 0] + 3)
        values[where, COLUMN[COLUMNS[1]]] = np.exp(rows[:, 1] + 3)
        turned = where[states == 2]
        label[turned] = np.where(label[turned] >= 0, 2 - label[turned], -1)
        move[turned] = -move[turned]
    return replace(given, values=values, label=label, move_bps=move)


@pytest.fixture(scope="module")
def model(seen) -> Regime:
    made = Regime()
    made.fit(seen, TARGET, seed=1)
    return made


def test_the_filter_is_the_naive_one(model, seen):
    weights = model.weights()
    with_gaps = seen.take(slice(400))
    with_gaps.values[7, COLUMN[COLUMNS[1]]] = np.nan
    rows = observed(with_gaps.values, weights["columns"])
    rows = (rows - weights["column_mean"]) * weights["column_scale"]
    found = model.regimes(with_gaps)
    for _, where in with_gaps.streams():
        assert found[where] == pytest.approx(naive_chances(weights, rows[where]), abs=1e-9)


def test_the_gate_knows_in_which_state_the_truth_is_turned(model, seen):
    slope = model.weights()["coefficients"].reshape(-1, 3, 4)[FIRST, :, 3]
    assert slope[0] > 0.3
    assert slope[2] < -0.3


def test_the_follower_names_the_regime(model, seen):
    follower = model.follower(3)
    assert follower.regimes.tolist() == [-1, -1, -1]
    some = seen.take(slice(100))
    for cut in range(0, 100, 2):
        rows = slice(cut, cut + 2)
        follower.step(some.values[rows], some.book[rows], some.price[rows], some.instrument[rows])
    wanted = model.regimes(some)[-2:].argmax(axis=1)
    assert follower.regimes.tolist() == [*wanted, -1]


def test_what_stands_further_back_than_it_says_is_forgotten(model, seen):
    """So that an embargo can cover it, and a follower that warms up comes to the same word."""
    one = seen.take(seen.instrument == 0)
    whole, back = model.predict(one), Regime.rows_back
    for end in range(back, one.count, 60):
        later = model.predict(one.take(slice(end - back, end + 1)))[-1]
        assert later[:3] == pytest.approx(whole[end, :3], abs=1e-3)


def naive_trend(prices: np.ndarray, ratios: np.ndarray) -> list[tuple[float, float]]:
    """The Kalman filter of the local linear trend in matrices."""
    step, look = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([1.0, 0.0])
    noise = np.diag(ratios)
    state, covariance, scale = np.zeros(2), np.eye(2), 0.0
    found = []
    for t, price in enumerate(prices):
        seen = math.log(price) * 1e4
        if t == 0:
            state = np.array([seen, 0.0])
            found.append((0.0, 0.0))
            continue
        state, covariance = step @ state, step @ covariance @ step.T + noise
        surprise, spread = seen - look @ state, look @ covariance @ look + 1
        square = surprise**2 / spread
        scale = square if scale == 0 else scale + 0.03 * (square - scale)
        gain = covariance @ look / spread
        state = state + gain * surprise
        covariance = covariance - np.outer(gain, look @ covariance)
        found.append((state[1], state[1] / math.sqrt(covariance[1, 1] * scale)))
    return found


def test_the_trend_is_the_matrix_filters():
    draw = np.random.default_rng(6)
    prices = 100 * np.exp(1e-4 * draw.normal(size=300).cumsum())
    ratios, trend = np.array([0.3, 1e-4]), np.zeros(TREND)
    mine = [trend_row(price, ratios, trend)[:2] for price in prices]
    assert np.array(mine) == pytest.approx(np.array(naive_trend(prices, ratios)), rel=1e-6)


def test_a_steady_rise_is_a_trend_and_a_walk_is_none():
    draw = np.random.default_rng(7)
    noise = draw.normal(size=400)
    rise = 100 * np.exp(1e-4 * (0.5 * np.arange(400) + noise))
    trend = np.zeros(TREND)
    slope, t_value = [trend_row(price, np.array([0.3, 3e-4]), trend)[:2] for price in rise][-1]
    assert slope == pytest.approx(0.5, abs=0.2)
    assert t_value > 3
    walks = [100 * np.exp(1e-4 * draw.normal(size=2000).cumsum())]
    assert fit_trend(walks)[0] == 3.0  # a walk is all steps of the level


def test_a_price_that_is_none_leaves_the_trend_alone():
    trend = np.zeros(TREND)
    for price in (100.0, 100.1, 100.2):
        trend_row(price, np.array([0.3, 1e-4]), trend)
    before = trend.copy()
    for price in (math.nan, 0.0, math.inf, -1.0):
        assert trend_row(price, np.array([0.3, 1e-4]), trend)[1] == 0.0
    assert trend.tobytes() == before.tobytes()


@pytest.mark.parametrize(
    ("array", "value"), [("start", 0.0), ("moves", -1.0), ("state_variance", 0.0), ("columns", 999)]
)
def test_damaged_states_are_refused(model, array, value):
    weights = model.weights()
    weights[array][0] = value
    with pytest.raises(ModelError, match="damaged"):
        Regime.restored(weights)


def test_standardised_columns_are_what_states_see(seen):
    rows = observed(seen.values, np.array([COLUMN[COLUMNS[0]]]))
    assert rows[:, 0] == pytest.approx(np.log1p(seen.values[:, COLUMN[COLUMNS[0]]]), rel=1e-6)
    assert scaling(rows)[0] == pytest.approx(rows.mean(axis=0))
