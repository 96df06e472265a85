"""The console as a child process: looks a few times a second, and serves what it sees.

It stands beside the way of an order: no process reads from it or waits for it, it writes to no
ring, and it has a lower priority than all that trade. Its end, by whatever, ends pages alone.
"""

import asyncio
import gc
import logging
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from processes.clock import monotonic_s
from processes.console.desk import Desk
from processes.console.hub import Hub
from processes.console.memory import Memory
from processes.console.sampler import Sampler
from processes.console.secrets import Doorman, open_token, token_path
from processes.runtime import Context, run
from schemas.errors import OperatorError

NICENESS: Final = 10
SERVICE_S: Final = 0.05
RETRY_S: Final = 2.0
SHOWN: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (asked for by the settings)
"""All of a machine's addresses are none that a browser can open."""
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Console:
    """One life."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._settings = context.settings.console
        self._token_file = token_path(self._settings, context.paths.data)
        self.doorman = Doorman(open_token(self._token_file), self._settings.session_days)
        self.sampler = Sampler(context)
        self.memory = Memory(context.paths.data)
        self.desk = Desk(context.paths, context.log, self.sampler.ask_now)
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="disk")
        self._turned_away: dict[str, int] = {}
        self._url = ""
        self._faults: dict[str, str] = {}
        context.bus.on_command("login", self._on_login)

    def _on_login(self, _: dict[str, Any]) -> dict[str, Any]:
        """What `dcctl console` prints: the page's address, good once and for a minute."""
        if not self._url:
            raise OperatorError("the console has no address yet; dcctl status says why")
        code = self.doorman.make_code(time.time())
        return {
            "url": f"{self._url}/login?code={code}",
            "address": self._url,
            "token_file": str(self._token_file),
        }

    def process_names(self) -> list[str]:
        """Of this instance's children."""
        return [child.name for child in self.context.registry.children]

    def hosts(self) -> frozenset[str]:
        """Names under which a browser may come."""
        return LOOPBACK | {self._settings.host.lower()} | set(self._settings.hosts)

    def count(self, reason: str) -> None:
        """Somebody was turned away."""
        before = self._turned_away.get(reason, 0)
        self._turned_away[reason] = before + 1
        if before % 100 == 0:
            self.context.log.warning("turned away", reason=reason, times=before + 1)

    async def live(self) -> None:
        """Serve until told to stop."""
        from processes.console.app import make_app, make_panels  # noqa: PLC0415  (settings first)
        from processes.console.server import make_server  # noqa: PLC0415

        hub = Hub(make_panels(self))
        self.sampler.browsers = lambda: hub.open
        app = make_app(self, hub)
        server = make_server(app, self._settings.header_s, self._settings.connections)
        listener = await self._listen()
        if listener is None:
            return
        self.sampler.begin()
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            self.context.service()
            await asyncio.sleep(SERVICE_S)
        gc.freeze()
        self.context.ready(self._url)
        try:
            await self._look(hub, serving)
        finally:
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)
            await asyncio.to_thread(self.desk.jobs.end)
            await asyncio.to_thread(self.sampler.end)
            self.pool.shutdown(wait=False, cancel_futures=True)
            listener.close()

    async def _listen(self) -> socket.socket | None:
        """The socket; a port that is taken is waited for, and harms nobody."""
        host, port = self._settings.host, self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        while not self.context.stopping:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except OSError as error:
                listener.close()
                self.context.not_ready(
                    f"{host}:{port} cannot be had ({error.strerror}); set console.port, or 0"
                )
                await self._pause(RETRY_S)
                continue
            bound = listener.getsockname()[1]
            shown = SHOWN.get(host) or (f"[{host}]" if ":" in host else host)
            self._url = f"http://{shown}:{bound}"
            return listener
        return None

    async def _pause(self, seconds: float) -> None:
        until_s = monotonic_s() + seconds
        while monotonic_s() < until_s and not self.context.stopping:
            self.context.service()
            await asyncio.sleep(SERVICE_S)

    async def _look(self, hub: Hub, serving: "asyncio.Task[None]") -> None:
        """Look, tell the hub, and answer the supervisor meanwhile."""
        interval_s = 1 / self._settings.updates_per_s
        next_s = monotonic_s()
        while not self.context.stopping and not serving.done():
            self.context.service()
            if monotonic_s() >= next_s:
                next_s = max(next_s + interval_s, monotonic_s())
                view = self.sampler.look()
                await hub.publish(view, self.sampler.version)
                self._tell(hub)
            await asyncio.sleep(min(SERVICE_S, max(next_s - monotonic_s(), 0.001)))

    def _tell(self, hub: Hub) -> None:
        """Say once what could not be drawn."""
        for name, why in hub.faults.items():
            if self._faults.get(name) != why:
                self.context.log.error("panel not drawn", panel=name, reason=why)
        self._faults = dict(hub.faults)


def main(context: Context) -> None:
    """Serve pages and the API."""
    os.nice(NICENESS)
    os.environ.setdefault("NICEGUI_STORAGE_PATH", str(context.paths.data / "state" / "nicegui"))
    os.environ.setdefault("MPLBACKEND", "agg")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    asyncio.run(Console(context).live())


if __name__ == "__main__":
    run(main)
