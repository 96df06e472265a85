"""History: bars, signals, profit and loss, audit log, in a database, written by storage alone.

A thread of its own reads what storage has written, the journals and the log files, and puts rows
and the place up to which they go into one transaction: killed anywhere, each row is there once.
Storage's rings never wait for it. A database that is slow or away costs lag; what the journals have
dropped by then is a row in `holes`, counted. The thread owns the database; the main thread only
starts and ends it and tells of it.
"""

import threading
from collections.abc import Callable
from typing import Final

from processes.clock import monotonic_s, nap
from processes.runtime import Context
from processes.storage.history_writer import Progress, Writer
from schemas.errors import ConfigError, DatabaseError
from schemas.metrics import place

GRACE_S: Final = 5.0
"""So long a start or a stop waits for it, then the journals go their way."""
RETRY_LONGEST_S: Final = 30.0
_TURN_S: Final = 0.02


class History:
    """The thread around it, as storage uses it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._writer = Writer(
            context.settings,
            context.paths.data,
            context.paths.logs,
            context.registry.ring_names(),
            lambda: context.tables,
        )
        self._interval_s = context.settings.history.interval_s
        self._wake = threading.Event()
        self._ending = False
        self._counted = Progress()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def begin(self) -> None:
        """Start, and give it a while for journals that will be sealed and dropped at once."""
        self._writer.note_ends()
        self._thread.start()
        self._wait(lambda: bool(self._writer.progress.caught_up or self._writer.progress.error))
        self._context.log.info("history", where=self._writer.where)

    def _wait(self, done: Callable[[], bool]) -> None:
        end_s = monotonic_s() + GRACE_S
        while not done() and monotonic_s() < end_s:
            self._thread.join(_TURN_S)
            self._context.service()

    def tend(self) -> None:
        """Tell what has become of it; called in every turn of storage's loop."""
        told, counted = self._writer.progress, self._counted
        metrics = self._context.metrics
        metrics.add(place("history_rows"), told.rows - counted.rows)
        metrics.add(place("history_holes"), told.holes - counted.holes)
        error = told.error
        metrics.set(place("history_away"), int(bool(error)))
        if error and not counted.error:
            self._context.log.warning("history waits", reason=error)
        elif counted.error and not error:
            self._context.log.info("history goes on", where=self._writer.where)
        self._counted = Progress(rows=told.rows, holes=told.holes, error=error)

    def finish(self) -> None:
        """Read to the journals' end, for a while; then end."""
        self._ending = True
        self._wake.set()
        self._wait(lambda: not self._thread.is_alive())
        self._writer.note_ends()
        self.tend()

    # ---- the other thread

    def _run(self) -> None:
        """A fault here must not cost the lake anything: storage goes on without history."""
        try:
            self._live()
        except BaseException as error:
            self._writer.progress.error = f"history has ended: {type(error).__name__}: {error}"
            raise

    def _live(self) -> None:
        pause_s = self._interval_s
        while True:
            ending = self._ending
            try:
                while self._writer.pass_once():
                    pass
            except (DatabaseError, ConfigError) as error:
                self._writer.progress.error = str(error)
                pause_s = min(2 * pause_s, RETRY_LONGEST_S)
            else:
                self._writer.progress.error = ""
                self._writer.progress.caught_up += 1
                pause_s = self._interval_s
            if ending and not self._writer.gives_way:
                self._writer.close()
                return
            if ending:
                nap(_TURN_S)
            else:
                self._wake.wait(pause_s)
