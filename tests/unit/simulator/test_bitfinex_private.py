"""Bitfinex's account channel over real sockets, by a client of the pages alone."""

from decimal import Decimal

import pytest

from processes.simulator.bitfinex_private_rows import utc_day
from tests.unit.simulator.accounting import check
from tests.unit.simulator.bitfinex_client import (
    ASSETS,
    BEGIN,
    KEY,
    SEQ_ALL,
    Private,
    fault,
    next_nonce,
    signature,
    truth,
    world,
)
from tests.unit.simulator.world import START_NS, run

TODAY = utc_day(START_NS)
SNAPSHOTS = ["ps", "ws", "os"]


def story(tell, **auth):
    """One authenticated socket in a world of its own."""

    async def live():
        async with world() as place:
            await tell(place, await Private.open(place, **auth))
            if not any(order["status"] == "open" for order in truth(place)["orders"]):
                check(truth(place), BEGIN, ASSETS)

    run(live())


def test_auth_is_checked_and_its_nonce_used_up():
    async def tell(place, client):
        assert client.tags() == SNAPSHOTS
        assert client.of("os") == [[]]
        assert sorted(row[:5] for row in client.of("ws")[0]) == [
            ["exchange", "BTC", 10, 0, None],
            ["exchange", "ETH", 50, 0, None],
            ["exchange", "USD", 1000000, 0, None],
        ]
        other = Private(place, await place.watch("/ws/2"))
        used = next_nonce(place) - 1
        for auth, code in (
            ({"nonce": used}, 10114),
            ({"nonce": 1 << 53}, 10114),
            ({"apiKey": "somebody"}, 10100),
            ({"authSig": signature("AUTH1", "another-secret")}, 10100),
            ({"authPayload": "AUTHOR"}, 10111),
        ):
            answer = await other.authenticate(**auth)
            assert (answer["status"], answer["code"], answer["chanId"]) == ("FAILED", code, 0)
        fault(place, "nonce_error")
        assert (await other.authenticate())["code"] == 10114
        assert (await other.authenticate())["status"] == "OK"

    story(tell)


def test_an_input_before_auth_gets_no_answer():
    async def live():
        async with world() as place:
            client = Private(place, await place.watch("/ws/2"))
            assert await client.order("0.1") is None
            assert truth(place)["orders"] == []

    run(live())


