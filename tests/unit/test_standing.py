"""What stands at venues, on disk; and the right to send orders."""

import pytest

from processes.standing import (
    Held,
    Standing,
    StandingOrder,
    forget_noted,
    hold_orders,
    note_order,
    noted_orders,
    orders_of_all,
    read_standing,
    standing_path,
    write_standing,
)
from schemas.errors import OperatorError
from schemas.trading import Intent


def intent(number=1, account="one") -> Intent:
    return Intent(
        command_id=f"{number:032x}", instrument=0, symbol="s", account=account, side="buy",
        quantity="1", kind="market",
    )  # fmt: skip


@pytest.fixture
def data(tmp_path):
    (tmp_path / "state").mkdir()
    return tmp_path


def test_it_is_kept_whole(data):
    assert read_standing(data) == Standing()
    told = Standing(
        session=7,
        orders=[StandingOrder(intent=intent(), venue_order_id="V", fill_ids=["a"])],
        positions=[Held(account="one", instrument=0, symbol="s", quantity="-0.1")],
    )
    write_standing(data, told)
    assert read_standing(data) == told
    assert [path.name for path in (data / "state").iterdir()] == ["standing.json"]
    standing_path(data).write_bytes(b"{")
    with pytest.raises(OperatorError, match="cannot be read"):
        read_standing(data)


def test_a_killers_orders_are_found_and_a_torn_line_is_none(data):
    assert noted_orders(data) == []
    for one in (intent(1), intent(2, "two"), intent(3)):
        note_order(data, one)
    note_order(data, intent(1), "V1")
    with (data / "state" / "killer" / "one.jsonl").open("ab") as file:
        file.write(b'{"command_id": "4')
    assert noted_orders(data) == [
        StandingOrder(intent=intent(1), venue_order_id="V1"),
        StandingOrder(intent=intent(3)),
        StandingOrder(intent=intent(2, "two")),
    ]
    forget_noted(data)
    assert noted_orders(data) == []


def test_orders_of_execution_and_of_killers_stand_once_each(data):
    told = Standing(orders=[StandingOrder(intent=intent(1), venue_order_id="V")])
    for one in (intent(1), intent(2, "two")):
        note_order(data, one)
    assert orders_of_all(data, told) == [*told.orders, StandingOrder(intent=intent(2, "two"))]


def test_only_one_may_send(data):
    first = hold_orders(data)
    with pytest.raises(OperatorError, match="may send orders"):
        hold_orders(data)
    first.close()
    hold_orders(data).close()
