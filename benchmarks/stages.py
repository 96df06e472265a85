"""What single stages cost, on one core: features a tape event, and the lake a row.

The slots are real ones: frames of `benchmarks/load.py` for 16 symbols through the production codec.
Features: the production cutter on blocks of 64 slots as a busy reader brings them, at 10,000 events
a second of receive time, with the one-second cuts that fall due; and a row alone. Lake: the
production lake writer on 65,536 slots at a time, from slots to open Arrow files (and `lake_sealed`:
to their final form); the peers are `csv.writer` and JSON lines by `orjson` with the same columns of
the first of the rows, which they are given as tuples and dicts, made before their time begins. All
times are processor times of all threads.
"""

import csv
import gc
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import orjson

from benchmarks.figures import Figure, figure, interleave
from benchmarks.recordings import SYMBOLS, generated
from processes.features.cutter import Cutter
from processes.storage.store import PENDING_SLOTS, Lake, Split, TableView
from processes.supervisor.tables import Allotment
from schemas import tape
from schemas.instruments import Instrument, Tables
from schemas.lake import SCHEMAS
from schemas.layout import join
from schemas.settings import FeatureSettings, StorageSettings
from schemas.tape import Kind
from venues.bitfinex.codec import BitfinexCodec
from venues.markets import Markets
from venues.wire import FrameBatch

BLOCK = 64
SPACING_NS = 100_000
"""Receive times: 10,000 events a second."""
START_NS = 1_760_000_000_000_000_000
TICK_SIZE = 1.0
SILENT_CUTS = 50
FEWER = 4 * PENDING_SLOTS
"""So many slots do for features and the peers. The lake takes four times as many: making its files
and folders, which happens once an hour, should not count for more than it does."""


def make_tape(events: int, symbols: int = len(SYMBOLS)) -> tuple[np.ndarray, Tables]:
    """The tape of symbols' books from their snapshots on, evenly spaced in time, and tables."""
    allotment = Allotment()
    blocks: list[np.ndarray] = []
    codec = BitfinexCodec(
        Markets(),
        lambda block, number: blocks.append(block.slots[:number].copy()),
        allot=partial(allotment.place, "bitfinex"),
    )
    codec.open(1, START_NS, from_first=False)
    batch = FrameBatch()
    for frame in generated(events, symbols).frames:
        if not batch.add(frame):
            codec.feed(batch, START_NS)
            batch.clear()
            batch.add(frame)
    codec.feed(batch, START_NS)
    slots = join(blocks, tape.SLOT)
    number = np.arange(len(slots))
    slots["sequence"] = number + 1
    slots["venue_sequence"] = number + 1
    slots["recv_ns"] = START_NS + number * SPACING_NS + number * 7919 % 20_011
    slots["event_ns"] = slots["recv_ns"] // 1_000_000 * 1_000_000 - 3_000_000
    return slots, allotment.tables


def ticking(tables: Tables) -> list[Instrument]:
    """The instruments, all with the tick of the generated books."""
    return [msgspec.structs.replace(one, tick_size=TICK_SIZE) for one in tables.instruments]


def make_slots(events: int) -> tuple[np.ndarray, Tables]:
    """The last so many slots of such a tape, when all books are there."""
    slots, tables = make_tape(events)
    slots = slots[-events:].copy()
    slots["sequence"] = slots["venue_sequence"] = np.arange(events) + 1
    assert (slots["kind"] == Kind.BOOK_LEVEL).all()
    return slots, tables


class Features:
    """The cutter over all slots, in blocks."""

    def __init__(self, slots: np.ndarray, tables: Tables) -> None:
        self._slots = slots
        self._instruments = ticking(tables)
        self.rows = 0
        self.row_us: list[float] = []
        """Microseconds a row, of each run."""

    def run(self) -> float:
        """Nanoseconds an event, rows that are cut included."""
        slots = self._slots
        now_ns = START_NS
        cutter = Cutter(
            self._instruments, 1, FeatureSettings(),
            lambda _, __, ___: None, lambda: now_ns,
        )  # fmt: skip
        cutter.compile()
        cutter.begin(START_NS)
        times = slots["recv_ns"].tolist()
        base, size = int(slots.ctypes.data), slots.dtype.itemsize
        gc.collect()
        began = time.process_time()
        for first in range(0, len(slots), BLOCK):
            block = slots[first : first + BLOCK]
            now_ns = times[first + len(block) - 1]
            cutter.take(0, block, base + first * size)
            cutter.turn()
        seconds = time.process_time() - began
        assert cutter.events == len(slots)
        self.rows = cutter.rows
        # Boundaries that pass in silence: what is left of a cut without any event.
        now_ns += SILENT_CUTS * 1_000_000_000
        began = time.process_time()
        cutter.turn()
        self.row_us.append((time.process_time() - began) / (cutter.rows - self.rows) * 1e6)
        return seconds / len(slots) * 1e9


