"""The Japanese pages say the same to type as the English ones, in order, and of each alert."""

import re

import pytest

from schemas.alert_rules import RULES
from tests.helpers import ROOT
from tests.unit.docs.test_runbook import entries
from tests.unit.docs.typed import FENCE, typed

TWINS = {
    "README.ja.md": "README.md",
    "docs/ja/get-started.md": "docs/get-started.md",
    "docs/ja/runbook.md": "docs/runbook.md",
}
SEVERITY = {"critical": "重大", "warning": "警告", "info": "情報"}
JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    """Blocks of commands, without what a comment says beside one."""
    found = [match[1] for match in FENCE.finditer(text)]
    return [re.sub(r" +# .*", "", block) for block in found if not re.search(r"[─═]", block)]


@pytest.mark.parametrize("name", TWINS)
def test_a_page_tells_to_type_what_its_twin_tells(name):
    mine, other = read(name), read(TWINS[name])
    assert list(typed(mine)) == list(typed(other))
    assert blocks(mine) == blocks(other)


@pytest.mark.parametrize("name", TWINS)
def test_a_page_is_in_japanese_and_each_page_leads_to_its_twin(name):
    mine, other = read(name), read(TWINS[name])
    paragraphs = [
        part
        for part in re.split(r"\n\s*\n", FENCE.sub("", mine))
        if part.strip() and not part.startswith("### ")
    ]
    assert [part for part in paragraphs if not JAPANESE.search(part)] in ([], ["# Data Controller"])
    assert f"{TWINS[name].removeprefix('docs/')})" in mine
    assert f"{name.removeprefix('docs/')})" in other


def test_every_page_of_the_folder_has_a_twin():
    names = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "ja").iterdir()}
    assert names == {name for name in TWINS if name.startswith("docs/")}


def test_the_runbook_has_every_alert():
    assert list(entries(read("docs/ja/runbook.md"))) == [rule.name for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_an_entry_has_the_severity_and_the_patience_of_its_rule(rule):
    after = f"（{rule.for_s:g} 秒続いたとき）" if rule.for_s else ""
    entry = entries(read("docs/ja/runbook.md"))[rule.name]
    assert entry.startswith(f"**{SEVERITY[rule.severity]}{after}。** ")
    assert len(entry.partition("\n\n")[2]) > 15


def test_a_line_is_not_broken_within_a_japanese_sentence():
    """A browser would show a gap there."""
    for name in TWINS:
        text = FENCE.sub("", read(name))
        assert not re.search(r"[^\x00-\x7f]\n(?![-|#>]| {2}|\n)[^\x00-\x7f`]", text), name
