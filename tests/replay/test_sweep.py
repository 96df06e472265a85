"""Sweeps on real Dask workers: what single runs say, whoever runs them."""

import msgspec
import pytest

from processes.recordings.span import Span
from processes.replay.backtest.main import backtest
from processes.replay.backtest.sweep import days_in, make_points, read_axis, sweep
from schemas.errors import UsageError
from tests.recorded import SESSION, record
from tests.replay.test_backtest import dcctl, settings

DAY = "2025-10-09"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return record(tmp_path_factory.mktemp("recorded"), 5, seconds=20.0).data


def load(values):
    return settings(**{key.replace(".", "__"): value for key, value in values.items()})


@pytest.mark.parametrize("workers", [1, 2])
def test_points_are_what_single_runs_say_and_a_failing_one_ends_no_other(data, workers):
    axes = {"strategy.horizon_s": ["2", "5"], "inference.device": ["numpy", "gpu"]}
    points = make_points(data, Span(), [SESSION], axes, load)
    told: list[int] = []
    swept = sweep(points, "net", workers, "", lambda done, _: told.append(done))
    assert told == list(range(1, len(points) + 1))
    assert [(one.day, one.values) for one in swept.points] == [(p.day, p.values) for p in points]
    for outcome in swept.points:
        if outcome.values["inference.device"] == "gpu":
            assert outcome.day != DAY or "inference.device=numpy" in outcome.error
            continue
        if outcome.day != DAY:  # the day after: nothing is recorded, which is no failure
            assert (outcome.error, outcome.summary, outcome.events) == ("", None, 0)
            continue
        alone = backtest(data, [SESSION], Span(), load(outcome.values))
        assert outcome.digest == alone.digest
        assert outcome.summary == alone.summary
    assert [row.failed > 0 for row in swept.rows].count(True) == 2
    nets = [float(row.net) for row in swept.rows if row.days]
    assert len(nets) == 2
    assert nets == sorted(nets, reverse=True)


def test_the_command_prints_a_table_and_json(data, monkeypatch, capsys):
    words = ("backtest", "--session", "last", "--sweep", "strategy.horizon_s=2,5", "--set",
             "inference.device=numpy", "--workers", "2", "--by", "fees")  # fmt: skip
    code, out, err = dcctl(monkeypatch, capsys, data, *words, "--json")
    assert code == 0, err
    told = msgspec.json.decode(out)
    assert {row["values"]["strategy.horizon_s"] for row in told["rows"]} == {"2", "5"}
    assert "4 of 4 points" in err
    fees = [float(row["fees"]) for row in told["rows"]]
    assert fees == sorted(fees)


def test_a_scheduler_elsewhere_is_named_by_its_address(data):
    from distributed import LocalCluster

    points = make_points(data, Span(), [SESSION], {"strategy.horizon_s": ["2"]}, load)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        swept = sweep(points, "net", 7, cluster.scheduler_address, lambda *_: None)
    assert swept.points[0].digest == backtest(data, [SESSION], Span(), points[0].settings).digest


def test_axes():
    assert read_axis("a.b=1..4") == ("a.b", ["1", "2", "3", "4"])
    assert read_axis("a.b=0.5,x") == ("a.b", ["0.5", "x"])
    for wrong in ("a.b", "=1", "a.b=", "a.b=4..1", "a.b=1,,2", "a.b=1,1"):
        with pytest.raises(UsageError, match="--sweep"):
            read_axis(wrong)


def test_days_are_those_that_the_lake_has_within_the_span(tmp_path):
    for day in ("2026-01-01", "2026-01-02", "2026-01-04"):
        (tmp_path / "lake/bitfinex/websocket/books/tA" / f"dt={day}").mkdir(parents=True)
    begin = 1_767_225_600_000_000_000  # 2026-01-01
    day_ns = 86_400 * 10**9
    span = Span(from_ns=begin + day_ns // 2, to_ns=begin + 4 * day_ns - 1)
    found = dict(days_in(tmp_path, span, [begin // 10**6]))
    assert list(found) == ["2026-01-01", "2026-01-02", "2026-01-04"]
    assert found["2026-01-01"] == Span(from_ns=span.from_ns, to_ns=begin + day_ns)
    assert found["2026-01-04"].to_ns == span.to_ns
    assert min(dict(days_in(tmp_path, Span(), [begin // 10**6 + 86_400_000]))) == "2026-01-02"
    assert "2026-01-05" in dict(days_in(tmp_path, Span(), [begin // 10**6]))
