"""The ledger read beside its writer, from both bodies."""

import pytest

from processes.execution.reading import LedgerView, total
from schemas.trading import OrderAccepted, OrderState
from tests.unit.execution.test_ledger import T0, fill, intent


@pytest.fixture
def ledger(body):
    made = body.open()
    yield made
    made.close()


def view(body) -> LedgerView:
    return LedgerView(body.settings, body.folder)


def test_orders_come_newest_first_with_how_they_stand(ledger, body):
    for number in (1, 2, 3):
        ledger.record_intent(intent(number, decided_ns=T0 + number))
    ledger.record_event(OrderAccepted(f"{2:032x}", "V", T0), OrderState.ACKED)
    ledger.record_event(fill(1, order=3, quantity="3"), OrderState.FILLED)
    found = view(body).orders()
    assert [(one.intent.command_id, one.state) for one in found] == [
        (f"{3:032x}", "filled"), (f"{2:032x}", "acked"), (f"{1:032x}", "new"),
    ]  # fmt: skip
    assert [one.state for one in view(body).orders(open_only=True)] == ["acked", "new"]
    assert len(view(body).orders(limit=2)) == 2


def test_an_order_is_found_by_the_beginning_of_its_id(ledger, body):
    for number in (0xAB, 0xAC):
        ledger.record_intent(intent(number))
    assert [one.intent.command_id for one in view(body).order(f"{0xAB:032x}")] == [f"{0xAB:032x}"]
    assert len(view(body).order("0" * 30)) == 2, "both begin so"
    assert view(body).order("%") == []
    assert view(body).order("'; DROP TABLE intents; --") == []


def test_events_fills_positions_and_days_are_those_written(ledger, body):
    ledger.record_intent(intent(1))
    told = [OrderAccepted(f"{1:032x}", "V", T0), fill(1), fill(2, quantity="2")]
    for event in told:
        ledger.record_event(event, OrderState.PARTIALLY_FILLED)
    assert view(body).events(f"{1:032x}") == told
    fills = view(body).fills()
    assert sorted(one.fill_id for one in fills) == ["f1", "f2"]
    assert {one.account for one in fills} == {"paper"}
    assert view(body).fills(command_id=f"{9:032x}") == []
    position = view(body).positions()[0]
    assert (position.symbol, position.quantity) == ("tBTCUSD", "3")
    days = view(body).days()
    assert [(day.symbol, day.realized) for day in days] == [("tBTCUSD", position.realized)]
    assert total(["0.1", "0.2"]) == total(["0.3"])
