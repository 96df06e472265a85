"""A pace that all processes of a machine keep together: one command per interval and venue.

GMO Coin counts the commands of an address, over all its connections; two collectors, or two
instances, that each kept the pace would break it together. The time from which the next command is
free stands in a small file that is locked while it is read and written.
"""

import fcntl
import os
import struct
import tempfile
from pathlib import Path

from processes.clock import monotonic_s

_TIME = struct.Struct("<d")


class Pace:
    """Turns of one venue.

    Args:
        name: the venue. interval_s: least time between two turns; 0 for no limit at all.
    """

    def __init__(self, name: str, interval_s: float) -> None:
        self._interval_s = interval_s
        self._path = Path(tempfile.gettempdir()) / f"dc-pace-{os.getuid()}-{name}"

    def take(self) -> bool:
        """Take the turn if it is free now."""
        if not self._interval_s:
            return True
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            now_s = monotonic_s()
            held = os.pread(handle, _TIME.size, 0)
            free_s = _TIME.unpack(held)[0] if len(held) == _TIME.size else 0.0
            # A time further off than one interval is of before the machine's last start.
            if now_s < free_s <= now_s + self._interval_s:
                return False
            os.pwrite(handle, _TIME.pack(now_s + self._interval_s), 0)
            return True
        finally:
            os.close(handle)
