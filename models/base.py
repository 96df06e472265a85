"""What every model carries with it: a manifest that says what it is, and refuses what it is not."""

import hashlib
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import msgspec
import numpy as np

from schemas.errors import DataControllerError

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "weights.npz"


class ModelError(DataControllerError):
    """A model cannot be loaded, or is not for this pipeline."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything there is to know about a trained model but its weights."""

    name: str
    family: str
    version: str
    features: int
    """`schemas.features.FINGERPRINT` of the rows it was trained on."""
    columns: list[str]
    horizon_s: float
    move_bps: float
    """Moves smaller than this count as flat."""
    trained_on: str
    made_by: str
    metrics: dict[str, float]
    libraries: dict[str, str]
    weights: str
    """BLAKE2 of the weights file: a manifest beside other weights is refused."""
    trained_from_ns: int = 0
    """Cut of the first and of the last sample it was fitted on; 0 where there was no recording."""
    trained_to_ns: int = 0
    expires_ns: int = 0
    """From when on it is too old to be promoted; 0 = never."""
    seed: int = 0
    instruments: list[str] = []
    """`venue:symbol` of the markets it was fitted on."""
    labels: str = "move"
    """What up and down mean: a move over the horizon, or `triple_barrier`."""
    members: list[str] = []
    """Of a blend: the places of the models it is made of, in the order of its weights."""

    @property
    def fingerprint(self) -> int:
        """The 63 bits that predictions carry."""
        digest = hashlib.blake2b(f"{self.name} {self.version} {self.weights}".encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1


def hash_of(path: Path) -> str:
    """What a manifest says of its weights."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def load_manifest(folder: Path, features: int) -> Manifest:
    """The manifest of a model folder, checked against its weights and our rows.

    Raises:
        ModelError: it is missing, damaged, or for another feature layout.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        found = hash_of(folder / WEIGHTS)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"no model can be read in {folder}: {error}") from None
    if found != manifest.weights:
        raise ModelError(f"{folder}: the weights are not those of the manifest")
    if manifest.features != features:
        raise ModelError(f"{folder}: made for another feature layout, train it anew")
    return manifest


def load_weights(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a model.

    Raises:
        ModelError: they cannot be read, or hold something that is no number.
    """
    try:
        # Opened here: of a torn archive numpy leaves its own file open.
        with (folder / WEIGHTS).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            weights = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise ModelError(f"{folder / WEIGHTS} cannot be read: {error}") from None
    bad = [name for name, array in weights.items() if not np.isfinite(array).all()]
    if bad:
        raise ModelError(f"{folder / WEIGHTS}: {', '.join(bad)} hold numbers that are not finite")
    return weights


def save_model(folder: Path, manifest: Manifest, weights: dict[str, np.ndarray]) -> Manifest:
    """Write weights and manifest; the manifest with the weights' hash filled in."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / WEIGHTS, **weights)  # type: ignore[arg-type]
    sealed = msgspec.structs.replace(manifest, weights=hash_of(folder / WEIGHTS))
    text = msgspec.json.format(msgspec.json.encode(sealed), indent=2)
    (folder / MANIFEST).write_bytes(text + b"\n")
    return sealed
