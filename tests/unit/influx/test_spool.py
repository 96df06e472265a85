"""The spool: what was appended comes back in order, whatever ends the process and tears its
files."""

import os
import zlib
from pathlib import Path

import pytest
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processes.influx import spool as spool_module
from processes.influx.accumulator import Accumulator, Batch
from processes.influx.lines import Bucket, Lines
from processes.influx.spool import MAGIC, RECORD, Spool, hold, lock_owner, look, segment_sizes
from schemas.errors import OperatorError
from schemas.settings import InfluxSettings
from tests.helpers import python
from tests.instances import short_folder

NOW = 1_790_000_000_000_000_000


def batch(number: int, lines: int = 2, bucket: Bucket = Bucket.FAST) -> Batch:
    text = b"\n".join(b"m,a=b v=%d %d" % (number, index) for index in range(lines))
    return Batch(bucket, text, lines, NOW + number)


def open_spool(folder: Path, segment=4096, cap=1 << 20, now=NOW) -> Spool:
    return Spool(folder, segment, cap, now)


def take_all(spool: Spool) -> list[Batch]:
    found = []
    while (record := spool.next_backlog() or spool.next_live()) is not None:
        found.append(record.batch)
        spool.done(record)
    return found


def test_a_batch_comes_back_as_it_was_and_is_gone_when_done(tmp_path):
    spool = open_spool(tmp_path)
    kept = [batch(n, bucket=Bucket(n % 3)) for n in range(10)]
    for one in kept:
        spool.append(one)
    first = spool.next_live()
    assert first is not None
    assert spool.next_live() == first  # given out again until it is done
    assert take_all(spool) == kept
    assert spool.is_empty
    spool.close()
    assert segment_sizes(tmp_path) == {}


def test_a_restart_gives_back_what_was_not_done_and_nothing_else(tmp_path):
    spool = open_spool(tmp_path, segment=200)
    for number in range(20):
        spool.append(batch(number))
    for _ in range(7):
        record = spool.next_live()
        assert record is not None
        spool.done(record)
    again = open_spool(tmp_path, now=NOW + 5)  # the first is simply gone, as after SIGKILL
    again.append(batch(99))
    assert again.next_live().batch == batch(99)
    assert [one.newest_ns - NOW for one in take_all(again)] == [*range(7, 20), 99]
    assert again.damaged == 0


def test_after_an_outage_new_batches_do_not_wait_for_old_ones(tmp_path):
    spool = open_spool(tmp_path)
    for number in range(3):
        spool.append(batch(number))
    spool.split()
    spool.append(batch(3))
    assert spool.next_live().batch == batch(3)
    spool.done(spool.next_live())
    assert spool.next_live() is None
    spool.split()
    assert [one.newest_ns - NOW for one in take_all(spool)] == [0, 1, 2]


@pytest.mark.parametrize("cut", [1, 5, RECORD.size - 1, RECORD.size, RECORD.size + 3])
def test_a_torn_tail_is_skipped_and_counted(tmp_path, cut):
    spool = open_spool(tmp_path)
    for number in range(3):
        spool.append(batch(number))
    (path,) = tmp_path.glob("*.spool")
    whole = path.stat().st_size
    spool.append(batch(3))
    os.truncate(path, whole + cut)
    again = open_spool(tmp_path, now=NOW + 5)
    again.append(batch(4))
    assert [one.newest_ns - NOW for one in take_all(again)] == [0, 1, 2, 4]
    assert again.damaged == 1


def test_a_damaged_record_in_the_middle_costs_itself(tmp_path):
    spool = open_spool(tmp_path)
    for number in range(3):
        spool.append(batch(number))
    (path,) = tmp_path.glob("*.spool")
    content = bytearray(path.read_bytes())
    size = RECORD.size + len(zlib.compress(batch(0).body, 1))
    content[len(MAGIC) + size + RECORD.size + 1] ^= 0xFF
    path.write_bytes(content)
    again = open_spool(tmp_path, now=NOW + 5)
    assert [one.newest_ns - NOW for one in take_all(again)] == [0, 2]
    assert again.damaged == 1


