"""Rows of one ring out of the lake, from all its series, in the order of the ring.

A series is a folder's files of one session, sealed ones and the open one that a crash or a running
instance has left. One batch of each series is in memory at a time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from msgspec import Struct

from processes.storage.lake import PART, read_stream, sequence_column
from schemas.errors import OperatorError

MOST_ROWS: Final = 131_072
"""Rows in a part of the ring, about."""


class SeriesFile(Struct, frozen=True, kw_only=True):
    """One file of a series."""

    path: Path
    metadata: dict[str, str]
    sealed: bool

    @property
    def order(self) -> tuple[bool, int]:
        """Sealed files by their first row, the open one behind them."""
        return not self.sealed, int(self.metadata.get("first_seq", 0))


class Part(Struct, frozen=True):
    """Rows of one series that belong between others of the ring."""

    metadata: dict[str, str]
    batch: pa.RecordBatch
    sequences: np.ndarray
    """(rows) uint64."""


def files_of(root: Path, folder: str, session: int) -> dict[tuple[str, str], list[SeriesFile]]:
    """Files of a session below a folder of the lake, by series."""
    found: dict[tuple[str, str], list[SeriesFile]] = {}
    top = root / folder
    if not top.is_dir():
        return found
    for path in sorted(top.rglob("*.arrow*")):
        sealed = path.suffix == ".arrow"
        if not sealed and not path.name.endswith(f".arrow{PART}"):
            continue
        metadata = _metadata(path, sealed=sealed)
        if metadata.get("session") != str(session):
            continue
        key = (str(path.parent.parent), metadata.get("suffix", ""))
        file = SeriesFile(path=path, metadata=metadata, sealed=sealed)
        found.setdefault(key, []).append(file)
    return found


def _metadata(path: Path, *, sealed: bool) -> dict[str, str]:
    if sealed:
        try:
            with pa.memory_map(str(path)) as source:
                schema = pa.ipc.open_file(source).schema
        except (pa.ArrowInvalid, OSError) as error:
            raise OperatorError(
                f"{path} cannot be read: {error}; type: dcctl lake verify"
            ) from None
    else:
        schema = read_stream(path)[0]
    told = (schema.metadata or {}) if schema is not None else {}
    return {name.decode(): value.decode() for name, value in told.items()}


class _Cursor:
    """Where the reading of a series stands."""

    def __init__(self, files: list[SeriesFile]) -> None:
        self.metadata = files[0].metadata
        self._batches = self._all(sorted(files, key=lambda file: file.order))
        self._batch: pa.RecordBatch | None = None
        self._sequences = np.zeros(0, np.uint64)
        self._at = 0
        self.advance()

    @staticmethod
    def _all(files: list[SeriesFile]) -> Iterator[pa.RecordBatch]:
        for file in files:
            if file.sealed:
                with pa.memory_map(str(file.path)) as source:
                    reader = pa.ipc.open_file(source)
                    for index in range(reader.num_record_batches):
                        yield reader.get_batch(index)
            else:
                yield from read_stream(file.path)[1]

    def advance(self) -> None:
        """To the next batch if this one is done."""
        while self._at >= len(self._sequences):
            self._batch = next(self._batches, None)
            if self._batch is None:
                return
            column = self._batch.column(sequence_column(self._batch.schema))
            self._sequences = column.to_numpy()
            self._at = 0

    @property
    def done(self) -> bool:
        """Nothing is left."""
        return self._batch is None

    @property
    def first(self) -> int:
        """Sequence of the next row."""
        return int(self._sequences[self._at])

    @property
    def last(self) -> int:
        """Sequence of the last row at hand."""
        return int(self._sequences[-1])

    def take(self, limit: int) -> Part | None:
        """The rows at hand up to a sequence."""
        end = int(np.searchsorted(self._sequences, np.uint64(limit), side="right"))
        if end <= self._at or self._batch is None:
            return None
        begin, self._at = self._at, end
        part = Part(
            self.metadata, self._batch.slice(begin, end - begin), self._sequences[begin:end]
        )
        self.advance()
        return part


def read_ring(root: Path, folder: str, session: int) -> Iterator[list[Part]]:
    """A ring's rows: parts of series that together are a stretch of the ring.

    Args:
        root: of the lake. folder: the ring's, as `bitfinex/websocket` or `features`.

    Raises:
        OperatorError: a file cannot be read.
    """
    cursors = [_Cursor(files) for files in files_of(root, folder, session).values()]
    cursors = [cursor for cursor in cursors if not cursor.done]
    while cursors:
        first = min(cursor.first for cursor in cursors)
        limit = min(first + MOST_ROWS - 1, *(cursor.last for cursor in cursors))
        yield [part for cursor in cursors if (part := cursor.take(limit)) is not None]
        cursors = [cursor for cursor in cursors if not cursor.done]
