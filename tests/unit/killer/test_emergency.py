"""The killer at one account: nothing open, nothing held, nothing doubled, whatever is lost."""

import asyncio
from decimal import Decimal

import pytest

from processes.killer import emergency as module
from processes.killer.emergency import Emergency
from processes.standing import Held, StandingOrder, Traded
from schemas.account import Fee
from schemas.trading import Intent, KillLevel
from tests.unit.execution.strict_venue import NamelessTrading, StrictTrading, StrictVenue
from venues.trading import NewOrder

T0 = 1_760_000_000_000_000_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.004)
    monkeypatch.setattr(module, "PAUSE_MAX_S", 0.02)


class World:
    """A venue with orders and a position, as execution left them."""

    def __init__(self, held="5") -> None:
        self.begun_s = asyncio.get_running_loop().time()
        self.venue = StrictVenue(self.now_ns)
        self.trading = StrictTrading(self.venue)
        self.noted: list[Intent] = []
        self.told_ids: list[str] = []
        self.orders: list[StandingOrder] = []
        self.held = [Held(account="one", instrument=3, symbol="BTC/USD", quantity=held)]
        self.traded = [Traded(symbol="BTC/USD", bases=["BTC", "XBT"], step="0.01", smallest="0.1")]

    def now_ns(self) -> int:
        return T0 + int((asyncio.get_running_loop().time() - self.begun_s) * 1e9)

    def order(self, number: int, *, known: bool = True, **more) -> Intent:
        """An order that execution may have sent."""
        values = {
            "instrument": 3, "symbol": "BTC/USD", "side": "buy", "quantity": "3", "kind": "limit",
            "limit_price": "99", "decided_ns": T0, "account": "one", **more,
        }  # fmt: skip
        intent = Intent(command_id=f"{number:032x}", **values)
        if known:
            self.venue.take(NewOrder.of(intent))
        self.orders.append(StandingOrder(intent=intent))
        return intent

    def closed(self, number: int, **more) -> Intent:
        """An order that execution knew to be over, and that never was at the venue."""
        intent = self.order(number, known=False, **more)
        self.orders[-1] = StandingOrder(intent=intent, open=False)
        return intent

    def note(self, intent: Intent, venue_order_id: str) -> None:
        if venue_order_id:
            self.told_ids.append(venue_order_id)
            return
        assert intent.command_id not in self.venue.sent, "put down before it is sent"
        self.noted.append(intent)

    async def end(self, level=KillLevel.FLATTEN, seconds=5.0, *, drill=False):
        emergency = Emergency(
            "one", self.trading, self.orders, self.held, self.note, self.now_ns, self.traded
        )
        ended = await emergency.run(level, seconds, drill=drill)
        assert not self.trading.connected
        return ended

    def position(self) -> Decimal:
        """What is left of it all: what was held at first, and every fill."""
        total = Decimal(self.held[0].quantity)
        for one in self.venue.orders.values():
            total += one.filled if one.order.side == "buy" else -one.filled
        return total


def run(scenario, **more):
    async def whole() -> None:
        world = World(**more)
        await scenario(world)
        assert [intent.command_id for intent in world.noted] == world.venue.sent

    asyncio.run(whole())


@pytest.mark.parametrize("held", ["5", "-5", "0.1"])
def test_everything_is_cancelled_and_closed(held):
    async def scenario(world: World) -> None:
        world.order(1)
        stray = world.order(2)
        world.orders.pop()  # execution never knew of this one
        ended = await world.end()
        assert ended.is_done
        assert ended.open_orders == 2
        assert world.venue.open_ids() == []
        assert world.venue.orders[stray.command_id].status == "canceled"
        assert world.position() == 0
        assert ended.sent == 1
        assert world.told_ids == [world.venue.orders[world.noted[0].command_id].venue_order_id]
        assert ended.flat_ms is not None

    run(scenario, held=held)


def test_what_was_filled_unseen_is_closed_too():
    async def scenario(world: World) -> None:
        intent = world.order(1)
        world.venue.trade(intent.command_id, "2")
        ended = await world.end()
        assert ended.closed == {"BTC/USD": "7"}
        assert world.position() == 0

    run(scenario)


@pytest.mark.parametrize(
    ("fee", "closed", "left"),
    [
        (Fee(asset="XBT", amount="0.004"), "2.99", "0.006"),
        (Fee(asset="BTC", amount="2.95"), None, "0.05"),
        (Fee(asset="USD", amount="0.3"), "3", "0"),
    ],
)
def test_a_fee_in_the_base_asset_was_never_held_and_dust_is_left(fee, closed, left):
    """Who sells it all the same sells what is not ours, or is refused and stays as it is."""

    async def scenario(world: World) -> None:
        world.venue.fee = fee
        intent = world.order(1)
        world.venue.trade(intent.command_id, "3")
        world.venue.fee = Fee(asset="USD", amount="0.1")
        ended = await world.end()
        assert ended.is_done, ended
        assert ended.closed == ({"BTC/USD": closed} if closed else {})
        taken = Decimal(fee.amount) if fee.asset != "USD" else Decimal(0)
        assert world.position() - taken == Decimal(left)

    run(scenario, held="0")


