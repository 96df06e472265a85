"""What can be known of the simulator's market, and who recovers how much of it on unseen days."""

import math

import numpy as np
import pytest

from benchmarks.attainable import World, base_of, bound_of, fitted, futures, gains, samples_of
from models.samples import CLASSES, Target

TARGET = Target(horizon_s=5.0, move_bps=0.2)
RATE = 30.0


def test_the_bound_of_chances_that_are_known():
    """Between who scores the true chances, and who scores what so few copies make of them."""
    draw = np.random.default_rng(1)
    chances = draw.dirichlet((1.0, 0.3, 1.0), 4000)
    counts = np.array([draw.multinomial(40, one) for one in chances]).astype(float)
    came = np.array([draw.choice(CLASSES, p=one) for one in chances])
    true = -(chances * np.log(chances)).sum(axis=1).mean()
    found = bound_of(counts, came)
    assert found.entropy.mean == pytest.approx(true, abs=0.012)
    assert found.entropy.mean - 2 * found.entropy.error < found.scored.mean
    assert found.scored.mean == pytest.approx(true, abs=0.05)


def test_futures_part_from_the_state_and_from_nothing_else():
    world = World("tBTCUSD", 5, RATE)
    counts, came = futures(world, TARGET, [30.0, 60.0], 6, 1)
    again = futures(world, TARGET, [30.0, 60.0], 6, 1)
    assert counts.sum(axis=1).tolist() == [6, 6]
    assert (counts == again[0]).all()
    assert (came == again[1]).all()
    # What came is what the market did, copies or not.
    assert (futures(world, TARGET, [30.0, 60.0], 1, 2)[1] == came).all()
    others = {tuple(futures(world, TARGET, [30.0], 6, seed)[0][0].tolist()) for seed in range(6)}
    assert len(others) > 1


def test_families_recover_some_of_what_can_be_known_and_the_flat_baseline_none(long_run):
    """A small market, or hours of it; shares of the bound are in docs/models.md."""
    seconds, moments, copies = (3600.0, 200, 48) if long_run else (500.0, 40, 16)
    seen, unseen = (
        samples_of([World("tBTCUSD", seed, RATE)], TARGET, seconds) for seed in (301, 401)
    )
    base = base_of(unseen)
    at = np.linspace(20, seconds - 20, moments).tolist()
    found = bound_of(*futures(World("tBTCUSD", 401, RATE), TARGET, at, copies, 1))
    most = -float((base * np.log(base)).sum()) - found.entropy.mean
    assert most > 4 * found.entropy.error
    for family in ("sgd", "ftrl", "gbdt", "tcn", "regime") if long_run else ("sgd",):
        share = gains(fitted(family, seen, TARGET), base, unseen)
        assert share.mean > 0.1 * most, family
        assert share.mean > 2 * share.error, family
        assert share.mean - 2 * share.error < most + 2 * found.entropy.error, family
    flat = gains(fitted("base_rate", seen, TARGET), base, unseen)
    assert flat.mean <= 0  # these are the unseen day's own rates
    assert math.isfinite(flat.error)
