"""Whether a model may be promoted: what speaks against it, in words.

It must be for today's rows and not too old, better than the flat baseline, free of what the leakage
checks find, and not worse than what is promoted now, on the tests that both have been through.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from models.base import MANIFEST, Manifest, ModelError, hash_of, load_manifest
from models.base import WEIGHTS as WEIGHTS_FILE
from processes.clock import utc_text
from processes.training.bootstrap import Blocks, Interval
from processes.training.evaluation import chances_of, log_losses
from processes.training.result import read_report
from processes.training.trainer import OUT_OF_FOLD
from schemas import features
from schemas.errors import OperatorError

LEAST_SHARED: Final = 200
"""Tests that two models must share to be compared."""


class Beside(NamedTuple):
    """Two models on the tests that both have been through."""

    shared: int
    first: float
    second: float
    """Log losses."""
    difference: Interval
    """The first's less the second's."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version, whatever rows it is for.

    Raises:
        ModelError: it is damaged: nothing can run it.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        found = hash_of(folder / WEIGHTS_FILE)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"no model can be read in {folder}: {error}; train it anew") from None
    if found != manifest.weights:
        raise ModelError(f"{folder}: the weights are not those of the manifest; train it anew")
    return manifest


def objections(folder: Path, promoted: Path | None, now_ns: int) -> list[str]:
    """What speaks against promoting the model in a folder, a sentence each.

    Raises:
        ModelError: it is damaged. OperatorError: its report is.
    """
    manifest, report = read_manifest(folder), read_report(folder)
    found = []
    try:
        load_manifest(folder, features.FINGERPRINT)
    except ModelError:
        found.append("it was made for another feature layout")
    if manifest.expires_ns and now_ns >= manifest.expires_ns:
        found.append(f"it expired at {utc_text(manifest.expires_ns)}")
    gain = report.flat.difference
    if gain.high >= 0:
        found.append(
            f"it is not better than the flat baseline: log loss less flat's {gain.value:+.4f}, "
            f"between {gain.low:+.4f} and {gain.high:+.4f}"
        )
    found += [f"leakage: {one.text}" for one in report.leakage.findings]
    if promoted is not None and promoted != folder:
        found += _against(folder, promoted)
    return found


def _against(folder: Path, promoted: Path) -> list[str]:
    """What speaks for the one that is promoted."""
    try:
        told = beside(folder, promoted)
    except OperatorError as error:
        return [str(error)]
    if told.difference.low > 0:
        text = (
            f"it is worse than {promoted.name}, which is promoted: on {told.shared:,} shared tests "
            f"its log loss is higher by {told.difference.value:.4f} (at least "
            f"{told.difference.low:.4f})"
        )
        return [text]
    return []


def beside(first: Path, second: Path) -> Beside:
    """Two models of one target on their shared tests.

    Raises:
        OperatorError: they have too few in common, or predict different things.
    """
    one, other = read_report(first), read_report(second)
    if (one.horizon_s, one.move_bps, one.labels) != (other.horizon_s, other.move_bps, other.labels):
        raise OperatorError(
            f"{first.name} and {second.name} predict different things: {one.labels} over "
            f"{one.horizon_s:g} s from {one.move_bps:g} bp, {other.labels} over "
            f"{other.horizon_s:g} s from {other.move_bps:g} bp"
        )
    mine, its = _tests(first), _tests(second)
    at, to = _shared(mine, its)
    if len(at) < LEAST_SHARED:
        raise OperatorError(
            f"{first.name} and {second.name} share {len(at)} tests, of {LEAST_SHARED} needed to "
            "compare them; train one of them over a span that takes in the other's"
        )
    label = mine["label"][at].astype(np.intp)
    losses = [
        log_losses(chances_of(held["said"][where], held["flat"][where]), label)
        for held, where in ((mine, at), (its, to))
    ]
    blocks = Blocks(mine["cut_ns"][at], round(one.horizon_s * 1e9), one.seed)
    return Beside(
        len(at), float(losses[0].mean()), float(losses[1].mean()),
        blocks.mean(losses[0] - losses[1]),
    )  # fmt: skip


def _tests(folder: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(folder / OUT_OF_FOLD, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise OperatorError(f"{folder / OUT_OF_FOLD} cannot be read: {error}") from None


def _keys(held: dict[str, np.ndarray]) -> Any:
    """(n) records by which tests are the same: cut, instrument and label."""
    names = ("cut_ns", "instrument", "label")
    keys = np.empty(len(held["cut_ns"]), [(name, held[name].dtype) for name in names])
    for name in names:
        keys[name] = held[name]
    return keys


def _shared(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Places in each of the samples that both have, with the same label, in order of time."""
    first, second = _keys(one), _keys(other)
    _, at, to = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    known = one["label"][at] >= 0
    return at[known], to[known]
