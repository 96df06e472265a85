"""The simulator on a loopback port under a clock that stands still until it is moved."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from aiohttp import web

from processes.simulator.server import Exchange
from schemas.settings import SimulatorSettings

START_NS = 1_760_000_000_000_000_000
SECOND = 10**9
PAST_S = 20.0
"""Enough for a snapshot of trades; most of a world's opening is its markets' past."""


def run(story) -> None:
    """Run one coroutine to its end, within a deadline."""
    asyncio.run(asyncio.wait_for(story, 60))


class Watcher:
    """A client that keeps every frame it gets."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[str] = []
        self.pings = 0
        self.code: int | None = None
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                self.frames.append(message.data)
            elif message.type == aiohttp.WSMsgType.PING:
                self.pings += 1
                await self.socket.pong(message.data)
        self.code = self.socket.close_code

    async def send(self, **request: Any) -> None:
        await self.socket.send_str(json.dumps(request))

    @property
    def values(self) -> list[Any]:
        return [json.loads(frame) for frame in self.frames]

    def of(self, channel: str, kind: str = "") -> list[dict]:
        """Object frames of one channel."""
        return [
            v
            for v in self.values
            if isinstance(v, dict) and v.get("channel") == channel and kind in v.get("type", "")
        ]

    @property
    def gone(self) -> bool:
        return self.task.done()


class World:
    """An exchange, its port, its clients."""

    def __init__(self, sent_log: Any = None, **settings: Any) -> None:
        self.now_ns = START_NS
        options = {"symbols": (), "events_per_s": 40.0, "past_s": PAST_S, **settings}
        self.exchange = Exchange(SimulatorSettings(**options), lambda: self.now_ns, sent_log)
        self._stack = AsyncExitStack()
        self.watchers: list[Watcher] = []

    async def __aenter__(self) -> "World":
        runner = web.AppRunner(self.exchange.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self.http = await self._stack.enter_async_context(aiohttp.ClientSession())
        return self

    async def __aexit__(self, *_: object) -> None:
        for watcher in self.watchers:
            watcher.task.cancel()
            await watcher.socket.close()
        await self._stack.aclose()

    async def watch(self, path: str) -> Watcher:
        known = self.exchange._next_client
        socket = await self.http.ws_connect(self.base + path, autoping=False, max_msg_size=0)
        watcher = Watcher(socket)
        self.watchers.append(watcher)
        await self.until(lambda: watcher.gone or self.exchange._next_client > known)
        await self.settle()
        return watcher

    async def get(self, path: str, **query: Any) -> Any:
        async with self.http.get(self.base + path, params=query) as reply:
            return json.loads(await reply.text())

    async def until(self, condition: Callable[[], object], deadline_s: float = 10.0) -> None:
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, [w.frames[-3:] for w in self.watchers]
            await asyncio.sleep(0.002)

    async def settle(self) -> None:
        """All that was written on either side has been read on the other one."""
        before = -1
        while before != self._traffic():
            before = self._traffic()
            for _ in range(20):
                await asyncio.sleep(0.0005)

    def _traffic(self) -> int:
        waiting = sum(len(client.outbox) for client, _ in self.exchange.clients.values())
        return sum(len(w.frames) for w in self.watchers) + waiting

    async def step(self, seconds: float, pace_s: float = 0.05) -> None:
        """Move the clock on, a tick at a time."""
        await self.settle()
        for _ in range(max(1, round(seconds / pace_s))):
            self.now_ns += int(pace_s * 1e9)
            self.exchange.tick()
        await self.settle()
