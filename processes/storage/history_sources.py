"""What history is made of: the journals of rings, and the log files. Read, never changed.

A source's place is (mark, place): a ring's session and sequence, or a log file's first line and a
byte in it. What was dropped before it was read is a hole, said with its first and last place. A
file that goes away while it is read is looked for again in the next pass.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct

from processes.journal_files import Segment, read_segment
from processes.rings import ring_layout
from processes.storage.journal import read_slots

LOG_BYTES: Final = 1 << 20
"""So much of a log file is read in a pass."""
_EMPTY: Final = ""


class Hole(Struct, frozen=True):
    """What is missing of a source."""

    source: str
    mark: str
    first: int
    last: int


class Place(Struct, frozen=True):
    """How far a source has been read."""

    mark: str = _EMPTY
    place: int = 0


class SlotBatch(Struct, frozen=True):
    """Slots of a ring, and the place behind them."""

    slots: np.ndarray
    place: Place
    holes: list[Hole]


class LogBatch(Struct, frozen=True):
    """Whole lines of a log file with the bytes where they begin, and the place behind them."""

    lines: list[tuple[int, bytes]]
    mark: str
    place: Place
    holes: list[Hole]


class JournalSource:
    """One ring's journal, as storage writes it.

    Args:
        journals: folder of all journals.
    """

    def __init__(self, journals: Path, ring: str) -> None:
        self.name = ring
        self._folder = journals / ring
        self._dtype: np.dtype[Any]
        self._dtype, self._layout = ring_layout(ring)

    def segments(self) -> list[Segment]:
        """What is there now, in order."""
        found = []
        for path in self._folder.glob("*.slots"):
            try:
                segment = read_segment(path)
            except FileNotFoundError:
                continue
            if segment is not None and segment.slots and segment.layout == self._layout:
                found.append(segment)
        return sorted(found, key=lambda segment: (segment.session, segment.first))

    def ends(self) -> dict[int, int]:
        """Last sequence by session."""
        return {segment.session: segment.last for segment in self.segments()}

    def take(self, after: Place, ended: dict[int, int]) -> SlotBatch | None:
        """The next slots behind a place; None if there are none.

        Args:
            ended: last sequence by session of journals that were given up unread.
        """
        session, place = int(after.mark or -1), after.place
        behind = [s for s in self.segments() if (s.session, s.last) > (session, place)]
        segment = behind[0] if behind else None
        holes = []

        def hole(of: int, last: int) -> None:
            first = place + 1 if of == session else 1
            if last >= first and session >= 0:
                holes.append(Hole(self.name, str(of), first, last))

        for old, last in sorted(ended.items()):
            if (old, last) > (session, place) and (segment is None or old < segment.session):
                hole(old, last)
                session, place = old, last
        if segment is None:
            nothing = np.zeros(0, self._dtype)
            return SlotBatch(nothing, Place(str(session), place), holes) if holes else None
        hole(segment.session, segment.first - 1)
        read = place if session == segment.session else 0
        try:
            block = next(read_slots(segment, self._dtype, read), None)
        except FileNotFoundError:
            return None
        if block is None or not len(block):
            return None
        last = int(block["sequence"][-1])
        return SlotBatch(block, Place(str(segment.session), last), holes)


class LogSource:
    """One process's log file and those it was renamed to."""

    def __init__(self, folder: Path, process: str) -> None:
        self.name = f"log {process}"
        self.process = process
        self._path = folder / f"{process}.jsonl"

    def _files(self) -> list[tuple[str, Path]]:
        """(first line's digest, path), oldest first."""
        older = sorted(
            self._path.parent.glob(f"{self._path.name}.*"),
            key=lambda path: -int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0,
        )
        found = []
        for path in [*older, self._path]:
            try:
                with path.open("rb") as file:
                    first = file.readline(LOG_BYTES)
            except FileNotFoundError:
                continue
            if first.endswith(b"\n"):
                found.append((hashlib.blake2b(first, digest_size=8).hexdigest(), path))
        return found

    def take(self, after: Place) -> LogBatch | None:
        """The next whole lines behind a place; None if there are none."""
        files = self._files()
        marks = [mark for mark, _ in files]
        holes = []
        if after.mark in marks:
            number, start = marks.index(after.mark), after.place
        else:
            number, start = 0, 0
            if after.mark:
                holes.append(Hole(self.name, after.mark, after.place, -1))
        while number < len(files):
            mark, path = files[number]
            lines, end = _whole_lines(path, start)
            if lines or holes:
                return LogBatch(lines, mark, Place(mark, end), holes)
            number, start = number + 1, 0
        return None


def _whole_lines(path: Path, start: int) -> tuple[list[tuple[int, bytes]], int]:
    try:
        with path.open("rb") as file:
            file.seek(start)
            raw = file.read(LOG_BYTES)
    except FileNotFoundError:
        return [], start
    lines = []
    for line in raw.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        lines.append((start, line))
        start += len(line)
    return lines, start