def test_a_resting_order_is_notified_told_filled_and_confirmed_with_its_fee():
    async def tell(place, client):
        answer = await client.order("0.5", "80000", cid=12345, gid=7, flags=4096)
        assert (answer[1], answer[6]) == ("on-req", "SUCCESS")
        assert answer[0] == Decimal(START_NS // 10**6) / 1000
        assert answer[7] == "Submitting exchange limit buy order for 0.5 BTC."
        row = answer[4]
        order_id = int(truth(place)["orders"][0]["id"])
        assert (row[0], row[1], row[2], row[3], row[6], row[7], row[8], row[12], row[13]) == (
            order_id, 7, 12345, "tBTCUSD", Decimal("0.5"), Decimal("0.5"), "EXCHANGE LIMIT", 4096,
            "ACTIVE",
        )  # fmt: skip
        assert client.of("on")[0][:9] == row[:9]
        fault(place, "hold_fills", share="0.4")
        fault(place, "move", symbol="tBTCUSD", price="80000")
        await place.step(0.05)
        update = client.of("ou")[0]
        assert (update[6], update[7]) == (Decimal("0.3"), Decimal("0.5"))
        assert update[13] == "PARTIALLY FILLED @ 80000(0.2)"
        executed = client.of("te")[0]
        assert executed[3:6] == [order_id, Decimal("0.2"), 80000]
        assert executed[6:] == [None, None, 1, None, None, 12345]
        assert client.of("tu") == []
        await place.step(0.2)
        assert client.of("tu")[0][6:] == [
            "EXCHANGE LIMIT", 80000, 1, Decimal("-0.0002"), "BTC", 12345,
        ]  # fmt: skip
        changes = [(row[1], row[2], row[4]) for row in client.of("wu")]
        assert changes == [("BTC", Decimal("10.1998"), None), ("USD", 984000, None)]
        fault(place, "release_fills")
        fault(place, "move", symbol="tBTCUSD", price="79000")
        await place.step(0.2)
        done = client.of("oc")[0]
        assert (done[6], done[13], done[17]) == (0, "EXECUTED @ 80000(0.5)", 80000)
        assert {str(row[0]) for row in client.of("tu")} == set(truth(place)["orders"][0]["fills"])

    story(tell)


def test_a_market_order_goes_straight_to_its_end():
    async def tell(place, client):
        answer = await client.order("-1", cid=5)
        assert (answer[4][6], answer[4][8], answer[4][13]) == (-1, "EXCHANGE MARKET", "ACTIVE")
        assert client.of("on") == []
        (ended,) = client.of("oc")
        assert ended[13].startswith("EXECUTED @ ")
        assert ended[6] == 0
        assert sum(row[4] for row in client.of("te")) == -1
        assert {row[10] for row in client.of("tu")} == {"USD"}
        assert all(row[9] < 0 and row[8] == -1 for row in client.of("tu"))

    story(tell)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"symbol": "tNOPUSD"}, "symbol: invalid"),
        ({"price": "0"}, "Invalid price."),
        ({"price": None}, "Invalid price."),
        ({"price": 50000}, "Invalid price."),
        ({"amount": "0"}, "amount: invalid"),
        ({"amount": "0.000000001"}, "amount: invalid"),
        ({"amount": "NaN"}, "amount: invalid"),
        ({"amount": "0.000009"}, "Invalid order: minimum size for BTC/USD is 0.00001"),
        ({"amount": "100"}, "Invalid order: not enough exchange balance for 100 BTCUSD"),
        ({"amount": "-11"}, "Invalid order: not enough exchange balance for -11 BTCUSD"),
        ({"type": "LIMIT"}, "This pair cannot be traded on margin."),
        ({"type": "EXCHANGE STOP"}, "type: invalid"),
        ({"cid": 1 << 45}, "cid: invalid"),
        ({"cid": "5"}, "cid: invalid"),
        ({"cid": 4}, "cid: dup"),
        ({"flags": 64}, "flags: invalid"),
        ({"flags": 1024}, "Invalid order: there is no position to reduce"),
        ({"tif": "2030-01-01 00:00:00"}, "tif: invalid"),
    ],
)
def test_an_order_that_is_not_as_it_must_be_is_refused_and_changes_nothing(params, text):
    async def tell(place, client):
        await client.order("0.1", "50000", cid=4)
        before = truth(place)
        wanted = {"cid": 77, "amount": "0.1", "price": "50000", **params}
        answer = await client.put("on", {"type": "EXCHANGE LIMIT", "symbol": "tBTCUSD", **wanted})
        assert (answer[1], answer[6], answer[7]) == ("on-req", "ERROR", text)
        assert answer[4][0] is None
        assert answer[4][2] == wanted["cid"]
        assert truth(place)["balances"] == before["balances"]
        assert len(truth(place)["orders"]) == 1

    story(tell)


def test_a_client_id_is_taken_once_a_utc_day():
    async def tell(place, client):
        await client.order("0.1", "50000", cid=4)
        await client.put("oc", {"cid": 4, "cid_date": TODAY})
        assert (await client.order("0.1", "50000", cid=4))[7] == "cid: dup"
        place.now_ns += 86_400 * 10**9
        assert (await client.order("0.1", "50000", cid=4))[6] == "SUCCESS"
        refused = await client.put("oc", {"cid": 4, "cid_date": TODAY})
        assert refused[7] == "Order not found."
        await client.put("oc", {"cid": 4, "cid_date": utc_day(place.now_ns)})

    story(tell)


