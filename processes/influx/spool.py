"""The spool: batches on disk until the server has them.

Append-only segments; every batch is written here before the rings' positions are acknowledged, and
sent from here. Written means handed to the operating system, safe from this process's death; a
segment is synced when it is closed.

A segment is 16 bytes of head ("DCSPOOL1", zeros) and records:

    offset size field
    ------ ---- --------------------------------------------------------------------------------
         0    4 marker "DCr1"
         4    4 u32 bytes of the body
         8    4 u32 CRC32 of everything behind it, body included
        12    4 u32 lines
        16    4 u32 bytes of the body before compression
        20    4 u32 bucket
        24    8 i64 time of the newest point, ns
        32      body: line protocol, zlib level 1

What is still to be sent are ranges of positions (segment, offset), oldest first: the backlog, and
behind it what is live, with no end. When a server comes back, what waited becomes one more range of
the backlog, so that new batches need not wait for old ones. The file `cursor` holds the ranges; it
is replaced after every batch. Lost, everything that is there is sent again, which changes nothing:
the server overwrites a point with itself.

A torn record at a segment's end (a crash, a full disk) is skipped and counted; after a restart
nothing is appended to an old segment. All segments together have a bound: beyond it the oldest
goes, and its unsent lines are counted. One process at a time: `hold` is the lock.
"""

import contextlib
import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

import msgspec

from processes import locks
from processes.files import sync_folder
from processes.influx.accumulator import Batch
from processes.influx.lines import Bucket
from processes.places import ROOT
from schemas.errors import OperatorError
from schemas.settings import InfluxSettings

MAGIC: Final = b"DCSPOOL1".ljust(16, b"\0")
MARKER: Final = b"DCr1"
RECORD: Final = struct.Struct("<4sIIIIIq")
CHECKED_FROM: Final = 12
assert RECORD.size == 32
BODY_MAX: Final = 64 << 20
SUFFIX: Final = ".spool"
RANGES_MAX: Final = 64
"""So many outages are told apart; later ones join what is live."""


def spool_folder(settings: InfluxSettings, data: Path) -> Path:
    """Where an instance's spool is."""
    return ROOT / settings.spool if settings.spool else data / "influx"


class Position(NamedTuple):
    """A place in the spool: the segment's number, and where in it a record begins."""

    segment: int
    offset: int


class Record(NamedTuple):
    """A batch in the spool. `is_live`: it comes from behind the backlog."""

    batch: Batch
    position: Position
    end: Position
    is_live: bool


