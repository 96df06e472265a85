"""Private frames of GMO Coin as typed events, field by field."""

import json

import pytest

from schemas.account import AccountState, Fee, Fill, OrderUpdate, PositionChange
from schemas.errors import DecodeError
from venues.gmo.account import CHANNELS, account_events, subscribe_command

EXECUTION = {
    "channel": "executionEvents", "orderId": 11, "executionId": 22, "symbol": "BTC_JPY",
    "settleType": "CLOSE", "executionType": "MARKET", "side": "SELL", "executionPrice": "877404",
    "executionSize": "0.5", "positionId": 33, "orderTimestamp": "2026-03-19T02:15:06.081Z",
    "executionTimestamp": "2026-03-19T02:15:07.100Z", "lossGain": "-12.5", "fee": "-3",
    "orderPrice": "0", "orderSize": "0.8", "orderExecutedSize": "0.8", "timeInForce": "FAK",
    "msgType": "ER",
}  # fmt: skip
ORDER = {
    "channel": "orderEvents", "orderId": 11, "symbol": "BTC", "settleType": "OPEN",
    "executionType": "LIMIT", "side": "BUY", "orderStatus": "ORDERED",
    "orderTimestamp": "2026-03-19T02:15:06.081Z", "orderPrice": "876045", "orderSize": "0.8",
    "orderExecutedSize": "0", "losscutPrice": "0", "timeInForce": "SOK", "msgType": "NOR",
}  # fmt: skip
POSITION = {
    "channel": "positionEvents", "positionId": 33, "symbol": "BTC_JPY", "side": "BUY",
    "size": "0.22", "orderdSize": "0", "price": "876045", "lossGain": "14", "leverage": "4",
    "losscutPrice": "766540", "timestamp": "2026-03-19T02:15:06.094Z", "msgType": "OPR",
}  # fmt: skip


def events(values, **changes):
    return account_events(json.dumps({**values, **changes}).encode())


def test_the_samples_of_the_documents(recordings):
    lines = (recordings / "gmo" / "ws_private_doc_samples.jsonl").read_bytes().splitlines()
    fill, filled, canceled, position = [event for line in lines for event in account_events(line)]
    assert fill == Fill(
        venue="gmo", fill_id="72123911", order_id="123456789", symbol="BTC_JPY", side="buy",
        price="877404", quantity="0.5", position_id="123456789",
        fees=(Fee(asset="JPY", amount="323"),), liquidity="taker",
        time_ns=1_552_961_706_081_000_000,
    )  # fmt: skip
    # Cumulative: 0.7 of 0.8 after a fill of 0.5.
    assert (filled.status, filled.filled_quantity, filled.quantity) == (
        "partially_filled", "0.7", "0.8",
    )  # fmt: skip
    assert canceled == OrderUpdate(
        venue="gmo", order_id="123456789", symbol="BTC_JPY", status="canceled",
        status_text="CANCELED", side="buy", order_type="LIMIT", quantity="0.8",
        filled_quantity="0", limit_price="876045", time_in_force="FAS", event="NOR", reason="USER",
        created_ns=1_552_961_706_081_000_000,
    )  # fmt: skip
    assert position == PositionChange(
        venue="gmo", symbol="BTC_JPY", status="open", status_text="UPDATE", side="buy",
        quantity="0.03", average_price="1014484", profit="18", time_ns=1_592_992_399_702_000_000,
    )  # fmt: skip


def test_the_last_execution_fills_the_order_since_no_order_event_will():
    fill, order = events(EXECUTION)
    assert (fill.fees, fill.liquidity) == ((Fee(asset="JPY", amount="-3"),), "maker")
    assert (fill.profit, fill.position_id, fill.side) == ("-12.5", "33", "sell")
    assert (order.status, order.is_final, order.reduce_only) == ("filled", True, True)
    assert (order.limit_price, order.order_type, order.event) == ("", "MARKET", "ER")
    assert order.time_ns == fill.time_ns == order.created_ns + 1_019_000_000
    partly = events(EXECUTION, orderExecutedSize="0.79999")[1]
    assert partly.status == "partially_filled"


def test_a_spot_execution_has_no_position_and_may_cost_nothing():
    changes = {"settleType": "OPEN", "fee": "0", "lossGain": "0"}
    values = {name: value for name, value in EXECUTION.items() if name != "positionId"}
    fill, _ = events(values, **changes)
    assert (fill.position_id, fill.liquidity, fill.profit) == ("", "", "")


