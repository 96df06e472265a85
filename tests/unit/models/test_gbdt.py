"""The trees that the kernel walks are LightGBM's, and a forest that leads nowhere is refused."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest

from models.base import ModelError
from models.gbdt import CLASS_ROUNDS, MOVE_ROUNDS, PARAMETERS, GradientBoosting, forest_of, walk
from models.samples import CLASSES, DOWN, UP
from tests.unit.models.markets import FIRST, SECOND, TARGET, planted

COLUMNS = 6


def rows_with_gaps(count: int, seed: int) -> np.ndarray:
    """Rows with zeros, values that are none, and values that stand on thresholds."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(count, COLUMNS)).round(1)
    rows[draw.random(rows.shape) < 0.1] = 0
    rows[draw.random(rows.shape) < 0.1] = np.nan
    return rows.astype(np.float32)


@pytest.mark.parametrize("gaps", ["none", "nan", "zero"])
@pytest.mark.parametrize("outputs", [1, CLASSES])
def test_the_kernel_says_what_lightgbm_says_to_the_bit(gaps, outputs):
    rows, unseen = rows_with_gaps(3000, 1), rows_with_gaps(2000, 2)
    if gaps == "none":
        rows = np.nan_to_num(rows)
    draw = np.random.default_rng(3)
    truth = np.nan_to_num(rows[:, 0] * rows[:, 1]) + draw.normal(size=len(rows))
    label = np.digitize(truth, [-0.5, 0.5]) if outputs == CLASSES else truth
    kind = {"objective": "multiclass", "num_class": 3} if outputs == CLASSES else {}
    parameters = PARAMETERS | kind | {"zero_as_missing": gaps == "zero", "seed": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(rows, label), 40)
    raw = np.empty((len(unseen), outputs))
    walk(unseen, *forest_of(booster.dump_model()), raw)
    wanted = booster.predict(unseen, raw_score=True).reshape(raw.shape)
    assert raw.tobytes() == wanted.tobytes()


def test_trees_without_a_split_are_constants():
    rows, label = rows_with_gaps(200, 1), np.ones(200)
    booster = lightgbm.train(PARAMETERS | {"seed": 1}, lightgbm.Dataset(rows, label), 3)
    raw = np.empty((200, 1))
    walk(rows, *forest_of(booster.dump_model()), raw)
    assert raw[:, 0].tobytes() == booster.predict(rows).tobytes()


@pytest.fixture(scope="module")
def model() -> GradientBoosting:
    made = GradientBoosting()
    made.fit(planted(1000, 3, "nonlinear", 1), TARGET, seed=3)
    return made


def booster_of(model: GradientBoosting, name: str) -> lightgbm.Booster:
    return lightgbm.Booster(model_str=model.weights()[f"{name}_text"].tobytes().decode())


def test_a_models_outputs_are_those_of_the_boosters_that_it_keeps(model):
    unseen = planted(500, 3, "nonlinear", 2)
    said = model.predict(unseen)
    chances = booster_of(model, "class").predict(unseen.values)
    assert said[:, :3] == pytest.approx(chances.astype(np.float32), abs=6e-8)
    moves = booster_of(model, "move").predict(unseen.values)
    assert said[:, 3].tobytes() == moves.astype(np.float32).tobytes()


def test_trees_are_few_and_fewer_where_there_is_nothing_to_learn(model):
    weights = model.weights()
    most = CLASSES * CLASS_ROUNDS + MOVE_ROUNDS
    assert most == 500
    trees = len(weights["class_nodes"]) + len(weights["move_nodes"]) - 2
    assert 30 < trees <= most
    noise = GradientBoosting()
    noise.fit(planted(1000, 3, "noise", 1), TARGET, seed=3)
    assert len(noise.weights()["class_nodes"]) < len(weights["class_nodes"])


def test_what_matured_in_the_held_out_part_is_not_learnt():
    """A horizon as long as the span leaves nothing to learn from but the held-out part."""
    given = planted(300, 3, "linear", 1)
    late = replace(given, matured_ns=np.full(given.count, given.cut_ns[-1]))
    with pytest.raises(ModelError, match="have a label and"):
        GradientBoosting().fit(late, TARGET, seed=3)


def test_contributions_sum_to_the_log_odds(model):
    seen = planted(100, 3, "nonlinear", 4)
    raw = booster_of(model, "class").predict(seen.values, raw_score=True)
    rest = raw[:, UP] - raw[:, DOWN] - model.explain(seen).sum(axis=1)
    assert rest == pytest.approx(np.full(len(rest), rest[0]), abs=1e-9)


def test_importance_names_the_planted_columns(model):
    assert model.importance.sum(axis=1) == pytest.approx([1, 1])
    for forest in model.importance:
        assert set(np.argsort(forest)[-2:]) == {FIRST, SECOND}


@pytest.mark.parametrize(
    ("array", "place", "value"),
    [
        ("class_left", 0, 0),  # a circle
        ("class_right", 0, 10_000),  # beyond the tree
        ("class_left", 3, -10_000),  # beyond the leaves
        ("move_column", 0, 4000),  # no such column
        ("move_column", 0, -1),
        ("class_nodes", 1, -5),
        ("class_nodes", -1, 3),
        ("move_leaves", 2, 1),
    ],
)
def test_damaged_trees_are_refused(model, array, place, value):
    weights = model.weights()
    weights[array][place] = value
    with pytest.raises(ModelError, match="damaged"):
        GradientBoosting.restored(weights)
