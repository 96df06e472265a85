"""The demo as its user meets it: dcctl from start to stop, every command, every exit code."""

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import msgspec
import numpy as np
import pytest

from deploy.monitoring.rules import quantile_name
from processes.execution.reading import LedgerView
from processes.places import is_locked
from processes.recordings.recording import Recording
from processes.replay.main import replay
from processes.sessions import SessionFolder, sessions_of
from schemas import predictions
from schemas.features import COLUMN
from schemas.layout import join
from schemas.messages import Status
from schemas.settings import LedgerSettings
from tests.helpers import ROOT, QuietLog, wait_until
from tests.lineups import ALL, fitted, plant, promote
from tests.live.conftest import Project
from tests.servers import prometheus_server
from tests.unit.deploy.test_monitoring import RULES, queries
from tests.unit.supervisor.test_notify import Listener

MODELS = ("cnn", "sgd", "gbdt", "regime", "tcn")
"""Families that are promoted, and promoted anew."""
pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]


NOT_IN_THE_DEMO = ("influx", "bridge", "archive", "retraining", "alerts")
"""Processes that it does without."""


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_whole_day_in_a_minute(project):
    project.set(inference__families=list(ALL))
    for family in MODELS:
        plant(project.data, family, "first", fitted(family))
        promote(project.data, family, "first")
    text = project.dcctl("start")
    for word in ("collector.bitfinex", "ready", "profile demo", "paper", "dcctl stop"):
        assert word in text
    status = msgspec.convert(project.json("status"), Status)
    check_status(status)
    check_http(status.endpoints["http"])
    check_prometheus(status.endpoints["http"])
    check_tap(project)
    check_logs(project)
    check_switch(project)
    check_reload(project)
    check_restart(project)
    check_swap(project)
    assert "runs here already" in project.dcctl("start", code=1)
    wait_until(lambda: project.ring("decisions").committed > 60, 60)
    stopped = project.dcctl("stop")
    assert "no process, no shared memory, no socket is left" in stopped
    project.assert_clean()
    check_lake(project)
    check_replay(project)
    assert "not running" in project.dcctl("status", code=3)
    assert "not running" in project.dcctl("stop", code=3)
    assert "must not mix" in project.dcctl("start", "--profile", "kraken-paper", code=78)
    project.assert_clean()


def check_status(status) -> None:
    assert (status.state, status.profile, status.mode, status.rung) == (
        "running", "demo", "paper", "mlx",
    )  # fmt: skip
    assert status.kill_switch.level == "none"
    names = {"simulator", "storage", "execution", "inference", "features", "collector.bitfinex"}
    assert {process.name for process in status.processes} == names
    assert all(p.state == "ready" and p.pid > 0 and p.restarts == 0 for p in status.processes)
    rings = {ring.name: ring for ring in status.rings}
    assert set(rings) == {"tape.bitfinex", "features", "predictions", "decisions"}
    readers = {name: {reader.name for reader in ring.readers} for name, ring in rings.items()}
    assert {"features", "storage"} <= readers["tape.bitfinex"]
    assert {"inference", "storage"} <= readers["features"]
    assert {"execution", "storage"} <= readers["predictions"]
    assert {"storage"} <= readers["decisions"]
    assert "recv_to_decision" in status.latency_us


def check_http(url: str) -> None:
    code, body = get(f"{url}/healthz")
    health = json.loads(body)
    assert code == 200
    assert health["overall"] == "healthy"
    assert set(health) == {"overall", "components", "timestamp"}
    assert health["components"]["collector.bitfinex"]["healthy"]
    wait_until(lambda: "prediction_latency_seconds_bucket" in get(f"{url}/metrics")[1], 30)
    _, text = get(f"{url}/metrics")
    assert re.search(
        r'data_controller_ingest_rate{channel="books",exchange="bitfinex"} [0-9.]+', text
    )
    assert "kill_switch_active 0.0" in text
    assert 'data_controller_process_up{process="inference"} 1.0' in text
    for line in text.splitlines():
        assert re.match(
            r"^(# (HELP|TYPE) |[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? [-+0-9.eE]+(inf)?$)", line
        ), line
    assert get(f"{url}/nothing")[0] == 404


def check_prometheus(url: str) -> None:
    """A real Prometheus reads /metrics, works out the rules, and has an answer to every panel."""
    with prometheus_server(url.removeprefix("http://"), RULES) as prometheus:
        wait_until(lambda: prometheus.query('up{job="data-controller"} == 1'), 30, "a scrape")
        decided = quantile_name("data_controller_recv_to_decision_seconds", 0.99)
        wait_until(lambda: prometheus.query(f"{decided} > 0"), 60, "a recorded quantile")
        silent = {text for text in queries() if not prometheus.query(text)}
        for text in silent:
            absent = any(word in text for word in NOT_IN_THE_DEMO)
            # Of what is counted by model, feature or histogram there is nothing until it happens.
            assert absent or re.search("model_misses|column_faults|drift_psi", text), text
        told = prometheus.ask("rules", type="alert")["groups"]
        broken = [rule for group in told for rule in group["rules"] if rule["health"] == "err"]
        assert not broken
        firing = {one["labels"]["alertname"] for one in prometheus.ask("alerts")["alerts"]}
        assert firing <= {"trading_positions_only"}, firing  # a network that has seen nothing yet


