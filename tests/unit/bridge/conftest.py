"""What the bridge's tests share: rings of an instance, slots for them, and a real Redis."""

import json
import os
import random
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
import redis

from processes.bridge.entries import Names
from processes.bridge.link import FAILURES, Link
from processes.bridge.market import Market
from processes.bridge.outlet import Outlet
from processes.bridge.source import Source
from processes.places import read_settings
from schemas import tape
from schemas.streams import DATA, MarketBody
from schemas.tape import Flag, Kind, Side
from shm.ring import RingWriter
from tests.instances import Bare, bare_instance
from tests.servers import RedisServer, redis_server

T0 = 1_760_000_000_000_000_000
RING = "tape.bitfinex"


def tape_slots(count: int, kind: Kind = Kind.TRADE, first: int = 0) -> np.ndarray:
    """Slots that can be told apart by their prices."""
    slots = np.zeros(count, tape.SLOT)
    numbers = np.arange(first, first + count)
    slots["kind"] = kind
    slots["side"] = np.where(numbers % 2, Side.ASK, Side.BID)
    slots["event_ns"] = T0 + numbers * 1_000_000
    slots["recv_ns"] = slots["event_ns"] + 5_000_000
    slots["price"] = 60_000 + numbers / 10
    slots["size"] = 0.25
    slots["reference_price"] = 60_000.0
    if kind == Kind.BOOK_LEVEL:
        slots["flags"] = Flag.PRIMARY | Flag.FRAME_END
        book = np.zeros((count, 4, tape.LEVELS), np.float32)
        book[:, 0, :3] = [-0.1, -0.2, -0.3]
        book[:, 1, :3] = [0.1, 1.5, 12345.678]
        book[:, 2, :2] = [0.1, 7.3]
        book[:, 3, :2] = [1e-5, 3.0]
        slots["book"] = book.reshape(count, -1)
    return slots


class Rings:
    """A bare instance, and writers of its rings in this process."""

    def __init__(self, instance: Bare) -> None:
        self.instance = instance
        self.memory = instance.memory
        _, self.paths, _ = read_settings(instance.paths.run)
        self.names = Names(lambda: self.tables)

    @property
    def session(self) -> int:
        return self.memory.registry.session

    @property
    def tables(self):
        from schemas.instruments import Tables

        path = self.paths.data / "state" / "instruments.json"
        return msgspec.json.decode(path.read_bytes(), type=Tables)

    def writer(self, ring: str = RING) -> RingWriter:
        from processes.rings import ring_layout

        dtype, layout = ring_layout(ring)
        segments = self.memory._segments
        return RingWriter(segments[f"ring {ring}"], segments[f"readers {ring}"], dtype, layout)

    def reader(self, name: str, ring: str = RING, **options):
        from processes.rings import ring_layout
        from shm.readers import RingReader

        dtype, layout = ring_layout(ring)
        segments = self.memory._segments
        return RingReader(
            segments[f"ring {ring}"], segments[f"readers {ring}"], dtype, layout, name, **options
        )


class Way:
    """The way out of one tape, turned by the test itself."""

    def __init__(self, rings: Rings, url: str, **changes) -> None:
        settings = rings.instance.settings.bridge
        self.settings = msgspec.structs.replace(
            settings, url=url, timeout_s=0.2, backoff_first_s=0.001, backoff_longest_s=0.01,
            **changes,
        )  # fmt: skip
        self.link = Link(self.settings, os.environ, random.Random(1))
        self.market = Market(self.settings, "bitfinex", f"{rings.session}/{RING}", rings.names)
        self.reader = rings.reader("bridge", limit=self.settings.batch)
        self.source = Source(
            RING, rings.session, self.reader, "bitfinex", self.market.streams,
            lambda slots, behind: self.market.entries(slots, behind=behind),
            self.settings.conflate_lag, lambda: T0,
        )  # fmt: skip
        self.outlet = Outlet(self.link, [self.source], self.settings.prefix)
        self.errors: list[Exception] = []

    def turn(self) -> bool:
        try:
            more = self.outlet.turn()
        except FAILURES as error:
            self.errors.append(error)
            self.link.failed(error)
            return True
        return more

    def done(self) -> bool:
        self.turn()
        return self.outlet.idle()

    def close(self) -> None:
        self.link.close()


def entries(client: redis.Redis, stream: str) -> list[dict[str, object]]:
    """All entries of a stream, bodies decoded and held against their form."""
    found = []
    for number, fields in client.xrange(stream):
        raw = fields[b"body"]
        body = msgspec.json.decode(raw, type=MarketBody)
        msgspec.convert(body.data, DATA[body.type])
        session, ring, sequence = fields[b"source"].decode().split("/")
        found.append(
            {
                "id": number, "raw": raw, "body": json.loads(raw), "ring": ring,
                "session": int(session), "sequence": int(sequence),
                "flags": fields.get(b"flags", b"").decode(),
            }
        )  # fmt: skip
    return found


def missing(found: list[dict[str, object]], last: int) -> set[int]:
    """Sequences up to `last` that have neither an entry nor lie in a gap that was told of."""
    told: set[int] = set()
    for entry in found:
        body = entry["body"]
        if body["type"] == "gap":
            told |= set(range(body["data"]["from_sequence"], body["data"]["to_sequence"] + 1))
        else:
            told.add(entry["sequence"])
    return set(range(1, last + 1)) - told


@pytest.fixture
def rings() -> Iterator[Rings]:
    with bare_instance(bridge__enabled=True) as made:
        made.put_in_force()
        made.open()
        yield Rings(made)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as made:
        yield made


@pytest.fixture
def client(server) -> Iterator[redis.Redis]:
    made = redis.Redis.from_url(server.url, socket_timeout=5)
    yield made
    made.close()


@pytest.fixture
def make_way(rings, server) -> Iterator[object]:
    made: list[Way] = []

    def make(**changes) -> Way:
        made.append(Way(rings, server.url, **changes))
        return made[-1]

    yield make
    for way in made:
        way.close()
