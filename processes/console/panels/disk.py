"""Panels of what stands on disk: logs, files, downloads, models, settings. Made by a thread."""

import csv
from itertools import islice
from pathlib import Path
from typing import Any, Final

from config.loader import flatten
from processes import model_registry
from processes.console.desk import Desk
from processes.console.drawing import act, amount, count, dot, number, size, table, text
from processes.console.jobs import history_files
from processes.lake.files import Wanted, as_record, find
from processes.lake.show import metadata, records
from processes.lake_files import describe
from processes.lake_places import open_lake
from processes.operations.logs import log_files, newest
from processes.operations.models import listed
from processes.operations.steering import effect_text, may_change
from processes.places import Paths
from schemas.errors import OperatorError, UsageError

FILES_SHOWN: Final = 400
RECORDS_MAX: Final = 3000
LINES: Final = 300
CELL: Final = 48
VALUE: Final = 44
SPLIT: Final = "|"
_HIDDEN: Final = ("time", "level", "process", "event")


def parts(choice: str, number_: int) -> list[str]:
    """A choice of several words."""
    found = choice.split(SPLIT)
    return [*found, *[""] * number_][:number_]


class Disk:
    """All of them, of one instance."""

    def __init__(self, paths: Paths, desk: Desk) -> None:
        self._paths = paths
        self._desk = desk
        self._lake = paths.data / "lake"

    # ---- logs

    def logs(self, choice: str) -> str:
        """The newest lines; choice is process|level|text."""
        process, level, wanted = parts(choice, 3)
        lowest = level or "info"
        lines = newest(log_files(self._paths.logs, process, lowest), lowest, LINES, wanted)
        if not lines:
            return '<p class="none">no such line</p>'
        return f'<ol class="log">{"".join(_line(one) for one in reversed(lines))}</ol>'

    # ---- files

    def files(self, choice: str) -> str:
        """Files of the lake; choice is channel|symbol."""
        channel, symbol = parts(choice, 2)
        lake = open_lake(self._lake)
        found, faults = find(lake, Wanted(channel=channel, symbol=symbol))
        told = [as_record(file, lake) for file in found]
        told = sorted(told, key=lambda one: one["to"], reverse=True)
        rows = [
            [
                act("file", one["file"], name=one["file"]),
                text(one["form"]),
                count(one["rows"]),
                size(one["bytes"]),
                text(one["from"][:19].replace("T", " ")),
                text(one["to"][11:19]),
            ]
            for one in told[:FILES_SHOWN]
        ]
        if not channel or channel in {"candles", "trades", "tickers"}:
            rows += [
                [act("file", name, name=name), "csv", "–", size(path.stat().st_size), "", ""]
                for path in history_files(self._lake)
                for name in [str(path.relative_to(self._lake))]
            ]
        rest = f'<p class="none">and {len(told) - FILES_SHOWN} more: narrow it</p>' if (
            len(told) > FILES_SHOWN
        ) else ""  # fmt: skip
        bad = "".join(f'<p class="fault">{text(error)}</p>' for error in faults)
        heads = ["file", "form", "rows", "size", "from", "to"]
        sums = f'<p class="sums">{len(told)} files, {count(sum(o["rows"] for o in told))} rows, '
        sums += f"{size(sum(o['bytes'] for o in told))}</p>"
        return bad + sums + table(heads, rows, right=(2, 3), empty="no such file") + rest

    def file(self, choice: str) -> str:
        """A file's metadata and records; choice is name|limit."""
        name, limit_text = parts(choice, 2)
        if not name:
            return '<p class="none">choose a file</p>'
        limit = min(int(limit_text or 100), RECORDS_MAX)
        path = (self._lake / name).resolve()
        if not path.is_relative_to(self._lake.resolve()) or not path.is_file():
            raise UsageError(f"no file {name} in the lake")
        if path.suffix == ".csv":
            return _csv(path, limit)
        file = describe(path)
        told = metadata(file)
        facts = {"form": told["form"], "rows": told["rows"], "size": size(told["bytes"])}
        facts |= told["constants"]
        rows = records(file, limit=limit)
        return _facts(facts) + _records(rows)

    # ---- downloads

    def jobs(self, _: str) -> str:
        """Downloads with how far they are."""
        jobs = self._desk.jobs
        found = jobs.look()
        rows = []
        for one in found[:60]:
            share = 100 * one["share"]
            running = one["state"] == "running"
            button = act("cancel", "Cancel", job=one["job"]) if running else (
                "" if one["state"] == "done" else act("resume", "Resume", job=one["job"])
            )  # fmt: skip
            what = f"{one['channel']} {one['timeframe']}".strip()
            trouble = one["error"] or one["note"]
            state = dot(one["state"])
            state += f' <span class="faint">{text(trouble)}</span>' if trouble else ""
            span = f"{text(one['from'][:16])} … {text(one['to'][:16])}"
            bar = f'<span class="bar"><u style="width:{share:.0f}%"></u></span>'
            rows.append(
                [
                    f"<code>{text(one['job'])}</code>",
                    text(one["venue"]),
                    f"<b>{text(one['symbol'])}</b>",
                    text(what),
                    span,
                    bar,
                    f"{share:.0f}\u202f%",
                    count(one["rows"]),
                    state,
                    button,
                ]
            )
        heads = ["job", "venue", "symbol", "what", "range", "", "", "rows", "state", ""]
        faults = "".join(f'<p class="fault">{text(one)}</p>' for one in jobs.faults[-3:])
        return faults + table(heads, rows, right=(6, 7), empty="no download yet")

    # ---- models

    def models(self, _: str) -> str:
        """Versions with their figures; to be promoted and rolled back."""
        folder = model_registry.models_folder(self._paths.data)
        rows = []
        promoted: set[str] = set()
        for one in listed(folder):
            figures = one["metrics"]

            def shown(name: str, digits: int, known: dict[str, float] = figures) -> str:
                return number(known[name], digits) if name in known else "–"

            button = ""
            if one["promoted"]:
                promoted.add(one["family"])
            elif not one["damage"]:
                button = act("promote", "Promote", family=one["family"], version=one["version"])
            rows.append(
                [
                    f"<b>{text(one['family'])}</b>",
                    f"<code>{text(one['version'])}</code>",
                    f"{one['horizon_s']:g}\u202fs",
                    text(one["trained_to"][:16]),
                    shown("log_loss", 4),
                    shown("log_loss_less_flat", 4),
                    shown("auc_direction", 3),
                    shown("net_bps", 2),
                    text(one["state"] or "trained"),
                    button,
                ]
            )
        heads = ["family", "version", "horizon", "trained to", "log loss", "less flat's", "AUC",
                 "net, bp", "state", ""]  # fmt: skip
        back = "".join(
            act("rollback", f"Roll {family} back", family=family) for family in sorted(promoted)
        )
        none = "no model is trained here: dcctl train all; the shipped network is at work"
        return table(heads, rows, right=(2, 4, 5, 6, 7), empty=none) + (
            f'<p class="acts">{back}</p>' if back else ""
        )

    # ---- settings

    def settings(self, choice: str) -> str:
        """Settings that may change while it runs, with what a change costs."""
        wanted = choice.lower()
        changed = set(flatten(self._desk.changes()))
        found = flatten(self._desk.settings())
        rows = []
        for key, value in sorted(found.items()):
            if wanted and wanted not in key.lower():
                continue
            if not may_change(key):
                continue
            mark = '<span class="tag">changed here</span> ' if key in changed else ""
            undo = act("undo", "Undo", setting=key) if key in changed else ""
            rows.append(
                [
                    f"<code>{text(key)}</code> {mark}",
                    f"<b>{text(_value(value))}</b>",
                    f'<span class="faint">{text(effect_text(key))}</span>',
                    act("change", "Change", setting=key) + undo,
                ]
            )
        return table(["setting", "in force", "a change", ""], rows, empty="no such setting")


