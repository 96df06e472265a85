"""dcctl influx: buckets made once, what waits shown, and sent by one sender only."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from config.loader import load
from processes.cli.__main__ import EXIT_CONFIG, EXIT_FAILED, EXIT_NOT_RUNNING, EXIT_USAGE
from processes.files import write_whole
from processes.influx.accumulator import Batch
from processes.influx.lines import Bucket
from processes.influx.spool import Spool, hold, look
from processes.places import CONFIG, ROOT, Resolved, lock, resolve
from tests.influx_shim import BUCKETS, TOKEN, Shim, influx_shim
from tests.servers import free_port

NOW = 1_790_000_000_000_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Shim]:
    with influx_shim() as made:
        yield made


@pytest.fixture
def shim(server, monkeypatch) -> Shim:
    monkeypatch.setenv("DC_TEST_TOKEN", TOKEN)
    for name, value in server.settings().items():
        monkeypatch.setenv(f"DC__influx__{name}", json.dumps(value))
    server.retentions.clear()
    server.token = TOKEN
    return server


def fill(folder: Path, batches: int = 3) -> int:
    """A spool as a process that is gone has left it; how many lines."""
    from processes.clock import Clock, measure_offset_ns

    now_ns = Clock(measure_offset_ns()).now_ns()
    spool = Spool(folder, 100_000, 10_000_000, NOW)
    for number in range(batches):
        times = [now_ns // 10**9 * 10**9 + number * 100 + index for index in range(100)]
        lines = [b"waited v=%di %d" % (index, when) for index, when in enumerate(times)]
        spool.append(Batch(Bucket.FAST, b"\n".join(lines), 100, times[-1]))
    spool.close()
    return 100 * batches


def test_the_buckets_are_made_once_and_a_wrong_retention_is_mended(dcctl, shim):
    assert dcctl("influx", "init", "--json") == 0
    assert [one["was"] for one in json.loads(dcctl.out)["buckets"]] == ["created"] * 3
    assert shim.retentions == {"rt-fast": 7 * 86400, "agg-30s": 30 * 86400, "logs": 90 * 86400}
    assert dcctl("influx", "init") == 0
    assert dcctl.out.count("as it was") == 3
    shim.retentions["logs"] = 60
    assert dcctl("influx", "init", "--json") == 0
    assert [one["was"] for one in json.loads(dcctl.out)["buckets"]] == [
        "as it was", "as it was", "changed",
    ]  # fmt: skip
    assert shim.retentions["logs"] == 90 * 86400
    assert tuple(shim.retentions) == BUCKETS


def test_init_says_why_it_cannot(dcctl, shim, monkeypatch):
    shim.token = "another"
    assert dcctl("influx", "init") == EXIT_FAILED
    assert "refused it: " in dcctl.err
    assert "unauthorized" in dcctl.err
    assert TOKEN not in dcctl.err
    shim.token = TOKEN
    monkeypatch.setenv("DC__influx__org", "other")
    assert dcctl("influx", "init") == EXIT_FAILED
    assert "organisation other" in dcctl.err
    monkeypatch.setenv("DC__influx__url", f"http://127.0.0.1:{free_port()}")
    assert dcctl("influx", "init") == EXIT_FAILED
    assert "deploy/compose.yaml" in dcctl.err
    monkeypatch.delenv("DC_TEST_TOKEN")
    assert dcctl("influx", "init") == EXIT_FAILED
    assert "export DC_TEST_TOKEN" in dcctl.err


def test_settings_that_would_hold_a_token_or_none_are_refused(dcctl, shim, monkeypatch):
    monkeypatch.setenv("DC__influx__token", "abcdef")
    assert dcctl("influx", "status") == EXIT_CONFIG
    assert "influx.token" in dcctl.err
    monkeypatch.setenv("DC__influx__token", '""')
    assert dcctl("influx", "status") == EXIT_CONFIG
    assert "influx.token_file" in dcctl.err
    monkeypatch.setenv("DC__influx__token_file", "some/file")
    assert dcctl("influx", "status") == 0
    monkeypatch.setenv("DC__influx__spool_bytes", "200000")
    assert dcctl("influx", "status") == EXIT_CONFIG
    assert "segment_bytes" in dcctl.err


def test_status_shows_what_waits_without_an_instance(dcctl, shim, monkeypatch):
    folder = dcctl.folder / "data" / "influx"
    assert dcctl("influx", "status") == 0
    assert "nothing waits" in dcctl.out
    fill(folder)
    with hold(folder):
        assert dcctl("influx", "status", "--json") == 0
    told = json.loads(dcctl.out)
    assert told["reachable"]
    assert told["sender"] == "not running"
    assert told["spool"]["bytes"] == look(folder).bytes > 0
    assert told["spool"]["segments"] == 1
    assert told["spool"]["oldest"] == "2026-09-21T14:13:20.000Z"
    assert told["spool"]["held_by"]
    assert TOKEN not in dcctl.out
    monkeypatch.setenv("DC__influx__url", f"http://127.0.0.1:{free_port()}")
    assert dcctl("influx", "status", "--json") == 0
    assert not json.loads(dcctl.out)["reachable"]


def test_a_process_that_is_gone_while_the_instance_runs_hides_nothing(dcctl, shim):
    assert dcctl("config", "--json") == 0  # makes the folders
    settings = load("demo")
    paths = resolve(settings, ROOT)
    fill(paths.data / "influx")
    folders = {name: str(getattr(paths, name)) for name in ("run", "data", "logs")}
    resolved = Resolved(generation=1, folders=folders, settings=settings)
    with lock(paths.run):
        write_whole(paths.run / CONFIG, msgspec.json.encode(resolved))
        assert dcctl("influx", "status", "--json") == 0
        told = json.loads(dcctl.out)
        assert told["sender"] == "does not answer"
        assert told["spool"]["bytes"] > 0
        assert dcctl("influx", "drain") == EXIT_NOT_RUNNING
        assert "influx is not running" in dcctl.err


def test_drain_sends_what_waits_and_is_the_only_sender(dcctl, shim):
    folder = dcctl.folder / "data" / "influx"
    lines = fill(folder)
    with hold(folder):
        assert dcctl("influx", "drain") == EXIT_FAILED
        assert "already" in dcctl.err
    assert look(folder).bytes > 0
    assert dcctl("influx", "drain", "--json") == 0
    told = json.loads(dcctl.out)
    assert told["bytes_left"] == 0
    assert told["bytes_before"] > 0
    assert told["by"] == "dcctl"
    assert len(shim.rows("rt-fast", "waited")) == lines
    assert dcctl("influx", "drain") == 0
    assert "nothing does now" in dcctl.out


def test_drain_that_cannot_says_what_is_left_and_why(dcctl, shim, monkeypatch):
    folder = dcctl.folder / "data" / "influx"
    fill(folder)
    shim.token = "another"
    assert dcctl("influx", "drain") == EXIT_FAILED
    assert "held: unauthorized access" in dcctl.err
    assert "dcctl influx status" in dcctl.err
    monkeypatch.setenv("DC__influx__url", f"http://127.0.0.1:{free_port()}")
    assert dcctl("influx", "drain", "--timeout", "0.3") == EXIT_FAILED
    assert "are left" in dcctl.err
    assert look(folder).bytes > 0


@pytest.mark.parametrize("command", ["init", "status", "drain"])
def test_help_names_what_a_command_does(dcctl, command):
    assert dcctl("influx", command, "--help") == 0
    assert "--json" in dcctl.out
    assert dcctl("influx", command, "--nonsense") == EXIT_USAGE