@pytest.mark.parametrize(
    ("said", "executed", "status"),
    [
        ("WAITING", "0", "pending"),
        ("ORDERED", "0", "open"),
        ("ORDERED", "0.1", "partially_filled"),
        ("CANCELED", "0.1", "canceled"),
        ("EXPIRED", "0", "expired"),
        ("EXECUTED", "0.8", "unknown"),
    ],
)
def test_states_of_orders(said, executed, status):
    (order,) = events(ORDER, orderStatus=said, orderExecutedSize=executed)
    assert (order.status, order.status_text) == (status, said)
    assert order.post_only
    assert order.time_ns == 0


def test_a_stop_orders_price_is_its_trigger():
    (order,) = events(ORDER, executionType="STOP", orderStatus="WAITING")
    assert (order.limit_price, order.stop_price) == ("", "876045")


def test_a_venues_reason_is_kept():
    (order,) = events(ORDER, orderStatus="EXPIRED", cancelType="EXPIRED_FOK", msgType="ER")
    assert (order.reason, order.event) == ("EXPIRED_FOK", "ER")


def test_positions_open_change_and_close():
    (position,) = events(POSITION)
    assert position == PositionChange(
        venue="gmo", symbol="BTC_JPY", status="open", status_text="OPR", side="buy",
        quantity="0.22", position_id="33", average_price="876045", profit="14",
        liquidation_price="766540", leverage="4", time_ns=1_773_886_506_094_000_000,
    )  # fmt: skip
    assert events(POSITION, msgType="CPR")[0].status == "closed"
    assert events(POSITION, size="0", msgType="UPR")[0].status == "closed"


def test_the_first_sum_is_a_snapshot():
    values = {
        "channel": "positionSummaryEvents", "symbol": "BTC_JPY", "side": "SELL",
        "averagePositionRate": "1e3", "positionLossGain": "-1", "sumOrderQuantity": "0",
        "sumPositionQuantity": "0", "timestamp": "2026-03-19T02:15:06Z",
    }  # fmt: skip
    for said, first in (("INIT", True), ("PERIODIC", False)):
        (position,) = events(values, msgType=said)
        assert (position.is_snapshot, position.status, position.side) == (first, "closed", "sell")
        assert position.average_price == "1000"


def test_an_error_is_of_the_command_sent_last():
    found = account_events(b'{"error":"ERR-5106 Invalid request parameter. channel"}', asked="x")
    assert found == [
        AccountState(
            venue="gmo", channel="x", live=False, permanent=True,
            text="5106 Invalid request parameter. channel",
        )
    ]  # fmt: skip
    assert not account_events(b'{"error":"ERR-5003 Request too many."}')[0].permanent


def test_amounts_keep_every_digit():
    fill, order = events(
        EXECUTION, executionSize="0.10000000000000000001", orderExecutedSize="0.70", fee="1e-9"
    )
    assert fill.quantity == "0.10000000000000000001"
    assert order.filled_quantity == "0.70"
    assert fill.fees[0].amount == "0.000000001"


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"[]", b"{}", b"nonsense", b'{"channel":"trades"}', b'{"channel":5}', b'{"error":1}',
        *[
            json.dumps({**EXECUTION, name: value}).encode()
            for name, value in (
                ("executionSize", "-1"), ("executionSize", "x"), ("executionPrice", None),
                ("orderId", "a"), ("orderId", 1.5), ("executionId", None), ("side", "buy"),
                ("executionTimestamp", "now"), ("symbol", ""), ("fee", {}), ("orderSize", []),
            )
        ],
        json.dumps({**ORDER, "orderStatus": None}).encode(),
        json.dumps({**ORDER, "side": ["BUY"]}).encode(),
        json.dumps({**POSITION, "msgType": ""}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises((DecodeError, ValueError)):
        account_events(frame)


def test_commands_name_a_channel_and_no_symbol():
    assert [json.loads(subscribe_command(channel)) for channel in CHANNELS] == [
        {"command": "subscribe", "channel": channel} for channel in CHANNELS
    ]
    assert json.loads(subscribe_command("positionSummaryEvents", periodic=True)) == {
        "command": "subscribe", "channel": "positionSummaryEvents", "option": "PERIODIC",
    }  # fmt: skip
