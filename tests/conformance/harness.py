"""A venue and a collector's sessions in one loop, over a real socket; the tape is a list."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from aiohttp import web

from processes.collector.backoff import Backoff, ConnectLimit
from processes.collector.recorder import Recorder
from processes.collector.session import Session, Timeouts, place_anew
from processes.pace import Pace
from processes.simulator.server import Exchange
from schemas import tape
from schemas.layout import join
from schemas.settings import BitfinexSettings, BookSettings, SimulatorSettings
from schemas.tape import Flag, Kind, Marker
from tests.feeding import Tables
from tests.helpers import QuietLog
from venues.bitfinex.subscriptions import wanted_streams
from venues.bitfinex.venue import BitfinexVenue
from venues.book import ASK, BID, wire_levels
from venues.wire import SlotBlock, Subscription

SYMBOLS = ("tBTCUSD", "tETHUSD", "tXRPUSD")


class ListTape:
    """Takes slots as the ring would."""

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.recv_ns = 0
        self._sequence = 0

    def publish(self, block: SlotBlock, count: int) -> None:
        slots = block.slots[:count].copy()
        slots["sequence"] = np.arange(self._sequence + 1, self._sequence + count + 1)
        self._sequence += count
        self.blocks.append(slots)

    @property
    def slots(self) -> np.ndarray:
        return join(self.blocks, tape.SLOT)


class World:
    """The simulator, its port, and sessions that watch it."""

    def __init__(self, recorder: Recorder | None = None, **settings: Any) -> None:
        self.recorder = recorder
        options = {
            "symbols": SYMBOLS,
            "books": (BookSettings(length=25),),
            "subscribe_timeout_s": 1.0,
            "silence_s": 1.0,
            "stale_s": {"books": 0.8},
            "backoff_first_s": 0.05,
            "backoff_longest_s": 0.2,
            "connects_per_minute": 60,
            **settings,
        }
        self.settings = BitfinexSettings(**options)
        self.exchange = Exchange(
            SimulatorSettings(symbols=SYMBOLS, events_per_s=120.0), time.monotonic_ns
        )
        self.tape = ListTape()
        self.log = QuietLog()
        self.sessions: list[Session] = []
        self.tasks: list[asyncio.Task] = []
        self.tables = Tables()
        self._epoch = 0
        self._stopping = False
        self._limit = ConnectLimit(self.settings.connects_per_minute)

    async def __aenter__(self) -> "World":
        self.runner = web.AppRunner(
            self.exchange.application(), access_log=None, shutdown_timeout=0.1
        )
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        self.venue = BitfinexVenue(self.settings, f"ws://127.0.0.1:{port}/ws/2")
        self.tasks.append(asyncio.create_task(self.exchange.live(lambda: self._stopping)))
        for part in self.venue.plan(self.wanted()):
            self.open_session(part)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        for session in self.sessions:
            session.stop()
        await asyncio.sleep(0)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.runner.cleanup()

    def wanted(self) -> list[Subscription]:
        found = []
        for symbol, pair, channel, parameters, primary in wanted_streams(self.settings):
            instrument, stream = self.tables.allot(symbol, pair, channel, parameters)
            found.append(Subscription(instrument=instrument, stream=stream, primary=primary))
        return found

    def _next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def open_session(self, wanted: list[Subscription]) -> None:
        session = Session(
            self.venue,
            wanted,
            self.tape,
            number=len(self.sessions),
            timeouts=Timeouts(
                subscribe_s=self.settings.subscribe_timeout_s,
                silence_s=self.settings.silence_s,
                stale_s=self.settings.stale_s,
                ping_s=self.settings.ping_s,
                subscribe_tries=self.settings.subscribe_tries,
                refused_retry_s=self.settings.refused_retry_s,
            ),
            backoff=Backoff(
                self.settings.backoff_first_s, self.settings.backoff_longest_s, random.Random(1)
            ),
            limit=self._limit,
            pace=Pace(self.venue.name, self.venue.command_interval_s),
            next_epoch=self._next_epoch,
            now_ns=time.monotonic_ns,
            log=self.log,
            on_full=self._move,
            on_change=lambda: None,
            recorder=self.recorder,
        )
        self.sessions.append(session)
        self.tasks.append(asyncio.create_task(session.run()))

    def _move(self, subscription: Subscription) -> None:
        if not place_anew(subscription, self.sessions):
            self.open_session([subscription])

    # ---- waiting and looking

    async def until(self, condition: Callable[[], object], deadline_s: float = 15.0) -> None:
        end = time.monotonic() + deadline_s
        while not condition():
            for task in self.tasks:
                if task.done() and not task.cancelled():
                    task.result()
            assert time.monotonic() < end, self.log.lines[-5:]
            await asyncio.sleep(0.01)

    def counts(self) -> tuple[int, int, int]:
        parts = [session.desk.counts() for session in self.sessions]
        return tuple(map(sum, zip(*parts, strict=True)))

    async def all_live(self) -> None:
        def live() -> bool:
            acknowledged, refused, wanted = self.counts()
            return acknowledged + refused == wanted and self.snapshots() >= len(
                self.settings.symbols
            )

        await self.until(live)

    def snapshots(self) -> int:
        """Books whose newest snapshot marker is of the present connections."""
        ends = self.markers(Marker.SNAPSHOT_END)
        epochs = {session.codec.epoch for session in self.sessions}
        return len({int(s["instrument"]) for s in ends if int(s["epoch"]) in epochs})

    async def events(self, more: int = 300) -> None:
        goal = len(self.tape.slots) + more
        await self.until(lambda: len(self.tape.slots) >= goal)

    def markers(self, *kinds: Marker) -> np.ndarray:
        found = tape.view_as(self.tape.slots, tape.MARKER)
        found = found[found["kind"] == Kind.MARKER]
        return found[np.isin(found["marker"], [int(kind) for kind in kinds])]

    def trades(self) -> np.ndarray:
        slots = self.tape.slots
        return slots[slots["kind"] == Kind.TRADE]

    async def books_agree(self) -> None:
        """Stop the market and let all arrive: every local book is the venue's true book."""
        flows, self.exchange._flows = self.exchange._flows, []
        await self.until(self._books_equal, 5.0)
        self.exchange._flows = flows

    def _books_equal(self) -> bool:
        for symbol in self.settings.symbols:
            market = self.exchange.histories[symbol].market
            instrument = self.tables.instruments[symbol].index
            book = self.venue.markets.primary_book(instrument)
            for side, sign in ((BID, 1), (ASK, -1)):
                mine = wire_levels(self.venue.markets.books, book, side, 99)
                true = market.levels(sign, 25)
                if [float(price) for _, price, _ in mine] != [
                    float(market.price(ticks)) for ticks, _, _ in true
                ] or [abs(round(float(amount) * 1e8)) for _, _, amount in mine] != [
                    units for _, _, units in true
                ]:
                    return False
        return True

    def check_trades_are_whole(self) -> None:
        """No trade twice; and what is missing between two on the tape lies inside a marked gap."""
        trades = self.trades()
        for instrument in np.unique(trades["instrument"]):
            ids = trades["id_low"][trades["instrument"] == instrument]
            assert len(ids) == len(np.unique(ids))
            missing = np.setdiff1d(np.arange(ids.min(), ids.max() + 1), ids)
            if len(missing):
                gaps = self.markers(Marker.GAP)
                assert len(gaps[gaps["instrument"] == instrument]), missing


def flags_of(slots: np.ndarray, flag: Flag) -> np.ndarray:
    return (slots["flags"] & int(flag)) != 0
