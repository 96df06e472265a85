"""Kraken's private WebSocket over real sockets, by a client of the pages alone."""

import json
import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes.simulator.kraken_books import order_number, order_text
from processes.simulator.kraken_commands import COMMANDS
from processes.simulator.kraken_private import KrakenPrivateConnection
from processes.simulator.kraken_venue import KrakenVenue
from processes.simulator.market import UNITS
from processes.simulator.numbers import time_text
from schemas.settings import SimulatorSettings
from tests.unit.simulator.kraken_client import (
    ACCOUNTS,
    BEGIN,
    KEY,
    Private,
    Rest,
    fault,
    market,
    private_story,
    truth,
)
from tests.unit.simulator.world import START_NS

ORDER_ID = re.compile(r"O[A-Z2-7]{5}-[A-Z2-7]{5}-[A-Z2-7]{6}")


def test_ids_are_letters_that_tell_their_number():
    for number in (1, 77, 1_760_000_000_000, 2**60):
        assert ORDER_ID.fullmatch(order_text(number))
        assert order_number(order_text(number)) == number
        assert order_number(order_text(number, "T")) == number
    for text in ("", "O", "OAAAAA-AAAAA-AAAAAB", "OAAAAA-AAAAA-AAAAA1", "x" * 19):
        assert order_number(text) == -1


def test_snapshots_say_what_there_is_and_each_channel_counts_by_itself():
    async def tell(place, client):
        ack = await client.subscribe("executions", snap_trades=True)
        assert ack["success"]
        assert ack["result"] == {
            "channel": "executions", "snap_orders": True, "snap_trades": True,
            "order_status": True, "ratecounter": False, "maxratecount": 125,
        }  # fmt: skip
        await client.subscribe("balances")
        (executions,), (balances,) = client.frames("executions"), client.frames("balances")
        assert (executions["type"], executions["sequence"], executions["data"]) == (
            "snapshot", 1, [],
        )  # fmt: skip
        assert balances["sequence"] == 1
        held = {row["asset"]: row["balance"] for row in balances["data"]}
        assert {a: Decimal(v) for a, v in held.items()} == {a: Decimal(v) for a, v in BEGIN.items()}
        await client.add("buy", 1, 50000)
        await client.add("buy", 1)
        second = await Private.open(place)
        await second.subscribe("executions", snap_trades=True)
        snapshot = second.frames("executions")[0]
        kinds = [(row["exec_type"], row["order_status"]) for row in snapshot["data"]]
        assert kinds[0] == ("new", "new")
        assert set(kinds[1:]) == {("trade", "filled")}
        assert snapshot["data"][0]["limit_price"] == 50000
        for channel in ("executions", "balances"):
            sequences = [frame["sequence"] for frame in client.frames(channel)]
            assert sequences == list(range(1, len(sequences) + 1))
        await client.add("buy", 0.1, 40000)
        assert [row["exec_type"] for row in second.rows("executions")] == ["pending_new", "new"]

    private_story(tell)


