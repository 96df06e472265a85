"""What every family keeps to: the same numbers whichever way they are asked for, nothing learnt
from what is not known, more than the base rate where there is something to know, and no more where
there is nothing."""

import math
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from models import network
from models.base import Manifest, ModelError, load_manifest, load_weights, save_model
from models.drift import BINS, EDGES, SEEN_EDGES, SEEN_SHARES
from models.families import FAMILIES
from models.family import Model, NotFittedError, OnlineModel
from models.network import Network
from models.rules import Rule
from models.samples import OUTPUTS, UNKNOWN, Samples
from schemas.features import Invalid
from tests.helpers import ROOT
from tests.unit.models.markets import (
    FIRST,
    SECOND,
    TARGET,
    base_rate,
    interleaved,
    log_loss,
    planted,
)

RULES = [name for name, family in FAMILIES.items() if issubclass(family, Rule)]
FITTED = [name for name in FAMILIES if name not in RULES]
LEARNING = [name for name in FITTED if name != "base_rate"]
BENT = ["gbdt", "tcn", "cnn"]
"""Families that can learn what no linear function of a row says."""
CUTS, MARKETS = 1200, 4
ROUNDING = 2e-6
"""Chances sum to one within this."""
FOLLOWED = {"tcn": 2e-5, "cnn": 5e-5}
"""How far a follower's word may be, in chances and basis points, from what is said of all rows at
once, where sums are taken in another order; elsewhere not a bit."""
SEES_COLUMNS = [name for name in LEARNING if name != "cnn"]


@cache
def samples(truth: str = "linear", seed: int = 1) -> Samples:
    if truth == "nonlinear":  # takes more to be seen among sixty columns
        return planted(2 * CUTS, MARKETS, truth, seed, strength=2.0)
    return planted(CUTS, MARKETS, truth, seed)


