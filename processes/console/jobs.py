"""Downloads begun from a page: each is `dcctl history download`, a process of its own.

A download holds its job by a lock on disk, writes down each page, and looks several times a second
whether somebody wants it to end. All of that is there for the command already, so the page's are
the same jobs: begun, listed, cancelled and resumed by either. They live no longer than the console,
whose end closes their standard input (`processes/guard.py`), and go on where they were by `resume`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, Final

from processes.history.jobs import JobStore
from processes.operations.jobs import cancel, describe
from processes.places import ROOT, Paths
from schemas.errors import OperatorError, UsageError

JOBS_MAX: Final = 8
SAID_BYTES: Final = 2000
CHANNELS: Final = ("candles", "trades", "tickers")


class _Running:
    """One process, with what it says of faults in a file."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.words = words
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `error`)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "processes.console.download", *words],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )

    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def error(self) -> str:
        """Why it failed; empty if it did not."""
        self._errors.seek(0)
        told = self._errors.read()[-SAID_BYTES:].decode(errors="replace").strip()
        self._errors.close()
        self.close()
        return (told.splitlines() or [f"exit code {self.process.returncode}"])[-1] if (
            self.process.returncode
        ) else ""  # fmt: skip

    def close(self) -> None:
        """It ends with its standard input."""
        if self.process.stdin is not None:
            self.process.stdin.close()


class Jobs:
    """All downloads; those of this console among them."""

    def __init__(self, paths: Paths) -> None:
        self._store = JobStore(paths.data)
        self._lake = paths.data / "lake"
        self._running: list[_Running] = []
        self.faults: list[str] = []
        """What went wrong before there was a job, newest last."""
        self.environment = {
            **os.environ,
            "DC__paths__run": str(paths.run),
            "DC__paths__data": str(paths.data),
            "DC__paths__logs": str(paths.logs),
        }

    def look(self) -> list[dict[str, Any]]:
        """All of them, newest first."""
        for one in [each for each in self._running if each.is_over()]:
            self._running.remove(one)
            if error := one.error():
                self.faults = [*self.faults[-19:], f"{' '.join(one.words[1:])}: {error}"]
        jobs = [describe(job, self._store, self._lake) for job in self._store.jobs()]
        return jobs[::-1]

    def begin(self, words: list[str]) -> dict[str, Any]:
        """Begin a download of these words."""
        return self._start(["download", *words])

    def resume(self, job: str) -> dict[str, Any]:
        """Go on with one."""
        self._store.job(job)
        return self._start(["resume", job])

    def _start(self, words: list[str]) -> dict[str, Any]:
        self.look()
        if len(self._running) >= JOBS_MAX:
            raise OperatorError(f"{JOBS_MAX} downloads run already; wait, or cancel one")
        self._running.append(_Running(words, self.environment))
        return {"started": " ".join(words)}

    def cancel(self, job: str) -> dict[str, Any]:
        """End one in order."""
        cancel([job], self._store, self._lake)
        return describe(self._store.job(job), self._store, self._lake)

    def end(self) -> None:
        """The console ends: so do they, each after its page."""
        for one in self._running:
            one.close()
        for one in self._running:
            try:
                one.process.wait(3)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
            one.error()
        self._running = []


def words_of(
    venue: str, channel: str, symbols: str, start: str, end: str, *, timeframe: str = "",
    limit: int = 0, sort: str = "asc", form: str = "arrow",
) -> list[str]:  # fmt: skip
    """The words of `dcctl history download`. Nothing of them can become another option.

    Raises:
        UsageError: there is no symbol.
    """
    names = [name for name in symbols.replace(",", " ").split() if name]
    if not names:
        raise UsageError("name a symbol, or several with spaces between")
    words = [f"--from={start}"] if start else []
    words += [f"--to={end}"] if end else []
    words += [f"--timeframe={timeframe}"] if timeframe and channel == "candles" else []
    words += [f"--limit={limit:d}", f"--sort={sort}", f"--format={form}"]
    return [*words, "--", venue, channel, *names]


def history_files(lake: Path) -> list[Path]:
    """Downloaded files in CSV, which the lake's own listing does not speak of."""
    return sorted(lake.glob("*/restapi/*/*/*.csv"))
