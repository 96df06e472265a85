"""Segments of journals as they stand on disk: raw slots of one ring and session, without a hole.

    offset size field
    ------ ---- --------------------------
         0    8 magic "DCJRNL1"
         8    8 layout of the slots
        16    8 slot bytes
        24    8 session
        32    8 sequence of the first slot
        64      slots

They are in `data/journal/<ring>/`. Storage writes them; who verifies a lake looks what they hold.
"""

import struct
from pathlib import Path
from typing import Final

from msgspec import Struct

MAGIC: Final = b"DCJRNL1\0"
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
