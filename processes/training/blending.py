"""A blend of what is trained already: fitted on what the members' folds said of their tests.

Members are one model a place of inference's line-up, of one target: the promoted version of a
family, else its last one; where several families share a place, the one that told best. Only tests
that all members have been through count. The blend walks forward over these itself, so that what
its report says was learnt by neither the members nor the blend, and is checked for leakage as every
family is. Fails with ModelError where there are fewer than two members, or too few shared tests.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from models.base import Manifest, ModelError, load_manifest
from models.blend import Blend
from models.families import FAMILIES
from models.family import Report as Progress
from models.family import Weights
from models.labels import Paths
from models.samples import Samples
from processes import model_registry
from processes.training.result import Importance
from processes.training.trainer import OUT_OF_FOLD, Desk, Fits, Fitted, Report, Trained, Training
from schemas import features
from schemas.errors import OperatorError
from schemas.features import WIDTH
from schemas.predictions import BLEND, MODELS, PLACE_OF
from schemas.training import TargetSettings

LEAST: Final = 2


class Member(NamedTuple):
    """A model that the blend is made of."""

    place: str
    manifest: Manifest
    keys: np.ndarray
    """(n) records of cut, instrument and label of the tests it has been through, in order."""
    said: np.ndarray
    """(n, OUTPUTS) what it said of them."""


def train_blend(desk: Desk, target: TargetSettings, report: Report) -> Trained:
    """Blend what is trained for a target.

    Raises:
        ModelError: there are fewer than two models of it, or too few tests that they share.
    """
    return _BlendTraining(desk, target, report).run()


def members_of(models: Path, target: TargetSettings, labels: str) -> list[Member]:
    """The models of a target that can be blended, in the order of their places."""
    best: dict[str, tuple[tuple[bool, float], Path, Manifest]] = {}
    for family, place in PLACE_OF.items():
        found = _version(models, family, target, labels)
        if found is None:
            continue
        folder, manifest, is_promoted = found
        rank = (not is_promoted, manifest.metrics.get("log_loss", np.inf))
        if place not in best or rank < best[place][0]:
            best[place] = (rank, folder, manifest)
    return [_member(place, *best[place][1:]) for place in MODELS if place in best]


def _version(
    models: Path, family: str, target: TargetSettings, labels: str
) -> tuple[Path, Manifest, bool] | None:
    """A family's promoted version, if it is of this target, else its last one that is."""
    try:
        told = model_registry.pointer(models, family)
    except OperatorError:
        told = None
    names = model_registry.versions(models, family)
    wanted = [told.version] if told is not None and told.version in names else []
    for name in [*wanted, *reversed(names)]:
        try:
            manifest = load_manifest(models / family / name, features.FINGERPRINT)
        except ModelError:
            continue
        mine = manifest.horizon_s, manifest.move_bps, manifest.labels
        if mine == (target.horizon_s, target.move_bps, labels):
            return models / family / name, manifest, name in wanted
    return None


