"""Archive as a child process: a pass of `processes/lake/push.py` again and again, in a thread.

It reads no ring and is on nobody's way: a store that is slow or gone costs it time and storage
nothing. A store that does not answer is tried again after longer and longer waits, one that refuses
the credentials likewise, and both are said by `dcctl status`. It may be killed at any instant; what
a request had begun is no file in the store, and the next life goes on.
"""

import os
import random
import threading
from typing import Any, Final

from processes.backoff import Backoff
from processes.clock import nap
from processes.lake.push import Push, Pushed
from processes.lake_stores import Store
from processes.runtime import Context, run
from schemas.errors import OperatorError, StoreError
from schemas.metrics import place
from schemas.stores import parse_store

NICENESS: Final = 15
POLL_S: Final = 0.05
JOIN_S: Final = 3.0
OK, AWAY, REFUSED = range(3)


class Archive:
    """The thread that pushes, and what is told of it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings.lake
        self._wake = threading.Event()
        self._stop = False
        self._state = OK
        self._reason = ""
        self._said = ""
        self._failures = 0
        self._seen = Pushed()
        self._counted: dict[str, int] = {}
        self.thread = threading.Thread(target=self._push, daemon=True)
        context.bus.on_command("push", self._on_push)

    def live(self) -> None:
        """Push until told to stop."""
        context = self._context
        self.thread.start()
        context.ready()
        while not context.stopping:
            if context.service():
                self._tell()
            nap(POLL_S)
        self._stop = True
        self._wake.set()
        self.thread.join(JOIN_S)
        self._tell()

    # ---- the thread

    def _push(self) -> None:
        settings = self._settings
        backoff = Backoff(settings.backoff_first_s, settings.backoff_longest_s, random.Random())  # noqa: S311
        while not self._stop:
            try:
                self._passes(backoff)
            except StoreError as error:
                self._fail(str(error), REFUSED if error.refused else AWAY)
            except (OperatorError, OSError) as error:
                self._fail(str(error), AWAY)
            self._wait(max(backoff.next_s(), settings.backoff_first_s))

    def _passes(self, backoff: Backoff) -> None:
        """Passes until one fails or it is time to stop."""
        settings = self._settings
        store = Store(parse_store("lake.store", settings.store))
        push = Push(self._context.paths.data, store, settings.store, settings.keep_local_days)
        push.done = self._seen
        try:
            while not self._stop:
                push.run(self._context.clock, self._goes_on)
                backoff.succeeded()
                self._wait(settings.push_s)
        finally:
            push.close()

    def _goes_on(self, _: Pushed) -> bool:
        """The store has answered; before each file."""
        self._state, self._reason = OK, ""
        return not self._stop

    def _fail(self, reason: str, state: int) -> None:
        self._failures += 1
        self._state, self._reason = state, reason

    def _wait(self, seconds: float) -> None:
        if not self._stop:
            self._wake.wait(seconds)
        self._wake.clear()

    # ---- telling

    def _tell(self) -> None:
        done, metrics = self._seen, self._context.metrics
        totals = {
            "archive_files": done.files,
            "archive_bytes": done.bytes,
            "archive_replaced": done.replaced,
            "archive_removed": done.removed,
            "archive_failures": self._failures,
        }
        for name, value in totals.items():
            metrics.add(place(name), value - self._counted.get(name, 0))
            self._counted[name] = value
        age_ns = self._context.clock.now_ns() - done.oldest_ns if done.oldest_ns else 0
        metrics.set(place("archive_refused"), len(done.refused))
        metrics.set(place("archive_pending_files"), done.pending_files)
        metrics.set(place("archive_pending_bytes"), done.pending_bytes)
        metrics.set(place("archive_oldest_s"), max(age_ns, 0) // 1_000_000_000)
        metrics.set(place("archive_state"), self._state)
        self._say()

    def _say(self) -> None:
        """A few words for status; a line in the log when they are new."""
        done = self._seen
        refused = done.refused[0] if done.refused else ""
        told = self._reason or refused
        waiting = f"{done.pending_files} files to push" if done.pending_files else ""
        self._context.say(told or waiting)
        if told != self._said:
            self._said = told
            if told:
                self._context.log.warning("the store does not have all of the lake", reason=told)
            else:
                self._context.log.info("the store takes files again")

    def describe(self) -> dict[str, Any]:
        """How it stands, for `dcctl lake push`."""
        done = self._seen
        return {
            "state": ("ok", "away", "refused")[self._state],
            "reason": self._reason,
            "files": done.files,
            "bytes": done.bytes,
            "pending_files": done.pending_files,
            "pending_bytes": done.pending_bytes,
            "refused": done.refused,
        }

    def _on_push(self, _: dict[str, Any]) -> dict[str, Any]:
        """Do not wait: look now."""
        self._wake.set()
        return self.describe()


def main(context: Context) -> None:
    """Bring the lake to its store."""
    os.nice(NICENESS)
    archive = Archive(context)
    archive.live()
    if archive.thread.is_alive():
        # A request hangs. To end in order would close what it writes, and half a file would count.
        context.log.info("stopped in the middle of a file; it is begun anew")
        context.close()
        os._exit(0)


if __name__ == "__main__":
    run(main)
