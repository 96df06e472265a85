"""logs: the newest lines of all processes in the order of time, and those that come."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from processes.cli.screen import colour, say
from processes.clock import nap
from processes.operations.instance import find_paths
from processes.operations.logs import LEVELS, log_files, newest, parse, rank

_COLOURS = {"warning": "yellow", "error": "red", "critical": "red", "debug": "dim"}


def show_logs(process: str, *, follow: bool, lines: int, level: str, as_json: bool) -> None:
    """Print log lines."""
    paths = log_files(find_paths().logs, process, level)
    for line in newest(paths, level, lines):
        _print(line, as_json=as_json)
    if follow:
        for line in _follow(paths):
            if rank(line) >= LEVELS.index(level):
                _print(line, as_json=as_json)


def _follow(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """Lines as they are appended, through rotations."""
    files = {path: path.open("rb") for path in paths}
    for file in files.values():
        file.seek(0, 2)
    while True:
        fresh = []
        for path, file in files.items():
            fresh += [line for raw in file.readlines() if (line := parse(raw)) is not None]
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
