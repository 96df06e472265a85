"""Gradient-boosted trees: fitted by LightGBM, walked by a kernel of our own.

Two forests (Ke et al.: LightGBM, 2017): one for up, flat and down, one for the move in basis
points, 500 trees at most in all. How many are kept is decided on the last part of the training
span, from which what matured later is purged. The spread of the move is what the second forest was
wrong by on that part.

The trees are plain arrays, so that inference neither needs LightGBM nor loads its OpenMP beside
MLX. They give LightGBM's numbers to the bit but for the last exponential. LightGBM's own text of
each forest is kept too, as bytes: `explain` hands it back for the library's exact Shapley
contributions (Lundberg et al.: Consistent Individualized Feature Attribution, 2018). One thread,
deterministic.
"""

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numba import njit

from models.arrays import taken
from models.base import ModelError
from models.chances import softmax
from models.family import NotFittedError, Report, Weights
from models.learnable import held_out, learnable
from models.rowwise import RowModel
from models.samples import CLASSES, DOWN, UP, Samples, Target

CLASS_ROUNDS: Final = 130
"""A round is a tree a class: 390 of them at most, and as many rounds of single trees for the move
as make them 500."""
MOVE_ROUNDS: Final = 110
PATIENCE: Final = 30
"""Rounds without a better word on the held-out part, after which no more are tried."""
HELD_OUT: Final = 0.2
_ZERO, _NAN = 1, 2
_MISSING: Final = {"None": 0, "Zero": _ZERO, "NaN": _NAN}
_NEAR_ZERO: Final = 1e-35
"""LightGBM's kZeroThreshold, a float32."""

PARAMETERS: Final[dict[str, Any]] = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "lambda_l2": 1.0,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "max_bin": 127,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


class Forest(NamedTuple):
    """Trees one behind the other. Inner nodes and leaves are numbered within their tree."""

    nodes: np.ndarray
    """(trees + 1) int32: where the inner nodes of each tree begin, and where all end."""
    leaves: np.ndarray
    """(trees + 1) int32: the same of the leaves."""
    column: np.ndarray
    """(nodes) int32: which column is looked at."""
    threshold: np.ndarray
    """(nodes) float64: values up to it go left."""
    left: np.ndarray
    """(nodes) int32: the next inner node, or ~leaf."""
    right: np.ndarray
    missing: np.ndarray
    """(nodes) uint8: what counts as missing here (0 nothing, 1 zeros too, 2 NaN), plus 4 where the
    missing go left."""
    value: np.ndarray
    """(leaves) float64."""


_TYPES: Final = (np.int32, np.int32, np.int32, np.float64, np.int32, np.int32, np.uint8, np.float64)


@njit(cache=True, nogil=True)
def _goes_left(value: float, threshold: float, missing: int) -> bool:
    """LightGBM's NumericalDecision: NaN is 0 unless NaN is what is missing."""
    kind = missing & 3
    if math.isnan(value) and kind != _NAN:
        value = 0.0
    if (kind == _ZERO and abs(value) <= _NEAR_ZERO) or (kind == _NAN and math.isnan(value)):
        return (missing & 4) != 0
    return value <= threshold


@njit(cache=True, nogil=True)
def walk(
    values: Any, nodes: Any, leaves: Any, column: Any, threshold: Any, left: Any, right: Any,
    missing: Any, value: Any, raw: Any,
) -> None:  # fmt: skip
    """Sum the trees of each row: tree t belongs to output t modulo the outputs.

    Args:
        values: (k, F) float32. raw: (k, outputs) float64, written.
    """
    outputs = raw.shape[1]
    for row in range(len(values)):
        for k in range(outputs):
            raw[row, k] = 0.0
    for tree in range(len(nodes) - 1):  # a tree stays near while all rows go through it
        first, root = nodes[tree], 0 if nodes[tree + 1] > nodes[tree] else -1
        for row in range(len(values)):
            node = root
            while node >= 0:
                at = first + node
                found = np.float64(values[row, column[at]])
                goes_left = _goes_left(found, threshold[at], missing[at])
                node = left[at] if goes_left else right[at]
            raw[row, tree % outputs] += value[leaves[tree] + ~node]


