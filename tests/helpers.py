"""Small things that tests share."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.layout import fingerprint, layout
from shm.readers import READERS_BYTES, RingReader, format_readers
from shm.ring import RingWriter, format_ring, ring_bytes
from shm.segment import Segment, segment_name

ROOT = Path(__file__).resolve().parent.parent
_never = threading.Event()


def wait_until(condition: Callable[[], object], deadline_s: float = 20.0, what: str = "") -> None:
    """Return when the condition holds; fail when the deadline passes first.

    A condition that is dear to ask is asked less often: the processor time of it, and of whoever
    has to answer it, is what they are short of that it waits for.
    """
    end = time.monotonic() + deadline_s
    while True:
        began = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        assert now < end, f"not within {deadline_s} s: {what or condition}"
        _never.wait(min(max(0.004, 6 * (now - began)), 0.4))


TEST_SLOT = layout(
    [
        ("sequence", "<u8", 0),
        ("check", "<u8", 8),
        ("epoch", "<u8", 16),
        ("body", ("<u8", (13,)), 24),
    ],
    128,
)
TEST_LAYOUT = fingerprint(TEST_SLOT, 1)


@dataclass
class TestRing:
    """A ring for a test, with its segments."""

    __test__ = False

    ring: Segment
    page: Segment

    def writer(self) -> RingWriter:
        return RingWriter(self.ring, self.page, TEST_SLOT, TEST_LAYOUT)

    def reader(self, name: str = "reader", **options: object) -> RingReader:
        return RingReader(self.ring, self.page, TEST_SLOT, TEST_LAYOUT, name, **options)


@contextmanager
def make_ring(instance: str, capacity: int = 64, channel: str = "t") -> Iterator[TestRing]:
    """A ring of test slots that is gone afterwards."""
    ring = Segment.create(segment_name(instance, channel), ring_bytes(128, capacity))
    page = Segment.create(segment_name(instance, f"{channel}.r"), READERS_BYTES)
    try:
        format_ring(ring, 128, capacity, TEST_LAYOUT, generation=1)
        format_readers(page)
        yield TestRing(ring, page)
    finally:
        ring.close()
        page.close()
        Segment.unlink(ring.name)
        Segment.unlink(page.name)


def slots(count: int, start: int = 0) -> np.ndarray:
    """Test slots whose bodies count up from `start`."""
    out = np.zeros(count, TEST_SLOT)
    out["body"][:, 0] = np.arange(start, start + count)
    return out


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run_python(*arguments: str, deadline_s: float = 60) -> "subprocess.CompletedProcess[str]":
    """Run this project's code in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=_environment(),
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=deadline_s,
        check=False,
    )


def python(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    """A child that runs this project's code; the caller ends it and calls communicate()."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(
        [sys.executable, *arguments], env=_environment(), cwd=ROOT, text=True, **pipes
    )


class QuietLog:
    """A log that keeps its lines and writes none."""

    def __init__(self, lines: "list[tuple[str, str, dict]] | None" = None) -> None:
        self.lines = [] if lines is None else lines

    def bind(self, **_: object) -> "QuietLog":
        return QuietLog(self.lines)

    def __getattr__(self, level: str):
        return lambda event, **more: self.lines.append((level, event, more))