def check_tap(project: Project) -> None:
    for ring in ("tape.bitfinex", "features", "predictions", "decisions"):
        lines = project.dcctl("tap", ring, "-n", "3", "--oldest", "--json").splitlines()
        assert len(lines) == 3
        assert json.loads(lines[0])["sequence"] == 1
    row = json.loads(project.dcctl("tap", "features", "-n", "1", "-m", "instrument=0", "--json"))
    assert set(COLUMN) <= set(row)
    assert "there are" in project.dcctl("tap", "nothing", code=2)
    assert "field=value" in project.dcctl("tap", "features", "-m", "x", code=2)


def check_logs(project: Project) -> None:
    assert "ready" in project.dcctl("logs", "features")
    lines = project.dcctl("logs", "--json", "-n", "5").splitlines()
    assert all({"time", "level", "process", "event"} <= set(json.loads(line)) for line in lines)
    assert "no log of" in project.dcctl("logs", "nobody", code=1)
    assert "no level" in project.dcctl("logs", "--level", "loud", code=2)


def check_switch(project: Project) -> None:
    told = project.json("kill", "--level", "pause", "--yes")
    assert told["acknowledged"]
    assert told["level"] == "pause"
    assert project.status().kill_switch.level == "pause"
    assert project.status().kill_switch.latched_by == "dcctl kill"
    health = get(f"{project.status().endpoints['http']}/healthz")
    assert health[0] == 503
    assert "no level" in project.dcctl("kill", "--level", "gently", "--yes", code=2)
    assert project.json("arm", "--yes") == {"level_before": "pause", "level": "none"}
    assert project.status().kill_switch.level == "none"


def check_reload(project: Project) -> None:
    assert "nothing has changed" in project.dcctl("reload")


def check_restart(project: Project) -> None:
    before = {p.name: p.pid for p in project.status().processes}
    assert "restarted: features" in project.dcctl("restart", "features")
    after = {p.name: p.pid for p in project.status().processes}
    assert {name for name in before if before[name] != after[name]} == {"features"}
    assert "no process nobody" in project.dcctl("restart", "nobody", code=2)


def lineups(project: Project) -> set[tuple[str, str]]:
    """Families and versions that have spoken."""
    spoken = SessionFolder(project.data, sessions_of(project.data)[-1]).lineups()
    return {(one.family, one.version) for lineup in spoken for one in lineup.standings}


def check_swap(project: Project) -> None:
    wait_until(lambda: lineups(project) >= {(family, "first") for family in MODELS}, 30)
    for family in MODELS:
        plant(project.data, family, "second", fitted(family, 2))
        promote(project.data, family, "second")
    wait_until(lambda: lineups(project) >= {(family, "second") for family in MODELS}, 30)
    project.wait_slots("predictions", 20)
    said = project.dcctl("models", "rollback", "gbdt")
    assert "first" in said
    text = project.dcctl("logs", "inference")
    assert "a version is taken" in text


def check_replay(project: Project) -> None:
    """With six models, a swap of each and learning between: the same bits."""
    session = sessions_of(project.data)[-1]
    verdict = replay(project.data, session, QuietLog())
    assert verdict.first_difference is None
    assert verdict.identical
    assert verdict.predictions > 60
    assert not [span for span in verdict.excluded if span.stage == "predictions"]
    recorded = join(list(Recording(project.data, session).predictions()), predictions.SLOT)
    assert len(np.unique(recorded["learner_state"])) > 5
    places = [predictions.MODELS.index(predictions.PLACE_OF[family]) for family in ALL]
    assert np.isfinite(recorded["outputs"][-1][places]).all()


def check_lake(project: Project) -> None:
    names = {
        str(p.relative_to(project.data / "lake").parts[0:3])
        for p in (project.data / "lake").rglob("*.arrow")
    }
    assert "('bitfinex', 'websocket', 'books')" in names
    assert any("decisions" in name for name in names)
    assert not list((project.data / "lake").rglob("*.part"))
    assert not list((project.data / "journal").rglob("*.slots"))


def test_reload_changes_what_it_may_and_refuses_the_rest(project):
    extra = project.folder / "mine.yml"
    extra.write_text("risk: {max_spread_bps: 7}\n")
    project.dcctl("start", "--config", str(extra))
    before = {p.name: p.pid for p in project.status().processes}
    extra.write_text("risk: {max_spread_bps: 8}\n")
    assert project.json("reload")["changed"] == {"risk.max_spread_bps": [7.0, 8.0]}
    wait_until(lambda: "settings taken" in project.dcctl("logs", "execution"), 10)
    extra.write_text("risk: {max_spread_bps: 8}\nfeatures: {stale_after_s: 5}\n")
    told = project.json("reload")
    assert told["restarted"] == ["features"]
    project.wait_running()
    extra.write_text("rings: {tape: 1024}\n")
    assert "can only change with a stop and start" in project.dcctl("reload", code=1)
    extra.write_text("risk: {max_spread_bps: -1}\n")
    assert "nothing was changed: risk.max_spread_bps = -1" in project.dcctl("reload", code=1)
    extra.write_text("risk: {max_spread_bps: 9}\nfeatures: {stale_after_s: 5}\n")
    project.kill("supervisor", 1)  # SIGHUP
    wait_until(
        lambda: '"generation":4' in (project.run / "config.json").read_text().replace(" ", ""), 10
    )
    after = {p.name: p.pid for p in project.status().processes}
    assert {name for name in before if before[name] != after[name]} == {"features"}
    project.dcctl("stop")


