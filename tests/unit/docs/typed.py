"""What documents tell people to type: found in their code, and held against the real commands."""

import functools
import re
import shlex
from collections.abc import Iterator
from typing import Any, NamedTuple

import typer
from typer.exceptions import Exit, TyperException

from processes.cli.__main__ import app

TYPED = re.compile(r"(?<![\w-])(?:\./scripts/)?dcctl(?= )((?:(?!&&|; )(?:\\\n|[^`\n|>]))*)")
FENCE = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}\S.*\n?)+", re.MULTILINE)


class Said(NamedTuple):
    """One command in a document."""

    words: str
    """What stands behind `dcctl`."""
    in_block: bool
    """In a block of code, which people copy whole; a word in a sentence may be a mere name."""


def typed(text: str) -> Iterator[Said]:
    """Every command in a page's code, in order."""
    blocks = [match.span() for match in FENCE.finditer(text)]
    outside = [m for m in INDENTED.finditer(text) if not _within(m.start(), blocks)]
    blocks += [match.span() for match in outside]
    inline = [m.span(1) for m in INLINE.finditer(text) if not _within(m.start(), blocks)]
    for begin, end in sorted([*blocks, *inline]):
        for match in TYPED.finditer(text, begin, end):
            whole = re.sub(r"\s*\\\n\s*", " ", match[1]).strip()
            words = re.split(r"\s#|  +", whole)[0]
            yield Said(words.strip(" .,)"), in_block=(begin, end) in blocks)


def _within(at: int, spans: list[tuple[int, int]]) -> bool:
    return any(begin <= at < end for begin, end in spans)


def every_command() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its full name."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield name, command
            return
        for word, inner in command.commands.items():
            yield from walk(inner, f"{name} {word}")

    yield from walk(typer.main.get_command(app), "dcctl")


def spelt(words: str) -> list[str]:
    """A command of a page as words of a shell. Square brackets say what may be left out, a list in
    them what one of it may be; N stands for a number."""
    plain = re.sub(r"\[([^\],]*),[^\]]*\]", r"\1", words)
    plain = re.sub(r"[\[\]]|(?<= )\.\.\.(?= |\]|$)", " ", plain)
    return [re.sub(r"^(T|N|L)$", "1", word) for word in shlex.split(plain)]


@functools.cache
def whole_command():
    """The command line, which takes its time to make."""
    return typer.main.get_command(app)


def fault(said: Said) -> str:
    """What the real command line says against it; empty if nothing. Nothing is run.

    A command that a sentence names may lack its arguments; one in a block may not.
    """
    command, name = whole_command(), "dcctl"
    try:
        words = spelt(said.words)
    except ValueError as error:
        return str(error)
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break  # an option of the group itself
        if words[0] not in command.commands:
            is_name = re.fullmatch(r"[a-z-]+", words[0]) is not None
            return f"there is no {words[0]}" if is_name or said.in_block else ""
        command, name = command.commands[words[0]], f"{name} {words[0]}"
        words = words[1:]
    if hasattr(command, "commands") and not words:
        return ""  # a group, named as such
    try:
        command.make_context(name, words)
    except TyperException as error:
        is_name = type(error).__name__ == "MissingParameter" and not said.in_block
        return "" if is_name else str(error)
    except Exit:
        return ""  # --help
    return ""
