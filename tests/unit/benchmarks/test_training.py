"""What the benchmark of trainings says is of the training, and not of who measures it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.training import largest_mb

MB = 1 << 20


def took(megabytes: int) -> float:
    return largest_mb([sys.executable, "-c", f"held = b'x' * ({megabytes} << 20)"], os.environ)


def test_memory_is_the_commands_and_not_that_of_who_measures():
    ours = np.ones(400 * MB, np.uint8)
    small, large = took(1), took(100)
    assert small < 100, "a bare Python"
    assert 95 < large - small < 110
    assert len(ours) == 400 * MB


def test_a_command_that_fails_has_no_figure():
    with pytest.raises(subprocess.CalledProcessError):
        largest_mb([sys.executable, "-c", "raise SystemExit(3)"], os.environ)
