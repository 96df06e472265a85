"""What documents tell people to type is taken by the real command line, arguments and options too.

Those of the README and of the first steps are also run, in tests/live/test_documents.py.
"""

import pytest

from tests.helpers import ROOT
from tests.unit.docs.typed import Said, every_command, fault, spelt, typed

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_tells_to_type_is_taken(page):
    found = {said.words: fault(said) for said in typed(page.read_text(encoding="utf-8"))}
    assert {words: why for words, why in found.items() if why} == {}


def test_what_is_typed_is_found_in_order():
    text = (
        "`dcctl top`, ```x``` and dcctl nothing\n\n    dcctl tap features -n 1  # a row\n\n"
        "- a\n\n    ```\n    DC__x=1 ./scripts/dcctl kill --yes && dcctl arm\n    ```\n\n"
        "`dcctl stop`.\n"
    )
    assert list(typed(text)) == [
        Said("top", in_block=False),
        Said("tap features -n 1", in_block=True),
        Said("kill --yes", in_block=True),
        Said("arm", in_block=True),
        Said("stop", in_block=False),
    ]


def test_it_finds_what_is_not_taken():
    for words, why in (
        ("tap features --symbol tBTCUSD", "No such option: --symbol"),
        ("lake sql", "there is no sql"),
        ("nothing at all", "there is no nothing"),
        ("top features", "Got unexpected extra argument"),
        ("logs -n many", "valid integer"),
        ("tap", "Missing"),
    ):
        assert why in fault(Said(words, in_block=True)), words
    for words in ('lake query "SELECT --x"', "kill --level flatten --yes", "kill --help", "lake"):
        assert fault(Said(words, in_block=True)) == "", words
    assert fault(Said("tap", in_block=False)) == ""
    assert fault(Said("top features", in_block=False)) != ""


def test_brackets_are_no_words():
    assert spelt("kill [--level pause, cancel] [--yes]") == ["kill", "--level", "pause", "--yes"]
    assert spelt("restart [NAME ...]") == ["restart", "NAME"]
    assert spelt('lake query "SELECT count(*) FROM x"')[2] == "SELECT count(*) FROM x"


def test_the_command_line_is_known_whole():
    names = {name for name, _ in every_command()}
    assert {"dcctl start", "dcctl lake query", "dcctl freqtrade absent"} <= names
