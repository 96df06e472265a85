"""Recordings of GMO Coin through `ingest`: no acknowledgement ever comes, streams are made of what
the frames say."""

import json
import random

import pyarrow as pa
import pytest

from processes.cli.ingest import ingest_files
from tests.unit.venues.gmo_frames import TIME, TIME_NS, book, error, shuffled, ticker, trade

ASKS, BIDS = [("101", "4"), ("102", "5")], [("100", "2"), ("99", "3")]


@pytest.fixture
def ingest(tmp_path, capsys):
    def run(lines, folder="out"):
        path = tmp_path / f"{folder}.jsonl"
        path.write_text("\n".join(lines), "utf-8")
        capsys.readouterr()
        ingest_files([path], "gmo", tmp_path / folder, as_json=True)
        return json.loads(capsys.readouterr().out), tmp_path / folder / "lake"

    return run


def table(lake, channel):
    (path,) = (lake / "gmo" / "websocket" / channel).rglob("*.arrow")
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def test_the_recorded_frames(recordings, tmp_path, capsys):
    files = sorted((recordings / "gmo").glob("ws_public*"))
    ingest_files(files, "gmo", tmp_path, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["errors_total"] == told["unknown_frames"] == 0
    assert told["refused"] == ["5106 Invalid request parameter. symbol"]
    assert told["symbols"] == {"BTC_JPY": {"books": 6, "ticker": 1, "trades": 1}}
    assert told["trades"]["BTC_JPY"]["bought"] == "0.003"
    assert told["books"]["BTC_JPY"] == {
        "bids": [["13658802", "0.008"], ["13658299", "0.03"], ["13658273", "0.002"]],
        "asks": [["13660704", "0.001"], ["13660910", "0.012"], ["13661081", "0.02"]],
    }
    assert sum(told["events"].values()) == told["lake_rows"]


def test_a_recording_without_times_takes_the_venues(ingest):
    later = TIME.replace("03:25:35", "03:25:40")
    told, lake = ingest([book(ASKS, BIDS), trade(time=later), book(ASKS, []), trade(side="SELL")])
    trades = table(lake, "trades")
    rows = trades.filter(pa.compute.is_null(trades["marker"])).to_pylist()
    assert [row["event_ns"] for row in rows] == [TIME_NS + 5 * 10**9, TIME_NS]
    assert [row["recv_ns"] for row in rows] == [TIME_NS + 5 * 10**9] * 2
    assert [row["amount"] for row in rows] == [0.5, -0.5]
    assert [path.name for path in lake.rglob("dt=*")] == ["dt=2026-09-23"] * 2
    assert told["trades"]["BTC_JPY"] == {
        "count": 2, "amount": "1.0", "bought": "0.5", "sold": "0.5",
    }  # fmt: skip


def test_deletions_follow_from_the_frames_and_are_no_events_of_the_recording(ingest):
    told, lake = ingest([book(ASKS, BIDS), book(ASKS[:1], BIDS), book(ASKS[:1], BIDS)])
    assert told["symbols"]["BTC_JPY"]["books"] == 4
    rows = [row for row in table(lake, "books").to_pylist() if row["marker"] is None]
    assert [(row["price"], row["count"]) for row in rows][-1] == (102.0, 0)
    assert len(rows) == 5


def test_what_is_bad_or_odd_is_counted_and_costs_itself(ingest, seed):
    draw = random.Random(seed)
    lines = [
        json.dumps({"t": 1790133936.5, "dir": "rx", "frame": json.loads(book(ASKS, BIDS))}),
        json.dumps({"t": 1790133936.6, "dir": "tx", "frame": {"command": "subscribe"}}),
        "garbage", "{}", trade(side="?"), trade(symbol="../x"), error("ERR-5003 Request too many."),
        *[shuffled(frame, draw).replace("\n", " ") for frame in (trade(), ticker())],
        book([("101", "4")], BIDS),
    ]  # fmt: skip
    told, _ = ingest(lines)
    assert told["frames"] == len(lines) - 1
    assert told["errors_total"] == 4
    assert told["refused"] == ["5003 Request too many."]
    assert told["books"]["BTC_JPY"]["asks"] == [["101", "4"]]
    assert list(told["symbols"]) == ["BTC_JPY"]
    assert told["symbols"]["BTC_JPY"]["trades"] == told["symbols"]["BTC_JPY"]["ticker"] == 1
    assert sum(told["events"].values()) == told["lake_rows"]


def test_an_empty_file(ingest):
    told, _ = ingest([""])
    assert told["frames"] == 0
