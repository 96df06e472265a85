"""SQL over sealed, open and daily files at once; and what cannot be asked."""

import csv
import json
import sys
from typing import NamedTuple

import numpy as np
import pytest

from processes.cli.__main__ import main
from processes.lake.compact import compact
from processes.lake.query import query
from processes.lake_files import describe
from processes.recordings.rows import read_ring
from processes.recordings.slots import Indices, prediction_slots
from processes.storage.columns import decision_batch, feature_batch, prediction_batch
from processes.storage.lake import Series, SeriesKey
from schemas import decisions, features, predictions
from schemas.errors import LakeError, UsageError
from schemas.instruments import Instrument, Tables
from schemas.lake import SCHEMAS
from tests.helpers import ROOT
from tests.lakes import NOW, Ring

NEWEST = "SELECT symbol, count(*), min(tape_seq), max(tape_seq) FROM {} GROUP BY ALL ORDER BY 1"


@pytest.fixture
def ring(tmp_path, instance):
    made = Ring(tmp_path, instance)
    yield made
    made.close()


def rows(ring, sql):
    return [row for block in query(ring.folder / "lake", sql).blocks for row in block]


def record_in_all_forms(ring):
    """300 rows daily, 200 sealed, 100 open."""
    ring.send(300)
    ring.store.take()
    ring.store.seal()
    compact(ring.folder / "lake", before="9999-01-01")
    ring.send(200)
    ring.store.take()
    ring.store.seal()
    ring.send(100)
    ring.store.take()
    ring.store.flush()


def test_all_forms_are_one_table(ring):
    record_in_all_forms(ring)
    found = rows(ring, "SELECT tape_seq FROM trades UNION ALL SELECT tape_seq FROM books")
    assert sorted(number for (number,) in found) == list(range(1, 601))
    both = rows(ring, NEWEST.format("trades"))
    assert [symbol for symbol, *_ in both] == ["tBTCUSD", "tDOGE:USD"]
    places = rows(ring, "SELECT DISTINCT dt::VARCHAR, venue, session FROM books")
    assert places == [("2025-10-09", "bitfinex", 5)]


def test_filters_reach_every_form(ring):
    record_in_all_forms(ring)
    for low, high in ((1, 300), (301, 500), (501, 600)):
        where = f"tape_seq BETWEEN {low} AND {high} AND symbol = 'tBTCUSD' AND dt = '2025-10-09'"
        [(books,)] = rows(ring, f"SELECT count(*) FROM books WHERE {where} AND suffix = ''")
        [(trades,)] = rows(ring, f"SELECT count(*) FROM trades WHERE {where} AND pair = 'BTC/USD'")
        assert 0 < books < 150
        assert 0 < trades < 150
    assert rows(ring, "SELECT count(*) FROM books WHERE venue = 'kraken'") == [(0,)]
    [(joined,)] = rows(ring, "SELECT count(*) FROM books a JOIN books b USING (session, tape_seq)")
    [(single,)] = rows(ring, "SELECT count(*) FROM books")
    assert joined == single


def test_every_table_is_there_and_has_its_columns(ring):
    ring.send(10)
    ring.store.take()
    for table, schema in SCHEMAS.items():
        answer = query(ring.folder / "lake", f"SELECT * FROM {table}")
        assert set(schema.names) < set(answer.columns)
        assert {"dt", "session", "venue", "symbol"} < set(answer.columns)
        assert len(answer.columns) == len(set(answer.columns))


@pytest.mark.parametrize("packed", [False, True])
def test_predictions_of_a_line_up_with_fewer_places_are_of_places_that_said_nothing(
    tmp_path, packed, monkeypatch
):
    slots = np.zeros(3, predictions.SLOT)
    slots["outputs"], slots["sequence"] = 0.25, [1, 2, 3]
    batch = prediction_batch(slots)
    later = [name for rule in predictions.RULES[1:] for name in predictions.outputs_of(rule)]
    older = batch.drop_columns(later)
    place = {"venue": "gmo", "symbol": "BTC", "pair": "BTC/JPY"}
    key = SeriesKey(folder="predictions/gmo", prefix="predictions", table="predictions")
    with monkeypatch.context() as patch:
        patch.setitem(SCHEMAS, "predictions", older.schema)
        series = Series(tmp_path, key, {**place, "session": "9", "ring": "predictions"})
        series.write(older, np.arange(1, 4), NOW)
        series.seal()
    if packed:
        assert len(compact(tmp_path, before="9999-01-01")) == 1
    answer = query(tmp_path, "SELECT tcn_up, rsi_thresholds_up FROM predictions")
    assert list(answer.blocks) == [[(0.25, None)] * 3]
    instruments = [Instrument(index=0, venue="gmo", symbol="BTC", pair="BTC/JPY")]
    (parts,) = read_ring(tmp_path, "predictions", 9)
    found = prediction_slots(parts, Indices(Tables(instruments=instruments, streams=[])))
    assert np.isnan(found["outputs"][:, 6:]).all()
    assert (found["outputs"][:, :6] == 0.25).all()


