"""What every conformance test has: a clock that jumps, and a pace file of its own."""

import tempfile

import pytest

from tests.conformance.clock import Clock, patch_time


@pytest.fixture
def clock(monkeypatch, tmp_path) -> Clock:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clock = Clock()
    patch_time(monkeypatch, clock)
    return clock
