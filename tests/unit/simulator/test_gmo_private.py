"""GMO Coin's private side over real sockets, by a client of the pages alone."""

import json
from decimal import Decimal

import aiohttp
import pytest

from tests.unit.simulator.accounting import check
from tests.unit.simulator.gmo_client import (
    ASSETS,
    BEGIN,
    KEY,
    Private,
    best,
    call,
    code,
    fault,
    get,
    order,
    post,
    signature,
    truth,
    world,
)
from tests.unit.simulator.test_gmo import shape
from tests.unit.simulator.world import SECOND, run

EXECUTIONS, ORDERS = "executionEvents", "orderEvents"
POSITIONS, SUMS = "positionEvents", "positionSummaryEvents"


def story(tell, *channels, **settings):
    """One private socket with channels, in a world of its own."""

    async def live():
        async with world(**settings) as place:
            await tell(place, await Private.open(place, *channels))
            if all(each["symbol"] in ASSETS for each in truth(place)["orders"]):
                check(truth(place), BEGIN, ASSETS)

    run(live())


# ---- who asks


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"API-KEY": ""}, "ERR-5011"),
        ({"API-KEY": "nobody-knows"}, "ERR-5012"),
        ({"API-TIMESTAMP": "now"}, "ERR-5007"),
        ({"API-SIGN": "0" * 64}, "ERR-5010"),
    ],
)
def test_who_does_not_sign_is_refused(headers, wanted):
    async def live():
        async with world() as place:
            answer = await call(place, "GET", "account/assets", headers=headers)
            assert code(answer) == wanted
            assert answer["status"] == 5

    run(live())


@pytest.mark.parametrize(("off_ms", "wanted"), [(6000, "ERR-5008"), (-6000, "ERR-5009"), (900, "")])
def test_a_timestamp_too_far_off_is_refused(off_ms, wanted):
    async def live():
        async with world() as place:
            stamp_ms = place.now_ns // 10**6 + off_ms
            headers = {
                "API-TIMESTAMP": str(stamp_ms),
                "API-SIGN": signature(stamp_ms, "GET", "/v1/account/assets"),
            }
            assert code(await call(place, "GET", "account/assets", headers=headers)) == wanted
            fault(place, "nonce_error")
            assert code(await call(place, "GET", "account/assets")) == "ERR-5009"
            assert code(await call(place, "GET", "account/assets")) == ""

    run(live())


def test_the_documented_signature_is_ours():
    async def live():
        async with world() as place:
            stamp_ms = place.now_ns // 10**6
            query_signed = signature(stamp_ms, "GET", "/v1/activeOrders?symbol=BTC")
            headers = {"API-SIGN": query_signed}
            answer = await call(place, "GET", "activeOrders", headers=headers, symbol="BTC")
            assert code(answer) == "ERR-5010"
            token = await post(place, "ws-auth")
            body_signed = signature(stamp_ms, "PUT", "/v1/ws-auth", json.dumps({"token": token}))
            answer = await call(
                place, "PUT", "ws-auth", {"token": token}, headers={"API-SIGN": body_signed}
            )
            assert code(answer) == "ERR-5010"
            assert code(await call(place, "PUT", "ws-auth", {"token": token})) == ""

    run(live())


def test_twenty_reads_and_twenty_writes_a_second():
    async def live():
        async with world() as place:
            for _ in range(20):
                assert code(await call(place, "GET", "account/assets")) == ""
            assert code(await call(place, "GET", "account/assets")) == "ERR-5003"
            assert code(await call(place, "POST", "cancelOrder", {"orderId": 1})) == "ERR-5123"
            place.now_ns += SECOND
            assert code(await call(place, "GET", "account/assets")) == ""
            fault(place, "rate_limit")
            assert code(await call(place, "POST", "cancelOrder", {"orderId": 1})) == "ERR-5003"

    run(live())


def test_nothing_is_done_in_maintenance():
    async def live():
        async with world() as place:
            fault(place, "maintenance")
            assert code(await call(place, "GET", "account/assets")) == "ERR-5201"
            fault(place, "maintenance_end")
            assert code(await call(place, "GET", "account/assets")) == ""

    run(live())


