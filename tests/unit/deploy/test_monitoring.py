"""Rules and dashboards: as they are made, accepted by promtool, and of names that there are."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring.__main__ import DEPLOY, files
from deploy.monitoring.rules import recordings, rules_file, watches
from schemas import metrics
from schemas.alert_rules import CHECKSUMS, DEADLINES, DRIFTED, RECONNECTS, RESTARTS
from tests.servers import program

DC = metrics.PREFIX
VENUE = 'process="collector.kraken"'
RULES = DEPLOY / "prometheus" / "rules.yml"


def promtool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    path = program("promtool", "prometheus")
    return subprocess.run(
        [path, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def dashboards() -> dict[str, dict[str, Any]]:
    return {
        path.stem: json.loads(content)
        for path, content in files().items()
        if path.suffix == ".json"
    }


def targets() -> list[tuple[str, dict[str, Any]]]:
    """Every query of every panel that asks Prometheus, with the panel's title."""
    return [
        (panel["title"], target)
        for board in dashboards().values()
        for panel in board["panels"]
        for target in panel.get("targets", [])
        if panel["datasource"]["type"] == "prometheus"
    ]


def queries() -> list[str]:
    """Every expression of every panel that asks Prometheus."""
    return [target["expr"] for _, target in targets()]


def test_what_is_made_is_what_is_there():
    for path, content in files().items():
        assert path.read_text(encoding="utf-8") == content, "type: ./scripts/dashboards"
    there = set((DEPLOY / "grafana" / "dashboards").iterdir()) | {RULES}
    assert there == set(files())


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus.linux.yml"])
def test_prometheus_takes_its_configuration_and_rules(name):
    done = promtool("check", "config", DEPLOY / name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(recordings()) + len(watches())} rules found" in done.stdout


def test_every_query_of_a_dashboard_is_one(tmp_path):
    def check(expressions: list[str]) -> "subprocess.CompletedProcess[str]":
        rules = [{"record": f"r{n}", "expr": text} for n, text in enumerate(expressions)]
        path = tmp_path / "rules.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
        return promtool("check", "rules", path)

    done = check(queries())
    assert done.returncode == 0, done.stdout + done.stderr
    assert check(["rate(x[1m)"]).returncode != 0


