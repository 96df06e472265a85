"""Nonces that rise over every life of every process that uses a key.

Microseconds since the epoch, and never less than what was given before: a file holds a number above
all that were given, and is written before they are, a while ahead. Two sources must not share a
file: each user of a key has a nonce space of its own by having a key of its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from processes.files import write_whole
from schemas.errors import OperatorError

AHEAD: Final = 10_000_000
"""The file is written every ten seconds of use at most; a crash skips as much."""


class Nonces:
    """One source.

    Raises:
        OperatorError: the file is damaged.
    """

    def __init__(self, path: Path, now_ns: Callable[[], int]) -> None:
        self._path = path
        self._now_ns = now_ns
        try:
            self._reserved = int(path.read_text("ascii"))
        except FileNotFoundError:
            self._reserved = 0
        except ValueError:
            raise OperatorError(
                f"{path} is damaged; write into it a number above any nonce that the key was used "
                "with, such as the microseconds since 1970"
            ) from None
        self._last = self._reserved

    def next(self) -> int:
        """A number larger than any before."""
        self._last = max(self._last + 1, self._now_ns() // 1000)
        if self._last >= self._reserved:
            self._reserved = self._last + AHEAD
            write_whole(self._path, f"{self._reserved}\n".encode())
        return self._last
