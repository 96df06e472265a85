"""The console beside an instance that somebody else has started: in a container of its own.

`console.outside` has the supervisor keep a place for it and not start it. This waits for an
instance in the run folder, has a console live as long as that does, and waits for the next; a
console that ends by itself is started again. It needs what a child needs: the run folder, shared
memory and process numbers of the instance, data and logs.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Final

from config.loader import DEFAULT_PROFILE
from processes.backoff import Backoff
from processes.changes import load_with_changes
from processes.clock import monotonic_s
from processes.places import ROOT, is_locked, read_registry, read_settings, resolve
from schemas.errors import OperatorError

NAME: Final = "console"
LOOK_S: Final = 0.25
GRACE_S: Final = 8.0
HEALTHY_S: Final = 60.0


def session_of(run: Path) -> int:
    """The session that runs and has a place for us; 0 if there is none."""
    if not is_locked(run):
        return 0
    with contextlib.suppress(OperatorError, OSError):
        registry = read_registry(run)
        read_settings(run)  # it is written after the registry
        if any(child.name == NAME for child in registry.children):
            return registry.session
    return 0


class Outside:
    """One console after another, until told to stop."""

    def __init__(self, run: Path, backoff: Backoff) -> None:
        self._run = run
        self._backoff = backoff
        self.stopping = Event()

    def live(self) -> None:
        """Wait for an instance, be its console, and again."""
        while not self.stopping.is_set():
            session = session_of(self._run)
            if not session:
                self.stopping.wait(LOOK_S)
                continue
            began_s = monotonic_s()
            self._accompany(session)
            if monotonic_s() - began_s > HEALTHY_S:
                self._backoff.succeeded()
            self.stopping.wait(self._backoff.next_s())

    def _accompany(self, session: int) -> None:
        """One console: it ends with its instance, with us, or by itself."""
        guard, ours = os.pipe()
        process = subprocess.Popen(
            [
                sys.executable, "-m", "processes.console.main", "--run", str(self._run),
                "--name", NAME, "--guard", str(guard),
            ],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
            pass_fds=[guard],
        )  # fmt: skip
        os.close(guard)
        try:
            while process.poll() is None and session_of(self._run) == session:
                if self.stopping.wait(LOOK_S):
                    break
        finally:
            process.terminate()
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(ours)


def main() -> None:
    """`python -m processes.console.outside`: settings say where the run folder is."""
    paths = resolve(load_with_changes(DEFAULT_PROFILE, None), ROOT)
    outside = Outside(paths.run, Backoff(1.0, 30.0, random.SystemRandom()))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: outside.stopping.set())
    outside.live()


if __name__ == "__main__":
    main()
