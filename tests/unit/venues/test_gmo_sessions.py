"""Sessions against a venue that acknowledges nothing and counts commands, over real sockets."""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from processes.backoff import Backoff, ConnectLimit
from processes.collector.session import Session, Timeouts
from schemas import tape
from schemas.feeds import GmoSettings
from schemas.tape import Kind, Marker, MarkerReason
from tests.conformance.harness import ListTape
from tests.feeding import Tables
from tests.helpers import ROOT, QuietLog
from tests.unit.venues.gmo_frames import book, error
from venues.gmo.subscriptions import wanted_streams
from venues.gmo.venue import GmoVenue
from venues.pace import Pace
from venues.wire import Subscription

INTERVAL_S = 0.1
BOOK = [("101", "4"), ("102", "5")], [("100", "2")]


@pytest.fixture(autouse=True)
def own_pace(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def pace_here() -> Pace:
    """The pace of this test's temporary folder."""
    return Pace(Path(tempfile.gettempdir()), "gmo", utc_ns=time.time_ns, sleep=asyncio.sleep)


class FakeVenue:
    """The public socket's commands: books are sent every 20 ms, trades are silent."""

    def __init__(self) -> None:
        self.commands: list[tuple[float, dict[str, Any]]] = []
        self.upgrades = 0
        self.closed_for = 0
        """So many upgrades are answered with 503."""
        self.answers: list[str] = []
        """Errors for the next commands."""
        self.unknown: set[str] = set()
        self.frozen: set[str] = set()
        self._sockets: dict[web.WebSocketResponse, set[str]] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.upgrades += 1
        if self.closed_for:
            self.closed_for -= 1
            return web.Response(status=503, text="maintenance")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        symbols = self._sockets.setdefault(socket, set())
        sender = asyncio.create_task(self._send_books(socket, symbols))
        try:
            async for message in socket:
                assert message.type == WSMsgType.TEXT
                answer = self._take(json.loads(message.data), symbols)
                if answer:
                    await socket.send_str(answer)
        finally:
            sender.cancel()
            del self._sockets[socket]
        return socket

    async def cut(self) -> None:
        for socket in list(self._sockets):
            await socket.close()

    def _take(self, said: dict[str, Any], symbols: set[str]) -> str:
        self.commands.append((time.monotonic(), said))
        if self.answers:
            return error(self.answers.pop(0))
        symbol = said["symbol"]
        if symbol in self.unknown:
            return error("ERR-5106 Invalid request parameter. symbol")
        if said["channel"] == "orderbooks":
            if said["command"] == "subscribe":
                self.frozen.discard(symbol)
                symbols.add(symbol)
            else:
                symbols.discard(symbol)
        return ""

    async def _send_books(self, socket: web.WebSocketResponse, symbols: set[str]) -> None:
        while not socket.closed:
            for symbol in sorted(symbols - self.frozen):
                await socket.send_str(book(*BOOK, symbol=symbol))
            await asyncio.sleep(0.02)

    def sent(self, name: str = "subscribe") -> list[tuple[str, str]]:
        return [(c["channel"], c["symbol"]) for _, c in self.commands if c["command"] == name]


class World:
    """The fake venue and sessions of one collector."""

    def __init__(self, **settings: Any) -> None:
        options = {
            "symbols": ("BTC", "BTC_JPY"), "subscribe_timeout_s": 1.0, "silence_s": 1.0,
            "stale_s": {"books": 1.0}, "backoff_first_s": 0.05, "backoff_longest_s": 0.1,
            "connects_per_minute": 60, "command_interval_s": INTERVAL_S, **settings,
        }  # fmt: skip
        self.settings = GmoSettings(**options)
        self.fake = FakeVenue()
        self.tape = ListTape()
        self.log = QuietLog()
        self.sessions: list[Session] = []
        self._tasks: list[asyncio.Task] = []
        self._epoch = 0

    async def __aenter__(self) -> "World":
        application = web.Application()
        application.router.add_get("/ws", self.fake.serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        self.venue = GmoVenue(self.settings, f"ws://127.0.0.1:{port}/ws")
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self.sessions:
            session.stop()
        await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()

    def wanted(self) -> list[Subscription]:
        tables, found = Tables("gmo"), []
        for symbol, pair, channel, parameters, primary in wanted_streams(self.settings):
            instrument, stream = tables.allot(symbol, pair, channel, parameters)
            found.append(Subscription(instrument=instrument, stream=stream, primary=primary))
        return found

    def open(self, wanted: list[Subscription] | None = None) -> Session:
        settings = self.settings
        session = Session(
            self.venue, self.wanted() if wanted is None else wanted, self.tape,
            number=len(self.sessions),
            timeouts=Timeouts(
                subscribe_s=settings.subscribe_timeout_s, silence_s=settings.silence_s,
                stale_s=settings.stale_s, ping_s=settings.ping_s,
            ),
            backoff=Backoff(
                settings.backoff_first_s, settings.backoff_longest_s, random.Random(1)
            ),
            limit=ConnectLimit(settings.connects_per_minute),
            pace=pace_here(),
            next_epoch=self._next_epoch, now_ns=time.monotonic_ns, log=self.log,
            on_full=lambda _: None, on_change=lambda: None,
        )  # fmt: skip
        self.sessions.append(session)
        self._tasks.append(asyncio.create_task(session.run()))
        return session

    def _next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    async def until(self, condition, deadline_s: float = 20.0) -> None:
        end = time.monotonic() + deadline_s
        while not condition():
            for task in self._tasks:
                if task.done():
                    task.result()
            assert time.monotonic() < end, f"{self.log.lines} {self.fake.commands}"
            await asyncio.sleep(0.005)

    async def live(self) -> None:
        await self.until(
            lambda: all(s.desk.counts()[0] == s.desk.counts()[2] for s in self.sessions)
        )

    def markers(self) -> list[str]:
        slots = tape.view_as(self.tape.slots, tape.MARKER)
        return [Marker(int(s["marker"])).name for s in slots[slots["kind"] == Kind.MARKER]]

    def reasons(self, marker: Marker) -> list[int]:
        slots = tape.view_as(self.tape.slots, tape.MARKER)
        found = slots[(slots["kind"] == Kind.MARKER) & (slots["marker"] == marker)]
        return found["reason"].tolist()


def story(coroutine) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


def spacing(times: list[float]) -> float:
    return min(after - before for before, after in pairwise(sorted(times)))


def test_all_streams_become_live_without_an_acknowledgement():
    async def run():
        async with World(ping_s=0.01) as world:
            world.open()
            await world.live()
            assert world.fake.sent() == [
                (channel, symbol)
                for channel in ("orderbooks", "trades", "ticker")
                for symbol in ("BTC", "BTC_JPY")
            ]
            options = {c["channel"]: c.get("option") for _, c in world.fake.commands}
            assert options == {"orderbooks": None, "trades": "TAKER_ONLY", "ticker": None}
            assert world.markers().count("SUBSCRIBED") == 6
            assert world.sessions[0].connections == 1

    story(run())


def test_two_sessions_and_another_process_keep_one_pace(tmp_path):
    """One command an interval from this machine, whoever sends it."""
    code = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from venues.pace import Pace\n"
        "keeper = Pace(Path(sys.argv[1]), 'gmo', utc_ns=time.time_ns, sleep=asyncio.sleep)\n"
        "times = 0\n"
        "while times < 8:\n"
        f"    if keeper.take('commands', {INTERVAL_S}): times += 1; print(time.monotonic())\n"
        "    time.sleep(0.002)\n"
    )

    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    times: list[float] = []

    async def run() -> None:
        async with World() as world:
            wanted = world.wanted()
            world.open(wanted[::2])
            world.open(wanted[1::2])
            await world.live()
            await world.until(lambda: child.poll() is not None)
            times.extend(when for when, _ in world.fake.commands)

    try:
        story(run())
    finally:
        child.kill()
        others = [float(line) for line in child.communicate()[0].split()]
    assert (len(times), len(others)) == (6, 8)
    # The venue reads a command somewhat after its turn was taken.
    assert spacing(times) > 0.5 * INTERVAL_S
    times += others
    assert max(times) - min(times) > 0.95 * (len(times) - 1) * INTERVAL_S


def test_a_full_resubscription_takes_its_time_and_is_no_failure():
    """Twelve books at one command an interval: longer than every timeout, and nothing is lost."""
    symbols = tuple(f"S{number:02}" for number in range(12))

    async def run():
        async with World(
            symbols=symbols, channels=("books",), subscribe_timeout_s=0.5, silence_s=0.5,
            stale_s={"books": 0.5},
        ) as world:  # fmt: skip
            world.open()
            await world.live()
            await world.fake.cut()
            await world.until(lambda: world.sessions[0].connections == 2)
            began = time.monotonic()
            await world.live()
            assert time.monotonic() - began > 10 * INTERVAL_S
            assert world.sessions[0].connections == 2
            assert world.sessions[0].resyncs == 0
            assert sorted(world.fake.sent()) == sorted(2 * [("orderbooks", s) for s in symbols])
            assert world.reasons(Marker.GAP) == [MarkerReason.CONNECTION_LOST] * 12

    story(run())


def test_waiting_for_the_first_turn_is_no_silence():
    async def run():
        async with World(silence_s=0.2, channels=("books",)) as world:
            assert pace_here().take(
                "commands", 60.0
            )  # somebody else has the turn, for longer than any timeout here
            world.venue.command_interval_s = 60.0
            world.open()
            await world.until(lambda: world.sessions[0].connections == 1)
            session = world.sessions[0]
            end = time.monotonic() + 0.8
            await world.until(lambda: time.monotonic() > end)
            assert session.connections == 1
            assert world.fake.commands == []
            assert "DISCONNECTED" not in world.markers()

    story(run())


def test_silence_after_the_first_turn_costs_the_connection():
    async def run():
        async with World(silence_s=0.2, stale_s={}, channels=("books",)) as world:
            world.open()
            await world.live()
            world.fake.frozen = {"BTC", "BTC_JPY"}
            await world.until(lambda: world.sessions[0].connections == 2)
            await world.live()
            assert MarkerReason.SILENCE in world.reasons(Marker.DISCONNECTED)

    story(run())


def test_one_bad_symbol_takes_no_other_down():
    async def run():
        async with World(symbols=("BTC", "NONE", "BTC_JPY"), channels=("books",)) as world:
            world.fake.unknown = {"NONE"}
            world.open()
            await world.until(lambda: world.sessions[0].desk.counts() == (2, 1, 3))
            assert world.sessions[0].desk.refusals() == [
                "NONE books: 5106 Invalid request parameter. symbol"
            ]
            assert world.reasons(Marker.REFUSED) == [MarkerReason.VENUE_REFUSED]
            assert world.sessions[0].connections == 1

    story(run())


def test_too_fast_is_asked_again_later():
    async def run():
        async with World(channels=("books",), subscribe_timeout_s=0.3) as world:
            world.fake.answers = ["ERR-5003 Request too many."]
            world.open()
            await world.live()
            assert sorted(world.fake.sent()).count(("orderbooks", "BTC")) == 2
            assert not world.reasons(Marker.REFUSED)

    story(run())


def test_a_frozen_book_is_subscribed_anew_and_the_others_go_on():
    async def run():
        async with World(channels=("books",), silence_s=5.0, stale_s={"books": 0.4}) as world:
            world.open()
            await world.live()
            world.fake.frozen = {"BTC"}
            await world.until(lambda: world.sessions[0].resyncs == 1)
            await world.live()
            assert world.fake.sent("unsubscribe") == [("orderbooks", "BTC")]
            assert world.sessions[0].connections == 1
            assert world.reasons(Marker.GAP) == [MarkerReason.SILENCE]
            assert world.markers().count("SNAPSHOT_END") == 3

    story(run())


def test_maintenance_at_the_door_is_waited_out_quietly():
    async def run():
        async with World(channels=("books",)) as world:
            world.fake.closed_for = 4
            world.open()
            await world.until(lambda: world.fake.upgrades >= 3)
            assert "maintenance" in world.sessions[0].text
            await world.live()
            assert world.fake.upgrades == 5
            assert world.markers()[:3] == ["MAINTENANCE_BEGIN", "CONNECTED", "MAINTENANCE_END"]
            assert world.markers().count("MAINTENANCE_BEGIN") == 1
            assert not [line for line in world.log.lines if line[0] in {"warning", "error"}]

    story(run())


def test_maintenance_in_the_middle_of_a_session():
    async def run():
        async with World(channels=("books",)) as world:
            world.open()
            await world.live()
            world.fake.closed_for = 3
            await world.fake.cut()
            await world.until(lambda: world.sessions[0].connections == 2)
            await world.live()
            found = world.markers()
            begin = found.index("MAINTENANCE_BEGIN")
            assert "DISCONNECTED" in found[:begin]
            assert found[begin + 1 : begin + 3] == ["CONNECTED", "MAINTENANCE_END"]
            assert world.reasons(Marker.GAP) == [MarkerReason.CONNECTION_LOST] * 2

    story(run())


def test_maintenance_told_on_the_socket_is_waited_out():
    async def run():
        async with World(channels=("books",), subscribe_timeout_s=0.2, silence_s=5.0) as world:
            world.fake.answers = ["ERR-5201 MAINTENANCE. Please wait for a while"] * 4
            world.open()
            await world.live()
            assert world.markers().count("MAINTENANCE_BEGIN") == 1
            assert world.markers().count("MAINTENANCE_END") == 1
            assert not world.reasons(Marker.REFUSED)

    story(run())


def test_a_refusal_that_is_no_maintenance_says_what_it_is():
    async def run():
        async with World() as world:
            world.venue._url = world.venue._url.replace("/ws", "/nowhere")
            session = world.open()
            await world.until(lambda: "404" in session.text)
            assert "MAINTENANCE_BEGIN" not in world.markers()

    story(run())
