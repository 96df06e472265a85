"""Two habits of numba that processes which start together cannot live with, changed.

To know that it is there, numba imports SciPy's linear algebra before the first kernel. No kernel of
this project multiplies matrices, and where SciPy is installed (the trainers want it) that costs
every process 0.4 s of processor time and 20 MB.

And it keeps compiled kernels by reading an index, adding a line, and writing it back. Two processes
that compile one kernel for different types at the same time both take the first free file name;
whoever asks later for the one may be given the code of the other. Here one at a time does it.

Import this before the first kernel is compiled or loaded; `shm.atomics` does.
"""

import fcntl
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from numba.core import caching

_ASKED_FOR: Final = "scipy.linalg.cython_blas"
_save: Any = caching.IndexDataCacheFile.save


def _import_array_kernels() -> None:
    if _ASKED_FOR in sys.modules:
        return
    sys.modules[_ASKED_FOR] = None  # type: ignore[assignment]  # "not there", for this import only
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules[_ASKED_FOR]


def _save_alone(self: Any, key: Any, data: Any) -> None:
    """Numba's `save`, one process at a time: the lock goes with the file, or with the process."""
    with (Path(self._cache_path) / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _save(self, key, data)


_import_array_kernels()
caching.IndexDataCacheFile.save = _save_alone  # type: ignore[method-assign]