@pytest.mark.parametrize("packed", [False, True])
def test_tables_behind_the_tape(tmp_path, packed):
    made = {
        "features": feature_batch(np.zeros(3, features.SLOT)),
        "predictions": prediction_batch(np.zeros(3, predictions.SLOT)),
        "decisions": decision_batch(np.zeros(3, decisions.SLOT)),
    }
    for table, batch in made.items():
        index = batch.schema.get_field_index("seq")
        numbers = np.arange(1, 4, dtype=np.uint64)
        numbered = batch.set_column(index, batch.schema.field(index), numbers)
        place = {} if table == "decisions" else {"venue": "gmo", "symbol": "BTC", "pair": "BTC/JPY"}
        key = SeriesKey(folder=f"{table}/{place.get('venue', '')}", prefix=table, table=table)
        series = Series(tmp_path, key, {**place, "session": "9", "ring": table})
        series.write(numbered, np.arange(1, 4), NOW)
        series.seal()
    if packed:
        assert len(compact(tmp_path, before="9999-01-01")) == 3
    for table in made:
        answer = query(tmp_path, f"SELECT session, venue, max(seq) FROM {table} GROUP BY ALL")
        venue = None if table == "decisions" else "gmo"
        assert list(answer.blocks) == [[(9, venue, 3)]]
    values = query(tmp_path, "SELECT book, len(book) FROM features")
    assert next(values.blocks)[0][1] == 40


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("selec 1", "syntax error"),
        ("SELECT nope FROM trades", 'column "nope" not found'),
        ("SELECT * FROM nowhere", "nowhere does not exist"),
        ("DROP VIEW trades", "one SELECT"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("COPY trades TO 'x.csv'", "one SELECT"),
        ("EXPLAIN ANALYZE COPY trades TO 'x.csv'", "one SELECT"),
        ("SELECT * FROM read_csv('/etc/hosts')", "disabled by configuration"),
        ("", "one SELECT"),
    ],
)
def test_what_cannot_be_asked(ring, sql, said):
    ring.send(10)
    ring.store.take()
    ring.store.flush()
    before = sorted(ring.folder.rglob("*"))
    with pytest.raises(UsageError, match=said):
        rows(ring, sql)
    assert sorted(ring.folder.rglob("*")) == before


def test_an_unreadable_file_is_no_silent_hole(ring):
    ring.send(300)
    ring.store.take()
    ring.store.seal()
    path = next((ring.folder / "lake").rglob("trades-*.arrow"))
    path.write_bytes(b"ARROW1\0\0no")
    with pytest.raises(LakeError, match="cannot be read"):
        rows(ring, "SELECT count(*) FROM trades")
    assert rows(ring, "SELECT count(*) FROM books")[0][0] > 0


# ---- the commands


class Told(NamedTuple):
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def dcctl(ring, monkeypatch, capsys):
    """The command line, in this process: its start takes longer than what is tested."""

    def call(*arguments):
        lake = ["--lake", str(ring.folder / "lake")]
        monkeypatch.setattr(sys, "argv", ["dcctl", "lake", *arguments, *lake])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Told(int(ended.value.code or 0), told.out, told.err)

    return call


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    for name in ("run", "data", "logs"):
        monkeypatch.setenv(f"DC__paths__{name}", str(tmp_path / name))


