"""What is not believed: found, counted, filled, masked or dropped, and nothing else touched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.features import kernels
from processes.training.simulated import START_NS
from schemas.features import CATALOGUE, COLUMN, WIDTH, CutReason, Invalid, Policy
from schemas.tape import Marker
from tests.unit.features.making import (
    SECOND,
    Cuts,
    book,
    in_order,
    marker,
    masked_names,
    trade,
)

NAN, INF = float("nan"), float("inf")


def market(seconds: int, seed: int = 1, move: float = 1e-5) -> list[np.ndarray]:
    """A book every quarter of a second, a trade every second."""
    draw = np.random.default_rng(seed)
    made, price = [marker(START_NS, Marker.SNAPSHOT_END)], 2000.0
    for number in range(4 * seconds):
        time_ns = START_NS + number * SECOND // 4 + 1000
        price *= float(np.exp(draw.normal(0, move)))
        made.append(book(time_ns, round(price, 1) + 0.05, draw.exponential(1, 20), half=0.5))
        if number % 4 == 0:
            made.append(trade(time_ns + 5, round(price, 1), 0.5, buys=number % 8 == 0))
    return made


def cut(slots: list[np.ndarray], **settings: object) -> Cuts:
    cuts = Cuts(**settings)
    cuts.take(in_order(slots))
    return cuts


def test_a_calm_market_has_no_faults():
    cuts = cut(market(200))
    count = cuts.cutter.count
    for word in (kernels.W_OUT_OF_RANGE, kernels.W_STUCK, kernels.W_OUTLIER, kernels.W_DROPPED,
                 kernels.W_REFUSED, kernels.W_CROSSED, kernels.W_FAR):  # fmt: skip
        assert count(word) == 0, word
    rows = cuts.made
    masked = sum(int(word).bit_count() for word in rows["masked"])
    assert count(kernels.W_MISSING) == masked > 0
    assert count(kernels.W_MASKED) + count(kernels.W_FILLED) == masked


@pytest.mark.parametrize(
    ("price", "size"), [(NAN, 1.0), (0.0, 1.0), (-5.0, 1.0), (INF, 1.0), (2000.0, NAN),
                        (2000.0, 0.0), (2000.0, -1.0), (2000.0, INF)],
)  # fmt: skip
def test_a_trade_that_cannot_be_true_is_left_out_and_counted(price, size):
    slots = market(40)
    clean = cut(slots)
    dirty = cut([*slots, trade(START_NS + 20 * SECOND, price, size, buys=True)])
    assert dirty.cutter.count(kernels.W_REFUSED) == 1
    assert dirty.made["values"].tobytes() == clean.made["values"].tobytes()


def test_a_trade_far_from_the_book_is_left_out_and_counted():
    slots = market(40)
    clean = cut(slots)
    dirty = cut([*slots, trade(START_NS + 20 * SECOND, 2300.0, 5.0, buys=True)])
    assert dirty.cutter.count(kernels.W_FAR) == 1
    assert dirty.made["values"].tobytes() == clean.made["values"].tobytes()


@pytest.mark.parametrize("place", [0, 9, 10, 25, 39, -1])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_book_with_a_number_that_is_none_is_left_out_and_counted(place, value):
    slots = market(40)
    clean = cut(slots)
    wrong = book(START_NS + 20 * SECOND, 2000.05, half=0.5)
    if place < 0:
        wrong["reference_price"] = value
    else:
        wrong["book"][0, place] = value
    dirty = cut([*slots, wrong])
    assert dirty.cutter.count(kernels.W_REFUSED) == 1
    assert dirty.made["values"].tobytes() == clean.made["values"].tobytes()


def test_a_crossed_book_is_counted_marked_and_seen_by_no_model():
    slots = market(40)
    crossed = book(START_NS + 40 * SECOND - 1, 2000.0, half=-3)
    cuts = cut([*slots, crossed, book(START_NS + 40 * SECOND + 1, 2000.05, half=0.5)])
    row = cuts.made[-1]
    assert cuts.cutter.count(kernels.W_CROSSED) == 1
    assert row["invalid"] == int(Invalid.CROSSED | Invalid.DROPPED)
    assert "spread_bps" in masked_names(row)
    assert row["values"][COLUMN["spread_bps"]] == 0  # neutral, and not the price of a mistake
    assert cuts.cutter.count(kernels.W_DROPPED) == 1
    assert cuts.cutter.count(kernels.W_COLUMNS + COLUMN["spread_bps"]) == 1


def test_an_outlier_is_masked_and_the_next_row_is_not():
    """A step of one per cent where a second moves by a hundredth of that, and never more."""
    slots = market(120)
    there = START_NS + 120 * SECOND
    wild = [book(there - SECOND // 10, 2030.05, np.arange(1.0, 21.0), half=0.5)]
    calm = [book(there + n * SECOND // 4 + 7, 2030.05, np.arange(1.0, 21.0) * (n + 2), half=0.5)
            for n in range(12)]  # fmt: skip
    cuts = cut([*slots, *wild, *calm])
    rows = cuts.made
    at = int(np.flatnonzero(rows["cut_ns"] == there)[0])
    assert "return_1s_bps" not in masked_names(rows[at - 1])
    assert "return_1s_bps" in masked_names(rows[at])
    assert rows[at]["values"][COLUMN["return_1s_bps"]] == 0
    # Rules divide by this one: the larger it is, the more it must be told.
    assert rows[at]["values"][COLUMN["volatility_60s_bps"]] > 100
    assert rows[at]["invalid"] == 0  # the row stays: only what is not believed is gone
    assert cuts.cutter.count(kernels.W_OUTLIER) > 0
    assert "return_1s_bps" not in masked_names(rows[at + 2])


def test_a_market_that_goes_on_being_wild_is_believed_in_the_end():
    slots = market(120, move=1e-6)
    draw = np.random.default_rng(8)
    price = 2000.0
    for number in range(4 * 300):
        price *= float(np.exp(draw.normal(0, 3e-3)))
        time_ns = START_NS + 120 * SECOND + number * SECOND // 4
        slots.append(book(time_ns, round(price, 1) + 0.05, draw.exponential(1, 20), half=0.5))
    rows = cut(slots).made
    hidden = ["return_1s_bps" in masked_names(row) for row in rows]
    assert any(hidden[120:180])
    assert not any(hidden[-100:])


def stuck(seconds: int) -> list[np.ndarray]:
    """The same book again and again, behind a market of half a minute."""
    slots = market(30)
    last = slots[-2]
    for number in range(4 * seconds):
        again = last.copy()
        again["recv_ns"] = START_NS + 30 * SECOND + number * SECOND // 4
        slots.append(again)
    return slots


def test_a_book_that_does_not_move_is_marked_and_its_columns_masked():
    cuts = cut(stuck(100))
    rows = cuts.made
    marked = (rows["invalid"] & int(Invalid.STUCK)) != 0
    changed_ns = START_NS + 30 * SECOND
    wanted = rows["cut_ns"] > changed_ns + 60 * SECOND
    assert abs(int(marked.sum()) - int(wanted.sum())) <= 1
    assert cuts.cutter.count(kernels.W_STUCK_ROWS) == marked.sum()
    hidden = np.array([masked_names(row) >= {"imbalance_10", "slope_bid_bps"} for row in rows])
    assert hidden[35:85].sum() == 0
    assert cuts.cutter.count(kernels.W_COLUMNS + COLUMN["imbalance_10"]) > 0


def test_a_silent_market_is_stale_and_not_stuck():
    cuts = cut(market(40))
    for _ in range(100):
        cuts.now_ns += SECOND
        cuts.cutter.turn()
    rows = cuts.made
    assert rows["invalid"][-1] & int(Invalid.STALE)
    assert not (rows["invalid"] & int(Invalid.STUCK)).any()
    assert cuts.cutter.count(kernels.W_STUCK) == 0


def test_the_trigger_teaches_nothing():
    """What a column usually is comes of boundaries: the same with and without the trigger."""
    plain = cut(market(60))
    eager = Cuts(trigger=True, trigger_interval_us=0)
    slots = in_order(market(60))
    for at in range(0, len(slots), 3):
        eager.take(slots[at : at + 3])
    assert (eager.made["reason"] == CutReason.TRIGGER).sum() > 100
    one, other = plain.cutter._states[0], eager.cutter._states[0]
    assert one["seen"].tolist() == other["seen"].tolist()
    assert one["scale"].tolist() == other["scale"].tolist()


def test_after_a_gap_a_window_is_missing_until_it_is_full_again():
    slots = market(60)
    slots += [marker(START_NS + 30 * SECOND + 5, Marker.GAP),
              marker(START_NS + 31 * SECOND + 5, Marker.SNAPSHOT_END)]  # fmt: skip
    rows = cut(slots).made
    spans = {"return_1s_bps": 1, "return_5s_bps": 5, "ofi_1_15s": 15, "spread_bps": 0}
    for name, seconds in spans.items():
        hidden = [name in masked_names(row) for row in rows[31:]]
        assert hidden == [second < 32 + seconds for second in range(32, len(rows) + 1)], name
    gapped = (rows["invalid"] & int(Invalid.GAPPED)) != 0
    assert (np.flatnonzero(gapped) + 1).tolist() == [31]
    warming = (rows["invalid"] & int(Invalid.WARMING)) != 0
    assert (np.flatnonzero(warming) + 1).tolist() == [*range(1, 15), *range(32, 47)]


def test_every_column_says_what_it_is_held_to():
    for feature in CATALOGUE:
        assert feature.low <= feature.neutral <= feature.high, feature.name
        assert feature.high > feature.low
        assert feature.policy in set(Policy)
        assert feature.grain >= 0
    assert {feature.policy for feature in CATALOGUE} == set(Policy)


hostile = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=32),
    st.sampled_from([0.0, 1.0, 2000.0, -1.0]),
)


@given(
    numbers=st.lists(hostile, min_size=40, max_size=40),
    reference=st.one_of(hostile, st.just(2000.0)),
    price=hostile,
    size=hostile,
)
def test_no_input_makes_a_row_that_is_out_of_its_ranges(numbers, reference, price, size):
    slots = market(3)
    wrong = book(START_NS + 2 * SECOND, 2000.0)
    wrong["book"], wrong["reference_price"] = numbers, reference
    slots += [wrong, trade(START_NS + 2 * SECOND + 1, price, size, buys=True)]
    rows = cut(slots).made
    values = rows["values"]
    assert np.isfinite(values).all()
    low = np.array([feature.low for feature in CATALOGUE], np.float32)
    high = np.array([feature.high for feature in CATALOGUE], np.float32)
    believed = (rows["masked"][:, None] >> np.arange(WIDTH, dtype=np.uint64)) & np.uint64(1) == 0
    assert ((values >= low) & (values <= high) | ~believed).all()
