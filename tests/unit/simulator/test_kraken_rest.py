"""Kraken's signed REST calls and the public ones that a trading bot makes, by a plain client."""

import asyncio
import json
import random
from decimal import Decimal
from urllib.parse import urlencode

import aiohttp
import pytest

from processes.simulator.kraken_rest import sign
from schemas.errors import OperatorError
from tests.unit.simulator.accounting import check
from tests.unit.simulator.kraken_client import (
    ASSETS,
    BEGIN,
    KEY,
    SECRET,
    Private,
    Rest,
    fault,
    signature,
    truth,
    world,
)
from tests.unit.simulator.world import run

ORDER = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "1", "price": "30000"}


def story(tell, **settings):
    async def live():
        async with world(**settings) as place:
            await tell(place, Rest(place))
            check(truth(place), BEGIN, ASSETS)

    run(live())


def test_the_signature_is_that_of_the_published_example(recordings):
    (line,) = (recordings / "kraken/rest_signing_vectors.jsonl").read_text().splitlines()
    row = json.loads(line)
    arguments = (row["secret_b64"], row["path"], row["nonce"], row["postdata"])
    assert sign(*arguments) == row["api_sign"]
    assert signature(*arguments[1:], secret=arguments[0]) == row["api_sign"]


def test_a_call_must_be_signed_and_newer_than_the_last():
    async def tell(place, rest):
        async def call(nonce, *, key=KEY, secret=SECRET):
            body = urlencode({"nonce": nonce})
            signed = signature("/0/private/Balance", str(nonce), body, secret)
            headers = {"API-Key": key, "API-Sign": signed}
            url = f"{place.base}/kraken/0/private/Balance"
            async with place.http.post(url, data=body, headers=headers) as reply:
                return (await reply.json())["error"]

        assert await call(10) == []
        for nonce in (10, 9, "x", "", "²", "-11", "9" * 30):
            assert await call(nonce) == ["EAPI:Invalid nonce"]
        assert await call(11, key="somebody") == ["EAPI:Invalid key"]
        assert await call(11, secret="c29tZXRoaW5nIGVsc2U=") == ["EAPI:Invalid signature"]
        fault(place, "nonce_error")
        assert await call(11) == ["EAPI:Invalid nonce"]
        assert await call(11) == []
        fault(place, "rate_limit", count=2)
        assert await call(12) == ["EAPI:Rate limit exceeded"]
        assert (await rest.call("AddOrder", **ORDER))["error"] == ["EOrder:Rate limit exceeded"]
        fault(place, "maintenance")
        assert await call(20) == ["EService:Unavailable"]

    story(tell)


def test_an_order_is_placed_found_filled_and_listed():
    async def tell(place, rest):
        made = await rest.result("AddOrder", **ORDER, userref="5")
        assert made["descr"]["order"] == "buy 1.00000000 XBTUSD @ limit 30000.0"
        (txid,) = made["txid"]
        (found,) = (await rest.result("QueryOrders", txid=txid, trades="true")).values()
        assert (found["status"], found["vol"], found["vol_exec"]) == (
            "open", "1.00000000", "0.00000000",
        )  # fmt: skip
        assert (found["userref"], found["descr"]["pair"], found["descr"]["price"]) == (
            5, "XBTUSD", "30000.0",
        )  # fmt: skip
        assert list((await rest.result("OpenOrders"))["open"]) == [txid]
        held = await rest.result("BalanceEx")
        assert held["ZUSD"] == {"balance": "1000000.00000", "hold_trade": "30120.00000"}
        assert held["XXBT"] == {"balance": "10.00000", "hold_trade": "0.00000"}
        fault(place, "move", symbol="BTC/USD", price="30000")
        assert (await rest.result("OpenOrders"))["open"] == {}
        (done,) = (await rest.result("QueryOrders", txid=txid, trades="true")).values()
        assert (done["status"], done["cost"], done["fee"], done["price"]) == (
            "closed", "30000.00000", "75.00000", "30000.0",
        )  # fmt: skip
        closed = await rest.result("ClosedOrders")
        assert (list(closed["closed"]), closed["count"]) == ([txid], 1)
        history = await rest.result("TradesHistory")
        assert list(history["trades"]) == done["trades"]
        (trade,) = history["trades"].values()
        assert (trade["ordertxid"], trade["pair"], trade["price"], trade["vol"], trade["fee"]) == (
            txid, "XXBTZUSD", "30000.0", "1.00000000", "75.00000",
        )  # fmt: skip
        asked = await rest.result("QueryTrades", txid=",".join(done["trades"]))
        assert asked == history["trades"]
        assert (await rest.result("Balance"))["ZUSD"] == "969925.00000"

    story(tell)


