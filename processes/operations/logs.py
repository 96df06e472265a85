"""Log lines of all processes in the order of time."""

import heapq
from pathlib import Path
from typing import Any

import msgspec

from schemas.errors import OperatorError, UsageError

LEVELS = ("debug", "info", "warning", "error", "critical")
TAIL_BYTES = 400_000


def log_files(folder: Path, process: str, level: str) -> list[Path]:
    """The logs of a process, or of all if it is empty.

    Raises:
        UsageError: no such level. OperatorError: there is no such log.
    """
    if level not in LEVELS:
        raise UsageError(f"no level {level}; there are {', '.join(LEVELS)}")
    paths = sorted(path for path in folder.glob("*.jsonl") if process in {"", path.stem})
    if not paths:
        known = ", ".join(sorted(path.stem for path in folder.glob("*.jsonl"))) or "none yet"
        raise OperatorError(f"no log of {process or 'any process'}; there are: {known}")
    return paths


def newest(paths: list[Path], level: str, lines: int, text: str = "") -> list[dict[str, Any]]:
    """The newest lines of a level or above that hold a text, oldest first."""
    lowest, wanted = LEVELS.index(level), text.lower()
    found = [
        line
        for path in paths
        for line in tail(path)
        if rank(line) >= lowest and (not wanted or wanted in str(line).lower())
    ]
    return heapq.nlargest(lines, found, key=lambda item: item["time"])[::-1]


def rank(line: dict[str, Any]) -> int:
    """Place of its level among LEVELS."""
    level = line.get("level", "info")
    return LEVELS.index(level) if level in LEVELS else 1


def parse(raw: bytes) -> dict[str, Any] | None:
    """A line of a log; None of what is no whole line."""
    try:
        line = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("time"), str) else None


def tail(path: Path) -> list[dict[str, Any]]:
    """The last lines of a log, TAIL_BYTES of them."""
    try:
        file = path.open("rb")
    except FileNotFoundError:  # its writer is between two files
        return []
    with file:
        file.seek(0, 2)
        start = max(file.tell() - TAIL_BYTES, 0)
        file.seek(start)
        lines = file.read().splitlines()[1 if start else 0 :]
    return [line for raw in lines if (line := parse(raw)) is not None]
