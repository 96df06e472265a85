"""Work in progress below data/models/.work: what a training that is broken off goes on from.

    rows-<mark>/   columns of a selection of the lake         dataset.py
    run-<mark>/    what each fit of a training said, a file each; others are compared with it too

A mark is a hash of all that a result depends on: what is recorded, settings, seed, versions, and
the program's own code. Files are written whole. One training works at a time; a bounded number of
others' is kept, and the oldest goes.
"""

import hashlib
import io
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np

from config.loader import ROOT
from processes.files import write_whole
from processes.locks import hold
from schemas.errors import OperatorError

FOLDER: Final = ".work"
ROWS_KEPT: Final = 2
RUNS_KEPT: Final = 64
LIBRARIES: Final = ("numpy", "numba", "lightgbm", "scikit-learn", "mlx")
_CODE: Final = (
    "models", "processes/training", "processes/features", "processes/recordings", "schemas",
)  # fmt: skip


def libraries() -> dict[str, str]:
    """Versions of what a fit may depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def mark_of(*told: Any) -> str:
    """A hash of these values, of the libraries and of the code that makes something of them."""
    digest = hashlib.blake2b(msgspec.json.encode([told, libraries()]), digest_size=10)
    for folder in _CODE:
        for path in sorted((ROOT / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Work:
    """The folder, held for as long as this is.

    Raises:
        OperatorError: another training holds it.
    """

    def __init__(self, models: Path) -> None:
        self._folder = models / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._held: IO[str] = hold(
            self._folder / "lock",
            lambda owner: OperatorError(
                f"another dcctl train is at work (process {owner}); wait for its end"
            ),
        )

    def __enter__(self) -> "Work":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def rows(self, mark: str) -> Path:
        """Where rows of this mark are, or will be."""
        place = self._folder / f"rows-{mark}"
        self._tidy("rows", ROWS_KEPT, place)
        return place

    def run(self, mark: str) -> Path:
        """Where fits of this mark are."""
        place = self._folder / f"run-{mark}"
        self._tidy("run", RUNS_KEPT, place)
        place.mkdir(exist_ok=True)
        return place

    def _tidy(self, kind: str, keep: int, wanted: Path) -> None:
        others = [path for path in self._folder.glob(f"{kind}-*") if path != wanted]
        others.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
        for path in others[: max(len(others) - keep + 1, 0)]:
            shutil.rmtree(path, ignore_errors=True)


def kept(path: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays out of a file, made and written if it is not there or cannot be read."""
    try:
        return _read(path)
    except (OSError, ValueError):
        pass
    content = io.BytesIO()
    arrays: Any = make()
    np.savez(content, **arrays)
    write_whole(path, content.getvalue())
    return _read(path)


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
