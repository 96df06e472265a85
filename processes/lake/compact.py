"""Compaction: a day's sealed files of a series become one Parquet file, and only then are removed.

    1. write .<name>.packing: all rows, sorted by session and sequence, and what it is made of
    2. read it back and hold every value of every row against the Arrow files
    3. sync it, rename it to <prefix>[-suffix].parquet
    4. remove the Arrow files

Killed before 3 there is a leftover and nothing else has happened; killed after it, the Arrow files
that are still there do not count, since the Parquet file names them (`processes/lake_files.py`).
The next compaction removes either. A day that got more files is packed again, with what it has:
with the daily file that its store has, too. What it makes is always here; the store gets it, and
gives up what it replaces, with the next push.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from processes.files import sync_folder
from processes.lake.files import Wanted, check_is_there, series_of
from processes.lake.lock import hold
from processes.lake.merge import constant_columns, daily_schema, merged
from processes.lake_files import (
    DAILY,
    PACKING,
    PIECES,
    LakeFile,
    counting,
    describe,
    folders_of,
    sequence_column,
    superseded,
)
from processes.lake_places import Place, entries, local_of, name_in
from schemas.errors import LakeError, OperatorError

GROUP_ROWS: Final = 131_072
"""Rows of a row group: 10 MB of books, 60 MB of features in memory while it is written."""
ZSTD_LEVEL: Final = 3
RISING: Final = (
    "tape_seq", "venue_seq", "event_ns", "recv_ns", "seq", "cut_ns", "made_ns", "time_ns",
    "newest_recv_ns",
)  # fmt: skip
"""Columns that mostly rise: their steps take a third of what they take themselves."""


class Packed(Struct, frozen=True, kw_only=True):
    """One day of one series that was packed."""

    file: str
    series: str
    day: str
    rows: int
    files: int
    """Arrow files that it replaced."""
    bytes_before: int
    bytes_after: int


def compact(lake: Place, *, before: str, wanted: Wanted | None = None) -> list[Packed]:
    """Pack all days before one (2026-11-21), of those series that are wanted.

    Open files are left as they are.

    Raises:
        OperatorError: there is no lake, or somebody compacts or verifies it, or it is a store.
        LakeError: a file cannot be read, or the proof failed: then nothing was removed.
        OSError: there is no room; nothing was removed.
    """
    check_is_there(lake)
    here = local_of(lake)
    if here is None:
        raise OperatorError(f"{lake} is a store: compact the lake that pushes there")
    done: list[Packed] = []
    with hold(lake, alone=True):
        for folder in folders_of(lake):
            if folder.name.removeprefix("dt=") >= before or not _may_need_it(folder):
                continue
            mine = here / name_in(lake, folder)
            for name, files in _series(folder, wanted or Wanted()).items():
                _tidy(mine, name)
                if any(file.form == "sealed" for file in files) or len(files) > 1:
                    done.append(_pack(here, mine / name, files))
    return done


def _may_need_it(folder: Place) -> bool:
    """Whether a day has more than one daily file a series, by the names that stand in it."""
    names = [entry.path.name for entry in entries(folder)]
    return len(set(names)) < len(names) or any(not name.endswith(DAILY) for name in names)


def _series(folder: Place, wanted: Wanted) -> dict[str, list[LakeFile]]:
    """A day's sealed and daily files by the name of the daily file that they are to become."""
    found: dict[str, list[LakeFile]] = {}
    for file in counting(folder):
        if file.form != "open" and wanted.takes(file):
            suffix = file.constant("suffix")
            prefix = file.constant("channel") or file.table
            name = f"{prefix}-{suffix}" if suffix else prefix
            found.setdefault(f"{name}{DAILY}", []).append(file)
    return found


def _tidy(folder: Path, name: str) -> None:
    """Remove what a compaction that died has left of a series."""
    (folder / f".{name}{PACKING}").unlink(missing_ok=True)
    daily = folder / name
    if not daily.exists():
        return
    mine = {piece.identity for piece in describe(daily).pieces}
    for file in superseded(folder):
        if isinstance(file.path, Path) and all(piece.identity in mine for piece in file.pieces):
            file.path.unlink()
    sync_folder(folder)