# ---- tokens


def test_a_token_lives_an_hour_and_a_sixth_one_removes_the_oldest():
    async def tell(place, client):
        async def opens(token):
            url = f"{place.base}/gmo/ws/private/v1/{token}"
            try:
                async with place.http.ws_connect(url):
                    return True
            except aiohttp.WSServerHandshakeError as error:
                return error.status != 401

        assert not await opens("made-up")
        place.now_ns += 1800 * SECOND
        others = [await post(place, "ws-auth") for _ in range(4)]
        await place.step(0.1)
        assert await opens(client.token)
        others.append(await post(place, "ws-auth"))
        await place.step(0.1)
        assert not await opens(client.token)
        assert client.watcher.gone
        assert code(await call(place, "PUT", "ws-auth", {"token": client.token})) == "ERR-5106"
        place.now_ns += 3000 * SECOND
        assert code(await call(place, "PUT", "ws-auth", {"token": others[1]})) == ""
        assert code(await call(place, "DELETE", "ws-auth", {"token": others[2]})) == ""
        assert not await opens(others[2])
        place.now_ns += 700 * SECOND
        assert not await opens(others[0])
        assert await opens(others[1])

    story(tell)


# ---- orders and their events


def test_frames_have_the_documented_shapes(recordings):
    path = recordings / "gmo" / "ws_private_doc_samples.jsonl"
    samples = {f["channel"]: f for f in map(json.loads, path.read_text().splitlines())}

    async def tell(place, client):
        number = await order(place, "BUY", "0.01", 1000000, symbol="BTC_JPY")
        await post(place, "cancelOrder", orderId=number)
        await order(place, "BUY", "0.01", symbol="BTC_JPY")
        for channel, sample in samples.items():
            assert shape(client.frames(channel)[-1]).items() <= shape(sample).items(), channel
        canceled = next(f for f in client.frames(ORDERS) if f["orderStatus"] == "CANCELED")
        assert shape(canceled) == shape(samples[ORDERS])
        assert shape(client.frames(EXECUTIONS)[0]) == shape(samples[EXECUTIONS])
        assert shape(client.frames(SUMS)[0]) == shape(samples[SUMS])

    story(tell, EXECUTIONS, ORDERS, SUMS)


def test_fills_are_told_as_executions_alone():
    async def tell(place, client):
        price = best(place, 1) - 50
        number = await order(place, "BUY", "0.4", price)
        fault(place, "hold_fills", share="0.5")
        fault(place, "move", symbol="BTC", price=str(price))
        await place.step(0.06)
        fault(place, "release_fills")
        fault(place, "move", symbol="BTC", price=str(price - 10))
        await place.step(0.06)
        assert [f["orderStatus"] for f in client.frames(ORDERS)] == ["ORDERED"]
        told = client.frames(EXECUTIONS)
        assert [f["orderExecutedSize"] for f in told] == ["0.2", "0.4"]
        assert [f["executionSize"] for f in told] == ["0.2", "0.2"]
        assert {f["orderId"] for f in told} == {number}
        assert all(Decimal(f["fee"]) < 0 for f in told)
        listed = (await get(place, "executions", orderId=number))["list"]
        assert [row["executionId"] for row in listed] == [f["executionId"] for f in told][::-1]
        latest = (await get(place, "latestExecutions", symbol="BTC"))["list"]
        assert latest == listed
        by_id = await get(place, "executions", executionId=listed[0]["executionId"])
        assert by_id["list"] == listed[:1]
        row = (await get(place, "orders", orderId=number))["list"][0]
        assert (row["status"], row["executedSize"], row["size"]) == ("EXECUTED", "0.4", "0.4")
        assert await get(place, "activeOrders", symbol="BTC") == {
            "pagination": {"currentPage": 1, "count": 0}
        }
        both = await call(place, "GET", "executions", orderId=1, executionId=1)
        assert code(both) == "ERR-5208"

    story(tell, EXECUTIONS, ORDERS)