def test_orders_are_amended_and_canceled():
    async def tell(place, rest):
        first = (await rest.result("AddOrder", **ORDER, cl_ord_id="one"))["txid"][0]
        amended = await rest.result("AmendOrder", txid=first, order_qty="2", limit_price="31000")
        assert amended["amend_id"].startswith("T")
        (found,) = (await rest.result("QueryOrders", txid=first)).values()
        assert (found["vol"], found["descr"]["price"], found["cl_ord_id"]) == (
            "2.00000000", "31000.0", "one",
        )  # fmt: skip
        assert await rest.result("CancelOrder", cl_ord_id="one") == {"count": 1}
        assert (await rest.call("CancelOrder", txid=first))["error"] == ["EOrder:Unknown order"]
        for _ in range(2):
            await rest.result("AddOrder", **ORDER, userref="7")
        assert await rest.result("CancelOrder", txid="7") == {"count": 2}
        await rest.result("AddOrder", **ORDER)
        assert await rest.result("CancelAll") == {"count": 1}
        (canceled,) = (await rest.result("QueryOrders", txid=first)).values()
        assert (canceled["status"], canceled["reason"]) == ("canceled", "User requested")
        await rest.result("AddOrder", **ORDER)
        armed = await rest.result("CancelAllOrdersAfter", timeout="5")
        assert armed["triggerTime"] > armed["currentTime"]
        await place.step(6)
        assert (await rest.result("OpenOrders"))["open"] == {}
        assert (await rest.result("CancelAllOrdersAfter", timeout="0"))["triggerTime"] == "0"

    story(tell)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"pair": "NOPE"}, "EQuery:Unknown asset pair"),
        ({"price": "30000.05"}, "EOrder:Tick size check failed"),
        ({"price": "much"}, "EGeneral:Invalid arguments:price"),
        ({"volume": "nan"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "0.00001"}, "EOrder:Order minimum not met"),
        ({"volume": "1000"}, "EOrder:Insufficient funds"),
        ({"volume": "²"}, "EGeneral:Invalid arguments:volume"),
        ({"timeinforce": "GTD", "expiretm": "²"}, "EGeneral:Invalid arguments:expiretm"),
        ({"deadline": "2001-01-01T00:00:00Z"}, "EService:Deadline elapsed"),
        ({"leverage": "2"}, "EGeneral:Invalid arguments:leverage"),
        ({"oflags": "viqc"}, "EGeneral:Invalid arguments:oflags"),
        ({"oflags": "post", "price": "99999"}, "EOrder:Post only order"),
    ],
)
def test_a_wrong_order_is_refused(changes, error):
    async def tell(place, rest):
        assert (await rest.call("AddOrder", **{**ORDER, **changes}))["error"] == [error]
        assert truth(place)["orders"] == []

    story(tell)


@pytest.mark.parametrize("what", ["request", "answer"])
def test_what_is_lost_is_taken_or_not_and_the_connection_is_cut(what):
    async def tell(place, rest):
        fault(place, f"lose_{what}")
        with pytest.raises(aiohttp.ClientError):
            await rest.call("AddOrder", **ORDER)
        assert len(truth(place)["orders"]) == (what == "answer")
        await rest.result("AddOrder", **ORDER)

    story(tell)


