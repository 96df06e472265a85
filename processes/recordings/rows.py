"""Rows of one ring out of the lake, from all its series, in the order of the ring.

Files are what `processes/lake_files.py` says that counts: open, sealed and daily ones. One batch of
each series is in memory at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from msgspec import Struct

from processes.lake_files import LakeFile, batches, counting_in, folders_of, sequence_column
from processes.lake_places import Place, name_in
from schemas.errors import OperatorError

MOST_ROWS: Final = 131_072
"""Rows in a part of the ring, about."""
ALWAYS: Final = (0, (1 << 63) - 1)
Wanted = Callable[[str], Sequence[str]]
"""Says which columns of a table are read."""


class Part(Struct, frozen=True):
    """Rows of one series that belong between others of the ring."""

    metadata: dict[str, str]
    batch: pa.RecordBatch
    sequences: np.ndarray
    """(rows) uint64."""


def series_of(
    root: Place, folder: str, session: int, span: tuple[int, int] = ALWAYS
) -> list[list[LakeFile]]:
    """Files of a session below a folder of the lake, series by series, in order.

    Args:
        span: first and last time, ns; files without a row between are left out.
    """
    top = root / folder
    found: dict[tuple[str, str], list[LakeFile]] = {}
    for counted in counting_in(folders_of(top)) if top.is_dir() else []:
        for file in counted:
            if session in file.sessions and any(
                piece.last_ns >= span[0] and piece.first_ns <= span[1] for piece in file.pieces
            ):
                constants = file.pieces[0].constants
                told = repr(sorted((k, v) for k, v in constants.items() if k != "session"))
                where = name_in(root, file.path.parent.parent)
                found.setdefault((where, told), []).append(file)
    return [sorted(files, key=lambda one: _first(one, session)) for files in found.values()]


def _first(file: LakeFile, session: int) -> int:
    return min(piece.first_seq for piece in file.pieces if piece.session == session)


def _rows_of(file: LakeFile, session: int, wanted: Wanted) -> Iterator[pa.RecordBatch]:
    """A file's rows of one session; a daily file has its sessions one after another."""
    skip = sum(piece.rows for piece in file.pieces if piece.session < session)
    left = sum(piece.rows for piece in file.pieces if piece.session == session)
    if file.form == "open":
        left = 1 << 62  # it may have grown since
    for batch in batches(file, wanted(file.table)):
        if skip >= len(batch):
            skip -= len(batch)
            continue
        mine = batch.slice(skip, left)
        skip = 0
        left -= len(mine)
        if len(mine):
            yield mine
        if not left:
            return


class _Cursor:
    """Where the reading of a series stands."""

    def __init__(self, files: list[LakeFile], session: int, wanted: Wanted) -> None:
        file = files[0]
        piece = next(piece for piece in file.pieces if piece.session == session)
        self._metadata = {**piece.constants, "table": file.table}
        self._batches = (batch for file in files for batch in _rows_of(file, session, wanted))
        self._batch: pa.RecordBatch | None = None
        self._sequences = np.zeros(0, np.uint64)
        self._at = 0
        self.advance()

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
            self._metadata, self._batch.slice(begin, end - begin), self._sequences[begin:end]
        )
        self.advance()
        return part


def rows_between(
    root: Place, folder: str, session: int, first: int, last: int
) -> list[dict[str, Any]]:
    """The rows of a ring with these sequences, from all its series, in order; few of them.

    Each has its series' `venue` and `symbol` beside its columns.
    """
    found: list[dict[str, Any]] = []
    for files in series_of(root, folder, session):
        for file in files:
            pieces = [piece for piece in file.pieces if piece.session == session]
            if not any(piece.first_seq <= last and piece.last_seq >= first for piece in pieces):
                continue
            names = {name: pieces[0].constants.get(name, "") for name in ("venue", "symbol")}
            for batch in _rows_of(file, session, lambda _: ()):
                numbers = batch.column(sequence_column(batch.schema)).to_numpy()
                wanted = (numbers >= first) & (numbers <= last)
                if wanted.any():
                    found += [names | row for row in batch.filter(pa.array(wanted)).to_pylist()]
                elif int(numbers[0]) > last:
                    break
    key = "tape_seq" if found and "tape_seq" in found[0] else "seq"
    return sorted(found, key=lambda row: int(row[key]))


def last_sequence(root: Place, folder: str, session: int) -> int:
    """The highest sequence of a ring that the lake has; 0 if it has none."""
    return max(
        (
            piece.last_seq
            for files in series_of(root, folder, session)
            for file in files
            for piece in file.pieces
            if piece.session == session
        ),
        default=0,
    )


def read_ring(
    root: Place,
    folder: str,
    session: int,
    wanted: Wanted = lambda _: (),
    span: tuple[int, int] = ALWAYS,
) -> Iterator[list[Part]]:
    """A ring's rows: parts of series that together are a stretch of the ring.

    Args:
        root: of the lake. folder: the ring's, as `bitfinex/websocket` or `features`.
        wanted: which columns of a table are read; all if it names none. span: as `series_of`.

    Raises:
        LakeError: a file cannot be read. OperatorError: one was sealed or packed meanwhile.
    """
    try:
        yield from _read_ring(root, folder, session, wanted, span)
    except FileNotFoundError as error:
        raise OperatorError(
            f"{error.filename or error} was sealed or packed meanwhile; type the same again"
        ) from None


def _read_ring(
    root: Place, folder: str, session: int, wanted: Wanted, span: tuple[int, int]
) -> Iterator[list[Part]]:
    series = series_of(root, folder, session, span)
    cursors = [_Cursor(files, session, wanted) for files in series]
    cursors = [cursor for cursor in cursors if not cursor.done]
    while cursors:
        first = min(cursor.first for cursor in cursors)
        limit = min(first + MOST_ROWS - 1, *(cursor.last for cursor in cursors))
        yield [part for cursor in cursors if (part := cursor.take(limit)) is not None]
        cursors = [cursor for cursor in cursors if not cursor.done]
