"""The lake's lock: one compaction at a time, and none while somebody verifies.

Nor is anything removed meanwhile that a store has.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from processes.lake_places import Place, local_of
from schemas.errors import OperatorError


@contextmanager
def hold(lake: Place, *, alone: bool) -> Iterator[None]:
    """Hold it, alone or together with others of the same mind. Storage never needs it.

    Raises:
        OperatorError: somebody holds it who does not go together with that.
    """
    here = local_of(lake)
    if here is None:  # nothing is removed from a store but by a push of what is there already
        yield
        return
    # The folder itself: a full disk or one that cannot be written to is no reason not to look.
    folder = os.open(here, os.O_RDONLY)
    try:
        fcntl.flock(folder, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OperatorError(
            f"another dcctl lake verify, compact or push is at work in {here}; wait for its end"
        ) from None
    finally:
        os.close(folder)