def test_an_answer_that_never_comes_and_one_that_comes_late():
    async def tell(place, rest):
        fault(place, "lose_answer", how="silent")
        call = asyncio.create_task(rest.call("AddOrder", **ORDER))
        await place.until(lambda: truth(place)["orders"])
        await place.step(100, pace_s=5)
        assert not call.done()
        call.cancel()
        fault(place, "late_answer", seconds=3.0)
        call = asyncio.create_task(rest.call("AddOrder", **ORDER))
        await place.until(lambda: len(truth(place)["orders"]) == 2)
        await place.step(2)
        assert not call.done()
        await place.step(2)
        assert (await call)["result"]["txid"]

    story(tell)


def test_the_public_calls_that_a_bot_makes():
    async def tell(place, rest):
        del rest
        assets = (await place.get("/kraken/0/public/Assets"))["result"]
        assert assets["XXBT"]["altname"] == "XBT"
        assert assets["ZUSD"]["decimals"] == 4
        tickers = (await place.get("/kraken/0/public/Ticker", pair="XBTUSD"))["result"]
        book = place.exchange.truth({"venue": "kraken", "kind": "book", "symbol": "BTC/USD"})
        assert list(tickers) == ["XXBTZUSD"]
        assert tickers["XXBTZUSD"]["a"][0::2] == list(book["asks"][0])
        assert tickers["XXBTZUSD"]["b"][0::2] == list(book["bids"][0])
        assert len((await place.get("/kraken/0/public/Ticker"))["result"]) == 2
        wrong = await place.get("/kraken/0/public/Ticker", pair="XBTUSD,NOPE")
        assert wrong["error"] == ["EQuery:Unknown asset pair"]
        with pytest.raises(OperatorError, match="has no account"):
            truth(place, "nobody")

    story(tell)


@pytest.mark.parametrize("seed", range(2))
def test_a_wild_session_ends_with_the_venue_client_and_money_at_one(seed):
    """Random commands in a moving market with faults; who only listens knows what the venue
    does."""
    draw = random.Random(seed)

    async def tell(place, rest):
        client = await Private.open(place, "executions", "balances")
        place.exchange.frozen = False
        ids: list[str] = []
        for _ in range(60):
            kind = draw.choice(("out_of_order_events", "reject_order", "late_fills", "none"))
            if kind != "none" and draw.random() < 0.4:
                fault(place, kind, seconds=0.3)
            best = place.exchange.venues["kraken"].histories["BTC/USD"].market.best(1)
            price = float(Decimal(best + draw.randint(-40, 40)) / 10)
            deed = draw.random()
            if deed < 0.6 or not ids:
                side = draw.choice(("buy", "sell"))
                tif = draw.choice(("gtc", "gtc", "ioc", "fok"))
                quantity = round(draw.uniform(0.01, 1.2), 6)
                limit = None if draw.random() < 0.2 else price
                answer = await client.add(side, quantity, limit, time_in_force=tif)
                if answer["success"]:
                    ids.append(answer["result"]["order_id"])
            elif deed < 0.8:
                await client.ask(
                    "amend_order", order_id=draw.choice(ids), limit_price=price,
                    order_qty=round(draw.uniform(0.01, 1.2), 6),
                )  # fmt: skip
            else:
                await client.ask("cancel_order", order_id=[draw.choice(ids)])
            await place.step(0.1)
        (answer,) = await client.ask("cancel_all")
        assert answer["success"]
        await place.step(1)
        told = truth(place)
        assert len(told["fills"]) > 10
        balances = {a: Decimal(v) for a, v in BEGIN.items()}
        for row in client.rows("balances"):
            balances[row["asset"]] += row["amount"] - row["fee"]
        for asset, total in balances.items():
            assert total == Decimal(told["balances"][asset]["total"])
        trades = [row for row in client.rows("executions") if row["exec_type"] == "trade"]
        assert len({row["exec_id"] for row in trades}) == len(trades) == len(told["fills"])
        ends = {
            row["order_id"]: row["exec_type"]
            for row in client.rows("executions")
            if row["exec_type"] in {"filled", "canceled"}
        }
        for txid, order in (await rest.result("ClosedOrders"))["closed"].items():
            assert ends[txid] == {"closed": "filled", "canceled": "canceled"}[order["status"]]
        assert {row["order_id"] for row in trades} <= set(ends) == set(ids)

    story(tell, kraken_tier="unlimited")
