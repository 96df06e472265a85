"""The benchmarks measure what they say: counts are right and nothing is lost. No time is judged."""

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks import (
    bridge,
    decoding,
    lake,
    ledger,
    peering,
    recordings,
    stages,
    store,
    transport,
)
from benchmarks.figures import figure
from processes.cli.bench import BENCHMARKS, run_benchmarks
from schemas.errors import OperatorError
from tests.servers import program
from venues.bitfinex.subscriptions import FLAG_SEQUENCE


@pytest.fixture(autouse=True)
def _no_peers(monkeypatch):
    """Peers are slow to start, and a test machine need not have them."""
    monkeypatch.setattr(peering, "PYTHON", Path("/nowhere/.venv-peers/bin/python"))


def collect(stream, *, one_by_one=False):
    with asyncio.Runner() as runner, decoding.collector(runner, 1 << 12) as ours:
        reads = recordings.socket_reads(stream.numbered(), one_by_one=one_by_one)
        return runner.run(ours.take(reads))


@pytest.mark.parametrize("one_by_one", [False, True])
def test_every_frame_goes_through_the_collector(one_by_one):
    stream = recordings.generated(3000, symbols=3)
    done = collect(stream, one_by_one=one_by_one)
    # 3 snapshots and 3000 updates; a snapshot is 50 levels between two markers, an ack one marker.
    assert done.frames == 3003
    assert done.slots == 3 * (50 + 2) + 3000 + 3
    assert done.seconds > 0


@pytest.mark.parametrize("every", [1, 7])
def test_every_checksum_put_in_is_verified(every):
    plain = recordings.generated(500, symbols=1)
    stream = recordings.with_checksums(plain, every)
    assert stream.checksums == 501 // every
    assert len(stream.frames) == len(plain.frames) + stream.checksums
    assert collect(stream).checksums_verified == stream.checksums


def test_numbers_are_put_in_as_the_venue_counts(monkeypatch):
    frames = recordings.generated(5, symbols=1).numbered()
    arrays = [json.loads(frame) for frame in frames if frame.startswith(b"[")]
    assert [frame[-1] for frame in arrays] == [1, 2, 3, 4, 5, 6]
    assert json.loads(frames[1]) == {"event": "conf", "status": "OK", "flags": FLAG_SEQUENCE}
    monkeypatch.delenv("DC_FIXTURES", raising=False)
    assert recordings.recorded(recordings.BOOK_TRADES_2018) is None


def test_a_recording_loses_its_numbers_and_gets_them_again(request):
    folder = request.getfixturevalue("recordings")
    path = folder / "bitfinex" / recordings.SEVEN_PAIRS_2021
    stream = recordings.recorded(recordings.SEVEN_PAIRS_2021)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    wanted = [line["frame"] for line in lines if line["dir"] == "rx"]
    assert [json.loads(frame) for frame in stream.numbered()] == wanted


def test_decoding_gives_figures_and_says_who_is_absent():
    found = decoding.measure(quick=True)
    assert {"decoding", "decoding_one_by_one", "decoding_checksums"} <= set(found)
    first = found["decoding"]
    assert (first.unit, first.runs) == ("frames/s", 1)
    assert first.peers == {"cryptofeed": None, "ccxt.pro": None}
    assert "there is no .venv-peers" in first.note
    assert list(found["decoding_checksums"].peers) == ["ccxt.pro"]
    assert "checksums verified" in found["decoding_checksums"].note


def test_transports_lose_nothing():
    # Each end counts; an event out of order or lost ends the receiver, and with it this call.
    found = transport.measure(quick=True, redis=False)
    units = {name: each.unit for name, each in found.items()}
    assert units["transport_ring_zmq"] == units["transport_ring_datagram"] == "events/s"
    assert units["transport_ring_block_64"] == "slots/s"
    assert units["transport_ring_datagram_latency_p99"] == "µs"
    peers = found["transport_ring_zmq"].peers
    assert peers["redis streams"] is None
    assert peers["multiprocessing.Queue"].value > 0


