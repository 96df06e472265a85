"""One recorded session: its settings and tables, and its rings as slots in order.

Fails with OperatorError, and says what to type, if the session is not there or cannot be read.
"""

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from processes.lake_holes import BY_DESIGN, read_holes
from processes.lake_places import open_lake
from processes.recordings.books import Books
from processes.recordings.rows import ALWAYS, read_ring, series_of
from processes.recordings.slots import (
    CUT_COLUMNS,
    Indices,
    cut_slots,
    decision_slots,
    feature_slots,
    prediction_slots,
)
from processes.recordings.tapes import tape_columns, tape_slots
from processes.rings import enabled_venues
from processes.sessions import SessionFolder, sessions_of
from schemas.errors import OperatorError, UsageError
from schemas.features import CATALOGUE
from schemas.layout import join


def find_session(data: Path, text: str) -> int:
    """The session that a user means by its number, or by `last`.

    Raises:
        UsageError: it is neither. OperatorError: there is none.
    """
    if text != "last" and not re.fullmatch(r"[0-9]{1,19}", text):
        raise UsageError(f"session {text}: say last, or a number; dcctl lake ls shows them")
    known = sessions_of(data)
    if not known:
        raise OperatorError(f"nothing is recorded in {data}; type: dcctl start")
    if text == "last":
        return known[-1]
    if int(text) in known:
        return int(text)
    listed = ", ".join(str(session) for session in known[-5:])
    raise OperatorError(f"no session {text}: say last, or one of {listed}")


def whole(blocks: Iterator[np.ndarray], field: str) -> Iterator[np.ndarray]:
    """The same slots in blocks that part none which follow each other with one value of a field."""
    held: list[np.ndarray] = []
    for block in blocks:
        ends = np.flatnonzero(block[field][1:] != block[field][:-1])
        if not len(ends):
            if held and held[-1][field][-1] != block[field][0]:
                yield join(held, block.dtype)
                held = []
            held.append(block)
            continue
        begin = int(ends[-1]) + 1
        yield join([*held, block[:begin]], block.dtype)
        held = [block[begin:]]
    if held:
        yield join(held, held[0].dtype)


class Window:
    """Slots in order by sequence, those of the last while kept for who must go back.

    Args:
        kept: so many slots back are there.
    """

    def __init__(self, blocks: Iterator[np.ndarray], kept: int) -> None:
        self._blocks = blocks
        self._held: deque[np.ndarray] = deque()
        self._kept = kept

    def between(self, after: int, last: int) -> np.ndarray | None:
        """The slots after one sequence and up to another; None if there are none."""
        held = self._held
        while not held or int(held[-1]["sequence"][-1]) < last:
            block = next(self._blocks, None)
            if block is None:
                break
            held.append(block)
            while int(held[0]["sequence"][-1]) < int(block["sequence"][-1]) - self._kept:
                held.popleft()
        found = []
        for block in held:
            if int(block["sequence"][-1]) <= after or int(block["sequence"][0]) > last:
                continue
            sequences = block["sequence"]
            begin = int(np.searchsorted(sequences, np.uint64(after), side="right"))
            end = int(np.searchsorted(sequences, np.uint64(last), side="right"))
            if end > begin:
                found.append(block[begin:end])
        if len(found) == 1:
            return found[0]
        return join(found, found[0].dtype) if found else None


class Recording:
    """A session in the lake."""

    def __init__(self, data: Path, session: int) -> None:
        self.session = session
        self.data = data
        self.folder = SessionFolder(data, session)
        self.generations = self.folder.generations()
        if not self.generations:
            raise OperatorError(f"of session {session} no settings are kept in {self.folder.path}")
        self.settings = self.folder.settings(self.generations[0])
        self.venues = enabled_venues(self.settings)
        """In the order of their tapes, which cannot change within a session."""
        self.tables = self.folder.tables(self.generations[-1])
        self._lake = open_lake(data / "lake")
        self._indices = Indices(self.tables)

    def tape(self, venue: str) -> Iterator[np.ndarray]:
        """A venue's tape in blocks of slots, those that end a book's frame with its ten levels."""
        books = Books(len(self.tables.instruments))
        for parts in read_ring(self._lake, f"{venue}/websocket", self.session, tape_columns):
            yield tape_slots(parts, self._indices, books)

    def thinned(self, venue: str) -> list[tuple[int, int]]:
        """Spans of a venue's tape in which storage left slots out by design: first and last."""
        return sorted(
            (hole.first, hole.last)
            for hole in read_holes(self._lake, f"tape.{venue}")
            if hole.session == self.session and hole.reason in BY_DESIGN and hole.left_out
        )

    def features(self, span: tuple[int, int] = ALWAYS) -> Iterator[np.ndarray]:
        """Feature rows and the builder's markers, in blocks.

        Args:
            span: first and last time, ns; files without a row between are left out.
        """
        for parts in read_ring(self._lake, "features", self.session, span=span):
            yield feature_slots(parts, self._indices)

    def cuts(self) -> Iterator[np.ndarray]:
        """The same without values and books, whatever catalogue they were made by."""
        for parts in read_ring(self._lake, "features", self.session, lambda _: CUT_COLUMNS):
            yield cut_slots(parts, self._indices)

    def has_columns(self) -> bool:
        """Whether the recorded rows have all columns of today's catalogue."""
        first = next(read_ring(self._lake, "features", self.session), [])
        wanted = [*(one.name for one in CATALOGUE), "masked"]
        return all(
            name in part.batch.schema.names and not part.batch.column(name).null_count
            for part in first
            for name in wanted
        )

    def feature_pieces(self, span: tuple[int, int] = ALWAYS) -> list[tuple[int, int, int]]:
        """What is recorded of the rows: first and last sequence, and number, a piece of a file.

        Packing the lake does not change it; rows that come do.
        """
        return sorted(
            {
                (piece.first_seq, piece.last_seq, piece.rows)
                for files in series_of(self._lake, "features", self.session, span)
                for file in files
                for piece in file.pieces
                if piece.session == self.session
            }
        )

    def predictions(self) -> Iterator[np.ndarray]:
        """Predictions, in blocks."""
        for parts in read_ring(self._lake, "predictions", self.session):
            yield prediction_slots(parts, self._indices)

    def decisions(self) -> Iterator[np.ndarray]:
        """Execution's inputs and decisions, in blocks."""
        for parts in read_ring(self._lake, "decisions", self.session):
            yield decision_slots(parts, self._indices)
