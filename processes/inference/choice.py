"""Which version of a family inference runs, the promoted or the shipped one, if it is sound.

A version is taken only after all of this went well: manifest and weights can be read and belong
together, they are for today's rows, every weight is a number, the arrays are those of the family,
and a real forward pass gives five numbers. Fails with ModelError, in words that say what to type.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.base import Manifest, ModelError, load_manifest, load_weights
from models.blend import Blend
from models.families import FAMILIES
from models.family import Model, Weights
from models.network import Network
from models.rules import Rule
from models.samples import OUTPUTS
from processes import model_registry
from schemas import features
from schemas.errors import OperatorError
from schemas.features import WIDTH
from schemas.predictions import BLEND, NETWORK, PLACE_OF, SPEAKERS
from schemas.tape import LEVELS


class Candidate(NamedTuple):
    """A version that is sound."""

    family: str
    manifest: Manifest
    weights: Weights
    model: Model | Blend
    folder: Path

    @property
    def place(self) -> str:
        """Where it would stand."""
        return place_of(self.family)


def place_of(family: str) -> str:
    """Where a family stands."""
    return BLEND if family == BLEND else PLACE_OF[family]


def chosen(models: Path, family: str, shipped: Path) -> Candidate | None:
    """The version of a family that is promoted, or shipped; None if there is neither.

    Raises:
        ModelError: there is one, and it is not sound.
    """
    try:
        folder = model_registry.promoted(models, family)
    except OperatorError as error:
        raise ModelError(str(error)) from None
    if folder is not None:
        return opened(folder, family)
    return opened(shipped, family) if family == NETWORK else None


def version(models: Path, family: str, name: str, fingerprint: int, shipped: Path) -> Candidate:
    """The version of a family that something was made by.

    Raises:
        ModelError: it is not there any more, or not sound.
    """
    places = [models / family / name, *([shipped] if family == NETWORK else [])]
    for folder in places:
        if folder.is_dir():
            found = opened(folder, family)
            if found.manifest.fingerprint == fingerprint:
                return found
    raise ModelError(f"made by {family} {name}, which is not there any more")


def opened(folder: Path, family: str) -> Candidate:
    """A version out of its folder, looked at.

    Raises:
        ModelError: it is not sound, or inference cannot feed it.
    """
    try:
        return _opened(folder, family)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{folder} cannot be loaded: {error!r}; train it anew") from error


def _opened(folder: Path, family: str) -> Candidate:
    manifest = load_manifest(folder, features.FINGERPRINT)
    if manifest.family != family or len(manifest.columns) != WIDTH:
        raise ModelError(f"{folder} is a {manifest.family} of {len(manifest.columns)} columns")
    weights = load_weights(folder)
    if family == BLEND:
        blend = Blend.restored(weights)
        strangers = set(manifest.members) - set(SPEAKERS)
        if strangers or len(manifest.members) != blend.members:
            raise ModelError(f"{folder} does not say which models it blends: train it anew")
        return Candidate(family, manifest, weights, blend, folder)
    model = FAMILIES[family].restored(weights)
    if family == NETWORK and isinstance(model, Network) and model.sees_book:
        raise ModelError(
            f"{folder} sees the book, which the network's chain does not feed: type dcctl train "
            "tcn, then dcctl models promote tcn last, or run the cnn"
        )
    try_out(model)
    return Candidate(family, manifest, weights, model, folder)


def try_out(model: Model) -> None:
    """A real forward pass, which compiles what the model needs too.

    Raises:
        ModelError: it does not give five numbers.
    """
    row, book = np.zeros((1, WIDTH), np.float32), np.ones((1, 4 * LEVELS), np.float32)
    # As inference calls it: 64-bit numbers of instruments.
    said = model.follower(1).step(row, book, np.ones(1), np.zeros(1, np.int64))
    if said.shape != (1, OUTPUTS) or not np.isfinite(said).all():
        raise ModelError(f"{model.family} says {said.tolist()} of an empty row: train it anew")


def is_rule(family: str) -> bool:
    """Whether nothing of it is ever fitted."""
    return family != BLEND and issubclass(FAMILIES[family], Rule)
