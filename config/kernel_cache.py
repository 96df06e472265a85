"""Where compiled kernels are kept between runs.

Numba keys its cache by the file a kernel stands in, but a kernel also holds the code of the kernels
it calls in other files, and layouts and sizes as constants. So the cache lives in a folder named
after the state of all source files they may be made of: change one, and all kernels are compiled
again, once.
"""

import hashlib
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("shm", "schemas", "venues", "models", "processes")
WITHOUT_KERNELS = frozenset(
    {
        "alerts", "archive", "bridge", "cli", "console", "databases", "history", "influx", "killer",
        "lake", "operations", "retraining", "simulator", "supervisor",
    }
)  # fmt: skip
"""Rooms of `processes` that no kernel takes anything of, a constant included."""
KEPT = 3
"""Caches of this many versions are kept, for who switches between branches."""


def _digest(root: Path) -> str:
    """Stands for the state of every file that a kernel may be made of."""
    digest = hashlib.blake2b(sys.version.encode(), digest_size=6)
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            if package == "processes" and path.relative_to(root).parts[1] in WITHOUT_KERNELS:
                continue
            found = path.stat()
            digest.update(f"{path.relative_to(root)} {found.st_size} {found.st_mtime_ns}".encode())
    return digest.hexdigest()


def use_kernel_cache(root: Path = ROOT) -> Path:
    """Point numba at the folder for this version of the code; call before numba is imported.

    Children inherit the choice through the environment, and skip the hashing.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return Path(os.environ["NUMBA_CACHE_DIR"])
    assert "numba" not in sys.modules, "numba was imported before its cache was chosen"
    caches = root / ".cache" / "kernels"
    cache = caches / _digest(root)
    if not cache.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)  # another process may be first
        except OSError:  # a read-only tree: numba finds a place of its own below the home folder
            return cache
        for old in _by_age(caches)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(cache)
    return cache


def _by_age(caches: Path) -> list[Path]:
    """Newest first; one that another process takes away meanwhile is none."""
    found: dict[Path, int] = {}
    for path in caches.iterdir():
        with suppress(FileNotFoundError):
            found[path] = path.stat().st_mtime_ns
    return sorted(found, key=lambda path: found[path], reverse=True)
