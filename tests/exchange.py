"""The simulator for tests of programs that are not ours: on a port of loopback, in a thread.

Its markets stand still unless a test moves them, so that what fills does so when the test says.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from aiohttp import web

from processes.simulator.server import Exchange
from schemas.settings import SimulatorSettings

T = TypeVar("T")
CALL_S = 20.0


class StandingExchange:
    """The simulator and its thread."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.ahead_ns = 0
        """So much later than the machine's its clock is."""
        self.exchange = Exchange(settings, lambda: time.time_ns() + self.ahead_ns)
        self.exchange.frozen = True
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._stopping = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()
        assert self._ready.wait(CALL_S)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def _live(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        runner = web.AppRunner(self.exchange.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self.exchange.live(lambda: self._stopping)
        await runner.cleanup()

    def call(self, what: Callable[[], T]) -> T:
        """Do something in the simulator's own thread."""

        async def inside() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(CALL_S)

    def fault(self, kind: str, **more: Any) -> None:
        """Commit a fault of `processes/simulator/faults.py`."""
        self.call(lambda: self.exchange.commit_fault({"kind": kind, **more}))

    def account(self, venue: str, key: str) -> dict[str, Any]:
        """All that is so of an account."""
        return self.call(lambda: self.exchange.venues[venue].accounts.truth(key))

    def close(self) -> None:
        """End it."""
        self._stopping = True
        self._thread.join(CALL_S)


@contextmanager
def standing_exchange(**settings: Any) -> Iterator[StandingExchange]:
    """A simulator for the time of the block."""
    exchange = StandingExchange(SimulatorSettings(**settings))
    try:
        yield exchange
    finally:
        exchange.close()
