"""JSON lines, one file a process, rotated by us; on standard output too in the foreground.

Logs hold changes of state and counts, never ticks. A line has `time`, `level`, `process`, `event`
(what happened, in words) and whatever belongs to it by name.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from processes.clock import utc_text
from schemas.settings import LogSettings


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
    """Imports in here take a package that they could do without for one that is not there."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


# For faults on a terminal structlog would load rich, seventy modules, into every process: a tenth
# of its start. Our lines are JSON.
with _without("rich"):
    import structlog

TO_STDOUT = "DC_LOG_STDOUT"
"""Environment variable: set to 1 by a supervisor in the foreground."""


class RotatingFile:
    """A file that is renamed to .1, .2 ... when it is full."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self._echo = os.environ.get(TO_STDOUT) == "1"

    def write(self, text: str) -> None:
        """Append one line, whole or not at all as far as other writers can see."""
        if self._file.tell() + len(text.encode()) > self._max_bytes:
            self._rotate()
        self._file.write(text)
        self._file.flush()
        if self._echo:
            sys.stdout.write(text)
            sys.stdout.flush()

    def flush(self) -> None:
        """Every write is flushed already."""

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._keep - 1, 0, -1):
            older = self._path.with_suffix(f"{self._path.suffix}.{number}")
            if older.exists():
                older.rename(self._path.with_suffix(f"{self._path.suffix}.{number + 1}"))
        with contextlib.suppress(FileNotFoundError):  # somebody has removed it
            self._path.rename(self._path.with_suffix(f"{self._path.suffix}.1"))
        self._file = self._path.open("a", encoding="utf-8")


class _LineLogger:
    """What structlog hands finished lines to."""

    def __init__(self, file: RotatingFile) -> None:
        self._file = file

    def msg(self, message: str) -> None:
        self._file.write(message + "\n")

    debug = info = warning = error = critical = exception = msg


Log = structlog.typing.FilteringBoundLogger


def open_screen_log() -> Log:
    """Warnings and worse as lines on standard error, for a command that runs to its end."""
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    return log


def open_log(folder: Path, process: str, settings: LogSettings, now_ns: Callable[[], int]) -> Log:
    """The process's log. `now_ns` is the context's clock."""
    file = RotatingFile(folder / f"{process}.jsonl", settings.max_bytes, settings.keep)

    def stamp(_: Any, level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"time": utc_text(now_ns()), "level": level, "process": process, **event}

    logger: Log = structlog.wrap_logger(
        _LineLogger(file),
        processors=[
            stamp,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.level.upper()]
        ),
        cache_logger_on_first_use=True,
    )
    return logger