def test_orders_end_in_their_own_words():
    async def tell(place, client):
        low, high = best(place, 1) - 100, best(place, -1)
        await order(place, "BUY", "0.1", high, timeInForce="SOK")
        await order(place, "BUY", "0.1", low, timeInForce="FAK")
        await order(place, "BUY", "0.1", low, timeInForce="FOK")
        number = await order(place, "BUY", "0.1", low)
        changed = await call(
            place, "POST", "changeOrder", {"orderId": number, "price": str(low + 1)}
        )
        assert changed["status"] == 0
        assert "data" not in changed
        await post(place, "cancelOrder", orderId=number)
        await place.step(0.06)
        ends = [
            (f["orderStatus"], f.get("cancelType"), f["msgType"]) for f in client.frames(ORDERS)
        ]
        new = ("ORDERED", None, "NOR")
        assert ends == [
            new, ("EXPIRED", "EXPIRED_SOK", "ER"),
            new, ("EXPIRED", "EXPIRED_FAK", "ER"),
            new, ("EXPIRED", "EXPIRED_FOK", "ER"),
            new, ("ORDERED", None, "ROR"), ("CANCELED", "USER", "COR"),
        ]  # fmt: skip
        row = (await get(place, "orders", orderId=number))["list"][0]
        assert (row["status"], row["cancelType"], row["price"]) == (
            "CANCELED", "USER", str(low + 1),
        )  # fmt: skip
        again = await call(place, "POST", "cancelOrder", {"orderId": number})
        assert code(again) == "ERR-5122"

    story(tell, ORDERS)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"symbol": "DOGE"}, "ERR-5106"),
        ({"side": "HOLD"}, "ERR-5106"),
        ({"executionType": "STOP"}, "ERR-5106"),
        ({"size": 0.1}, "ERR-5106"),
        ({"size": "0"}, "ERR-5106"),
        ({"size": "0.000001"}, "ERR-5114"),
        ({"size": "0.000000001"}, "ERR-5114"),
        ({"price": "1000.5"}, "ERR-5114"),
        ({"price": "0"}, "ERR-5121"),
        ({"price": None}, "ERR-5106"),
        ({"timeInForce": "GTC"}, "ERR-5111"),
        ({"size": "30"}, "ERR-201"),
        ({"side": "SELL", "size": "3"}, "ERR-208"),
        ({"symbol": "XRP_JPY", "size": "10", "price": "300", "timeInForce": "SOK"}, "ERR-5111"),
        ({"losscutPrice": "1"}, "ERR-5106"),
    ],
)
def test_an_order_that_is_wrong_is_refused(body, wanted):
    async def live():
        async with world() as place:
            good = {
                "symbol": "BTC", "side": "BUY", "executionType": "LIMIT", "size": "0.1",
                "price": "13000000",
            }  # fmt: skip
            assert code(await call(place, "POST", "order", {**good, **body})) == wanted
            assert truth(place)["balances"]["JPY"]["held"] == "0"
            assert code(await call(place, "POST", "order", good)) == ""

    run(live())


def test_many_are_canceled_at_once():
    async def tell(place, client):
        price = best(place, 1) - 500
        numbers = [await order(place, "BUY", "0.01", price - n) for n in range(13)]
        both = await post(place, "cancelOrders", orderIds=[numbers[0], 7, numbers[1]])
        assert both["success"] == numbers[:2]
        assert [(row["orderId"], row["message_code"]) for row in both["failed"]] == [
            (7, "ERR-5123")
        ]
        assert code(await call(place, "POST", "cancelOrders", {"orderIds": []})) == "ERR-5106"
        sold = await order(place, "SELL", "0.01", price + 100000)
        found = await post(place, "cancelBulkOrder", symbols=["BTC", "BTC_JPY"], side="BUY")
        assert found == numbers[2:12]
        found = await post(place, "cancelBulkOrder", symbols=["BTC"], desc=True)
        assert found == [sold, numbers[12]]
        assert await post(place, "cancelBulkOrder", symbols=["BTC"]) == []
        await place.step(0.06)
        canceled = [f["orderId"] for f in client.frames(ORDERS) if f["orderStatus"] == "CANCELED"]
        assert sorted(canceled) == sorted([*numbers, sold])

    story(tell, ORDERS)


