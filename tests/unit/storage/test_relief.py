"""A store whose disk is slow: steps down and back, and what its lake is worth afterwards.

The slowness is put into the journal's write: while one is under way, the market goes on. All else
is the real thing, down to the ring and the files.
"""

import errno

import numpy as np
import pytest

from processes.lake.verify import Report, Verification
from processes.lake_holes import BY_DESIGN, FOLDER, TOPS, UNKNOWN, Hole, read_holes
from processes.recordings.books import Books
from processes.recordings.rows import read_ring
from processes.recordings.slots import Indices
from processes.recordings.tapes import tape_slots
from processes.storage import journal as journal_module
from processes.storage import relief as relief_module
from processes.storage import spans as spans_module
from processes.storage.history_sources import JournalSource, Place
from processes.storage.main import outside_load
from processes.storage.pressure import Step
from schemas import tape
from schemas.layout import join
from schemas.settings import PressureSettings
from schemas.tape import Flag
from tests.books import Market, check_kept
from tests.lakes import TABLES, Ring

RING = "tape.bitfinex"
LEVELS = 2
PRESSURE = PressureSettings(sample_ms=2000, back_after_s=1.0, top_levels=LEVELS)


class SlowDisk:
    """A store, and a market that goes on while the store writes."""

    def __init__(self, folder, instance, monkeypatch) -> None:
        self.now_s = 100.0
        self.share = 0.0
        """So many slots come while one is written."""
        self.sent: list[np.ndarray] = []
        self._due = 0
        self.market = Market(11, levels=60)
        self.ring = Ring(folder, instance, PRESSURE)
        self._real = journal_module._write_all
        monkeypatch.setattr(journal_module, "_write_all", self._write)
        monkeypatch.setattr(relief_module, "monotonic_s", lambda: self.now_s)

    def _write(self, file, content) -> None:
        self._real(file, content)
        self.send(int(len(content) // 256 * self.share))

    def send(self, count: int) -> None:
        """So many slots, over all calls, as long as the ring has room."""
        self._due += count
        behind = self.ring.store.behind
        while self._due > 0 and behind < 3900:
            slots = self.market.slots(8)
            self.ring.writer.append(slots)
            self.sent.append(slots)
            self._due -= len(slots)
            behind += len(slots)

    def turns(self, count: int, *, share: float, waits: bool = False) -> None:
        """Let so many passes of storage go by."""
        self.share = share
        for _ in range(count):
            self.send(60)
            self.now_s += 0.1
            if waits:
                self.now_s += 3.0
            self.ring.store.take()

    def fall_behind(self, load: float) -> None:
        """A disk that stands still until so much of the ring is waiting."""
        self.send(int(load * 4096) - self.ring.store.behind)

    @property
    def relief(self):
        return self.ring.store.relief


@pytest.fixture
def slow(tmp_path, instance, monkeypatch):
    made = SlowDisk(tmp_path, instance, monkeypatch)
    yield made
    made.ring.close()


def verify(folder) -> Report:
    return Verification(folder / "lake", folder / "journal").run()


def lake_slots(folder) -> np.ndarray:
    parts = read_ring(folder / "lake", "bitfinex/websocket", 5)
    indices, books = Indices(TABLES), Books(len(TABLES.instruments))
    return join([tape_slots(part, indices, books) for part in parts], tape.SLOT)


def check_lake(slow: SlowDisk, folder) -> int:
    tops = [(h.first, h.last) for h in read_holes(folder / "lake", RING) if h.reason == TOPS]
    return check_kept(join(slow.sent, tape.SLOT), lake_slots(folder), tops, LEVELS)


def go_down_and_back(slow: SlowDisk) -> None:
    """Through every step, both ways."""
    slow.turns(5, share=0)
    slow.fall_behind(0.6)
    slow.turns(6, share=0.6)
    slow.fall_behind(0.9)
    slow.turns(6, share=0.6)
    while slow.relief.step:
        slow.turns(1, share=0, waits=True)
    slow.turns(5, share=0)


def test_steps_are_taken_and_reversed_and_the_lake_says_all_of_it(slow, tmp_path):
    go_down_and_back(slow)
    assert slow.ring.steps == [Step.SAMPLED, Step.TOPS, Step.SAMPLED, Step.FULL]
    left_out, held = slow.relief.left_out, slow.relief.owed
    slow.ring.store.finish()
    assert (slow.ring.store.lost, held) == (0, 0)
    report = verify(tmp_path)
    assert report.faults == []
    [ring] = report.rings
    assert ring.missing == left_out > 1000
    assert [hole.reason for hole in report.holes] == ["sampled", "tops", "sampled"]
    assert sum(hole.left_out for hole in report.holes) == left_out
    assert check_lake(slow, tmp_path) > 100
    flags = lake_slots(tmp_path)["flags"]
    assert (flags & Flag.SAMPLED != 0).any()
    assert not (flags[-100:] & Flag.SAMPLED).any()


def test_while_all_is_kept_the_journal_is_as_it_always_was(slow, tmp_path):
    slow.turns(20, share=0.1)
    assert slow.ring.steps == []
    assert not any(segment.thin for segment in slow.ring.store.journal.segments)
    slow.ring.store.finish()
    assert not (tmp_path / "lake" / FOLDER).exists()
    assert check_lake(slow, tmp_path) > 100


def test_a_row_too_many_that_is_missing_in_a_span_is_a_fault(slow, tmp_path):
    go_down_and_back(slow)
    slow.ring.store.finish()
    [trades, *_] = sorted((tmp_path / "lake").rglob("trades-*.arrow"))
    trades.unlink()
    what = " ".join(fault.what for fault in verify(tmp_path).faults)
    assert "more rows than storage left out are missing" in what


def test_killed_while_it_samples_it_goes_on_where_it_was(slow, tmp_path):
    """Windows are kept in no memory: the next life's book is right as well."""
    slow.turns(5, share=0)
    slow.fall_behind(0.6)
    slow.turns(4, share=0.5)
    assert slow.relief.step == Step.SAMPLED
    slow.send(300)
    slow.ring.open()
    [hole] = read_holes(tmp_path / "lake", RING)
    assert (hole.left_out, hole.last) == (UNKNOWN, slow.ring.store.journal.position)
    slow.fall_behind(0.6)
    slow.turns(3, share=0.5)
    while slow.relief.step:
        slow.turns(1, share=0, waits=True)
    slow.ring.store.finish()
    assert verify(tmp_path).faults == []
    assert check_lake(slow, tmp_path) > 100


def test_killed_in_the_last_step_it_says_that_books_are_owed_something(slow, tmp_path):
    slow.turns(5, share=0)
    slow.fall_behind(0.9)
    slow.turns(6, share=0.5)
    assert slow.relief.owed
    slow.ring.open()
    [hole] = read_holes(tmp_path / "lake", RING)
    assert (hole.reason, hole.owed) == (TOPS, UNKNOWN)
    slow.turns(3, share=0)
    slow.ring.store.finish()
    assert verify(tmp_path).faults == []


def test_stopped_in_the_last_step_it_counts_what_books_are_owed(slow, tmp_path):
    slow.turns(5, share=0)
    slow.fall_behind(0.9)
    slow.turns(6, share=0.5)
    owed = slow.relief.owed
    slow.share = 0
    slow.ring.store.finish()
    [hole] = read_holes(tmp_path / "lake", RING)
    assert hole.owed > 0 < owed
    assert hole.left_out == slow.relief.left_out
    assert hole.last == slow.market.sequence
    assert verify(tmp_path).faults == []


def test_history_reads_thin_segments_and_finds_no_hole(slow, tmp_path):
    go_down_and_back(slow)
    store = slow.ring.store
    assert any(segment.thin for segment in store.journal.segments)
    journalled = [block.copy() for block in store.journal.read(0)]
    source, place, found = JournalSource(tmp_path / "journal", RING), Place(), []
    while (batch := source.take(place, {})) is not None:
        assert batch.holes == []
        # Half a block: the next one begins in the middle of a segment.
        half = batch.slots[: max(len(batch.slots) // 2, 1)]
        found += half["sequence"].tolist()
        place = Place(batch.place.mark, found[-1])
    assert found == join(journalled, tape.SLOT)["sequence"].tolist()


@pytest.mark.parametrize("owner", [journal_module, spans_module])
def test_a_window_that_finds_no_room_is_done_again(slow, tmp_path, monkeypatch, owner):
    slow.turns(5, share=0)
    slow.fall_behind(0.9)
    name = "_write_all" if owner is journal_module else "note_hole"
    real, calls = getattr(owner, name), [0]

    def failing(*arguments):
        calls[0] += 1
        if calls[0] % 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(owner, name, failing)
    failures = 0
    for _ in range(200):
        slow.now_s += 3
        try:
            slow.turns(1, share=0)
        except OSError:
            failures += 1
        if not slow.relief.step:
            break
    monkeypatch.setattr(owner, name, real)
    assert failures > 2
    slow.turns(2, share=0)
    slow.ring.store.finish()
    assert verify(tmp_path).faults == []
    assert check_lake(slow, tmp_path) > 100


def test_an_older_note_is_told_again_and_the_last_word_counts(tmp_path):
    lake = tmp_path / "lake"
    spans = spans_module.Spans(lake, RING, 5)
    spans.cover(Step.SAMPLED, 10, 20, 7)
    assert read_holes(lake, RING)[0].last == 20 + spans_module.AHEAD
    spans.count(4)
    spans.cover(Step.SAMPLED, 21, 30, 8)
    assert len((lake / FOLDER / f"{RING}.jsonl").read_bytes().splitlines()) == 1
    spans.end(Step.SAMPLED, 30, 0)
    spans.end(Step.FULL, 30, 0)
    wanted = Hole(session=5, first=10, last=30, time_ns=7, reason="sampled", left_out=4)
    assert read_holes(lake, RING) == [wanted]
    assert wanted.reason in BY_DESIGN


def test_journals_and_rings_of_which_all_is_kept_are_a_load_on_tapes(tmp_path, instance):
    """A tape whose own lag is none is sampled for them."""
    whole = Ring(tmp_path, instance)
    try:
        settings = PressureSettings(journals_full_bytes=1_000_000)
        assert outside_load([whole.store], settings) == 0
        whole.send(3000)
        assert outside_load([whole.store], settings) == pytest.approx(3000 / 4096)
        whole.store.take()
        assert outside_load([whole.store], settings) == pytest.approx(3000 * 256 / 1e6, rel=1e-3)
        whole.store.relief = relief_module.Relief(settings, tmp_path / "lake", RING, 5)
        whole.store.relief.pressure.outside = outside_load([whole.store], settings)
        whole.send(1)
        whole.store.take()
        assert whole.store.relief.step == Step.TOPS
        whole.send(500)
        assert outside_load([whole.store], settings) < 0.9
    finally:
        whole.close()
