"""What a user sees of downloads: shares, rates, time left; a bar on a terminal, lines elsewhere."""

import io
import sys

import pytest

from processes.cli import progress as module
from processes.cli.progress import Bars
from processes.operations.jobs import share_done
from schemas.history import Progress
from tests.unit.history.test_downloads import make_job

JOB = make_job(start_ms=1000, end_ms=2000)


@pytest.mark.parametrize(
    ("job", "progress", "share"),
    [
        (JOB, Progress(), 0.0),
        (JOB, Progress(rows=5, last_mts=1250), 0.25),
        (make_job(start_ms=1000, end_ms=2000, sort="desc"), Progress(rows=5, last_mts=1250), 0.75),
        (make_job(start_ms=0, end_ms=2000, limit=10), Progress(rows=5, last_mts=10), 0.5),
        (JOB, Progress(rows=5, last_mts=1250, complete=True), 1.0),
        (JOB, Progress(state="done"), 1.0),
    ],
)
def test_how_much_is_done(job, progress, share):
    assert share_done(job, progress) == pytest.approx(share)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now_s = 0.0


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(module, "monotonic_s", lambda: found.now_s)
    return found


def steps(bars, clock, *jobs):
    for second, last in ((10, 1250), (20, 1500), (30, 1750)):
        clock.now_s = second
        for job in jobs:
            bars.report(job, Progress(rows=second * 100, last_mts=last))
            clock.now_s += 0.5
    clock.now_s = 40
    for job in jobs:
        bars.report(job, Progress(state="done", rows=4000, last_mts=1999))


def test_plain_lines_where_nobody_looks(monkeypatch, clock):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    steps(Bars(quiet=False), clock, JOB)
    lines = out.getvalue().splitlines()
    assert len(lines) == 4
    assert "\x1b" not in out.getvalue()
    assert "25%  1000 rows" in lines[0]
    # from 25 % to 50 % in 20 s: as much again is left twice
    assert " 50%  2000 rows  50 rows/s  40 s left" in lines[1]
    assert lines[3].endswith("done")


def test_a_bar_a_job_on_a_terminal_drawn_over_itself(monkeypatch, clock):
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    other = make_job(symbol="tETHUSD", start_ms=1000, end_ms=2000)
    steps(Bars(quiet=False), clock, JOB, other)
    text = out.getvalue()
    assert "[######..................]  25%" in text
    assert "\x1b[2A" in text
    last = text.rpartition("\x1b[J")[2].splitlines()
    assert len(last) == 2
    assert all("100%" in line for line in last)


def test_nothing_of_it_with_json(monkeypatch, clock):
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    steps(Bars(quiet=True), clock, JOB)
    assert out.getvalue() == ""
