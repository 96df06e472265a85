"""Holes: sequences that storage could not write, or left out on purpose since it was behind.

The ring went round before storage came, or docs/decisions/0017-back-pressure.md.

    <lake>/holes/<ring>.jsonl
    {"session":7,"first":101,"last":230,"time_ns":...,"reason":"lapped"}
    {"session":7,"first":900,"last":9230,"time_ns":...,"reason":"sampled","left_out":6021}

A hole is written and synced before the first slot behind it is, so every hole in the lake stands
here, or is a fault. Holes may overlap: a hole that was told and then grew is told again. Of lines
with one first sequence and reason the last one counts: a span of sampling is told when it begins,
with more than it will hold, and told again as it was when it is over.
"""

import errno
import os
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Struct

FOLDER: Final = "holes"
LAPPED: Final = "lapped"
"""The ring went round: storage was slower than it is long, or was not there, or had no room."""


SAMPLED: Final = "sampled"
TOPS: Final = "tops"
"""Left out by storage that was behind: books were sampled, or only their best levels kept."""
BY_DESIGN: Final = frozenset({SAMPLED, TOPS})
UNKNOWN: Final = -1


class Hole(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sequences of a ring's session, of which none (or, by reason, not all) is in the lake."""

    session: int
    first: int
    last: int
    time_ns: int
    """Of the first slot behind it."""
    reason: str
    left_out: int = UNKNOWN
    """Of a hole by design: how many of its sequences are in no file; unknown while it lasts, and
    after storage was killed in it."""
    owed: int = 0
    """Of a hole by design that a stop cut short: levels of books that stay as they were until they
    change again, or a snapshot comes; unknown after a kill."""


def note_hole(lake: Path, ring: str, hole: Hole) -> None:
    """Add a hole, synced.

    Raises:
        OSError: it could not be written; call again.
    """
    path = lake / FOLDER / f"{ring}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    # A line that a crash cut off is ended first, or it would spoil this one.
    line = b"\n" * _is_torn(path) + msgspec.json.encode(hole) + b"\n"
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        if file.write(line) != len(line):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(file.fileno())


def _is_torn(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False  # not there, or empty


class Readable(Protocol):
    """A folder or a file: a path, or one of `processes/lake_places.py`."""

    def __truediv__(self, name: str, /) -> "Readable":
        """What is in it."""

    def read_bytes(self) -> bytes:
        """A file's content."""


def read_holes(lake: Readable, ring: str) -> list[Hole]:
    """All holes of a ring; a line that a crash cut off is none."""
    try:
        lines = (lake / FOLDER / f"{ring}.jsonl").read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found: dict[tuple[int, int, str], Hole] = {}
    for line in filter(None, lines):
        try:
            hole = msgspec.json.decode(line, type=Hole)
        except msgspec.DecodeError:
            continue
        found[hole.session, hole.first, hole.reason] = hole
    return [hole for hole in found.values() if hole.last >= hole.first]
