"""Rows of several files of a series as one stream, sorted by session and sequence.

Each file is sorted in itself. Files of one stream follow each other; those of two streams that
share a folder overlap. So only those files are open whose rows may come next.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from processes.lake_files import LakeFile, batches, sequence_column
from processes.lake_places import opened
from schemas.lake import SCHEMAS

EXTRA = ("session", "venue", "symbol", "pair", "suffix")
"""Columns that a daily file always has before its table's own, where the stream has them."""
NAME = pa.dictionary(pa.int32(), pa.string())


def constant_columns(table: str, constants: Iterable[dict[str, str]]) -> tuple[str, ...]:
    """Constants that become columns: the usual ones, and those that are not the same everywhere."""
    told = list(constants)
    names = dict.fromkeys(name for one in told for name in one)
    varying = [name for name in names if len({one.get(name, "") for one in told}) > 1]
    wanted = dict.fromkeys([*[name for name in EXTRA if name in names], *varying])
    return tuple(name for name in wanted if name not in SCHEMAS[table].names)


def daily_schema(table: str, columns: Sequence[str]) -> pa.Schema:
    """Columns of a daily file."""
    extra = [(name, pa.int64() if name == "session" else NAME) for name in columns]
    return pa.schema([*extra, *SCHEMAS[table]])


class Source:
    """One file's rows of one session, with the constants as columns."""

    def __init__(self, file: LakeFile, session: int, columns: Sequence[str]) -> None:
        mine = [piece for piece in file.pieces if piece.session == session]
        self.first = min(piece.first_seq for piece in mine)
        self._schema = daily_schema(file.table, columns)
        self._key = sequence_column(self._schema)
        self._session = session
        self._columns = columns
        self._file = file
        self._blocks: Iterator[pa.RecordBatch] | None = None
        self.block: pa.RecordBatch | None = None

    def open(self) -> None:
        """Fetch the first block."""
        if self._blocks is None:
            self._blocks = self._read()
            self.advance()

    @property
    def last(self) -> int:
        """Last sequence of the block."""
        assert self.block is not None
        return int(self.block.column(self._key)[-1].as_py())

    def advance(self) -> None:
        """Fetch the next block; None at the end."""
        assert self._blocks is not None
        self.block = next(self._blocks, None)

    def through(self, sequence: int) -> pa.RecordBatch:
        """Take the block's rows up to a sequence."""
        assert self.block is not None
        count = pc.sum(pc.less_equal(self.block.column(self._key), sequence)).as_py()
        taken = self.block.slice(0, count)
        self.block = self.block.slice(count)
        if not len(self.block):
            self.advance()
        return taken

    def _read(self) -> Iterator[pa.RecordBatch]:
        if self._file.form == "daily":
            yield from self._read_daily()
            return
        constants = self._file.pieces[0].constants
        for batch in batches(self._file):
            extra = [_constant(constants, name, len(batch)) for name in self._columns]
            if len(batch):
                yield pa.RecordBatch.from_arrays([*extra, *batch.columns], schema=self._schema)

    def _read_daily(self) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq  # noqa: PLC0415  (only where a day is packed again)

        constants = self._file.pieces[0].constants
        with opened(self._file.path) as source, pq.ParquetFile(source) as reader:
            there = set(reader.schema_arrow.names)
            for batch in reader.iter_batches(65_536, use_threads=False):
                mine = batch.filter(pc.equal(batch.column("session"), self._session))
                if not len(mine):
                    continue
                arrays = [
                    mine.column(field.name).cast(field.type)
                    if field.name in there
                    else _constant(constants, field.name, len(mine))
                    for field in self._schema
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def _constant(constants: dict[str, str], name: str, rows: int) -> pa.Array:
    if name == "session":
        return pa.repeat(pa.scalar(int(constants[name]), pa.int64()), rows)
    codes = pa.repeat(pa.scalar(0, pa.int32()), rows)
    return pa.DictionaryArray.from_arrays(codes, pa.array([constants.get(name, "")], pa.string()))


def merged(files: Sequence[LakeFile], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All rows of a series' files, sorted by session and sequence.

    Raises:
        LakeError: a file cannot be read.
    """
    for session in sorted({number for file in files for number in file.sessions}):
        mine = [Source(file, session, columns) for file in files if session in file.sessions]
        yield from _merged_session(sorted(mine, key=lambda source: source.first))


def _merged_session(sources: list[Source]) -> Iterator[pa.RecordBatch]:
    active: list[Source] = []
    while sources or active:
        if not active:
            active.append(_opened(sources.pop(0)))
        end = min(source.last for source in active)
        while sources and sources[0].first <= end:
            active.append(_opened(sources.pop(0)))
            end = min(end, active[-1].last)
        parts = [source.through(end) for source in active]
        active = [source for source in active if source.block is not None]
        yield _sorted([part for part in parts if len(part)])


def _opened(source: Source) -> Source:
    source.open()
    assert source.block is not None
    return source


def _sorted(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(parts) == 1:
        return parts[0]
    table: Any = pa.Table.from_batches(parts).unify_dictionaries()
    order = pc.sort_indices(table, sort_keys=[(sequence_column(table.schema), "ascending")])
    return table.take(order).combine_chunks().to_batches()[0]