def test_digits_beyond_five_of_a_price_are_cut_off():
    async def tell(place, client):
        await client.order("0.1", "50000.99")
        assert client.of("on")[0][16] == 50000

    story(tell)


def test_post_only_never_takes_and_ends_by_itself():
    async def tell(place, client):
        answer = await client.order("0.1", "90000", flags=4096)
        assert answer[6] == "SUCCESS"
        assert client.of("oc")[0][13] == "POSTONLY CANCELED"
        assert client.of("te") == []
        await client.put(
            "on",
            {"type": "EXCHANGE IOC", "symbol": "tBTCUSD", "amount": "0.1", "price": "50000"},
        )
        assert client.of("oc")[1][13] == "IOC CANCELED"

    story(tell)


def test_updates_change_amount_and_price_in_place():
    async def tell(place, client):
        order_id = (await client.order("-0.5", "90000", cid=9))[4][0]
        answer = await client.put("ou", {"id": order_id, "delta": "0.2", "price": "91000"})
        assert (answer[1], answer[6]) == ("ou-req", "SUCCESS")
        row = client.of("ou")[0]
        assert (row[0], row[6], row[16]) == (order_id, Decimal("-0.3"), 91000)
        await client.put("ou", {"id": order_id, "amount": "-0.4"})
        assert client.of("ou")[1][7] == Decimal("-0.4")
        for wrong in ({"amount": "0.4"}, {"delta": "0.4"}, {"price": "x"}):
            assert (await client.put("ou", {"id": order_id, **wrong}))[6] == "ERROR"
        assert (await client.put("ou", {"id": 1, "amount": "1"}))[7] == "Order not found."
        await client.put("oc", {"id": order_id})
        assert client.of("oc")[0][13] == "CANCELED"

    story(tell)


def test_cancels_by_all_names_and_many_at_once():
    async def tell(place, client):
        ids = [
            (await client.order("0.1", str(50000 + n), cid=n + 1, gid=n % 2))[4][0]
            for n in range(6)
        ]
        answer = await client.put("oc", {"id": ids[0]})
        assert answer[7] == f"Submitted for cancellation; waiting for confirmation (ID: {ids[0]})."
        assert (await client.put("oc", {"id": ids[0]}))[7] == "Order not found."
        await client.put("oc", {"cid": 2, "cid_date": TODAY})
        answer = await client.put("oc_multi", {"id": [ids[2], 999], "cid": [[4, TODAY]]})
        assert (answer[1], answer[7]) == ("oc_multi-req", "Submitting 2 order cancellations.")
        assert [row[0] for row in answer[4]] == [ids[2], ids[3]]
        await client.put("oc_multi", {"gid": [0]})
        assert [row[0] for row in client.of("oc")] == ids[:5]
        await client.put("oc_multi", {"all": 1})
        assert [row[0] for row in client.of("oc")] == ids

    story(tell)


def test_several_operations_are_answered_one_by_one():
    async def tell(place, client):
        order_id = (await client.order("0.1", "50000", cid=1))[4][0]
        await client.put(
            "ox_multi",
            [
                ["on", {"type": "EXCHANGE LIMIT", "symbol": "tBTCUSD", "amount": "0.2",
                        "price": "50001", "cid": 2}],
                ["on", {"type": "EXCHANGE LIMIT", "symbol": "tBTCUSD", "amount": "0", "cid": 3}],
                ["oc", {"id": order_id}],
                ["on"],
            ],
        )  # fmt: skip
        answers = [(row[1], row[6]) for row in client.of("n")[1:]]
        assert answers == [("on-req", "SUCCESS"), ("on-req", "ERROR"), ("oc-req", "SUCCESS")]
        assert [o["client_id"] for o in truth(place)["orders"] if o["status"] == "open"] == ["2"]

    story(tell)


