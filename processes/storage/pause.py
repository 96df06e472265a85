"""Waiting for room: what storage does when the disk is full, or a quota is reached.

Nothing is dropped and nothing half written: the ring keeps what comes for as long as it is, and the
same work is tried again every second. Any other failure of a disk is no matter of waiting: it ends
the process, with its reason in the log.
"""

import errno
from collections.abc import Callable
from typing import Final

from processes.clock import monotonic_s, nap
from processes.runtime import Context
from schemas.metrics import place

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
RETRY_S: Final = 1.0
NAP_S: Final = 0.05


class Pause:
    """Whether storage waits for room, and since when."""

    def __init__(self, context: Context) -> None:
        self.serving = False
        """Whether storage had begun its work, so that it is ready again when there is room."""
        self.text = ""
        """What `status` says while it does not wait."""
        self._context = context
        self._since_s = 0.0
        self._retry_s = 0.0

    def attempt(self, work: Callable[[], None]) -> bool:
        """Do it unless it waits; False if there was no room, or it waits still.

        Raises:
            OSError: of another kind.
        """
        if self._since_s and monotonic_s() < self._retry_s:
            return False
        try:
            work()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self._begin(error)
            return False
        self._end()
        return True

    def insist(self, work: Callable[[], None]) -> None:
        """Do it, and again until there is room, or the process is told to stop."""
        while not self.attempt(work) and not self._context.stopping:
            self._context.service()
            nap(NAP_S)

    def _begin(self, error: OSError) -> None:
        now_s = monotonic_s()
        self._retry_s = now_s + RETRY_S
        data = self._context.paths.data
        if self._since_s:
            return
        self._since_s = now_s
        self._context.metrics.set(place("storage_paused"), 1)
        self._context.log.error("paused: no room", folder=str(data), reason=str(error))
        self._context.not_ready(f"paused: no room in {data}; free some, the rings wait")

    def _end(self) -> None:
        if self._since_s:
            self._context.log.info("room again", after_s=round(monotonic_s() - self._since_s, 1))
            self._since_s = 0.0
            self._context.metrics.set(place("storage_paused"), 0)
            if self.serving:
                self._context.ready(self.text)
