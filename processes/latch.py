"""The kill switch on disk: files that outlive every process.

Each level that was pulled has a file of its own, and the highest one stands until somebody arms
again. So two who pull at once, each a process that knows nothing of the other, cannot lower each
other's level, and nobody waits for a lock on the way to a kill. A file that cannot be read counts
too: its name says the level, and it was put there for a reason.
"""

from pathlib import Path

import msgspec

from processes.files import sync_folder, write_whole
from schemas.trading import KillLevel

_LEVELS = sorted((level for level in KillLevel if level), reverse=True)


class Latch(msgspec.Struct, frozen=True, kw_only=True):
    """The kill switch as it stands on disk."""

    level: int
    by: str
    since_ns: int


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """What pulling the switch came to."""

    level: str
    acknowledged: bool
    killed: bool
    """Execution did not answer and was killed."""
    milliseconds: float
    running: bool
    killer: bool = False
    """The killer was started: execution could not do it."""


def latch_path(data: Path, level: int) -> Path:
    """Where the latch of a level lives."""
    return data / "state" / f"latch-{level}-{KillLevel(level).name.lower()}.json"


def read_latch(data: Path) -> Latch:
    """The highest latch there is; level 0 when there is none."""
    for level in _LEVELS:
        try:
            found = msgspec.json.decode(latch_path(data, level).read_bytes(), type=Latch)
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError):
            return Latch(level=level, by="an unreadable latch file", since_ns=0)
        return msgspec.structs.replace(found, level=level)
    return Latch(level=0, by="", since_ns=0)


def write_latch(data: Path, latch: Latch) -> None:
    """Put a latch on disk, synced, unless one as high stands there already."""
    if read_latch(data).level < latch.level:
        write_whole(latch_path(data, latch.level), msgspec.json.encode(latch))


def remove_latch(data: Path) -> None:
    """Take the latch away: low levels first, so that a crash on the way leaves the highest."""
    found = [path for level in _LEVELS[::-1] if (path := latch_path(data, level)).exists()]
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        sync_folder(found[0].parent)
