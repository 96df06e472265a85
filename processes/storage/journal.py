"""Journals: the raw slots of a ring, appended as they are read. The journal's end is the position.

A segment is a file of a 64-byte head and slots of one session without a hole; a hole (slots that
were lost before they could be read) begins a new one. Written means handed to the operating system,
safe from this process's death; `sync` makes it safe from a loss of power.

    offset size field
    ------ ---- --------------------------
         0    8 magic "DCJRNL1"
         8    8 layout of the slots
        16    8 slot bytes
        24    8 session
        32    8 sequence of the first slot
        64      slots
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct

MAGIC: Final = b"DCJRNL1\0"
HEAD: Final = struct.Struct("<8sqqqq24x")
READ_SLOTS: Final = 65_536


class Segment(Struct, frozen=True, kw_only=True):
    """One file and the sequences it holds."""

    path: Path
    layout: int
    slot_bytes: int
    session: int
    first: int
    slots: int

    @property
    def last(self) -> int:
        """Sequence of the last slot."""
        return self.first + self.slots - 1


def read_segment(path: Path) -> Segment | None:
    """What a file holds; None if it has no whole head. A torn last slot does not count."""
    with path.open("rb") as file:
        head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    magic, layout, slot_bytes, session, first = HEAD.unpack(head)
    if magic != MAGIC or slot_bytes <= 0:
        return None
    slots = (path.stat().st_size - HEAD.size) // slot_bytes
    return Segment(
        path=path,
        layout=layout,
        slot_bytes=slot_bytes,
        session=session,
        first=first,
        slots=slots,
    )


class Journal:
    """One ring's journal of one session.

    Args:
        folder: where its segments are. layout, slot_bytes: of the ring.
        segment_bytes: a segment larger than this is closed and the next begun.
    """

    def __init__(
        self, folder: Path, layout: int, dtype: np.dtype[Any], session: int, segment_bytes: int
    ) -> None:
        self._folder = folder
        self._layout = layout
        self._dtype = dtype
        self._session = session
        self._segment_bytes = segment_bytes
        self._file = -1
        self._size = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.segments: list[Segment] = []
        self.foreign: list[Segment] = []
        """Segments of other sessions or layouts that an earlier life could not finish with."""
        for path in sorted(folder.glob("*.slots")):
            segment = read_segment(path)
            if segment is None or segment.slots == 0:
                path.unlink()
            elif (segment.session, segment.layout) == (session, layout):
                self.segments.append(segment)
            else:
                self.foreign.append(segment)
        self.segments.sort(key=lambda segment: segment.first)
        self.position = self.segments[-1].last if self.segments else 0
        self._cut_torn_slot()

    def _cut_torn_slot(self) -> None:
        """Open the last segment for appending, without what a crash left of a slot."""
        if not self.segments:
            return
        last = self.segments[-1]
        self._size = HEAD.size + last.slots * last.slot_bytes
        self._file = os.open(last.path, os.O_WRONLY)
        os.ftruncate(self._file, self._size)
        os.lseek(self._file, self._size, os.SEEK_SET)

    def append(self, slots: np.ndarray) -> None:
        """Write slots whose sequences follow each other; they need not follow the position."""
        first = int(slots["sequence"][0])
        if self._file < 0 or first != self.position + 1 or self._size >= self._segment_bytes:
            self._begin(first)
        raw = np.ascontiguousarray(slots).view(np.uint8).data
        written = 0
        while written < len(raw):
            written += os.write(self._file, raw[written:])
        self._size += len(raw)
        self.position = first + len(slots) - 1
        last = self.segments[-1]
        self.segments[-1] = Segment(
            path=last.path,
            layout=last.layout,
            slot_bytes=last.slot_bytes,
            session=last.session,
            first=last.first,
            slots=last.slots + len(slots),
        )

    def _begin(self, first: int) -> None:
        self.close()
        path = self._folder / f"{self._session}-{first:020d}.slots"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        slot_bytes = self._dtype.itemsize
        os.write(self._file, HEAD.pack(MAGIC, self._layout, slot_bytes, self._session, first))
        self._size = HEAD.size
        self.segments.append(
            Segment(
                path=path,
                layout=self._layout,
                slot_bytes=slot_bytes,
                session=self._session,
                first=first,
                slots=0,
            )
        )

    def read(self, after: int) -> Iterator[np.ndarray]:
        """The slots after a sequence, in blocks."""
        for segment in list(self.segments):
            if segment.last > after:
                skip = max(after + 1 - segment.first, 0)
                yield from read_slots(segment, self._dtype, skip)

    @property
    def bytes(self) -> int:
        """Size of all segments."""
        return sum(HEAD.size + s.slots * s.slot_bytes for s in self.segments)

    def drop_through(self, sequence: int) -> int:
        """Remove segments that end at or before a sequence; never the one being written."""
        gone = [segment for segment in self.segments[:-1] if segment.last <= sequence]
        for segment in gone:
            segment.path.unlink()
        self.segments = [segment for segment in self.segments if segment not in gone]
        return len(gone)

    def remove(self) -> None:
        """Close and remove all of it: every row is sealed elsewhere."""
        self.close()
        for segment in self.segments:
            segment.path.unlink(missing_ok=True)
        self.segments = []

    def sync(self) -> None:
        """Make what is written safe from a loss of power."""
        if self._file >= 0:
            os.fsync(self._file)

    def close(self) -> None:
        """Sync and close the open segment."""
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1


def read_slots(segment: Segment, dtype: np.dtype[Any], skip: int = 0) -> Iterator[np.ndarray]:
    """The slots of a segment, in blocks."""
    assert dtype.itemsize == segment.slot_bytes
    with segment.path.open("rb") as file:
        file.seek(HEAD.size + skip * segment.slot_bytes)
        left = segment.slots - skip
        while left > 0:
            raw = file.read(min(left, READ_SLOTS) * segment.slot_bytes)
            block = np.frombuffer(raw, dtype)
            left -= len(block)
            yield block
