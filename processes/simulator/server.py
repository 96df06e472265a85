"""The sockets of the simulator: every venue's WebSocket and REST on one loopback port.

    venue     WebSocket                  REST
    bitfinex  /ws/2                      /bitfinex/v2/..., /v2/...
    kraken    /kraken/v2, /kraken/l3,    /kraken/0/public/..., /kraken/0/private/...
              /kraken/v2-auth
    gmo       /gmo/ws/public/v1,         /gmo/public/v1/..., /gmo/private/v1/...
              /gmo/ws/private/v1/TOKEN

A venue is served when it has symbols, or a recording to play back. Faults are committed on request
(`commit_fault`, bus command `fault`; the list stands in faults.py) or by themselves at the rates of
the settings. What is so can be asked for (`truth`, bus command `truth`). Time comes from the clock
that is given; frames leave in order, and a client that does not read is cut. It never touches a
venue's protocol: that is the Conversation's.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import IO, Any

from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler

from processes.simulator.bitfinex_venue import BitfinexVenue
from processes.simulator.conversation import Conversation, Ping, Torn, seeded
from processes.simulator.faults import Fault, garbage, read_fault
from processes.simulator.flow import Flow
from processes.simulator.gmo_venue import GmoVenue
from processes.simulator.history import History
from processes.simulator.kraken_venue import KrakenVenue
from processes.simulator.market import Trade
from processes.simulator.playback import PlaybackVenue
from processes.simulator.venue import Venue
from schemas.errors import OperatorError
from schemas.settings import SimulatorSettings

TICK_S = 0.01
OUTBOX_FRAMES = 200_000
SLOW_NS = 50_000_000
FRAMES_REMEMBERED = 16
"""Of which garbage is made."""
HTTP_DOWN = 503
REST_SLOW_S = 3.0


class Client:
    """One open socket."""

    def __init__(self, number: int, venue: Venue) -> None:
        self.number = number
        self.venue = venue
        self.outbox: deque[str] = deque()
        self.wake = asyncio.Event()
        self.held_until_ns = 0
        self.slow_until_ns = 0
        self.recent: deque[str] = deque(maxlen=FRAMES_REMEMBERED)
        self.conversation: Conversation

    def put(self, frame: str) -> None:
        """Take a frame that is to leave."""
        self.outbox.append(frame)
        self.wake.set()


class Exchange:
    """The venues and everybody who watches them."""

    def __init__(
        self,
        settings: SimulatorSettings,
        now_ns: Callable[[], int],
        sent_log: IO[str] | None = None,
    ) -> None:
        self.settings = settings
        self.frames_sent = 0
        self.frozen = False
        """The markets stand still; all that was due is still told."""
        self.clients: dict[int, tuple[Client, web.WebSocketResponse]] = {}
        self._now_ns = now_ns
        self._start_ns = now_ns()
        self._sent_log = sent_log
        self._down_until_ns: dict[str, int] = {}
        self._rest_down_until_ns: dict[str, int] = {}
        self._rest_slow_until_ns: dict[str, int] = {}
        self._maintenance_until_ns: dict[str, int] = {}
        self._storm: dict[str, tuple[int, str]] = {}
        self._next_client = 1
        self._draw = seeded(settings.seed, "faults")
        self._due = self._plan_faults()
        if sent_log is not None:
            self._log({"start": self._start_ns})
        self.venues = {venue.name: venue for venue in self._make_venues()}
        self._flows: list[tuple[Flow, int]] = [
            (flow, venue.begin_ns) for venue in self.venues.values() for flow in venue.flows
        ]

    def _make_venues(self) -> list[Venue]:
        settings = self.settings
        kinds: list[tuple[type[Venue], Sequence[str], tuple[str, ...]]] = [
            (BitfinexVenue, settings.symbols, settings.playback.bitfinex),
            (KrakenVenue, settings.kraken_symbols, settings.playback.kraken),
            (GmoVenue, settings.gmo_symbols, settings.playback.gmo),
        ]
        found: list[Venue] = []
        for kind, symbols, files in kinds:
            if files:
                empty = kind((), settings, self._now_ns, self._note_trade)
                found.append(PlaybackVenue(empty, files, settings.playback.speed))
            elif symbols:
                found.append(kind(symbols, settings, self._now_ns, self._note_trade))
        return found

    @property
    def histories(self) -> dict[str, History]:
        """All markets by symbol: no two venues write one alike."""
        return {s: h for venue in self.venues.values() for s, h in venue.histories.items()}

    def _note_trade(self, history: History, trade: Trade) -> None:
        if self._sent_log is not None:
            self._log({"trade": trade.id, "symbol": history.market.symbol, "t": trade.time_ns})

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
        if not self.frozen:
            for flow, begin_ns in self._flows:
                flow.advance((now_ns - begin_ns) / 1e9, begin_ns)
        for venue in self.venues.values():
            venue.tick(now_ns)
            if now_ns >= self._maintenance_until_ns.get(venue.name, now_ns + 1):
                self._set_maintenance(venue, begins=False)
        for name, due_ns in list(self._due.items()):
            if now_ns >= due_ns:
                self._due[name] = self._next_due(name)
                self.commit_fault({"kind": name, "seconds": 2.0})
        for client, socket in list(self.clients.values()):
            client.conversation.tick(now_ns)
            if client.conversation.ended or len(client.outbox) > OUTBOX_FRAMES:
                _abort(socket)
            elif client.outbox:
                client.wake.set()

    def _plan_faults(self) -> dict[str, int]:
        rates = self.settings.faults
        names = [n for n in ("cut", "gap", "bad_checksum", "silence") if getattr(rates, f"{n}_s")]
        return {name: self._next_due(name) for name in names}

    def _next_due(self, name: str) -> int:
        mean_s = getattr(self.settings.faults, f"{name}_s")
        return self._now_ns() + int(self._draw.expovariate(1 / mean_s) * 1e9)

    # ---- faults

    def commit_fault(self, arguments: dict[str, Any]) -> int:
        """Commit one fault; how many open sockets it is meant for.

        Raises:
            OperatorError: there is no such fault or venue; the text says what there is.
        """
        fault = read_fault(arguments, self.venues)
        meant = [
            (client, socket)
            for client, socket in self.clients.values()
            if fault.venue in {"", client.venue.name} and fault.client in {0, client.number}
        ]
        for venue in self.venues.values():
            if fault.venue in {"", venue.name}:
                self._commit_at_venue(fault, venue)
                venue.accounts.commit(fault, self._now_ns())
        for client, socket in meant:
            self._commit_at_client(fault, client, socket)
        return len(meant)

    def _commit_at_venue(self, fault: Fault, venue: Venue) -> None:
        now_ns = self._now_ns()
        conduct = venue.conduct
        if fault.kind == "down" or (fault.kind == "restart" and fault.seconds):
            self._down_until_ns[venue.name] = fault.until_told_ns(now_ns)
        elif fault.kind == "up":
            self._down_until_ns.pop(venue.name, None)
        elif fault.kind == "rest_down":
            self._rest_down_until_ns[venue.name] = fault.until_ns(now_ns)
        elif fault.kind == "rest_slow":
            self._rest_slow_until_ns[venue.name] = fault.until_ns(now_ns)
        elif fault.kind == "maintenance":
            self._maintenance_until_ns[venue.name] = fault.until_told_ns(now_ns)
            self._set_maintenance(venue, begins=True)
        elif fault.kind == "maintenance_end":
            self._set_maintenance(venue, begins=False)
        elif fault.kind == "refuse":
            conduct.refuse, conduct.refuse_symbol = fault.times, fault.symbol
        elif fault.kind == "late_ack":
            conduct.late, conduct.late_ns = fault.times, fault.until_ns(0)
        elif fault.kind == "dup":
            conduct.twice = fault.times
        elif fault.kind == "limit":
            conduct.limit = fault.count
        elif fault.kind == "move":
            venue.move(fault.symbol, Decimal(fault.price), now_ns)
        elif fault.kind == "storm":
            self._storm[venue.name] = (fault.times, fault.how)

    def _commit_at_client(
        self, fault: Fault, client: Client, socket: web.WebSocketResponse
    ) -> None:
        now_ns = self._now_ns()
        faults = client.conversation.faults
        if fault.kind in {"cut", "down"}:
            _abort(socket)
        elif fault.kind == "cut_snapshot":
            faults.tear = fault.symbol
        elif fault.kind == "silence":
            client.held_until_ns = fault.until_ns(now_ns)
        elif fault.kind == "heartbeats_only":
            faults.heartbeats_only_until_ns = fault.until_ns(now_ns)
        elif fault.kind == "gap":
            faults.gap = fault.symbol
        elif fault.kind == "bad_checksum":
            faults.spoil = fault.symbol
        elif fault.kind == "restart":
            client.conversation.announce("restart")
        elif fault.kind == "slow":
            client.slow_until_ns = fault.until_ns(now_ns)
        elif fault.kind == "garbage":
            for _ in range(fault.times):
                client.put(garbage(self._draw, client.recent))

    def _set_maintenance(self, venue: Venue, *, begins: bool) -> None:
        if not begins:
            self._maintenance_until_ns.pop(venue.name, None)
        if venue.conduct.operative != begins:
            return
        venue.conduct.operative = not begins
        for client, _ in self.clients.values():
            if client.venue is venue:
                what = "maintenance" if begins else "maintenance_end"
                client.conversation.announce(what)

    # ---- what is so

    def truth(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What a venue's market is, in the venue's own texts.

        Args:
            arguments: `venue`, `symbol`, `kind` (book, trades or candles); for a book what the
                venue's `true_book` takes, for candles `timeframe`. With `kind` account: `venue` and
                `key`, of which `Accounts.truth` tells all.

        Returns:
            {"bids": levels, "asks": levels} best first, or {"rows": rows} oldest first.

        Raises:
            OperatorError: there is no such venue, symbol, kind, timeframe or account.
        """
        venue = self.venues.get(str(arguments.get("venue", "")))
        if venue is None:
            raise OperatorError(f"truth needs a venue: {', '.join(self.venues)}")
        symbol, kind = str(arguments.get("symbol", "")), arguments.get("kind")
        if kind == "account":
            return venue.accounts.truth(str(arguments.get("key", "")))
        if kind == "book":
            book = venue.true_book(symbol, arguments)
            return {"bids": book[1], "asks": book[-1]}
        if kind == "trades":
            return {"rows": venue.true_trades(symbol)}
        timeframe = str(arguments.get("timeframe", ""))
        if kind == "candles" and timeframe in venue.frames:
            return {"rows": venue.true_candles(symbol, timeframe)}
        frames = ", ".join(venue.frames)
        raise OperatorError(f"truth has kinds book, trades, candles, account; timeframes {frames}")

    # ---- sockets

    async def websocket(self, venue: Venue, request: web.Request) -> web.StreamResponse:
        """Serve one client to its end."""
        left, how = self._storm.get(venue.name, (0, ""))
        if left:
            self._storm[venue.name] = (left - 1, how)
        if venue.refuses_sockets or (left and how == "refuse"):
            return web.Response(status=HTTP_DOWN)
        refused = venue.refusal_of(request.path, self._now_ns())
        if refused:
            return web.Response(status=refused)
        socket = web.WebSocketResponse(compress=False, autoping=False)
        await socket.prepare(request)
        if left:
            _abort(socket)
            return socket
        client = Client(self._next_client, venue)
        self._next_client += 1
        client.conversation = venue.open(request.path, client.put, self._now_ns(), client.number)
        client.conversation.backlog = lambda: len(client.outbox)
        self.clients[client.number] = (client, socket)
        sender = asyncio.create_task(self._send(client, socket))
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    client.conversation.receive(message.data, self._now_ns())
                elif message.type == WSMsgType.PING:
                    await socket.pong(message.data)
                elif message.type == WSMsgType.PONG:
                    client.conversation.pong()
        finally:
            del self.clients[client.number]
            sender.cancel()
            client.conversation.close(self._now_ns())
        return socket

    async def _send(self, client: Client, socket: web.WebSocketResponse) -> None:
        while True:
            await client.wake.wait()
            client.wake.clear()
            while client.outbox and self._now_ns() >= client.held_until_ns:
                frame = client.outbox.popleft()
                now_ns = self._now_ns()
                if now_ns < client.slow_until_ns:
                    client.held_until_ns = now_ns + SLOW_NS
                await self._send_one(client, socket, frame, now_ns)

    async def _send_one(
        self, client: Client, socket: web.WebSocketResponse, frame: str, now_ns: int
    ) -> None:
        if isinstance(frame, Ping):
            await socket.ping()
            return
        if self._sent_log is not None:
            self._log({"client": client.number, "t": now_ns, "frame": frame})
        client.recent.append(frame)
        self.frames_sent += 1
        if isinstance(frame, Torn):
            _tear(socket, frame)
            return
        await socket.send_str(frame)

    @web.middleware
    async def _doors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Nothing gets in while its venue is down."""
        # Bitfinex has paths without its name, as its own hosts have.
        named = request.path.split("/")[1]
        name = named if named in self.venues else "bitfinex"
        if self._now_ns() < self._down_until_ns.get(name, 0):
            return web.Response(status=HTTP_DOWN)
        resource = request.match_info.route.resource
        pattern = "" if resource is None else resource.canonical
        if not any(pattern in venue.sockets for venue in self.venues.values()):
            if self._now_ns() < self._rest_down_until_ns.get(name, 0):
                return web.Response(status=HTTP_DOWN)
            if self._now_ns() < self._rest_slow_until_ns.get(name, 0):
                await asyncio.sleep(REST_SLOW_S)
        return await handler(request)

    def application(self) -> web.Application:
        """Routes of the one port."""
        application = web.Application(middlewares=[self._doors])
        for venue in self.venues.values():
            application.router.add_routes(venue.routes())
            for path in venue.sockets:
                application.router.add_get(path, self._opener(venue))
        return application

    def _opener(self, venue: Venue) -> Handler:
        async def open_socket(request: web.Request) -> web.StreamResponse:
            return await self.websocket(venue, request)

        return open_socket


def _transport(socket: web.WebSocketResponse) -> asyncio.Transport | None:
    request = socket._req  # noqa: SLF001  (no public way to the transport of a response)
    return request.transport if request is not None else None


def _abort(socket: web.WebSocketResponse) -> None:
    """Cut the TCP connection, without a close frame."""
    transport = _transport(socket)
    if transport is not None:
        transport.abort()


def _tear(socket: web.WebSocketResponse, frame: str) -> None:
    """Send the head and the first half of a text frame, then cut."""
    transport = _transport(socket)
    if transport is None:
        return
    payload = frame.encode()
    size = len(payload)
    if size < 126:
        head = bytes([0x81, size])
    elif size < 1 << 16:
        head = bytes([0x81, 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x81, 127]) + size.to_bytes(8, "big")
    transport.write(head + payload[: size // 2])
    transport.abort()
