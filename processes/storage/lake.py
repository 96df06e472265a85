"""Writing the lake: Arrow files, a stream while they are open, then sealed and renamed.

Where they stand is in `processes/lake_files.py`. While a file is open it is `.<name>.part` beside
its later place: an Arrow IPC stream, of which a crash costs the last batch at most. No partial file
ever has a final name. A row is written once: each series knows the last sequence it holds, and
skips what it is given again after a restart.

Whatever is written here may fail for want of room (OSError). Then nothing is half written and the
same call can be made again: what was cut off is written anew, what was not sealed is sealed.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from msgspec import Struct

from processes.clock import day_of, file_stamp, monotonic_s
from processes.files import sync_folder, walk
from processes.lake_files import (
    ARROW,
    PART,
    SEALING,
    Ends,
    folders_of,
    look,
    read_stream,
    sequence_column,
    time_column,
)
from schemas.lake import SCHEMAS

OPEN: Final = pa.ipc.IpcWriteOptions(use_threads=False)
SEALED: Final = pa.ipc.IpcWriteOptions(
    compression=pa.Codec("zstd", compression_level=1), use_threads=False
)
"""Open files are written while the market runs: plain, since lz4 alone took as long as all the
rest of it. Of what is written a row, the journal's 256 bytes, they make 72 where lz4 made 33;
sealing compresses every row anyway. One thread each: the other cores belong to the pipeline."""
SEALED_ROWS: Final = 65_536
Pulse = Callable[[], object]
"""Called again and again in what may take long: the time to show a sign of life."""


class SeriesKey(Struct, frozen=True, kw_only=True):
    """What makes a series of files: its folder below the lake, file name prefix, and table."""

    folder: str
    prefix: str
    table: str
    suffix: str = ""


class _Closed(Struct, frozen=True, kw_only=True):
    """A file that takes no rows any more and is not sealed yet."""

    part: Path
    final: Path
    first: int


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
        self._first = 0
        self._whole_bytes = 0
        self._closed: list[_Closed] = []
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
    def first_unsealed(self) -> int:
        """Sequence of the first row that is in no sealed file, 0 if all are."""
        if self._closed:
            return self._closed[0].first
        return self._first if self.is_open else 0

    @property
    def waits(self) -> bool:
        """Whether a closed file could not be sealed yet."""
        return bool(self._closed)

    @property
    def age_s(self) -> float:
        """How long the open file has been open."""
        return monotonic_s() - self._opened_s if self.is_open else 0.0

    @property
    def bytes(self) -> int:
        """Size of the open file."""
        return int(self._sink.tell()) if self.is_open else 0

    def write(self, batch: pa.RecordBatch, sequences: np.ndarray, time_ns: int) -> int:
        """Append the rows that are not held yet; how many. A new day begins a new file.

        Raises:
            OSError: they could not be written; none of them is held.
        """
        new = int(np.searchsorted(sequences, self.last, side="right"))
        if new == len(sequences):
            return 0
        if new:
            batch = batch.slice(new)
        day = day_of(time_ns)
        if self._closed or (self.is_open and day != self._day):
            self.seal()
        try:
            if not self.is_open:
                self._open(time_ns, day)
                self._first = int(sequences[new])
            self._writer.write_batch(batch)
        except OSError:
            self._cut()
            raise
        self._whole_bytes = int(self._sink.tell())
        self.last = int(sequences[-1])
        return len(sequences) - new

    def _cut(self) -> None:
        """Close the open file without what was half written: nothing behind it could be read."""
        writer, sink = self._writer, self._sink
        self._writer = self._sink = None
        for one in (writer, sink):
            if one is not None:
                with contextlib.suppress(OSError):
                    one.close()
        if self._whole_bytes:
            os.truncate(self._part, self._whole_bytes)
            self._closed.append(_Closed(part=self._part, final=self._final, first=self._first))
        else:
            self._part.unlink(missing_ok=True)

    def _open(self, time_ns: int, day: str) -> None:
        self._whole_bytes = 0
        folder = self._root / self.key.folder / f"dt={day}"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{self.key.prefix}-{file_stamp(time_ns)}"
        stem += f"-{self.key.suffix}" if self.key.suffix else ""
        name, number = stem, 1
        while any((folder / one).exists() for one in (f"{name}{ARROW}", f".{name}{ARROW}{PART}")):
            number += 1
            name = f"{stem}-{number}"
        self._final = folder / f"{name}{ARROW}"
        self._part = folder / f".{name}{ARROW}{PART}"
        metadata = {**self._constants, "table": self.key.table}
        self._sink = pa.OSFile(str(self._part), "wb")
        schema = self._schema.with_metadata(metadata)
        self._writer = pa.ipc.new_stream(self._sink, schema, options=OPEN)
        self._opened_s = monotonic_s()
        self._day = day

    def seal(self) -> list[Path]:
        """Close the open file and give what is closed its final form and name; their paths.

        Raises:
            OSError: there was no room; what is not sealed is so with the next call.
        """
        if self.is_open:
            self._end()
        made = []
        while self._closed:
            one = self._closed[0]
            path = seal_part(one.part, one.final, self._pulse)
            del self._closed[0]
            made += [path] if path is not None else []
        return made

    def _end(self) -> None:
        """Close the open file whole; a stream that cannot get its end mark is readable without."""
        try:
            self._writer.close()
            self._sink.close()
        except OSError:
            self._cut()
            return
        self._writer = self._sink = None
        self._closed.append(_Closed(part=self._part, final=self._final, first=self._first))

    def sync(self) -> None:
        """Make the open file's content safe from a loss of power."""
        if self.is_open:
            descriptor = os.open(self._part, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


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

    Raises:
        OSError: it could not be written; the stream file is as it was.
    """
    schema, batches = read_stream(part, closed=True)
    ends = Ends()
    for batch in batches:
        columns = batch.schema
        ends.add(batch.column(sequence_column(columns)), batch.column(time_column(columns)))
        pulse()
    if schema is None or not ends.rows:
        part.unlink()
        return None
    counts = {name: str(number) for name, number in ends.counts.items()}
    schema = schema.with_metadata({**(schema.metadata or {}), **counts})
    beside = final.with_name(f".{final.name}{SEALING}")
    try:
        _write_sealed(part, beside, schema, pulse)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    beside.rename(final)
    sync_folder(final.parent)
    part.unlink()
    return final


def _write_sealed(part: Path, beside: Path, schema: pa.Schema, pulse: Pulse) -> None:
    with (
        pa.OSFile(str(beside), "wb") as sink,
        pa.ipc.new_file(sink, schema, options=SEALED) as writer,
    ):
        for batch in _large(read_stream(part, closed=True)[1], schema):
            writer.write_batch(batch)
            pulse()
    descriptor = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def salvage(root: Path, pulse: Pulse = lambda: None) -> list[Path]:
    """Seal whatever open files an earlier life left; the files that came of it."""
    hidden = [folder / name for folder, _, files in walk(root) for name in files if name[0] == "."]
    for beside in hidden:
        if beside.name.endswith(SEALING):
            beside.unlink()  # its part is still there and whole
    sealed = []
    for part in sorted(path for path in hidden if path.name.endswith(PART)):
        final = part.with_name(part.name.removeprefix(".").removesuffix(PART))
        if final.exists():
            part.unlink()  # died between the rename and this
        else:
            made = seal_part(part, final, pulse)
            sealed += [made] if made is not None else []
    return sealed


def last_sequence(root: Path, key: SeriesKey, constants: dict[str, str]) -> int:
    """The last sequence of a stream's session in sealed and daily files; 0 if there is none.

    Args:
        constants: the stream's, with session and ring. Two streams of a channel may share folder
            and file names; their constants tell them apart.
    """
    folder = root / key.folder
    mine = {**constants, "table": key.table}.items()
    for day in sorted(folder.glob("dt=*"), reverse=True):
        found = [
            piece.last_seq
            for file in look(day, open_too=False)[0]
            for piece in file.pieces
            if mine <= piece.constants.items()
        ]
        if found:
            return max(found)
    return 0


def last_of_ring(root: Path, ring: str, session: int) -> int:
    """The last sequence of a ring's session in any sealed or daily file; 0 if there is none.

    Of a ring whose journal is gone: every row that was in it is sealed.
    """
    kind, _, venue = ring.partition(".")
    top = root / venue / "websocket" if venue else root / kind
    wanted = {"ring": ring, "session": str(session)}.items()
    found = [
        piece.last_seq
        for folder in folders_of(top)
        for file in look(folder, open_too=False)[0]
        for piece in file.pieces
        if wanted <= piece.constants.items()
    ]
    return max(found, default=0)