def _pack(lake: Path, final: Path, files: Sequence[LakeFile]) -> Packed:
    pieces = sorted(
        (piece for file in files for piece in file.pieces),
        key=lambda piece: (piece.session, piece.first_seq),
    )
    table = files[0].table
    columns = constant_columns(table, [piece.constants for piece in pieces])
    same = {
        name: value for name, value in pieces[0].constants.items() if name not in columns
    }  # fmt: skip
    schema = daily_schema(table, columns).with_metadata(
        {**same, "table": table, PIECES.decode(): msgspec.json.encode(pieces).decode()}
    )
    beside = final.with_name(f".{final.name}{PACKING}")
    final.parent.mkdir(parents=True, exist_ok=True)  # all of the day may be in the store
    try:
        _write(beside, schema, merged(files, columns))
        _prove(beside, schema, merged(files, columns), sum(piece.rows for piece in pieces))
    except (OSError, LakeError):
        beside.unlink(missing_ok=True)
        raise
    descriptor = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.rename(final)
    sync_folder(final.parent)
    sealed = [file for file in files if file.form == "sealed"]
    for file in sealed:
        if isinstance(file.path, Path):
            file.path.unlink()
    sync_folder(final.parent)
    made = describe(final)
    return Packed(
        file=str(final.relative_to(lake)),
        series=series_of(made, lake),
        day=made.day,
        rows=made.rows,
        files=len(sealed),
        bytes_before=sum(file.bytes for file in files),
        bytes_after=made.bytes,
    )


def _write(path: Path, schema: pa.Schema, rows: Iterator[pa.RecordBatch]) -> None:
    names = schema.names
    order = [names.index("session"), names.index(sequence_column(schema))]
    steps = [name for name in RISING if name in names]
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=[name for name in names if name not in steps],
        column_encoding=dict.fromkeys(steps, "DELTA_BINARY_PACKED"),
        sorting_columns=[pq.SortingColumn(index) for index in order],
    ) as writer:
        for group in _groups(rows):
            writer.write_table(group, row_group_size=GROUP_ROWS)


def _groups(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Rows in row groups, all but the last of the same size."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in rows:
        held.append(batch)
        count += len(batch)
        while count >= GROUP_ROWS:
            table = pa.Table.from_batches(held).unify_dictionaries()
            yield table.slice(0, GROUP_ROWS)
            rest = table.slice(GROUP_ROWS)
            held, count = rest.to_batches(), len(rest)
    if count:
        yield pa.Table.from_batches(held).unify_dictionaries()


def _prove(path: Path, schema: pa.Schema, rows: Iterator[pa.RecordBatch], expected: int) -> None:
    """Raises LakeError unless the file holds exactly these rows, bit for bit, in this order."""
    proved = 0
    with pq.ParquetFile(path) as reader:
        if not reader.schema_arrow.remove_metadata().names == schema.names:
            raise LakeError(f"{path} does not have the columns it was given; nothing was removed")
        written = _Cursor(reader.iter_batches(65_536, use_threads=False))
        for batch in rows:
            for index, field in enumerate(schema):
                if index == 0:
                    mine = written.take(len(batch))
                if not _same(batch.column(index), mine.column(index), field.type):
                    raise LakeError(
                        f"{path}: {field.name} differs from the Arrow files near row {proved}; "
                        "nothing was removed. Try again, and check the disk if it comes again"
                    )
            proved += len(batch)
        if proved != expected or written.left:
            raise LakeError(f"{path} has {proved} rows of {expected}; nothing was removed")


class _Cursor:
    """Blocks cut anew to the lengths that are asked for."""

    def __init__(self, blocks: Iterator[pa.RecordBatch]) -> None:
        self._blocks = blocks
        self._held: list[pa.RecordBatch] = []

    def take(self, rows: int) -> pa.Table:
        """The next rows, or what is left."""
        while sum(map(len, self._held)) < rows:
            block = next(self._blocks, None)
            if block is None:
                break
            self._held.append(block)
        table = pa.Table.from_batches(self._held)
        self._held = table.slice(rows).to_batches()
        return table.slice(0, rows)

    @property
    def left(self) -> bool:
        """Whether anything was not taken."""
        return any(map(len, self._held)) or next(self._blocks, None) is not None


def _same(mine: Any, other: Any, kind: pa.DataType) -> bool:
    """Equal to the last bit: a NaN is itself, and 0 is not -0."""
    other = other.combine_chunks()
    if isinstance(other, pa.ChunkedArray):
        other = other.chunk(0) if other.num_chunks else pa.array([], other.type)
    if pa.types.is_dictionary(kind):
        values = kind.value_type
        return bool(mine.cast(values).equals(other.cast(values)))
    other = other.cast(kind)
    if pa.types.is_fixed_size_list(kind):
        return len(mine) == len(other) and _same(
            mine.flatten(), pa.chunked_array([other.flatten()]), kind.value_type
        )
    if pa.types.is_floating(kind):
        words = pa.int64() if pa.types.is_float64(kind) else pa.int32()
        return bool(mine.view(words).equals(other.view(words)))
    return bool(mine.equals(other))
