"""Locks as files: held for as long as an open file, gone with its process however that ends.

Owns nothing but the files it is told of. Never waits.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from schemas.errors import DataControllerError


def hold(path: Path, refusal: Callable[[str], DataControllerError]) -> IO[str]:
    """Hold a lock for as long as what is returned is open; the file names this process.

    Args:
        refusal: makes the error of the number of the process that holds it.

    Raises:
        What `refusal` makes: another process holds it. OSError: the file cannot be opened.
    """
    file = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise refusal(owner) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def is_held(path: Path) -> bool:
    """Whether somebody holds it."""
    try:
        with path.open("r", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