def test_lists_have_pages():
    async def tell(place, client):
        price = best(place, 1) - 500
        numbers = [await order(place, "BUY", "0.01", price - n) for n in range(5)]
        first = await get(place, "activeOrders", symbol="BTC", page=1, count=3)
        second = await get(place, "activeOrders", symbol="BTC", page=2, count=3)
        assert (first["pagination"], second["pagination"]) == (
            {"currentPage": 1, "count": 3}, {"currentPage": 2, "count": 2},
        )  # fmt: skip
        rows = [*first["list"], *second["list"]]
        assert [row["orderId"] for row in rows] == numbers[::-1]
        assert code(await call(place, "GET", "activeOrders", symbol="X")) == "ERR-5106"
        assert await get(place, "orders", orderId="7,8") == {}
        assert code(await call(place, "GET", "orders", orderId="7,x")) == "ERR-5106"

    story(tell)


# ---- positions


def test_leverage_orders_open_positions_and_closing_orders_close_them():
    async def tell(place, client):
        opened = await order(place, "BUY", "0.02", symbol="BTC_JPY")
        await order(place, "BUY", "0.01", symbol="BTC_JPY")
        held = (await get(place, "openPositions", symbol="BTC_JPY"))["list"]
        assert sum(Decimal(row["size"]) for row in held) == Decimal("0.03")
        (total,) = (await get(place, "positionSummary"))["list"]
        assert (total["side"], total["sumPositionQuantity"]) == ("BUY", "0.03")
        wrong = {"symbol": "BTC_JPY", "executionType": "MARKET"}
        for body, wanted in (
            ({"side": "BUY", "size": "0.01"}, "ERR-422"),
            ({"side": "SELL", "size": "0.04"}, "ERR-200"),
            ({"side": "SELL", "size": "0.01", "symbol": "BTC"}, "ERR-5106"),
        ):
            answer = await call(place, "POST", "closeBulkOrder", {**wrong, **body})
            assert code(answer) == wanted
        one = {"positionId": held[0]["positionId"], "size": held[0]["size"]}
        for side, named, wanted in (
            ("BUY", one, "ERR-70"),
            ("SELL", {**one, "size": "5"}, "ERR-189"),
            ("SELL", {**one, "positionId": 1}, "ERR-254"),
        ):
            body = {**wrong, "side": side, "settlePosition": [named]}
            assert code(await call(place, "POST", "closeOrder", body)) == wanted
        await post(place, "closeOrder", **wrong, side="SELL", settlePosition=[one])
        rest = str(Decimal("0.03") - Decimal(one["size"]))
        await post(place, "closeBulkOrder", **wrong, side="SELL", size=rest)
        await place.step(0.06)
        assert await get(place, "openPositions", symbol="BTC_JPY") == {
            "pagination": {"currentPage": 1, "count": 0}
        }
        assert truth(place)["positions"] == []
        told = client.frames(EXECUTIONS)
        closing = [f for f in told if f["settleType"] == "CLOSE"]
        profit = sum(Decimal(f["lossGain"]) for f in closing)
        yen = Decimal(truth(place)["balances"]["JPY"]["total"])
        assert yen == Decimal(BEGIN["JPY"]) + profit
        assert {f["positionId"] for f in closing} == {row["positionId"] for row in held}
        kinds = [f["msgType"] for f in client.frames(POSITIONS)]
        assert kinds.count("OPR") == len(held)
        assert kinds.count("CPR") == len(held)
        assert client.frames(SUMS)[-1]["sumPositionQuantity"] == "0"
        row = (await get(place, "orders", orderId=opened))["list"][0]
        assert row["settleType"] == "OPEN"

    story(tell, EXECUTIONS, POSITIONS, SUMS)


