"""The online model of the line-up: it learns from rows whose labels have matured, each once.

What it has learnt is a function of the feature rows in their order and of nothing else: not of how
they were drained, and not of restarts. A drain is predicted by what was learnt from the rows before
it, and learnt from after it was published. What a restart goes on from is the weights, the rows
that wait, and the last row taken, in one file; a file of another version, or damaged, is none.
"""

import hashlib
import io
from typing import Final, NamedTuple

import numpy as np

from models.base import Manifest, ModelError
from models.family import OnlineModel, Weights
from models.maturing import Maturing
from models.samples import Target
from schemas.features import WIDTH

_PLACE: Final = "learner_place"
"""(3) int64: fingerprint of the version, session, sequence of the last row."""


class Kept(NamedTuple):
    """What was kept of a learner."""

    fingerprint: int
    session: int
    sequence: int
    arrays: Weights


def read_kept(content: bytes) -> Kept:
    """What is in a file of a learner.

    Raises:
        ModelError: it is none, or damaged.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        fingerprint, session, sequence = arrays.pop(_PLACE).tolist()
    except Exception as error:  # noqa: BLE001  (zipfile and numpy raise whatever they stumble over)
        raise ModelError(f"what a model had learnt cannot be read: {error!r}") from None
    bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if bad:
        raise ModelError(f"what a model had learnt is damaged: {', '.join(bad)}")
    return Kept(fingerprint, session, sequence, arrays)


class Learner:
    """An online model that is being fed.

    Args:
        model: of the version that the manifest is of. session: of the rows. gap_s: rows of an
            instrument further apart have a gap between. waiting: rows of an instrument whose labels
            are waited for, at the most. after: sequence of the row before the first one.

    Raises:
        ModelError: its labels are not moves over a horizon, so that they cannot be made here.
    """

    def __init__(
        self,
        model: OnlineModel,
        manifest: Manifest,
        session: int,
        *,
        instruments: int,
        gap_s: float,
        waiting: int,
        after: int,
    ) -> None:
        if manifest.labels != "move":
            raise ModelError(
                f"{manifest.family} does not learn here: its labels are {manifest.labels}; "
                "train it with training.labels = move"
            )
        self.sequence = after
        """The last row taken."""
        self.learnt = 0
        self.is_as_trained = False
        """It has learnt nothing yet, and waits for nothing: its version says all of it."""
        self._model = model
        self._session = session
        self._fingerprint = manifest.fingerprint
        self._maturing = Maturing(
            instruments, Target(manifest.horizon_s, manifest.move_bps), gap_s,
            columns=WIDTH, each=waiting, not_before_ns=manifest.trained_to_ns,
        )  # fmt: skip
        self.state = state_of(model.weights())
        """Fingerprint of what it has learnt: what predictions carry."""

    @property
    def lost(self) -> int:
        """Rows given up, since too many waited."""
        return self._maturing.lost

    def take(self, rows: np.ndarray) -> None:
        """Learn what these feature slots tell of the ones before; in order, none twice."""
        if not len(rows):
            return
        self.sequence = int(rows["sequence"][-1])
        self.is_as_trained = False
        samples = self._maturing.take(rows)
        if samples is None:
            return
        self._model.partial_fit(samples)
        self.learnt += samples.count
        self.state = state_of(self._model.weights())

    def skip(self, after: int) -> None:
        """Rows are missing: no label leads over them; on after this one."""
        self._maturing.forget()
        self.sequence = after

    # ---- over restarts

    def arrays(self) -> Weights:
        """All that a restart goes on from: copies."""
        place = np.array([self._fingerprint, self._session, self.sequence])
        return {_PLACE: place, **self._model.weights(), **self._maturing.state()}

    def go_on(self, kept: Kept) -> None:
        """Wait for what was waited for when that was kept; its weights are the model's already."""
        self._maturing.restore(kept.arrays)
        self.sequence = kept.sequence


def encode(arrays: Weights) -> bytes:
    """A learner's arrays as a file."""
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def mark_of(arrays: Weights) -> str:
    """The name of a file of these arrays."""
    return f"{state_of(arrays):016x}"


def state_of(arrays: Weights) -> int:
    """63 bits that differ when an array does; never 0, which means that nothing learns."""
    digest = hashlib.blake2b(digest_size=8)
    for name, array in arrays.items():
        digest.update(name.encode())
        digest.update(array.tobytes())
    return int.from_bytes(digest.digest(), "little") >> 1 or 1
