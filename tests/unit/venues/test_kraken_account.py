"""Executions and balances as typed events: sparse rows, fills told twice, gaps, exact numbers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.account import (
    AccountGap,
    AccountState,
    BalanceChange,
    CommandAnswer,
    Fee,
    Fill,
    OrderUpdate,
    plain_decimal,
)
from schemas.errors import DecodeError
from tests.kraken_frames import Number, dumps
from venues.kraken.account import KrakenAccount
from venues.numbers import parse_exact

NEW = {
    "order_id": "O1", "cl_ord_id": "mine", "symbol": "BTC/USD", "side": "buy",
    "order_type": "limit", "order_qty": Number("2.0"), "limit_price": Number("100.10"),
    "time_in_force": "GTC", "post_only": True, "exec_type": "new", "order_status": "new",
    "cum_qty": Number("0.0"),
    "timestamp": "2026-04-11T16:48:26.620771Z",
}  # fmt: skip
TRADE = {
    "order_id": "O1", "exec_id": "T1", "trade_id": 7, "exec_type": "trade",
    "order_status": "partially_filled", "last_qty": Number("8.528e-05"), "cum_qty": Number("2.0"),
    "last_price": Number("85.160"), "liquidity_ind": "m",
    "fees": [{"asset": "USDC", "qty": Number("1.5e-05")}],
    "timestamp": "2026-04-11T16:48:27.000000001Z",
}  # fmt: skip
FILLED = {"order_id": "O1", "exec_type": "filled", "order_status": "filled"}


class Told:
    """An account and the events of the frames that it was given."""

    def __init__(self) -> None:
        self.account = KrakenAccount()
        self.sequence = 0

    def take(self, rows: list, kind: str = "update", channel: str = "executions", **more) -> list:
        self.sequence = more.pop("sequence", self.sequence + 1)
        message = {"channel": channel, "type": kind, "sequence": self.sequence, "data": rows}
        return self.account.take(parse_exact(dumps(message).encode()))


def test_sparse_rows_are_merged_by_their_order():
    told = Told()
    (new,) = told.take([NEW])
    assert isinstance(new, OrderUpdate)
    assert (new.status, new.limit_price, new.quantity) == ("open", "100.10", "2.0")
    assert new.post_only
    fill, partial = told.take([TRADE])
    assert fill == Fill(
        venue="kraken", fill_id="T1", order_id="O1", symbol="BTC/USD", side="buy",
        price="85.160", quantity="0.00008528", client_order_id="mine", trade_id="7",
        fees=(Fee(asset="USDC", amount="0.000015"),), liquidity="maker",
        time_ns=1775926107000000001,
    )  # fmt: skip
    # A trade may say partially_filled although it completes the order; `filled` comes after it.
    assert (partial.status, partial.filled_quantity) == ("partially_filled", "2.0")
    (filled,) = told.take([FILLED])
    assert (filled.status, filled.is_final, filled.symbol) == ("filled", True, "BTC/USD")
    assert (filled.limit_price, filled.client_order_id, filled.side) == ("100.10", "mine", "buy")


def test_a_fill_is_told_once_also_after_a_reconnection():
    told = Told()
    told.take([NEW])
    assert len(told.take([TRADE, TRADE])) == 2
    told.account.open()
    assert told.take([TRADE], "snapshot", sequence=1) == []
    again = told.take([TRADE | {"exec_id": "T2"}])
    assert [type(event) for event in again] == [Fill, OrderUpdate]


def test_a_missing_number_is_a_gap_of_its_channel():
    told = Told()
    told.take([NEW], "snapshot", sequence=120)
    assert told.take([], channel="balances", sequence=5) == []
    assert told.take([], sequence=121) == []
    gap = AccountGap(venue="kraken", channel="executions", expected=122, found=124)
    assert told.take([], sequence=124) == [gap]
    assert told.take([], sequence=125) == []
    assert told.take([], channel="balances", sequence=6) == []
    assert told.take([], "snapshot", sequence=1) == []


def test_a_bad_frame_takes_nothing_and_shows_as_a_gap():
    told = Told()
    told.take([NEW])
    for bad in (
        [TRADE, TRADE | {"exec_id": "T2", "last_qty": "many"}], [5], [{}], [TRADE | {"fees": 5}],
        [NEW | {"order_qty": Number("1e-99")}], [TRADE | {"timestamp": "soon"}],
    ):  # fmt: skip
        with pytest.raises((DecodeError, KeyError, TypeError)):
            told.take(bad, sequence=2)
    events = told.take([TRADE], sequence=3)
    assert [type(event) for event in events] == [AccountGap, Fill, OrderUpdate]


def test_balances():
    told = Told()
    rows = [
        {"asset": "BTC", "asset_class": "currency", "balance": Number("1.20"),
         "wallets": [{"type": "spot", "id": "main", "balance": Number("1.2000")}]},
    ]  # fmt: skip
    assert told.take(rows, "snapshot", "balances") == [
        BalanceChange(venue="kraken", asset="BTC", balance="1.2000", wallet="spot:main",
                      is_snapshot=True)
    ]  # fmt: skip
    row = {
        "asset": "USD", "amount": Number("-5e-05"), "balance": Number("10.0"), "fee": Number("0"),
        "ledger_id": "L1", "ref_id": "R1", "type": "trade", "wallet_type": "spot",
        "wallet_id": "main", "timestamp": "2026-04-11T16:48:26Z",
    }  # fmt: skip
    (change,) = told.take([row], "update", "balances")
    assert (change.change, change.balance, change.cause) == ("-0.00005", "10.0", "trade")
    assert (change.change_id, change.reference, change.wallet) == ("L1", "R1", "spot:main")
    assert change.time_ns == 1775926106 * 10**9


def test_answers():
    account = KrakenAccount()
    add = {
        "method": "add_order", "req_id": 42, "success": True,
        "time_out": "2026-05-05T10:00:00.125Z",
        "result": {"order_id": "OABCDE-12345-FGHIJ", "cl_ord_id": "O-1", "warnings": ["w"]},
    }  # fmt: skip
    answer = account.take_reply(parse_exact(json.dumps(add).encode()))
    assert answer == CommandAnswer(
        venue="kraken", command="add_order", accepted=True, request_id="42",
        order_id="OABCDE-12345-FGHIJ", client_order_id="O-1", warnings=("w",),
        time_ns=1777975200125000000,
    )  # fmt: skip
    refused = {"method": "add_order", "success": False, "error": "EOrder:Insufficient funds"}
    told = account.take_reply(refused)
    assert isinstance(told, CommandAnswer)
    assert (told.accepted, told.code) == (False, "EOrder")
    live = {"method": "subscribe", "success": True, "result": {"channel": "executions"}}
    assert account.take_reply(live) == AccountState(venue="kraken", channel="executions", live=True)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("venues.kraken.account.FILLS_KEPT", 100)
    monkeypatch.setattr("venues.kraken.account.ORDERS_KEPT", 20)
    told = Told()
    rows = [TRADE | {"exec_id": f"T{n}", "order_id": f"O{n}"} for n in range(300)]
    told.take(rows)
    assert (len(told.account._fills), len(told.account._orders)) == (100, 20)
    assert told.take(rows[-100:]) == []  # the newest are the ones that are known


def test_recorded_samples(recordings):
    lines = (recordings / "kraken" / "ws_v2_frames_observed.jsonl").read_bytes().splitlines()
    account = KrakenAccount()
    events = [e for line in lines if b"executions" in line for e in account.take(parse_exact(line))]
    pending, fill, order = events
    assert (pending.status, pending.stop_price, pending.quantity) == (
        "pending",
        "0.2",
        "81.36256082",
    )
    assert (fill.quantity, fill.fees) == ("0.00008528", (Fee(asset="USDC", amount="0.000015"),))
    assert fill.is_snapshot
    assert (order.status, order.status_text) == ("filled", "filled")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=-1e9, max_value=1e9))
def test_exponents_are_written_out_and_no_digit_is_lost(number):
    from decimal import Decimal

    for text in (f"{number:f}", f"{number:e}"):
        assert Decimal(plain_decimal(text)) == number
        assert "e" not in plain_decimal(text).lower()


@pytest.mark.parametrize("text", ["", "NaN", "1e999", "1_0", " 1", "0x1", "--1", "1e-99", "٣"])
def test_what_is_no_amount(text):
    with pytest.raises(DecodeError):
        plain_decimal(text)


def test_a_batch_has_an_answer_for_each_order():
    frame = {
        "method": "batch_add", "req_id": 4, "success": True,
        "result": [
            {"order_id": "O1", "cl_ord_id": "a"},
            {"error": "EOrder:Insufficient funds", "cl_ord_id": "b"},
        ],
        "time_out": "2026-04-11T16:48:26.620771Z",
    }  # fmt: skip
    first, second = KrakenAccount().take_batch(parse_exact(json.dumps(frame).encode()))
    assert (first.accepted, first.order_id, first.client_order_id) == (True, "O1", "a")
    assert (second.accepted, second.text, second.client_order_id) == (
        False, "EOrder:Insufficient funds", "b")  # fmt: skip
