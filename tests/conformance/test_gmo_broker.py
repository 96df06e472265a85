"""What only GMO Coin has: orders without a name, tokens that end, positions, silence."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from processes.execution.brokers.network import Reconcile, Settle
from processes.execution.gate import KILL_SWITCH
from processes.simulator import gmo_private_desk
from processes.simulator.market import BookSide
from processes.simulator.orders import OrderRequest
from schemas.trading import AccountConnected, KillLevel, OrderState
from tests.conformance.brokers import GMO, GMO_LEVERAGE, KEY, BrokerSubject, BrokerWorld
from tests.conformance.clock import run_in
from venues.gmo import private

S = OrderState
Story = Callable[[BrokerWorld], Awaitable[None]]


@pytest.fixture
def play(clock, tmp_path) -> Callable[..., None]:
    def run(
        story: Story, subject: BrokerSubject = GMO, *, agrees: bool = True, **settings: Any
    ) -> None:
        async def whole() -> None:
            async with BrokerWorld(subject, clock, tmp_path, **settings) as world:
                await world.ready()
                await story(world)
                if agrees:
                    await world.agree()

        run_in(clock, whole(), 36_000.0)

    return run


def account_of(world: BrokerWorld) -> Any:
    found = world.exchange.venues["gmo"].accounts.of(KEY)
    assert found is not None
    return found


def place_alike(world: BrokerWorld, ticks: int | None, side: BookSide = 1, **terms: Any) -> Any:
    """Somebody else orders just the same with the same account."""
    order = account_of(world).place(
        OrderRequest(
            symbol=world.subject.symbol,
            side=side,
            kind="market" if ticks is None else "limit",
            units=int(Decimal(terms.pop("quantity", world.subject.quantity)).scaleb(8)),
            ticks=ticks,
            **terms,
        ),
        world.clock.now_ns(),
    )
    world.foreign.add(str(order.id))
    return order


def ticks_of(world: BrokerWorld, price: str) -> int:
    return int(Decimal(price) / world.market.tick)


# ---- orders without a name


def test_two_orders_that_may_be_it_pause_and_neither_is_taken(play):
    async def story(world):
        world.fault("lose_answer", count=1, command="order")
        price = world.price("buy", 50)
        number = world.submit(limit_price=price)
        await world.until(lambda: world.truth()["orders"])
        place_alike(world, ticks_of(world, price))
        await world.until(lambda: world.alarms("ambiguous"))
        (alarm,) = world.alarms("ambiguous")
        assert alarm.pause
        assert all(row["id"] in alarm.text for row in world.truth()["orders"])
        assert world.state(number) is S.UNKNOWN
        # Nobody but a person can settle it, and whoever must get out cannot wait for that.
        world.word[0] = KillLevel.FLATTEN
        way_out = world.submit("sell", strategy=KILL_SWITCH)
        await world.reached(way_out, S.FILLED)
        assert world.state(number) is S.UNKNOWN

    play(story, agrees=False)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_persons_word_settles_an_order_in_doubt(play, is_there):
    async def story(world):
        world.fault("lose_answer", count=1, command="order")
        price = world.price("buy", 50)
        number = world.submit(limit_price=price)
        await world.until(lambda: world.truth()["orders"])
        place_alike(world, ticks_of(world, price))
        await world.until(lambda: world.alarms("ambiguous"))
        true, alike = (row["id"] for row in world.truth()["orders"])
        await world.restart()
        await world.passed(30.0)
        assert not world.is_ready, "nothing is sent while nobody can say"
        for count, wrong in enumerate(("1", world.place_foreign()), start=1):
            world.give(Settle(number, wrong))
            await world.until(lambda count=count: len(world.alarms("settle")) == count)
            assert world.state(number) is S.UNKNOWN
        world.give(Settle(number, true if is_there else ""))
        await world.reached(number, S.ACKED if is_there else S.EXPIRED)
        await world.until(lambda: world.is_ready)
        world.give(Settle(number, alike))
        await world.until(lambda: "not in doubt" in world.alarms("settle")[-1].text)
        assert not is_there or world.orders[number].venue_order_id == true

    play(story, agrees=False)


def test_questions_without_an_answer_do_not_pile_up(play):
    async def story(world):
        world.fault("lose_answer", count=1, command="order")
        price = world.price("buy", 50)
        world.submit(limit_price=price)
        await world.until(lambda: world.truth()["orders"])
        place_alike(world, ticks_of(world, price))
        await world.until(lambda: world.alarms("ambiguous"))
        for _ in range(40):
            world.give(Reconcile(world.outstanding()))
        looks = []
        look = world.trading.look

        async def counted(*arguments):
            looks.append(arguments)
            return await look(*arguments)

        world.trading.look = counted
        await world.passed(100.0)
        assert 5 < len(looks) < 80

    play(story, agrees=False)


def test_an_order_that_was_seen_before_ours_left_is_not_ours(play):
    async def story(world):
        price = world.price("buy", 50)
        place_alike(world, ticks_of(world, price))
        await world.passed(1.0)
        world.fault("lose_answer", count=1, command="order")
        number = world.submit(limit_price=price)
        await world.reached(number, S.ACKED)
        await world.passed(60.0)
        world.fault("lose_request", count=1, command="order")
        lost = world.submit(limit_price=price)
        await world.reached(lost, S.EXPIRED)
        assert not world.alarms("ambiguous")
        await world.reconciled()
        assert world.alarms("foreign_order")

    play(story)


def test_two_lives_of_one_order_alike_are_not_told_apart(play):
    async def story(world):
        world.fault("lose_answer", count=1, how="silent", command="order")
        first = world.submit()
        await world.until(lambda: world.truth()["orders"])
        await world.die()
        second = world.submit()  # in the ledger, and never sent
        world.start()
        await world.until(lambda: len(world.alarms("ambiguous")) == 2)
        assert {world.state(first), world.state(second)} <= {S.SENT, S.UNKNOWN}

    play(story, agrees=False)


@pytest.mark.parametrize("what", ["orders", "fills"])
def test_lists_of_many_pages_are_read_to_their_end(play, what):
    async def story(world):
        world.fault("lose_answer", count=1, how="silent", command="order")
        number = world.rest() if what == "orders" else world.submit()
        await world.until(lambda: world.truth()["orders"])
        for n in range(230):
            low = ticks_of(world, world.price("buy", 500 + n))
            place_alike(world, low if what == "orders" else None, quantity="0.01")
        await world.reached(number, S.ACKED if what == "orders" else S.FILLED)

    play(story)


def test_fills_that_nobody_told_are_found(play):
    async def story(world):
        number = world.rest()
        await world.reached(number, S.ACKED)
        world.fault("heartbeats_only", seconds=60.0)
        world.trade_through("buy")
        await world.passed(30.0)
        assert world.state(number) is S.ACKED
        await world.reconciled()
        await world.reached(number, S.FILLED)

    play(story)


def test_an_order_that_nobody_here_gave_is_told_though_it_is_over(play):
    async def story(world):
        order = place_alike(world, None, -1)
        await world.passed(2.0)
        await world.reconciled()
        (alarm,) = world.alarms("foreign_order")
        assert str(order.id) in alarm.text

    play(story, GMO_LEVERAGE)


def test_foreign_orders_of_every_symbol_are_told(play):
    async def story(world):
        await world.die()
        order = account_of(world).place(
            OrderRequest(symbol="XRP_JPY", side=1, kind="limit", units=10**9, ticks=1000),
            world.clock.now_ns(),
        )
        world.foreign.add(str(order.id))
        world.start()
        await world.ready()
        (alarm,) = world.alarms("foreign_order")
        assert "XRP_JPY" in alarm.text

    play(story, gmo_symbols=("BTC", "XRP_JPY"))


def test_what_was_refused_is_not_found_in_somebody_elses_order(play):
    async def story(world):
        price = world.price("buy", 50)
        world.fault("reject_order", count=1)
        number = world.submit(limit_price=price)
        await world.reached(number, S.REJECTED)
        place_alike(world, ticks_of(world, price))
        await world.reconciled()
        assert world.state(number) is S.REJECTED
        await world.restart()
        await world.ready()
        assert world.state(number) is S.REJECTED
        assert not world.orders[number].venue_order_id

    play(story)


# ---- positions


def test_what_only_reduces_never_opens_the_other_side(play):
    async def story(world):
        bought = world.submit()
        await world.reached(bought, S.FILLED)
        more = world.submit("sell", quantity="0.3", reduce_only=True)
        await world.reached(more, S.REJECTED)
        sold = world.submit("sell", reduce_only=True)
        await world.reached(sold, S.FILLED)
        again = world.submit("sell", reduce_only=True)
        await world.reached(again, S.REJECTED)
        assert world.truth()["positions"] == []

    play(story, GMO_LEVERAGE)


def test_a_position_that_was_closed_by_somebody_else_is_not_closed_again(play):
    async def story(world):
        bought = world.submit()
        await world.reached(bought, S.FILLED)
        held = [(int(row["id"]), row["quantity"]) for row in world.truth()["positions"]]
        closes = tuple((n, int(Decimal(quantity).scaleb(8))) for n, quantity in held)
        place_alike(world, None, -1, closes=closes)
        sold = world.submit("sell", reduce_only=True)
        await world.reached(sold, S.REJECTED)
        assert world.truth()["positions"] == []

    play(story, GMO_LEVERAGE)


def test_a_lost_closing_order_is_found_and_not_taken_for_an_opening_one(play):
    async def story(world):
        await world.reached(world.submit(), S.FILLED)
        await world.reached(world.submit("sell"), S.FILLED)  # a short one beside the long one
        world.fault("lose_answer", count=1, command="order")
        closed = world.submit("sell", reduce_only=True)
        await world.reached(closed, S.FILLED)
        assert {row["side"] for row in world.truth()["positions"]} == {"sell"}

    play(story, GMO_LEVERAGE)


def test_a_spot_purchase_that_only_reduces_is_not_sent(play):
    async def story(world):
        number = world.submit("buy", reduce_only=True)
        await world.reached(number, S.REJECTED)
        assert world.truth()["orders"] == []
        await world.reached(world.submit("sell", reduce_only=True), S.FILLED)

    play(story)


# ---- the socket and its token


def test_the_token_is_extended_in_time(play, monkeypatch):
    monkeypatch.setattr(gmo_private_desk, "TOKEN_NS", 60 * 10**9)
    for name, seconds in (("LIFE_S", 60.0), ("EXTEND_AFTER_S", 25.0), ("SPARE_S", 5.0)):
        monkeypatch.setattr(private, name, seconds)

    async def story(world):
        await world.passed(200.0)
        assert [type(fact) for fact in world.facts].count(AccountConnected) == 1
        await world.reached(world.submit(), S.FILLED)

    play(story)


def test_a_token_that_the_venue_removes_is_replaced(play):
    async def story(world):
        tokens = world.exchange.venues["gmo"].desk.tokens
        await world.passed(60.0)
        for _ in range(5):
            tokens.issue(account_of(world), world.clock.now_ns())
        number = world.rest()
        await world.until(lambda: not world.is_ready)
        await world.ready()
        await world.reached(number, S.ACKED)

    play(story)


def test_an_order_has_left_long_before_its_answer(play):
    async def story(world):
        world.fault("late_answer", count=1, seconds=8.0)
        number = world.submit()
        await world.until(lambda: number in world.trading.written, 0.5)
        assert world.gate.idle
        assert not world.orders[number].accepted
        await world.reached(number, S.FILLED)

    play(story)


def test_balances_are_told_soon_after_a_fill(play):
    async def story(world):
        before = Decimal(world.held["BTC"].total)
        known = world.reconciliations
        await world.reached(world.submit(), S.FILLED)
        more = Decimal(world.subject.quantity)
        await world.until(lambda: Decimal(world.held["BTC"].total) == before + more, 10.0)
        assert world.reconciliations == known

    play(story)
