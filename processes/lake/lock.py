"""The lake's lock: one compaction at a time, and none while somebody verifies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import OperatorError


@contextmanager
def hold(lake: Path, *, alone: bool) -> Iterator[None]:
    """Hold it, alone or together with others of the same mind. Storage never needs it.

    Raises:
        OperatorError: somebody holds it who does not go together with that.
    """
    # The folder itself: a full disk or one that cannot be written to is no reason not to look.
    folder = os.open(lake, os.O_RDONLY)
    try:
        fcntl.flock(folder, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OperatorError(
            f"another dcctl lake verify or compact is at work in {lake}; wait for its end"
        ) from None
    finally:
        os.close(folder)
