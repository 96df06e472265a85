"""What documents tell people to type is there: the command, and each of its options.

That every one of them runs is not proved here: most need an instance, a venue, or a day of data.
"""

import re
from collections.abc import Iterator

import pytest
import typer

from processes.cli.__main__ import app
from tests.helpers import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TYPED = re.compile(r"(?<![\w-])dcctl ([^`\n|]*)")
OPTION = re.compile(r"(?<![\w-])(--?[a-zA-Z][\w-]*)")


def typed(text: str) -> Iterator[str]:
    """What stands behind `dcctl` in code: in backticks, or on a line of a block."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4}\S.*$", text, re.MULTILINE)
    for code in (*blocks, *indented, *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)):
        for line in code.splitlines():
            for said in TYPED.findall(line):
                yield re.split(r"\s#|&&|;", said)[0].strip(" .,)")


def fault(said: str) -> str:
    """What is wrong with it; empty if nothing is."""
    command = typer.main.get_command(app)
    words = said.split()
    while words and hasattr(command, "commands"):
        names = words[0].split("|")
        if not re.fullmatch(r"[a-z]+(\|[a-z]+)*", words[0]):
            break
        if missing := [name for name in names if name not in command.commands]:
            return f"there is no {missing[0]}"
        command = command.commands[names[0]]
        words = words[1:]
    if hasattr(command, "commands"):
        return ""
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {
        "--help"
    }
    strange = [
        name
        for name in OPTION.findall(re.sub(r"\"[^\"]*\"|'[^']*'", "", " ".join(words)))
        if name not in known
    ]
    return f"it has no {strange[0]}" if strange else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_tells_to_type_is_there(page):
    text = page.read_text(encoding="utf-8")
    found = {said: fault(said) for said in typed(text)}
    assert {said: why for said, why in found.items() if why} == {}


def test_it_finds_what_is_not_there():
    assert list(
        typed("`dcctl top`, ```x``` and dcctl nothing\n    dcctl tap features -n 1  # a row\n")
    ) == [
        "tap features -n 1",
        "top",
    ]
    assert fault("tap features --symbol tBTCUSD") == "it has no --symbol"
    assert fault("lake sql") == "there is no sql"
    assert fault("nothing at all") == "there is no nothing"
    assert fault('lake query "SELECT --x"') == ""
    assert fault("kill --level flatten --yes") == ""
