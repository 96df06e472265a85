"""Segments of journals as they stand on disk: raw slots of one ring and session, without a hole.

    offset size field
    ------ ---- --------------------------
         0    8 magic "DCJRNL1", or "DCJRNL2" of a thin one
         8    8 layout of the slots
        16    8 slot bytes
        24    8 session
        32    8 sequence of the first slot; of a thin one, the first that it stands for
        64      slots

In a thin segment storage has left slots out (`processes/storage/thinning.py`): sequences rise, and
each slot begins with its own. They are in `data/journal/<ring>/`. Storage writes them; who verifies
a lake looks what they hold.
"""

import os
import struct
from bisect import bisect_right
from pathlib import Path
from typing import Final

from msgspec import Struct

MAGIC: Final = b"DCJRNL1\0"
THIN_MAGIC: Final = b"DCJRNL2\0"
HEAD: Final = struct.Struct("<8sqqqq24x")
SUFFIX: Final = ".slots"


class Segment(Struct, frozen=True, kw_only=True):
    """One file and the sequences it holds."""

    path: Path
    layout: int
    slot_bytes: int
    session: int
    first: int
    slots: int
    thin_last: int = 0
    """Sequence of the last slot of a thin segment; -1 of one without a slot, 0 of a dense one."""

    @property
    def thin(self) -> bool:
        """Whether slots were left out."""
        return self.thin_last != 0

    @property
    def last(self) -> int:
        """Sequence of the last slot."""
        return self.thin_last if self.thin else self.first + self.slots - 1

    def skip(self, after: int) -> int:
        """How many slots come up to a sequence."""
        if not self.thin:
            return min(max(after + 1 - self.first, 0), self.slots)
        with self.path.open("rb") as file:
            return bisect_right(
                range(self.slots), after, key=lambda index: self._sequence(file.fileno(), index)
            )

    def _sequence(self, file: int, index: int) -> int:
        return int.from_bytes(os.pread(file, 8, HEAD.size + index * self.slot_bytes), "little")


def read_segment(path: Path) -> Segment | None:
    """What a file holds; None if it has no whole head. A torn last slot does not count."""
    with path.open("rb") as file:
        head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    magic, layout, slot_bytes, session, first = HEAD.unpack(head)
    if magic not in {MAGIC, THIN_MAGIC} or slot_bytes <= 0:
        return None
    slots = (path.stat().st_size - HEAD.size) // slot_bytes
    thin_last = 0
    if magic == THIN_MAGIC:
        thin_last = _last_sequence(path, slots, slot_bytes) if slots else -1
    return Segment(
        path=path,
        layout=layout,
        slot_bytes=slot_bytes,
        session=session,
        first=first,
        slots=slots,
        thin_last=thin_last,
    )


def _last_sequence(path: Path, slots: int, slot_bytes: int) -> int:
    with path.open("rb") as file:
        file.seek(HEAD.size + (slots - 1) * slot_bytes)
        return int.from_bytes(file.read(8), "little")


def segments_of(journals: Path) -> dict[str, list[Segment]]:
    """All segments by ring; those that vanish meanwhile, or have no whole head, are none."""
    found: dict[str, list[Segment]] = {}
    for path in sorted(journals.glob(f"*/*{SUFFIX}")):
        try:
            segment = read_segment(path)
        except FileNotFoundError:
            continue
        if segment is not None and segment.slots:
            found.setdefault(path.parent.name, []).append(segment)
    return found
