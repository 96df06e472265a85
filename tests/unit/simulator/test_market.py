"""The matching engine by itself: owners, places in the queue, what an order would match."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes.simulator.market import Market, Trade


def market() -> tuple[Market, list[Trade]]:
    made = Market("X", Decimal("0.5"))
    trades: list[Trade] = []
    made.on_trade = trades.append
    return made, trades


def test_matching_stops_at_an_order_of_the_same_owner():
    place, trades = market()
    place.submit(-1, 3, 0, ticks=10)
    own, _ = place.submit(-1, 4, 0, ticks=11, owner="me")
    place.submit(-1, 5, 0, ticks=12)
    _, left = place.submit(1, 9, 1, ticks=12, owner="me")
    assert left == 6
    assert [t.units for t in trades] == [3]
    assert place.best(1) is None, "what met its own does not rest either"
    found = place.meets_own(1, 12, "me")
    assert found is not None
    assert found.id == own
    assert place.meets_own(1, 10, "me") is None
    assert place.meets_own(1, 12, "other") is None
    _, left = place.submit(1, 9, 1, ticks=12, owner="other")
    assert left == 0


def test_an_order_keeps_its_number_when_it_comes_again():
    place, _ = market()
    number = place.take_number()
    assert place.submit(1, 5, 0, ticks=10, number=number) == (number, 5)
    assert place.cancel(number)
    assert place.submit(1, 4, 0, ticks=11, number=number) == (number, 4)
    with pytest.raises(AssertionError):
        place.submit(1, 4, 0, ticks=11, number=number)
    assert place.take_number() == number + 1
    assert place.submit(1, 4, 0, ticks=9, rests=False)[1] == 4
    assert place.open_orders == 1


def test_less_of_an_order_keeps_its_place():
    place, trades = market()
    first, _ = place.submit(1, 5, 0, ticks=10)
    place.submit(1, 5, 0, ticks=10)
    version = place.version
    place.shrink(first, 3)
    assert place.version == version + 1
    assert place.levels(1, 1) == [(10, 2, 7)]
    place.submit(-1, 3, 1, ticks=10)
    assert [(t.maker, t.units) for t in trades] == [(first, 2), (first + 1, 1)]
    with pytest.raises(AssertionError):
        place.shrink(first + 1, 4)


ORDERS = st.lists(
    st.tuples(
        st.sampled_from([1, -1]), st.integers(1, 9), st.integers(90, 110), st.sampled_from("abc")
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(ORDERS, st.sampled_from([1, -1]), st.integers(1, 60), st.integers(85, 115))
def test_what_an_order_would_match_is_what_it_then_matches(orders, side, units, ticks):
    place, trades = market()
    for each_side, each_units, each_ticks, owner in orders:
        place.submit(each_side, each_units, 0, ticks=each_ticks, owner=owner)
    trades.clear()
    expected = place.walk(side, units, ticks, "a")
    crossed = place.crosses(side, ticks)
    resting = {s: {t: u for t, _, u in place.levels(s, 99)} for s in (1, -1)}
    _, left = place.submit(side, units, 1, ticks=ticks, owner="a")
    assert [(t.ticks, t.units) for t in trades] == expected
    assert left == units - sum(u for _, u in expected)
    assert crossed or not expected
    assert not any(t.maker == t.taker for t in trades)
    for each in (1, -1):
        total = sum(u for _, _, u in place.levels(each, 99))
        queued = sum(o.units for o in place.orders(each, 999))
        assert total == queued
    gone = sum(resting[-side].values()) - sum(u for _, _, u in place.levels(-side, 99))
    assert gone == sum(u for _, u in expected)
