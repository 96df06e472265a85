"""Positions and profit: exact decimal arithmetic over fills, marked to our own market data.

What was paid is kept as a sum and never as a quotient, so that nothing is lost in rounding: the
part of it that leaves with a closed part is rounded to SHARE and the rest stays, to the digit. For
every history of fills, realized + unrealized = cash that came in + what is held at the mark.

A fee in the quote currency is a cost. A fee in the base asset (Kraken and Bitfinex take it of what
was bought) makes what is held smaller, and its value at the fill's price is the cost. A fee in any
other asset has no price here: it is kept apart, by asset, and is in no profit.
"""

from collections.abc import Container, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from math import inf
from typing import Final

import numpy as np
from msgspec import Struct

from processes.clock import day_of
from processes.execution.assets import UNKNOWN, Assets
from processes.execution.losses import Losses
from schemas.trading import OrderFilled, OrderSide

ZERO = Decimal(0)
ONE: Final = Decimal(1)
EXACT: Final = Context(prec=160, rounding=ROUND_HALF_EVEN)
"""Wide enough for sums and products of everything a venue can say, to the last digit."""
SHARE: Final = Decimal("1e-24")


class Position(Struct):
    """What is held of one instrument. Negative = short."""

    quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    """What is shown: `cost` by quantity, rounded. Never computed with."""
    realized: Decimal = ZERO
    """Fees taken off."""
    fees: Decimal = ZERO
    """In the quote currency; those in the base asset by their value at their fill's price."""
    opened_ns: int = 0
    cost: Decimal = ZERO
    """What was paid for the quantity; negative is what was got for a short one."""
    other_fees: dict[str, Decimal] = {}
    """In assets that are neither its base nor its quote."""

    def __post_init__(self) -> None:
        """Positions that were kept before there was a cost have an average price only."""
        if self.quantity and not self.cost:
            with localcontext(EXACT):
                self.cost = self.average_price * self.quantity

    def add(self, side: OrderSide, fill: OrderFilled, assets: Assets = UNKNOWN) -> Decimal:
        """Book one fill; what it realized, fee included (average-cost method)."""
        with localcontext(EXACT):
            price, amount, fee = Decimal(fill.price), Decimal(fill.quantity), Decimal(fill.fee)
            signed = amount if side == "buy" else -amount
            if fill.fee_currency in assets.bases:
                signed -= fee
                fee *= price
            elif assets.quotes and fill.fee_currency and fill.fee_currency not in assets.quotes:
                others = self.other_fees.get(fill.fee_currency, ZERO)
                self.other_fees = {**self.other_fees, fill.fee_currency: others + fee}
                fee = ZERO
            before = self.quantity
            gained = self._trade(signed, price) - fee
            self.fees += fee
            self.realized += gained
        self._note_opening(before, fill.time_ns)
        return gained

    def _trade(self, signed: Decimal, price: Decimal) -> Decimal:
        """Change the quantity at a price; what that realized."""
        before = self.quantity
        self.quantity += signed
        if not before or (before > 0) == (signed > 0):
            self.cost += signed * price
            return ZERO
        closed = min(abs(before), abs(signed)).copy_sign(before)
        is_whole = closed == before
        share = self.cost
        if not is_whole:
            share = (self.cost * closed / before).quantize(SHARE).normalize()
        self.cost -= share
        if is_whole and self.quantity:
            self.cost = self.quantity * price  # turned around: the rest was opened at this price
        return closed * price - share

    def _note_opening(self, before: Decimal, time_ns: int) -> None:
        if not self.quantity:
            self.average_price, self.opened_ns = ZERO, 0
            return
        self.average_price = self.cost / self.quantity
        if not before or (before > 0) != (self.quantity > 0):
            self.opened_ns = time_ns

    def unrealized(self, mark: Decimal) -> Decimal:
        """Profit if it were closed at `mark`."""
        if not self.quantity:
            return ZERO
        with localcontext(EXACT):
            return mark * self.quantity - self.cost


