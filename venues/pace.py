"""Turns at a venue's endpoints, shared by all processes that name the same folder.

One small file an endpoint holds the earliest UTC time of its next request; whoever holds the file's
lock may look and move it on. Nobody reserves a turn in advance: a process that waits and dies costs
nothing, and a time far ahead can only come of a clock that was set back, so it is not believed.
What a limit allows is spread evenly: requests of one endpoint are never closer than its interval.

May fail with OSError if the folder cannot be written. Never asks the venue anything.
"""

import fcntl
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

BELIEVED_NS: Final = 700_000_000_000
"""Longest wait that an interval or a block can ask for, and some seconds."""
LOCKED_WAIT_S: Final = 0.002
ALL: Final = "all"
"""The file of blocks: a venue that blocks an address blocks all its endpoints."""

UtcNs = Callable[[], int]
Sleep = Callable[[float], Awaitable[None]]


class Pace:
    """One venue's turns."""

    def __init__(self, folder: Path, venue: str, *, utc_ns: UtcNs, sleep: Sleep) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._venue = venue
        self._utc_ns = utc_ns
        self._sleep = sleep

    async def turn(self, endpoint: str, interval_s: float) -> None:
        """Return when a request may be sent; the next of this endpoint may follow an interval on.

        Args:
            endpoint: a name of the venue's rate table.
            interval_s: shortest time between two requests of it.
        """
        interval_ns = round(interval_s * 1e9)
        while True:
            wait_ns = await self._ahead_ns(ALL, 0)
            if wait_ns <= 0:
                wait_ns = await self._ahead_ns(endpoint, interval_ns)
                if wait_ns <= 0:
                    return
            # A little apart, so that many who wait do not all come for the same turn.
            jitter_ns = random.random() * min(interval_ns / 20, 5e6)  # noqa: S311
            await self._sleep((wait_ns + jitter_ns) / 1e9)

    def take(self, endpoint: str, interval_s: float) -> bool:
        """Take the turn if it is free now, without waiting for anybody; true where none is kept."""
        if not interval_s:
            return True
        file = self._open(endpoint)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return self._move_on(file, round(interval_s * 1e9)) <= 0
        except BlockingIOError:
            return False
        finally:
            os.close(file)

    async def block(self, seconds: float) -> None:
        """Nobody asks this venue anything for so long."""
        file = await self._locked(ALL)
        try:
            until = self._utc_ns() + round(min(seconds, BELIEVED_NS / 1e9) * 1e9)
            if until > self._read(file):
                self._write(file, until)
        finally:
            os.close(file)

    async def _ahead_ns(self, name: str, interval_ns: int) -> int:
        """How far ahead the next turn is; if it is now, it is taken."""
        file = await self._locked(name)
        try:
            return self._move_on(file, interval_ns)
        finally:
            os.close(file)

    def _move_on(self, file: int, interval_ns: int) -> int:
        now_ns = self._utc_ns()
        ahead_ns = self._read(file) - now_ns
        if 0 < ahead_ns <= BELIEVED_NS:
            return ahead_ns
        if interval_ns:
            self._write(file, now_ns + interval_ns)
        return 0

    def _open(self, name: str) -> int:
        path = self._folder / f"{self._venue}.{name}"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    async def _locked(self, name: str) -> int:
        file = self._open(name)
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await self._sleep(LOCKED_WAIT_S)
                else:
                    return file
        except BaseException:
            os.close(file)
            raise

    @staticmethod
    def _read(file: int) -> int:
        return int.from_bytes(os.pread(file, 8, 0), "little")

    @staticmethod
    def _write(file: int, time_ns: int) -> None:
        os.pwrite(file, time_ns.to_bytes(8, "little"), 0)
