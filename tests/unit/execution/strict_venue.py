"""A venue in memory behind the trading calls: strict, and as faulty as it is told to be.

It has an order book of nobody: market orders fill at once, limit orders rest until `trade`. Events
are told in order, after the answer, unless a fault says otherwise. Every fault is asked for by
name; what it did is in `orders`, the truth that a test compares with.
"""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal

from schemas.account import BalanceChange, Fee, Fill, OrderUpdate
from schemas.errors import RefusedError, UnavailableError
from venues.trading import NewOrder, OrderRef, Sight, Tell

PRICE = "100"


class Standing:
    """One order as the venue has it."""

    def __init__(self, number: int, order: NewOrder) -> None:
        self.venue_order_id = f"V{number}"
        self.order = order
        self.filled = Decimal(0)
        self.fills: list[Fill] = []
        self.status = "open"


class StrictVenue:
    """Behind any number of `StrictTrading`, as a real one survives its clients."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.now_ns = now_ns
        self.orders: dict[str, Standing] = {}
        self.holding: set[str] = set()
        """Faults in force: see `StrictTrading.place`."""
        self.down = False
        self.sent: list[str] = []
        """Command ids that left the client, in order."""
        self.listeners: list[StrictTrading] = []
        self.fills_market = True
        self.fee = Fee(asset="USD", amount="0.1")
        """Of each fill."""

    def tell(self, event) -> None:
        for listener in list(self.listeners):
            listener.hear(event)

    def take(self, order: NewOrder) -> Standing:
        """An order arrives."""
        if order.command_id in self.orders:
            raise RefusedError("this client id is known")
        standing = Standing(len(self.orders) + 1, order)
        self.orders[order.command_id] = standing
        return standing

    def begin(self, standing: Standing) -> None:
        """What follows when it has arrived."""
        self.tell(self.update(standing))
        if standing.order.kind == "market" and self.fills_market and standing.status == "open":
            self.trade(standing.order.command_id, standing.order.quantity)

    def trade(self, command_id: str, quantity: str) -> None:
        """Somebody trades with an order."""
        standing = self.orders[command_id]
        assert standing.status == "open"
        amount = min(Decimal(quantity), Decimal(standing.order.quantity) - standing.filled)
        standing.filled += amount
        fill = Fill(
            venue="strict", fill_id=f"{standing.venue_order_id}-{len(standing.fills)}",
            order_id=standing.venue_order_id, symbol=standing.order.symbol,
            side=standing.order.side, price=PRICE, quantity=f"{amount:f}",
            client_order_id=standing.order.command_id, fees=(self.fee,),
            time_ns=self.now_ns(),
        )  # fmt: skip
        standing.fills.append(fill)
        if standing.filled == Decimal(standing.order.quantity):
            standing.status = "filled"
        if "lose_events" not in self.holding:
            self.tell(fill)
            self.tell(self.update(standing))

    def cancel(self, command_id: str) -> None:
        """An order ends."""
        standing = self.orders.get(command_id)
        if standing is not None and standing.status == "open":
            standing.status = "canceled"
            if "lose_events" not in self.holding:
                self.tell(self.update(standing))

    def update(self, standing: Standing) -> OrderUpdate:
        """How the venue speaks of it."""
        return OrderUpdate(
            venue="strict", order_id=standing.venue_order_id, symbol=standing.order.symbol,
            status=standing.status, status_text=standing.status,  # type: ignore[arg-type]
            client_order_id=standing.order.command_id, side=standing.order.side,
            quantity=standing.order.quantity, filled_quantity=f"{standing.filled:f}",
        )  # fmt: skip

    def open_ids(self) -> list[str]:
        return [number for number, one in self.orders.items() if one.status == "open"]


class StrictTrading:
    """One client of it."""

    venue = "strict"
    parallel = 4
    settle_s = 0.3

    def __init__(self, at: StrictVenue) -> None:
        self.at = at
        self.dead_man_s: list[float] = []
        self.connected = False
        self._tell: Tell = lambda _: None
        self._lost = asyncio.Event()

    def hear(self, event) -> None:
        if "doubled_events" in self.at.holding:
            self._tell(event)
        self._tell(event)

    def client_id(self, order: NewOrder) -> str:
        return order.command_id

    def cut(self) -> None:
        """The connection ends."""
        self._lost.set()

    async def connect(self, tell: Tell) -> None:
        await asyncio.sleep(0)
        if self.at.down:
            raise OSError("connection refused")
        self._tell = tell
        self._lost.clear()
        self.connected = True
        self.at.listeners.append(self)

    async def watch(self) -> None:
        await self._lost.wait()
        raise UnavailableError("the connection was cut")

    async def close(self) -> None:
        self.connected = False
        if self in self.at.listeners:
            self.at.listeners.remove(self)

    def _check(self) -> None:
        if self.at.down or not self.connected:
            raise UnavailableError("the venue is down")

    async def place(self, order: NewOrder, written: Callable[[], None]) -> str:
        self._check()
        self.at.sent.append(order.command_id)
        assert self.at.sent.count(order.command_id) == 1, "sent twice"
        holding = set(self.at.holding)
        await asyncio.sleep(0)
        written()
        if "lose_request" in holding:
            raise TimeoutError("no answer")
        if "reject" in holding:
            raise RefusedError("EOrder:Insufficient funds")
        if "late_request" in holding:
            asyncio.get_running_loop().call_later(
                self.settle_s / 2, lambda: self.at.begin(self.at.take(order))
            )
            raise TimeoutError("no answer")
        standing = self.at.take(order)
        if "early_events" in holding:
            self.at.begin(standing)
            await asyncio.sleep(0.01)
        elif "lose_events" not in holding:
            asyncio.get_running_loop().call_soon(self.at.begin, standing)
        elif standing.order.kind == "market" and self.at.fills_market:
            self.at.trade(order.command_id, order.quantity)
        if "lose_answer" in holding:
            raise TimeoutError("no answer")
        return standing.venue_order_id

    async def cancel(self, refs: Sequence[OrderRef]) -> None:
        self._check()
        await asyncio.sleep(0)
        for ref in refs:
            self.at.cancel(ref.order.command_id)

    async def cancel_all(self) -> None:
        self._check()
        await asyncio.sleep(0)
        for number in self.at.open_ids():
            self.at.cancel(number)

    async def dead_man(self, timeout_s: float) -> None:
        self._check()
        self.dead_man_s.append(timeout_s)

    async def look(self, refs: Sequence[OrderRef], since_ns: int) -> Sight:
        self._check()
        await asyncio.sleep(0)
        sight = Sight(orders={}, fills=[], missing=set(), ambiguous={}, foreign=[])
        asked = {ref.order.command_id for ref in refs}
        for ref in refs:
            number = ref.order.command_id
            standing = self.at.orders.get(number)
            if standing is None:
                sight.missing.add(number)
                continue
            sight.orders[number] = self.at.update(standing)
            sight.fills += [(number, fill) for fill in standing.fills]
        sight.foreign = [
            self.at.update(self.at.orders[number])
            for number in self.at.open_ids()
            if number not in asked
        ]
        return sight

    async def holdings(self) -> list[BalanceChange]:
        self._check()
        return [BalanceChange(venue="strict", asset="USD", balance="10", available="9")]

    async def margin_positions(self) -> dict[str, Decimal]:
        self._check()
        return {"XYZ": Decimal(-3)}


class NamelessTrading(StrictTrading):
    """A client of it where no order carries an id of ours: a lost one is found by its looks.

    Which one it is, is told as GMO Coin's calls do: exactly one that fits, and fits no other lost
    one; several are ambiguous.
    """

    parallel = 1

    def client_id(self, order: NewOrder) -> str:
        return ""

    async def look(self, refs: Sequence[OrderRef], since_ns: int) -> Sight:
        sight = await super().look(refs, since_ns)
        numbers = {one.venue_order_id: number for number, one in self.at.orders.items()}
        known = {ref.venue_order_id for ref in refs if ref.venue_order_id}
        named = [ref for ref in refs if ref.venue_order_id]
        found = {ref.order.command_id: numbers[ref.venue_order_id] for ref in named}
        lost = [ref.order for ref in refs if not ref.venue_order_id]
        strangers = [one for one in self.at.orders.values() if one.venue_order_id not in known]
        fits = {
            order.command_id: [one for one in strangers if _looks(one.order) == _looks(order)]
            for order in lost
        }
        claims = [one.venue_order_id for names in fits.values() for one in names]
        sight.missing, sight.ambiguous = set(), {}
        for number, names in fits.items():
            if len(names) == 1 and claims.count(names[0].venue_order_id) == 1:
                found[number] = names[0].order.command_id
            elif names:
                sight.ambiguous[number] = f"{names[0].venue_order_id} may be it"
            else:
                sight.missing.add(number)
        asked = {number: self.at.orders[true] for number, true in found.items()}
        sight.orders = {number: self.at.update(one) for number, one in asked.items()}
        sight.fills = [(number, fill) for number, one in asked.items() for fill in one.fills]
        taken = {one.venue_order_id for one in asked.values()} | set(claims)
        sight.foreign = [
            self.at.update(self.at.orders[number])
            for number in self.at.open_ids()
            if self.at.orders[number].venue_order_id not in taken
        ]
        return sight


def _looks(order: NewOrder) -> tuple[str, ...]:
    return order.symbol, order.side, order.quantity, order.kind, order.limit_price
