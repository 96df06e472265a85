"""Margin positions of one account: each opening fill is one; a closing order names what it closes.

The margin of a position is what its order held for it: the order's price over the leverage, until
it is closed. Profit is booked when a position is closed. There is no forced closing, no interest,
and what is not realised counts for nothing.
"""

from collections.abc import Iterator

from processes.simulator.market import Trade
from processes.simulator.orders import AccountOrder, OrderRequest, Position, RefusedError


class Positions:
    """Open positions by id."""

    def __init__(self) -> None:
        self.open: dict[int, Position] = {}

    def of(self, symbol: str, side: int) -> list[Position]:
        """Positions of one symbol and side, the oldest first."""
        return [p for p in self.open.values() if p.symbol == symbol and p.side == side]

    def check(self, request: OrderRequest) -> None:
        """See whether an order closes what it may.

        Raises:
            RefusedError: a position is not there, too small or on its way out already.
        """
        wanted: dict[int, int] = {}
        for number, units in request.closes:
            wanted[number] = wanted.get(number, 0) + units
            position = self.open.get(number)
            if position is None or position.symbol != request.symbol or units <= 0:
                raise RefusedError("no_position")
            if position.side == request.side:
                raise RefusedError("no_position")
            if wanted[number] > position.units - position.ordered_units:
                raise RefusedError("no_position")
        if wanted and sum(wanted.values()) != request.units:
            raise RefusedError("quantity")

    def oldest(self, symbol: str, side: int, units: int) -> tuple[tuple[int, int], ...]:
        """Which positions of a side an order of so many units closes if it names none.

        Raises:
            RefusedError: there are not so many.
        """
        found = []
        for position in self.of(symbol, side):
            part = min(units, position.units - position.ordered_units)
            if part > 0:
                found.append((position.id, part))
                units -= part
        if units:
            raise RefusedError("no_position")
        return tuple(found)

    def reserve(self, closes: tuple[tuple[int, int], ...]) -> None:
        """An order that closes is on its way."""
        for number, units in closes:
            self.open[number].ordered_units += units

    def portions(self, order: AccountOrder, units: int) -> Iterator[tuple[int, int]]:
        """(position id, units) that the next units of a closing order close."""
        done = order.filled_units
        for number, wanted in order.request.closes:
            part = min(max(wanted - done, 0), units)
            done = max(done - wanted, 0)
            if part:
                units -= part
                yield number, part
        assert not units

    def give_back(self, order: AccountOrder) -> None:
        """A closing order has ended; what it has not closed can be closed by others."""
        if order.left and order.request.closes:
            for number, units in self.portions(order, order.left):
                self.open[number].ordered_units -= units

    def add(self, order: AccountOrder, trade: Trade, number: int, margin: int) -> Position:
        """Open one with a fill."""
        position = Position(
            id=number, symbol=order.symbol, side=order.side, tick=order.tick, ticks=trade.ticks,
            units=trade.units, margin=margin, opened_ns=trade.time_ns,
        )  # fmt: skip
        self.open[number] = position
        return position

    def reduce(self, number: int, ticks: int, units: int) -> tuple[Position, int, int]:
        """Close part of one at a price: the position, the profit, the margin set free."""
        position = self.open[number]
        profit = position.profit(ticks, units)
        freed = position.margin * units // position.units
        position.units -= units
        position.ordered_units -= units
        position.margin -= freed
        if not position.units:
            del self.open[number]
        return position, profit, freed
