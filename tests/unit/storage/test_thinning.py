"""Sampled books: right wherever a kept row ends a frame, whatever the course of steps is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes.storage import thinning
from processes.storage.pressure import Step
from processes.storage.thinning import Thinner
from schemas import tape
from schemas.settings import PressureSettings
from schemas.tape import Flag, Kind
from tests.books import BOOKS, Market, Rebuilt

BOOK_KINDS = (int(Kind.BOOK_LEVEL), int(Kind.L3_ORDER))


def is_book(slots: np.ndarray) -> np.ndarray:
    return np.isin(slots["kind"], BOOK_KINDS)


def by_series(slots: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    books = slots[is_book(slots)]
    keys = {(int(slot["instrument"]), int(slot["stream"])) for slot in books}
    return {
        key: books[(books["instrument"] == key[0]) & (books["stream"] == key[1])] for key in keys
    }


class Reader:
    """Whoever reads the kept rows, beside one who has all slots."""

    def __init__(self, levels: int) -> None:
        self.truth, self.told, self.levels = Rebuilt(), Rebuilt(), levels
        self.checked = 0

    def take(self, window: np.ndarray, rows: np.ndarray, step: Step) -> None:
        at = 0
        for row in rows:
            self.told.apply([row])
            if int(row["kind"]) not in BOOK_KINDS or not row["flags"] & Flag.FRAME_END:
                continue
            end = int(np.searchsorted(window["sequence"], row["sequence"], side="right"))
            self.truth.apply(window[at:end])
            at = end
            key = int(row["instrument"]), int(row["stream"])
            tops = step == Step.TOPS and key[1] == BOOKS
            count = self.levels if tops else 1 << 30
            assert self.told.best(key, count) == self.truth.best(key, count)
            self.checked += 1
        self.truth.apply(window[at:])

    def check_whole(self) -> None:
        for key in self.truth.books:
            assert self.told.best(key, 1 << 30) == self.truth.best(key, 1 << 30)


def check_rows(window: np.ndarray, rows: np.ndarray, left_out: int) -> None:
    """What is no book is there to the bit; what is, under sequences of books, rising."""
    assert rows[~is_book(rows)].tobytes() == window[~is_book(window)].tobytes()
    sequences = rows["sequence"].tolist()
    assert sequences == sorted(set(sequences))
    assert set(sequences) <= set(window["sequence"].tolist())
    assert sequences[-1] == window["sequence"][-1]
    assert left_out == len(window) - len(rows)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    levels=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from(Step), st.integers(1, 12)), min_size=1, max_size=12),
)
def test_books_are_right_at_every_frame_end_and_whole_after_it(seed, levels, steps):
    market, reader = Market(seed), Reader(levels)
    thinner = Thinner(PressureSettings(sample_ms=100, top_levels=levels))
    for step, turns in [*steps, (Step.FULL, 3)]:
        for turn in range(turns if step != Step.FULL else 40 * turns):
            window = market.slots(12)
            if step == Step.FULL and not thinner.owed:
                # As Pressure has it: all is kept only once nothing is owed.
                reader.take(window, window, Step.FULL)
                reader.check_whole()
                if turn >= turns:
                    break
                continue
            step_now = step or Step.SAMPLED
            thinned = thinner.thin(window, step_now)
            thinner.commit(thinned)
            check_rows(window, thinned.rows, thinned.left_out)
            reader.take(window, thinned.rows, step_now)
            if step_now == Step.SAMPLED and not thinner.owed:
                reader.check_whole()
    assert thinner.owed == 0
    assert reader.checked


def test_rows_beside_which_others_were_left_out_say_so():
    market = Market(3)
    thinned = Thinner(PressureSettings()).thin(window := market.slots(60), Step.SAMPLED)
    assert thinned.left_out > 20
    rows = thinned.rows
    assert not (rows["flags"][~is_book(rows)] & Flag.SAMPLED).any()
    before, after = by_series(window), by_series(rows)
    for key, slots in before.items():
        kept, sampled = after[key], len(after[key]) < len(slots)
        assert bool((kept["flags"] & Flag.SAMPLED).all()) == sampled
        if sampled:
            assert (np.flatnonzero(kept["flags"] & Flag.FRAME_END) == len(kept) - 1).all()
        else:
            assert kept.tobytes() == slots.tobytes()
    assert sum(len(after[key]) < len(before[key]) for key in before) > 3


def test_the_last_step_keeps_less():
    market, thinner = Market(5, levels=40), Thinner(PressureSettings())
    windows = [market.slots(40) for _ in range(40)]
    sizes = {}
    for step in (Step.SAMPLED, Step.TOPS):
        sizes[step] = 0
        for window in windows:
            thinned = thinner.thin(window, step)
            thinner.commit(thinned)
            sizes[step] += len(thinned.rows)
    assert sizes[Step.TOPS] < 0.9 * sizes[Step.SAMPLED]
    assert thinner.owed


def test_a_snapshot_settles_what_was_owed():
    market, thinner = Market(5), Thinner(PressureSettings())
    for _ in range(20):
        thinner.commit(thinner.thin(market.slots(20), Step.TOPS))
    assert thinner.owed
    for instrument in (0, 1):
        begin = np.zeros(1, tape.SLOT)
        begin["kind"], begin["instrument"], begin["sequence"] = Kind.MARKER, instrument, 10**6
        begin.view(tape.MARKER)["marker"] = tape.Marker.SNAPSHOT_BEGIN
        begin["stream"] = BOOKS
        thinner.commit(thinner.thin(begin, Step.TOPS))
    assert thinner.owed == 0


def test_what_is_held_back_has_a_bound(monkeypatch):
    monkeypatch.setattr(thinning, "HELD_SLOTS", 16)
    market, thinner = Market(5, levels=400), Thinner(PressureSettings())
    longest = max(len(window := market.slots(20)) for _ in range(60))
    for _ in range(60):
        window = market.slots(20)
        thinner.commit(thinner.thin(window, Step.TOPS))
        assert thinner.owed < 16 + 4 * longest
    assert thinner.owed


def test_windows_end_with_the_clock_of_the_tape_or_of_who_waits():
    block = np.zeros(6, tape.SLOT)
    block["recv_ns"] = np.array([10, 20, 120, 130, 210, 220]) * 1_000_000
    block["flags"] = [0, 1, 1, 0, 1, 0]
    thinner = Thinner(PressureSettings(sample_ms=100))
    assert thinner.ends(block, full=False, late=False) == [2, 4]
    assert thinner.ends(block, full=True, late=False) == [2, 4]
    assert thinner.ends(block, full=False, late=True) == [2, 4, 6]
    assert thinner.ends(block[:2], full=False, late=False) == []
    assert thinner.ends(block[:2], full=True, late=False) == [2]
    assert thinner.ends(block[4:], full=True, late=False) == [1]
    assert thinner.ends(block[3:4], full=True, late=False) == [1]


@pytest.mark.parametrize("step", [Step.SAMPLED, Step.TOPS])
def test_a_window_without_a_book_is_kept_as_it_is(step):
    slots = np.zeros(3, tape.SLOT)
    slots["kind"], slots["sequence"] = Kind.TRADE, [1, 2, 3]
    thinned = Thinner(PressureSettings()).thin(slots, step)
    assert thinned.rows.tobytes() == slots.tobytes()
    assert thinned.left_out == 0