def test_both_numbers_are_as_the_venues_own_client_reads_them():
    async def tell(place, client):
        await client.watcher.send(event="subscribe", channel="trades", symbol="tBTCUSD")
        await client.order("0.1", cid=1)
        await client.order("0.1", "50000", cid=2)
        await place.step(15.2, pace_s=0.2)
        public, account = 0, 0
        for frame in [v for v in client.frames if isinstance(v, list)]:
            if frame[0] != 0 or frame[1] == "hb":
                public += 1
                assert frame[-1] == public
            elif frame[1] == "n":
                assert len(frame) == 4
                assert frame[-1] == account
            else:
                public, account = public + 1, account + 1
                assert frame[-2:] == [public, account]
        assert [0, "hb"] in [f[:2] for f in client.account_frames]

    story(tell)


def test_without_the_flag_there_are_no_numbers_and_with_a_gap_one_is_missing():
    async def tell(place, client):
        await client.order("0.1", "50000")
        assert {len(frame) for frame in client.account_frames} == {3}
        await client.watcher.send(event="conf", flags=SEQ_ALL)
        fault(place, "gap", symbol="account")
        await client.order("0.1", "50001")
        assert client.tags().count("on") == 1
        await client.order("0.1", "50002")
        assert client.account_frames[-1][-1] == 6

    story(tell, flags=0)


@pytest.mark.parametrize("dms", [0, 4])
def test_orders_end_with_their_socket_if_that_was_asked_for(dms):
    async def live():
        async with world() as place:
            client, other = await Private.open(place, dms=dms), await Private.open(place)
            await client.order("0.1", "50000")
            await other.order("0.2", "50000")
            fault(place, "cut", client=1)
            await place.until(lambda: client.watcher.gone)
            await place.step(0.2)
            states = {order["status"] for order in truth(place)["orders"]}
            causes = {order["cause"] for order in truth(place)["orders"]}
            assert (states, causes) == (({"canceled"}, {"dead_man"}) if dms else ({"open"}, {""}))
            assert len(other.of("oc")) == (2 if dms else 0)

    run(live())


def test_what_is_available_is_told_when_it_is_asked_for():
    async def tell(place, client):
        await client.order("0.1", "50000")
        await client.put("calc", [["wallet_exchange_USD"], ["wallet_exchange_NOP"], ["margin"]])
        assert client.of("wu") == [["exchange", "USD", 1000000, 0, 995000, None, None]]

    story(tell)


def test_lost_late_doubled_and_early_answers():
    async def tell(place, client):
        fault(place, "lose_request", how="silent")
        assert await client.order("0.1", "50000", cid=1) is None
        fault(place, "lose_answer", how="silent")
        assert await client.order("0.1", "50001", cid=2) is None
        assert [order["client_id"] for order in truth(place)["orders"]] == ["2"]
        assert [row[2] for row in client.of("on")] == [2]
        fault(place, "late_answer", seconds=1.0)
        assert await client.order("0.1", "50002", cid=3) is None
        await place.step(1.0)
        assert client.of("n")[0][4][2] == 3
        fault(place, "out_of_order_events")
        await client.order("0.1", "50003", cid=4)
        assert client.tags()[-2:] == ["on", "n"]
        fault(place, "doubled_events")
        await client.order("0.1", "50004", cid=5)
        assert [row[2] for row in client.of("on")].count(5) == 2
        fault(place, "rate_limit")
        assert (await client.order("0.1", "50005", cid=6))[7] == "ratelimit: error"
        fault(place, "reject_order")
        assert (await client.order("0.1", "50005", cid=6))[7] == "Invalid order."
        fault(place, "lose_answer")
        await client.order("0.1", "50006", cid=7)
        await place.until(lambda: client.watcher.gone)
        assert [order["client_id"] for order in truth(place)["orders"]][-1] == "7"
        assert truth(place, KEY)["events"] > 0

    story(tell)
