"""The lake's lock: one compaction at a time, and none while somebody verifies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from schemas.errors import OperatorError

NAME: Final = ".lock"


@contextmanager
def hold(lake: Path, *, alone: bool) -> Iterator[None]:
    """Hold it, alone or together with others of the same mind. Storage never needs it.

    Raises:
        OperatorError: somebody holds it who does not go together with that.
    """
    with (lake / NAME).open("a") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError:
            raise OperatorError(
                f"another dcctl lake verify or compact is at work in {lake}; wait for its end"
            ) from None
        yield
