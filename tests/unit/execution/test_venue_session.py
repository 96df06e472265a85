"""The session between intents and a venue: whatever is lost, doubled, late or cut, one truth."""

import asyncio
import random
from decimal import Decimal

import pytest

from processes.execution.brokers import venue as module
from processes.execution.brokers.base import Outstanding
from processes.execution.brokers.network import Cancel, CancelAll, Commands, Reconcile, Submit
from processes.execution.brokers.venue import VenueSession
from processes.execution.orders import Order
from schemas.trading import (
    AccountAlarm,
    AccountAway,
    AccountConnected,
    AssetHeld,
    CancelNotSent,
    Intent,
    KillLevel,
    OrderFilled,
    OrderState,
    OrderUnknown,
    PositionHeld,
    Reconciled,
)
from tests.gates import Gate
from tests.unit.execution.strict_venue import NamelessTrading, StrictTrading, StrictVenue

T0 = 1_760_000_000_000_000_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """The same waits, a hundred times shorter."""
    for name, value in {
        "BACKOFF_FIRST_S": 0.005, "BACKOFF_LONGEST_S": 0.02, "TEND_S": 0.002,
        "LOOK_FIRST_S": 0.004, "LOOK_LONGEST_S": 0.02, "CONNECTS_PER_MINUTE": 10_000,
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, value)


