"""Lakes for tests: a tape ring with the store that empties it, and what its files hold."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from processes.lake_files import batches, counting, folders_of
from processes.rings import ring_layout
from processes.storage.lake import salvage
from processes.storage.pressure import Step
from processes.storage.relief import Relief
from processes.storage.store import Store, TableView
from schemas import tape
from schemas.instruments import Instrument, Stream, Tables
from schemas.settings import StorageSettings
from schemas.tape import Kind
from shm.readers import READERS_BYTES, RingReader, format_readers
from shm.ring import RingWriter, format_ring, ring_bytes
from shm.segment import Segment, segment_name

NOW = 1_760_000_000_000_000_000
TABLES = Tables(
    instruments=[
        Instrument(index=0, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD"),
        Instrument(index=1, venue="bitfinex", symbol="tDOGE:USD", pair="DOGE/USD"),
    ],
    streams=[
        Stream(index=0, channel="books", precision="P0", frequency="F0", length=25),
        Stream(index=1, channel="trades"),
        Stream(index=2, channel="books", precision="P1", frequency="F0", length=25),
        Stream(index=3, channel="candles", timeframe="1m"),
        Stream(index=4, channel="raw_books", precision="R0"),
    ],
)


def tape_slots(count: int, first: int = 1, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed + first)
    slots = np.zeros(count, tape.SLOT)
    slots["sequence"] = np.arange(first, first + count)
    slots["recv_ns"] = NOW + slots["sequence"].astype(np.int64) * 1000
    slots["instrument"] = draw.integers(0, 2, count)
    slots["stream"] = draw.integers(0, 2, count)
    slots["kind"] = np.where(slots["stream"] == 1, Kind.TRADE, Kind.BOOK_LEVEL)
    slots["price"] = draw.normal(100, 1, count)
    slots["size"] = draw.random(count)
    slots["side"] = draw.integers(1, 3, count)
    slots["id_low"] = slots["sequence"]
    slots["epoch"] = 7
    return slots


class Ring:
    """A tape ring with the store that empties it."""

    def __init__(self, folder, instance, pressure=None, **settings):
        self.folder = folder
        self.pressure = pressure
        self.steps: list[Step] = []
        (folder / "lake").mkdir(exist_ok=True)
        self.settings = StorageSettings(**settings)
        self.dtype, self.layout = ring_layout("tape.bitfinex")
        self.segments = [
            Segment.create(segment_name(instance, "t"), ring_bytes(256, 4096)),
            Segment.create(segment_name(instance, "t.r"), READERS_BYTES),
        ]
        format_ring(self.segments[0], 256, 4096, self.layout, 5)
        format_readers(self.segments[1])
        self.writer = RingWriter(*self.segments, self.dtype, self.layout)
        self.sent = 0
        self.store = self.open()

    def open(self, session=5) -> Store:
        """A store of a new life; the old one is simply gone, as after a SIGKILL."""
        salvage(self.folder / "lake")
        self.store = Store(
            "tape.bitfinex",
            RingReader(*self.segments, self.dtype, self.layout, "storage", limit=512),
            self.folder / "journal",
            self.folder / "lake",
            TableView(TABLES),
            session,
            self.settings,
            relief=self._relief(session),
        )
        self.store.recover()
        return self.store

    def _relief(self, session) -> Relief | None:
        if self.pressure is None:
            return None
        lake = self.folder / "lake"
        told = lambda _, step, __: self.steps.append(step)  # noqa: E731
        return Relief(self.pressure, lake, "tape.bitfinex", session, told)

    def send(self, count):
        self.writer.append(tape_slots(count, self.sent + 1))
        self.sent += count

    def close(self):
        for segment in self.segments:
            segment.close()
            Segment.unlink(segment.name)


def sealed_rows(folder) -> dict[str, list[int]]:
    """Tape sequences by file, over all sealed files."""
    found = {}
    for path in sorted((folder / "lake").rglob("*.arrow")):
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        found[str(path.relative_to(folder / "lake"))] = table["tape_seq"].to_pylist()
    return found


def all_sequences(folder) -> list[int]:
    return sorted(n for numbers in sealed_rows(folder).values() for n in numbers)


def counted_sequences(lake: Path) -> list[int]:
    """Tape sequences over all files that count, by any tool's rule."""
    return sorted(
        number
        for folder in folders_of(lake)
        for file in counting(folder)
        for batch in batches(file, ["tape_seq"])
        for number in batch.column(0).to_pylist()
    )