def _member(place: str, folder: Path, manifest: Manifest) -> Member:
    try:
        with np.load(folder / OUT_OF_FOLD, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        keys = _keys(arrays["cut_ns"], arrays["instrument"], arrays["label"])
        return Member(place, manifest, keys, arrays["said"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder / OUT_OF_FOLD} cannot be read: {error}") from None


def _keys(cut_ns: np.ndarray, instrument: np.ndarray, label: np.ndarray) -> Any:
    """(n) records by which tests are the same; labels that differ are of different tests."""
    keys = np.empty(len(cut_ns), [("cut_ns", "i8"), ("instrument", "i8"), ("label", "i8")])
    keys["cut_ns"], keys["instrument"], keys["label"] = cut_ns, instrument, label
    return keys


class Stack:
    """A blend, and what its members said of the samples that it is asked about.

    Args:
        keys: (n) cut and instrument of all samples, sorted. outputs: (n, M, OUTPUTS).
    """

    def __init__(self, blend: Blend, keys: np.ndarray, outputs: np.ndarray) -> None:
        self.blend = blend
        self._keys = keys
        self._outputs = outputs

    def of(self, samples: Samples) -> np.ndarray:
        """(n, M, OUTPUTS) of samples; their labels may be others by now."""
        at = np.searchsorted(self._keys, _places(samples))
        found: np.ndarray = self._outputs[at]
        return found

    def predict(self, samples: Samples) -> np.ndarray:
        """What the blend says."""
        return self.blend.predict(self.of(samples))

    def explain(self, samples: Samples) -> np.ndarray:
        """Zeros: it looks at no column."""
        return np.zeros((samples.count, WIDTH))

    def weights(self) -> Weights:
        """The blend's."""
        return self.blend.weights()


def _places(samples: Samples) -> Any:
    keys = np.empty(samples.count, [("cut_ns", "i8"), ("instrument", "i8")])
    keys["cut_ns"], keys["instrument"] = samples.cut_ns, samples.instrument
    return keys


class BlendFits(Fits):
    """Fits of the blend on the shared tests."""

    def __init__(
        self, desk: Desk, target: TargetSettings, rows: Samples, members: list[Member],
        outputs: np.ndarray,
    ) -> None:  # fmt: skip
        versions = [f"{one.manifest.family} {one.manifest.version}" for one in members]
        # What a member said is made of as many rows as the member looks at.
        rows_back = max(FAMILIES[one.manifest.family].rows_back for one in members)
        super().__init__(desk, BLEND, target, rows, rows_back, *versions)
        places = _places(rows)
        order = np.argsort(places)
        self._places, self._outputs = places[order], outputs[order]

    def fit(self, samples: Samples, report: Progress) -> Stack:
        """A blend fitted on some of the samples."""
        made = self._stack(Blend())
        made.blend.fit(made.of(samples), samples)
        report(1.0)
        return made

    def restored(self, weights: Weights) -> Stack:
        """A blend with these numbers."""
        return self._stack(Blend.restored(weights))

    def _stack(self, blend: Blend) -> Stack:
        return Stack(blend, self._places, self._outputs)


class _BlendTraining(Training):
    """The blend of one target."""

    def __init__(self, desk: Desk, target: TargetSettings, report: Report) -> None:
        self._blended = members_of(desk.models, target, desk.settings.training.labels)
        if len(self._blended) < LEAST:
            raise ModelError(
                f"a blend takes two models of {target.horizon_s:g} s and there is "
                f"{len(self._blended)}; type: dcctl train all --horizon {target.horizon_s:g}"
            )
        super().__init__(desk, BLEND, target, report)

    def _prepare(self) -> tuple[Fits, dict[str, Fits]]:
        rows = self._rows
        shared = mine = _keys(rows.cut_ns, rows.instrument, rows.label)
        for member in self._blended:
            shared = np.intersect1d(shared, member.keys)
        shared = shared[shared["label"] >= 0]
        if not len(shared):
            raise ModelError("the models share no test: train them over one span")
        # By time, as the rows are.
        at = np.flatnonzero(np.isin(mine, shared))
        outputs = np.stack(
            [_said(member, mine[at]) for member in self._blended], axis=1, dtype=np.float32
        )
        self._rows, self._cost = rows.take(at), self._cost[at]
        self._paths = Paths(*(array[at] for array in self._paths))
        self._outputs = outputs
        fits = BlendFits(self._desk, self._target, self._rows, self._blended, outputs)
        return fits, {}

    def _said_by_others(self) -> dict[str, np.ndarray]:
        tests = self._outputs[self._tests]
        return {one.manifest.family: tests[:, at] for at, one in enumerate(self._blended)}

    def _importances(self, model: Fitted) -> list[Importance]:
        """Whom it listens to: the size of the coefficients of each member's log-chances."""
        sizes = np.abs(model.weights()["coefficients"][:-1]).reshape(len(self._blended), -1)
        means = sizes.mean(axis=1)
        total = max(float(means.sum()), 1e-300)
        return [
            Importance(
                column=self._blended[at].place, mean=float(means[at]),
                share=float(means[at]) / total,
            )
            for at in np.argsort(-means, kind="stable").tolist()
        ]  # fmt: skip

    def _bins(self) -> Weights:
        """None: it looks at no column."""
        return {}

    def _members(self) -> list[str]:
        return [one.place for one in self._blended]


def _said(member: Member, keys: np.ndarray) -> np.ndarray:
    order = np.argsort(member.keys)
    found: np.ndarray = member.said[order[np.searchsorted(member.keys[order], keys)]]
    return found
