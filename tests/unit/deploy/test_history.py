"""The dashboard that asks InfluxDB: every query of every panel has an answer from a real influxd
that holds what the process `influx` writes."""

import json
import re
import time
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest
import yaml

from deploy.monitoring.__main__ import DEPLOY, dashboard_of, files
from deploy.monitoring.history import history
from processes.influx.lines import Bucket, Tags, fact_line
from processes.influx.main import Maker
from schemas.messages import ConfigChanged, ProcessChanged, RungChanged
from schemas.settings import InfluxBuckets
from schemas.trading import KillLevel
from tests.servers import InfluxServer, influx_server
from tests.unit.influx.slots import (
    TABLES,
    decision_slots,
    feature_slots,
    marker_slots,
    prediction_slots,
)

BUCKETS = InfluxBuckets()
NAMES = {
    Bucket.FAST: BUCKETS.fast.name,
    Bucket.AGGREGATES: BUCKETS.aggregates.name,
    Bucket.LOGS: BUCKETS.logs.name,
}
CHOSEN = "(tBTCUSD|tDOGE:USD)"
"""As Grafana writes two of a variable's values into a regular expression."""


def board() -> dict[str, Any]:
    (path,) = (path for path in files() if path.stem == dashboard_of(history()).build().uid)
    found: dict[str, Any] = json.loads(files()[path])
    return found


def targets() -> list[dict[str, Any]]:
    return [target for panel in board()["panels"] for target in panel.get("targets", [])]


def asked_by_grafana(query: str, symbol: str = CHOSEN) -> str:
    """A query as Grafana sends it, with its macros and variables written out."""
    text = query.replace("$timeFilter", "time >= now() - 24h and time <= now()")
    text = text.replace("$__interval", "30s")
    text = text.replace("$venue", ".*").replace("$symbol", symbol)
    assert "$" not in re.sub(r"\$/", "/", text), text
    return text


def databases() -> dict[str, str]:
    """By the uid of a source."""
    path = DEPLOY / "grafana/provisioning/datasources/datasources.yml"
    sources = yaml.safe_load(path.read_text())["datasources"]
    return {one["uid"]: one["jsonData"]["dbName"] for one in sources if "dbName" in one["jsonData"]}


@pytest.fixture(scope="module")
def server():
    """Two minutes of two markets, with a little of everything that is written."""
    start_ns = (time.time_ns() // 1_000_000_000 - 600) * 1_000_000_000
    maker = Maker(Tags(lambda: TABLES))
    decided = decision_slots(480, start_ns)
    decided["kill_level"] = np.where(decided["sequence"] % 100 < 50, 0, KillLevel.FLATTEN)
    made = [
        *maker.lines("features", feature_slots(240, start_ns, gaps=False)),
        *maker.lines("predictions", prediction_slots(240, start_ns)),
        *maker.lines("decisions", decided),
        *maker.lines("tape.bitfinex", marker_slots(200, start_ns)),
    ]
    facts = (
        ProcessChanged("features", "ready", start_ns, "it is"),
        RungChanged(1, start_ns, "MLX is away"),
        ConfigChanged(3, start_ns, ["risk.max_position"]),
    )
    made += [line for line in map(fact_line, facts) if line is not None]
    with influx_server() as running:
        for name in NAMES.values():
            running.ask(f'CREATE DATABASE "{name}"')
        for lines in made:
            url = f"{running.address}/write?db={NAMES[lines.bucket]}"
            with urllib.request.urlopen(url, b"\n".join(lines.lines), timeout=20) as answer:
                assert answer.status == 204
        yield running


def ask(server: InfluxServer, query: str, database: str) -> list[dict[str, Any]]:
    """Its series; no error among the answers."""
    (answer,) = json.loads(server.ask(query, database))["results"]
    assert "error" not in answer, (query, answer)
    found: list[dict[str, Any]] = answer.get("series", [])
    return found


def test_every_query_of_every_panel_has_an_answer(server):
    for target in targets():
        series = ask(
            server, asked_by_grafana(target["query"]), databases()[target["datasource"]["uid"]]
        )
        assert series, target["query"]
        columns = [column for column in series[0]["columns"] if column != "time"]
        for place, column in enumerate(columns, 1):
            values = [row[place] for one in series for row in one["values"]]
            assert any(value is not None for value in values), (column, target["query"])


def test_a_line_is_named_by_tags_that_it_is_grouped_by(server):
    for target in targets():
        told = set(re.findall(r"\$tag_(\w+)", target["alias"]))
        for one in ask(
            server, asked_by_grafana(target["query"]), databases()[target["datasource"]["uid"]]
        ):
            assert told == set(one.get("tags", {})), target["query"]


def test_sources_are_the_buckets_of_the_settings():
    assert set(databases().values()) == set(NAMES.values())


def test_a_choice_of_symbols_leaves_the_others_out(server):
    query = next(one for one in targets() if "reference_price" in one["query"])["query"]
    found = ask(server, asked_by_grafana(query, "tDOGE:USD"), "rt-fast")
    assert [one["tags"]["symbol"] for one in found] == ["tDOGE:USD"]


def test_the_choices_at_the_head_are_those_of_the_server(server):
    for variable in board()["templating"]["list"]:
        database = databases()[variable["datasource"]["uid"]]
        (found,) = ask(server, variable["query"], database)
        assert found["values"], variable["name"]


def test_a_query_that_is_none_is_told(server):
    with pytest.raises((AssertionError, urllib.error.HTTPError)):
        ask(server, "SELECT nothing FRM features", "rt-fast")