def _value(value: Any) -> str:
    shown = "true" if value is True else "false" if value is False else str(value)
    return shown if len(shown) <= VALUE else f"{shown[: VALUE - 1]}…"


def _line(line: dict[str, Any]) -> str:
    rest = {k: v for k, v in line.items() if k not in _HIDDEN}
    trace = rest.pop("exception", "")
    detail = " ".join(f"{key}={value}" for key, value in rest.items())
    level = text(line.get("level", "info"))
    block = f"<pre>{text(trace)}</pre>" if trace else ""
    return (
        f'<li class="{level}"><time>{text(line["time"][11:23])}</time>'
        f"<b>{text(line.get('process', ''))}</b><em>{level}</em>"
        f"<span>{text(line.get('event', ''))} <i>{text(detail)}</i></span>{block}</li>"
    )


def _facts(facts: dict[str, Any]) -> str:
    spans = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items()
    )
    return f'<dl class="facts">{spans}</dl>'


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.8g}"
    shown = value.hex() if isinstance(value, bytes) else str(value)
    return text(shown if len(shown) <= CELL else f"{shown[: CELL - 1]}…")


def _records(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return '<p class="none">no record</p>'
    names = list(rows[0])
    right = [at for at, name in enumerate(names) if isinstance(rows[0][name], int | float)]
    body = [[_cell(row[name]) for name in names] for row in rows]
    sums = f'<p class="sums">{len(rows)} records</p>'
    return sums + table([text(name) for name in names], body, right=right, classes="dense")


def _csv(path: Path, limit: int) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(islice(csv.reader(file), limit + 1))
    if not lines:
        raise OperatorError(f"{path.name} is empty")
    facts = _facts({"form": "csv", "size": size(path.stat().st_size)})
    body = [[text(cell) for cell in line] for line in lines[1:]]
    return facts + table([text(name) for name in lines[0]], body, classes="dense")


def drift(found: dict[str, int]) -> str:
    """Columns that have drifted most from the training."""
    worst = sorted(found.items(), key=lambda one: -one[1])[:16]
    if not any(value for _, value in worst):
        return '<p class="none">not measured yet: it takes 500 rows, and a model with a profile</p>'
    most = max(worst[0][1], 250)
    rows = [
        [
            text(name),
            _bar(value / most, is_bad=value >= 250),
            amount(value / 1000, 3),
        ]
        for name, value in worst
    ]
    return table(["feature", "", "PSI"], rows, right=(2,), classes="bars")


def _bar(share: float, *, is_bad: bool) -> str:
    kind = "bad" if is_bad else ""
    return f'<span class="bar {kind}"><u style="width:{100 * share:.0f}%"></u></span>'
