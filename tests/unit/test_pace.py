"""The pace of commands is kept by all who share a machine."""

import subprocess
import sys
import tempfile
from itertools import pairwise

import pytest

from processes import pace
from processes.pace import Pace
from tests.helpers import ROOT


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(pace, "monotonic_s", lambda: now[0])
    return now


def test_one_turn_an_interval_whoever_takes_it(clock):
    first, second = Pace("gmo", 1.1), Pace("gmo", 1.1)
    assert first.take()
    assert not second.take()
    clock[0] += 1.05
    assert not first.take()
    clock[0] += 0.06
    assert second.take()
    assert not first.take()


def test_venues_do_not_wait_for_each_other(clock):
    assert Pace("gmo", 1.0).take()
    assert Pace("kraken", 1.0).take()


def test_no_interval_is_no_pace():
    idle = Pace("bitfinex", 0.0)
    assert all(idle.take() for _ in range(100))


def test_a_time_left_by_an_earlier_start_of_the_machine_blocks_nobody(clock):
    clock[0] = 5_000_000.0
    assert Pace("gmo", 1.0).take()
    clock[0] = 3.0
    assert Pace("gmo", 1.0).take()


def test_a_damaged_file_blocks_nobody(tmp_path, clock):
    keeper = Pace("gmo", 1.0)
    assert keeper.take()
    next(tmp_path.iterdir()).write_bytes(b"x")
    assert keeper.take()
    assert not keeper.take()


def test_processes_share_it(tmp_path):
    """Three processes that take turns as fast as they can get one turn an interval together."""
    code = (
        "import sys, tempfile, time; tempfile.tempdir = sys.argv[1]\n"
        "from processes.pace import Pace\n"
        "keeper, end, times = Pace('gmo', 0.2), time.monotonic() + 1.5, []\n"
        "while time.monotonic() < end:\n"
        "    if keeper.take(): print(time.monotonic())\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    times = sorted(
        float(line) for child in children for line in child.communicate(timeout=60)[0].split()
    )
    assert len(times) >= 5
    assert min(after - before for before, after in pairwise(times)) > 0.19
