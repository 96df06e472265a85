"""The lake: Arrow files, a stream while they are open, sealed into the file format, renamed whole.

    <lake>/<venue>/websocket/<channel>/<symbol>/dt=2026-11-21/<channel>-20261121T100000Z.arrow
    <lake>/features/<venue>/<symbol>/dt=.../features-<time>.arrow         predictions likewise
    <lake>/decisions/dt=.../decisions-<time>.arrow

While a file is open it is `.<name>.part` beside its later place: an Arrow IPC stream, of which a
crash costs the last batch at most. No partial file ever has a final name. A row is written once:
each series knows the last sequence it holds, and skips what it is given again after a restart.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from msgspec import Struct

from processes.clock import day_of, file_stamp, monotonic_s
from processes.files import sync_folder
from schemas.lake import SCHEMAS

OPEN: Final = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
SEALED: Final = pa.ipc.IpcWriteOptions(
    compression=pa.Codec("zstd", compression_level=1), use_threads=False
)
"""Open files are written while the market runs, in half the time that zstd takes; sealing writes
every row once more anyway. One thread each: the other cores belong to the pipeline."""
SEALED_ROWS: Final = 65_536
PART: Final = ".part"
Pulse = Callable[[], object]
"""Called again and again in what may take long: the time to show a sign of life."""


class SeriesKey(Struct, frozen=True, kw_only=True):
    """What makes a series of files: its folder below the lake, file name prefix, and table."""

    folder: str
    prefix: str
    table: str
    suffix: str = ""


def tape_folder(venue: str, channel: str, symbol: str) -> str:
    """Folder of one symbol's channel; `/` and `:` of the symbol percent-encoded."""
    return f"{venue}/websocket/{channel}/{quote(symbol, safe='')}"


