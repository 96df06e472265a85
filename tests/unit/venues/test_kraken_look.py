"""What REST says of orders, against the simulator's truth: nothing guessed, nothing missed."""

from decimal import Decimal
from typing import Any

import pytest

from processes.simulator.kraken_books import order_text
from schemas.account import Fill
from schemas.errors import AnswerError
from tests.unit.venues.kraken_calls import SYMBOL, Play, player
from venues.kraken import look
from venues.trading import OrderRef


@pytest.fixture
def play(monkeypatch, tmp_path) -> Play:
    return player(monkeypatch, tmp_path)


# ---- looking


def test_looks_tell_open_and_closed_orders_and_their_fills(play):
    async def story(calls):
        fresh = calls.make()
        refs = {
            "open": await calls.place(calls.order(ticks=400)),
            "filled": await calls.place(calls.order("sell")),
        }
        depth = Decimal(calls.market.depth(-1, 30)).scaleb(-8)
        refs["large"] = await calls.place(calls.order("buy", quantity=f"{depth:.3f}"))
        gone = await calls.place(calls.order(ticks=60))
        await calls.trading.cancel([gone])
        calls.fault("hold_fills", share="0.4")
        refs["part"] = await calls.place(calls.order("buy", 0, limit_price=calls.price("sell", 20)))
        refs["gone"] = gone
        await fresh._access.rest.__aenter__()
        try:
            for known in (True, False):
                asked = [r if known else OrderRef(order=r.order) for r in refs.values()]
                sight = await fresh.look(asked, 0)
                check_sight(calls, refs, sight)
        finally:
            await fresh.close()

    play(story)


def check_sight(calls, refs, sight) -> None:
    rows = calls.rows()
    assert not sight.missing
    assert not sight.ambiguous
    assert not sight.foreign
    names = {ref.order.command_id: ref.venue_order_id for ref in refs.values()}
    assert {name: update.order_id for name, update in sight.orders.items()} == names
    statuses = {what: sight.orders[ref.order.command_id].status for what, ref in refs.items()}
    assert statuses == {
        "open": "open", "filled": "filled", "large": "filled", "part": "partially_filled",
        "gone": "canceled",
    }  # fmt: skip
    told = {
        (names[name], f.fill_id, Decimal(f.price), Decimal(f.quantity), f.fees[0].asset,
         Decimal(f.fees[0].amount), f.liquidity)
        for name, f in sight.fills
    }  # fmt: skip
    true = {
        (order_text(int(f["order_id"])), order_text(int(f["id"]), "T"), Decimal(f["price"]),
         Decimal(f["quantity"]), f["fee_asset"], Decimal(f["fee"]), f["liquidity"])
        for f in calls.truth()["fills"]
    }  # fmt: skip
    assert told == true
    assert len([f for f in told if f[0] == refs["large"].venue_order_id]) > look.FILLS_A_CALL
    times = [fill.time_ns for _, fill in sight.fills]
    assert times == sorted(times)
    for update in sight.orders.values():
        assert update.symbol == SYMBOL
        assert Decimal(update.filled_quantity) == Decimal(rows[update.order_id]["filled"])


def test_a_lost_order_is_found_on_a_later_page(play):
    async def story(calls):
        lost = calls.order()
        number = calls.place_as_other(lost.command_id)
        for _ in range(130):
            calls.place_as_other()
        never = calls.order()
        sight = await calls.trading.look([OrderRef(order=lost), OrderRef(order=never)], 0)
        assert sight.orders[lost.command_id].order_id == number
        assert sight.missing == {never.command_id}

    play(story)


def test_without_the_end_of_the_pages_nothing_is_missing(play, monkeypatch):
    monkeypatch.setattr(look, "PAGES_MAX", 2)

    async def story(calls):
        for _ in range(101):
            calls.place_as_other()
        with pytest.raises(AnswerError, match="more than 100"):
            await calls.trading.look([OrderRef(order=calls.order())], 0)

    play(story)


def test_orders_that_were_closed_before_are_not_looked_through(play, monkeypatch):
    monkeypatch.setattr(look, "PAGES_MAX", 1)

    async def story(calls):
        for _ in range(101):
            calls.place_as_other()
        await calls.passed(30.0)
        since_ns = calls.clock.now_ns() - 10 * 10**9
        order = calls.order()
        number = calls.place_as_other(order.command_id)
        sight = await calls.trading.look([OrderRef(order=order)], since_ns)
        assert sight.orders[order.command_id].order_id == number

    play(story)


def test_an_id_that_the_venue_does_not_know_spoils_no_other(play):
    async def story(calls):
        good = [await calls.place(calls.order()) for _ in range(3)]
        bad = OrderRef(order=calls.order(), venue_order_id=order_text(1))
        sight = await calls.trading.look([good[0], bad, *good[1:]], 0)
        assert sight.missing == {bad.order.command_id}
        assert set(sight.orders) == {ref.order.command_id for ref in good}

    play(story)


def test_two_orders_of_one_name_are_not_guessed_between(play):
    async def story(calls):
        order = calls.order()
        both = [calls.place_as_other(order.command_id) for _ in range(2)]
        sight = await calls.trading.look([OrderRef(order=order)], 0)
        assert not sight.orders
        assert not sight.missing
        assert not sight.fills
        assert all(number in sight.ambiguous[order.command_id] for number in both)
        known = OrderRef(order=order, venue_order_id=both[1])
        assert (await calls.trading.look([known], 0)).orders[order.command_id].order_id == both[1]

    play(story)


def test_a_foreign_order_is_told_by_the_names_that_we_use(play):
    async def story(calls):
        calls.place_foreign()
        own = await calls.place(calls.order(ticks=40))
        for refs in ([own], [OrderRef(order=own.order)]):
            (foreign,) = (await calls.trading.look(refs, 0)).foreign
            assert (foreign.symbol, foreign.side, foreign.status) == (SYMBOL, "buy", "open")
        assert len((await calls.trading.look([], 0)).foreign) == 2

    play(story)


def test_fills_that_were_told_are_not_asked_for(play, monkeypatch):
    async def story(calls):
        ref = await calls.place(calls.order())
        await calls.until(lambda: any(isinstance(event, Fill) for event in calls.told))

        async def never(_: Any) -> list[Any]:
            raise AssertionError("asked for a fill that is known")

        monkeypatch.setattr(calls.trading._private, "trades", never)
        assert (await calls.trading.look([ref], 0)).fills

    play(story)


def test_what_is_held_by_its_common_name(play):
    async def story(calls):
        await calls.place(calls.order("sell", ticks=40, quantity="2"))
        held = {row.asset: row for row in await calls.trading.holdings()}
        assert set(held) == {"BTC", "USD"}
        true = calls.truth()["balances"]
        for asset, row in held.items():
            assert Decimal(row.balance) == Decimal(true[asset]["total"])
            assert Decimal(row.available) == Decimal(true[asset]["available"])
        assert Decimal(held["BTC"].available) == Decimal(held["BTC"].balance) - 2

    play(story)
