"""Who was computing when the process died: a byte that outlives it.

A forward pass that hangs is ended by the supervisor, for want of a heartbeat; one that crashes the
interpreter ends itself. The process that comes next finds the byte still set, and leaves that model
out for a while, longer each time, instead of dying of it again. A process that was killed at such a
moment for another reason loses that model for as long: it is back by itself.
"""

import mmap
import os
from pathlib import Path
from typing import Final

SIZE: Final = 16
MOST_DEATHS: Final = 7
"""Deaths in a row beyond which it is not left out for longer: 128 times `inference.retry_s`."""


class Flight:
    """The byte, in a file that is mapped: to set it costs no system call.

    Args:
        path: of the file; None = of no file, which nothing outlives.
    """

    def __init__(self, path: Path | None) -> None:
        if path is None:
            self._bytes = mmap.mmap(-1, SIZE)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as file:
                os.ftruncate(file.fileno(), SIZE)
                self._bytes = mmap.mmap(file.fileno(), SIZE)
        number, deaths, again = self._bytes[0], self._bytes[1], self._bytes[2]
        self.died_of = number - 1
        """Number of the model that was computing when the process before this one died; or -1."""
        self.deaths = (
            min(deaths + 1, MOST_DEATHS) if number and number == again else int(number > 0)
        )
        """How often that was so in a row."""
        self._bytes[0:3] = bytes([0, self.deaths, number or again])

    def enter(self, number: int) -> None:
        """This model computes from now on."""
        self._bytes[0] = number + 1

    def leave(self) -> None:
        """None does."""
        self._bytes[0] = 0

    def close(self) -> None:
        """Give the file up."""
        self._bytes.close()
