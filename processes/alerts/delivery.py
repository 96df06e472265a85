"""A courier at work, as seen by who sent it: nothing here waits.

Why a process a message and no thread: a library's call that hangs cannot be taken out of a thread,
and what hangs is what a channel is: somebody else's server, a resolver, a desktop's bus. A process
is killed when its time is over. It costs half a second of a processor a message, of which
there are few, and no memory while nobody is told anything.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Final

import msgspec

from config.loader import ROOT
from processes.alerts.courier import Errand, Outcome
from processes.clock import monotonic_s

TOO_LONG: Final = "it took longer than timeout_s"
TOLD_BYTES: Final = 4096


class Delivery:
    """One errand; `end` must be called, whatever came of it."""

    def __init__(self, errand: Errand) -> None:
        self._end_s = monotonic_s() + errand.timeout_s
        self._late = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "processes.alerts.courier"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what libraries say may hold an address
            start_new_session=True,
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died already; `outcome` says so
            self._process.stdin.write(msgspec.json.encode(errand) + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Of the courier, which leads a group of its own."""
        return self._process.pid

    def is_over(self) -> bool:
        """Whether it has ended; one that takes too long is ended."""
        if self._process.poll() is None and monotonic_s() > self._end_s:
            self._late = True
            self._kill()
        return self._process.poll() is not None

    def outcome(self) -> Outcome:
        """What came of one that is over."""
        if self._late:
            return Outcome(TOO_LONG)
        assert self._process.stdout is not None
        try:
            return msgspec.json.decode(self._process.stdout.read(TOLD_BYTES), type=Outcome)
        except msgspec.DecodeError:
            return Outcome("its courier died")

    def end(self) -> None:
        """End it, whatever it does."""
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _kill(self) -> None:
        if self._process.poll() is None:  # else its number may be somebody else's by now
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
