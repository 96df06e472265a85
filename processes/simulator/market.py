"""The matching engine: one market with price-time priority, in whole ticks and units.

A price is a number of ticks, an amount a number of units of 10^-8: exact, and cheap to compare.
Deterministic: the same calls give the same book, trades and ids.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Literal

from msgspec import Struct

UNITS = 10**8
BookSide = Literal[1, -1]
"""1 = bids or buyers, -1 = asks or sellers."""


class Order(Struct):
    """An order that rests in the book."""

    id: int
    side: BookSide
    ticks: int
    units: int
    owner: str = ""
    time_ns: int = 0


class Trade(Struct, frozen=True):
    """What one match did. `side` is the taker's."""

    id: int
    time_ns: int
    side: BookSide
    ticks: int
    units: int
    maker: int
    taker: int
    limit: bool = False
    """The taker's order had a price."""


class Market:
    """One order book.

    Args:
        symbol: the venue's name. tick: price of one tick. first_trade_id: ids count up from here.
    """

    def __init__(self, symbol: str, tick: Decimal, first_trade_id: int = 1) -> None:
        self.symbol = symbol
        self.tick = tick
        self.version = 0
        """Grows with every change of the book."""
        self.on_trade: Callable[[Trade], None] = lambda _: None
        self._orders: dict[int, Order] = {}
        self._queues: dict[BookSide, dict[int, deque[Order]]] = {1: {}, -1: {}}
        # Prices times -side, ascending: the best price of either side stands first.
        self._ranks: dict[BookSide, list[int]] = {1: [], -1: []}
        # Units at each price, and what `levels` last found: asked for at every change.
        self._totals: dict[BookSide, dict[int, int]] = {1: {}, -1: {}}
        self._shown: dict[tuple[BookSide, int], tuple[int, list[tuple[int, int, int]]]] = {}
        self._next_order = 1
        self._next_trade = first_trade_id

    def price(self, ticks: int) -> Decimal:
        """Ticks as a price."""
        return self.tick * ticks

    def best(self, side: BookSide) -> int | None:
        """The best price of a side in ticks."""
        ranks = self._ranks[side]
        return -side * ranks[0] if ranks else None

    def levels(self, side: BookSide, limit: int) -> list[tuple[int, int, int]]:
        """The best levels: (ticks, orders, units); not to be changed, others may hold it too."""
        version, known = self._shown.get((side, limit), (-1, []))
        if version == self.version:
            return known
        queues, totals = self._queues[side], self._totals[side]
        found = [
            (ticks, len(queues[ticks]), totals[ticks])
            for ticks in [-side * rank for rank in self._ranks[side][:limit]]
        ]
        self._shown[side, limit] = (self.version, found)
        return found

    def orders(self, side: BookSide, limit: int) -> list[Order]:
        """The first orders of a side by price, then age."""
        found: list[Order] = []
        for rank in self._ranks[side]:
            found += self._queues[side][-side * rank]
            if len(found) >= limit:
                break
        return found[:limit]

    def depth(self, side: BookSide, levels: int) -> int:
        """Units in the best levels of a side."""
        return sum(units for _, _, units in self.levels(side, levels))

    def resting(self, number: int) -> Order | None:
        """An order that rests, by its id."""
        return self._orders.get(number)

    def queue(self, side: BookSide, ticks: int) -> Sequence[Order]:
        """The orders at one price, oldest first."""
        return self._queues[side].get(ticks, ())

    @property
    def open_orders(self) -> int:
        """How many orders rest."""
        return len(self._orders)

    def take_number(self) -> int:
        """The id of an order that is to be submitted; no other gets it."""
        number = self._next_order
        self._next_order += 1
        return number

    def submit(
        self,
        side: BookSide,
        units: int,
        time_ns: int,
        *,
        ticks: int | None = None,
        owner: str = "",
        number: int = 0,
        rests: bool = True,
    ) -> tuple[int, int]:
        """A limit order, or a market order without a price: (order id, units left unmatched).

        What a market order leaves unmatched is gone; the rest of a limit order rests if it may.
        Matching stops at an order of the same owner; who submits sees to it (`meets_own`).

        Args:
            number: an id from `take_number`, or that of an order that has left the book.
        """
        assert units > 0
        assert number not in self._orders
        number = number or self.take_number()
        left = self._match(side, units, ticks, number, time_ns, owner)
        if left and ticks is not None and rests and not self.meets_own(side, ticks, owner):
            self._rest(Order(number, side, ticks, left, owner, time_ns))
        return number, left

    def crosses(self, side: BookSide, ticks: int | None) -> bool:
        """True if an order would match at once."""
        best = self.best(-1 if side == 1 else 1)
        return best is not None and (ticks is None or side * best <= side * ticks)

    def meets_own(self, side: BookSide, ticks: int | None, owner: str) -> Order | None:
        """The order of the same owner that stands first in the way of a further match."""
        other: BookSide = -1 if side == 1 else 1
        best = self.best(other)
        if not owner or best is None or not self.crosses(side, ticks):
            return None
        first = self._queues[other][best][0]
        return first if first.owner == owner else None

    def walk(
        self, side: BookSide, units: int, ticks: int | None, owner: str
    ) -> list[tuple[int, int]]:
        """What an order would match at once: (ticks, units) in the order of matching."""
        found: list[tuple[int, int]] = []
        other: BookSide = -1 if side == 1 else 1
        for rank in self._ranks[other]:
            best = -other * rank
            if ticks is not None and side * best > side * ticks:
                break
            for maker in self._queues[other][best]:
                if not units or (owner and maker.owner == owner):
                    return found
                found.append((best, min(units, maker.units)))
                units -= found[-1][1]
        return found

    def shrink(self, number: int, units: int) -> None:
        """Take units off a resting order, which keeps its place in the queue."""
        order = self._orders[number]
        assert 0 < units < order.units
        order.units -= units
        self._totals[order.side][order.ticks] -= units
        self.version += 1

    def cancel(self, number: int) -> bool:
        """Take a resting order out; False if it is not there any more."""
        order = self._orders.pop(number, None)
        if order is None:
            return False
        queue = self._queues[order.side][order.ticks]
        queue.remove(order)
        self._totals[order.side][order.ticks] -= order.units
        if not queue:
            self._drop_level(order.side, order.ticks)
        self.version += 1
        return True

    def _match(
        self, side: BookSide, units: int, ticks: int | None, number: int, time_ns: int, owner: str
    ) -> int:
        other: BookSide = -1 if side == 1 else 1
        while units:
            best = self.best(other)
            if best is None or (ticks is not None and side * best > side * ticks):
                break
            queue = self._queues[other][best]
            maker = queue[0]
            if owner and maker.owner == owner:
                break
            traded = min(units, maker.units)
            units -= traded
            maker.units -= traded
            self._totals[other][best] -= traded
            if maker.units == 0:
                queue.popleft()
                del self._orders[maker.id]
                if not queue:
                    self._drop_level(other, best)
            self.version += 1
            trade = Trade(
                self._next_trade, time_ns, side, best, traded, maker.id, number, ticks is not None
            )
            self._next_trade += 1
            self.on_trade(trade)
        return units

    def _rest(self, order: Order) -> None:
        queues = self._queues[order.side]
        if order.ticks not in queues:
            queues[order.ticks] = deque()
            self._totals[order.side][order.ticks] = 0
            insort(self._ranks[order.side], -order.side * order.ticks)
        queues[order.ticks].append(order)
        self._totals[order.side][order.ticks] += order.units
        self._orders[order.id] = order
        self.version += 1

    def _drop_level(self, side: BookSide, ticks: int) -> None:
        del self._queues[side][ticks]
        del self._totals[side][ticks]
        self._ranks[side].remove(-side * ticks)