def test_the_lakes_tools_are_measured_on_rows_that_are_there(monkeypatch):
    monkeypatch.setattr(lake, "SQL", "SELECT symbol, count(*) FROM books GROUP BY ALL")
    figures = lake.measure(quick=True)
    assert set(figures) == {
        "verify_sealed", "verify_daily", "query_sealed", "query_daily", "compact",
        "last_sealed", "last_daily", "daily_bytes",
    }  # fmt: skip
    assert all(figure.value > 0 for figure in figures.values())


def test_a_store_is_measured_on_rows_that_are_there(monkeypatch):
    monkeypatch.delenv(store.VARIABLE, raising=False)
    monkeypatch.setattr(lake, "SQL", "SELECT symbol, count(*) FROM books GROUP BY ALL")
    figures = store.measure(quick=True)
    assert set(figures) == {
        f"folder_{what}_{form}"
        for what in ("push", "verify", "query")
        for form in ("sealed", "daily")
    }
    assert all(figure.value > 0 for figure in figures.values())


def test_stages_count_every_row():
    slots, tables = stages.make_slots(5000)
    assert (len(slots), len(tables.instruments)) == (5000, 16)
    features, rows = stages.Features(slots, tables), stages.LakeRows(slots, tables)
    assert features.run() > 0
    assert features.rows == 0  # half a second: no boundary has passed
    assert rows.lake() > 0
    assert rows.csv() > 0
    assert rows.json_lines() > 0
    assert len(rows._rows) == 5000
    assert 0 < rows.bytes_a_row < rows.csv_bytes_a_row < rows.json_bytes_a_row


def test_a_ratio_says_how_many_times_better():
    # The third round was disturbed, for both.
    peers = {"slow": [5.0, 15.0, 1.0], "gone": "absent: why"}
    more = figure([20.0, 30.0, 4.0], "events/s", peers)
    assert (more.value, more.low, more.high, more.runs) == (20.0, 4.0, 30.0, 3)
    assert (more.peers["slow"].value, more.peers["slow"].ratio) == (5.0, 4.0)
    assert more.peers["gone"] is None
    assert more.note == "gone absent: why"
    less = figure([5.0], "µs", {"slow": [20.0]}, less_is_better=True)
    assert less.peers["slow"].ratio == 4.0


def test_the_command_prints_one_object(monkeypatch, capsys):
    monkeypatch.setitem(BENCHMARKS, "stages", lambda quick: {"x": figure([float(quick)], "u")})
    run_benchmarks(["stages"], quick=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"machine", "versions", "quick", "figures"}
    assert told["figures"] == {"x": {"value": 1.0, "unit": "u", "low": 1.0, "high": 1.0, "runs": 1}}
    run_benchmarks(["stages"], quick=False, as_json=False)
    assert "x" in capsys.readouterr().out


def test_the_ledger_is_measured_on_every_body_that_is_there():
    found = ledger.measure(quick=True)
    assert {"ledger_sqlite", "history_sqlite", "bars_sqlite"} <= set(found)
    assert all(one.value > 0 for one in found.values())
    assert ("ledger_postgres" in found) == ("history_postgres" in found)
    if "ledger_postgres" not in found:
        assert found["ledger_sqlite"].peers["PostgreSQL"] is None


def test_an_unknown_benchmark_is_refused_with_the_names():
    with pytest.raises(OperatorError, match="no benchmark speed; there are decoding, latency"):
        run_benchmarks(["speed"], quick=True, as_json=True)


def test_the_bridge_is_measured_to_the_last_entry():
    program("redis-server", "redis-server")
    found = bridge.measure(quick=True)
    assert set(found) == {"bridge_trades", "bridge_books"}
    assert all(one.value > 0 for one in found.values())
