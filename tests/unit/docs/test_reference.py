"""The reference page is made from the tables, and is never behind them."""

import importlib.machinery
import importlib.util
from pathlib import Path

from tests.helpers import ROOT


def test_the_reference_page_is_what_the_tables_say():
    path = str(ROOT / "scripts" / "reference")
    loader = importlib.machinery.SourceFileLoader("reference", path)
    spec = importlib.util.spec_from_loader("reference", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    written = Path(module.PAGE).read_text(encoding="utf-8")
    assert written == module.page(), "type: .venv/bin/python scripts/reference"