def test_beyond_its_bound_the_oldest_segment_goes_and_its_unsent_lines_are_counted(tmp_path):
    spool = open_spool(tmp_path, segment=300, cap=1000)
    for number in range(40):
        spool.append(batch(number, lines=3))
        if number == 0:
            spool.done(spool.next_live())
    assert sum(segment_sizes(tmp_path).values()) <= 1000
    left = take_all(spool)
    assert 0 < len(left) < 39
    assert [one.newest_ns - NOW for one in left] == list(range(40 - len(left), 40))
    assert spool.dropped_lines == 3 * (39 - len(left))


def test_a_batch_that_was_dropped_while_it_was_sent_does_no_harm(tmp_path):
    spool = open_spool(tmp_path, segment=300, cap=1000)
    spool.append(batch(0))
    record = spool.next_live()
    for number in range(1, 40):
        spool.append(batch(number))
    spool.done(record)
    left = take_all(spool)
    assert left[-1] == batch(39)
    assert batch(0) not in left


def test_a_disk_that_is_full_keeps_nothing_of_a_batch(tmp_path, monkeypatch):
    spool = open_spool(tmp_path)
    spool.append(batch(0))
    real = os.write
    calls = []

    def short(file: int, content: bytes) -> int:
        calls.append(len(content))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(file, bytes(content)[:20])

    monkeypatch.setattr(spool_module.os, "write", short)
    with pytest.raises(OSError, match="No space"):
        spool.append(batch(1))
    monkeypatch.undo()
    spool.append(batch(2))
    assert take_all(spool) == [batch(0), batch(2)]
    assert spool.damaged == 0


def test_a_lost_cursor_means_that_everything_is_sent_again(tmp_path):
    spool = open_spool(tmp_path)
    for number in range(4):
        spool.append(batch(number))
    spool.done(spool.next_live())
    for content in (None, b"{half"):
        path = tmp_path / "cursor"
        path.unlink() if content is None else path.write_bytes(content)
        again = open_spool(tmp_path, now=NOW + 5)
        assert again.next_backlog().batch == batch(0)


def test_one_process_at_a_time(tmp_path):
    with hold(tmp_path):
        assert lock_owner(tmp_path) == str(os.getpid())
        code = f"from processes.influx.spool import hold\nfrom pathlib import Path\n\
with hold(Path({str(tmp_path)!r})): print('held')"
        child = python("-c", code)
        said, errors = child.communicate(timeout=60)
        assert "held" not in said
        assert f"process {os.getpid()} already" in errors
    assert lock_owner(tmp_path) == ""
    with pytest.raises(OperatorError, match="already"), hold(tmp_path), hold(tmp_path):
        pass


def test_looking_from_outside_shows_what_waits(tmp_path):
    assert look(tmp_path).bytes == 0
    spool = open_spool(tmp_path, segment=200)
    for number in range(9):
        spool.append(batch(number))
    spool.done(spool.next_live())
    assert look(tmp_path).bytes == spool.pending.bytes > 0
    assert look(tmp_path).oldest_ns == NOW
    assert look(tmp_path).segments == spool.pending.segments > 2
    take_all(spool)
    assert look(tmp_path).bytes == 0


def test_a_segment_that_its_sender_takes_away_meanwhile_is_none(tmp_path, monkeypatch):
    (tmp_path / "2.spool").write_bytes(b"here")
    monkeypatch.setattr(
        Path, "glob", lambda folder, _: iter([folder / "1.spool", folder / "2.spool"])
    )
    assert segment_sizes(tmp_path) == {2: 4}


