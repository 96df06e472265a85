"""The reference is made from the tables, and is never behind them."""

import importlib.machinery
import importlib.util

import pytest

from tests.helpers import ROOT


@pytest.fixture(scope="module")
def reference():
    path = str(ROOT / "scripts" / "reference")
    loader = importlib.machinery.SourceFileLoader("reference", path)
    spec = importlib.util.spec_from_loader("reference", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_every_page_is_what_the_tables_say(reference):
    made = reference.files()
    behind = [
        path.name
        for path, text in made.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert not behind, f"behind: {behind}; type: .venv/bin/python scripts/reference"
    written = set((ROOT / "docs" / "reference").iterdir())
    assert written == {path for path in made if path.parent.name == "reference"}


def test_every_field_of_a_slot_says_what_it_holds(reference):
    """As its module draws it, at the offset and of the size that the program uses."""
    for module in (reference.tape, reference.feature_rows, reference.predictions,
                   reference.decisions):  # fmt: skip
        words = reference.drawn(module.__doc__)
        alone = {"book", "spare", "tape_position_0"}  # drawn once for several, or below the table
        assert {name for name in module.SLOT.names if name not in words} <= alone, module
        for line in module.__doc__.splitlines():
            row = reference.DRAWN.match(line)
            if row and row[3] in module.SLOT.names:
                kind, offset = module.SLOT.fields[row[3]][:2]
                assert (offset, kind.itemsize) == (int(row[1]), int(row[2])), row[3]


def test_every_decision_is_listed(reference):
    page = "\n".join(reference.decisions_page())
    for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"):
        assert f"({path.name})" in page