def test_an_order_is_answered_then_told_sparsely_until_it_is_filled():
    async def tell(place, client):
        answer = await client.add("buy", 0.5, 80000, cl_ord_id="f" * 32)
        assert answer["success"] is True
        order_id = answer["result"]["order_id"]
        assert ORDER_ID.fullmatch(order_id)
        assert answer["result"]["cl_ord_id"] == "f" * 32
        whole, new = client.rows("executions")
        assert whole["order_status"] == whole["exec_type"] == "pending_new"
        assert (whole["symbol"], whole["side"], whole["order_qty"], whole["limit_price"]) == (
            "BTC/USD", "buy", Decimal("0.5"), 80000,
        )  # fmt: skip
        assert (new["exec_type"], new["order_status"], new["order_id"]) == ("new", "new", order_id)
        assert "symbol" not in new
        fault(place, "hold_fills", share="0.4")
        fault(place, "move", symbol="BTC/USD", price="80000")
        await place.step(0.05)
        trade = client.rows("executions")[2]
        assert (trade["exec_type"], trade["order_status"]) == ("trade", "partially_filled")
        assert (trade["last_qty"], trade["cum_qty"]) == (Decimal("0.2"), Decimal("0.2"))
        assert (trade["last_price"], trade["liquidity_ind"]) == (80000, "m")
        assert trade["fees"] == [{"asset": "USD", "qty": 40}]
        amounts = [(r["asset"], r["amount"], r["fee"]) for r in client.rows("balances")]
        assert amounts == [
            ("BTC", Decimal("0.2"), 0),
            ("USD", -16000, 40),
        ]
        assert client.rows("balances")[1]["balance"] == 983960
        fault(place, "release_fills")
        fault(place, "move", symbol="BTC/USD", price="79000")
        await place.step(0.05)
        last, filled = client.rows("executions")[3:]
        assert (last["exec_type"], last["order_status"]) == ("trade", "partially_filled")
        assert (filled["exec_type"], filled["order_status"]) == ("filled", "filled")
        assert filled["cum_qty"] == Decimal("0.5")
        assert {row["exec_id"] for row in (trade, last)} == {
            order_text(int(number), "T") for number in truth(place)["orders"][0]["fills"]
        }

    private_story(tell, "executions", "balances")


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"symbol": "XBT/USD"}, "EQuery:Unknown asset pair"),
        ({"limit_price": 50000.05}, "EOrder:Tick size check failed"),
        ({"limit_price": 0}, "EOrder:Invalid price"),
        ({"limit_price": None}, "EOrder:Invalid price"),
        ({"limit_price": "50000"}, "EGeneral:Invalid arguments:limit_price"),
        ({"order_qty": 0.00004}, "EOrder:Order minimum not met"),
        ({"order_qty": 0.000000001}, "EGeneral:Invalid arguments:volume"),
        ({"order_qty": -1}, "EGeneral:Invalid arguments:volume"),
        ({"order_qty": 0.0001, "limit_price": 1000}, "EOrder:Cost minimum not met"),
        ({"order_qty": 100}, "EOrder:Insufficient funds"),
        ({"side": "sell", "order_qty": 11}, "EOrder:Insufficient funds"),
        ({"side": "hold"}, "EGeneral:Invalid arguments:type"),
        ({"order_type": "iceberg"}, "EGeneral:Invalid arguments:ordertype"),
        ({"time_in_force": "gtd"}, "EGeneral:Invalid arguments:expiretm"),
        ({"time_in_force": "soon"}, "EGeneral:Invalid arguments:timeinforce"),
        ({"time_in_force": "gtd", "expire_time": 5}, "EGeneral:Invalid arguments:expire_time"),
        ({"limit_price": 10**40}, "EOrder:Tick size check failed"),
        ({"order_qty": 10**40}, "EGeneral:Invalid arguments:volume"),
        ({"limit_price": 99999, "post_only": True}, "EOrder:Post only order"),
        ({"reduce_only": True}, "EOrder:Reduce only:No position exists"),
        ({"cl_ord_id": "x" * 19}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": ""}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": "mine", "order_userref": 3}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"margin": True}, "EGeneral:Invalid arguments:margin"),
        ({"deadline": "2001-01-01T00:00:00Z"}, "EService:Deadline elapsed"),
        ({"deadline": "2040-01-01T00:00:00Z"}, "EGeneral:Invalid arguments:deadline"),
        ({"stp_type": "never"}, "EGeneral:Invalid arguments:stptype"),
        ({"token": "no such"}, "ESession:Invalid session"),
    ],
)  # fmt: skip
def test_a_wrong_order_is_refused_in_the_venues_words(params, error):
    async def tell(place, client):
        good = {"symbol": "BTC/USD", "side": "buy", "order_type": "limit", "order_qty": 1}
        (answer,) = await client.ask("add_order", **{**good, "limit_price": 50000, **params})
        assert (answer["success"], answer["error"]) == (False, error)
        assert truth(place)["orders"] == []
        await place.step(0.05)
        assert client.told() == []

    private_story(tell, "executions")


