"""The command history rebuild: words, exit codes, what is printed."""

import json

import msgspec

from processes.cli.__main__ import EXIT_FAILED, EXIT_USAGE
from processes.places import Resolved
from processes.sessions import SessionFolder
from schemas.instruments import Instrument, Stream, Tables
from schemas.settings import Settings
from tests.unit.storage.histories import T0, minutes_of_trades

TABLES = Tables(
    instruments=[Instrument(index=0, venue="gmo", symbol="BTC_JPY", pair="BTC/JPY")],
    streams=[Stream(index=0, channel="trades")],
)


def recorded(folder, minutes: int) -> None:
    """A data folder as an instance has left it: a lake, its tables, the settings of its session."""
    data = folder / "data"
    (data / "lake").mkdir(parents=True)
    (data / "state").mkdir()
    (data / "state" / "instruments.json").write_bytes(msgspec.json.encode(TABLES))
    resolved = Resolved(generation=1, folders={}, settings=Settings())
    SessionFolder(data, 5).keep(resolved, TABLES)
    minutes_of_trades(data / "lake", TABLES, "gmo", minutes)


def test_without_a_recording_there_is_nothing_to_make(dcctl):
    assert dcctl("history", "rebuild") == EXIT_FAILED
    assert "dcctl start" in dcctl.err


def test_times_that_are_none_are_refused(dcctl):
    span = ("--from", "2026-11-21", "--to", "2026-11-20")
    assert dcctl("history", "rebuild", *span) == EXIT_USAGE
    assert "later --to" in dcctl.err
    assert dcctl("history", "rebuild", "--from", "soon") == EXIT_USAGE
    assert "2026-11-21T10:00" in dcctl.err


def test_bars_are_made_of_a_lake(dcctl):
    recorded(dcctl.folder, 90)
    assert dcctl("history", "rebuild", "--json") == 0
    found = json.loads(dcctl.out)
    assert found["tape_rows"] == 90
    assert "history.sqlite" in found["database"]
    assert dcctl("history", "rebuild", "--symbol", "BTC/JPY") == 0
    assert "90 candles and trades of 1 series" in dcctl.out
    assert dcctl("history", "rebuild", "--venue", "kraken") == 0
    assert "dcctl lake ls" in dcctl.out
    part = ("--from", str(T0 // 10**6 + 10 * 60_000), "--to", str(T0 // 10**6 + 20 * 60_000))
    assert dcctl("history", "rebuild", *part, "--json") == 0
    assert json.loads(dcctl.out)["tape_rows"] == 10
