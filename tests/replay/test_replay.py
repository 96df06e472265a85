"""A recorded session comes out the same to the bit; a bit that is changed is found and named."""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from processes.cli.__main__ import main
from processes.lake.compact import compact
from processes.lake_holes import SAMPLED, Hole, note_hole
from processes.recordings.books import Books, fill_payloads
from processes.recordings.recording import Recording, find_session
from processes.replay.main import replay
from schemas import tape
from schemas.decisions import SlotKind
from schemas.errors import OperatorError
from schemas.features import CutReason
from schemas.tape import Flag, Kind, Marker, Side
from tests.helpers import QuietLog
from tests.recorded import SESSION, Recorder, record


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Recorder:
    return record(
        tmp_path_factory.mktemp("session"), 20261121, seconds=60.0, features__trigger="true",
        risk__allow_short="true",
        strategy__enter_threshold=0.05, strategy__min_expected_value_bps=-1000,
        strategy__cooldown_s=0, risk__max_spread_bps=1000,
    )  # fmt: skip


def verdict(data: Path):
    return replay(data, SESSION, QuietLog())


def test_a_session_with_falls_and_restarts_is_identical(session):
    found = verdict(session.data)
    assert found.first_difference is None
    assert found.identical
    assert found.excluded == []
    rows = session.features.slots
    assert found.rows == int((rows["reason"] != CutReason.WARM).sum())
    assert found.predictions == session.predictions.committed
    assert found.decisions == int((session.decisions.slots["kind"] == 16).sum())
    assert (rows["reason"] == CutReason.WARM).sum() == 3
    assert len(np.unique(session.predictions.slots["rung"])) > 1
    assert (session.decisions.slots["action"] > 0).sum() > 3
    kinds = {SlotKind(int(kind)) for kind in np.unique(session.decisions.slots["kind"])}
    assert kinds >= {
        SlotKind.INPUT_BROKER, SlotKind.INPUT_COMMAND, SlotKind.INPUT_CONFIG, SlotKind.INPUT_SIGNAL,
    }  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_venues_whose_slots_arrive_in_any_order(tmp_path, seed):
    made = record(
        tmp_path, seed, seconds=25.0, venues__kraken__enabled="true",
        venues__kraken__symbols='["BTC/USD"]',
    )  # fmt: skip
    found = verdict(made.data)
    assert found.first_difference is None
    assert (found.identical, found.excluded) == (True, [])


def test_slots_come_out_of_the_lake_as_they_went_in(session):
    ((venue, told),) = session.tapes.items()
    again = np.concatenate([b.view(np.uint8) for b in Recording(session.data, SESSION).tape(venue)])
    slots = again.view(told.dtype)
    assert len(slots) == len(told)
    for name in ("sequence", "event_ns", "recv_ns", "venue_sequence", "price", "size", "epoch",
                 "kind", "side", "flags", "instrument", "stream", "id_low", "count"):  # fmt: skip
        # A ticker has columns of its own, and a trade of no funding market has no count.
        mine = told["kind"] != Kind.TICKER
        mine &= (told["kind"] != Kind.TRADE) | (name != "count")
        assert np.array_equal(slots[name][mine], told[name][mine]), name
    ends = ((told["flags"] & Flag.FRAME_END) != 0) & (told["kind"] == Kind.BOOK_LEVEL)
    assert ends.sum() > 1000
    assert slots["book"][ends].tobytes() == told["book"][ends].tobytes()
    assert slots["reference_price"][ends].tobytes() == told["reference_price"][ends].tobytes()


