"""The books of one account: what it has, what was filled, and what happened, in one sequence.

Books every match as a fill with its fee, and every change as an event. What an order may cost is
held until it is spent or the order ends, so that no balance of a spot account falls below zero.
Decides nothing: commands are in account.py, positions in positions.py.
"""

from collections import deque
from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

from processes.simulator.balances import UNIT_ATOMS, Balances, cost_atoms, fee_atoms
from processes.simulator.delivery import AccountFaults, Delivery
from processes.simulator.events import (
    AccountEvent,
    BalanceEvent,
    FillEvent,
    OrderEvent,
    PositionEvent,
)
from processes.simulator.market import Market, Trade
from processes.simulator.orders import (
    AccountFill,
    AccountOrder,
    Cause,
    End,
    Listing,
    Position,
    PositionWhat,
    Rules,
    What,
)
from processes.simulator.positions import Positions

CLOSED_KEPT = 20_000
"""Orders that have ended, the oldest forgotten first."""
FILLS_KEPT = 100_000
EVENTS_KEPT = 100_000


class AccountBooks:
    """Balances, orders, fills, positions, and what happened to them.

    Args:
        key: the API key, also its owner's mark in the books. totals: decimal text by asset.
        markets: by symbol. take_id: gives out ids that are the venue's own.
    """

    def __init__(
        self,
        key: str,
        secret: str,
        totals: dict[str, str],
        markets: dict[str, Market],
        rules: Rules,
        take_id: Callable[[], int],
    ) -> None:
        self.key = key
        self.secret = secret
        self.rules = rules
        self.balances = Balances(totals)
        self.positions = Positions()
        self.open: dict[int, AccountOrder] = {}
        self.closed: dict[int, AccountOrder] = {}
        self.fills: dict[int, AccountFill] = {}
        self.events: deque[AccountEvent] = deque(maxlen=EVENTS_KEPT)
        self.sequence = 0
        self.faults = AccountFaults()
        self.delivery = Delivery(self.faults)
        self.dead_man_ns = 0
        """All orders are canceled then; 0 = never."""
        self.nonce = 0
        self.memory: dict[str, Any] = {}
        """What the venue itself keeps of the account: rates, tokens."""
        self.markets = markets
        self.take_id = take_id
        self.by_number: dict[tuple[str, int], AccountOrder] = {}

    # ---- what is asked for

    def order(self, number: int) -> AccountOrder | None:
        """An order by its id, open or ended."""
        return self.open.get(number) or self.closed.get(number)

    def orders(self) -> Iterable[AccountOrder]:
        """All that are kept, the ended ones first."""
        yield from self.closed.values()
        yield from self.open.values()

    def by_client_id(self, client_id: str) -> AccountOrder | None:
        """The open order that the client calls so."""
        found = (o for o in self.open.values() if o.request.client_id == client_id)
        return next(found, None) if client_id else None

    # ---- holds

    def needed(self, order: AccountOrder, listing: Listing) -> tuple[str, int]:
        """What the unfilled rest of an order may take at most: the asset, and how much of it."""
        ticks = order.guard_ticks if order.ticks is None else order.ticks
        assert ticks is not None
        cost = cost_atoms(order.tick, ticks, order.left)
        if order.request.closes:
            return listing.quote, 0
        if listing.leverage:
            return listing.quote, -(-cost // listing.leverage)
        if order.side == -1:
            return listing.base, order.left * UNIT_ATOMS
        parts = max(listing.taker_parts, listing.maker_parts, 0)
        if self.rules.fee_in == "received":
            parts = 0
        fee = fee_atoms(cost, parts, self.rules.fee_decimals)
        return listing.quote, cost + fee

    def hold(self, order: AccountOrder, asset: str, amount: int) -> None:
        """Hold so much for an order from now on."""
        self.balances.hold(asset, amount - order.held)
        order.held_asset, order.held = asset, amount

    # ---- matches

    def take(self, trade: Trade, symbol: str) -> None:
        """Book a match that one of this account's orders was part of."""
        for number, maker in ((trade.maker, True), (trade.taker, False)):
            order = self.by_number.get((symbol, number))
            if order is not None:
                self._fill(order, trade, maker=maker)

    def _fill(self, order: AccountOrder, trade: Trade, *, maker: bool) -> None:
        """A closing order is filled position by position, everything else at once."""
        parts = [(0, trade.units)]
        if order.request.closes:
            parts = list(self.positions.portions(order, trade.units))
        for position_id, units in parts:
            self._fill_part(order, trade, units, position_id, maker=maker)
        if order.left == 0:
            self.end(order, "filled", "", trade.time_ns, order.fills[-1])

    def _fill_part(
        self, order: AccountOrder, trade: Trade, units: int, position_id: int, *, maker: bool
    ) -> None:
        listing = self.rules.listing(order.symbol)
        cost = cost_atoms(order.tick, trade.ticks, units)
        basis = units * UNIT_ATOMS if order.fee_asset == listing.base else cost
        parts = listing.maker_parts if maker else listing.taker_parts
        fee = fee_atoms(basis, parts, self.rules.fee_decimals)
        number = self.take_id()
        order.filled_units += units
        order.cost += cost
        order.fee += fee
        order.fills = (*order.fills, number)
        order.updated_ns = trade.time_ns
        freed = max(order.held - self.needed(order, listing)[1], 0)
        self.hold(order, order.held_asset, order.held - freed)
        position, profit, what = self._move_position(
            order, trade, units, position_id, margin=freed, listing=listing
        )
        fill = AccountFill(
            id=number, trade_id=trade.id, order_id=order.id, symbol=order.symbol,
            side=order.side, tick=order.tick, ticks=trade.ticks, units=units, fee=fee,
            fee_asset=order.fee_asset, maker=maker, time_ns=trade.time_ns,
            position_id=0 if position is None else position.id, profit=profit,
        )  # fmt: skip
        self.fills[number] = fill
        if len(self.fills) > FILLS_KEPT:
            del self.fills[next(iter(self.fills))]
        self._log(
            FillEvent(
                sequence=self._next(), time_ns=fill.time_ns, order=copy(order), fill_made=fill
            )
        )
        if not listing.leverage:
            self._book(listing.base, order.side * units * UNIT_ATOMS, fill)
            self._book(listing.quote, -order.side * cost, fill)
        elif profit or fee:
            self._book(listing.quote, profit, fill)
        if position is not None:
            self._log(
                PositionEvent(
                    sequence=self._next(), time_ns=fill.time_ns, what=what,
                    position=copy(position), fill=number,
                )
            )  # fmt: skip

    def _move_position(
        self, order: AccountOrder, trade: Trade, units: int, position_id: int, *,
        margin: int, listing: Listing,
    ) -> tuple[Position | None, int, PositionWhat]:  # fmt: skip
        """Open or close what a fill opens or closes: the position, the profit, what happened."""
        if not listing.leverage:
            return None, 0, "opened"
        if not position_id:
            self.balances.hold(listing.quote, margin)
            return self.positions.add(order, trade, self.take_id(), margin), 0, "opened"
        position, profit, freed = self.positions.reduce(position_id, trade.ticks, units)
        self.balances.hold(listing.quote, -freed)
        return position, profit, "changed" if position.units else "closed"

    def _book(self, asset: str, change: int, fill: AccountFill) -> None:
        fee = fill.fee if asset == fill.fee_asset else 0
        self.balances.add(asset, change - fee)
        self._log(
            BalanceEvent(
                sequence=self._next(), time_ns=fill.time_ns, id=self.take_id(), asset=asset,
                change=change - fee,
                fee=fee, total=self.balances.total(asset),
                available=self.balances.available(asset), fill=fill.id,
            )
        )  # fmt: skip

    def end(
        self, order: AccountOrder, status: End, cause: Cause, now_ns: int, fill: int = 0
    ) -> None:
        """An order has ended: out of the book, holds given back."""
        order.status, order.cause = status, cause
        order.updated_ns = order.closed_ns = now_ns
        self.markets[order.symbol].cancel(order.number)
        self.by_number.pop((order.symbol, order.number), None)
        self.hold(order, order.held_asset, 0)
        self.positions.give_back(order)
        order.parked_units = 0
        del self.open[order.id]
        self.closed[order.id] = order
        if len(self.closed) > CLOSED_KEPT:
            del self.closed[next(iter(self.closed))]
        self.tell(order, status, now_ns, fill)

    # ---- what is told

    def _next(self) -> int:
        self.sequence += 1
        return self.sequence

    def tell(self, order: AccountOrder, what: What, now_ns: int, fill: int = 0) -> None:
        """Tell what happened to an order."""
        self._log(
            OrderEvent(
                sequence=self._next(), time_ns=now_ns, what=what, order=copy(order), fill=fill
            )
        )

    def _log(self, event: AccountEvent) -> None:
        self.events.append(event)
        self.delivery.put(event)