class Book:
    """All positions, the marks, the day's result, and what risk remembers.

    Amounts that are sums over instruments are in the currency of the limits: each quote currency
    by its rate.

    Args:
        assets: base and quote by instrument, to know what a fee is taken of.
    """

    def __init__(self, assets: Mapping[int, Assets] | None = None) -> None:
        self.positions: dict[int, Position] = {}
        self._assets = assets or {}
        self._quotes = np.zeros(1 << 16)
        """Reference prices by instrument as predictions brought them; 0 where none has."""
        self.quotes_address = int(self._quotes.ctypes.data)
        self.day = ""
        self.realized_today = ZERO
        """As it is recorded: quote currencies as they come."""
        self.realized_by: dict[int, Decimal] = {}
        """Of the day, by instrument."""
        self.losses = Losses()
        self.smallest: Mapping[int, Decimal] = {}
        """What cannot be sold any more because it is smaller is not held: it is dust."""
        self.rates: Mapping[int, Decimal] = {}

    def position(self, instrument: int) -> Position:
        """An instrument's position, an empty one if there was none."""
        return self.positions.setdefault(instrument, Position())

    def see(self, instrument: int, price: float) -> None:
        """Mark an instrument to this price."""
        if 0 < price < inf:
            self._quotes[instrument] = price

    def mark(self, instrument: int, otherwise: Decimal) -> Decimal:
        """The last price seen of an instrument, to the digit that was written down."""
        price = float(self._quotes[instrument])
        return Decimal(repr(price)) if price else otherwise

    def fill(self, instrument: int, side: OrderSide, fill: OrderFilled) -> None:
        """Book a fill."""
        self.turn_day(fill.time_ns)
        assets = self._assets.get(instrument, UNKNOWN)
        position = self.position(instrument)
        before = self.quantity(instrument)
        gained = position.add(side, fill, assets)
        if day_of(fill.time_ns) == self.day:
            self.realized_today = EXACT.add(self.realized_today, gained)
            self.realized_by[instrument] = EXACT.add(self.realized_by.get(instrument, ZERO), gained)
        trades = self.losses.trades
        trades[instrument] = EXACT.add(trades.get(instrument, ZERO), gained)
        after = self.quantity(instrument)
        if before and (not after or (before > 0) != (after > 0)):
            self.losses.end_trade(instrument)

    def turn_day(self, time_ns: int) -> None:
        """A new UTC day begins its result at zero."""
        day = day_of(time_ns)
        if day > self.day:
            self.day, self.realized_today, self.realized_by = day, ZERO, {}

    def unrealized(self, among: Container[int] | None = None) -> Decimal:
        """Of all positions, or those of some instruments, at the last marks."""
        with localcontext(EXACT):
            return sum(
                (
                    position.unrealized(self.mark(n, position.average_price)) * self._rate(n)
                    for n, position in self._among(among)
                ),
                ZERO,
            )

    def exposure(self, among: Container[int] | None = None) -> Decimal:
        """Absolute value of all positions, or those of some instruments, at the last marks."""
        with localcontext(EXACT):
            return sum(
                (
                    abs(position.quantity) * self.mark(n, position.average_price) * self._rate(n)
                    for n, position in self._among(among)
                ),
                ZERO,
            )

    def result_today(self, among: Container[int] | None = None) -> Decimal:
        """What the day has brought, open positions at the last marks included."""
        with localcontext(EXACT):
            realized = (
                amount * self._rate(n)
                for n, amount in self.realized_by.items()
                if among is None or n in among
            )
            return sum(realized, self.unrealized(among))

    def equity(self) -> Decimal:
        """What everything has brought since the ledger began."""
        with localcontext(EXACT):
            realized = (one.realized * self._rate(n) for n, one in self.positions.items())
            return sum(realized, self.unrealized())

    def drawdown(self) -> Decimal:
        """What was lost since the highest equity."""
        return EXACT.subtract(self.losses.peak, self.equity())

    def follow(self) -> None:
        """Raise the highest equity, if every position has a mark: without one it is a guess."""
        if all(self._quotes[instrument] for instrument in self.held()):
            self.losses.peak = max(self.losses.peak, self.equity())

    def _rate(self, instrument: int) -> Decimal:
        return self.rates.get(instrument, ONE)

    def _among(self, among: Container[int] | None) -> list[tuple[int, Position]]:
        return [
            (instrument, position)
            for instrument, position in self.positions.items()
            if position.quantity and (among is None or instrument in among)
        ]

    def is_dust(self, instrument: int) -> bool:
        """Nothing is held of it, or less than its venue takes back."""
        quantity = abs(self.position(instrument).quantity)
        return not quantity or quantity < self.smallest.get(instrument, ZERO)

    def quantity(self, instrument: int) -> Decimal:
        """What is held of an instrument, dust left out."""
        return ZERO if self.is_dust(instrument) else self.position(instrument).quantity

    def held(self) -> list[int]:
        """Instruments with a position, dust left out."""
        return sorted(n for n in self.positions if not self.is_dust(n))
