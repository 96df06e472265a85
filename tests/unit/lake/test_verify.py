"""What verify must find, each fault with what to do, and what it must not take for one."""

import shutil
import threading
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from processes.lake import lock, verify
from processes.lake.sequences import CHUNK_BITS, SequenceSet, length, without
from processes.lake.verify import Verification
from processes.lake_files import PART
from processes.storage import lake as lake_module
from schemas.errors import OperatorError
from tests.lakes import Ring


@pytest.fixture
def ring(tmp_path, instance):
    made = Ring(tmp_path, instance)
    yield made
    made.close()


def look(ring, **options) -> verify.Report:
    return Verification(ring.folder / "lake", ring.folder / "journal", **options).run()


def recorded(ring, count=600) -> list:
    ring.send(count)
    ring.store.take()
    ring.store.seal()
    return sorted((ring.folder / "lake").rglob("*.arrow"))


def test_a_whole_lake_is_as_it_should_be(ring):
    recorded(ring)
    ring.send(100)
    ring.store.take()
    ring.store.flush()
    report = look(ring, running=True)
    assert report.faults == []
    assert report.holes == []
    assert report.leftovers == []
    assert report.rows == 700
    assert report.files == 8
    [told] = report.rings
    assert (told.ring, told.session, told.rows, told.last) == ("tape.bitfinex", 5, 700, 700)


def test_a_truncated_file_is_named_and_its_rows_are_missed(ring):
    path = recorded(ring)[0]
    ring.store.finish()
    path.write_bytes(path.read_bytes()[:-200])
    report = look(ring)
    assert [fault.where for fault in report.faults] == [
        str(path.relative_to(ring.folder / "lake").parent),
        "ring tape.bitfinex, session 5",
    ]
    assert str(path) in report.faults[0].what
    assert "restore it" in report.faults[0].do
    assert "in no file" in report.faults[1].what


def test_a_broken_block_is_found_though_the_footer_is_whole(ring):
    path = recorded(ring)[0]
    ring.store.finish()
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    faults = look(ring).faults
    assert faults
    assert path.name in faults[0].where + faults[0].what


def test_a_removed_file_is_a_hole_that_nothing_explains(ring):
    path = recorded(ring)[0]
    ring.store.finish()
    path.unlink()
    report = look(ring)
    [fault] = report.faults
    assert "rows are in no file" in fault.what
    assert "restore" in fault.do
    assert {hole.reason for hole in report.holes} == {""}
    assert report.rings[0].missing == 600 - report.rings[0].rows > 0


def test_a_copied_file_doubles_its_rows(ring):
    path = recorded(ring)[0]
    ring.store.finish()
    shutil.copy(path, path.with_name(path.name.replace(".arrow", "-2.arrow")))
    report = look(ring)
    [fault] = report.faults
    assert "are there twice" in fault.what
    assert report.rings[0].doubled == report.rows - 600 > 0


def rewrite(path, change) -> None:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    table = change(table)
    path.unlink()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def lies(table):
    return table.replace_schema_metadata({**table.schema.metadata, b"last_seq": b"7"})


def loses_a_row(table):
    return pa.concat_tables([table.slice(0, 10), table.slice(11)]).combine_chunks()


def turns_round(table):
    return table.take(list(reversed(range(len(table))))).combine_chunks()


def drops_a_column(table):
    return table.drop_columns(["price"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lies, "to 7, and has"),
        (loses_a_row, "it says"),
        (turns_round, "do not rise"),
        (drops_a_column, "its columns are not those"),
    ],
)
def test_a_file_that_is_not_what_it_says(ring, change, said):
    path = recorded(ring)[0]
    ring.store.finish()
    rewrite(path, change)
    assert any(said in fault.what and fault.do for fault in look(ring).faults)