class Life:
    """One life of execution's side: a session, and orders made of what it tells."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.trading = world.client(world.venue)
        self.trading.parallel = world.parallel
        self.session = VenueSession(
            "one", self.trading, world.gate, self.hear, world.now_ns, lambda: world.healthy, 60.0
        )
        self.commands = Commands()
        self.heard: list = []
        self.ready = False
        self.task = asyncio.create_task(self.session.run(self.commands))

    def give(self, command) -> None:
        assert self.commands.give(asyncio.get_running_loop(), command)

    def hear(self, event) -> None:
        """As the machine does."""
        self.heard.append(event)
        world = self.world
        if isinstance(event, AccountConnected):
            self.ready = False
            self.reconcile()
        elif isinstance(event, AccountAway):
            self.ready = False
        elif isinstance(event, Reconciled):
            self.ready = True
        elif not isinstance(event, AccountAlarm | AssetHeld | PositionHeld):
            order = world.orders[event.command_id]
            fresh = isinstance(event, OrderFilled) and event.fill_id not in order.fill_ids
            order.add(event)
            if fresh:
                world.filled[event.command_id] = order.filled

    def reconcile(self) -> None:
        asked = [
            Outstanding(
                intent=order.intent, venue_order_id=order.venue_order_id,
                fill_ids=frozenset(order.fill_ids), filled=f"{order.filled:f}", open=order.open,
            )
            for order in self.world.orders.values()
        ]  # fmt: skip
        self.give(Reconcile(tuple(asked)))

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class World:
    """A venue, a ledger, and one life after another."""

    def __init__(self, parallel: int = 4, client: type[StrictTrading] = StrictTrading) -> None:
        self.client = client
        self.begun_s = asyncio.get_running_loop().time()
        self.venue = StrictVenue(self.now_ns)
        self.gate = Gate(self.now_ns, 500_000_000)
        self.orders: dict[str, Order] = {}
        self.filled: dict[str, Decimal] = {}
        self.healthy = True
        self.parallel = parallel
        self.life = Life(self)

    def now_ns(self) -> int:
        return T0 + int((asyncio.get_running_loop().time() - self.begun_s) * 1e9)

    def submit(self, **more) -> str:
        number = f"{len(self.orders) + 1:032x}"
        values = {
            "instrument": 0, "symbol": "BTC/USD", "side": "buy", "quantity": "3", "kind": "limit",
            "limit_price": "99", "decided_ns": self.now_ns(), "account": "one", **more,
        }  # fmt: skip
        intent = Intent(command_id=number, **values)
        order = self.orders[number] = Order.of(intent)
        order.sent = True
        self.life.give(Submit(intent))
        return number

    async def until(self, condition, what: str, seconds: float = 10.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    if self.life.task.done():
                        await self.life.task
                    await asyncio.sleep(0.001)
        except TimeoutError:
            found = self.differences()
            raise AssertionError(f"not within {seconds} s: {what}; differences: {found}") from None

    async def restart(self) -> None:
        """Execution dies, and begins again with what its ledger has."""
        await self.life.end()
        for order in self.orders.values():
            if order.open:
                order.add(OrderUnknown(order.intent.command_id, self.now_ns(), "after a restart"))
        self.life = Life(self)

    def differences(self) -> list[str]:
        """Where ledger and venue differ."""
        found = []
        for number, order in self.orders.items():
            true = self.venue.orders.get(number)
            if true is None:
                if order.state not in {OrderState.EXPIRED, OrderState.REJECTED}:
                    found.append(f"{number}: {order.state.name}, and the venue never had it")
                continue
            wanted = {
                "filled": {OrderState.FILLED},
                "canceled": {OrderState.CANCELED},
                "open": {OrderState.ACKED, OrderState.PARTIALLY_FILLED},
            }[true.status]
            if order.state not in wanted:
                found.append(f"{number}: {order.state.name}, at the venue {true.status}")
            if order.filled != true.filled:
                found.append(f"{number}: {order.filled} filled, at the venue {true.filled}")
        return found + [
            f"{number}: at the venue, and not in the ledger"
            for number in self.venue.orders
            if number not in self.orders
        ]

    async def settle(self) -> None:
        """All faults end; ledger and venue come to agree."""
        self.venue.down = False
        self.venue.holding.clear()
        await self.until(lambda: self.life.ready, "reconciled")
        self.life.reconcile()  # as the timer does: what was lost without a trace is found by it
        await self.until(lambda: not self.differences(), "agreement")


async def ready(**more) -> World:
    world = World(**more)
    await world.until(lambda: world.life.ready, "reconciled")
    return world


def run(scenario) -> None:
    async def whole() -> None:
        world = await ready()
        try:
            await scenario(world)
            assert all(world.venue.sent.count(number) == 1 for number in world.venue.sent)
        finally:
            await world.life.end()
        assert world.gate.idle
        assert not world.life.trading.connected

    asyncio.run(whole())


@pytest.mark.parametrize(
    "fault",
    ["", "lose_answer", "lose_request", "reject", "late_request", "early_events", "lose_events",
     "doubled_events"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["market", "limit"])
def test_an_order_comes_to_its_end_whatever_is_lost(fault, kind):
    async def scenario(world: World) -> None:
        world.venue.holding = {fault}
        number = world.submit(kind=kind)
        await world.until(lambda: number in world.venue.sent, "it is sent")
        state = world.orders[number]
        await world.until(lambda: state.state != OrderState.SENT, "something is known")
        if fault not in {"doubled_events", "early_events", "lose_events"}:
            world.venue.holding.clear()
        await world.until(lambda: not world.differences(), "agreement")
        told = [type(event) for event in world.life.heard]
        assert (OrderUnknown in told) == (
            fault in {"lose_answer", "lose_request", "late_request"}
        ), told
        if kind == "limit" and state.open:
            world.venue.trade(number, "1")
            world.life.give(Cancel(number))
            await world.until(
                lambda: not state.open and not world.differences(), "it is cancelled, with its fill"
            )
            assert state.filled == 1

    run(scenario)


def test_nothing_is_sent_while_the_venue_is_away_and_all_is_well_when_it_is_back():
    async def scenario(world: World) -> None:
        resting = world.submit()
        await world.until(lambda: world.orders[resting].accepted, "it rests")
        world.venue.down = True
        world.life.trading.cut()
        await world.until(lambda: not world.life.ready, "away is told")
        away = [e for e in world.life.heard if isinstance(e, AccountAway)]
        assert len(away) == 1
        refused = world.submit()
        await world.until(lambda: not world.orders[refused].open, "refused here")
        assert world.orders[refused].text == "its venue is away"
        world.life.give(Cancel(resting))
        await world.until(
            lambda: any(isinstance(e, CancelNotSent) for e in world.life.heard), "not sent"
        )
        world.venue.trade(resting, "2")  # nobody listens
        await world.settle()
        assert world.orders[resting].filled == 2
        assert sum(isinstance(e, AccountAway) for e in world.life.heard) == 1, "said once"
        assert refused not in world.venue.sent

    run(scenario)


def test_an_open_order_of_somebody_else_is_told_and_left_alone():
    async def scenario(world: World) -> None:
        other = world.submit()
        await world.until(lambda: world.orders[other].accepted, "it rests")
        del world.orders[other]
        await world.life.end()
        world.life = Life(world)
        await world.until(lambda: world.life.ready, "reconciled")
        alarms = [event for event in world.life.heard if isinstance(event, AccountAlarm)]
        assert [(alarm.code, alarm.pause) for alarm in alarms] == [("foreign_order", False)]
        assert world.venue.open_ids() == [other]

    run(scenario)


def test_an_order_that_vanished_pauses_and_is_not_taken_for_over():
    async def scenario(world: World) -> None:
        number = world.submit()
        await world.until(lambda: world.orders[number].accepted, "it rests")
        kept = world.venue.orders.pop(number)
        world.life.trading.cut()
        await world.until(
            lambda: any(isinstance(e, AccountAlarm) and e.pause for e in world.life.heard), "paused"
        )
        assert world.orders[number].open
        assert not world.life.ready, "nothing new is sent before it is settled"
        world.venue.orders[number] = kept
        await world.settle()

    run(scenario)


def test_the_dead_man_is_refreshed_only_while_execution_lives(monkeypatch):
    async def scenario(world: World) -> None:
        trading = world.life.trading
        await world.until(lambda: trading.dead_man_s == [60.0], "armed at once")
        moment = [0.0]
        monkeypatch.setattr(module, "monotonic_s", lambda: moment[0])
        world.healthy = False
        moment[0] = 1e9
        await asyncio.sleep(0.02)
        assert trading.dead_man_s == [60.0]
        world.healthy = True
        await world.until(lambda: len(trading.dead_man_s) == 2, "refreshed")

    run(scenario)


def test_the_switch_stops_what_waits_and_its_own_orders_pass():
    async def scenario(world: World) -> None:
        world.gate.level[0] = KillLevel.FLATTEN
        stopped = world.submit()
        own = world.submit(kind="market", strategy="kill_switch")
        await world.until(lambda: not world.orders[stopped].open, "stopped")
        await world.until(lambda: world.orders[own].state == OrderState.FILLED, "closed")
        assert world.venue.sent == [own]

    run(scenario)


def test_cancel_all_reaches_a_venue_that_is_away_when_it_is_back():
    async def scenario(world: World) -> None:
        number = world.submit()
        await world.until(lambda: world.orders[number].accepted, "it rests")
        world.venue.down = True
        world.life.give(CancelAll())
        await asyncio.sleep(0.02)
        assert world.venue.open_ids() == [number]
        world.venue.down = False
        await world.until(lambda: not world.venue.open_ids(), "cancelled")
        await world.settle()

    run(scenario)


def test_a_venue_without_client_ids_has_one_order_under_way():
    async def whole() -> None:
        world = await ready(parallel=1)
        world.venue.holding = {"lose_answer"}
        first, second = world.submit(), world.submit()
        await world.until(lambda: world.orders[first].unknown, "nobody can say")
        assert world.venue.sent == [first], "the next one waits until it is known"
        world.venue.holding.clear()
        await world.until(lambda: world.orders[second].accepted, "then it goes")
        await world.settle()
        await world.life.end()

    asyncio.run(whole())


async def waiting_behind_another(world: World) -> tuple[asyncio.Event, str]:
    """An order that waits for its turn, since the one before it has no answer yet."""
    answered, place = asyncio.Event(), world.life.trading.place

    async def slow(order, written):
        if order.symbol == "ETH/USD":
            await answered.wait()
        return await place(order, written)

    world.life.trading.place = slow
    first = world.submit(symbol="ETH/USD")
    waits = world.submit(kind="market")
    await world.until(lambda: first in world.life.session._orders, "the first is under way")
    return answered, waits


async def asked(world: World) -> None:
    """The venue has answered what the machine asks it of all its orders."""
    looks, look = [], world.life.trading.look

    async def seen(refs, since_ns):
        sight = await look(refs, since_ns)
        looks.append(sight)
        return sight

    world.life.trading.look = seen
    world.life.reconcile()
    await world.until(lambda: looks, "looked")
    await asyncio.sleep(0)
    world.life.trading.look = look


@pytest.mark.parametrize("client", [StrictTrading, NamelessTrading])
def test_an_order_that_waits_for_its_turn_is_not_asked_about(client):
    """The venue cannot have it, and must not be believed to have said so."""

    async def whole() -> None:
        world = await ready(parallel=1, client=client)
        answered, waits = await waiting_behind_another(world)
        await asked(world)
        assert not any(getattr(e, "command_id", "") == waits for e in world.life.heard)
        answered.set()
        await world.until(lambda: world.orders[waits].state is OrderState.FILLED, "its turn")
        await world.life.end()

    asyncio.run(whole())


@pytest.mark.parametrize("client", [StrictTrading, NamelessTrading])
@pytest.mark.parametrize("asked_while_waiting", [True, False])
def test_an_order_that_was_not_sent_is_not_taken_for_the_next_one_like_it(
    client, asked_while_waiting
):
    """Else its fills are booked twice."""

    async def whole() -> None:
        world = await ready(parallel=1, client=client)
        answered, refused = await waiting_behind_another(world)
        if asked_while_waiting:
            await asked(world)
        stale = [world.orders[refused].intent]
        world.gate.level[0] = KillLevel.PAUSE
        answered.set()
        await world.until(lambda: not world.orders[refused].open, "refused")
        world.gate.level[0] = KillLevel.NONE
        second = world.submit(kind="market")
        await world.until(lambda: world.orders[second].state is OrderState.FILLED, "filled")
        # What the machine knew when it asked: the first one was open.
        world.life.give(Reconcile(tuple(Outstanding(intent=intent) for intent in stale)))
        await asked(world)
        assert world.orders[refused].state is OrderState.EXPIRED
        assert world.orders[refused].filled == 0
        assert world.orders[second].filled == 3
        assert refused not in world.venue.sent
        await world.life.end()

    asyncio.run(whole())


def test_what_the_venue_says_of_another_order_of_ours_is_not_believed(monkeypatch):
    """A look can have begun before that one was sent."""

    async def scenario(world: World) -> None:
        number = world.submit(kind="market")
        await world.until(lambda: world.orders[number].state is OrderState.FILLED, "filled")
        world.venue.holding = {"lose_request"}
        lost = world.submit(kind="market")
        await world.until(lambda: world.orders[lost].unknown, "nobody can say")
        look = world.life.trading.look

        async def mistaken(refs, since_ns):
            sight = await look(refs, since_ns)
            if lost in sight.missing:
                true = world.venue.orders[number]
                sight.missing.discard(lost)
                sight.orders[lost] = world.venue.update(true)
                sight.fills += [(lost, fill) for fill in true.fills]
            return sight

        world.life.trading.look = mistaken
        for _ in range(3):
            await asked(world)
        assert world.orders[lost].filled == 0
        assert world.orders[lost].open
        world.life.trading.look = look
        world.venue.holding.clear()
        await world.until(lambda: not world.orders[lost].open, "it never came")

    run(scenario)


def test_a_fault_of_ours_ends_the_session(monkeypatch):
    async def whole() -> None:
        world = await ready()

        async def broken(*_):
            raise KeyError("a mistake")

        monkeypatch.setattr(world.life.trading, "place", broken)
        world.submit()
        with pytest.raises(KeyError):
            await asyncio.wait_for(world.life.task, 5)
        assert world.gate.idle

    asyncio.run(whole())


FAULTS = (
    "lose_answer", "lose_request", "reject", "late_request", "early_events", "lose_events",
    "doubled_events",
)  # fmt: skip


async def schedule(draw: random.Random, steps: int) -> World:
    """A random day of an account."""
    world = World(parallel=draw.choice((1, 4)))
    for _ in range(steps):
        choice = draw.random()
        if choice < 0.30:
            world.submit(kind=draw.choice(("market", "limit")))
        elif choice < 0.45 and world.orders:
            world.life.give(Cancel(draw.choice(list(world.orders))))
        elif choice < 0.60 and world.venue.open_ids():
            world.venue.trade(draw.choice(world.venue.open_ids()), draw.choice(("1", "3")))
        elif choice < 0.75:
            world.venue.holding = {draw.choice(FAULTS)} if draw.random() < 0.6 else set()
        elif choice < 0.80:
            world.life.trading.cut()
        elif choice < 0.85:
            world.venue.down = not world.venue.down
        elif choice < 0.90:
            await world.restart()
        elif choice < 0.92:
            world.life.give(CancelAll())
        await asyncio.sleep(draw.choice((0, 0, 0.001, 0.005)))
    await world.settle()
    return world


def days(seed: int, count: int, steps: int) -> int:
    """Many of them; how many orders they had."""
    orders = 0
    for number in range(count):
        draw = random.Random(seed + number)

        async def day(draw=draw) -> World:
            world = await schedule(draw, steps)
            await world.life.end()
            return world

        try:
            world = asyncio.run(day())
        except AssertionError as error:
            raise AssertionError(f"seed {seed + number}: {error}") from error
        sent = world.venue.sent
        assert len(sent) == len(set(sent)), f"seed {seed + number}: sent twice"

        assert world.gate.idle, f"seed {seed + number}"
        orders += len(world.orders)
    return orders


def test_random_days(seed):
    assert days(seed, 15, 60) > 100


@pytest.mark.long
def test_thousands_of_random_days(seed):
    print(f"{days(seed, 2000, 80)} orders in 2,000 days")