def test_client_ids_are_unique_among_open_orders_only():
    async def tell(place, client):
        for text in ("6d1b345e-2821-40e2-ad83-4ecb18a06876", "0" * 32, "day trade 1"):
            assert (await client.add("buy", 1, 30000, cl_ord_id=text))["success"]
            again = await client.add("buy", 1, 30000, cl_ord_id=text)
            assert "cl_ord_id" in again["error"]
            (gone,) = await client.ask("cancel_order", cl_ord_id=[text])
            assert gone["result"]["cl_ord_id"] == text
            assert (await client.add("buy", 1, 30000, cl_ord_id=text))["success"]

    private_story(tell)


def test_an_amend_changes_an_order_in_place_and_an_edit_makes_a_new_one():
    async def tell(place, client):
        order_id = (await client.add("buy", 1, 50000, cl_ord_id="mine"))["result"]["order_id"]
        (answer,) = await client.ask(
            "amend_order", cl_ord_id="mine", order_qty=2, limit_price=49000
        )
        assert answer["result"]["order_id"] == order_id
        assert answer["result"]["amend_id"].startswith("T")
        await place.step(0.05)
        row = client.rows("executions")[-1]
        assert (row["exec_type"], row["order_qty"], row["limit_price"]) == ("amended", 2, 49000)
        (edited,) = await client.ask(
            "edit_order", order_id=order_id, symbol="BTC/USD", order_qty=3, limit_price=48000
        )
        assert edited["result"]["original_order_id"] == order_id
        new_id = edited["result"]["order_id"]
        assert new_id != order_id
        await place.step(0.05)
        assert client.told()[-3:] == ["canceled", "pending_new", "new"]
        (wrong,) = await client.ask("edit_order", order_id=new_id, symbol="BTC/USD", order_qty=3000)
        assert wrong["error"] == "EOrder:Insufficient funds"
        assert [o["quantity"] for o in truth(place)["orders"] if o["status"] == "open"] == ["3"]
        (wrong,) = await client.ask("amend_order", order_id=order_id, order_qty=2)
        assert wrong["error"] == "EOrder:Unknown order"
        (wrong,) = await client.ask("amend_order", order_id=new_id)
        assert wrong["error"] == "EGeneral:Invalid arguments"
        (wrong,) = await client.ask("amend_order", order_id=new_id, limit_price=0.05)
        assert wrong["error"] == "EOrder:Tick size check failed"

    private_story(tell, "executions")


def test_cancels_are_answered_one_by_one_or_counted():
    async def tell(place, client):
        ids = [(await client.add("buy", 0.1, 30000 + n))["result"]["order_id"] for n in range(5)]
        await client.add("buy", 0.1, 20000, order_userref=7)
        await client.add("buy", 0.1, 20001, order_userref=7)
        answers = await client.ask("cancel_order", order_id=[ids[0], "OAAAAA-AAAAA-AAAAAA", ids[1]])
        assert [a["success"] for a in answers] == [True, False, True]
        assert answers[1]["error"] == "EOrder:Unknown order"
        assert answers[2]["result"]["order_id"] == ids[1]
        assert len(await client.ask("cancel_order", order_userref=[7])) == 2
        (batch,) = await client.ask("batch_cancel", orders=[ids[2], ids[0], ids[3]])
        assert batch["orders_cancelled"] == 2
        (rest,) = await client.ask("cancel_all")
        assert rest["result"] == {"count": 1}
        await place.step(0.05)
        reasons = [r["reason"] for r in client.rows("executions") if r["exec_type"] == "canceled"]
        assert reasons == ["User requested"] * 7
        (nothing,) = await client.ask("cancel_order")
        assert nothing["error"] == "EGeneral:Invalid arguments"

    private_story(tell, "executions", kraken_tier="unlimited")