class Series:
    """The files of one key in one session, at most one of them open."""

    def __init__(
        self,
        root: Path,
        key: SeriesKey,
        constants: dict[str, str],
        last: int = 0,
        pulse: Pulse = lambda: None,
    ) -> None:
        self.key = key
        self.last = last
        """Sequence of the last row held, open or sealed."""
        self.first_open = 0
        """Sequence of the first row of the open file, 0 without one."""
        self._root = root
        self._pulse = pulse
        self._constants = constants
        self._schema = SCHEMAS[key.table]
        self._writer: Any = None
        self._sink: Any = None
        self._part = Path()
        self._final = Path()
        self._opened_s = 0.0
        self._day = ""

    @property
    def is_open(self) -> bool:
        """Whether there is an open file."""
        return self._writer is not None

    @property
    def age_s(self) -> float:
        """How long the open file has been open."""
        return monotonic_s() - self._opened_s if self.is_open else 0.0

    @property
    def bytes(self) -> int:
        """Size of the open file."""
        return int(self._sink.tell()) if self.is_open else 0

    def write(self, batch: pa.RecordBatch, sequences: np.ndarray, time_ns: int) -> int:
        """Append the rows that are not held yet; how many. A new day begins a new file."""
        new = int(np.searchsorted(sequences, self.last, side="right"))
        if new == len(sequences):
            return 0
        if new:
            batch = batch.slice(new)
        day = day_of(time_ns)
        if self.is_open and day != self._day:
            self.seal()
        if not self.is_open:
            self._open(time_ns, day)
            self.first_open = int(sequences[new])
        self._writer.write_batch(batch)
        self.last = int(sequences[-1])
        return len(sequences) - new

    def _open(self, time_ns: int, day: str) -> None:
        folder = self._root / self.key.folder / f"dt={day}"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{self.key.prefix}-{file_stamp(time_ns)}"
        stem += f"-{self.key.suffix}" if self.key.suffix else ""
        name, number = stem, 1
        while (folder / f"{name}.arrow").exists() or (folder / f".{name}.arrow{PART}").exists():
            number += 1
            name = f"{stem}-{number}"
        self._final = folder / f"{name}.arrow"
        self._part = folder / f".{name}.arrow{PART}"
        metadata = {**self._constants, "table": self.key.table}
        self._sink = pa.OSFile(str(self._part), "wb")
        schema = self._schema.with_metadata(metadata)
        self._writer = pa.ipc.new_stream(self._sink, schema, options=OPEN)
        self._opened_s = monotonic_s()
        self._day = day

    def seal(self) -> Path | None:
        """Close the open file and give it its final form and name; its path."""
        if not self.is_open:
            return None
        self._writer.close()
        self._sink.close()
        self._writer = self._sink = None
        self.first_open = 0
        return seal_part(self._part, self._final, self._pulse)

    def sync(self) -> None:
        """Make the open file's content safe from a loss of power."""
        if self.is_open:
            descriptor = os.open(self._part, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def sequence_column(schema: pa.Schema) -> str:
    """The column by which a table's rows are numbered."""
    return "tape_seq" if "tape_seq" in schema.names else "seq"


def read_stream(path: Path) -> tuple[pa.Schema | None, Iterator[pa.RecordBatch]]:
    """A stream file: its schema, None if that is missing, and its batches up to a broken one."""

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            with pa.memory_map(str(path)) as source:
                yield from pa.ipc.open_stream(source)
        except (pa.ArrowInvalid, OSError):
            return

    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_stream(source).schema, batches()
    except (pa.ArrowInvalid, OSError):
        return None, iter(())


def _large(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Small batches joined to large ones, a few of them in memory at a time."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += len(batch)
        if rows >= SEALED_ROWS:
            yield from pa.Table.from_batches(held).combine_chunks().cast(schema).to_batches()
            held, rows = [], 0
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().cast(schema).to_batches()


def seal_part(part: Path, final: Path, pulse: Pulse = lambda: None) -> Path | None:
    """A stream file to a sealed file of large batches; None (and no file) if it holds no row.

    Args:
        pulse: called between batches, since a large file takes some seconds.
    """
    schema, batches = read_stream(part)
    rows = first = last = 0
    for batch in batches:
        numbers = batch.column(sequence_column(batch.schema))
        first = first or numbers[0].as_py()
        last = numbers[-1].as_py()
        rows += len(batch)
        pulse()
    if schema is None or not rows:
        part.unlink()
        return None
    schema = schema.with_metadata(
        {
            **(schema.metadata or {}),
            b"rows": str(rows).encode(),
            b"first_seq": str(first).encode(),
            b"last_seq": str(last).encode(),
        }
    )
    beside = final.with_name(f".{final.name}.sealing")
    with (
        pa.OSFile(str(beside), "wb") as sink,
        pa.ipc.new_file(sink, schema, options=SEALED) as writer,
    ):
        for batch in _large(read_stream(part)[1], schema):
            writer.write_batch(batch)
            pulse()
    descriptor = os.open(beside, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    beside.rename(final)
    sync_folder(final.parent)
    part.unlink()
    return final


def salvage(root: Path, pulse: Pulse = lambda: None) -> list[Path]:
    """Seal whatever open files an earlier life left; the files that came of it."""
    for beside in root.rglob("*.sealing"):
        beside.unlink()  # its part is still there and whole
    sealed = []
    for part in sorted(root.rglob(f".*{PART}")):
        final = part.with_name(part.name.removeprefix(".").removesuffix(PART))
        if final.exists():
            part.unlink()  # died between the rename and this
        else:
            made = seal_part(part, final, pulse)
            sealed += [made] if made is not None else []
    return sealed


def last_sequence(root: Path, key: SeriesKey, session: int) -> int:
    """The last sequence that the sealed files of a series hold of a session; 0 if none."""
    last = 0
    folder = root / key.folder
    if not folder.exists():
        return 0
    days = sorted(folder.glob("dt=*"), reverse=True)
    for day in days:
        for path in sorted(day.glob(f"{key.prefix}-*.arrow")):
            with pa.memory_map(str(path)) as source:
                metadata = pa.ipc.open_file(source).schema.metadata or {}
            mine = metadata.get(b"session") == str(session).encode()
            if mine and metadata.get(b"suffix", b"").decode() == key.suffix:
                last = max(last, int(metadata[b"last_seq"]))
        if last:
            return last
    return last