@njit(cache=True, nogil=True)
def _say(raw: Any, move: Any, spread: float, out: Any) -> None:
    for row in range(len(raw)):
        softmax(raw[row])
        for k in range(CLASSES):
            out[row, k] = raw[row, k]
        out[row, CLASSES] = move[row, 0]
        out[row, CLASSES + 1] = spread


class _Tree:
    """One tree of LightGBM's dump, as rows of a Forest."""

    def __init__(self, dumped: dict[str, Any]) -> None:
        self.inner: list[tuple[int, float, int, int, int]] = []
        self.value: list[float] = []
        self._add(dumped["tree_structure"])

    def _add(self, node: dict[str, Any]) -> int:
        """Number a node and all below it; its number, or ~number of a leaf."""
        if "split_feature" not in node:
            self.value.append(float(node["leaf_value"]))
            return ~(len(self.value) - 1)
        assert node["decision_type"] == "<="
        mine = len(self.inner)
        missing = _MISSING[node["missing_type"]] | (4 if node["default_left"] else 0)
        self.inner.append((0, 0.0, 0, 0, 0))
        left, right = self._add(node["left_child"]), self._add(node["right_child"])
        threshold = float(node["threshold"])
        self.inner[mine] = (int(node["split_feature"]), threshold, left, right, missing)
        return mine


def forest_of(dumped: dict[str, Any]) -> Forest:
    """A forest out of what LightGBM's `Booster.dump_model` gives."""
    trees = [_Tree(tree) for tree in dumped["tree_info"]]
    inner = [node for tree in trees for node in tree.inner]
    by_field = list(zip(*inner, strict=True)) if inner else [()] * 5
    columns = (
        np.cumsum([0, *(len(tree.inner) for tree in trees)]),
        np.cumsum([0, *(len(tree.value) for tree in trees)]),
        *by_field,
        [value for tree in trees for value in tree.value],
    )
    return Forest(*(np.array(c, kind) for c, kind in zip(columns, _TYPES, strict=True)))


def _checked(forest: Forest, columns: int, outputs: int, name: str) -> Forest:
    """The forest, if each walk through it ends at a leaf.

    Raises:
        ModelError: it does not; the kernel would read beyond its arrays, or never come back.
    """
    sizes, leaves = np.diff(forest.nodes), np.diff(forest.leaves)
    whole = (
        len(sizes) == len(leaves)
        and len(sizes) % outputs == 0
        and forest.nodes[0] == forest.leaves[0] == 0
        and forest.nodes[-1] == len(forest.column)
        and forest.leaves[-1] == len(forest.value)
        and bool((sizes >= 0).all() and (leaves == sizes + 1).all())
        and bool(((forest.column >= 0) & (forest.column < columns)).all())
    )
    if whole:
        tree = np.repeat(np.arange(len(sizes)), sizes)
        number = np.arange(len(forest.column)) - forest.nodes[tree]
        for child in (forest.left, forest.right):
            # Children stand behind their parents: no walk goes in a circle.
            inside = np.where(child < 0, ~child < leaves[tree], child < sizes[tree])
            whole = whole and bool((inside & ((child < 0) | (child > number))).all())
    if not whole:
        raise ModelError(f"the trees of {name} in the weights are damaged: train the model anew")
    return forest


