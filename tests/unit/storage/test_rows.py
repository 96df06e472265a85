"""Blocks of slots by series: every slot in its series once, in order, and as the header has it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes.storage.rows import Block
from processes.storage.store import Split, TableView
from schemas import decisions, features, tape
from schemas.instruments import Tables
from schemas.tape import Flag, Kind, Side

BOTH = ("instrument", "stream")


def block_of(seed: int, count: int, instruments: int, streams: int) -> np.ndarray:
    """Slots of which every byte is drawn."""
    draw = np.random.default_rng(seed)
    slots = draw.integers(0, 256, count * tape.SLOT_BYTES, np.uint8).view(tape.SLOT)
    slots["sequence"] = np.arange(count) + draw.integers(1, 1 << 40)
    slots["price"], slots["size"] = draw.normal(size=(2, count))
    # Far apart, so that they meet in the table of series.
    slots["instrument"] = draw.integers(0, instruments, count) * 4099 % 65536
    slots["stream"] = draw.integers(0, streams, count) * 8191 % 65536
    slots["kind"] = draw.integers(1, 8, count)
    slots["side"] = draw.integers(0, 3, count)
    return slots


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1 << 32), st.integers(1, 400), st.integers(1, 60), st.integers(1, 60),
    st.sampled_from([BOTH, BOTH[:1], ()]),
)  # fmt: skip
def test_rows_of_a_series_are_its_slots(seed, count, instruments, streams, by):
    slots = block_of(seed, count, instruments, streams)
    block = Block(slots, by)
    left = np.ones(count, np.bool_)
    for instrument, stream, rows in block.series():
        mine = left.copy()
        if "instrument" in by:
            mine &= slots["instrument"] == instrument
        if "stream" in by:
            mine &= slots["stream"] == stream
        left &= ~mine
        same(rows, slots[mine])
    assert not left.any()


def same(rows, slots):
    assert len(rows) == len(slots)
    assert (rows.whole().view(np.uint8) == slots.view(np.uint8)).all()
    for name, field in {
        "tape_seq": "sequence",
        "venue_seq": "venue_sequence",
        "id": "id_low",
    }.items():
        assert (rows[name] == slots[field]).all()
    for name in ("event_ns", "recv_ns", "epoch", "price", "flags", "kind", "side", "id_high"):
        assert (rows[name] == slots[name]).all()
        assert (
            name in ("kind", "side", "id_high")
            or rows.array(name).to_pylist() == rows[name].tolist()
        )
    assert rows.array("side").to_pylist() == [Side(side).name.lower() for side in slots["side"]]
    for place, slot in enumerate(slots):
        funding, deleted = slot["flags"] & Flag.FUNDING, slot["flags"] & Flag.DELETE
        size = 1.0 if deleted and slot["kind"] == Kind.BOOK_LEVEL else slot["size"]
        assert rows["amount"][place] == (-size if slot["side"] == Side.ASK else size)
        assert rows["count"][place] == (slot["id_low"] & 0xFFFFFFFF if funding else slot["count"])
        assert rows["period"][place] == (slot["count"] if funding else 0)
        is_marker = slot["kind"] == Kind.MARKER
        assert rows["is_snapshot"][place] == bool(slot["flags"] & Flag.SNAPSHOT and not is_marker)
    assert rows.markers() == np.flatnonzero(slots["kind"] == Kind.MARKER).tolist()
    assert rows.nulls().to_pylist() == [None] * len(slots)


def test_slots_of_other_rings_have_no_columns_and_are_gathered():
    slots = np.zeros(6, features.SLOT)
    slots["sequence"], slots["instrument"] = np.arange(6), [3, 1, 3, 1, 1, 65535]
    found = {which: rows["sequence"].tolist() for which, _, rows in Block(slots, BOTH[:1]).series()}
    assert found == {3: [0, 2], 1: [1, 3, 4], 65535: [5]}


def test_slots_that_are_not_one_after_another_are_refused():
    slots = block_of(1, 10, 2, 2)
    with pytest.raises(AssertionError):
        Block(slots[::2], BOTH)


def test_decisions_are_one_series_whatever_their_instruments():
    slots = np.zeros(5, decisions.SLOT)
    slots["sequence"], slots["instrument"] = np.arange(5), [3, 1, 3, 65535, 0]
    [(group, rows)] = Split("decisions", TableView(Tables())).groups(slots)
    assert group == (0, 0)
    assert rows["sequence"].tolist() == [0, 1, 2, 3, 4]
