"""Panels of what stands on disk: made by a thread, kept a while, and never waited for.

A panel that is asked for before it has been made says so; the next look shows it. One is not made
again before it is `keep_s` old, however many browsers look at it.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from processes.clock import monotonic_s
from processes.console.drawing import text
from processes.console.view import View
from schemas.errors import DataControllerError
from shm.errors import SharedMemoryError

CHOICES_MAX: Final = 32
LOADING: Final = '<p class="none">looking …</p>'


class Slow:
    """One such panel."""

    def __init__(
        self, pool: ThreadPoolExecutor, make: Callable[[str], str], keep_s: float = 1.0
    ) -> None:
        self._pool = pool
        self._make = make
        self._keep_s = keep_s
        self._made: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._coming: dict[str, Future[str]] = {}

    def __call__(self, _: View, choice: str) -> str:
        """What there is now."""
        now_s = monotonic_s()
        coming = self._coming.get(choice)
        if coming is not None and coming.done():
            del self._coming[choice]
            self._made[choice] = (now_s, coming.result())
            self._made.move_to_end(choice)
            while len(self._made) > CHOICES_MAX:
                self._made.popitem(last=False)
        made_s, html = self._made.get(choice, (-self._keep_s, LOADING))
        if now_s - made_s >= self._keep_s and choice not in self._coming:
            self._coming[choice] = self._pool.submit(self._try, choice)
        return html

    def _try(self, choice: str) -> str:
        try:
            return self._make(choice)
        except (DataControllerError, SharedMemoryError, OSError) as error:
            return f'<p class="fault">{text(error)}</p>'

    def forget(self) -> None:
        """Something was done: what is there is old."""
        self._made = OrderedDict((name, (0.0, html)) for name, (_, html) in self._made.items())
