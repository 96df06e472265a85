"""Compaction: the same rows in another form, whatever is killed, and never one twice."""

import random
import secrets
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from processes.clock import day_of
from processes.lake import compact as module
from processes.lake.compact import compact
from processes.lake.files import Wanted
from processes.lake.verify import Verification
from processes.lake_files import PART, batches, counting, describe, folders_of
from schemas.errors import LakeError
from schemas.instruments import Stream
from schemas.lake import SCHEMAS
from schemas.tape import Kind
from tests.dying import run_and_kill
from tests.lakes import NOW, TABLES, Ring, counted_sequences, tape_slots

DAY = day_of(NOW)
ALL = "9999-01-01"
STEPS = [(module, "_write"), (module, "_prove"), (module, "describe")]


@pytest.fixture
def ring(tmp_path, instance):
    made = Ring(tmp_path, instance)
    yield made
    made.close()


def pack(ring, before=ALL, **wanted):
    return compact(ring.folder / "lake", before=before, wanted=Wanted(**wanted))


def record(ring, count):
    ring.send(count)
    ring.store.take()
    ring.store.seal()


def names(ring, ending):
    return sorted(path.name for path in (ring.folder / "lake").rglob(f"*{ending}"))


def content(ring) -> dict[tuple, tuple]:
    """Every row of every file that counts, by venue, folder, session and sequence."""
    found = {}
    for folder in folders_of(ring.folder / "lake"):
        for file in counting(folder):
            sessions = [one.session for one in file.pieces for _ in range(one.rows)]
            rows = [row for batch in batches(file) for row in batch.to_pylist()]
            assert len(rows) == len(sessions)
            for row, session in zip(rows, sessions, strict=True):
                key = (str(folder.parent.name), file.table, session, row["tape_seq"])
                assert key not in found
                found[key] = tuple(map(repr, row.values()))
    return found


def check(ring):
    report = Verification(ring.folder / "lake", ring.folder / "journal", running=True).run()
    assert report.faults == []
    return report


def test_a_day_becomes_one_file_a_series_with_the_same_rows(ring):
    for count in (500, 1, 300):
        record(ring, count)
    before = content(ring)
    packed = pack(ring)
    assert sum(one.rows for one in packed) == 801
    assert names(ring, ".arrow") == []
    assert names(ring, ".parquet") == ["books.parquet", "books.parquet", "trades.parquet",
                                       "trades.parquet"]  # fmt: skip
    assert content(ring) == before
    check(ring)
    assert pack(ring) == []


