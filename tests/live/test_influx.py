"""The demo with InfluxDB: everything of a short run arrives, over a dead server and a drain."""

import json

import pytest

from tests.helpers import wait_until
from tests.influx_shim import TOKEN, Shim, influx_shim

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]


@pytest.fixture
def shim():
    with influx_shim() as made:
        yield made


def settle(project, shim: Shim) -> dict:
    project.environment["DC_TEST_TOKEN"] = TOKEN
    project.set(influx=shim.settings(spool=str(project.folder / "spool")))
    return project.environment


def test_the_demo_writes_over_an_outage_and_leaves_nothing_behind(project, shim):
    settle(project, shim)
    shim.strict = True
    project.dcctl("start")
    names = {process.name for process in project.status().processes}
    assert "influx" in names
    wait_until(lambda: shim.rows("rt-fast", "features"), 60, what="features arrive")
    shim.upstream.kill()
    wait_until(lambda: project.json("influx", "status")["sender"] == "backoff", 60)
    project.wait_slots("features", 10)
    waiting = project.json("influx", "status")
    assert waiting["spool"]["bytes"] > 0
    assert waiting["spool"]["oldest"]
    shim.upstream.start()
    told = project.json("influx", "drain")
    assert (told["bytes_left"], told["by"]) == (0, "influx")
    project.dcctl("kill", "--yes")
    project.dcctl("arm", "--yes")
    project.wait_slots("decisions", 20)
    project.dcctl("stop")
    project.assert_clean()
    # What the lake has of the run, rows that only say where a restart warmed itself left out.
    for table, kept in (
        ("features", "symbol IS NOT NULL"),
        ("predictions", "symbol IS NOT NULL"),
        ("decisions", "kind = 'decision'"),
    ):
        found = shim.rows("rt-fast", table)
        query = f"SELECT count(*) AS rows FROM {table} WHERE {kept}"
        assert project.json("lake", "query", query) == [{"rows": len(found)}], table
        assert {row["symbol"] for row in found} == {"tBTCUSD", "tETHUSD"}
    moved = [row["level"] for row in shim.rows("logs", "kill_switch")]
    assert moved == ["flatten", "none"]
    ready = {row["process"] for row in shim.rows("logs", "processes") if row["state"] == '"ready"'}
    ready |= {row["process"] for row in shim.rows("logs", "processes") if row["state"] == "ready"}
    assert "features" in ready
    down = project.json("influx", "status")
    assert (down["sender"], down["spool"]["bytes"]) == ("not running", 0)
    assert all(status in {204, 0} for status, *_ in shim.requests), shim.requests
    for path in [*project.logs.glob("*"), *project.data.rglob("config-*.json")]:
        assert TOKEN not in path.read_text(errors="replace"), path
    assert json.loads((project.folder / "spool" / "cursor").read_bytes())["backlog"] == []
