"""Networks: streaming in numpy and MLX is the whole network, and what they see is their own
choice."""

import numpy as np
import pytest

from models import network, stack
from models.base import ModelError, load_weights
from models.cnn import Cnn
from models.family import Weights
from models.network import BOOK, WINDOW, Network, book_rows
from models.samples import Samples
from models.stack import BATCHES, Layers, MlxStepper, NumpyStepper
from models.tcn import Tcn
from processes.places import ROOT
from schemas.features import CATALOGUE
from tests.unit.models.markets import TARGET, planted

KINDS = [Tcn, Cnn]


def made_up(layers: Layers, columns: int, seed: int, hidden: int = 8) -> Weights:
    """A network that nobody has fitted: every number in it counts."""
    draw, found, inputs = np.random.default_rng(seed), {}, columns
    for layer in layers:
        found[layer.kernel] = draw.normal(size=(3 * inputs, hidden)) / np.sqrt(3 * inputs)
        found[layer.bias] = draw.normal(size=hidden)
        inputs = hidden
    found["C"], found["c"] = draw.normal(size=(hidden, 5)), draw.normal(size=5)
    return {name: array.astype(np.float32) for name, array in found.items()}


def restored(kind: type[Network], sees: str, seed: int = 1) -> Network:
    draw = np.random.default_rng(seed)
    scales: Weights = {}
    if sees != "book":
        scales |= {"mean": draw.normal(size=len(CATALOGUE)), "scale": draw.random(len(CATALOGUE))}
    if sees != "features":
        scales |= {"book_mean": draw.normal(size=BOOK), "book_scale": draw.random(BOOK)}
    columns = sum(len(array) for name, array in scales.items() if name.endswith("mean"))
    scales = {name: array.astype(np.float32) for name, array in scales.items()}
    return kind.restored(made_up(kind.layers, columns, seed) | scales)


def follow(model: Network, given: Samples, device: str) -> np.ndarray:
    follower, markets = model.follower(70, device), len(np.unique(given.instrument))
    said = [
        follower.step(
            given.values[rows], given.book[rows], given.price[rows], given.instrument[rows]
        ).copy()
        for rows in (slice(at, at + markets) for at in range(0, given.count, markets))
    ]
    return np.concatenate(said)


