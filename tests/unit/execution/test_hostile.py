"""Whatever comes in: nothing becomes an order, and each gets the code that the table says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.trading import Action, ExternalSignal
from tests.unit.execution.hostile import PREDICTIONS, SIGNALS
from tests.unit.execution.test_machine import T0, machine, prediction

TIMES = ("cut_ns", "ts_ns")


def dated(changes):
    return {name: T0 + v if name in TIMES else v for name, v in changes.items()}


def signal(**changes) -> ExternalSignal:
    named = {
        "id": "s/1", "entry": "1-0", "instrument": 0, "action": Action.ENTER_LONG,
        "confidence": 0.9, "price": 100.0, "ts_ns": T0, **changes,
    }  # fmt: skip
    return ExternalSignal(**named)


@pytest.mark.parametrize("hostile", PREDICTIONS, ids=lambda one: one.what)
def test_a_prediction(hostile):
    made = machine()
    decision, effects = made.on_prediction(prediction(**dated(hostile.changes)), T0, 1)
    assert (decision.action, decision.reason, effects) == (Action.HOLD, hostile.reason, [])
    assert made.orders == {}


@pytest.mark.parametrize("hostile", SIGNALS, ids=lambda one: one.what)
def test_a_signal(hostile):
    made, told = machine(), signal(**dated(hostile.changes))
    market = prediction() if told.instrument == 0 else None
    decision, effects = made.on_signal(told, market, T0, 1)
    assert (decision.action, decision.reason, effects) == (Action.HOLD, hostile.reason, [])


def test_what_is_not_hostile_becomes_an_order():
    assert len(machine().on_prediction(prediction(), T0, 1)[1]) == 1
    assert len(machine().on_signal(signal(), prediction(), T0, 1)[1]) == 1


@given(
    st.floats(width=64), st.floats(width=32), st.floats(width=32), st.floats(width=32),
    st.floats(width=32), st.integers(-(1 << 61), 1 << 61),
)  # fmt: skip
def test_no_number_makes_it_fail_or_send_what_is_too_large(price, spread, up, down, move, age):
    made = machine()
    told = prediction(
        reference_price=price, spread_bps=spread, up=up, down=down, move=move, cut_ns=T0 - age
    )
    _, effects = made.on_prediction(told, T0, 1)
    for effect in effects:
        quantity = float(effect.intent.quantity)
        assert 0 < quantity * price <= 100.0001
        assert abs(age) <= 2 * 10**9
        assert up - down > 0