class _Cursor(msgspec.Struct):
    """The file `cursor`."""

    backlog: list[tuple[Position, Position]]
    live: Position


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in a spool, for status."""

    bytes: int
    backlog_bytes: int
    """Of these, what waited before the last outage ended."""
    segments: int
    oldest_ns: int
    """When the oldest segment with something unsent was begun; 0 without one."""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Be the only one who writes and sends this spool.

    Raises:
        OperatorError: somebody else is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locks.hold(
        folder / "lock",
        lambda owner: OperatorError(
            f"{folder} is being sent by process {owner or 'unknown'} already"
        ),
    ):
        yield


class Spool:
    """A spool that is ours: `hold` it first. May be used by two threads.

    Args:
        segment_bytes: a segment is closed at this size. cap_bytes: of all segments together.
        now_ns: the number of a new segment is the time it is begun at.
    """

    def __init__(self, folder: Path, segment_bytes: int, cap_bytes: int, now_ns: int) -> None:
        self.dropped_lines = 0
        self.damaged = 0
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._cap_bytes = cap_bytes
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._sizes = segment_sizes(folder)
        cursor = _read_cursor(folder)
        known = max([*self._sizes, cursor.live.segment if cursor else 0], default=0)
        self._next = max(now_ns, known + 1)
        fresh = Position(self._next, len(MAGIC))
        self._backlog = cursor.backlog if cursor else []
        self._live = cursor.live if cursor else Position(0, 0)
        self._backlog.append((self._live, fresh))
        self._live = fresh
        self._file = -1
        self._writing = 0
        self._tidy()

    # ---- writing

    def append(self, batch: Batch) -> None:
        """Keep a batch.

        Raises:
            OSError: the disk did not take it; nothing of it is there.
        """
        body = zlib.compress(batch.body, 1)
        rest = RECORD.pack(
            MARKER, len(body), 0, batch.lines, len(batch.body), batch.bucket, batch.newest_ns
        )[CHECKED_FROM:]
        check = zlib.crc32(body, zlib.crc32(rest))
        record = MARKER + struct.pack("<II", len(body), check) + rest + body
        with self._lock:
            if self._file < 0 or self._sizes[self._writing] >= self._segment_bytes:
                self._begin()
            self._write(record)
            while sum(self._sizes.values()) > self._cap_bytes and len(self._sizes) > 1:
                self._drop_oldest()

    def _begin(self) -> None:
        self._end_segment()
        path = self._path(self._next)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._file, self._writing = file, self._next
        self._sizes[self._writing] = 0
        self._next += 1
        self._write(MAGIC)

    def _write(self, content: bytes) -> None:
        """All of it or nothing."""
        size = self._sizes[self._writing]
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            self._end_segment()  # whatever stands there now, nothing follows it
            raise
        self._sizes[self._writing] = size + len(content)

    def _end_segment(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:020d}{SUFFIX}"

    def _drop_oldest(self) -> None:
        """Give up the oldest segment: its unsent lines are counted, and gone."""
        oldest = min(self._sizes)
        for start, stop in [*self._backlog, (self._live, self._end)]:
            first = max(start, Position(oldest, len(MAGIC)))
            last = min(stop, Position(oldest, self._sizes[oldest]))
            if first < last:
                self.dropped_lines += self._count_lines(first, last.offset)
        after = Position(min(n for n in self._sizes if n > oldest), len(MAGIC))
        self._backlog = [(max(a, after), max(b, after)) for a, b in self._backlog]
        self._live = max(self._live, after)
        self._tidy()

    def _count_lines(self, start: Position, stop: int) -> int:
        lines, offset = 0, start.offset
        with self._path(start.segment).open("rb") as file:
            while offset + RECORD.size <= stop:
                file.seek(offset)
                marker, size, _, count, *_ = RECORD.unpack(file.read(RECORD.size))
                if marker != MARKER:
                    break
                lines += count
                offset += RECORD.size + size
        return lines

    # ---- reading

    @property
    def _end(self) -> Position:
        """Behind the newest record."""
        newest = max(self._sizes, default=0)
        return max(Position(newest, self._sizes.get(newest, 0)), self._live)

    def next_live(self) -> Record | None:
        """The oldest batch that came after the last outage."""
        with self._lock:
            record, self._live = self._take(self._live, self._end, is_live=True)
            return record

    def next_backlog(self) -> Record | None:
        """The oldest batch of all that wait."""
        with self._lock:
            while self._backlog:
                start, stop = self._backlog[0]
                record, start = self._take(start, stop, is_live=False)
                self._backlog[0] = (start, stop)
                if record is not None:
                    return record
                self._backlog.pop(0)
                self._tidy()
            return None

    def _take(
        self, start: Position, stop: Position, *, is_live: bool
    ) -> tuple[Record | None, Position]:
        """The first whole record from `start` on, and where it begins."""
        while start < stop:
            size = self._sizes.get(start.segment)
            if size is None or start.offset >= size:
                later = [number for number in self._sizes if number > start.segment]
                if not later:
                    return None, start if is_live else stop
                start = Position(min(later), len(MAGIC))
                continue
            found, end = self._read(start, size)
            if found is not None:
                return Record(found, start, end, is_live), start
            self.damaged += 1
            start = end
        return None, start

    def _read(self, at: Position, size: int) -> tuple[Batch | None, Position]:
        """The record there, or None and where to go on."""
        rest_of_segment = Position(at.segment, size)
        with self._path(at.segment).open("rb") as file:
            file.seek(at.offset)
            head = file.read(RECORD.size)
            if len(head) < RECORD.size:
                return None, rest_of_segment
            marker, length, check, lines, raw, bucket, newest_ns = RECORD.unpack(head)
            end = Position(at.segment, at.offset + RECORD.size + length)
            if marker != MARKER or end.offset > size:
                return None, rest_of_segment
            body = file.read(length)
        if zlib.crc32(body, zlib.crc32(head[CHECKED_FROM:])) != check or raw > BODY_MAX:
            return None, end
        return Batch(Bucket(bucket), zlib.decompress(body), lines, newest_ns), end

    def done(self, record: Record) -> None:
        """The server has it, or it will never be sent: do not give it out again."""
        with self._lock:
            if record.is_live:
                if self._live == record.position:
                    self._live = record.end
            elif self._backlog and self._backlog[0][0] == record.position:
                self._backlog[0] = (record.end, self._backlog[0][1])
            self._tidy()

    def split(self) -> None:
        """What waits now is backlog; what comes from now on is live."""
        with self._lock:
            end = self._end
            if self._live < end and len(self._backlog) < RANGES_MAX:
                self._backlog.append((self._live, end))
                self._live = end
                self._keep_cursor()

    def _tidy(self) -> None:
        """Forget what is sent, on disk as well."""
        joined: list[tuple[Position, Position]] = []
        for start, stop in self._backlog:
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
            elif start < stop:
                joined.append((start, stop))
        self._backlog = joined
        wanted = [*self._backlog, (self._live, Position(self._next, 0))]
        for number, size in list(self._sizes.items()):
            first, last = Position(number, len(MAGIC)), Position(number, size)
            open_now = self._file >= 0 and number == self._writing
            needed = any(max(start, first) < min(stop, last) for start, stop in wanted)
            if not needed and not open_now:
                self._path(number).unlink(missing_ok=True)
                del self._sizes[number]
        self._keep_cursor()

    def _keep_cursor(self) -> None:
        content = msgspec.json.encode(_Cursor(self._backlog, self._live))
        beside = self._folder / ".cursor"
        # Not synced: what a loss of power takes is sent again. A disk that is full must not end
        # the sending, which is what makes room.
        with contextlib.suppress(OSError):
            beside.write_bytes(content)
            beside.replace(self._folder / "cursor")

    # ---- what is there

    @property
    def pending(self) -> Pending:
        """What waits."""
        with self._lock:
            return _pending(self._sizes, self._backlog, (self._live, self._end))

    @property
    def is_empty(self) -> bool:
        """Everything is sent."""
        return self.pending.bytes == 0

    def close(self) -> None:
        """End the open segment."""
        with self._lock:
            self._end_segment()
            self._tidy()
            sync_folder(self._folder)


def segment_sizes(folder: Path) -> dict[int, int]:
    """Sizes of the segments in a folder, by number, oldest first.

    One that its sender takes away meanwhile is none.
    """
    found = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.stem.isdigit():
            with contextlib.suppress(FileNotFoundError):
                found[int(path.stem)] = path.stat().st_size
    return found


def _read_cursor(folder: Path) -> _Cursor | None:
    try:
        return msgspec.json.decode((folder / "cursor").read_bytes(), type=_Cursor)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _pending(
    sizes: dict[int, int],
    backlog: list[tuple[Position, Position]],
    live: tuple[Position, Position],
) -> Pending:
    def waiting(start: Position, stop: Position) -> dict[int, int]:
        found = {}
        for number, size in sizes.items():
            first = max(start, Position(number, len(MAGIC)))
            last = min(stop, Position(number, size))
            if first < last:
                found[number] = last.offset - first.offset
        return found

    behind = [waiting(start, stop) for start, stop in backlog]
    backlog_bytes = sum(sum(one.values()) for one in behind)
    fresh = waiting(*live)
    segments = set(fresh).union(*behind)
    return Pending(
        bytes=backlog_bytes + sum(fresh.values()), backlog_bytes=backlog_bytes,
        segments=len(segments), oldest_ns=min(segments, default=0),
    )  # fmt: skip


def look(folder: Path) -> Pending:
    """What waits in a spool that is somebody else's, or nobody's."""
    sizes = segment_sizes(folder)
    cursor = _read_cursor(folder) or _Cursor([], Position(0, 0))
    end = Position(max(sizes, default=0) + 1, 0)
    return _pending(sizes, [*cursor.backlog, (cursor.live, end)], (end, end))


def lock_owner(folder: Path) -> str:
    """Process id of who holds the spool; empty if nobody does."""
    try:
        file: IO[str]
        with (folder / "lock").open("r", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read().strip()
    except FileNotFoundError:
        pass
    return ""
