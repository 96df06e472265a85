"""Stretches of tapes and places in queues: what holds whatever comes."""

from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from processes.replay.backtest.queueing import Place
from processes.replay.backtest.stretches import stretches
from schemas import tape

SIZES = st.decimals(0, 50, places=2)


@given(
    st.lists(st.lists(st.integers(1, 30), max_size=40).map(sorted), min_size=1, max_size=3),
    st.integers(1, 9),
)
def test_stretches_are_the_tapes_merged_and_part_no_instant(times, size):
    def blocks(stamps):
        slots = np.zeros(len(stamps), tape.SLOT)
        slots["recv_ns"], slots["sequence"] = stamps, np.arange(1, len(stamps) + 1)
        return iter([slots[n : n + size] for n in range(0, len(stamps), size)])

    last, seen = 0, [[] for _ in times]
    for pieces in stretches([blocks(stamps) for stamps in times]):
        mine = [int(time) for piece in pieces for time in piece.times]
        assert min(mine) > last
        last = max(mine)
        for number, piece in enumerate(pieces):
            seen[number] += piece.slots["sequence"].tolist()
    assert seen == [list(range(1, len(stamps) + 1)) for stamps in times]


def test_a_stamp_that_runs_backwards_is_taken_at_the_time_of_the_one_before():
    slots = np.zeros(3, tape.SLOT)
    slots["recv_ns"] = [5, 3, 6]
    found = [time for (piece,) in stretches([iter([slots])]) for time in piece.times.tolist()]
    assert found == [5, 5, 6]


@given(
    st.decimals(0, 1, places=1),
    SIZES,
    st.lists(st.tuples(st.booleans(), SIZES, st.integers(0, 3)), max_size=30),
)
def test_a_place_is_never_beyond_its_level_and_gives_no_more_than_was_traded(share, first, events):
    place, now_ns, traded, given_us = Place(share), 0, Decimal(0), Decimal(0)
    place.on_level(first, 0)
    for is_trade, size, half_seconds in events:
        now_ns += half_seconds * 500_000_000
        if is_trade:
            came = place.on_trade(size, now_ns)
            assert 0 <= came <= size
            traded += size
            given_us += came
        else:
            place.on_level(size, now_ns)
            assert place.ahead <= size
        assert place.ahead >= 0
        assert place.credited >= 0
        assert place.missing >= 0
    assert given_us <= traded


def test_an_unknown_level_gives_nothing_until_it_is_seen():
    place = Place(Decimal(1))
    assert place.on_trade(Decimal(5), 1) == 0
    place.on_level(Decimal(3), 2)
    assert place.on_trade(Decimal(5), 3) == 2
