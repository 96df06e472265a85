"""A real download, killed at random instants, resumed: every row once, none missing."""

import csv
import json
import random
import signal
from pathlib import Path

import pytest

from tests.helpers import python, wait_until
from tests.rest_servers import FakeBitfinex, make_trades

START = 1_700_000_000_000
END = START + 86_400_000


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for name in ("run", "data", "logs"):
        monkeypatch.setenv(f"DC__paths__{name}", str(tmp_path / name))
    monkeypatch.setenv("DC__rest__rates", str(tmp_path / "rates"))
    return tmp_path


def point_at(server, monkeypatch, *, rate: float = 6000.0, page_rows: int = 40) -> None:
    monkeypatch.setenv("DC__rest__bitfinex__url", server.url)
    monkeypatch.setenv("DC__rest__bitfinex__page_rows", str(page_rows))
    monkeypatch.setenv("DC__rest__bitfinex__share_of_rate", "1.0")
    monkeypatch.setenv("DC__rest__bitfinex__rates__trades", str(rate))


def dcctl(*arguments: str):
    return python("-m", "processes.cli", "history", *arguments)


def finish(child) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=60)
    assert "Traceback" not in err, err
    return child.returncode, out, err


def download(*more: str):
    return dcctl("download", "bitfinex", "trades", "tBTCUSD", "--from", str(START),
                 "--to", str(END), *more)  # fmt: skip


def only_job(folder: Path) -> str:
    names = [path.name for path in (folder / "data" / "history").iterdir() if path.name[0] != "."]
    assert len(names) == 1
    return names[0]


def read_rows(path: Path) -> list[tuple[str, ...]]:
    if path.suffix == ".arrow":
        import pyarrow as pa

        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        return [(str(r["id"]), str(r["mts"])) for r in table.to_pylist()]
    with path.open(encoding="utf-8", newline="") as file:
        return [(row[0], row[1]) for row in csv.reader(file)][1:]


@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_killed_at_random_instants_neither_a_hole_nor_a_double_row(
    folder, monkeypatch, seed, long_run, form
):
    chance = random.Random(f"{seed} {form}")
    trades = make_trades(seed, 3000, START)
    kills = 25 if long_run else 4
    with FakeBitfinex(trades=trades).running() as server:
        point_at(server, monkeypatch)
        asked = len(server.seen) + 2
        child = download("--format", form)
        for _ in range(kills):
            until = asked + chance.randrange(75 // kills + 2)
            wait_until(lambda n=until, c=child: len(server.seen) >= n or c.poll() is not None)
            for _ in range(chance.randrange(60_000)):
                pass  # some microseconds: into the writing of the page
            child.send_signal(signal.SIGKILL)
            child.communicate(timeout=30)
            asked = len(server.seen) + 1
            child = dcctl("resume", only_job(folder), "--json")
        code, out, err = finish(child)
        assert code == 0, err
        found = json.loads(out)[0]
        assert server.complaints == []
    assert found["state"] == "done"
    assert read_rows(Path(found["file"])) == [(str(t.id), str(t.mts)) for t in trades]
    left = [path.name for path in (folder / "data" / "lake").rglob("*") if path.is_file()]
    assert left == [Path(found["file"]).name]


def test_cancelled_from_another_terminal_in_the_middle_of_a_wait(folder, monkeypatch):
    with FakeBitfinex(trades=make_trades(1, 3000, START)).running() as server:
        point_at(server, monkeypatch, rate=6.0)
        child = download()
        wait_until(lambda: len(server.seen) >= 2)
        job = only_job(folder)
        code, out, err = finish(dcctl("cancel", job))
        assert code == 0, err
        assert f"dcctl history resume {job}" in out
        code, out, err = finish(child)
        assert code == 0
        assert "cancelled" in out
        asked = len(server.seen)
        jobs = json.loads(finish(dcctl("jobs", "--json"))[1])
        assert [(one["job"], one["state"]) for one in jobs] == [(job, "cancelled")]
        assert len(server.seen) == asked


def test_ctrl_c_says_how_to_go_on(folder, monkeypatch):
    with FakeBitfinex(trades=make_trades(1, 3000, START)).running() as server:
        point_at(server, monkeypatch, rate=6.0)
        child = download()
        wait_until(lambda: len(server.seen) >= 2)
        child.send_signal(signal.SIGINT)
        code, out, err = finish(child)
        assert code == 130, (out, err)
        assert f"dcctl history resume {only_job(folder)}" in err
        jobs = json.loads(finish(dcctl("jobs", "--json"))[1])
        assert jobs[0]["state"] == "interrupted"


def test_two_processes_under_one_limiter_never_exceed_the_rate(folder, monkeypatch):
    """At 80 % of 1200 a minute: at most one request each 62.5 ms, whoever sends it."""
    trades = make_trades(2, 900, START)
    with FakeBitfinex(trades=trades).running() as server:
        point_at(server, monkeypatch, rate=1200.0)
        monkeypatch.setenv("DC__rest__bitfinex__share_of_rate", "0.8")
        children = [download("--json"), download("--json", "--sort", "desc")]
        for child in children:
            code, out, err = finish(child)
            assert code == 0, err
            assert json.loads(out)[0]["rows"] == 900
        times = [seen.time_s for seen in server.seen]
    assert len(times) > 30
    allowed_s = 60 / 1200  # the venue's own limit; a request's way here takes a varying while
    for first, last in zip(times, times[10:], strict=False):
        assert last - first >= 10 * allowed_s
    assert list((folder / "rates").iterdir())