def test_rows_that_only_the_journal_has_are_no_fault(ring, monkeypatch):
    """A crash in the middle of a pass: some series have it, some do not."""
    recorded(ring)
    ring.send(900)
    ring.store.take()
    real, written = lake_module.Series.write, []

    def dies(self, *arguments):
        written.append(1)
        if len(written) == 3:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(lake_module.Series, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        ring.store.flush()
    report = look(ring)
    assert report.faults == []
    assert {hole.reason for hole in report.holes} == {"in the journal"}
    assert {left.what for left in report.leftovers} == {"open: sealed by the next dcctl start"}


def test_the_journal_explains_only_what_comes_in_by_itself(ring, monkeypatch):
    """A file that was removed while the journal still has its rows: nobody writes them again."""
    path = recorded(ring)[0]
    monkeypatch.setattr(verify, "PASS_SLOTS", 50)
    path.unlink()
    [fault] = look(ring, running=True).faults
    assert "rows are in no file" in fault.what
    assert "dcctl start" in fault.do


def test_leftovers_are_named_and_removed_when_asked(ring):
    path = recorded(ring)[0]
    ring.store.finish()
    sealing = path.with_name(f".{path.name}.sealing")
    packing = path.with_name(".books.parquet.packing")
    for leftover in (sealing, packing):
        leftover.write_bytes(b"half")
    report = look(ring)
    assert report.faults == []
    assert {left.file.rpartition("/")[2] for left in report.leftovers} == {
        sealing.name,
        packing.name,
    }
    assert len(look(ring, running=True).leftovers) == 1  # a seal may be under way
    assert all(left.removed for left in look(ring, fix=True).leftovers)
    assert not sealing.exists()
    assert not packing.exists()
    assert look(ring).leftovers == []


def test_one_session_alone(ring):
    recorded(ring, 300)
    ring.store.finish()
    report = look(ring, session=6)
    assert (report.files, report.rings) == (0, [])
    assert look(ring, session=5).rows == 300


def test_no_verify_while_a_compaction_works(ring):
    recorded(ring)
    with (
        lock.hold(ring.folder / "lake", alone=True),
        pytest.raises(OperatorError, match="wait for"),
    ):
        look(ring)


def test_verify_beside_a_busy_storage_finds_no_fault(ring):
    """Files are opened, sealed and removed while they are read."""
    stop, rounds = threading.Event(), 0

    def record():
        while not stop.is_set():
            ring.send(150)
            ring.store.take()
            ring.store.flush()
            ring.store.seal() if ring.sent % 450 == 0 else None

    thread = threading.Thread(target=record)
    recorded(ring)
    thread.start()
    try:
        while rounds < 8 or not list((ring.folder / "lake").rglob(f"*{PART}")):
            report = look(ring, running=True)
            assert report.faults == []
            rounds += 1
    finally:
        stop.set()
        thread.join()


@settings(max_examples=25)
@given(
    some.lists(some.sets(some.integers(1, 3 * CHUNK_BITS), min_size=1, max_size=50), max_size=6),
    some.integers(1, 3 * CHUNK_BITS),
)
def test_sequences_are_counted_as_a_set_counts_them(blocks, last):
    seen, mine = SequenceSet(), set()
    for block in blocks:
        assert seen.add(np.array(sorted(block), np.uint64)) == len(mine & block)
        mine |= block
    assert seen.count == len(mine)
    assert seen.last == max(mine, default=0)
    missing = seen.missing(last)
    assert length(missing) == last - len([n for n in mine if n <= last])
    assert not any(low <= n <= high for n in mine for low, high in missing)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(missing))


intervals = some.lists(
    some.tuples(some.integers(1, 60), some.integers(0, 12)).map(lambda p: (p[0], p[0] + p[1])),
    max_size=6,
)


@given(intervals, intervals)
def test_without_leaves_what_no_cover_reaches(covers, wanted):
    disjoint = without([(1, 100)], wanted)

    def numbers(parts):
        return {n for low, high in parts for n in range(low, high + 1)}

    assert numbers(without(disjoint, covers)) == numbers(disjoint) - numbers(covers)


def test_sealed_files_say_when_they_begin_and_end(ring):
    for path in recorded(ring):
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        told = table.schema.metadata
        times = table["recv_ns"].to_pylist()
        assert (int(told[b"first_ns"]), int(told[b"last_ns"])) == (times[0], times[-1])
