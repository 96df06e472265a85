"""Positions and profit: decimal arithmetic over fills, marked to our own market data."""

from decimal import Decimal

import numpy as np
from msgspec import Struct

from processes.clock import day_of
from schemas.trading import OrderFilled, OrderSide

ZERO = Decimal(0)


class Position(Struct):
    """What is held of one instrument. Negative = short."""

    quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    opened_ns: int = 0

    def add(self, side: OrderSide, fill: OrderFilled) -> Decimal:
        """Book one fill; what it realized, fee included (average-cost method)."""
        price, amount = Decimal(fill.price), Decimal(fill.quantity)
        signed = amount if side == "buy" else -amount
        fee = Decimal(fill.fee)
        gained = -fee
        closing = self.quantity and (self.quantity > 0) != (signed > 0)
        if closing:
            closed = min(abs(self.quantity), amount)
            direction = 1 if self.quantity > 0 else -1
            gained += (price - self.average_price) * closed * direction
        before = self.quantity
        self.quantity += signed
        if self.quantity == 0:
            self.average_price, self.opened_ns = ZERO, 0
        elif not closing:
            held = abs(before) * self.average_price + amount * price
            self.average_price = held / abs(self.quantity)
        elif (before > 0) != (self.quantity > 0):
            self.average_price = price  # turned around: the rest was opened at this price
        if self.quantity and (before == 0 or (before > 0) != (self.quantity > 0)):
            self.opened_ns = fill.time_ns
        self.fees += fee
        self.realized += gained
        return gained

    def unrealized(self, mark: Decimal) -> Decimal:
        """Profit if it were closed at `mark`."""
        return (mark - self.average_price) * self.quantity if self.quantity else ZERO


class Book:
    """All positions, the marks, and the day's result."""

    def __init__(self) -> None:
        self.positions: dict[int, Position] = {}
        self._quotes = np.zeros(1 << 16)
        """Reference prices by instrument as predictions brought them; 0 where none has."""
        self.quotes_address = int(self._quotes.ctypes.data)
        self.day = ""
        self.realized_today = ZERO

    def take_up(self, positions: dict[int, Position], day: str, realized_today: Decimal) -> None:
        """Positions and the day's result of an earlier life."""
        self.positions = positions
        self.day, self.realized_today = day, realized_today

    def position(self, instrument: int) -> Position:
        """An instrument's position, an empty one if there was none."""
        return self.positions.setdefault(instrument, Position())

    def see(self, instrument: int, price: float) -> None:
        """Mark an instrument to this price."""
        if price > 0:
            self._quotes[instrument] = price

    def mark(self, instrument: int, otherwise: Decimal) -> Decimal:
        """The last price seen of an instrument, to the digit that was written down."""
        price = float(self._quotes[instrument])
        return Decimal(repr(price)) if price else otherwise

    def fill(self, instrument: int, side: OrderSide, fill: OrderFilled) -> None:
        """Book a fill."""
        self.turn_day(fill.time_ns)
        gained = self.position(instrument).add(side, fill)
        if day_of(fill.time_ns) == self.day:
            self.realized_today += gained

    def turn_day(self, time_ns: int) -> None:
        """A new UTC day begins its result at zero."""
        day = day_of(time_ns)
        if day > self.day:
            self.day, self.realized_today = day, ZERO

    def unrealized(self) -> Decimal:
        """Of all positions, at the last marks."""
        return sum(
            (
                position.unrealized(self.mark(instrument, position.average_price))
                for instrument, position in self.positions.items()
                if position.quantity
            ),
            ZERO,
        )

    def exposure(self) -> Decimal:
        """Absolute value of all positions at the last marks."""
        return sum(
            (
                abs(position.quantity) * self.mark(instrument, position.average_price)
                for instrument, position in self.positions.items()
                if position.quantity
            ),
            ZERO,
        )

    def held(self) -> list[int]:
        """Instruments with a position."""
        return sorted(n for n, position in self.positions.items() if position.quantity)
