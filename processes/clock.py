"""The one place that reads the real clock.

All times are int64 nanoseconds UTC: the monotonic clock plus an offset that is fixed for the life
of a session, so that time never jumps and two processes of a machine agree to the nanosecond.
"""

import time
from datetime import UTC, datetime


class Clock:
    """Nanoseconds UTC on the monotonic clock."""

    def __init__(self, offset_ns: int) -> None:
        self.offset_ns = offset_ns

    def now_ns(self) -> int:
        """The session's time."""
        return time.monotonic_ns() + self.offset_ns


def measure_offset_ns() -> int:
    """What to add to the monotonic clock to get UTC, as the system clock has it now."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    return wall - (before + time.monotonic_ns()) // 2


def monotonic_s() -> float:
    """For timeouts and intervals that are nobody's data."""
    return time.monotonic()


def nap(seconds: float) -> None:
    """Sleep, for command-line programs that poll."""
    time.sleep(seconds)


def utc_text(time_ns: int) -> str:
    """ISO 8601 with milliseconds: 2026-11-21T10:00:00.123Z."""
    moment = datetime.fromtimestamp(time_ns / 1e9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns // 1_000_000 % 1000:03d}Z"


def file_stamp(time_ns: int) -> str:
    """As file names carry it: 20261121T100000Z."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y%m%dT%H%M%SZ}"


def day_of(time_ns: int) -> str:
    """The UTC day, 2026-11-21."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%d}"
