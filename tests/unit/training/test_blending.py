"""A blend is made of what the members' folds said, walks forward itself, and can be promoted."""

import msgspec
import numpy as np
import pytest

from config.loader import load
from models.base import ModelError, load_manifest, load_weights
from models.blend import Blend
from models.families import FAMILIES
from models.samples import OUTPUTS
from processes import model_registry
from processes.inference.choice import opened
from processes.training.blending import BlendFits, members_of, train_blend
from processes.training.dataset import Selection, Source, collect
from processes.training.promotion import objections
from processes.training.trainer import OUT_OF_FOLD, Desk, train
from processes.training.work import Work
from schemas import features
from schemas.predictions import BLEND
from schemas.training import TargetSettings
from tests.unit.training.markets import SECOND, labelled

TARGET = TargetSettings(horizon_s=5.0, move_bps=1.0)


@pytest.fixture(scope="module")
def desk(lake):
    settings = load("demo", environment={}, changes={"training.baselines": "[]"})
    source = Source(lake, Selection(recorded=True))
    with Work(lake / "blended") as work:
        dataset = collect(source, work.rows(source.mark))
        yield Desk(lake / "blended", work, settings, source, dataset, 3, 1)


def quiet(*_):
    pass


def test_alone_a_model_is_no_blend(desk):
    with pytest.raises(ModelError, match="dcctl train all --horizon 5"):
        train_blend(desk, TARGET, quiet)


@pytest.fixture(scope="module")
def trained(desk):
    for family in ("ridge", "sgd", "moving_average_cross"):
        train(desk, family, TARGET, quiet)
    other = TargetSettings(horizon_s=10.0, move_bps=1.0)
    train(desk, "ridge", other, quiet)  # of another target
    return train_blend(desk, TARGET, quiet)


def test_one_model_a_place_is_blended_and_the_promoted_one_before_a_better_one(desk, trained):
    manifest = load_manifest(trained.folder, features.FINGERPRINT)
    assert manifest.members == ["moving_average_cross", "linear"]
    linear = {
        one.manifest.family for one in members_of(desk.models, TARGET, "move")
        if one.place == "linear"
    }  # fmt: skip
    losses = {}
    for family in ("ridge", "sgd"):
        (name,) = (one for one in model_registry.versions(desk.models, family) if "-5s-" in one)
        told = load_manifest(desk.models / family / name, features.FINGERPRINT)
        losses[family] = told.metrics["log_loss"]
    better = min(losses, key=losses.__getitem__)
    assert linear == {better}
    worse = max(losses, key=losses.__getitem__)
    (version,) = (one for one in model_registry.versions(desk.models, worse) if "-5s-" in one)
    model_registry.promote(desk.models, worse, version, 1, "", [])
    found = members_of(desk.models, TARGET, "move")
    assert worse in {one.manifest.family for one in found}
    (desk.models / worse / model_registry.POINTER).unlink()


def test_what_the_blend_is_judged_on_was_learnt_by_nobody(desk, trained):
    with np.load(trained.folder / OUT_OF_FOLD) as archive:
        told = {name: archive[name] for name in archive.files}
    members = members_of(desk.models, TARGET, "move")
    # Its tests begin after the first part of the members' tests.
    first = min(int(member.keys["cut_ns"].min()) for member in members)
    assert told["cut_ns"].min() > first
    assert told["said"].shape == (len(told["cut_ns"]), OUTPUTS)
    shared = set(members[0].keys.tolist())
    for member in members[1:]:
        shared &= set(member.keys.tolist())
    assert set(zip(told["cut_ns"], told["instrument"], told["label"], strict=True)) <= shared
    names = {one.name for one in trained.report.evaluation.versus}
    assert names == {"flat", *(one.manifest.family for one in members)}
    assert trained.report.leakage.findings == []


def test_tests_are_kept_as_far_from_what_is_learnt_as_members_look_back(desk, trained):
    del trained  # but the models it is made of are there
    members = members_of(desk.models, TARGET, "move")
    looking_back = [
        one._replace(manifest=msgspec.structs.replace(one.manifest, family="tcn"))
        for one in members
    ]
    rows = labelled(desk.dataset.samples, np.ones(desk.dataset.samples.count, np.int64))
    outputs = np.zeros((rows.count, len(members), OUTPUTS), np.float32)
    near = BlendFits(desk, TARGET, rows, members, outputs).folds
    far = BlendFits(desk, TARGET, rows, looking_back, outputs).folds
    for one, other in zip(near, far, strict=True):
        assert one.limit_ns - other.limit_ns == FAMILIES["tcn"].rows_back * SECOND > 0
        assert rows.matured_ns[other.train].max() < other.limit_ns


def test_a_blend_of_models_that_know_something_knows_it_too(trained):
    assert trained.report.flat.difference.high < 0
    assert objections(trained.folder, None, 0) == []


def test_the_same_inputs_give_the_same_blend_and_inference_takes_it(desk, trained):
    again = train_blend(desk, TARGET, quiet)
    assert again.was_there
    found = opened(trained.folder, BLEND)
    assert isinstance(found.model, Blend)
    assert found.model.members == 2
    assert load_weights(trained.folder).keys() == found.model.weights().keys()