class LakeRows:
    """Slots to Arrow files, and the same rows to one CSV file."""

    def __init__(self, slots: np.ndarray, tables: Tables) -> None:
        self._slots = slots
        self._tables = tables
        self.sealed: list[float] = []
        self.bytes_a_row = 0.0
        self.csv_bytes_a_row = 0.0
        self.json_bytes_a_row = 0.0
        self._rows: list[tuple[object, ...]] = []

    def lake(self) -> float:
        """Rows a second into the open files; sealing them is timed too, and kept beside."""
        with tempfile.TemporaryDirectory(prefix="dc-bench-") as folder:
            split = Split("tape.bitfinex", TableView(self._tables))
            lake = Lake(Path(folder), split, 1, StorageSettings())
            gc.collect()
            began = time.process_time()
            for first in range(0, len(self._slots), PENDING_SLOTS):
                lake.write(self._slots[first : first + PENDING_SLOTS])
            written = time.process_time()
            lake.seal_all()
            sealed = time.process_time()
            files = list(Path(folder).rglob("*.arrow"))
            self.bytes_a_row = sum(file.stat().st_size for file in files) / lake.rows
        assert lake.rows == len(self._slots)
        self.sealed.append(lake.rows / (sealed - began))
        return lake.rows / (written - began)

    def csv(self) -> float:
        """Rows a second by `csv.writer`."""
        rows = self._rows or self._make_rows()
        with tempfile.TemporaryDirectory(prefix="dc-bench-") as folder:
            path = Path(folder) / "rows.csv"
            gc.collect()
            began = time.process_time()
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)
            seconds = time.process_time() - began
            self.csv_bytes_a_row = path.stat().st_size / len(rows)
        return len(rows) / seconds

    def json_lines(self) -> float:
        """Rows a second by `orjson`, a line each."""
        names = SCHEMAS["books"].names
        rows = [dict(zip(names, row, strict=True)) for row in self._rows or self._make_rows()]
        with tempfile.TemporaryDirectory(prefix="dc-bench-") as folder:
            path = Path(folder) / "rows.jsonl"
            gc.collect()
            began = time.process_time()
            with path.open("wb") as file:
                for row in rows:
                    file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            seconds = time.process_time() - began
            self.json_bytes_a_row = path.stat().st_size / len(rows)
        return len(rows) / seconds

    def _make_rows(self) -> list[tuple[object, ...]]:
        """The first rows as the lake has them, but for the order of the series."""
        split = Split("tape.bitfinex", TableView(self._tables))
        for group, rows in split.groups(self._slots[:FEWER]):
            batch = split.batch(group, rows)
            assert batch.schema.equals(SCHEMAS["books"])
            self._rows += zip(*[column.to_pylist() for column in batch.columns], strict=True)
        return self._rows


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """All figures of the stages."""
    slots, tables = make_slots(20_000 if quick else 16 * PENDING_SLOTS)
    rounds = 1 if quick else 7
    features, rows = Features(slots[:FEWER], tables), LakeRows(slots, tables)
    features.run()
    cases: dict[str, Callable[[], float]] = {
        "features": features.run, "lake": rows.lake, "csv": rows.csv,
        "json": rows.json_lines,
    }  # fmt: skip
    runs = interleave(cases, rounds)
    what = f"{len(slots):,} book slots of {len(tables.instruments)} symbols"
    peers = {"csv.writer": runs["csv"], "orjson lines": runs["json"]}
    return {
        "features": figure(
            runs["features"],
            "ns/event",
            note=f"the first {min(FEWER, len(slots)):,} of {what} in blocks of {BLOCK}, "
            f"{features.rows} rows cut",
        ),
        "features_row": figure(
            features.row_us,
            "µs/row",
            note=f"{SILENT_CUTS} cuts of {len(tables.instruments)} instruments, all columns judged",
        ),
        "lake": figure(runs["lake"], "rows/s", peers, note=f"{what}, into open files"),
        "lake_sealed": figure(
            rows.sealed, "rows/s", peers, note="the same, and read again, compressed anew, synced"
        ),
        "lake_bytes": figure(
            [rows.bytes_a_row],
            "bytes/row",
            {"csv.writer": [rows.csv_bytes_a_row], "orjson lines": [rows.json_bytes_a_row]},
            note="sealed files",
            less_is_better=True,
        ),
    }
