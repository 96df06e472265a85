"""Faults of commands and events at Kraken's private WebSocket, over real sockets."""

import pytest

from tests.unit.simulator.kraken_client import (
    Private,
    Rest,
    fault,
    private_story,
    truth,
)


def test_orders_are_refused_for_reasons_that_are_asked_for():
    async def tell(place, client):
        fault(place, "reject_order")
        assert (await client.add("buy", 1, 30000))["error"] == "EOrder:Invalid order"
        fault(place, "insufficient_funds")
        assert (await client.add("buy", 1, 30000))["error"] == "EOrder:Insufficient funds"
        fault(place, "rate_limit")
        assert (await client.add("buy", 1, 30000))["error"] == "EOrder:Rate limit exceeded"
        assert (await client.add("buy", 1, 30000))["success"]

    private_story(tell)


@pytest.mark.parametrize("how", ["cut", "silent"])
@pytest.mark.parametrize("what", ["request", "answer"])
def test_what_is_lost_is_taken_or_not_and_nobody_is_told(what, how):
    async def tell(place, client):
        fault(place, f"lose_{what}", how=how, command="order")
        assert await client.ask("cancel_all")
        assert await client.add("buy", 1, 30000, cl_ord_id="lost") is None
        orders = truth(place)["orders"]
        assert truth(place)["commands"] == {"cancel": 1, "order": 1}
        assert [o["client_id"] for o in orders] == (["lost"] if what == "answer" else [])
        if how == "cut":
            await place.until(lambda: client.watcher.gone)
            assert client.told() == []
            client = await Private.open(place, "executions")
            rows = client.frames("executions")[0]["data"]
            assert [row["cl_ord_id"] for row in rows] == [o["client_id"] for o in orders]
        else:
            assert client.told() == (["pending_new", "new"] if what == "answer" else [])
        assert (await client.add("buy", 1, 30000))["success"]

    private_story(tell, "executions")


def test_a_late_answer_comes_after_its_events():
    async def tell(place, client):
        fault(place, "late_answer", seconds=2.0)
        assert await client.add("buy", 1, 30000) is None
        number = client.requests
        assert client.told() == ["pending_new", "new"]
        await place.step(2.1)
        (answer,) = client.replies(number)
        assert answer["success"]

    private_story(tell, "executions")


def test_an_execution_comes_before_its_orders_answer():
    async def tell(place, client):
        for out_of_order in (False, True):
            if out_of_order:
                fault(place, "out_of_order_events")
            before = len(client.watcher.frames)
            await client.add("buy", 0.1)
            frames = client.watcher.frames[before:]
            answer = next(n for n, text in enumerate(frames) if "add_order" in text)
            told = next(n for n, text in enumerate(frames) if '"trade"' in text)
            assert (told < answer) == out_of_order

    private_story(tell, "executions")


def test_fills_are_late_and_events_doubled_and_lost():
    async def tell(place, client):
        fault(place, "late_fills", seconds=3.0)
        answer = await client.add("buy", 0.0001)
        (gone,) = await client.ask("cancel_order", order_id=[answer["result"]["order_id"]])
        assert gone["error"] == "EOrder:Unknown order"
        await place.step(1)
        assert client.told() == ["pending_new", "new"]
        assert client.rows("balances") == []
        await place.step(3)
        assert client.told() == ["pending_new", "new", "trade", "filled"]
        assert len(client.rows("balances")) == 2
        fault(place, "doubled_events")
        await client.add("buy", 0.1, 30000)
        assert client.told()[4:] == ["pending_new", "new", "pending_new", "new"]
        fault(place, "gap", symbol="executions")
        await client.add("buy", 0.1, 30000)
        assert client.told()[8:] == ["new"]
        sequences = [frame["sequence"] for frame in client.frames("executions")]
        assert sequences == [*range(1, len(sequences)), len(sequences) + 1]

    private_story(tell, "executions", "balances")


def test_rest_and_the_socket_are_one_account():
    async def tell(place, client):
        made = await Rest(place).result(
            "AddOrder", pair="XBTUSD", type="buy", ordertype="limit", volume="1", price="30000"
        )
        await place.step(0.05)
        assert client.rows("executions")[0]["order_id"] == made["txid"][0]

    private_story(tell, "executions")