class SpoolMachine(RuleBasedStateMachine):
    """Appends, acknowledgements, outages, kills and torn tails in any order, against a list."""

    @initialize()
    def begin(self):
        self.context = short_folder()
        self.folder = self.context.__enter__()
        self.lives = 0
        self.next = 0
        self.waiting: list[int] = []
        self.damaged = 0
        self.open()

    def open(self):
        self.lives += 1
        self.spool = open_spool(self.folder, segment=250, now=NOW + self.lives)
        self.in_this_life: list[int] = []

    @rule(lines=st.integers(1, 6))
    def append(self, lines):
        self.spool.append(batch(self.next, lines))
        self.waiting.append(self.next)
        self.in_this_life.append(self.next)
        self.next += 1

    @rule(backlog=st.booleans())
    def send_one(self, backlog):
        record = self.spool.next_backlog() if backlog else self.spool.next_live()
        if record is not None:
            number = record.batch.newest_ns - NOW
            assert number in self.waiting
            if backlog:
                assert number == min(self.waiting)
            assert record.batch == batch(number, record.batch.lines)
            self.waiting.remove(number)
            self.spool.done(record)

    @rule()
    def split(self):
        self.spool.split()

    @rule()
    def kill(self):
        self.open()

    @precondition(lambda self: self.in_this_life and self.in_this_life[-1] in self.waiting)
    @rule(share=st.floats(0.01, 0.99))
    def tear(self, share):
        """A loss of power takes a part of the newest record."""
        number = self.in_this_life[-1]
        record = None
        while (found := self.spool.next_live()) is not None:
            record = found
            if found.batch.newest_ns - NOW == number:
                break
            self.waiting.remove(found.batch.newest_ns - NOW)
            self.spool.done(found)
        if record is None:  # it is backlog already
            return
        path = self.folder / f"{record.position.segment:020d}.spool"
        length = record.end.offset - record.position.offset
        os.truncate(path, record.position.offset + max(int(share * length), 1))
        self.waiting.remove(number)
        self.open()

    @invariant()
    def nothing_is_forgotten_or_kept(self):
        pending = self.spool.pending
        assert (pending.bytes > 0) >= bool(self.waiting)
        assert pending.segments <= len(segment_sizes(self.folder))

    def teardown(self):
        found = [one.newest_ns - NOW for one in take_all(self.spool)]
        assert sorted(found) == sorted(self.waiting)
        self.spool.close()
        assert segment_sizes(self.folder) == {}
        self.context.__exit__(None, None, None)


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = given_settings(max_examples=60, stateful_step_count=30, deadline=None)


def lines_of(count: int, size: int = 20, first: int = 0) -> Lines:
    lines = [b"m v=%d %d" % (first + n, n) for n in range(count)]
    return Lines(Bucket.LOGS, [line.ljust(size, b"0") for line in lines], NOW)


def test_a_batch_is_full_by_lines_by_bytes_or_by_time():
    accumulator = Accumulator(InfluxSettings(flush_lines=10, flush_bytes=1024, flush_ms=50))
    assert not accumulator.due(1.0)
    accumulator.add(lines_of(4), 1.0)
    assert not accumulator.due(1.04)
    assert accumulator.due(1.051)
    accumulator.close_all()
    assert accumulator.pop().lines == 4
    accumulator.add(lines_of(25), 2.0)
    assert accumulator.due(2.0)
    accumulator.close_all()
    assert [accumulator.pop().lines for _ in range(3)] == [10, 10, 5]
    accumulator.add(lines_of(5, size=500), 3.0)
    accumulator.close_all()
    batches = [accumulator.pop() for _ in range(3)]
    assert [one.lines for one in batches] == [2, 2, 1]
    assert all(len(one.body) <= 1024 for one in batches)
    assert accumulator.is_empty
    assert (accumulator.made, accumulator.dropped) == (34, 0)


def test_batches_that_nobody_takes_are_bounded_and_the_dropped_ones_counted():
    accumulator = Accumulator(InfluxSettings(flush_lines=1000, pending_bytes=1_000_000))
    for number in range(40):
        accumulator.add(lines_of(1000, size=100, first=number * 1000), 1.0)
    kept = []
    while accumulator.first is not None:
        kept.append(accumulator.pop())
    assert sum(len(one.body) for one in kept) <= 1_000_000
    assert sum(one.lines for one in kept) + accumulator.dropped == accumulator.made == 40_000
    assert kept[-1].body.startswith(b"m v=39000 ")
