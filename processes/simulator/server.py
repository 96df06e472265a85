"""The sockets of the simulator: WebSocket and REST on one loopback port, and its faults.

Faults are committed on request (bus command `fault`) or by themselves at the rates of the settings:
cut, silence, heartbeats_only, gap, bad_checksum, restart, maintenance, down, slow.
"""

import asyncio
import json
import random
from collections.abc import Callable
from typing import IO, Any

from aiohttp import WSMsgType, web

from processes.simulator.bitfinex import Connection, History
from processes.simulator.flow import Flow, make_market
from schemas.errors import OperatorError
from schemas.settings import SimulatorSettings

TICK_S = 0.01
OUTBOX_FRAMES = 200_000
HISTORY_S = 120.0
FAULTS = (
    "cut", "silence", "heartbeats_only", "gap", "bad_checksum", "restart", "maintenance", "down",
    "slow",
)  # fmt: skip


class Client:
    """One open socket."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.outbox: asyncio.Queue[str] = asyncio.Queue(OUTBOX_FRAMES)
        self.silent_until_ns = 0
        self.slow_until_ns = 0
        self.connection: Connection


class Exchange:
    """The markets and everybody who watches them."""

    def __init__(
        self,
        settings: SimulatorSettings,
        now_ns: Callable[[], int],
        sent_log: IO[str] | None = None,
    ) -> None:
        self.settings = settings
        self.frames_sent = 0
        self.clients: dict[int, tuple[Client, web.WebSocketResponse]] = {}
        self._now_ns = now_ns
        self._start_ns = now_ns()
        self._sent_log = sent_log
        self._down_until_ns = 0
        self._maintenance_until_ns = 0
        self._next_client = 1
        self._draw = random.Random(f"{settings.seed} faults")  # noqa: S311
        self._due = self._plan_faults()
        self.histories: dict[str, History] = {}
        self._flows: list[Flow] = []
        if sent_log is not None:
            self._log({"start": self._start_ns})
        first_trade = self._start_ns // 10**6
        for symbol in settings.symbols:
            market, ticks = make_market(symbol, first_trade)
            history = History(market)
            market.on_trade = self._note(history)
            self.histories[symbol] = history
            flow = Flow(market, ticks, settings.seed, settings.events_per_s)
            # Some past, so that candles and trades are there from the first moment.
            flow.advance(HISTORY_S, self._start_ns - int(HISTORY_S * 1e9))
            self._flows.append(flow)

    def _note(self, history: History) -> Callable[[Any], None]:
        def note(trade: Any) -> None:
            history.add(trade)
            if self._sent_log is not None:
                self._log({"trade": trade.id, "symbol": history.market.symbol, "t": trade.time_ns})

        return note

    def _log(self, line: dict[str, Any]) -> None:
        assert self._sent_log is not None
        self._sent_log.write(json.dumps(line) + "\n")
        self._sent_log.flush()

    # ---- time

    async def live(self, stopping: Callable[[], bool]) -> None:
        """Move the markets on and tell everybody, until told to stop."""
        while not stopping():
            self.tick()
            await asyncio.sleep(TICK_S)

    def tick(self) -> None:
        """All that is due now."""
        now_ns = self._now_ns()
        passed_s = (now_ns - self._start_ns) / 1e9
        for flow in self._flows:
            flow.advance(HISTORY_S + passed_s, self._start_ns - int(HISTORY_S * 1e9))
        if self._maintenance_until_ns and now_ns >= self._maintenance_until_ns:
            self._maintenance_until_ns = 0
            for client, _ in self.clients.values():
                client.connection.announce(20061, "Maintenance ended")
        for name, due_ns in list(self._due.items()):
            if now_ns >= due_ns:
                self._due = {**self._due, name: self._next_due(name)}
                self.commit_fault({"kind": name, "seconds": 2.0})
        if not self._maintenance_until_ns:
            for client, _ in self.clients.values():
                client.connection.tick(now_ns)

    def _plan_faults(self) -> dict[str, int]:
        rates = self.settings.faults
        names = [n for n in ("cut", "gap", "bad_checksum", "silence") if getattr(rates, f"{n}_s")]
        return {name: self._next_due(name) for name in names}

    def _next_due(self, name: str) -> int:
        mean_s = getattr(self.settings.faults, f"{name}_s")
        return self._now_ns() + int(self._draw.expovariate(1 / mean_s) * 1e9)

    def commit_fault(self, arguments: dict[str, Any]) -> int:
        """Commit one fault on every client; how many there were.

        Raises:
            OperatorError: there is no fault of this kind.
        """
        kind = arguments.get("kind")
        if kind not in FAULTS:
            raise OperatorError(f"no fault {kind}; there are {', '.join(FAULTS)}")
        until_ns = self._now_ns() + int(float(arguments.get("seconds", 5)) * 1e9)
        if kind in {"down", "restart"} and arguments.get("seconds"):
            self._down_until_ns = until_ns
        if kind == "maintenance":
            self._maintenance_until_ns = until_ns
        for client, socket in list(self.clients.values()):
            connection = client.connection
            if kind == "restart":
                connection.announce(20051, "Stopping. Please try to reconnect")
            if kind in {"cut", "down"}:
                _abort(socket)
            elif kind == "silence":
                client.silent_until_ns = until_ns
            elif kind == "heartbeats_only":
                connection.heartbeats_only_until_ns = until_ns
            elif kind == "gap":
                connection.skip_sequence = True
            elif kind == "bad_checksum":
                symbols = list(self.histories)
                connection.spoil_checksum = arguments.get("symbol") or self._draw.choice(symbols)
            elif kind == "maintenance":
                connection.announce(20060, "Maintenance started")
            elif kind == "slow":
                client.slow_until_ns = until_ns
        return len(self.clients)

    # ---- sockets

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        """Serve one client to its end."""
        if self._now_ns() < self._down_until_ns:
            return web.Response(status=503)
        socket = web.WebSocketResponse(compress=False, autoping=True)
        await socket.prepare(request)
        client = Client(self._next_client)
        self._next_client += 1
        client.connection = Connection(
            self.histories,
            client.outbox.put_nowait,
            self._now_ns(),
            first_channel=client.number * 1000 + 1,
            operative=not self._maintenance_until_ns,
        )
        self.clients[client.number] = (client, socket)
        sender = asyncio.create_task(self._send(client, socket))
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    client.connection.receive(message.data, self._now_ns())
        finally:
            del self.clients[client.number]
            sender.cancel()
        return socket

    async def _send(self, client: Client, socket: web.WebSocketResponse) -> None:
        while True:
            frame = await client.outbox.get()
            now_ns = self._now_ns()
            if now_ns < client.silent_until_ns:
                await asyncio.sleep((client.silent_until_ns - now_ns) / 1e9)
            if now_ns < client.slow_until_ns:
                await asyncio.sleep(0.05)
            if self._sent_log is not None:
                self._log({"client": client.number, "t": now_ns, "frame": frame})
            await socket.send_str(frame)
            self.frames_sent += 1

    async def status(self, _: web.Request) -> web.Response:
        """GET /v2/platform/status."""
        return web.json_response([0 if self._maintenance_until_ns else 1])

    async def trades(self, request: web.Request) -> web.Response:
        """GET /v2/trades/{symbol}/hist, newest first."""
        history = self._history(request)
        limit = min(int(request.query.get("limit", "125")), 10_000)
        rows = [
            [t.id, t.time_ns // 10**6, t.side * t.units / 1e8, float(history.market.price(t.ticks))]
            for t in reversed(history.trades)
        ]
        return web.json_response(rows[:limit])

    async def candles(self, request: web.Request) -> web.Response:
        """GET /v2/candles/trade:{timeframe}:{symbol}/hist, newest first."""
        history = self._history(request)
        candles = history.candles.get(request.match_info["timeframe"])
        if candles is None:
            return _refusal("time_interval: invalid")
        price = history.market.price
        rows = [
            [start, *(float(price(ticks)) for ticks in prices), units / 1e8]
            for start, *prices, units in reversed(candles)
        ]
        return web.json_response(rows[: min(int(request.query.get("limit", "100")), 10_000)])

    def _history(self, request: web.Request) -> History:
        symbol = request.match_info["symbol"]
        if symbol not in self.histories:
            raise web.HTTPInternalServerError(
                text='["error",10020,"symbol: invalid"]', content_type="application/json"
            )
        return self.histories[symbol]

    def application(self) -> web.Application:
        """Routes of the one port."""
        application = web.Application()
        application.router.add_get("/ws/2", self.websocket)
        application.router.add_get("/v2/platform/status", self.status)
        application.router.add_get("/v2/trades/{symbol}/hist", self.trades)
        application.router.add_get(
            r"/v2/candles/trade:{timeframe}:{symbol:[^/]+}/hist", self.candles
        )
        return application


def _refusal(text: str) -> web.Response:
    return web.json_response(["error", 10020, text], status=500)


def _abort(socket: web.WebSocketResponse) -> None:
    """Cut the TCP connection, without a close frame."""
    request = socket._req  # noqa: SLF001  (no public way to the transport of a response)
    if request is not None and request.transport is not None:
        request.transport.abort()