def test_a_batch_is_taken_whole_or_refused_whole():
    async def tell(place, client):
        good = {"side": "buy", "order_type": "limit", "order_qty": 1, "limit_price": 30000}
        bad = {**good, "limit_price": 30000.01}
        (answer,) = await client.ask("batch_add", symbol="BTC/USD", orders=[good, bad])
        assert answer["error"] == "EOrder:Tick size check failed"
        assert truth(place)["orders"] == []
        (answer,) = await client.ask("batch_add", symbol="BTC/USD", orders=[good])
        assert answer["error"] == "EGeneral:Invalid arguments:orders"
        (answer,) = await client.ask(
            "batch_add", symbol="BTC/USD", orders=[good, {**good, "cl_ord_id": "b"}]
        )
        assert [ORDER_ID.fullmatch(row["order_id"]) for row in answer["result"]]
        assert answer["result"][1]["cl_ord_id"] == "b"
        much = {**good, "order_qty": 20}
        (answer,) = await client.ask("batch_add", symbol="BTC/USD", orders=[much, much])
        assert [row.get("error") for row in answer["result"]] == [None, "EOrder:Insufficient funds"]
        (answer,) = await client.ask(
            "batch_add", symbol="BTC/USD", orders=[good, good], validate=True
        )
        assert answer["success"]
        assert len(truth(place)["orders"]) == 3

    private_story(tell)


def test_validate_takes_nothing():
    async def tell(place, client):
        assert (await client.add("buy", 1, 30000, validate=True))["success"]
        assert not (await client.add("buy", 1, 30000.01, validate=True))["success"]
        assert truth(place)["orders"] == []

    private_story(tell)


def test_the_dead_man_cancels_and_is_disarmed():
    async def tell(place, client):
        await client.add("buy", 1, 30000)
        (answer,) = await client.ask("cancel_all_orders_after", timeout=10)
        assert answer["result"]["triggerTime"] > answer["result"]["currentTime"]
        await place.step(9)
        assert "canceled" not in client.told()
        await client.ask("cancel_all_orders_after", timeout=10)
        await place.step(9)
        assert "canceled" not in client.told()
        await client.ask("cancel_all_orders_after", timeout=0)
        await place.step(20)
        assert "canceled" not in client.told()
        (answer,) = await client.ask("cancel_all_orders_after", timeout=5)
        await place.step(6)
        assert client.rows("executions")[-1]["reason"].startswith("Cancel all orders after")
        (wrong,) = await client.ask("cancel_all_orders_after", timeout=86401)
        assert wrong["error"] == "EGeneral:Invalid arguments:timeout"

    private_story(tell, "executions")


def test_an_order_expires_at_its_time():
    async def tell(place, client):
        expire = time_text(place.now_ns + 5 * 10**9, 6)
        await client.add("buy", 1, 30000, time_in_force="gtd", expire_time=expire)
        rest = await Rest(place).result(
            "AddOrder", pair="XBTUSD", type="buy", ordertype="limit", volume="1", price="29000",
            timeinforce="GTD", expiretm="+8",
        )  # fmt: skip
        assert client.rows("executions")[0]["expire_time"] == expire
        await place.step(4)
        assert "expired" not in client.told()
        await place.step(2)
        row = client.rows("executions")[-1]
        assert (row["exec_type"], row["order_status"]) == ("expired", "expired")
        await place.step(3)
        (last,) = (await Rest(place).result("QueryOrders", txid=rest["txid"][0])).values()
        assert last["status"] == "expired"

    private_story(tell, "executions")


def test_immediate_orders_and_market_orders():
    async def tell(place, client):
        best = market(place).best(-1)
        units = sum(u for _, _, u in market(place).levels(-1, 1))
        price = float(Decimal(best) / 10)
        await client.add("buy", float(Decimal(units) / UNITS) + 0.5, price, time_in_force="ioc")
        told = client.told()
        assert told[:3] == ["pending_new", "new", "trade"]
        assert set(told[2:-1]) == {"trade"}
        assert told[-1] == "canceled"
        before = len(client.told())
        await client.add("buy", 9, 50000, time_in_force="fok")
        assert client.told()[before:] == ["pending_new", "new", "canceled"]
        await client.add("sell", 0.5)
        assert client.told()[-1] == "filled"
        assert client.rows("executions")[-2]["liquidity_ind"] == "t"

    private_story(tell, "executions")


