"""Lines that the server will never take, with what it said: one JSON line a batch.

The file stands beside the spool. A batch's refused lines are written together, before the batch
counts as sent, under the batch's place in the spool. A crash between the two brings the batch
again; it is then known by that place and not written a second time. The file is bounded: a full one
replaces the one before.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from processes.clock import utc_text
from processes.influx.spool import Record

NAME: Final = "refused.jsonl"


class Refused(msgspec.Struct, frozen=True):
    """Lines, and why the server did not take them."""

    message: str
    lines: list[str]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the file."""

    time: str
    bucket: str
    batch: str
    """Segment and offset in the spool."""
    refused: list[Refused]


class DeadLetters:
    """The file of one spool."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.lines = 0
        self._path = folder / NAME
        self._older = folder / f"{NAME}.1"
        self._max_bytes = max_bytes
        self._cut_torn_line()
        self._known = frozenset(letter.batch for letter in read_letters(folder))
        """Of earlier lives: of this one, no batch comes again after it was put aside."""

    def _cut_torn_line(self) -> None:
        """What a crash left of a line would spoil the next one."""
        if self._path.exists():
            content = self._path.read_bytes()
            os.truncate(self._path, content.rfind(b"\n") + 1)

    def write(self, record: Record, bucket: str, refused: Sequence[Refused], now_ns: int) -> None:
        """Put a batch's refused lines aside, once.

        Raises:
            OSError: the disk did not take them; nothing of them is there.
        """
        batch = f"{record.position.segment}:{record.position.offset}"
        self.lines += sum(len(one.lines) for one in refused)
        if batch in self._known:
            return
        letter = DeadLetter(
            time=utc_text(now_ns), bucket=bucket, batch=batch, refused=list(refused)
        )
        line = msgspec.json.encode(letter) + b"\n"
        if self._path.exists() and self._path.stat().st_size + len(line) > self._max_bytes:
            self._path.replace(self._older)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):
                os.ftruncate(descriptor, size)
                raise OSError(f"{self._path}: the disk is full")
        finally:
            os.close(descriptor)


def read_letters(folder: Path) -> list[DeadLetter]:
    """All letters that are kept, oldest first; a torn last one does not count."""
    found = []
    for path in (folder / f"{NAME}.1", folder / NAME):
        if path.exists():
            whole, _, _ = path.read_bytes().rpartition(b"\n")
            lines = whole.splitlines()
            found += [msgspec.json.decode(line, type=DeadLetter) for line in lines]
    return found