def test_fills_that_execution_had_are_not_counted_twice():
    async def scenario(world: World) -> None:
        intent = world.order(1)
        world.venue.trade(intent.command_id, "2")
        fill = world.venue.orders[intent.command_id].fills[0]
        world.orders[0] = StandingOrder(intent=intent, fill_ids=[fill.fill_id])
        world.held = [Held(account="one", instrument=3, symbol="BTC/USD", quantity="2")]
        ended = await world.end()
        assert ended.closed == {"BTC/USD": "2"}

    run(scenario)


@pytest.mark.parametrize("fault", ["lose_answer", "lose_request", "late_request", "lose_events"])
def test_a_lost_answer_does_not_close_it_twice(fault):
    async def scenario(world: World) -> None:
        world.venue.holding = {fault}
        ending = asyncio.create_task(world.end())
        while not world.venue.sent:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        world.venue.holding.clear()
        ended = await ending
        assert ended.is_done, ended
        assert world.position() == 0
        assert len(world.venue.sent) == (2 if fault == "lose_request" else 1)

    run(scenario)


def test_what_is_over_and_has_no_name_is_not_taken_for_what_is_under_way():
    """A refused order looks like the one that left when execution died."""

    async def scenario(world: World) -> None:
        world.trading = NamelessTrading(world.venue)
        world.closed(1)
        under_way = world.order(2)
        world.venue.trade(under_way.command_id, "3")
        ended = await world.end()
        assert ended.doubts == []
        assert ended.closed == {"BTC/USD": "8"}
        assert ended.is_done
        assert world.position() == 0

    run(scenario)


@pytest.mark.parametrize("client", [StrictTrading, NamelessTrading])
def test_what_a_killer_before_has_closed_is_not_closed_again(client):
    async def scenario(world: World) -> None:
        world.trading = client(world.venue)
        assert (await world.end()).is_done
        world.orders += [StandingOrder(intent=intent) for intent in world.noted]
        ended = await world.end()
        assert ended.is_done
        assert ended.sent == 0
        assert world.position() == 0

    run(scenario)


def test_what_an_order_in_doubt_may_have_closed_is_left_to_a_person():
    async def scenario(world: World) -> None:
        world.trading = NamelessTrading(world.venue)
        exits = [
            world.order(n, side="sell", quantity="5", kind="market", limit_price="",
                        reduce_only=True, known=n == 1)
            for n in (1, 2)
        ]  # fmt: skip
        world.venue.trade(exits[0].command_id, "5")
        ended = await world.end()
        assert not ended.is_done
        assert ended.doubts == [one.command_id for one in exits]
        assert ended.left == {"BTC/USD": "5"}
        assert world.venue.sent == []

    run(scenario)


def test_what_the_venue_will_not_have_is_said_to_be_left():
    async def scenario(world: World) -> None:
        world.venue.holding = {"reject"}
        ended = await world.end()
        assert not ended.is_done
        assert ended.left == {"BTC/USD": "5"}
        assert "Insufficient" in ended.texts[-1]

    run(scenario)


def test_a_venue_that_cannot_be_reached_is_said_within_the_deadline():
    async def scenario(world: World) -> None:
        world.venue.down = True
        ended = await world.end(seconds=0.1)
        assert ended.connected_ms is None
        assert not ended.is_done
        assert ended.texts == ["connect: connection refused", "not done within 0.1 s"]
        world.venue.down = False
        assert (await world.end()).is_done, "asked again, it is done"

    run(scenario)


def test_the_level_cancel_closes_nothing():
    async def scenario(world: World) -> None:
        world.order(1)
        ended = await world.end(KillLevel.CANCEL)
        assert ended.is_done
        assert world.venue.open_ids() == []
        assert world.position() == 5
        assert world.venue.sent == []

    run(scenario)


def test_a_drill_sends_and_cancels_nothing():
    async def scenario(world: World) -> None:
        intent = world.order(1)
        ended = await world.end(drill=True)
        assert ended.open_orders == 1
        assert ended.left == {"BTC/USD": "5"}
        assert ended.connected_ms is not None
        assert world.venue.open_ids() == [intent.command_id]
        assert world.venue.sent == []

    run(scenario)