@pytest.mark.usefixtures("own_folders")
def test_commands_end_to_end(ring, dcctl):
    record_in_all_forms(ring)
    told = dcctl("ls", "--json")
    assert told.returncode == 0, told.stderr
    listed = json.loads(told.stdout)
    assert listed["rows"] == sum(one["rows"] for one in listed["series"]) == 600
    assert {one["form"] for one in listed["files"]} == {"daily", "sealed", "open"}
    one = next(f for f in listed["files"] if f["form"] == "sealed" and f["table"] == "books")
    assert one["sequences"][0]["session"] == 5
    assert one["from"].startswith("2025-10-09T")
    assert "bytes/row" in dcctl("ls", "--channel", "books").stdout
    assert json.loads(dcctl("ls", "--to", "2020-01-01", "--json").stdout)["files"] == []

    shown = json.loads(dcctl("show", one["file"], "--json", "--limit", "2",
                             "--from", "400", "--columns", "tape_seq,price").stdout)  # fmt: skip
    assert shown["constants"]["symbol"] == one["symbol"]
    assert shown["rows"] == one["rows"]
    assert list(shown["records"][0]) == ["tape_seq", "price"]
    assert shown["records"][0]["tape_seq"] >= 400
    assert dcctl("show", one["file"], "--columns", "nope").returncode == 2
    assert "dcctl lake ls" in dcctl("show", "nope.arrow").stderr

    assert "as they should be" in dcctl("verify").stdout
    packed = json.loads(dcctl("compact", "--json").stdout)["packed"]
    assert sum(part["files"] for part in packed) == 4
    assert "nothing to pack" in dcctl("compact").stdout

    both = "SELECT tape_seq FROM trades UNION ALL SELECT tape_seq FROM books"
    sql = f"SELECT count(*) AS n, max(tape_seq) AS last FROM ({both})"
    assert json.loads(dcctl("query", sql, "--json").stdout) == [{"n": 600, "last": 600}]
    lines = list(csv.reader(dcctl("query", sql, "--csv").stdout.splitlines()))
    assert lines == [["n", "last"], ["600", "600"]]
    wrong = dcctl("query", "selec")
    assert (wrong.returncode, "syntax error" in wrong.stderr) == (2, True)

    ring.store.finish()
    next((ring.folder / "lake").rglob("books.parquet")).unlink()
    bad = dcctl("verify")
    assert bad.returncode == 1
    assert "fault: ring tape.bitfinex, session 5: " in bad.stderr
    assert json.loads(dcctl("verify", "--json").stdout)["ok"] is False


@pytest.mark.parametrize("form", ["open", "sealed", "daily"])
def test_a_record_view_begins_anywhere(ring, form):
    from processes.lake.show import metadata, records

    ring.send(900)
    ring.store.take()
    ring.store.flush()
    if form != "open":
        ring.store.seal()
    if form == "daily":
        compact(ring.folder / "lake", before="9999-01-01")
    ending = {"open": "*.part", "sealed": "*.arrow", "daily": "*.parquet"}[form]
    path = next(p for p in (ring.folder / "lake").rglob(ending) if "books" in p.name)
    file = describe(path)
    numbers = [row["tape_seq"] for row in records(file, limit=1000)]
    assert len(numbers) == file.rows
    for first in (1, 450, numbers[-1]):
        wanted = [number for number in numbers if number >= first][:3]
        assert [row["tape_seq"] for row in records(file, limit=3, first_seq=first)] == wanted
        by_time = records(file, limit=3, start_ns=NOW + first * 1000)
        assert [row["tape_seq"] for row in by_time] == wanted
    assert records(file, limit=3, first_seq=numbers[-1] + 1) == []
    assert metadata(file)["rows"] == len(numbers)


def test_the_recipes_of_the_page_are_right(ring):
    """Those lines of docs/lake.md whose programs are installed here, on a lake in all forms."""
    import duckdb
    from pyarrow import feather

    record_in_all_forms(ring)
    page = (ROOT / "docs" / "lake.md").read_text(encoding="utf-8")
    [line] = [line for line in page.splitlines() if line.startswith("duckdb.sql(")]
    sql = line.removeprefix('duckdb.sql("').removesuffix('")')
    found = duckdb.sql(sql.replace("data/lake", str(ring.folder / "lake"))).fetchall()
    assert [(str(day), symbol) for day, symbol, _ in sorted(found)] == [
        ("2025-10-09", "tBTCUSD"), ("2025-10-09", "tDOGE:USD"),
    ]  # fmt: skip
    assert "pyarrow.feather.read_table(path)" in page
    path = next((ring.folder / "lake").rglob("trades-*.arrow"))
    assert feather.read_table(path).num_rows == describe(path).rows
