"""The ring in one process: what is written is read, and what is lost is counted to the slot."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shm.atomics import read_word, write_word
from shm.errors import (
    DisplacedWriterError,
    LayoutMismatchError,
    NoRoomError,
    SharedMemoryError,
    TornReadError,
)
from shm.readers import ReadersPage, RingReader
from shm.ring import COMMITTED, RESERVE, ROWS, SLOTS, WRITER_EPOCH, RingWriter
from tests.helpers import TEST_LAYOUT, TEST_SLOT, make_ring, python, run_python, slots


def test_slots_come_out_as_they_went_in(instance):
    with make_ring(instance) as made:
        writer, reader = made.writer(), made.reader()
        writer.append(slots(5))
        writer.append(slots(3, start=5))
        got = reader.read()
        assert list(got["sequence"]) == list(range(1, 9))
        assert list(got["body"][:, 0]) == list(range(8))
        assert (reader.position, reader.lost, writer.committed) == (8, 0, 8)
        assert len(reader.read()) == 0


def test_a_block_larger_than_the_ring_leaves_its_end(instance):
    with make_ring(instance, capacity=64) as made:
        writer, reader = made.writer(), made.reader()
        writer.append(slots(1000))
        got = reader.read()
        assert reader.lost_before == reader.lost == 936
        assert list(got["body"][:, 0]) == list(range(936, 1000))


def test_reader_slower_than_writer_sees_gap_not_garbage(instance):
    with make_ring(instance, capacity=64) as made:
        writer, reader = made.writer(), made.reader()
        writer.append(slots(10))
        assert len(reader.read()) == 10
        writer.append(slots(100, start=10))
        got = reader.read()
        assert reader.lost_before == 36
        assert list(got["sequence"]) == list(range(47, 111))
        assert 10 + reader.lost + len(got) == reader.position == writer.committed


def test_a_late_reader_gets_what_is_there_and_a_tap_only_what_comes(instance):
    with make_ring(instance, capacity=64) as made:
        writer = made.writer()
        writer.append(slots(20))
        late, tap = made.reader("late"), made.reader("tap", start="newest", tap=True)
        assert len(late.read()) == 20
        assert len(tap.read()) == 0
        writer.append(slots(1))
        assert len(tap.read()) == 1


def test_a_reader_that_comes_back_goes_on_where_it_acknowledged(instance):
    with make_ring(instance) as made:
        writer, reader = made.writer(), made.reader()
        writer.append(slots(8))
        reader.read()
        reader.acknowledge()
        writer.append(slots(4))
        reader.read()  # not acknowledged: read again by the next life
        again = made.reader()
        assert list(again.read()["sequence"]) == [9, 10, 11, 12]
        assert again.row == reader.row


def test_a_name_has_one_living_reader(instance):
    with make_ring(instance) as made:
        program = (
            "import sys; from tests.helpers import *; from shm.segment import Segment;"
            f"r = TestRing(Segment.attach('dc.{instance}.t'), Segment.attach('dc.{instance}.t.r'));"
            "x = r.reader('other'); print('claimed', flush=True); sys.stdin.read()"
        )
        child = python("-c", program, stdin=-1)
        assert child.stdout.readline() == "claimed\n"
        with pytest.raises(SharedMemoryError, match="taken by process"):
            made.reader("other")
        child.kill()
        child.communicate()
        assert made.reader("other").position == 0


def test_a_dead_taps_row_is_given_to_the_next(instance):
    with make_ring(instance) as made:
        page = ReadersPage(made.page)
        program = (
            "from tests.helpers import *; from shm.segment import Segment;"
            f"r = TestRing(Segment.attach('dc.{instance}.t'), Segment.attach('dc.{instance}.t.r'));"
            f"[r.reader(f'tap{{i}}', tap=True) for i in range({ROWS})]"
        )
        done = run_python("-c", program)
        assert (done.stdout, done.stderr) == ("", "")
        assert len(list(page.rows())) == ROWS
        made.reader("new")
        assert "new" in {row.name for row in page.rows()}
        lasting = [made.reader(f"lasting{i}") for i in range(ROWS - 1)]
        with pytest.raises(NoRoomError):
            made.reader("one too many")
        lasting[0].release()
        made.reader("one too many")


def test_a_new_writer_displaces_the_old_and_goes_on_with_the_numbers(instance):
    with make_ring(instance) as made:
        first, reader = made.writer(), made.reader()
        first.append(slots(3))
        second = made.writer()
        with pytest.raises(DisplacedWriterError):
            first.append(slots(1))
        second.append(slots(2, start=3))
        assert list(reader.read()["sequence"]) == [1, 2, 3, 4, 5]
        assert read_word(made.ring.address + WRITER_EPOCH) == 2


def test_what_a_killed_writer_began_to_overwrite_stays_lost(instance):
    with make_ring(instance, capacity=64) as made:
        writer, reader = made.writer(), made.reader()
        writer.append(slots(64))
        # Killed after it had claimed 10 more and torn two of the slots under them.
        write_word(made.ring.address + RESERVE, 74)
        made.ring.buffer[SLOTS + 40 : SLOTS + 48] = b"garbage!"
        second = made.writer()
        got = reader.read()
        assert reader.lost == 10
        assert got["sequence"][0] == 11
        second.append(slots(1))
        assert list(reader.read()["sequence"]) == [65]


def test_a_wrong_stamp_is_a_bug_and_never_data(instance):
    with make_ring(instance) as made:
        writer, reader = made.writer(), made.reader()
        writer.append(slots(4))
        write_word(made.ring.address + SLOTS + 128, 99)
        with pytest.raises(TornReadError):
            reader.read()


def test_another_layout_is_refused(instance):
    with make_ring(instance) as made:
        with pytest.raises(LayoutMismatchError, match="this code reads"):
            RingReader(made.ring, made.page, TEST_SLOT, TEST_LAYOUT + 1, "x")
        with pytest.raises(LayoutMismatchError):
            RingWriter(made.page, made.page, TEST_SLOT, TEST_LAYOUT)


def test_recent_gives_the_newest_slots(instance):
    with make_ring(instance, capacity=64) as made:
        writer = made.writer()
        assert len(writer.recent(10)) == 0
        writer.append(slots(100))
        assert list(writer.recent(3)["sequence"]) == [98, 99, 100]
        assert len(writer.recent(1000)) == 64


def test_arming_is_refused_when_there_is_something_to_read(instance):
    with make_ring(instance) as made:
        writer, reader, other = made.writer(), made.reader("a"), made.reader("b")
        assert reader.arm()
        assert other.arm()
        armed = writer.append(slots(1))
        assert armed == (1 << reader.row) | (1 << other.row)
        assert not reader.arm()
        assert writer.append(slots(1)) == 0
        reader.read()
        assert reader.arm()
        reader.disarm()
        assert writer.append(slots(1)) == 0


def test_readers_work_on_a_read_only_map(instance):
    from shm.segment import Segment

    with make_ring(instance) as made:
        writer = made.writer()
        writer.append(slots(2))
        view = Segment.attach(made.ring.name, writable=False)
        reader = RingReader(view, made.page, TEST_SLOT, TEST_LAYOUT, "tap", tap=True)
        assert len(reader.read()) == 2
        view.close()


class RingMachine(RuleBasedStateMachine):
    """Any order of writing, reading, restarting: a reader gets good slots or an exact count."""

    def __init__(self) -> None:
        super().__init__()
        import secrets

        self.manager = make_ring(secrets.token_hex(3), capacity=64)
        self.made = self.manager.__enter__()
        self.written = 0
        self.writer = self.made.writer()
        self.readers = {name: self.made.reader(name) for name in ("a", "b")}
        self.got = dict.fromkeys(self.readers, 0)

    @rule(count=st.integers(1, 90))
    def write(self, count: int) -> None:
        self.writer.append(slots(count, start=self.written))
        self.written += count

    @rule(name=st.sampled_from(["a", "b"]))
    def read(self, name: str) -> None:
        reader = self.readers[name]
        before = reader.position
        block = reader.read()
        assert list(block["body"][:, 0]) == list(
            range(reader.position - len(block), reader.position)
        )
        assert reader.position == before + reader.lost_before + len(block) == self.written
        self.got[name] += len(block)
        reader.acknowledge()

    @rule(name=st.sampled_from(["a", "b"]))
    def restart_reader(self, name: str) -> None:
        self.readers[name] = self.made.reader(name)

    @rule(claimed=st.integers(0, 16))
    def kill_writer(self, claimed: int) -> None:
        reserve = max(read_word(self.made.ring.address + RESERVE), self.written + claimed)
        write_word(self.made.ring.address + RESERVE, reserve)
        self.writer = self.made.writer()

    @invariant()
    def nothing_is_unaccounted(self) -> None:
        assert read_word(self.made.ring.address + COMMITTED) == self.written
        for name, reader in self.readers.items():
            assert self.got[name] + reader.lost == reader.position

    def teardown(self) -> None:
        self.writer = None
        self.readers.clear()
        self.manager.__exit__(None, None, None)


TestRingMachine = RingMachine.TestCase
TestRingMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_slot_array_must_fit(instance):
    with make_ring(instance) as made, pytest.raises(AssertionError):
        made.writer().append(np.zeros(3, np.int64))