def test_what_others_see_in_a_daily_file(ring):
    record(ring, 800)
    ring.open(session=6)
    ring.send(50)
    pack(ring)
    path = next((ring.folder / "lake").rglob("tBTCUSD/**/books.parquet"))
    told = pq.read_metadata(path)
    table = pq.read_table(path)
    assert table.schema.names == ["session", "venue", "symbol", "pair", "suffix",
                                  *SCHEMAS["books"].names]  # fmt: skip
    assert set(table["venue"].to_pylist()) == {"bitfinex"}
    assert set(table["symbol"].to_pylist()) == {"tBTCUSD"}
    keys = list(zip(table["session"].to_pylist(), table["tape_seq"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    column = told.row_group(0).column(table.schema.get_field_index("tape_seq"))
    assert column.compression == "ZSTD"
    assert (column.statistics.min, column.statistics.max) == (keys[0][1], keys[-1][1])
    metadata = {key.decode(): value.decode() for key, value in told.metadata.items()}
    assert metadata["precision"] == "P0"
    assert metadata["channel"] == "books"


def test_days_to_come_and_open_files_stay(ring):
    record(ring, 300)
    ring.send(100)
    ring.store.take()
    ring.store.flush()
    assert pack(ring, before=DAY) == []
    assert sum(one.rows for one in pack(ring)) == 300
    assert len(names(ring, PART)) == 4
    assert counted_sequences(ring.folder / "lake") == list(range(1, 401))
    check(ring)


def test_only_the_series_that_are_wanted(ring):
    record(ring, 300)
    packed = pack(ring, channel="trades", symbol="DOGE/USD")
    assert [one.file.rpartition("/")[2] for one in packed] == ["trades.parquet"]
    assert len(names(ring, ".arrow")) == 3


def test_a_day_that_got_more_is_packed_again_with_what_it_has(ring):
    record(ring, 400)
    pack(ring)
    record(ring, 200)
    before = content(ring)
    assert counted_sequences(ring.folder / "lake") == list(range(1, 601))
    packed = pack(ring)
    assert {one.files for one in packed} == {1}
    assert content(ring) == before
    assert names(ring, ".arrow") == []
    check(ring)


def test_storage_knows_what_was_packed(ring):
    """Killed after a compaction, its journal still full: nothing is written a second time."""
    ring.send(700)
    ring.store.take()
    ring.store.flush()
    ring.store.lake.seal_all()  # sealed, and the journal not yet dropped
    pack(ring)
    store = ring.open()
    store.flush()
    assert store.lake.rows == 0
    ring.send(50)
    store.take()
    store.finish()
    assert counted_sequences(ring.folder / "lake") == list(range(1, 751))
    check(ring)


def test_two_streams_in_one_folder_keep_what_tells_them_apart(ring, monkeypatch):
    """Lengths 25 and 100 of one precision: rows in turns, each with its own constants."""
    longer = Stream(index=2, channel="books", precision="P0", length=100)
    monkeypatch.setattr(TABLES, "streams", [*TABLES.streams[:2], longer])
    slots = tape_slots(3000)
    slots["instrument"] = 0
    slots["stream"] = np.where(np.arange(3000) % 3, 2, 0)
    slots["kind"] = Kind.BOOK_LEVEL
    for first in range(0, 3000, 1000):
        ring.store.lake.write(slots[first : first + 1000])
        ring.store.lake.seal_all()
    [one] = pack(ring)
    table = pq.read_table(ring.folder / "lake" / one.file)
    assert table["tape_seq"].to_pylist() == list(range(1, 3001))
    lengths = np.array(table["length"].to_pylist())
    assert ((lengths == "100") == (np.arange(3000) % 3 > 0)).all()
    again = ring.open()
    again.lake.write(slots)
    assert again.lake.rows == 0


def test_bits_that_compare_equal_and_are_not_the_same(ring):
    """A NaN's own bits, and the sign of zero, come through."""
    slots = tape_slots(4)
    slots["instrument"] = slots["stream"] = 0
    slots["kind"] = Kind.BOOK_LEVEL
    slots["price"].view(np.uint64)[:] = [0x7FF8000000000123, 0x8000000000000000, 0, 1]
    ring.store.lake.write(slots)
    ring.store.lake.seal_all()
    [one] = pack(ring)
    prices = pq.read_table(ring.folder / "lake" / one.file)["price"].to_numpy()
    assert prices.view(np.uint64).tolist() == slots["price"].view(np.uint64).tolist()


def altered(column, change):
    def write(path, schema, rows, real=module._write):
        def changed():
            for batch in rows:
                index = schema.get_field_index(column)
                yield batch.set_column(index, schema.field(index), change(batch.column(index)))

        real(path, schema, changed())

    return write


def loses_rows(path, schema, rows, real=module._write):
    real(path, schema, (batch.slice(0, len(batch) - 1) for batch in rows))


@pytest.mark.parametrize(
    "write",
    [
        loses_rows,
        altered("price", lambda column: pa.array(column.to_numpy() + 1e-9)),
        altered("tape_seq", lambda column: pa.array(column.to_numpy() + np.uint64(1))),
        altered("venue", lambda column: pa.array(["kraken"] * len(column)).dictionary_encode()),
    ],
    ids=["a row less", "a price", "a sequence", "a constant"],
)  # fmt: skip
def test_what_is_not_the_same_removes_nothing(ring, monkeypatch, write):
    record(ring, 500)
    before = content(ring)
    monkeypatch.setattr(module, "_write", write)
    with pytest.raises(LakeError, match="nothing was removed"):
        pack(ring)
    assert content(ring) == before
    assert names(ring, ".parquet") == names(ring, ".packing") == []


def test_killed_at_any_step_of_a_compaction(ring, seed, long_run):
    """Again and again on one lake: rows are there once at each instant, for every tool."""
    draw = random.Random(seed)
    for count in (300, 200):
        record(ring, count)
    template = ring.folder / "template"
    shutil.copytree(ring.folder / "lake", template)
    before = content(ring)
    steps = run_and_kill(lambda: pack(ring), ring.folder, 0, STEPS)
    assert steps > 30
    wanted = range(1, steps + 1) if long_run else draw.sample(range(1, steps + 1), 7)
    for at in wanted:
        shutil.rmtree(ring.folder / "lake")
        shutil.copytree(template, ring.folder / "lake")
        assert run_and_kill(lambda: pack(ring), ring.folder, at, STEPS) == 0
        assert content(ring) == before
        check(ring)
        pack(ring)
        assert content(ring) == before
        assert check(ring).leftovers == []
        assert names(ring, ".arrow") == []


def test_a_name_that_comes_again_is_another_file(ring):
    """Packed and removed, then another sealed file of the same second and name."""
    record(ring, 100)
    pack(ring)
    old = set(names(ring, ".parquet"))
    slots = tape_slots(40, first=101)
    slots["recv_ns"] = NOW + 1000
    ring.store.lake.write(slots)
    ring.store.lake.seal_all()
    assert counted_sequences(ring.folder / "lake") == list(range(1, 141))
    pack(ring)
    assert counted_sequences(ring.folder / "lake") == list(range(1, 141))
    assert set(names(ring, ".parquet")) == old


def test_a_part_whose_sealed_form_was_packed_does_not_count(ring):
    """Died between the rename and the removal of the part; packed before the next start."""
    ring.send(300)
    ring.store.take()
    ring.store.flush()
    parts = {path: path.read_bytes() for path in (ring.folder / "lake").rglob(f"*{PART}")}
    ring.store.lake.seal_all()
    pack(ring)
    for path, body in parts.items():
        path.write_bytes(body)
    assert counted_sequences(ring.folder / "lake") == list(range(1, 301))
    ring.open().finish()
    assert counted_sequences(ring.folder / "lake") == list(range(1, 301))
    check(ring)


def test_without_room_nothing_is_removed(ring, monkeypatch):
    record(ring, 300)
    before = content(ring)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_prove", full)
    with pytest.raises(OSError, match="No space"):
        pack(ring)
    assert content(ring) == before
    assert names(ring, ".packing") == []


actions = some.lists(
    some.one_of(
        some.tuples(some.just("send"), some.integers(1, 120)),
        some.tuples(some.sampled_from(["flush", "seal", "pack", "reopen"]), some.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(actions)
def test_whatever_the_order_every_row_is_there_once(tmp_path_factory, steps):
    ring = Ring(tmp_path_factory.mktemp("any"), secrets.token_hex(3))
    try:
        for what, count in steps:
            if what == "send":
                ring.send(count)
                ring.store.take()
            elif what == "pack":
                ring.store.flush()
                pack(ring)
            elif what == "reopen":
                ring.open()
            else:
                getattr(ring.store, what)()
        ring.store.finish()
        assert counted_sequences(ring.folder / "lake") == list(range(1, ring.sent + 1))
        check(ring)
    finally:
        ring.close()


def test_groups_are_of_one_size(ring, monkeypatch):
    monkeypatch.setattr(module, "GROUP_ROWS", 100)
    record(ring, 900)
    pack(ring)
    path = next((ring.folder / "lake").rglob("books.parquet"))
    told = pq.read_metadata(path)
    sizes = [told.row_group(n).num_rows for n in range(told.num_row_groups)]
    assert set(sizes[:-1]) == {100}
    assert describe(path).rows == sum(sizes)
