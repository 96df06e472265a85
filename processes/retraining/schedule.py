"""When the next training is due, and what is remembered of the last one over a restart."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from processes.files import write_whole

DAY = timedelta(days=1)


class Last(Struct, frozen=True, kw_only=True):
    """The last training of all families."""

    due_ns: int
    """The instant it was due at, not that at which it was done."""
    told: dict[str, str] = {}
    """What came of it, by family."""


def last_before(at: str, now_ns: int) -> int:
    """The newest instant not after now with this UTC time of day, in nanoseconds.

    Args:
        at: HH:MM.
    """
    now = datetime.fromtimestamp(now_ns // 10**9, UTC)
    hour, minute = (int(part) for part in at.split(":"))
    found = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if found > now:
        found -= DAY
    return int(found.timestamp()) * 10**9


class Schedule:
    """Once a day, and once only, whoever is restarted in between."""

    def __init__(self, path: Path, at: str, now_ns: int) -> None:
        self.at = at
        self._path = path
        self.last = self._read()
        if self.last is None:  # the first day begins with the next hour that it is due at
            self.done({}, last_before(at, now_ns))

    def due(self, now_ns: int) -> int:
        """The instant that a training is due since; 0 if none is."""
        assert self.last is not None
        newest = last_before(self.at, now_ns)
        return newest if newest > self.last.due_ns else 0

    def next_ns(self) -> int:
        """When the next one is due, if nobody sleeps."""
        assert self.last is not None
        day_ns = int(DAY.total_seconds()) * 10**9
        return last_before(self.at, self.last.due_ns + day_ns)

    def done(self, told: dict[str, str], due_ns: int) -> None:
        """What was due at that instant has been tried; whatever came of it, not again."""
        self.last = Last(due_ns=due_ns, told=told)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, msgspec.json.encode(self.last))

    def _read(self) -> Last | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Last)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
