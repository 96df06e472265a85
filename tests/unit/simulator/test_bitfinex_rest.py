"""Bitfinex's signed REST questions over a real port."""

from decimal import Decimal

from tests.unit.simulator.bitfinex_client import (
    Private,
    ask,
    fault,
    next_nonce,
    rows,
    truth,
    world,
)
from tests.unit.simulator.world import run


def test_signature_and_nonce_are_checked_over_rest_and_sockets_alike():
    async def live():
        async with world() as place:
            await Private.open(place)
            used = next_nonce(place) - 1
            assert await ask(place, "wallets", nonce=used) == (
                500, ["error", 10114, "nonce: small"],
            )  # fmt: skip
            assert (await ask(place, "wallets", key="nobody"))[1][1] == 10100
            assert (await ask(place, "wallets"))[0] == 200
            assert next_nonce(place) == used + 2
            fault(place, "nonce_error")
            assert (await ask(place, "wallets"))[1][1] == 10114
            fault(place, "rate_limit")
            assert (await ask(place, "wallets"))[1] == {"error": "ERR_RATE_LIMIT"}

    run(live())


def test_wallets_orders_and_executions_are_those_of_the_account():
    async def live():
        async with world() as place:
            client = await Private.open(place)
            resting = (await client.order("0.1", "50000", cid=1))[4][0]
            await client.order("1", cid=2)
            gone = (await client.order("0.2", "50001", cid=3))[4][0]
            await client.put("oc", {"id": gone})
            held = {row[1]: row[2:5:2] for row in await rows(place, "wallets")}
            assert held["USD"][0] - held["USD"][1] == 5000
            (order,) = await rows(place, "orders")
            assert (order[0], order[2], order[13]) == (resting, 1, "ACTIVE")
            closed = await rows(place, "orders/hist")
            assert [(row[2], row[13].split(" ")[0]) for row in closed] == [
                (3, "CANCELED"), (2, "EXECUTED"),
            ]  # fmt: skip
            assert [row[0] for row in await rows(place, "orders/hist", id=[gone])] == [gone]
            assert await rows(place, "orders/tETHUSD") == []
            assert await rows(place, "trades/tETHUSD/hist") == []
            trades = await rows(place, "trades/tBTCUSD/hist", limit=2500)
            fills = {fill["id"]: fill for fill in truth(place)["fills"]}
            assert {str(row[0]) for row in trades} == set(fills)
            for row in trades:
                fill = fills[str(row[0])]
                assert row[4:6] == [Decimal(fill["quantity"]), Decimal(fill["price"])]
                assert (-row[9], row[10], row[11]) == (Decimal(fill["fee"]), fill["fee_asset"], 2)

    run(live())


def test_pages_are_spans_of_time_newest_first():
    async def live():
        async with world() as place:
            client = await Private.open(place)
            for number in range(5):
                answer = await client.order("0.1", "50000", cid=number + 1)
                await client.put("oc", {"id": answer[4][0]})
            everything = await rows(place, "orders/hist")
            assert [row[2] for row in everything] == [5, 4, 3, 2, 1]
            times = [row[5] for row in everything]
            newest = await rows(place, "orders/hist", limit=2)
            assert newest == everything[:2]
            older = await rows(place, "orders/hist", limit=2, end=times[1])
            assert older == everything[1:3]
            assert await rows(place, "orders/hist", start=times[3], end=times[2]) == everything[2:4]
            assert (await rows(place, "orders/hist", sort=1, limit=1)) == everything[-1:]
            assert (await ask(place, "orders/hist", limit=2501))[1][1] == 10020

    run(live())