def test_sums_are_told_at_first_and_every_five_seconds_if_asked_for():
    async def tell(place, client):
        await order(place, "SELL", "0.02", symbol="BTC_JPY")
        await client.subscribe(place, SUMS, option="PERIODIC")
        assert [f["msgType"] for f in client.frames(SUMS)] == ["INIT"]
        await place.step(11, 0.5)
        assert [f["msgType"] for f in client.frames(SUMS)] == ["INIT", "PERIODIC", "PERIODIC"]
        await client.subscribe(place, SUMS)
        await place.step(11, 0.5)
        kinds = [f["msgType"] for f in client.frames(SUMS)]
        assert kinds == ["INIT", "PERIODIC", "PERIODIC", "INIT"]

    story(tell)


def test_what_an_account_has():
    async def tell(place, client):
        await order(place, "BUY", "0.1", best(place, 1) - 100)
        rows = {row["symbol"]: row for row in await get(place, "account/assets")}
        found = truth(place)["balances"]
        for asset, row in rows.items():
            assert (row["amount"], row["available"]) == (
                found[asset]["total"], found[asset]["available"],
            )  # fmt: skip
        assert rows["JPY"]["conversionRate"] == "1"
        margin = await get(place, "account/margin")
        assert margin["availableAmount"] == found["JPY"]["available"]
        assert "marginRatio" not in margin
        await order(place, "SELL", "0.02", symbol="BTC_JPY")
        margin = await get(place, "account/margin")
        assert Decimal(margin["margin"]) > 0
        assert Decimal(margin["profitLoss"]) < 0
        await post(
            place, "closeBulkOrder", symbol="BTC_JPY", side="BUY", executionType="MARKET",
            size="0.02",
        )  # fmt: skip

    story(tell)


# ---- the socket


def test_commands_are_not_acknowledged_and_mistakes_are_named():
    async def tell(place, client):
        await client.watcher.send(command="subscribe", channel=ORDERS)
        await place.settle()
        assert client.watcher.values[-1] == {"error": "ERR-5003 Request too many."}
        for request, parameter in (
            ({"command": "ask", "channel": ORDERS}, "command"),
            ({"command": "subscribe", "channel": "orderbooks"}, "channel"),
            ({"command": "subscribe", "channel": ORDERS, "option": "PERIODIC"}, "option"),
        ):
            place.now_ns += SECOND
            await client.watcher.send(**request)
            await place.settle()
            said = client.watcher.values[-1]
            assert said == {"error": f"ERR-5106 Invalid request parameter. {parameter}"}
        before = len(client.watcher.frames)
        await client.subscribe(place, ORDERS)
        assert len(client.watcher.frames) == before
        place.now_ns += SECOND
        await client.watcher.send(command="unsubscribe", channel=ORDERS)
        await place.settle()
        await order(place, "BUY", "0.01", 1000)
        assert client.frames(ORDERS) == []

    story(tell, EXECUTIONS)


def test_what_was_missed_is_not_told_and_closed_sockets_listen_no_more():
    async def tell(place, client):
        account = place.exchange.venues["gmo"].accounts.of(KEY)
        await order(place, "BUY", "0.01", 1000)
        await client.watcher.socket.close()
        await place.until(lambda: not account.delivery.listeners)
        second = await Private.open(place, ORDERS)
        assert second.watcher.frames == []
        await order(place, "BUY", "0.01", 1001)
        assert len(second.frames(ORDERS)) == 1

    story(tell, ORDERS)


@pytest.mark.parametrize("kind", ["lose_request", "lose_answer"])
def test_what_is_lost_is_lost_with_the_connection(kind):
    async def tell(place, client):
        fault(place, kind, command="order")
        with pytest.raises(aiohttp.ClientError):
            await order(place, "BUY", "0.01", 1000)
        await place.step(0.06)
        taken = len(truth(place)["orders"])
        assert taken == (kind == "lose_answer")
        assert len(client.frames(ORDERS)) == taken

    story(tell, ORDERS)


def test_events_can_come_before_the_answer():
    async def tell(place, client):
        fault(place, "out_of_order_events")
        fault(place, "doubled_events", count=1)
        await post(
            place, "order", symbol="BTC", side="BUY", executionType="MARKET", size="0.01"
        )  # fmt: skip
        await place.settle()
        assert client.frames(EXECUTIONS)
        assert len(client.frames(ORDERS)) == 2

    story(tell, EXECUTIONS, ORDERS)
