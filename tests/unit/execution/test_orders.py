"""Orders: whatever order events come in, the end is the same, and every step is in the table."""

import itertools
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from processes.execution.orders import TRANSITIONS, Order
from schemas.trading import (
    Intent,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderState,
    OrderUnknown,
)

ID = "0" * 32


def new_order() -> Order:
    return Order.of(
        Intent(
            command_id=ID, instrument=0, symbol="tBTCUSD", side="buy", quantity="3", kind="market"
        )
    )


def fill(number: int) -> OrderFilled:
    return OrderFilled(ID, f"f{number}", "100", "1", "0.1", "USD", number)


EVENTS = [
    OrderAccepted(ID, "v1", 1),
    fill(1),
    fill(2),
    fill(3),
    OrderCanceled(ID, 5),
    OrderUnknown(ID, 2),
    OrderExpired(ID, 7),
    OrderRejected(ID, 8),
]


@given(st.lists(st.sampled_from(EVENTS), max_size=8), st.randoms())
def test_order_doubling_and_lateness_of_events_do_not_matter(events, draw):
    plain, shuffled = new_order(), new_order()
    for event in events:
        plain.add(event)
    again = events + draw.sample(events, len(events) // 2)
    draw.shuffle(again)
    for event in again:
        shuffled.add(event)
    assert plain.state == shuffled.state
    assert (
        plain.filled
        == shuffled.filled
        == Decimal(len({e.fill_id for e in events if isinstance(e, OrderFilled)}))
    )


def test_every_step_is_in_the_table():
    """Whatever is known already, whatever comes next: all of it, not a sample."""
    steps = set()
    events = [*EVENTS, OrderFilled(ID, "whole", "100", "3", "0.1", "USD", 4)]
    for known in range(len(events) + 1):
        for before in itertools.combinations(events, known):
            for event in events:
                order = new_order()
                order.sent = True
                for earlier in before:
                    order.add(earlier)
                state = order.state
                news = order.add(event)
                if order.state is not state:
                    assert news
                    assert order.state in TRANSITIONS[state], (before, event)
                    steps.add((state, order.state))
    started = {(before, after) for before, row in TRANSITIONS.items() for after in row}
    unseen = started - steps
    # An order that nobody sent yet is moved by the machine, or by a restart that finds it so.
    assert {before for before, _ in unseen} == {OrderState.NEW}


def test_what_a_restart_finds_unsent_is_unknown_or_expired():
    for event, after in (
        (OrderUnknown(ID, 1), OrderState.UNKNOWN),
        (OrderExpired(ID, 1), OrderState.EXPIRED),
    ):
        order = new_order()
        assert order.state == OrderState.NEW
        order.add(event)
        assert order.state == after
        assert after in TRANSITIONS[OrderState.NEW]


def test_the_usual_ways():
    order = new_order()
    assert order.state == OrderState.NEW
    order.sent = True
    seen = [order.state]
    for event in (OrderAccepted(ID, "v", 1), fill(1), fill(1), fill(2), fill(3)):
        order.add(event)
        seen.append(order.state)
    assert [state.name for state in seen] == [
        "SENT", "ACKED", "PARTIALLY_FILLED", "PARTIALLY_FILLED", "PARTIALLY_FILLED", "FILLED",
    ]  # fmt: skip
    assert not order.open


def test_unknown_is_a_state_that_any_answer_resolves():
    for answer, wanted in (
        (OrderAccepted(ID, "v", 1), OrderState.ACKED),
        (fill(1), OrderState.PARTIALLY_FILLED),
        (OrderExpired(ID, 1), OrderState.EXPIRED),
        (OrderRejected(ID, 1), OrderState.REJECTED),
        (OrderCanceled(ID, 1), OrderState.CANCELED),
    ):
        order = new_order()
        order.add(OrderUnknown(ID, 0))
        assert order.state == OrderState.UNKNOWN
        assert order.open
        order.add(answer)
        assert order.state == wanted


def test_all_permutations_of_a_whole_life_end_filled():
    life = [OrderAccepted(ID, "v", 1), fill(1), fill(2), fill(3), OrderCanceled(ID, 9)]
    for permutation in itertools.permutations(life):
        order = new_order()
        for event in permutation:
            order.add(event)
        assert order.state == OrderState.FILLED


def test_an_order_that_ran_out_of_time_half_filled_is_over():
    """Else its instrument would wait for it for ever."""
    order = new_order()
    for event in (OrderAccepted(ID, "v", 1), fill(1), OrderExpired(ID, 5)):
        order.add(event)
    assert order.state == OrderState.EXPIRED
    assert not order.open
    for event in (fill(2), fill(3)):
        order.add(event)
    assert order.state == OrderState.FILLED


def test_the_table_covers_every_state():
    assert set(TRANSITIONS) == set(OrderState)
    for state, after in TRANSITIONS.items():
        assert state not in after
