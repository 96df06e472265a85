"""Sleep of the machine, noticed when it is over.

Two things that look alike from outside and are not. While a machine sleeps its monotonic clock
stands (macOS and Linux), so nothing here was late, but the other ends of all sockets have long
given us up: the system's clock has moved on against ours. And a process, or a virtual machine, may
be stopped and go on: its monotonic clock has moved, and whoever beats is late through no fault.

A step of the system's clock by more than `JUMP_S` looks like sleep; a connection anew is its price.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from processes.clock import measure_offset_ns, monotonic_s
from schemas.errors import UnavailableError

JUMP_S: Final = 5.0


class Lost(NamedTuple):
    """What two looks have missed, in seconds; 0 for less than `JUMP_S`."""

    asleep_s: float
    """The system's clock went on, ours did not."""
    stopped_s: float
    """Ours went on, and nobody looked."""


class WakeWatch:
    """Look in every turn of a loop that turns several times a second."""

    def __init__(
        self,
        offset_ns: Callable[[], int] = measure_offset_ns,
        now_s: Callable[[], float] = monotonic_s,
    ) -> None:
        self._offset_ns = offset_ns
        self._now_s = now_s
        self._offset_then_ns = offset_ns()
        self._then_s = now_s()

    def look(self) -> Lost:
        """What was lost since the look before."""
        offset_ns, now_s = self._offset_ns(), self._now_s()
        asleep_s = (offset_ns - self._offset_then_ns) / 1e9
        stopped_s = now_s - self._then_s
        self._offset_then_ns, self._then_s = offset_ns, now_s
        return Lost(
            asleep_s if asleep_s > JUMP_S else 0.0, stopped_s if stopped_s > JUMP_S else 0.0
        )


async def end_after_sleep(every_s: float, watch: WakeWatch | None = None) -> None:
    """Stand beside a connection for as long as the machine is awake.

    Raises:
        UnavailableError: it was asleep; what the connection shows is not what it seems.
    """
    watch = watch or WakeWatch()
    while True:
        await asyncio.sleep(every_s)
        asleep_s = watch.look().asleep_s
        if asleep_s:
            raise UnavailableError(f"the machine was asleep for {asleep_s:.0f} s")
