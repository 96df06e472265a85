"""A venue and a collector's sessions in one loop, over real sockets; the tape is a list."""

import asyncio
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiohttp import web

from processes.backoff import Backoff, ConnectLimit
from processes.collector.backfill import Backfill, Limits
from processes.collector.instruments import InstrumentWatch
from processes.collector.recorder import Recorder
from processes.collector.session import Session, Timeouts, place_anew
from processes.simulator.server import Exchange
from schemas import tape
from schemas.rest import (
    BitfinexRates,
    BitfinexRestSettings,
    GmoRestSettings,
    KrakenRates,
    KrakenRestSettings,
    RestSections,
)
from schemas.settings import SimulatorSettings
from schemas.tape import Flag, Kind, Marker
from tests.conformance.clock import Clock
from tests.conformance.subjects import Subject
from tests.feeding import Tables
from tests.helpers import QuietLog
from venues.access import make_client, trades_source
from venues.book import ASK, BID, wire_levels
from venues.pace import Pace
from venues.registry import open_venue, wanted_streams
from venues.rest import Tools
from venues.wire import SlotBlock, Subscription

PAST_S = 20.0
"""Enough for a snapshot of trades; most of a world's opening is its markets' past."""


class ListTape:
    """Takes slots as the ring would, and keeps all of them."""

    def __init__(self) -> None:
        self._room = np.empty(1 << 14, tape.SLOT)
        self._sequence = 0
        self.recv_ns = 0

    def publish(self, block: SlotBlock, count: int) -> None:
        first, self._sequence = self._sequence, self._sequence + count
        if self._sequence > len(self._room):
            grown = np.empty(2 * self._sequence, tape.SLOT)
            grown[:first] = self._room[:first]
            self._room = grown
        self._room[first : self._sequence] = block.slots[:count]
        self._room["sequence"][first : self._sequence] = np.arange(first, self._sequence) + 1

    def continue_from(self, other: "ListTape") -> None:
        self._room = other.slots.copy()
        self._sequence = other._sequence

    @property
    def slots(self) -> np.ndarray:
        """Looked at with every step of a wait, so it copies nothing."""
        return self._room[: self._sequence]


