"""Numba without SciPy's linear algebra, which it would import to know that it is there.

No kernel of this project multiplies matrices. Where SciPy is installed (the trainers want it) the
first kernel would cost every process 0.4 s of processor time and 20 MB for it. Import this before
the first kernel runs.
"""

import sys
from importlib import import_module
from typing import Final

_ASKED_FOR: Final = "scipy.linalg.cython_blas"


def _import_array_kernels() -> None:
    if _ASKED_FOR in sys.modules:
        return
    sys.modules[_ASKED_FOR] = None  # type: ignore[assignment]  # "not there", for this import only
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules[_ASKED_FOR]


_import_array_kernels()