def fit(name: str, given: Samples, steps: int) -> Model:
    """A fitted model; a network after so many steps, which may be far from its best."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "STEPS", (steps, steps))
        model = FAMILIES[name]()
        model.fit(given, TARGET, seed=7)
    return model


@cache
def fitted(name: str, truth: str = "linear", seed: int = 1) -> Model:
    return fit(name, samples(truth, seed), 180 if truth == "nonlinear" else 90)


def fitted_soon(name: str, given: Samples) -> Model:
    return fit(name, given, 15)


@cache
def soon(name: str) -> Model:
    return fitted_soon(name, samples())


def same(one: Model, other: Model) -> bool:
    mine, theirs = one.weights(), other.weights()
    return mine.keys() == theirs.keys() and all(
        mine[name].dtype == theirs[name].dtype and mine[name].tobytes() == theirs[name].tobytes()
        for name in mine
    )


def test_families_are_named_as_they_are_typed():
    assert all(model.family == name for name, model in FAMILIES.items())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_samples_and_seed_fit_the_same_bits(name, monkeypatch):
    monkeypatch.setattr(network, "STEPS", (15, 15))
    again = FAMILIES[name]()
    told: list[float] = []
    again.fit(samples("noise", 5).take(slice(1000)), TARGET, seed=1)
    again.fit(samples(), TARGET, seed=7, report=told.append)  # and forgets what it knew
    assert same(again, soon(name))
    assert told == sorted(told)
    assert all(0 <= share <= 1 for share in told)


@pytest.mark.parametrize("name", FAMILIES)
def test_chances_sum_to_one_and_all_is_finite(name):
    said = soon(name).predict(samples(seed=2))
    assert said.dtype == np.float32
    assert said.shape == (samples(seed=2).count, OUTPUTS)
    assert np.isfinite(said).all()
    assert np.abs(said[:, :3].sum(axis=1) - 1).max() < ROUNDING
    assert said[:, :3].min() >= 0
    assert said[:, 4].min() > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_following_the_markets_says_what_asking_at_once_says(name):
    model = soon(name)
    seen = interleaved(samples(seed=3).take(slice(800)), seed=3)
    wanted = model.predict(seen)
    follower = model.follower(MARKETS)
    first = np.flatnonzero(np.diff(seen.cut_ns, prepend=0))
    for _ in range(2):
        for begin, end in zip(first, [*first[1:], seen.count], strict=True):
            cut = slice(begin, end)
            order = np.argsort(-seen.instrument[cut].astype(int))  # any order within a cut
            rows = np.arange(begin, end)[order]
            said = follower.step(
                seen.values[rows], seen.book[rows], seen.price[rows], seen.instrument[rows]
            )
            assert said.dtype == np.float32
            assert np.abs(said - wanted[rows]).max() <= FOLLOWED.get(name, 0.0)
        follower.forget()


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_come_back_from_the_disk_to_the_bit(name, tmp_path):
    model = soon(name)
    manifest = Manifest(
        name=name, family=name, version="1", features=3, columns=[], horizon_s=TARGET.horizon_s,
        move_bps=TARGET.move_bps, trained_on="", made_by="", metrics={}, libraries={}, weights="",
    )  # fmt: skip
    bins = {SEEN_EDGES: np.zeros((3, EDGES), np.float32), SEEN_SHARES: np.ones((3, BINS))}
    save_model(tmp_path, manifest, model.weights() | bins)  # which a training leaves there too
    load_manifest(tmp_path, 3)
    back = FAMILIES[name].restored(load_weights(tmp_path))
    assert same(FAMILIES[name].restored(model.weights()), model)
    seen = samples(seed=2).take(slice(400))
    assert back.predict(seen).tobytes() == model.predict(seen).tobytes()


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_with_an_array_missing_or_of_another_shape_are_refused(name):
    weights = soon(name).weights()
    for array in weights:
        with pytest.raises(ModelError):
            FAMILIES[name].restored({one: weights[one] for one in weights if one != array})
        with pytest.raises(ModelError):
            FAMILIES[name].restored(weights | {array: weights[array][None]})


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_are_copies(name):
    model = soon(name)
    before = model.weights()
    for array in model.weights().values():
        array[...] = 1
    back = FAMILIES[name].restored(before)
    for array in before.values():
        array[...] = 0
    assert same(back, model)


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_without_a_label_teach_nothing(name):
    """Not their moves, and not their rows either, unless rows are a stream to the family."""
    given = samples()
    unknown = ~given.known
    draw = np.random.default_rng(1)
    changes = {"move_bps": np.where(unknown, 1e6 * draw.normal(size=given.count), given.move_bps)}
    if FAMILIES[name].rows_back == 0:
        changes["values"] = np.where(unknown[:, None], np.float32(1e6), given.values)
        changes["book"] = np.where(unknown[:, None], np.float32(1e6), given.book)
    assert same(fitted_soon(name, replace(given, **changes)), soon(name))


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_that_are_not_to_be_trusted_do_no_harm(name):
    """They carry bits, no label, and at worst numbers that are none."""
    draw = np.random.default_rng(8)
    spoilt = []
    for given in (samples(), samples(seed=2)):
        bad = draw.random(given.count) < 0.05
        values, book = given.values.copy(), given.book.copy()
        values[bad] = draw.choice([np.nan, np.inf, -np.inf, 0, 1e30], size=values[bad].shape)
        book[bad] = draw.choice([np.nan, np.inf, 0], size=book[bad].shape)
        spoilt.append(replace(
            given, values=values, book=book,
            invalid=np.where(bad, int(Invalid.NOT_FINITE), 0).astype(np.uint64),
            label=np.where(bad, UNKNOWN, given.label).astype(np.int8),
        ))  # fmt: skip
    model = fitted_soon(name, spoilt[0])
    said = model.predict(spoilt[1])
    if name in RULES:  # where the indicator is none, they say nothing, trained or not
        silent = np.isnan(said).all(axis=1)
        assert not (silent & spoilt[1].known).any()
        said = said[~silent]
    assert np.isfinite(said).all()
    assert np.abs(said[:, :3].sum(axis=1) - 1).max() < ROUNDING
    assert np.isfinite(model.explain(spoilt[1].take(slice(200)))).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_too_little_to_learn_from_is_refused(name):
    given = samples()
    model = FAMILIES[name]()
    for few in (given.take(slice(20)), given.take(slice(0)), given.take(~given.known)):
        with pytest.raises(ModelError, match="have a label and"):
            model.fit(few, TARGET, seed=7)
    alike = replace(given, label=np.where(given.known, 1, UNKNOWN).astype(np.int8))
    with pytest.raises(ModelError, match="all labels are alike"):
        model.fit(alike, TARGET, seed=7)


@pytest.mark.parametrize("name", FITTED)
def test_who_was_not_fitted_says_so(name):
    model = FAMILIES[name]()
    given = samples().take(slice(10))
    for ask in (model.predict, model.explain, lambda _: model.weights()):
        with pytest.raises(NotFittedError):
            ask(given)


def skill(name: str, truth: str, seed: int) -> tuple[float, float]:
    """Nats a sample that a model knows more than the base rate on unseen days, and its error."""
    unseen = samples(truth, seed + 100)
    rates = np.tile(base_rate(samples(truth, seed)), (unseen.count, 1))
    gained = log_loss(rates, unseen) - log_loss(fitted(name, truth, seed).predict(unseen), unseen)
    return float(gained.mean()), float(gained.std() / math.sqrt(len(gained)))


@pytest.mark.parametrize("name", LEARNING)
def test_a_linear_truth_is_learnt(name):
    gained, error = skill(name, "linear", 1)
    assert gained > 0.1
    assert gained > 5 * error
    unseen = samples(seed=101)
    said = fitted(name).predict(unseen)
    known = unseen.known
    assert np.corrcoef(said[known, 3], unseen.move_bps[known])[0, 1] > 0.5


@pytest.mark.parametrize("name", BENT)
def test_a_bent_truth_is_learnt(name):
    gained, error = skill(name, "nonlinear", 1)
    assert gained > 0.05
    assert gained > 5 * error


@pytest.mark.parametrize("name", LEARNING)
def test_nothing_is_learnt_from_noise(name):
    """Its calls are right as often as chance: 1e-4 of the binomial, over worlds of noise."""
    right = trials = expected = variance = 0.0
    for seed in (21,) if issubclass(FAMILIES[name], Network) else (21, 22):
        unseen = samples("noise", seed + 100)
        known = unseen.known
        calls = fitted(name, "noise", seed).predict(unseen)[known, :3].argmax(axis=1)
        # Labels are drawn anew for each row, so each call is right by its label's base rate.
        chance = base_rate(unseen)[calls]
        right += float((calls == unseen.label[known]).sum())
        expected += float(chance.sum())
        variance += float((chance * (1 - chance)).sum())
        trials += len(calls)
        assert skill(name, "noise", seed)[0] < 0.002
    assert trials > 4000
    assert abs(right - expected) < 3.89 * math.sqrt(variance)


@pytest.mark.parametrize("name", SEES_COLUMNS)
def test_explanations_point_at_the_planted_columns(name):
    unseen = samples(seed=101).take(slice(1000))
    told = fitted(name).explain(unseen)
    assert told.shape == unseen.values.shape
    strength = np.abs(told).mean(axis=0)
    assert set(np.argsort(strength)[-2:]) == {FIRST, SECOND}
    # Towards up where the first is high and the second low.
    assert np.corrcoef(told[:, FIRST], unseen.values[:, FIRST])[0, 1] > 0.9
    assert np.corrcoef(told[:, SECOND], unseen.values[:, SECOND])[0, 1] < -0.9


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name].learns_online])
def test_a_restart_in_the_middle_of_learning_changes_no_bit(name):
    given = samples()
    whole, first = FAMILIES[name](), FAMILIES[name]()
    assert isinstance(whole, OnlineModel)
    assert isinstance(first, OnlineModel)
    whole.partial_fit(given)
    first.partial_fit(given.take(slice(0, 1234)))
    second = FAMILIES[name].restored(first.weights())
    assert isinstance(second, OnlineModel)
    for row in range(1234, 1300):
        second.partial_fit(given.take(slice(row, row + 1)))
    second.partial_fit(given.take(slice(1300, None)))
    assert same(second, whole)
    assert same(whole, fitted(name))


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name].learns_online])
def test_a_follower_says_what_was_learnt_meanwhile(name):
    given = samples()
    model = FAMILIES[name].restored(fitted(name).weights())
    assert isinstance(model, OnlineModel)
    follower = model.follower(MARKETS)
    row = given.take(slice(0, 1))
    asked = (row.values, row.book, row.price, row.instrument)
    before = follower.step(*asked).copy()
    model.partial_fit(samples(seed=4))
    assert not np.array_equal(follower.step(*asked), before)
    assert follower.step(*asked).tobytes() == model.predict(row).tobytes()


WITHOUT_LIBRARIES = """
import sys
from pathlib import Path
import numpy as np
from config.kernel_cache import use_kernel_cache
use_kernel_cache()
from models.base import load_weights
from models.families import FAMILIES
from models.samples import Samples
folder = Path(sys.argv[1])
given = dict(np.load(folder / "samples.npz"))
for name, family in FAMILIES.items():
    model = family.restored(load_weights(folder / name))
    said = model.predict(Samples(**given))
    assert said.tobytes() == np.load(folder / f"{name}.npy").tobytes(), name
found = {"mlx", "lightgbm", "sklearn"} & set(sys.modules)
assert not found, found
"""


def test_to_predict_needs_none_of_the_libraries_that_fit(tmp_path):
    """In a process of its own, since this one has loaded them all."""
    seen = samples(seed=2).take(slice(200))
    np.savez(tmp_path / "samples.npz", **vars(seen))
    for name in FAMILIES:
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "weights.npz", **soon(name).weights())
        np.save(tmp_path / f"{name}.npy", soon(name).predict(seen))
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARIES, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