def test_the_rate_counter_refuses_orders_and_never_a_cancel():
    async def tell(place, client):
        for turn in range(7):
            answer = await client.add("buy", 0.1, 30000)
            assert answer["success"], turn
            (gone,) = await client.ask("cancel_order", order_id=[answer["result"]["order_id"]])
            assert gone["success"]
        refused = await client.add("buy", 0.1, 30000)
        assert refused["error"] == "EOrder:Rate limit exceeded"
        assert (await client.add("buy", 100, 1, symbol="XRP/USD"))["success"]
        (all_,) = await client.ask("cancel_all")
        assert all_["success"]
        await place.step(10)
        assert (await client.add("buy", 0.1, 30000))["success"]

    private_story(tell, kraken_tier="starter")


def test_a_token_opens_for_a_quarter_of_an_hour_and_what_it_opened_goes_on():
    async def tell(place, client):
        other = await Private.open(place)
        await client.subscribe("executions")
        await place.step(901, pace_s=1)
        assert (await client.add("buy", 0.1, 30000))["success"]
        late = Private(place, await place.watch("/kraken/v2-auth"), other.token)
        (answer,) = await late.ask("subscribe", channel="executions")
        assert answer["error"] == "ESession:Invalid session"
        assert answer["status"] == "error"

    private_story(tell)


def test_maintenance_refuses_commands():
    async def tell(place, client):
        fault(place, "maintenance")
        answer = await client.add("buy", 1, 30000)
        assert answer["error"] == "EService:Unavailable"
        fault(place, "maintenance_end")
        assert (await client.add("buy", 1, 30000))["success"]

    private_story(tell, "executions")


def test_who_unsubscribes_hears_no_more_and_a_closed_socket_leaves_no_listener():
    async def tell(place, client):
        account = place.exchange.venues["kraken"].accounts.of(KEY)
        assert len(account.delivery.listeners) == 2
        await client.ask("unsubscribe", channel="executions")
        await client.add("buy", 1, 30000)
        assert client.told() == []
        assert len(account.delivery.listeners) == 1
        fault(place, "cut")
        await place.until(lambda: client.watcher.gone)
        await place.until(lambda: not account.delivery.listeners)

    private_story(tell, "executions", "balances")


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**20), st.floats(), st.text(max_size=6),
    st.sampled_from(["buy", "sell", "limit", "market", "BTC/USD", "gtc", "ioc", "mine"]),
    st.lists(st.one_of(st.integers(), st.text(max_size=4), st.none()), max_size=3),
    st.lists(st.dictionaries(st.sampled_from(["side", "order_qty"]), st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
NAMES = (
    "symbol", "side", "order_type", "order_qty", "limit_price", "time_in_force", "expire_time",
    "deadline", "post_only", "cl_ord_id", "order_userref", "stp_type", "order_id", "orders",
    "timeout", "validate", "channel", "snapshot", "triggers",
)  # fmt: skip
METHODS = (*COMMANDS, "subscribe", "unsubscribe", "ping", "nothing", None)
GOOD = {
    "symbol": "BTC/USD", "side": "buy", "order_type": "limit", "order_qty": 1, "limit_price": 9000,
}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(METHODS), st.booleans(),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5),
)  # fmt: skip
def test_whatever_is_asked_is_answered(desk, method, good, params):
    sent: list[str] = []
    now_ns = START_NS
    connection = KrakenPrivateConnection(desk, sent.append, now_ns)
    token = desk.tokens.issue(desk.accounts.of(KEY), now_ns)
    asked = {**(GOOD if good else {}), "token": token, **params}
    connection.receive(json.dumps({"method": method, "req_id": 5, "params": asked}), now_ns)
    connection.tick(now_ns + 10**9)
    replies = [json.loads(text) for text in sent[1:]]
    assert [r for r in replies if r.get("req_id") == 5]
    for text in ("", "[]", '{"method":"add_order"}', '{"method":"add_order","params":[]}'):
        connection.receive(text, now_ns)
    connection.close(now_ns)
    desk.cancel_all(desk.accounts.of(KEY), now_ns)


@pytest.fixture(scope="module")
def desk():
    """A desk that stands by itself."""
    options = SimulatorSettings(
        symbols=(), kraken_symbols=("BTC/USD",), accounts=ACCOUNTS, past_s=1.0,
        kraken_tier="unlimited",
    )  # fmt: skip
    venue = KrakenVenue(options.kraken_symbols, options, lambda: START_NS, lambda *_: None)
    return venue.desk
