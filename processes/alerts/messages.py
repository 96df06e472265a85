"""What a person reads: title and body of a message, made of what the book says is due."""

from collections.abc import Sequence
from typing import Final

from processes.alerts.book import Item, Kind, rank
from processes.alerts.courier import Type
from processes.clock import utc_text
from schemas.alert_rules import BY_NAME

LINES_MAX: Final = 20
TEXT_MAX: Final = 400
TYPES: Final[dict[str, Type]] = {"info": "info", "warning": "warning", "critical": "failure"}
WORDS: Final = {
    Kind.BEGIN: "",
    Kind.AGAIN: "still ",
    Kind.END: "over: ",
    Kind.MISSED: "came and went: ",
}


def _when(time_ns: int) -> str:
    return f"{utc_text(time_ns)[:16]}Z"


def _todo(item: Item) -> str:
    return BY_NAME[item.alert.rule].todo.replace("{subject}", item.alert.subject)


def title_of(label: str, items: Sequence[Item]) -> str:
    """One line, the worst first."""
    alert = items[0].alert
    if len(items) == 1:
        return f"[{alert.severity}] {label}: {WORDS[items[0].kind]}{alert.name}"
    return f"[{alert.severity}] {label}: {len(items)} alerts, {WORDS[items[0].kind]}{alert.name}"


def type_of(items: Sequence[Item]) -> Type:
    """What Apprise paints a message with."""
    lasting = [one for one in items if one.kind in {Kind.BEGIN, Kind.AGAIN}]
    if not lasting:
        return "success"
    return TYPES[max((one.alert.severity for one in lasting), key=rank)]


def body_of(items: Sequence[Item]) -> str:
    """What is wrong, since when, and what to type."""
    if len(items) == 1:
        return _whole(items[0])
    lines = [_line(one) for one in items[:LINES_MAX]]
    more = len(items) - LINES_MAX
    return "\n".join([*lines, *([f"and {more} more: dcctl alert list"] if more > 0 else [])])


def _whole(item: Item) -> str:
    alert, rule = item.alert, BY_NAME[item.alert.rule]
    said = f": {alert.text[:TEXT_MAX]}" if alert.text else ""
    lines = [f"{rule.means}{said}", f"since {_when(alert.begin_ns)}"]
    if alert.end_ns and item.kind in {Kind.END, Kind.MISSED}:
        return "\n".join([lines[0], f"from {_when(alert.begin_ns)} to {_when(alert.end_ns)}"])
    lines.append(f"To do: {_todo(item)}")
    if alert.severity == "critical":
        lines.append(f"dcctl alert ack {alert.name} ends its repeating")
    return "\n".join(lines)


def _line(item: Item) -> str:
    alert = item.alert
    head = f"[{alert.severity}] {WORDS[item.kind]}{alert.name}, {_when(alert.begin_ns)}"
    if item.kind in {Kind.END, Kind.MISSED}:
        return head
    return f"{head}: {alert.text[: TEXT_MAX // 2]}\n  To do: {_todo(item)}"