class World:
    """The simulator, its port, and sessions that watch one of its venues, all on one clock."""

    def __init__(
        self,
        subject: Subject,
        clock: Clock,
        *,
        events_per_s: float = 60.0,
        recorder: Recorder | None = None,
        **settings: Any,
    ) -> None:
        self.subject = subject
        self.clock = clock
        self.recorder = recorder
        self.settings = msgspec.structs.replace(
            subject.settings, **{"symbols": subject.symbols, **settings}
        )
        served = {"symbols": (), subject.served: subject.symbols}
        self.exchange = Exchange(
            SimulatorSettings(events_per_s=events_per_s, past_s=PAST_S, **served), clock.now_ns
        )
        self.tape = ListTape()
        self.log = QuietLog()
        self.sessions: list[Session] = []
        self.tasks: list[asyncio.Task] = []
        self.tables = Tables(subject.name)
        self.data = Path(tempfile.gettempdir()) / "data"
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
        self.url = f"ws://127.0.0.1:{port}{self.subject.path}"
        if hasattr(self.settings, "level3_url"):
            self.settings = msgspec.structs.replace(
                self.settings, level3_url=f"ws://127.0.0.1:{port}/kraken/l3"
            )
        self.market = self.start_market()
        self.start_collector()
        return self

    def start_market(self) -> asyncio.Task:
        """Let the venue's time go on."""
        task = asyncio.create_task(self.exchange.live(lambda: self._stopping))
        self.tasks.append(task)
        return task

    def start_collector(self) -> None:
        """A collector's life: it knows what the tape says, and nothing else."""
        self.venue: Any = self.open_venue()
        self.watch = InstrumentWatch(self.subject.name, self.data, self.settings.symbols, self.log)
        self.start_backfill()
        self.venue.recover(self.tape.slots, self.wanted())
        for part in self.venue.plan(self.wanted()):
            self.open_session(part)

    def start_backfill(self) -> None:
        """Who fills holes in trades, with a client of its own at the simulator's REST."""
        self.backfill: Backfill | None = None
        tools = Tools(utc_ns=self.clock.now_ns, uniform=lambda: 1.0)
        client = make_client(
            self.subject.name, self.rest(), Path(tempfile.gettempdir()) / "rest", tools
        )
        fetch = trades_source(self.subject.name, client)
        settings = self.settings
        if fetch is None or not settings.backfill:
            return

        self.backfill = Backfill(
            self.venue.markets,
            fetch,
            self.tape,
            limits=Limits(
                longest_s=settings.backfill_longest_s,
                timeout_s=settings.backfill_timeout_s,
                pages=settings.backfill_pages,
            ),
            now_ns=self.clock.now_ns,
            log=self.log,
        )

        async def live() -> None:
            async with client:
                await self.backfill.run()

        self.tasks.append(asyncio.create_task(live()))

    def rest(self) -> RestSections:
        """The simulator's REST, as often as one likes."""
        base = self.url.replace("ws://", "http://").removesuffix(self.subject.path)
        quick = {"retries": 1, "backoff_first_s": 0.1}
        return RestSections(
            bitfinex=BitfinexRestSettings(
                url=f"{base}/bitfinex", rates=BitfinexRates(trades=6000.0), **quick
            ),
            kraken=KrakenRestSettings(
                url=f"{base}/kraken", rates=KrakenRates(public=6000.0), **quick
            ),
            gmo=GmoRestSettings(url=f"{base}/gmo", **quick),
        )

    def open_venue(self) -> Any:
        """The venue as a collector opens it."""
        return open_venue(self.subject.name, self.settings, self.url)

    async def restart(self) -> None:
        """The collector's process dies, without a word, and another begins."""
        written, self.tape = self.tape, ListTape()
        self.tape.continue_from(written)  # what the dying one still writes, nobody reads
        for session in self.sessions:
            session.stop()
        for task in self.tasks[1:]:
            task.cancel()
        await asyncio.gather(*self.tasks[1:], return_exceptions=True)
        self.tasks = [self.market]
        self.sessions.clear()
        self.start_collector()

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
        for symbol, pair, channel, parameters, primary in wanted_streams(
            self.subject.name, self.settings
        ):
            instrument, stream = self.tables.allot(symbol, pair, channel, parameters)
            found.append(Subscription(instrument=instrument, stream=stream, primary=primary))
        return found

    def _next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def open_session(self, wanted: list[Subscription]) -> None:
        settings = self.settings
        session = Session(
            self.venue,
            wanted,
            self.tape,
            number=len(self.sessions),
            timeouts=Timeouts(
                subscribe_s=settings.subscribe_timeout_s,
                silence_s=settings.silence_s,
                stale_s=settings.stale_s,
                ping_s=settings.ping_s,
                subscribe_tries=settings.subscribe_tries,
                refused_retry_s=settings.refused_retry_s,
            ),
            backoff=Backoff(settings.backoff_first_s, settings.backoff_longest_s, random.Random(1)),
            limit=self._limit,
            pace=Pace(
                Path(tempfile.gettempdir()),
                self.subject.name,
                utc_ns=self.clock.now_ns,
                sleep=asyncio.sleep,
            ),
            next_epoch=self._next_epoch,
            now_ns=self.clock.now_ns,
            log=self.log,
            on_full=self._move,
            on_change=lambda: None,
            on_instruments=self.watch.take,
            recorder=self.recorder,
        )
        self.sessions.append(session)
        self.tasks.append(asyncio.create_task(session.run()))

    def _move(self, subscription: Subscription) -> None:
        if not place_anew(subscription, self.sessions):
            self.open_session([subscription])

    def fault(self, kind: str, **arguments: Any) -> None:
        """Have the venue commit a fault."""
        self.exchange.commit_fault({"kind": kind, "venue": self.subject.name, **arguments})

    def storm_left(self) -> int:
        """Connections that the venue will still refuse or cut."""
        return self.exchange._storm.get(self.subject.name, (0, ""))[0]

    # ---- waiting and looking

    async def until(self, condition: Callable[[], object], deadline_s: float = 60.0) -> None:
        """Wait for a condition; seconds are the clock's."""
        end_s = self.clock.now_s() + deadline_s
        while not condition():
            for task in self.tasks:
                if task.done() and not task.cancelled():
                    task.result()
            assert self.clock.now_s() < end_s, [self.counts(), *self.log.lines[-5:]]
            await asyncio.sleep(0.02)

    async def passed(self, seconds: float) -> None:
        """Let time pass."""
        end_s = self.clock.now_s() + seconds
        await self.until(lambda: self.clock.now_s() >= end_s, seconds + 1)

    def counts(self) -> tuple[int, int, int]:
        parts = [session.desk.counts() for session in self.sessions]
        return tuple(map(sum, zip(*parts, strict=True)))

    async def all_live(self) -> None:
        """Everything is acknowledged or refused, and every acknowledged book has its snapshot."""

        def live() -> bool:
            acknowledged, refused, wanted = self.counts()
            return acknowledged + refused == wanted and self.snapshots() >= len(self._live_books())

        await self.until(live)

    def _live_books(self) -> list[Subscription]:
        return [
            what
            for session in self.sessions
            for what, _, _ in session.codec.data_ns()
            if what.primary
        ]

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

    def of(self, slots: np.ndarray, symbol: str) -> np.ndarray:
        """Slots of one symbol."""
        return slots[slots["instrument"] == self.tables.instruments[symbol].index]

    async def books_agree(self) -> None:
        """Stop the market and let all arrive: every local book is the venue's true book."""
        self.exchange.frozen = True
        await self.until(self._books_equal, 20.0)
        self.exchange.frozen = False

    def _books_equal(self) -> bool:
        return all(
            self.book_of(symbol) == self.subject.true_book(self.exchange, symbol)
            for symbol in self.subject.symbols
            if symbol in self.settings.symbols
        )

    def book_of(self, symbol: str) -> tuple[list[Any], list[Any]]:
        """The collector's own book: bids and asks as (price text, amount text)."""
        markets = self.venue.markets
        book = markets.primary_book(self.tables.instruments[symbol].index)
        bids, asks = (
            [(price, amount) for _, price, amount in wire_levels(markets.books, book, side, 999)]
            for side in (BID, ASK)
        )
        return bids, asks

    def check_trades_are_whole(self) -> None:
        """Nothing twice, nothing invented; and what is missing lies inside a marked gap."""
        for symbol in self.subject.symbols:
            trades = self.of(self.trades(), symbol)
            true = self.subject.true_trades(self.exchange, symbol)
            if self.subject.trade_ids:
                ids = trades["id_low"].astype(np.int64)
                assert len(ids) == len(np.unique(ids))
                made = np.array([int(row[0]) for row in true])
                assert np.isin(ids[ids >= made.min()], made).all()
                missing = len(np.setdiff1d(made[(made >= ids.min()) & (made <= ids.max())], ids))
            else:
                told = [(float(price), float(size)) for price, _, size, _ in true]
                mine = list(zip(trades["price"].tolist(), trades["size"].tolist(), strict=True))
                assert is_subsequence(mine, told)
                missing = not is_slice(mine, told)
            if missing:
                assert len(self.of(self.markers(Marker.GAP), symbol)), missing


def is_slice(part: list[Any], whole: list[Any]) -> bool:
    """Whether the parts stand in the whole without anything between them."""
    starts = range(len(whole) - len(part) + 1)
    return any(whole[start : start + len(part)] == part for start in starts)


def is_subsequence(part: list[Any], whole: list[Any]) -> bool:
    """Whether the parts stand in the whole in their order."""
    rest = iter(whole)
    return all(one in rest for one in part)


def flags_of(slots: np.ndarray, flag: Flag) -> np.ndarray:
    return (slots["flags"] & int(flag)) != 0
