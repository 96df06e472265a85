"""Every call of GMO Coin's trading against the simulator's private side, over real sockets."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from processes.simulator import gmo_private_desk
from processes.simulator.gmo import CommandLimit
from schemas.account import AccountEvent, Fill, OrderUpdate
from schemas.errors import (
    MaintenanceError,
    RefusedError,
    UnavailableError,
    VenueError,
)
from tests.conformance.brokers import GMO, GMO_LEVERAGE, KEY, SECRET, BrokerSubject, BrokerWorld
from tests.conformance.clock import run_in
from venues.access import make_client
from venues.gmo.trading import GmoTrading
from venues.rest import Tools
from venues.trading import Access, NewOrder, NotSentError, OrderRef

Story = Callable[[BrokerWorld, GmoTrading, list[AccountEvent]], Awaitable[None]]
SYMBOLS = ("BTC", "BTC_JPY", "XRP_JPY")


@pytest.fixture
def play(clock, tmp_path) -> Callable[..., None]:
    """Plays a story with a trading of its own, connected and watching, beside no session."""

    def run(
        story: Story, subject: BrokerSubject = GMO, *, connects: bool = True, **settings: Any
    ) -> None:
        async def whole() -> None:
            async with BrokerWorld(
                subject, clock, tmp_path, gmo_symbols=SYMBOLS, **settings
            ) as world:
                await world.die()
                trading, events = make(world), []
                watching = None
                if connects:
                    await trading.connect(events.append)
                    watching = asyncio.create_task(trading.watch())
                try:
                    await story(world, trading, events)
                    assert watching is None or not watching.done(), watching
                finally:
                    if watching is not None:
                        watching.cancel()
                        await asyncio.gather(watching, return_exceptions=True)
                    await trading.close()

        run_in(clock, whole(), 200_000.0)

    return run


def make(world: BrokerWorld, **changes: Any) -> GmoTrading:
    folder = world.folder / changes.pop("pace", "pace")
    tools = Tools(utc_ns=world.clock.now_ns, uniform=lambda: 1.0)
    access = Access(
        key=KEY,
        secret=SECRET,
        rest=make_client("gmo", world._rest(), folder, tools),
        socket_url=f"ws://{world.address}{world.subject.socket}",
        next_nonce=lambda: 0,
        now_ns=world.clock.now_ns,
    )
    return GmoTrading(structs.replace(access, **changes))


class Orders:
    """Numbers orders, and places them."""

    def __init__(self, world: BrokerWorld, trading: GmoTrading) -> None:
        self.world, self.trading, self.count = world, trading, 0

    def new(self, side: str = "buy", ticks: int | None = None, **terms: Any) -> NewOrder:
        """A market order, or one that rests so many ticks behind the best price."""
        self.count += 1
        price = "" if ticks is None else self.world.price(side, ticks)
        made: dict[str, Any] = {
            "command_id": f"{self.count:032x}",
            "symbol": self.world.subject.symbol,
            "side": side,
            "quantity": "0.1",
            "kind": "limit" if price else "market",
            "limit_price": price,
            "decided_ns": self.world.clock.now_ns(),
        }
        return NewOrder(**{**made, **terms})

    async def place(self, side: str = "buy", ticks: int | None = None, **terms: Any) -> OrderRef:
        order = self.new(side, ticks, **terms)
        written: list[bool] = []
        name = await self.trading.place(order, lambda: written.append(True))
        assert written == [True]
        await self.world.passed(0.1)
        return OrderRef(order=order, venue_order_id=name)


def statuses(world: BrokerWorld) -> dict[str, str]:
    return {row["id"]: row["status"] for row in world.truth()["orders"]}


# ---- orders


def test_an_order_is_placed_told_and_looked_at(play):
    async def story(world, trading, events):
        orders = Orders(world, trading)
        began_ns = world.clock.now_ns()
        filled, resting = await orders.place(), await orders.place("sell", 50)
        sight = await trading.look([filled, resting], began_ns)
        first, second = (sight.orders[ref.order.command_id] for ref in (filled, resting))
        assert (first.status, first.filled_quantity) == ("filled", "0.1")
        assert (second.status, second.filled_quantity, second.side) == ("open", "0", "sell")
        assert second.limit_price == resting.order.limit_price
        true = {row["id"]: row for row in world.truth()["fills"]}
        for command_id, fill in sight.fills:
            assert command_id == filled.order.command_id
            row = true.pop(fill.fill_id)
            assert (fill.price, fill.quantity) == (row["price"], row["quantity"])
            assert [(fee.amount, fee.asset) for fee in fill.fees] == [(row["fee"], "JPY")]
            told = next(e for e in events if isinstance(e, Fill) and e.fill_id == fill.fill_id)
            assert structs.replace(told, time_ns=0) == structs.replace(fill, time_ns=0)
        assert not true
        assert (sight.missing, sight.ambiguous, sight.foreign) == (set(), {}, [])
        never = OrderRef(order=orders.new())
        gone = OrderRef(order=orders.new(), venue_order_id="77")
        sight = await trading.look([never, gone], began_ns)
        assert sight.missing == {never.order.command_id, gone.order.command_id}

    play(story)


def test_fills_older_than_a_day_are_asked_for_by_order(play):
    async def story(world, trading, events):
        await trading.connect(events.append)
        ref = await Orders(world, trading).place()
        world.clock.passed_ns += 30 * 3600 * 10**9
        sight = await trading.look([ref], world.clock.now_ns())
        assert sum(Decimal(fill.quantity) for _, fill in sight.fills) == Decimal("0.1")
        nameless = OrderRef(order=structs.replace(ref.order, command_id="f" * 32))
        sight = await trading.look([nameless], ref.order.decided_ns)
        assert "older" in sight.ambiguous["f" * 32]

    play(story, connects=False)


def test_the_price_of_an_order_is_changed(play):
    async def story(world, trading, events):
        ref = await Orders(world, trading).place("buy", 50)
        price = str(int(ref.order.limit_price) - 7)
        await trading.change(ref, price)
        await world.passed(0.1)
        (row,) = world.truth()["orders"]
        assert row["price"] == price
        told = [e for e in events if isinstance(e, OrderUpdate)]
        assert (told[-1].event, told[-1].limit_price, told[-1].status) == ("ROR", price, "open")
        with pytest.raises(RefusedError, match="ERR-5114"):
            await trading.change(ref, f"{price}.5")
        with pytest.raises(VenueError, match="not known"):
            await trading.change(OrderRef(order=ref.order), price)
        for n in range(gmo_private_desk.CHANGES_MAX - 1):
            await trading.change(ref, str(int(price) - n))
        with pytest.raises(RefusedError, match="ERR-5206"):
            await trading.change(ref, price)

    play(story)


def test_orders_are_canceled_ten_at_a_time_and_what_is_over_is_no_error(play):
    async def story(world, trading, events):
        orders = Orders(world, trading)
        refs = [await orders.place("buy", 50 + n) for n in range(13)]
        await trading.cancel(refs[:1])
        await trading.cancel(refs)
        assert set(statuses(world).values()) == {"canceled"}
        left = await orders.place("buy", 50)
        with pytest.raises(UnavailableError, match="not known"):
            await trading.cancel([OrderRef(order=orders.new()), left])
        assert statuses(world)[left.venue_order_id] == "canceled"
        world.fault("rate_limit")
        with pytest.raises(VenueError, match="ERR-5003"):
            await trading.cancel([left])

    play(story)


def test_all_orders_of_all_symbols_are_canceled_by_who_never_connected(play):
    async def story(world, trading, events):
        orders = Orders(world, trading)
        for n in range(23):
            await orders.place("buy", 50 + n, quantity="0.01")
        await orders.place("sell", symbol="BTC_JPY", kind="limit", limit_price="20000000")
        killer = make(world)
        await killer.cancel_all()
        await killer.close()
        assert set(statuses(world).values()) == {"canceled"}
        assert len(statuses(world)) == 24

    play(story)


def test_some_orders_are_canceled_together(play):
    async def story(world, trading, events):
        orders = Orders(world, trading)
        bought, sold = await orders.place("buy", 50), await orders.place("sell", 50)
        found = await trading.cancel_bulk(["BTC"], side="SELL", settle_type="OPEN")
        assert found == [int(sold.venue_order_id)]
        assert statuses(world)[bought.venue_order_id] == "open"
        assert await trading.cancel_bulk(["XRP_JPY"]) == []

    play(story)


@pytest.mark.parametrize(
    "kind", ["reject_order", "insufficient_funds", "rate_limit", "nonce_error"]
)
def test_an_order_that_the_venue_refuses_is_none(play, kind):
    async def story(world, trading, events):
        world.fault(kind, count=1)
        with pytest.raises(RefusedError):
            await Orders(world, trading).place()
        assert world.truth()["orders"] == []

    play(story)


def test_an_order_that_cannot_leave_was_not_sent(play):
    async def story(world, trading, events):
        await trading.close()
        with pytest.raises(NotSentError):
            await Orders(world, trading).place()
        with pytest.raises(RefusedError, match="lists no"):
            await Orders(world, trading).place(symbol="DOGE")

    async def plain(world, trading, events):
        await trading.connect(events.append)
        await story(world, trading, events)

    play(plain, connects=False)


def test_an_order_that_waits_too_long_for_its_turn_is_not_sent(play):
    async def story(world, trading, events):
        await trading._access.rest._pace.block(30.0)
        begin_s = world.clock.now_s()
        with pytest.raises(NotSentError, match="turn"):
            await Orders(world, trading).place()
        assert world.clock.now_s() - begin_s < 3.0
        await world.passed(60.0)
        assert world.truth()["orders"] == []

    play(story)


# ---- positions and money


def test_positions_are_told_and_closed_by_their_ids(play):
    async def story(world, trading, events):
        orders = Orders(world, trading)
        await orders.place()
        await orders.place(quantity="0.05")
        held = await trading.positions("BTC_JPY")
        true = {int(row["id"]): row for row in world.truth()["positions"]}
        assert {p.position_id: (p.side, p.size) for p in held} == {
            number: ("BUY", Decimal(row["quantity"])) for number, row in true.items()
        }
        (total,) = await trading.position_sums()
        assert (total.side, total.size) == ("BUY", Decimal("0.15"))
        margin = await trading.margin()
        assert margin.available_amount == Decimal(world.truth()["balances"]["JPY"]["available"])
        first = held[-1]
        order = orders.new("sell", quantity=f"{first.size:f}", reduce_only=True)
        name = await trading.close_positions(
            order, {first.position_id: f"{first.size:f}"}, lambda: None
        )
        await world.passed(0.1)
        assert statuses(world)[name] == "filled"
        assert str(first.position_id) not in {row["id"] for row in world.truth()["positions"]}

    play(story, GMO_LEVERAGE)


def test_what_is_held(play):
    async def story(world, trading, events):
        await Orders(world, trading).place("buy", 50)
        found = {
            h.asset: (Decimal(h.balance), Decimal(h.available)) for h in await trading.holdings()
        }
        assert found == {
            asset: (Decimal(row["total"]), Decimal(row["available"]))
            for asset, row in world.truth()["balances"].items()
        }

    play(story)


# ---- the connection


def test_a_wrong_key_is_refused_and_a_wrong_time_is_not_a_wrong_key(play):
    async def story(world, trading, events):
        for changes in ({"secret": "another-secret"}, {"key": "another-key"}):
            wrong = make(world, **changes)
            with pytest.raises(RefusedError, match="ERR-501"):
                await wrong.connect(events.append)
            await wrong.close()
        world.fault("nonce_error")
        with pytest.raises((VenueError, OSError)) as caught:
            await trading.connect(events.append)
        assert not isinstance(caught.value, RefusedError)
        await trading.close()
        await trading.connect(events.append)

    play(story, connects=False)


def test_a_venue_in_maintenance_is_told(play):
    async def story(world, trading, events):
        world.fault("maintenance", seconds=600.0)
        with pytest.raises(MaintenanceError):
            await trading.connect(events.append)

    play(story, connects=False)


def test_two_accounts_ask_for_channels_in_turn(play):
    async def story(world, trading, events):
        other = make(world)
        await asyncio.gather(trading.connect(events.append), other.connect(events.append))
        assert events == []
        await other.close()

    play(story, connects=False)


def test_a_command_that_came_too_fast_is_sent_again(play, monkeypatch):
    admits, refusals = CommandLimit.admits, iter([True, True])
    monkeypatch.setattr(
        CommandLimit,
        "admits",
        lambda self, now_ns: not next(refusals, False) and admits(self, now_ns),
    )

    async def story(world, trading, events):
        await trading.connect(events.append)
        assert len(events) == 2
        assert all("5003" in event.text for event in events)
        await Orders(world, trading).place("buy", 50)
        assert any(isinstance(event, OrderUpdate) for event in events)

    play(story, connects=False)


def test_a_channel_that_is_refused_ends_the_attempt_without_blaming_the_key(play):
    async def story(world, trading, events):
        world.fault("refuse", count=1)
        with pytest.raises(UnavailableError, match="ERR-5106"):
            await trading.connect(events.append)
        await trading.close()
        await trading.connect(events.append)

    play(story, connects=False)


@pytest.mark.parametrize("kind", ["garbage", "cut", "restart"])
def test_a_connection_that_is_useless_ends_its_watch(play, kind):
    async def story(world, trading, events):
        await trading.connect(events.append)
        world.fault(kind, count=30)
        with pytest.raises((VenueError, OSError)):
            await trading.watch()

    play(story, connects=False)


def test_tokens_are_handed_back(play):
    async def story(world, trading, events):
        tokens = world.exchange.venues["gmo"].desk.tokens
        for _ in range(7):
            await trading.connect(events.append)
            assert len(tokens._rows) == 1
            await trading.close()
            assert not tokens._rows
        world.fault("down", seconds=5.0)
        await trading.close()

    play(story, connects=False)


def test_no_error_shows_a_secret_or_a_token(play):
    async def story(world, trading, events):
        tokens = world.exchange.venues["gmo"].desk.tokens
        texts = [repr(trading._access)]
        seen: set[str] = set()
        issue = tokens.issue

        def issued(account, now_ns):
            token = issue(account, now_ns)
            seen.add(token)
            tokens._rows.clear()  # so that the socket is refused
            return token

        tokens.issue = issued
        elsewhere = make(world, socket_url="ws://127.0.0.1:1/gmo/ws/private/v1")
        for each in (trading, elsewhere):
            with pytest.raises((VenueError, OSError)) as caught:
                await each.connect(events.append)
            texts += [str(caught.value), repr(caught.value)]
            assert caught.value.__cause__ is None
            await each.close()
        assert len(seen) == 2
        for text in texts:
            assert not any(token in text for token in seen)
            assert SECRET not in text
            assert KEY not in text

    play(story, connects=False)
