"""What commands print: tables, JSON, sizes and times for people."""

import sys
from collections.abc import Sequence
from typing import Any

import msgspec

COLOURS = {"green": 32, "yellow": 33, "red": 31, "dim": 2, "bold": 1}


def colour(text: str, name: str) -> str:
    """Coloured on a terminal, plain elsewhere."""
    if not sys.stdout.isatty():
        return text
    return f"\x1b[{COLOURS[name]}m{text}\x1b[0m"


def say(text: str = "") -> None:
    """A line for the reader."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{text}\n")


def say_json(value: Any) -> None:
    """One JSON value."""
    say(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as they must be; those numbered in `right` are set to the right."""
    cells = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        parts = [
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([colour(line(head), "dim"), *[line(row) for row in cells[1:]]])
