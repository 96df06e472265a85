"""What a process does not import, and so does not wait for when it is started again."""

import json
import subprocess
import sys

from tests.helpers import ROOT

CHILD = """
import json, sys
import processes.execution.main, processes.execution.brokers.registry
from shm.atomics import read_word
import numba
kernel = numba.njit(lambda array: array.sum())
import numpy
assert kernel(numpy.ones(3)) == 3.0
print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))
import scipy.linalg.cython_blas
"""


def test_a_kernel_needs_no_linear_algebra_and_paper_no_network():
    heavy = ["scipy.linalg", "aiohttp", "pyarrow", "sklearn"]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *heavy],
        cwd=ROOT, text=True, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []
