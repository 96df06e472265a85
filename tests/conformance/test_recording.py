"""What a session recorded, ingested: the very same events, books and checksums as on its tape."""

import numpy as np
import pytest

from processes.cli.frames import read_frames
from processes.cli.ingest import Ingestion
from processes.collector.recorder import Recorder
from schemas import tape
from schemas.feeds import BookSettings
from schemas.layout import join
from schemas.tape import Kind, Marker
from tests.conformance.clock import Clock, run_in
from tests.conformance.harness import World
from tests.conformance.subjects import BITFINEX, SUBJECTS, Subject
from venues.book import ASK, BID, wire_levels


class Listening(Ingestion):
    """An ingestion whose slots can be looked at."""

    def __init__(self, *arguments):
        self.blocks = []
        super().__init__(*arguments)

    def _publish(self, block, count):
        self.blocks.append(block.slots[:count].copy())
        super()._publish(block, count)


def by_stream(slots, instruments, streams) -> dict[tuple, bytes]:
    """Events of each stream, whole, but for what is the recording's own numbering."""
    events = slots[slots["kind"] != Kind.MARKER].copy()
    places = np.stack([events["instrument"], events["stream"]], axis=1).astype(np.int64)
    for name in ("sequence", "epoch", "instrument", "stream"):
        events[name] = 0
    return {
        (instruments[instrument], streams[stream]): events[
            (places == (instrument, stream)).all(axis=1)
        ].tobytes()
        for instrument, stream in np.unique(places, axis=0).tolist()
    }


def stream_key(stream) -> tuple:
    return stream.channel, stream.precision, stream.frequency, stream.length, stream.timeframe


def gaps(slots) -> list[tuple]:
    markers = tape.view_as(slots, tape.MARKER)
    mine = markers[(markers["kind"] == Kind.MARKER) & (markers["marker"] == Marker.GAP)]
    names = ("from_venue_sequence", "from_recv_ns", "from_event_ns", "to_recv_ns", "recv_ns")
    return sorted(tuple(int(gap[name]) for name in names) for gap in mine)


def books_of(markets, instruments, streams) -> dict[tuple, list]:
    return {
        (instruments[instrument], streams[stream], side): wire_levels(markets.books, book, side, 99)
        for (instrument, stream), book in markets.indices().items()
        for side in (BID, ASK)
    }


@pytest.mark.parametrize("fault", [None, "cut"])
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_a_recording_ingested_is_the_tape(clock: Clock, subject: Subject, tmp_path, fault):
    recorder = Recorder(tmp_path / "frames", 100_000, 1 << 30)
    more = {}
    if subject is BITFINEX:
        books = tuple(BookSettings(precision=p, length=25) for p in ("P0", "P2", "R0"))
        more = {"books": books, "subscriptions_per_connection": 7}
    worlds = []

    async def live() -> None:
        async with World(subject, clock, recorder=recorder, **more) as world:
            worlds.append(world)
            await world.all_live()
            await world.passed(10)
            if fault:
                world.fault(fault)
                await world.until(lambda: all(s.connections == 2 for s in world.sessions))
                await world.all_live()
            await world.passed(10)

    run_in(clock, live(), 600)
    world = worlds[0]
    recorder.close()
    assert recorder.lost == 0

    ingestion = Listening(subject.name, tmp_path / "out")
    try:
        files = sorted((tmp_path / "frames").rglob("*.zst"))
        for frame in read_frames(files):
            ingestion.add(frame)
        told = ingestion.finish()
    finally:
        ingestion.close()

    tables = ingestion._allotment.tables
    ingested = join(ingestion.blocks, tape.SLOT)
    ours = by_stream(
        ingested,
        [item.symbol for item in tables.instruments],
        [stream_key(item) for item in tables.streams],
    )
    symbols = {item.index: item.symbol for item in world.tables.instruments.values()}
    streams = {item.index: stream_key(item) for item in world.tables.streams.values()}
    theirs = by_stream(world.tape.slots, symbols, streams)
    assert ours.keys() == theirs.keys()
    for key, events in theirs.items():
        assert ours[key] == events, key
    if fault:
        assert gaps(ingested) == gaps(world.tape.slots)
    tallies = [session.codec.tally() for session in world.sessions]
    assert told["checksums"] == {
        "verified": sum(tally["checksums_verified"] for tally in tallies), "failed": 0,
    }  # fmt: skip
    assert told["frames"] == recorder.recorded
    assert told["sequence"]["gaps"] == told["errors_total"] == told["unknown_frames"] == 0
    assert told["connections"] == sum(session.connections for session in world.sessions)
    assert books_of(
        ingestion._first.codec.markets,
        [item.symbol for item in tables.instruments],
        [stream_key(item) for item in tables.streams],
    ) == books_of(world.venue.markets, symbols, streams)