def names_in(expression: str) -> set[str]:
    """Names of series in an expression: every word that is no function, label or value."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|(by|without) \([^)]*\)", "", expression)
    words = re.findall(r"(?<![\w:])[a-zA-Z_:][\w:]*", bare)
    functions = set(re.findall(r"([a-z_]+)\s*\(", bare))
    return {word for word in words if word not in functions and len(word) > 1}


def labels_in(expression: str) -> set[str]:
    inside = re.findall(r"\{([^}]*)\}", expression)
    grouped = re.findall(r"by \(([^)]*)\)", expression)
    used = {label for text in inside for label in re.findall(r"(\w+)=", text)}
    return used | {word.strip() for text in grouped for word in text.split(",")}


def test_every_name_and_label_is_one_of_the_metrics_table():
    known = metrics.series()
    recorded = dict.fromkeys(recordings(), ("process",))
    everything = {**known, **recorded, "up": ("job",)}
    for expression in [*queries(), *recordings().values(), *(one.expression for one in watches())]:
        names = names_in(expression)
        assert names, expression
        for name in names:
            assert name in everything, (name, expression)
        labels = {label for name in names for label in everything[name]}
        assert labels_in(expression) <= labels, expression


def test_legends_name_labels_that_the_query_keeps():
    for title, target in targets():
        expression = target["expr"]
        known = {**metrics.series(), **dict.fromkeys(recordings(), ("process",))}
        kept = {label for name in names_in(expression) for label in known[name]}
        if grouped := re.findall(r"by \(([^)]*)\)", expression):
            kept = {word.strip() for word in grouped[0].split(",")}
        told = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert told <= kept, (title, told, kept)


def test_dashboards_have_names_of_their_own_and_stand_on_one_grid():
    boards = dashboards()
    assert [board["uid"] for board in boards.values()] == list(boards)
    assert len({board["title"] for board in boards.values()}) == len(boards) == 7
    sources = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/datasources.yml").read_text()
    )
    known = {(one["type"], one["uid"]) for one in sources["datasources"]}
    for board in boards.values():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert max(x for x, _ in cells) < 24
            assert not cells & taken, panel["title"]
            taken |= cells
            if "datasource" in panel:
                assert (panel["datasource"]["type"], panel["datasource"]["uid"]) in known
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)


def gauge(name: str, labels: str, wrong: float, well: float = 0) -> tuple[str, float, float]:
    return f"{DC}_{name}{{{labels}}}", wrong, well


def counter(name: str, labels: str, grown: float, well: float = 0) -> tuple[str, float, float]:
    """How much it grows in ten minutes; `well` is the most that is no alert."""
    return f"{DC}_{name}_total{{{labels}}}", -grown, -well


def of(process: str) -> str:
    return f'process="{process}"'


EXAMPLES: dict[str, tuple[str, float, float]] = {
    "supervisor_gone": ('up{job="data-controller"}', 0, 1),
    "kill_switch": ("kill_switch_active", 1, 0),
    "accounts_away": gauge("accounts_away", of("execution"), 1),
    "ledger_away": gauge("ledger_away", of("execution"), 1),
    "trading_positions_only": gauge("trading_step", of("execution"), 1),
    "trading_flat": gauge("trading_step", of("execution"), 2, 1),
    "feed_down": gauge("process_up", VENUE, 0, 1),
    "feed_unstable": counter("reconnects", VENUE, RECONNECTS, RECONNECTS - 1),
    "book_faults": counter("checksums_failed", VENUE, CHECKSUMS, CHECKSUMS - 1),
    "trades_missing": counter("holes_unfilled", VENUE, 1),
    "instrument_changed": counter("instrument_changes", VENUE, 1),
    "frames_unrecorded": counter("frames_unrecorded", VENUE, 1),
    "deadline_misses": counter("deadline_misses", of("inference"), DEADLINES, DEADLINES - 1),
    "model_left_out": counter("models_left_out", of("inference"), 1),
    "model_refused": counter("model_refusals", of("inference"), 1),
    "drift": gauge("drift_columns", of("inference"), DRIFTED, DRIFTED - 1),
    "training_failed": counter("retrainings_failed", of("retraining"), 1),
    "training_refused": counter("retrainings_refused", of("retraining"), 1),
    "storage_paused": gauge("storage_paused", of("storage"), 1),
    "storage_behind": gauge("storage_step", of("storage"), 1),
    "storage_owed": gauge("storage_owed", of("storage"), 7),
    "storage_lost": counter("storage_lost", of("storage"), 1),
    "reader_lost": counter("ring_reader_lost", 'ring="features", reader="inference"', 1),
    "history_away": gauge("history_away", of("storage"), 1),
    "history_holes": counter("history_holes", of("storage"), 1),
    "archive_away": gauge("archive_state", of("archive"), 1),
    "archive_refused": gauge("archive_refused", of("archive"), 2),
    "influx_held": gauge("influx_sender_state", of("influx"), 3, 2),
    "influx_dropped": counter("influx_lines_dropped", of("influx"), 1),
    "bridge_away": gauge("bridge_connected", of("bridge"), 0, 1),
    "process_not_ready": gauge("process_up", of("features"), 0, 1),
    "process_unstable": counter("process_restarts", of("features"), RESTARTS, RESTARTS - 1),
    "channel_failing": counter("alerts_failed", of("alerts"), 1),
}


def values(told: float) -> str:
    """An hour of a series: a gauge that stands, or a counter that jumps at fifty minutes."""
    if told >= 0 and not str(told).startswith("-"):
        return f"{told:g}x60"
    return f"0x49 {-told:g}x10"


def rule_test(name: str, series: list[tuple[str, str]], *, fires: bool) -> dict[str, Any]:
    (rule,) = (one for one in rules_file()["groups"][1]["rules"] if one["alert"] == name)
    labels = dict(re.findall(r'(\w+)="([^"]*)"', series[0][0]))
    told = {
        key: re.sub(r"\{\{ \$labels.(\w+) \}\}", lambda m: labels.get(m[1], ""), text)
        for key, text in rule["annotations"].items()
    }
    expected = [{"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": told}]
    return {
        "interval": "1m",
        "input_series": [{"series": one, "values": text} for one, text in series],
        "alert_rule_test": [
            {"eval_time": "55m", "alertname": name, "exp_alerts": expected if fires else []}
        ],
    }


def test_every_alert_fires_when_it_should_and_not_else(tmp_path: Path):
    """promtool plays an hour for each, with what is wrong and with the worst that is not."""
    tests = {}
    for name, (series, wrong, well) in EXAMPLES.items():
        quiet = "0x60" if wrong < 0 and not well else values(well)
        tests[name] = [
            rule_test(name, [(series, values(wrong))], fires=True),
            rule_test(name, [(series, quiet)], fires=False),
        ]
    wanted, had = f"{DC}_subscriptions_wanted{{{VENUE}}}", f"{DC}_subscriptions{{{VENUE}}}"
    tests["streams_refused"] = [
        rule_test("streams_refused", [(had, f"{n}x60"), (wanted, "8x60")], fires=n < 8)
        for n in (4, 8)
    ]
    assert set(tests) == {one.rule.name for one in watches()}
    paths = []
    for rule in rules_file()["groups"][1]["rules"]:
        name = rule["alert"]
        rules, path = tmp_path / f"{name}.rules.yml", tmp_path / f"{name}.yml"
        rules.write_text(yaml.safe_dump({"groups": [{"name": "alerts", "rules": [rule]}]}))
        plan = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests[name]}
        path.write_text(yaml.safe_dump(plan))
        paths.append(path)
    done = promtool("test", "rules", *paths)
    assert done.returncode == 0, (done.stdout + done.stderr)[:4000]
