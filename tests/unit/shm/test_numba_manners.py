"""What a process does not import, and so does not wait for; what two that compile do not mix."""

import json
import subprocess
import sys

from numba.core.caching import IndexDataCacheFile

from tests.helpers import ROOT, python

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


SAVER = """
import sys
import shm.atomics
from numba.core.caching import IndexDataCacheFile
folder, mine = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    IndexDataCacheFile(folder, f"kernel-{number}", 0).save(mine, mine)
"""


def test_kernels_kept_by_many_at_once_are_each_found_again(tmp_path):
    savers = {name: python("-c", SAVER, str(tmp_path), name, stdin=subprocess.PIPE)
              for name in ("int64", "float32", "array")}  # fmt: skip
    try:
        for saver in savers.values():
            assert saver.stdout.readline() == "ready\n"
        for saver in savers.values():
            saver.stdin.write("go\n")
            saver.stdin.flush()
        for saver in savers.values():
            assert saver.communicate(timeout=60)[1] == ""
    finally:
        for saver in savers.values():
            saver.kill()
            saver.wait()
    for number in range(60):
        kept = IndexDataCacheFile(str(tmp_path), f"kernel-{number}", 0)
        assert {name: kept.load(name) for name in savers} == {name: name for name in savers}