@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("sees", ["features", "book", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_streaming_is_the_whole_network(kind, sees, device):
    model = restored(kind, sees)
    given = planted(50, 2, "linear", 3)
    said, whole = follow(model, given, device), model.predict(given)
    assert said[:, :3] == pytest.approx(whole[:, :3], abs=2e-5)
    assert said[:, 3:] == pytest.approx(whole[:, 3:], rel=1e-4, abs=2e-4)


def test_more_instruments_than_the_largest_batch():
    model = restored(Tcn, "features")
    assert BATCHES[-1] < 70
    given = planted(4, 70, "linear", 4)
    assert follow(model, given, "numpy") == pytest.approx(model.predict(given), abs=2e-4)


@pytest.mark.parametrize("layers", [kind.layers for kind in KINDS])
def test_mlx_and_its_numpy_twin_agree(layers):
    weights = made_up(layers, 12, 5)
    mlx, twin = MlxStepper(weights, layers, "cpu"), NumpyStepper(weights, layers)
    draw = np.random.default_rng(6)
    for batch in BATCHES:
        inputs = draw.normal(size=(batch, 12)).astype(np.float32)
        past = draw.normal(size=(len(layers), batch, 8)).astype(np.float32)
        for one, other in zip(mlx(inputs, *past), twin(inputs, *past), strict=True):
            assert one == pytest.approx(other, abs=3e-5)


def naive_forward(weights: Weights, layers: Layers, rows: np.ndarray) -> np.ndarray:
    """The stack a row, a tap and a layer at a time, in double precision."""
    for layer in layers:
        kernel = weights[layer.kernel].astype(np.float64)
        width, found = rows.shape[1], []
        for t in range(len(rows)):
            total = weights[layer.bias].astype(np.float64)
            for tap in range(3):
                at = t - (2 - tap) * layer.dilation
                if at >= 0:
                    total = total + rows[at] @ kernel[tap * width : (tap + 1) * width]
            found.append(np.maximum(total, 0))
        rows = np.array(found)
    return rows @ weights["C"].astype(np.float64) + weights["c"]


@pytest.mark.parametrize("layers", [kind.layers for kind in KINDS])
def test_the_whole_network_is_the_naive_one(layers):
    weights = made_up(layers, 7, 8)
    rows = np.random.default_rng(9).normal(size=(60, 7)).astype(np.float32)
    mine = stack.forward(weights, layers, rows[None])[0]
    assert mine == pytest.approx(naive_forward(weights, layers, rows.astype(np.float64)), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_is_made_of_so_many_rows_back_and_no_later_one(kind):
    weights, back = made_up(kind.layers, 3, 11), kind.rows_back
    draw = np.random.default_rng(11)
    rows = draw.normal(size=(1, 80, 3)).astype(np.float32)
    before = stack.forward(weights, kind.layers, rows)[0]
    changed: set[int] = set()
    for _ in range(50):  # one change may meet units that are asleep
        other = rows.copy()
        other[0, 40] = draw.normal(size=3)
        after = stack.forward(weights, kind.layers, other)[0]
        changed |= set(np.flatnonzero((after != before).any(axis=1)).tolist())
    assert (min(changed), max(changed)) == (40, 40 + back)
    assert back == sum(2 * layer.dilation for layer in kind.layers)


def test_a_long_stream_is_computed_in_pieces_that_join(monkeypatch):
    model, given = restored(Cnn, "book"), planted(300, 1, "linear", 12)
    whole = model.predict(given)
    monkeypatch.setattr(network, "CHUNK", 64)
    assert model.predict(given) == pytest.approx(whole, abs=1e-5)


def test_books_are_seen_as_distances_and_shares():
    book = np.zeros((2, BOOK), np.float32)
    book[:, :3], book[:, 10:13] = [-0.5, -1, -2], [1, 2, 3]
    book[:, 20:22], book[:, 30:32] = [0.5, 1], [4, 5]
    book[1, 10:13] *= 7  # the same book in another unit
    book[1, 30:32] *= 7
    seen = np.empty((2, BOOK), np.float32)
    book_rows(book, np.array([200.0, 200.0]), seen)
    assert seen[0, :3] == pytest.approx([-25, -50, -100])
    assert seen[0, 10:13] == pytest.approx(np.log([1 / 3, 2 / 3, 1]), abs=1e-6)
    assert seen[0, 30:32] == pytest.approx(np.log([4 / 3, 5 / 3]))
    assert np.isnan(seen[0, 3:10]).all()
    assert np.isnan(seen[0, 32:]).all()
    assert seen[1] == pytest.approx(seen[0], abs=1e-6, nan_ok=True)
    book_rows(book, np.array([np.nan, 0.0]), seen)
    assert np.isnan(seen).all()


def test_windows_hold_each_labelled_sample_once_behind_what_came_before_it():
    given = planted(150, 2, "linear", 13)
    model = Tcn()
    model._weights = model._scales(given)
    windows = model._windows(given, given.known)
    assert (windows.labels >= 0).sum() == given.known.sum()
    back = Tcn.rows_back
    assert (windows.labels[:, :back] == -1).all()
    inputs = model.inputs(given.values, given.book, given.price)
    mine = inputs[given.instrument == 0]
    assert np.array_equal(windows.inputs[0][back:], mine[:WINDOW])
    assert (windows.inputs[0][:back] == 0).all()
    assert np.array_equal(windows.inputs[1], mine[WINDOW - back : 2 * WINDOW])


def test_the_book_is_explained_where_it_is_seen():
    model, given = restored(Cnn, "both"), planted(40, 2, "linear", 14)
    assert np.abs(model.explain(given)).max() > 0
    assert np.abs(model.explain_book(given)).max() > 0
    book = restored(Cnn, "book")
    assert np.abs(book.explain(given)).max() == 0
    assert book.explain_book(given).shape == (given.count, BOOK)


def test_a_fitted_network_sees_what_it_was_told_to(monkeypatch):
    monkeypatch.setattr(network, "STEPS", (20, 20))
    given = planted(200, 2, "linear", 15)
    for sees, columns in (
        ("features", len(CATALOGUE)),
        ("book", BOOK),
        ("both", 40 + len(CATALOGUE)),
    ):
        model = Tcn(sees)
        model.fit(given, TARGET, seed=1)
        assert len(model.weights()["A"]) == 3 * columns
        assert (
            Tcn.restored(model.weights()).predict(given).tobytes() == model.predict(given).tobytes()
        )


def test_the_shipped_network_is_a_model_of_its_family():
    weights = load_weights(ROOT / "models" / "shipped" / "tcn")
    model = Tcn.restored(weights)
    given = planted(20, 2, "linear", 16)
    assert np.isfinite(model.predict(given)).all()
    with pytest.raises(ModelError, match="hold no mean"):
        Tcn.restored({name: weights[name] for name in weights if name not in {"mean", "scale"}})
