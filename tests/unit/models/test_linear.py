"""The online rules against others' code of them: scikit-learn, and the papers word by word."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier

from models.affine import CLIP
from models.linear import Ftrl, OnlineLinear, PassiveAggressive, Sgd
from models.samples import Samples
from tests.unit.models.markets import planted


def rows_as_learnt(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Each labelled row, standardised by all labelled rows up to and with it; and the labels."""
    known = samples.take(samples.known)
    rows = known.values.astype(np.float64)
    found = np.zeros_like(rows)
    for row in range(1, len(rows)):
        seen = rows[: row + 1]
        spread = seen.std(axis=0)
        found[row] = np.clip((rows[row] - seen.mean(axis=0)) / spread, -CLIP, CLIP)
    return found, known.label.astype(int)


def learnt(model: OnlineLinear, samples: Samples) -> np.ndarray:
    model.partial_fit(samples)
    return model.weights()["scorers"]


@pytest.fixture(scope="module")
def stream() -> Samples:
    return planted(150, 3, "linear", 11)


def test_sgd_is_that_of_scikit_learn(stream):
    rows, labels = rows_as_learnt(stream)
    rate, power, l2 = Sgd.settings
    theirs = SGDClassifier(
        loss="log_loss", penalty="l2", alpha=l2, learning_rate="invscaling", eta0=rate,
        power_t=power, shuffle=False,
    )  # fmt: skip
    theirs.partial_fit(rows, labels, classes=[0, 1, 2])
    wanted = np.hstack([theirs.coef_, theirs.intercept_[:, None]])
    assert learnt(Sgd(), stream) == pytest.approx(wanted, abs=1e-9)


def test_passive_aggressive_is_that_of_scikit_learn(stream):
    rows, labels = rows_as_learnt(stream)
    # The offset belongs to the row, as in the paper: it counts in the row's length.
    rows = np.hstack([rows, np.ones((len(rows), 1))])

    class Bold(PassiveAggressive):
        settings = (0.2,)  # so long that rows also get just the step that they need

    theirs = SGDClassifier(
        loss="hinge", penalty=None, learning_rate="pa1", eta0=Bold.settings[0],
        fit_intercept=False, shuffle=False,
    )  # fmt: skip
    theirs.partial_fit(rows, labels, classes=[0, 1, 2])
    assert learnt(Bold(), stream) == pytest.approx(theirs.coef_, abs=1e-9)


def ftrl_proximal(
    rows: np.ndarray, hits: np.ndarray, alpha: float, beta: float, l1: float, l2: float
) -> np.ndarray:
    """Algorithm 1 of McMahan et al. (2013), a sample and a coordinate at a time."""
    z, n = [0.0] * rows.shape[1], [0.0] * rows.shape[1]

    def weight(i: int) -> float:
        if abs(z[i]) <= l1:
            return 0.0
        sign = 1.0 if z[i] > 0 else -1.0
        return -(((beta + math.sqrt(n[i])) / alpha + l2) ** -1) * (z[i] - sign * l1)

    for x, y in zip(rows, hits, strict=True):
        w = [weight(i) for i in range(len(x))]
        p = 1 / (1 + math.exp(-sum(a * b for a, b in zip(w, x, strict=True))))
        for i in range(len(x)):
            g = (p - y) * x[i]
            sigma = (math.sqrt(n[i] + g * g) - math.sqrt(n[i])) / alpha
            z[i] += g - sigma * w[i]
            n[i] += g * g
    return np.array([weight(i) for i in range(rows.shape[1])])


def test_ftrl_is_the_algorithm_of_the_paper(stream):
    rows, labels = rows_as_learnt(stream)
    rows = np.hstack([rows, np.ones((len(rows), 1))])
    mine = learnt(Ftrl(), stream)
    for k in range(3):
        assert mine[k] == pytest.approx(ftrl_proximal(rows, labels == k, *Ftrl.settings), abs=1e-9)
    assert (mine == 0).any()  # L1 has left some columns out


def test_the_statistics_are_those_of_all_rows_learnt(stream):
    model = Sgd()
    model.partial_fit(stream)
    weights, rows = model.weights(), stream.values[stream.known].astype(np.float64)
    assert weights["count"][0] == len(rows)
    assert weights["mean"] == pytest.approx(rows.mean(axis=0), rel=1e-12)
    assert weights["squares"] / weights["seen"] == pytest.approx(rows.var(axis=0), rel=1e-9)


@pytest.mark.parametrize("rule", [Sgd, Ftrl, PassiveAggressive])
def test_chances_are_calibrated(rule):
    """Of what is called p likely, about p comes: also by a rule that knows no chances.

    About: flat is a hump that no line through the columns has.
    """
    model, unseen = rule(), planted(4000, 4, "linear", 12)
    model.partial_fit(planted(4000, 4, "linear", 13))
    known = unseen.known
    said, label = model.predict(unseen)[known], unseen.label[known]
    for k in range(3):
        edges = np.quantile(said[:, k], np.linspace(0, 1, 6))
        for low, high in pairwise(edges):
            inside = (said[:, k] >= low) & (said[:, k] <= high)
            assert (label[inside] == k).mean() == pytest.approx(said[inside, k].mean(), abs=0.08)


@pytest.mark.parametrize("rule", [Sgd, Ftrl, PassiveAggressive])
def test_contributions_sum_to_the_log_odds(rule):
    model, seen = rule(), planted(300, 2, "linear", 14)
    model.partial_fit(seen)
    said = model.predict(seen).astype(np.float64)
    odds = np.log(said[:, 0] / said[:, 2])
    rest = odds - model.explain(seen).sum(axis=1)
    assert rest == pytest.approx(np.full(len(rest), rest[0]), abs=1e-5)


def test_the_spread_of_the_move_is_what_is_left_of_it():
    model = Sgd()
    model.partial_fit(planted(4000, 4, "linear", 15))
    said = model.predict(planted(10, 4, "linear", 16))
    assert said[:, 4] == pytest.approx(2.0, rel=0.05)  # what of a move cannot be known


def test_the_learners_follow_a_truth_that_turns():
    """Online learning is for this: after the turn the model is soon no worse than before it."""
    model = PassiveAggressive()
    model.partial_fit(planted(3000, 4, "linear", 17))
    turned = planted(6000, 4, "linear", 18)
    label = np.where(turned.known, 2 - turned.label, turned.label).astype(np.int8)
    turned = replace(turned, label=label, move_bps=-turned.move_bps)
    unseen = turned.take(slice(20_000, None))

    def right() -> float:
        calls = model.predict(unseen)[:, :3].argmax(axis=1)
        return float((calls == unseen.label)[unseen.known].mean())

    assert right() < 0.25
    model.partial_fit(turned.take(slice(20_000)))
    assert right() > 0.5
