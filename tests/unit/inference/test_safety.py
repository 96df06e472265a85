"""What inference does with a model that kills it, with too much memory, and with MLX that is not
there, hangs or is slow: the rung or place that the documents name, and no row without its drain."""

from collections.abc import Iterator

import numpy as np
import pytest

from processes.inference.chain import Chain
from processes.inference.flight import MOST_DEATHS, Flight
from processes.inference.main import FLIGHT, MemoryCeilingError
from schemas.predictions import MODELS, Device, Rung
from tests.instances import bare_instance
from tests.lineups import HEAD, MARKETS, Instance, fitted, market, plant, promote

VERSION = "20261121T000000-4s-aaaaaa"


@pytest.fixture
def make(closed_logs) -> Iterator:
    del closed_logs
    made, held = [], []

    def instance(**settings: object) -> Instance:
        families = ["tcn", "moving_average_cross", "gbdt"]
        manager = bare_instance(**{**HEAD, "inference__families": families, **settings})
        held.append(manager)
        one = Instance(manager.__enter__(), market(60))
        made.append(one)
        plant(one.data, "gbdt", VERSION, fitted("gbdt"))
        promote(one.data, "gbdt", VERSION)
        return one

    yield instance
    for one in made:
        one.end()
    for manager in held:
        manager.__exit__(None, None, None)


def die_of(one: Instance, place: str) -> None:
    """As a process does that is killed while a model computes."""
    flight = Flight(one.data / "state" / FLIGHT)
    flight.enter(MODELS.index(place))
    flight.close()


def test_who_computed_outlives_the_process(tmp_path):
    path = tmp_path / "flight"
    first = Flight(path)
    assert (first.died_of, first.deaths) == (-1, 0)
    first.enter(2)
    first.leave()
    first.close()
    found = Flight(path)
    assert found.died_of == -1
    for deaths in range(1, 12):
        found.enter(2)
        found.close()
        found = Flight(path)
        assert (found.died_of, found.deaths) == (2, min(deaths, MOST_DEATHS))
    other = Flight(path)  # this time nothing computed
    assert (other.died_of, other.deaths) == (-1, 0)
    other.enter(0)
    again = Flight(path)
    assert (again.died_of, again.deaths) == (0, 1)


def test_after_mlx_has_hung_the_network_goes_on_in_numpy_and_mlx_is_tried_later(make):
    one = make(inference__device="cpu", inference__retry_s=3600.0)
    die_of(one, "tcn")
    one.start()
    one.live(5)
    assert (one.slots["rung"] == Rung.CPU).all()
    assert (one.slots["device"] == Device.NUMPY).all()
    assert np.isfinite(one.outputs("tcn")).all()
    chain = one.predictor._chain
    chain._retry_s = chain._shy_s = 0.0  # the time has passed
    one.live(2)
    assert one.slots["rung"][-1] == Rung.MLX
    replay = one.replayed()
    assert (replay.comparison.first, replay.comparison.excluded) == (None, [])


def test_a_model_that_the_process_died_of_waits_and_the_others_speak(make):
    one = make(inference__retry_s=3600.0)
    die_of(one, "gbdt")
    one.start()
    one.live(3)
    assert "gbdt waits: the process before died of it" in one.text()
    assert np.isnan(one.outputs("gbdt")).all()
    assert np.isfinite(one.outputs("tcn")).all()


def test_without_mlx_the_network_speaks_in_numpy(make, monkeypatch):
    def missing(_):
        raise ImportError("No module named 'mlx'")

    monkeypatch.setattr(Chain, "_make_mlx", missing)
    one = make(inference__device="auto")
    one.start()
    one.live(3)
    assert (one.slots["device"] == Device.NUMPY).all()
    assert "cpu: MLX cannot be used" in one.text()
    assert len(one.slots) == 3 * MARKETS


def test_a_process_that_has_grown_too_big_ends_in_order(make):
    one = make(inference__max_memory_mb=64)
    one.start()
    one.feed(1)
    with pytest.raises(MemoryCeilingError, match=r"inference\.max_memory_mb is 64"):
        one.turn()
    one.collect()
    assert len(one.slots) == MARKETS  # what had come was said before


def test_health_is_a_real_forward_pass_of_all_that_stand(make):
    one = make()
    one.start()
    told = one.predictor._health()
    assert told["rung"] == "cpu"
    assert told["models"] == {"gbdt": VERSION}
    place = one.predictor._chain.places.get("gbdt")

    def broken(*_):
        raise RuntimeError("no trees")

    place.model.follower = broken
    one.predictor._chain._stepper = broken
    told = one.predictor._health()
    assert told["rung"] == "positions_only"
    assert told["models"] == {}
    assert any("no trees" in fault for fault in told["faults"])


def test_when_no_row_comes_health_is_asked_all_the_same(make):
    one = make()
    one.start()
    place = one.predictor._chain.places.get("gbdt")
    place.model.follower = None  # it cannot even be called
    one.predictor._proved_s = -1e9
    one.predictor.look_after()
    assert one.predictor._chain.places.get("gbdt") is None
