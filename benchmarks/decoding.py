"""Frames a second through the collector, on one core: from the bytes of a read to slots in a ring.

The parts are the production's: a `Session` with its `WebSocket` and codec on an open connection,
the `Tape` with its latency histogram, a ring of the default size. The connection is a real one to a
server in the same loop that says nothing; the frames are put into its read buffer and announced,
which is what the event loop does after `recv`. So framing, sequence check, book, checksum, ten
levels a side, commit and counting are in the figure, system calls are not. Time is processor time,
here and in the peers: all of them run on one core and wait for nothing.

Peers decode the same frames, handed over one by one without any socket or WebSocket framing
(`benchmarks/peers/decoding.py`). cryptofeed checks sequence numbers and cannot verify Bitfinex's
checksums; ccxt.pro never asks for sequence numbers and is given the frames without them.
"""

import asyncio
import gc
import logging
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct
from picows import WSListener, WSUpgradeRequest, ws_create_server

from benchmarks.figures import Figure, Runs, figure, interleave
from benchmarks.memory import private_counters, private_ring
from benchmarks.peering import PeerProcess, lines_file, peer_processes
from benchmarks.recordings import (
    BOOK_TRADES_2018,
    SEVEN_PAIRS_2021,
    FrameStream,
    generated,
    recorded,
    socket_reads,
    with_checksums,
)
from processes.backoff import Backoff, ConnectLimit
from processes.collector.session import Session, Timeouts
from processes.collector.tape import Tape
from processes.rings import ring_layout
from processes.runtime import SignallingWriter
from processes.supervisor.tables import Allotment
from schemas import metrics
from schemas.feeds import BitfinexSettings
from schemas.settings import RingSettings
from shm.doorbell import DatagramRinger
from shm.readers import ReadersPage
from shm.ring import RingWriter
from venues import decoding
from venues.bitfinex.codec import BitfinexCodec
from venues.bitfinex.venue import BitfinexVenue
from venues.pace import Pace
from venues.wire import Publish, Subscription

CRYPTOFEED, CCXT = "cryptofeed", "ccxt.pro"


class Pass(Struct, frozen=True, kw_only=True):
    """One stream, once through the collector."""

    seconds: float
    frames: int
    checksums_verified: int
    slots: int


class RecordedVenue(BitfinexVenue):
    """The venue, but for a codec that takes whatever streams a recording acknowledges."""

    def __init__(self, settings: BitfinexSettings, url: str) -> None:
        super().__init__(settings, url)
        self._place = partial(Allotment().place, "bitfinex")

    def codec(self, wanted: list[Subscription], publish: Publish, connection: int) -> BitfinexCodec:
        """A decoder for one connection."""
        return BitfinexCodec(
            self.markets, publish, subscriptions=wanted, connection=connection, allot=self._place
        )


class Collector:
    """One collector's parts around a ring and a counter page."""

    def __init__(self, url: str, writer: SignallingWriter, tape: Tape, page: Any) -> None:
        self._url = url
        self._writer = writer
        self._tape = tape
        self._page = page
        self._epoch = 0

    def _next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    async def take(self, reads: list[bytes]) -> Pass:
        """Bring a stream through a new connection; only the reads themselves are timed."""
        settings = BitfinexSettings()
        venue = RecordedVenue(settings, self._url)
        session = Session(
            venue, [], self._tape, number=0,
            timeouts=Timeouts(subscribe_s=10.0, silence_s=60.0, stale_s={}, ping_s=0.0),
            backoff=Backoff(1.0, 1.0, random.Random(1)),
            limit=ConnectLimit(1000),
            pace=Pace(
                Path(tempfile.gettempdir()), "bitfinex",
                utc_ns=time.monotonic_ns, sleep=asyncio.sleep,
            ),
            next_epoch=self._next_epoch,
            now_ns=time.monotonic_ns,
            log=structlog.wrap_logger(
                structlog.PrintLogger(),
                wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            ),
            on_full=lambda _: None,
            on_change=lambda: None,
        )  # fmt: skip
        socket = await session._connect()
        before = self._writer.ring.committed
        gc.collect()
        began = time.process_time()
        for read in reads:
            size = len(read)
            socket.get_buffer(size)[:size] = read
            socket.buffer_updated(size)
        self._count(session)
        seconds = time.process_time() - began
        if socket.error is not None:
            raise socket.error
        codec = session.codec
        assert isinstance(codec, BitfinexCodec)
        assert (session.gaps, session.resyncs, codec.bad_frames) == (0, 0, 0)
        socket.abort()
        await socket.closed.wait()
        tallies = codec.tallies
        assert int(tallies[decoding.N_FAILED]) == 0
        return Pass(
            seconds=seconds,
            frames=int(tallies[decoding.N_FRAMES]),
            checksums_verified=int(tallies[decoding.N_VERIFIED]),
            slots=self._writer.ring.committed - before,
        )

    def _count(self, session: Session) -> None:
        """Carry the totals to the counter page, as the collector does 20 times a second."""
        for name, value in session.codec.tally().items():
            metric, _, channel = name.partition(" ")
            self._page.add(metrics.place(metric, channel), value)


