"""Lines wait here until they are a batch; batches until the spool has taken them.

Bounded: of batches that the spool does not take (the disk is full) the oldest go when there are
too many, and are counted. It never drops for any other reason.
"""

from collections import deque
from typing import NamedTuple

from processes.influx.lines import Bucket, Lines
from schemas.settings import InfluxSettings


class Batch(NamedTuple):
    """Lines that are sent together."""

    bucket: Bucket
    body: bytes
    lines: int
    newest_ns: int


class _Open:
    """The lines of one bucket that are no batch yet."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.bytes = 0
        self.newest_ns = 0


class Accumulator:
    """All buckets' lines."""

    def __init__(self, settings: InfluxSettings) -> None:
        self.made = 0
        self.dropped = 0
        self._settings = settings
        self._open = {bucket: _Open() for bucket in Bucket}
        self._batches: deque[Batch] = deque()
        self._batch_bytes = 0
        self._since_s = 0.0

    def add(self, lines: Lines, now_s: float) -> None:
        """Take lines."""
        if not lines.lines:
            return
        if self.is_empty:
            self._since_s = now_s
        settings = self._settings
        for start in range(0, len(lines.lines), settings.flush_lines):
            place = self._open[lines.bucket]
            part = lines.lines[start : start + settings.flush_lines]
            place.lines += part
            place.bytes += sum(map(len, part)) + len(part)
            place.newest_ns = max(place.newest_ns, lines.newest_ns)
            if len(place.lines) >= settings.flush_lines or place.bytes >= settings.flush_bytes:
                self._close(lines.bucket)
        self.made += len(lines.lines)

    def _close(self, bucket: Bucket) -> None:
        """Make batches of what is open, none larger than the settings say."""
        place, limit = self._open[bucket], self._settings
        self._open[bucket] = _Open()
        start = size = 0
        for index, line in enumerate(place.lines):
            full = index - start >= limit.flush_lines or size + len(line) > limit.flush_bytes
            if full and index > start:
                self._append(bucket, place.lines[start:index], place.newest_ns)
                start, size = index, 0
            size += len(line) + 1
        if start < len(place.lines):
            self._append(bucket, place.lines[start:], place.newest_ns)

    def _append(self, bucket: Bucket, lines: list[bytes], newest_ns: int) -> None:
        batch = Batch(bucket, b"\n".join(lines), len(lines), newest_ns)
        self._batches.append(batch)
        self._batch_bytes += len(batch.body)
        while self._batch_bytes > self._settings.pending_bytes:
            self.dropped += self.pop().lines

    @property
    def is_empty(self) -> bool:
        """Nothing waits."""
        return not self._batches and not any(place.lines for place in self._open.values())

    def due(self, now_s: float) -> bool:
        """Whether it is time to bring what is here to the spool."""
        waited_ms = (now_s - self._since_s) * 1e3
        return bool(self._batches) or (not self.is_empty and waited_ms >= self._settings.flush_ms)

    def close_all(self) -> None:
        """Make batches of everything."""
        for bucket in Bucket:
            self._close(bucket)

    @property
    def first(self) -> Batch | None:
        """The oldest batch; it stays until `pop`."""
        return self._batches[0] if self._batches else None

    def pop(self) -> Batch:
        """Forget the oldest batch: somebody else has it, or nobody will."""
        batch = self._batches.popleft()
        self._batch_bytes -= len(batch.body)
        return batch