class GradientBoosting(RowModel):
    """LightGBM's forests.

    The weights: the arrays of two `Forest`s with `class_` and `move_` before their names; `spread`
    (1) float64, basis points; `gain` (2, F) float64, what splits on each column have won in each
    forest; `class_text`, `move_text` (bytes) uint8, LightGBM's own.
    """

    family = "gbdt"

    def __init__(self) -> None:
        self._forests: dict[str, Forest] = {}
        self._texts: dict[str, np.ndarray] = {}
        self._spread = np.zeros(1)
        self._gain = np.zeros((2, 0))

    def fit(
        self, samples: Samples, target: Target, *, seed: int, report: Report = lambda _: None
    ) -> None:
        """Fit both forests; the held-out part decides how many trees they have."""
        del target
        known = learnable(samples)
        earlier, later = held_out(known, HELD_OUT)
        train, look = learnable(known.take(earlier)), known.take(later)
        shared = PARAMETERS | {"seed": seed, "min_data_in_leaf": max(20, train.count // 500)}
        classes = shared | {"objective": "multiclass", "num_class": CLASSES}
        move = shared | {"objective": "regression"}
        gains = [
            self._grow("class", classes, CLASS_ROUNDS, train, look, lambda s: report(0.75 * s)),
            self._grow("move", move, MOVE_ROUNDS, train, look, lambda s: report(0.75 + s / 4)),
        ]
        self._gain = np.array(gains)
        raw = np.empty((look.count, 1))
        walk(look.values, *self._forests["move"], raw)
        self._spread = np.array([float((look.move_bps - raw[:, 0]).std())])

    def _grow(
        self, name: str, parameters: dict[str, Any], rounds: int, train: Samples, look: Samples,
        report: Callable[[float], object],
    ) -> np.ndarray:  # fmt: skip
        """Fit one forest; the gain of each column."""
        import lightgbm  # noqa: PLC0415  (who infers must not load it beside MLX)

        def data(of: Samples, reference: Any = None) -> Any:
            wanted = of.label if name == "class" else of.move_bps
            return lightgbm.Dataset(of.values, label=wanted, reference=reference)

        fitted = data(train)
        booster = lightgbm.train(
            parameters, fitted, rounds, valid_sets=[data(look, fitted)],
            callbacks=[
                lightgbm.early_stopping(PATIENCE, verbose=False),
                lambda told: report((told.iteration + 1) / rounds),
            ],
        )  # fmt: skip
        best = booster.best_iteration
        self._forests[name] = forest_of(booster.dump_model(num_iteration=best))
        text = booster.model_to_string(num_iteration=best)
        self._texts[name] = np.frombuffer(text.encode(), np.uint8).copy()
        gain: np.ndarray = booster.feature_importance("gain", iteration=best)
        return gain

    def say(self, values: np.ndarray, book: np.ndarray, out: np.ndarray) -> None:
        """Write what it says of each row."""
        del book
        if not self._forests:
            raise NotFittedError
        raw, move = np.empty((len(values), CLASSES)), np.empty((len(values), 1))
        walk(values, *self._forests["class"], raw)
        walk(values, *self._forests["move"], move)
        _say(raw, move, self._spread[0], out)

    @property
    def importance(self) -> np.ndarray:
        """(2, F): the share of all gain that splits on each column won: classes, then move."""
        if not self._forests:
            raise NotFittedError
        total = self._gain.sum(axis=1, keepdims=True)
        return self._gain / np.where(total > 0, total, 1)

    def explain(self, samples: Samples) -> np.ndarray:
        """Exact Shapley values of the trees, by LightGBM, which this call loads."""
        import lightgbm  # noqa: PLC0415

        if not self._forests:
            raise NotFittedError
        booster = lightgbm.Booster(model_str=self._texts["class"].tobytes().decode())
        columns = samples.values.shape[1]
        told = np.asarray(booster.predict(samples.values, pred_contrib=True, num_threads=1))
        by_class = told.reshape(samples.count, CLASSES, columns + 1)[:, :, :columns]
        found: np.ndarray = by_class[:, UP] - by_class[:, DOWN]
        return found

    def weights(self) -> Weights:
        """Forests, spread, gains and LightGBM's texts."""
        if not self._forests:
            raise NotFittedError
        found = {"spread": self._spread.copy(), "gain": self._gain.copy()}
        for name, forest in self._forests.items():
            for field, array in forest._asdict().items():
                found[f"{name}_{field}"] = array.copy()
            found[f"{name}_text"] = self._texts[name].copy()
        return found

    @classmethod
    def restored(cls, weights: Weights) -> Self:
        """A model with those forests, each looked over first."""
        model = cls()
        model._spread = taken(weights, "spread", 1)
        model._gain = taken(weights, "gain", 2, None)
        columns = model._gain.shape[1]
        for name, outputs in (("class", CLASSES), ("move", 1)):
            forest = Forest(*(
                taken(weights, f"{name}_{field}", None, dtype=kind)
                for field, kind in zip(Forest._fields, _TYPES, strict=True)
            ))  # fmt: skip
            model._forests[name] = _checked(forest, columns, outputs, name)
            model._texts[name] = taken(weights, f"{name}_text", None, dtype=np.uint8)
        return model
