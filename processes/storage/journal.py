"""Journals: the raw slots of a ring, appended as they are read. The journal's end is the position.

A segment is a file of a 64-byte head and slots of one session without a hole; a hole (slots that
were lost before they could be read) begins a new one, and so do slots of which some were left out
(a thin segment). Written means handed to the operating system,
safe from this process's death; `sync` makes it safe from a loss of power. A write that fails (a
full disk) leaves nothing behind: the same slots can be appended again once there is room. The
layout of a segment is in `processes/journal_files.py`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from processes.journal_files import (
    HEAD,
    MAGIC,
    SUFFIX,
    THIN_MAGIC,
    Segment,
    read_segment,
)

READ_SLOTS: Final = 65_536


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
        for path in sorted(folder.glob(f"*{SUFFIX}")):
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

    def append(self, slots: np.ndarray, *, thin_first: int = 0) -> None:
        """Write slots whose sequences follow each other; they need not follow the position.

        Args:
            thin_first: given if some were left out: the first sequence that these stand for.

        Raises:
            OSError: they could not be written; the journal is as it was before.
        """
        first, thin = thin_first or int(slots["sequence"][0]), bool(thin_first)
        assert first > self.position
        follows = first == self.position + 1 and self._file >= 0
        if not follows or self._size >= self._segment_bytes or self.segments[-1].thin != thin:
            self._begin(first, thin=thin)
        raw = np.ascontiguousarray(slots).view(np.uint8).data
        try:
            _write_all(self._file, raw)
        except OSError:
            # Half a slot in the middle would shift all that follow it.
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            raise
        self._size += len(raw)
        self.position = int(slots["sequence"][-1])
        last = self.segments[-1]
        self.segments[-1] = Segment(
            path=last.path,
            layout=last.layout,
            slot_bytes=last.slot_bytes,
            session=last.session,
            first=last.first,
            slots=last.slots + len(slots),
            thin_last=self.position if thin else 0,
        )

    def _begin(self, first: int, *, thin: bool) -> None:
        self.close()
        if self.segments and not self.segments[-1].slots:
            # Its first slots could not be written, and by now others come first.
            self.segments.pop().path.unlink()
        path = self._folder / f"{self._session}-{first:020d}{SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        slot_bytes = self._dtype.itemsize
        head = HEAD.pack(
            THIN_MAGIC if thin else MAGIC, self._layout, slot_bytes, self._session, first
        )
        try:
            _write_all(self._file, memoryview(head))
        except OSError:
            os.close(self._file)
            self._file = -1
            path.unlink()
            raise
        self._size = HEAD.size
        self.segments.append(
            Segment(
                path=path,
                layout=self._layout,
                slot_bytes=slot_bytes,
                session=self._session,
                first=first,
                slots=0,
                thin_last=-1 if thin else 0,
            )
        )

    def read(self, after: int) -> Iterator[np.ndarray]:
        """The slots after a sequence, in blocks."""
        for segment in list(self.segments):
            if segment.last > after:
                yield from read_slots(segment, self._dtype, after)

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


def _write_all(file: int, content: memoryview) -> None:
    """Write all of it: one call may take less than it was given."""
    written = 0
    while written < len(content):
        written += os.write(file, content[written:])


def read_slots(segment: Segment, dtype: np.dtype[Any], after: int = 0) -> Iterator[np.ndarray]:
    """The slots of a segment after a sequence, in blocks."""
    assert dtype.itemsize == segment.slot_bytes
    skip = segment.skip(after)
    with segment.path.open("rb") as file:
        file.seek(HEAD.size + skip * segment.slot_bytes)
        left = segment.slots - skip
        while left > 0:
            raw = file.read(min(left, READ_SLOTS) * segment.slot_bytes)
            block = np.frombuffer(raw, dtype)
            left -= len(block)
            yield block