def change(path: Path, column: str, row: int, value: object) -> None:
    """Rewrite one value of a sealed file."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    index = table.schema.get_field_index(column)
    values = table.column(column).to_pylist()
    assert values[row] != value
    values[row] = value
    table = table.set_column(
        index, table.schema.field(index), pa.array(values, table.schema.field(index).type)
    )
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def first_file(data: Path, folder: str) -> Path:
    return next(path for path in sorted((data / "lake").rglob("*.arrow")) if folder in str(path))


@pytest.fixture
def copy(session, tmp_path) -> Path:
    shutil.copytree(session.data, tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("folder", "column", "row", "value", "stage", "field"),
    [
        ("websocket/books/tBTCUSD", "amount", 4, 1234.5, "features", "values"),
        ("websocket/trades/tBTCUSD", "price", 150, 1.0, "features", "values"),
        ("features/bitfinex/tBTCUSD", "microprice_bps", 40, 0.25, "features", "values"),
        ("features/bitfinex/tBTCUSD", "invalid", 40, 1 << 40, "features", "invalid"),
        ("predictions/bitfinex/tBTCUSD", "tcn_up", 20, 0.5, "predictions", "outputs"),
        ("predictions/bitfinex/tBTCUSD", "book_age_s", 20, 77.0, "predictions", "book_age_s"),
        ("decisions", "reference_price", 30, 5.0, "decisions", "reference_price"),
    ],
)  # fmt: skip
def test_a_changed_value_is_found(copy, folder, column, row, value, stage, field):
    change(first_file(copy, folder), column, row, value)
    found = verdict(copy)
    assert not found.identical
    stages = {found.first_difference.stage}
    assert stages == {stage}
    assert found.first_difference.field.startswith(field)
    assert found.first_difference.recorded != found.first_difference.replayed


def test_rows_that_the_lake_misses_are_excluded_and_said(copy):
    path = first_file(copy, "websocket/trades/tBTCUSD")
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    kept = pa.concat_tables([table.slice(0, 100), table.slice(103)])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(kept)
    found = verdict(copy)
    assert found.first_difference is None
    assert {span.why for span in found.excluded} == {"the lake misses slots of a tape"}
    assert {span.stage for span in found.excluded} == {"features"}


def test_what_storage_sampled_is_excluded_with_that_reason(copy):
    path = first_file(copy, "websocket/books/tBTCUSD")
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    numbers = table["tape_seq"].to_pylist()
    half = len(numbers) // 2
    kept = pa.concat_tables([table.slice(0, half), table.slice(half + 9)])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(kept)
    hole = Hole(
        session=SESSION, first=numbers[half - 3], last=numbers[half + 9], time_ns=1,
        reason=SAMPLED, left_out=9,
    )  # fmt: skip
    note_hole(copy / "lake", "tape.bitfinex", hole)
    found = verdict(copy)
    assert found.first_difference is None
    assert found.identical
    assert {span.why for span in found.excluded} == {"books were sampled by storage"}
    assert {span.stage for span in found.excluded} == {"features"}
    assert found.excluded[0].first > 1


def test_a_session_that_is_not_there_says_what_is(session, tmp_path):
    assert find_session(session.data, "last") == SESSION
    with pytest.raises(OperatorError, match=f"say last, or one of {SESSION}"):
        find_session(session.data, "17")
    with pytest.raises(OperatorError, match="dcctl start"):
        find_session(tmp_path, "last")


def test_a_book_begins_anew_at_a_snapshot():
    """Else levels of before a reconnect would stay for ever."""
    slots = np.zeros(4, tape.SLOT)
    slots["kind"] = [Kind.BOOK_LEVEL, Kind.MARKER, Kind.BOOK_LEVEL, Kind.BOOK_LEVEL]
    slots["flags"] = Flag.PRIMARY | Flag.FRAME_END
    slots["side"] = [Side.BID, 0, Side.BID, Side.ASK]
    slots["price"], slots["size"] = [101.0, 0, 99.0, 100.0], [1, 0, 2, 3]
    slots.view(np.uint32).reshape(4, -1)[1, 24] = Marker.SNAPSHOT_BEGIN
    books = Books(1)
    fill_payloads(books.address, books.count, slots.ctypes.data, len(slots))
    assert slots["reference_price"].tolist() == [101.0, 0.0, 99.0, 99.5]


def dcctl(monkeypatch, capsys, data: Path, *words: str) -> tuple[int, str, str]:
    """The command in this process."""
    for name, folder in (("data", data), ("run", data / "run"), ("logs", data / "logs")):
        monkeypatch.setenv(f"DC__paths__{name}", str(folder))
    monkeypatch.setattr(sys, "argv", ["dcctl", "replay", *words])
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_says_what_it_found(copy, monkeypatch, capsys):
    code, out, _ = dcctl(monkeypatch, capsys, copy, "last", "--verify", "--json")
    told = json.loads(out)
    assert (code, told["identical"], told["first_difference"]) == (0, True, None)
    assert set(told) >= {"events", "rows", "predictions", "decisions", "events_per_s"}
    code, out, _ = dcctl(monkeypatch, capsys, copy, str(SESSION))
    assert code == 0
    assert "identical, to the bit" in out
    change(first_file(copy, "features/bitfinex/tBTCUSD"), "microprice_bps", 40, 0.25)
    code, out, _ = dcctl(monkeypatch, capsys, copy)
    assert code == 0
    assert "differs first in features" in out
    code, _, err = dcctl(monkeypatch, capsys, copy, "last", "--verify")
    assert code == 1
    assert f"session {SESSION} did not come out as it is recorded" in err


def as_version_one(data: Path) -> None:
    """Feature rows as the first catalogue had them: fewer columns, of the same names."""
    for path in (data / "lake").rglob("features/**/*.arrow"):
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        later = [
            name for name in table.schema.names if name in {"masked", "rsi_14_1m", "history_s"}
        ]
        with (
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, table.drop_columns(later).schema) as writer,
        ):
            writer.write_table(table.drop_columns(later))


def test_rows_of_an_older_catalogue_are_refused_in_words_and_read_by_name(
    copy, monkeypatch, capsys
):
    as_version_one(copy)
    code, _, err = dcctl(monkeypatch, capsys, copy, "last")
    assert code == 1
    assert "another feature catalogue" in err
    assert "dcctl backtest" in err
    before = len(list((copy / "lake").rglob("features/**/*.arrow")))
    assert sum(one.files for one in compact(copy / "lake", before="9999-01-01")) >= before > 0
    table = pq.read_table(next((copy / "lake").rglob("features/**/*.parquet")))
    assert table.column("rsi_14_1m").null_count == len(table) > 0
    assert table.column("microprice_bps").null_count == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--speed", "fast"), 2, "like 10"),
        (("--speed", "-1"), 2, "like 10"),
        (("17",), 1, f"say last, or one of {SESSION}"),
    ],
)
def test_words_that_mean_nothing(session, monkeypatch, capsys, words, code, says):
    found = dcctl(monkeypatch, capsys, session.data, *words)
    assert (found[0], says in found[2]) == (code, True)


def test_at_a_recorded_pace_it_takes_its_time_and_tells_what_was_done(session, monkeypatch, capsys):
    began_s = time.monotonic()
    code, out, _ = dcctl(monkeypatch, capsys, session.data, "last", "--speed", "60")
    assert code == 0
    assert time.monotonic() - began_s > 0.9  # a minute of the market
    assert "enter_long" in out
    assert "identical, to the bit" in out
