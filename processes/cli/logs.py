"""logs: the newest lines of all processes in the order of time, and those that come."""

import heapq
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from processes.cli.instance import find_paths
from processes.cli.screen import colour, say
from processes.clock import nap
from schemas.errors import OperatorError, UsageError

LEVELS = ("debug", "info", "warning", "error", "critical")
TAIL_BYTES = 400_000
_COLOURS = {"warning": "yellow", "error": "red", "critical": "red", "debug": "dim"}


def show_logs(process: str, *, follow: bool, lines: int, level: str, as_json: bool) -> None:
    """Print log lines."""
    if level not in LEVELS:
        raise UsageError(f"no level {level}; there are {', '.join(LEVELS)}")
    folder = find_paths().logs
    paths = sorted(path for path in folder.glob("*.jsonl") if process in {"", path.stem})
    if not paths:
        known = ", ".join(sorted(path.stem for path in folder.glob("*.jsonl"))) or "none yet"
        raise OperatorError(f"no log of {process or 'any process'}; there are: {known}")
    lowest = LEVELS.index(level)
    found = [line for path in paths for line in _tail(path) if _rank(line) >= lowest]
    for line in heapq.nlargest(lines, found, key=lambda item: item["time"])[::-1]:
        _print(line, as_json=as_json)
    if follow:
        for line in _follow(paths):
            if _rank(line) >= lowest:
                _print(line, as_json=as_json)


def _rank(line: dict[str, Any]) -> int:
    level = line.get("level", "info")
    return LEVELS.index(level) if level in LEVELS else 1


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        line = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("time"), str) else None


def _tail(path: Path) -> list[dict[str, Any]]:
    try:
        file = path.open("rb")
    except FileNotFoundError:  # its writer is between two files
        return []
    with file:
        file.seek(0, 2)
        start = max(file.tell() - TAIL_BYTES, 0)
        file.seek(start)
        lines = file.read().splitlines()[1 if start else 0 :]
    return [line for raw in lines if (line := _parse(raw)) is not None]


def _follow(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """Lines as they are appended, through rotations."""
    files = {path: path.open("rb") for path in paths}
    for file in files.values():
        file.seek(0, 2)
    while True:
        fresh = []
        for path, file in files.items():
            fresh += [line for raw in file.readlines() if (line := _parse(raw)) is not None]
            with suppress(FileNotFoundError):  # between two: the next round finds the new one
                if path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                    fresh_file = path.open("rb")
                    file.close()
                    files[path] = fresh_file
        yield from sorted(fresh, key=lambda line: line["time"])
        nap(0.2)


def _print(line: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say(msgspec.json.encode(line).decode())
        return
    rest = {k: v for k, v in line.items() if k not in {"time", "level", "process", "event"}}
    trace = rest.pop("exception", "")
    detail = "  ".join(f"{key}={value}" for key, value in rest.items())
    clock = line["time"][11:23]
    level = line.get("level", "")
    text = f"{clock}  {line.get('process', ''):<19} {line.get('event', '')}"
    text = colour(text, _COLOURS[level]) if level in _COLOURS else text
    say(f"{text}  {colour(detail, 'dim')}" if detail else text)
    if trace:
        say(trace)