@contextmanager
def collector(runner: asyncio.Runner, capacity: int) -> Iterator[Collector]:
    """A collector and what it stands on; nothing of it is left after."""
    server = runner.run(_silent_server())
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    dtype, layout = ring_layout("tape.bitfinex")
    with (
        tempfile.TemporaryDirectory(prefix="dc-bench-") as folder,
        private_ring(dtype, layout, capacity) as (ring, readers),
        private_counters() as page,
    ):
        ringer = DatagramRinger(Path(folder), ReadersPage(readers))
        writer = SignallingWriter(RingWriter(ring, readers, dtype, layout), ringer)
        yield Collector(url, writer, Tape(writer, page, time.monotonic_ns), page)
        writer.close()
    server.close()
    runner.run(server.wait_closed())


async def _silent_server() -> asyncio.Server:
    def accept(_: WSUpgradeRequest) -> WSListener:
        return WSListener()

    server: asyncio.Server = await ws_create_server(accept, "127.0.0.1", 0)
    return server


def streams(*, quick: bool) -> dict[str, FrameStream]:
    """What is measured, by figure: recordings where they are, a generated stream where not."""
    long = recorded(BOOK_TRADES_2018) or generated(20_000)
    short = recorded(SEVEN_PAIRS_2021)
    if quick:
        long = FrameStream(source=f"{long.source}, its beginning", frames=long.frames[:2000])
    found = {"decoding": long, "decoding_one_by_one": long}
    if short is not None:
        found["decoding_seven_pairs"] = short
    found["decoding_checksums"] = with_checksums(long)
    found["decoding_checksums_sparse"] = with_checksums(long, 25)
    return found


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """All figures of the collector, in frames a second."""
    rounds, least_s = (1, 0.0) if quick else (5, 0.4)
    capacity = 1 << 14 if quick else RingSettings().tape
    found: dict[str, Figure] = {}
    programs: dict[str, tuple[str, ...]] = {
        CRYPTOFEED: ("decoding.py", "cryptofeed"),
        CCXT: ("decoding.py", "ccxt"),
    }
    with (
        asyncio.Runner() as runner,
        collector(runner, capacity) as ours,
        peer_processes(programs) as (running, absent),
        tempfile.TemporaryDirectory(prefix="dc-bench-") as folder,
    ):
        for name, stream in streams(quick=quick).items():
            reads = socket_reads(stream.numbered(), one_by_one=name == "decoding_one_by_one")
            check(stream, runner.run(ours.take(reads)))
            cases: dict[str, Callable[[], float]] = {
                "ours": partial(_rate, runner, ours, reads, len(stream.frames), least_s)
            }
            files = {
                CRYPTOFEED: lines_file(Path(folder), f"{name}.numbered", stream.numbered()),
                CCXT: lines_file(Path(folder), f"{name}.plain", stream.frames),
            }
            able = [CCXT] if stream.checksums else [CRYPTOFEED, CCXT]
            for peer in able:
                if peer in running:
                    cases[peer] = partial(_peer_rate, running[peer], least_s, files[peer], stream)
            runs: dict[str, Runs] = dict(interleave(cases, rounds))
            ours_runs = runs.pop("ours")
            assert not isinstance(ours_runs, str)
            runs |= {peer: why for peer, why in absent.items() if peer in able}
            found[name] = figure(ours_runs, "frames/s", runs, note=_note(stream))
    return found


def check(stream: FrameStream, done: Pass) -> None:
    """Every frame was counted and every checksum verified."""
    arrays = sum(frame.startswith(b"[") for frame in stream.frames)
    assert done.frames == arrays, (done, arrays)
    assert done.checksums_verified == stream.checksums, (done, stream.checksums)


def _note(stream: FrameStream) -> str:
    checksums = f", {stream.checksums} checksums verified" if stream.checksums else ""
    return f"{stream.source}: {len(stream.frames)} frames{checksums}"


def _rate(
    runner: asyncio.Runner, ours: Collector, reads: list[bytes], frames: int, least_s: float
) -> float:
    seconds, passes = 0.0, 0
    while passes == 0 or seconds < least_s:
        seconds += runner.run(ours.take(reads)).seconds
        passes += 1
    return passes * frames / seconds


def _peer_rate(process: PeerProcess, least_s: float, file: str, stream: FrameStream) -> float:
    answer = process.ask(f"run {least_s} {file}")
    assert answer["checksums"] == stream.checksums * answer["passes"], answer
    return float(answer["passes"] * len(stream.frames) / answer["seconds"])
