"""Who a process is: its pid and start time in one word, so that a reused pid is not taken for it.

The start time comes from /proc on Linux (clock ticks since boot, untouched by clock changes) and
from `ps` elsewhere. 40 bits of it stand below the pid's 22.
"""

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

_START_BITS = 40


def _start_from_proc(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    state, *fields = text.rpartition(")")[2].split()
    return 0 if state in "ZX" else int(fields[18])


def _start_from_ps(pid: int) -> int:
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    if not answer or answer.startswith("Z"):
        return 0
    started = answer.split(maxsplit=1)[1]
    return int.from_bytes(hashlib.blake2b(started.encode(), digest_size=5).digest(), "little")


def identity_of(pid: int, platform: str = sys.platform) -> int:
    """The word of a living process; 0 if none of this pid lives (a zombie does not)."""
    if pid <= 0:
        return 0
    start = _start_from_proc(pid) if platform == "linux" else _start_from_ps(pid)
    return 0 if start == 0 else (pid << _START_BITS) | (start & ((1 << _START_BITS) - 1))


@functools.cache
def own_identity() -> int:
    """This process's own word."""
    return identity_of(os.getpid())


def pid_of(identity: int) -> int:
    """The pid in an identity; 0 of nobody."""
    return identity >> _START_BITS


def is_alive(identity: int) -> bool:
    """Whether exactly that process still runs."""
    return identity != 0 and identity_of(pid_of(identity)) == identity