def test_a_bad_configuration_starts_nothing(project):
    project.set(http__port="abc")
    text = project.dcctl("start", code=78)
    assert "http.port" in text
    assert "'abc'" in text
    assert not list(project.run.iterdir()) if project.run.exists() else True
    project.set(http__port=0)
    assert "no such profile" in project.dcctl("start", "--profile", "nope", code=78)
    assert "No such option" in project.dcctl("start", "--nonsense", code=2)
    assert "http.prt" in project.dcctl(
        "config", "--config", write(project, "http: {prt: 1}"), code=78
    )


def write(project: Project, text: str) -> str:
    path = project.folder / "extra.yml"
    path.write_text(text)
    return str(path)


def test_a_taken_port_is_said_before_anything_starts(project):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        project.set(http__port=taken.getsockname()[1])
        assert "is taken by another program" in project.dcctl("start", code=1)
    project.assert_clean()


def test_the_switch_at_shutdown_closes_everything_and_ends_the_instance(project):
    project.set(
        strategy__enter_threshold=0.05,
        strategy__min_expected_value_bps=-1000.0,
        strategy__cooldown_s=0.0,
    )
    project.dcctl("start")
    wait_until(lambda: held(project), 60, "a position")
    assert "realized" in project.dcctl("status")
    assert project.json("kill", "--level", "shutdown", "--yes")["acknowledged"]
    wait_until(lambda: not is_locked(project.run), 60, "the instance has ended")
    project.assert_clean()
    assert not held(project)
    text = project.dcctl("start", code=1)
    assert "stands at shutdown" in text
    assert "dcctl arm" in text
    project.assert_clean()
    assert project.json("arm", "--yes")["level_before"] == "shutdown"
    project.set(execution__enabled=False)
    project.dcctl("start")
    assert "realized" not in project.dcctl("status"), "what is closed is not held"


def held(project: Project) -> bool:
    """Whether the ledger's fills leave a position."""
    if not (project.data / "ledger.sqlite").exists():
        return False
    positions = LedgerView(LedgerSettings(), project.data).positions()
    return any(float(one.quantity) for one in positions)


def test_foreground_logs_to_standard_output_tells_its_manager_and_ends_on_a_signal(project):
    manager = Listener(str(project.folder / "notify"))
    heard: list[str] = []
    project.environment["NOTIFY_SOCKET"] = manager.socket.getsockname()
    project.environment["WATCHDOG_USEC"] = "3000000"
    process = subprocess.Popen(
        [sys.executable, "-m", "processes.cli", "start", "--foreground"],
        env=project.environment,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until((project.run / "registry.json").exists, 60)
    project.wait_running(300)
    process.send_signal(signal.SIGHUP)

    def told(word: str) -> bool:
        heard.extend(manager.heard())
        return any(word in said for said in heard)

    for word in ("READY=1", "RELOADING=1", "WATCHDOG=1"):
        wait_until(lambda word=word: told(word), 30, word)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert told("STOPPING=1")
    manager.socket.close()
    lines = [json.loads(line) for line in out.splitlines()]
    assert {"supervisor", "features", "collector.bitfinex"} <= {line["process"] for line in lines}
    project.assert_clean()


def test_a_switched_off_execution_decides_and_sends_nothing(project):
    project.set(
        execution__enabled=False,
        strategy__enter_threshold=0.05,
        strategy__min_expected_value_bps=-1000.0,
    )
    project.dcctl("start")
    text = project.dcctl(
        "tap", "decisions", "-m", "reason=execution_disabled", "-n", "1", deadline_s=120
    )
    assert "action=hold" in text
    project.dcctl("stop")
    import sqlite3

    with sqlite3.connect(project.data / "ledger.sqlite") as db:
        assert db.execute("SELECT count(*) FROM intents").fetchone() == (0,)
    db.close()


def test_tools_that_need_no_instance(project):
    versions = project.json("version")
    assert versions["data-controller"]
    assert versions["mlx"] != "absent"
    settings = project.json("config")
    assert settings["profile"] == "demo"
    schema = project.json("config", "--schema")
    assert "Settings" in json.dumps(schema)
    assert "risk.max_daily_loss" in project.dcctl("config")
    findings = project.json("doctor")
    # Another test may just have killed a supervisor, whose segments are a finding here.
    ill = [one for one in findings if one["level"] != "well" and one["check"] != "segments"]
    assert not ill
