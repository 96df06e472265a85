"""Every alert has its entry in the runbook, in its rule's own words, and none is left over."""

import re

import pytest

from deploy.monitoring.rules import watches
from schemas.alert_rules import RULES
from tests.helpers import ROOT
from tests.unit.docs.typed import every_command

PAGE = ROOT / "docs" / "runbook.md"
WORDS = "NAME|FAMILY|ORDER|last|all|execution|inference|retraining|bridge"


def entries(text: str) -> dict[str, str]:
    """What stands below each heading of the third level, in order."""
    parts = re.split(r"(?m)^(?:### (\w+)$|##? .*$)", text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True) if name}


def first_line(rule) -> str:
    """How an entry begins: severity, patience, meaning."""
    after = f", after {rule.for_s:g} s" if rule.for_s else ""
    return f"**{rule.severity.title()}{after}.** {rule.means[0].upper()}{rule.means[1:]}."


def commands(text: str) -> list[str]:
    """The commands that a rule's words name, as far as a person types them so."""
    known = sorted((name for name, _ in every_command()), key=len, reverse=True)
    return re.findall(rf"(?:{'|'.join(known)})\b(?: (?:{WORDS})\b)?", text)


@pytest.fixture(scope="module")
def found():
    return entries(PAGE.read_text(encoding="utf-8"))


def test_every_alert_has_an_entry_in_the_order_of_the_table(found):
    assert list(found) == [rule.name for rule in RULES]


def test_alerts_of_prometheus_are_among_them(found):
    assert {watch.rule.name for watch in watches()} <= set(found)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_an_entry_begins_as_its_rule_and_goes_on(found, rule):
    begin, _, rest = found[rule.name].partition("\n\n")
    assert begin == first_line(rule)
    assert len(rest.split()) >= 8
    # What a phone says to type stands in the entry too.
    for command in commands(rule.todo.replace("{subject}", "NAME")):
        assert command in rest


def test_entries_and_commands_are_found():
    assert commands("dcctl status says, dcctl why last what; dcctl models rollback FAMILY") == [
        "dcctl status", "dcctl why last", "dcctl models rollback FAMILY",
    ]  # fmt: skip
    text = "# a\n\nx\n\n## b\n\n### one\n\n**Info.** A.\n\nB\n\n### two\n\nC\n\n## d\n\nE\n"
    assert entries(text) == {"one": "**Info.** A.\n\nB", "two": "C"}
