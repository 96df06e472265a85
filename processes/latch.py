"""The kill switch on disk: a file that outlives every process.

The highest level written stands until somebody arms again. A latch that cannot be read counts as
pulled: nobody knows what it said, and it was there for a reason.
"""

from pathlib import Path

import msgspec

from processes.files import sync_folder, write_whole
from schemas.trading import KillLevel


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


def latch_path(data: Path) -> Path:
    """Where the latch lives."""
    return data / "state" / "latch.json"


def read_latch(data: Path) -> Latch:
    """The latch; level 0 when there is none. One that cannot be read counts as pulled."""
    try:
        return msgspec.json.decode(latch_path(data).read_bytes(), type=Latch)
    except FileNotFoundError:
        return Latch(level=0, by="", since_ns=0)
    except msgspec.DecodeError:
        return Latch(level=KillLevel.CANCEL, by="an unreadable latch file", since_ns=0)


def write_latch(data: Path, latch: Latch) -> None:
    """Put a latch on disk, synced, unless a higher one stands there already."""
    if read_latch(data).level < latch.level:
        write_whole(latch_path(data), msgspec.json.encode(latch))


def remove_latch(data: Path) -> None:
    """Take the latch away."""
    path = latch_path(data)
    if path.exists():
        path.unlink()
        sync_folder(path.parent)
