"""The blend: better than its members, calibrated, and used to members that are silent."""

import numpy as np
import pytest

from models.base import ModelError
from models.blend import Blend, _temperature
from models.family import NotFittedError
from models.regressions import softmax
from models.samples import Samples
from tests.unit.models.markets import base_rate, log_loss, planted


def said_of(samples: Samples, seed: int) -> np.ndarray:
    """Three members (n, 3, 5): each knows a part of the truth, one is overconfident, one a fool."""
    draw = np.random.default_rng(seed)
    move = np.where(np.isfinite(samples.move_bps), samples.move_bps, 0.0)
    found = np.zeros((samples.count, 3, 5), np.float32)
    for member, (noise, boldness) in enumerate([(3.0, 0.5), (3.0, 4.0), (1e9, 1.0)]):
        signal = move / (1 + noise**2 / 6) + draw.normal(size=len(move)) * min(noise, 3.0) / 3
        logits = np.stack([signal, np.zeros_like(signal), -signal], axis=1) * boldness
        found[:, member, :3] = softmax(logits)
        found[:, member, 3] = signal
        found[:, member, 4] = 2.0
    return found


@pytest.fixture(scope="module")
def seen() -> Samples:
    return planted(2500, 2, "linear", 1)


@pytest.fixture(scope="module")
def blend(seen) -> Blend:
    made = Blend()
    made.fit(said_of(seen, 1), seen)
    return made


def test_a_blend_beats_each_of_its_members_and_the_base_rate(blend):
    unseen = planted(2500, 2, "linear", 2)
    said = said_of(unseen, 2)
    mine = log_loss(blend.predict(said), unseen).mean()
    rates = np.tile(base_rate(unseen), (unseen.count, 1))
    assert mine < log_loss(rates, unseen).mean() - 0.02
    for member in range(said.shape[1]):
        assert mine < log_loss(said[:, member], unseen).mean() - 0.02


def worst_gap(said: np.ndarray, samples: Samples) -> float:
    """Between what is called likely and how often it comes, in fifths of the samples."""
    known, found = samples.known, 0.0
    for k in range(3):
        chances, came = said[known, k], samples.label[known] == k
        for group in np.array_split(np.argsort(chances), 5):
            found = max(found, abs(float(came[group].mean() - chances[group].mean())))
    return found


def test_its_chances_are_calibrated_though_a_members_are_not(blend):
    unseen = planted(2500, 2, "linear", 3)
    said = said_of(unseen, 3)
    assert worst_gap(said[:, 1], unseen) > 0.15
    assert worst_gap(blend.predict(said), unseen) < 0.08


def test_its_outputs_are_those_of_a_model(blend):
    unseen = planted(500, 2, "linear", 4)
    said = blend.predict(said_of(unseen, 4))
    known = unseen.known
    assert said.shape == (unseen.count, 5)
    assert said.dtype == np.float32
    assert said[:, :3].sum(axis=1) == pytest.approx(np.ones(len(said)), abs=1e-6)
    left = unseen.move_bps[known] - said[known, 3]
    assert said[0, 4] == pytest.approx(left.std(), rel=0.1)
    assert left.std() < unseen.move_bps[known].std()


def test_overconfident_members_are_cooled():
    """Logits four times too large are divided by about four."""
    seen = planted(3000, 2, "noise", 5)
    draw = np.random.default_rng(5)
    logits = draw.normal(size=(seen.count, 3))
    labels = np.array([draw.choice(3, p=p) for p in softmax(logits)])
    assert _temperature(3 * logits, labels) == pytest.approx(3.0, rel=0.1)
    assert _temperature(logits / 2, labels) == pytest.approx(0.5, rel=0.1)


def test_silent_members_are_passed_over(blend):
    unseen = planted(500, 2, "linear", 6)
    said = said_of(unseen, 6)
    said[:, 0] = np.nan
    assert np.isfinite(blend.predict(said)).all()
    said[:] = np.nan
    alone = blend.predict(said)
    assert np.isfinite(alone).all()
    assert (alone == alone[0]).all()


def test_members_that_say_never_do_not_undo_it(seen):
    said = said_of(seen, 1)
    said[:, 2] = [1, 0, 0, 5, 1]
    sure = Blend()
    sure.fit(said, seen)
    loss = log_loss(sure.predict(said), seen).mean()
    assert loss < log_loss(said[:, 0], seen).mean()


def test_weights_come_back_to_the_bit(blend):
    said = said_of(planted(50, 2, "linear", 7), 7)
    back = Blend.restored(blend.weights())
    assert back.predict(said).tobytes() == blend.predict(said).tobytes()
    weights = blend.weights()
    for name, array in weights.items():
        with pytest.raises(ModelError):
            Blend.restored({one: weights[one] for one in weights if one != name})
        with pytest.raises(ModelError):
            Blend.restored(weights | {name: array[None]})
    with pytest.raises(ModelError, match="not above 0"):
        Blend.restored(weights | {"temperature": np.zeros(1)})


def test_the_same_samples_fit_the_same_bits(blend, seen):
    again = Blend()
    again.fit(said_of(seen, 1), seen)
    mine, theirs = again.weights(), blend.weights()
    assert all(mine[name].tobytes() == theirs[name].tobytes() for name in theirs)


def test_what_cannot_be_asked_says_so(blend, seen):
    with pytest.raises(NotFittedError):
        Blend().predict(np.zeros((1, 3, 5)))
    with pytest.raises(ModelError, match="of 3 models and is given 2"):
        blend.predict(np.zeros((1, 2, 5)))
    with pytest.raises(ModelError, match="have a label and"):
        Blend().fit(said_of(seen, 1)[:30], seen.take(slice(30)))
