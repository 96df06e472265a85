"""The line-up of a running inference: who speaks, swaps, refusals, and the same bits again."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from models import base
from models.blend import Blend
from models.families import FAMILIES
from models.family import Model
from models.samples import Samples
from models.tcn import Tcn
from processes import model_registry
from processes.clock import monotonic_s
from processes.sessions import SessionFolder
from schemas import features
from schemas.lineup import LineUp
from schemas.predictions import MODELS, PLACE_OF, RULE, RULES, Device, Rung
from tests.helpers import wait_until
from tests.lineups import (
    ALL,
    MARKETS,
    V1,
    V2,
    Instance,
    Make,
    assert_replayed,
    fitted,
    instances,
    market,
    plant,
    promote,
)
from tests.unit.models.markets import planted


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return market(400)


@pytest.fixture
def make(rows, closed_logs) -> Iterator[Make]:
    del closed_logs
    with instances(rows) as instance:
        yield instance


def settle(one: Instance, done: Callable[[], object]) -> None:
    """Turn, a cut now and then, until what was promoted is in force."""
    fed_s = 0.0

    def turned() -> object:
        nonlocal fed_s
        if monotonic_s() - fed_s > 0.1:
            fed_s = monotonic_s()
            one.feed(1)
        one.turn()
        return done()

    wait_until(turned, 30)
    one.live(1)


def as_samples(some: np.ndarray) -> Samples:
    """Rows as a training has them, without labels."""
    count = len(some)
    return Samples(
        values=some["values"], book=some["book"], invalid=some["invalid"],
        instrument=some["instrument"], cut_ns=some["cut_ns"], price=some["reference_price"],
        move_bps=np.full(count, np.nan), label=np.full(count, -1, np.int8),
        matured_ns=some["cut_ns"],
    )  # fmt: skip


def lineups(one: Instance) -> list[LineUp]:
    """Of all predictions, in order."""
    folder = SessionFolder(one.data, one.session)
    return [folder.lineup(int(number)) for number in one.slots["model_version"]]


def test_all_families_speak_side_by_side_and_say_what_training_predicts(make):
    one = make(*ALL, promoted=("tcn", "cnn", "gbdt", "regime"))
    model = fitted("sgd")
    plant(one.data, "sgd", V1, model, labels="triple_barrier")  # so that it does not learn here
    promote(one.data, "sgd", V1)
    one.start()
    one.live(60, 1, 3, 2)  # drains of any size: every row is stepped, the newest is told
    assert "its labels are triple_barrier" in one.text()
    some = np.concatenate(one.written)
    at = {int(row["sequence"]): place for place, row in enumerate(some)}
    places = [at[int(number)] for number in one.slots["feature_sequence"]]
    for family in ("cnn", "sgd", "gbdt", "regime", "tcn", "moving_average_cross"):
        known = FAMILIES[family]() if family == RULE else fitted(family)
        wanted = known.predict(as_samples(some))[places]
        told = one.outputs(family)
        if family in {"cnn", "tcn"}:
            assert told == pytest.approx(wanted, rel=2e-5, abs=5e-5), family
        else:
            assert told.tobytes() == wanted.tobytes(), family
    regimes = fitted("regime").regimes(as_samples(some))[places]  # type: ignore[attr-defined]
    assert one.slots["regime"].tolist() == regimes.argmax(axis=1).tolist()
    assert (one.slots["learner_state"] == 0).all()
    assert_replayed(one)


def test_a_family_that_is_not_promoted_says_nothing_and_status_says_what_to_type(make):
    one = make("moving_average_cross", "sgd", "gbdt")
    one.start()
    one.live(3)
    assert np.isnan(one.outputs("sgd")).all()
    assert np.isnan(one.outputs("tcn")).all()
    assert "no gbdt is promoted; type: dcctl models promote gbdt last" in one.text()
    assert (one.slots["rung"] == Rung.POSITIONS_ONLY).all()
    plant(one.data, "gbdt", V1, fitted("gbdt"))
    promote(one.data, "gbdt", V1)
    settle(one, lambda: np.isfinite(one.outputs("gbdt")[-MARKETS:]).all())
    # A model that speaks without the network is the rung of the processor.
    assert one.slots["rung"][-1] == Rung.CPU
    assert one.slots["device"][-1] == Device.NONE
    assert "cpu" in one.text()
    assert_replayed(one)


def test_every_rule_speaks_as_its_book_has_it_until_one_is_promoted(make):
    one = make(*RULES)
    one.start()
    one.live(12, 1, 3)
    wanted = {family: FAMILIES[family]() for family in RULES}
    assert_said(one, wanted)
    assert (one.slots["rung"] == Rung.POSITIONS_ONLY).all()
    for family in ("rsi_thresholds", "moving_average_cross"):
        for version, seed in ((V1, 1), (V2, 2)):
            plant(one.data, family, version, fitted(family, seed))
        promote(one.data, family, V1)
        wanted[family] = fitted(family)
    settle(one, lambda: one.predictor._roster.swaps == 2)
    told = len(one.slots)
    one.live(12, 2, 1)
    assert_said(one, wanted, told)
    assert one.slots["blend"][told:].tobytes() == one.outputs(RULE)[told:].tobytes()
    promote(one.data, "rsi_thresholds", V2)
    settle(one, lambda: lineups(one)[-1].of("rsi_thresholds").version == V2)  # type: ignore[union-attr]
    model_registry.roll_back(model_registry.models_folder(one.data), "rsi_thresholds", 1)
    settle(one, lambda: lineups(one)[-1].of("rsi_thresholds").version == V1)  # type: ignore[union-attr]
    # What is left out is spoken for by the textbook, in this very drain.
    one.predictor._chain.places.get(RULE).follower.step = None
    told = len(one.slots)
    one.live(1)
    wanted[RULE] = FAMILIES[RULE]()
    assert_said(one, wanted, told)
    # That of the others from the next drain on.
    one.predictor._chain.places.get("rsi_thresholds").follower.step = None
    one.live(1)
    assert np.isnan(one.outputs("rsi_thresholds")[-MARKETS:]).all()
    told = len(one.slots)
    one.live(2)
    assert_said(one, wanted | {"rsi_thresholds": FAMILIES["rsi_thresholds"]()}, told)
    assert_replayed(one)


def assert_said(one: Instance, wanted: dict[str, Model], first: int = 0) -> None:
    """Predictions from this one on are what these models say, to the bit."""
    some = np.concatenate(one.written)
    places = one.slots["feature_sequence"][first:].astype(int) - 1
    assert len(places) > 0
    for family, model in wanted.items():
        told = model.predict(as_samples(some))[places]
        assert one.outputs(family)[first:].tobytes() == told.tobytes(), family


def test_swap_and_rollback_lose_no_cut_and_come_out_again(make):
    one = make(*ALL, promoted=("cnn", "gbdt", "regime"))
    one.start()
    one.live(20, 1, 2)
    first = one.slots["model_version"][-1]
    for family in ("gbdt", "cnn", "tcn", "regime"):
        plant(one.data, family, V2, fitted(family, 2))
        promote(one.data, family, V2)
    wanted = dict.fromkeys(("gbdt", "cnn", "tcn", "regime"), V2)

    def taken() -> bool:
        last = lineups(one)[-1]
        return all(last.of(name).version == version for name, version in wanted.items())  # type: ignore[union-attr]

    settle(one, taken)
    one.live(20, 2, 1)
    swapped = one.slots["model_version"][-1]
    assert swapped != first
    model_registry.roll_back(model_registry.models_folder(one.data), "gbdt", 1)
    wanted["gbdt"] = V1
    settle(one, taken)
    one.live(10, 1)
    # Not a row of a boundary is without its prediction but those that a newer one has overtaken.
    told = set(one.slots["cut"].tolist())
    assert len(told) >= 40
    assert one.predictor._chain.published + one.predictor._chain.superseded == int(
        (np.concatenate(one.written)["invalid"] & 2 == 0).sum()
    )
    assert_replayed(one)


def test_after_a_swap_a_model_says_what_it_had_said_all_along(make):
    """It has caught up with what the ring holds; of these rows its word is made."""
    one = make("cnn", promoted=("cnn",))
    one.start()
    one.live(100, 5)
    plant(one.data, "cnn", V2, fitted("cnn", 2))
    promote(one.data, "cnn", V2)
    settle(one, lambda: one.predictor._roster.swaps == 2)
    one.live(1)
    some = np.concatenate(one.written)
    wanted = fitted("cnn", 2).predict(as_samples(some))[-MARKETS:]
    assert one.outputs("cnn")[-MARKETS:] == pytest.approx(wanted, rel=2e-5, abs=5e-5)


def spoil_nothing_there(folder: Path) -> None:
    (folder / base.WEIGHTS).unlink()


def spoil_weights(folder: Path) -> None:
    (folder / base.WEIGHTS).write_bytes(b"torn")


def tell(folder: Path, **changed: object) -> None:
    """Write the manifest again, with other words."""
    told = json.loads((folder / base.MANIFEST).read_bytes())
    (folder / base.MANIFEST).write_text(json.dumps({**told, **changed}))


def spoil_layout(folder: Path) -> None:
    tell(folder, features=features.FINGERPRINT + 1)


def keep(folder: Path, weights: dict[str, np.ndarray]) -> None:
    """Put other weights there, of which the manifest knows."""
    base.save_model(folder, base.load_manifest(folder, features.FINGERPRINT), weights)


def spoil_numbers(folder: Path) -> None:
    weights = base.load_weights(folder)
    name = next(name for name, array in weights.items() if array.dtype.kind == "f" and array.size)
    weights[name] = weights[name].copy()
    weights[name].flat[0] = np.nan
    keep(folder, weights)


def spoil_shape(folder: Path) -> None:
    weights = base.load_weights(folder)
    del weights[next(iter(weights))]
    keep(folder, weights)


def spoil_archive(folder: Path) -> None:
    """Cut off, and the manifest says that this is how it is."""
    path = folder / base.WEIGHTS
    path.write_bytes(path.read_bytes()[:-30])
    tell(folder, weights=base.hash_of(path))


@pytest.mark.parametrize("family", ["gbdt", "tcn"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_nothing_there, "no model can be read"),
        (spoil_weights, "not those of the manifest"),
        (spoil_layout, "another feature layout"),
        (spoil_numbers, "not finite"),
        (spoil_shape, "weights hold no"),
        (spoil_archive, "cannot be read"),
    ],
)
def test_a_version_that_is_not_sound_is_not_taken_and_who_stood_goes_on(make, family, spoil, says):
    one = make("tcn", "gbdt", promoted=("tcn", "gbdt"))
    one.start()
    one.live(5)
    before = one.slots["model_version"][-1]
    spoil(plant(one.data, family, V2, fitted(family, 2)))
    promote(one.data, family, V2)
    settle(one, lambda: one.predictor._roster.refusals == 1)
    one.live(5)
    assert (one.slots["model_version"] == before).all()
    assert np.isfinite(one.outputs(family)).all()
    assert says in one.text()
    model_registry.roll_back(model_registry.models_folder(one.data), family, 1)
    settle(one, lambda: says not in one.text())
    assert (one.slots["model_version"] == before).all()
    assert_replayed(one)


def test_at_the_start_a_spoilt_promotion_leaves_the_shipped_network(make):
    one = make("tcn", "gbdt")
    spoil_weights(plant(one.data, "tcn", V1, fitted("tcn")))
    promote(one.data, "tcn", V1)
    spoil_archive(plant(one.data, "gbdt", V1, fitted("gbdt")))
    promote(one.data, "gbdt", V1)
    one.start()
    one.live(3)
    assert "not those of the manifest" in one.text()
    assert lineups(one)[-1].of("tcn").version not in {V1, ""}  # type: ignore[union-attr]
    assert np.isfinite(one.outputs("tcn")).all()
    assert np.isnan(one.outputs("gbdt")).all()


def test_a_network_that_sees_the_book_is_refused_in_words(make):
    one = make("tcn")
    weights = fitted("tcn").weights()
    columns = len(weights["mean"]) + 40
    weights |= {
        "book_mean": np.zeros(40, np.float32), "book_scale": np.ones(40, np.float32),
        "A": np.zeros((3 * columns, weights["A"].shape[1]), np.float32),
    }  # fmt: skip
    model = Tcn.restored(weights)
    assert model.sees_book
    plant(one.data, "tcn", V1, model)
    promote(one.data, "tcn", V1)
    one.start()
    assert "sees the book" in one.text()


def test_a_model_that_raises_is_left_out_and_harms_nobody_and_comes_back(make):
    one = make(*ALL, promoted=("cnn", "gbdt", "regime", "sgd"), inference__retry_s=0.001)
    one.start()
    one.live(10, 2, 1)
    place = one.predictor._chain.places.get("gbdt")

    def broken(*_):
        raise RuntimeError("out of trees")

    place.follower.step = broken
    one.predictor._roster._again_s.clear()
    one.feed(1)
    one.predictor.turn()
    one.collect()
    assert np.isnan(one.outputs("gbdt")[-MARKETS:]).all()
    for family in ("cnn", "regime", "sgd", "tcn"):
        assert np.isfinite(one.outputs(family)[-MARKETS:]).all(), family
    assert lineups(one)[-1].of("gbdt") is None
    one.predictor._tell()
    assert "gbdt left out: RuntimeError('out of trees')" in one.text()
    settle(one, lambda: np.isfinite(one.outputs("gbdt")[-MARKETS:]).all())
    assert "left out" not in one.text()
    assert_replayed(one)


def test_a_model_that_is_late_too_often_in_a_row_is_left_out_and_others_are_not(make):
    one = make(*ALL, promoted=("cnn", "gbdt", "regime", "sgd"), inference__misses_to_fall=3,
               inference__deadline_ms=6000.0)  # fmt: skip
    one.start()
    one.live(5)
    places, late_ns = one.predictor._chain.places, [0]
    clock = places._now_ns
    places._now_ns = lambda: clock() + late_ns[0]
    quick = places.get("regime").follower.step

    def slow(*arrays):
        late_ns[0] += 2 * 10**9
        return quick(*arrays)

    follower = places.get("regime").follower
    for step in (slow, slow, quick, slow, slow):
        follower.step = step
        one.live(1)
    assert np.isfinite(one.slots["regime"]).all()
    follower.step = slow
    one.live(1)
    assert places.get("regime") is None
    assert places.misses[MODELS.index("regime")] == 5
    assert {place.standing.family for place in places.held} == {"cnn", "sgd", "gbdt"}
    assert np.isnan(one.slots["regime"][-MARKETS:]).all()
    for family in ("cnn", "gbdt", "sgd", "tcn"):
        assert np.isfinite(one.outputs(family)).all(), family
    assert one.predictor._chain.rung == Rung.CPU
    assert_replayed(one)


def test_followed_models_do_not_depend_on_drains_or_restarts(make):
    one, other = (make("cnn", "regime", "gbdt", promoted=("cnn", "regime", "gbdt")) for _ in "ab")
    one.start()
    one.live(120, 1)
    other.start()
    other.live(50, 7, 1, 2)
    other.stop(killed=True)
    other.feed(9)  # while nobody infers
    other.start()
    other.turn()
    other.live(61, 3, 5, 1)
    mine = {int(slot["feature_sequence"]): slot for slot in one.slots}
    for slot in other.slots[other.slots["feature_sequence"] < 59 * MARKETS]:
        assert slot["outputs"].tobytes() == mine[int(slot["feature_sequence"])]["outputs"].tobytes()
    # The ring holds all rows still, so that a restart begins where the first life began.
    same = [
        slot["outputs"].tobytes() == mine[int(slot["feature_sequence"])]["outputs"].tobytes()
        for slot in other.slots
    ]
    assert all(same)
    assert_replayed(other)


def test_families_that_are_known_have_places():
    assert set(PLACE_OF) <= set(FAMILIES)


def test_a_promoted_blend_speaks_of_its_members_and_comes_out_again(make):
    one = make(*ALL, promoted=("cnn", "gbdt", "regime", "sgd"))
    members = ["linear", "gbdt", "moving_average_cross"]
    draw = np.random.default_rng(1)
    said = draw.dirichlet(np.ones(3), (600, 3)).astype(np.float32)
    some = planted(200, MARKETS, "linear", 1)
    blend = Blend()
    blend.fit(np.concatenate([said, np.ones((600, 3, 2), np.float32)], axis=2), some)
    one.start()
    one.live(5)
    assert one.slots["blend"].tobytes() == one.outputs("tcn").tobytes()
    plant(one.data, "blend", V1, blend, members=members)
    promote(one.data, "blend", V1)
    settle(one, lambda: lineups(one)[-1].of("blend") is not None)
    one.live(6, 1, 2)
    mine = [MODELS.index(member) for member in members]
    for slot in one.slots[-MARKETS:]:
        # Products of matrices round a little otherwise in another shape.
        wanted = blend.predict(slot["outputs"][None, mine])[0]
        assert slot["blend"] == pytest.approx(wanted, rel=1e-5)
    assert_replayed(one)
    # A blend that raises leaves what would be there without one.
    one.predictor._chain.places.get("blend").model._weights = {}
    one.feed(1)
    one.predictor.turn()
    one.collect()
    assert one.slots["blend"][-MARKETS:].tobytes() == one.outputs("tcn")[-MARKETS:].tobytes()
    assert lineups(one)[-1].of("blend") is None
    assert_replayed(one)
