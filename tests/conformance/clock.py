"""An event loop whose time is not the machine's: where nothing is due and nothing comes, it jumps.

Sockets are real and both ends live in the loop, so what was sent has arrived by the next look; only
then is the time of the next timer taken for now. Two hours of waiting pass in a
second, and no test sleeps.
"""

import asyncio
import selectors
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

START_NS = 1_790_000_000_000_000_000
LOOKS = 4
"""Looks at the sockets before time passes: what this process sent to itself is there by then."""


class Clock:
    """The loop's time; starts at an ordinary day."""

    def __init__(self) -> None:
        self.passed_ns = 0

    def now_ns(self) -> int:
        return START_NS + self.passed_ns

    def now_s(self) -> float:
        return 1000.0 + self.passed_ns / 1e9


class JumpingSelector(selectors.DefaultSelector):
    """Looks at the sockets, and passes the time instead of waiting for it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            return super().select(1.0)
        for _ in range(LOOKS if timeout else 1):
            found = super().select(0)
            if found:
                return found
        self._clock.passed_ns += int(timeout * 1e9) + 1 if timeout else 0
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop on such a clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(JumpingSelector(clock))
        self._jumping = clock

    def time(self) -> float:
        return self._jumping.now_s()


def run_in(clock: Clock, story: Coroutine[Any, Any, None], longest_s: float) -> None:
    """Run a story to its end, within a deadline of its own time."""
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(clock)) as runner:
        runner.run(asyncio.wait_for(story, longest_s))


def patch_time(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Every module that reads the monotonic clock by name reads this one."""
    from processes import clock as real

    name: str
    original: Callable[[], float] = real.monotonic_s
    for module in list(sys.modules.values()):
        name = getattr(module, "__name__", "")
        if name.startswith("processes.") and getattr(module, "monotonic_s", None) is original:
            monkeypatch.setattr(module, "monotonic_s", clock.now_s)
