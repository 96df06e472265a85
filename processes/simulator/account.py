"""One account of a venue: its orders are real orders in the markets' books.

Takes, refuses, amends and cancels orders; what becomes of them is booked in account_books.py. Never
reads a clock, and knows no venue's language.

An order does not match another one of its own account: matching stops there, and by the order's
choice the new order's rest, the old order or both are canceled.
"""

from collections.abc import Callable
from copy import copy

from processes.simulator.account_books import AccountBooks
from processes.simulator.market import Market
from processes.simulator.orders import (
    AccountOrder,
    Cause,
    Listing,
    OrderRequest,
    RefusedError,
    check_size,
)


class Account(AccountBooks):
    """One API key with its money: takes orders, and keeps the books of them."""

    # ---- commands

    def place(
        self, request: OrderRequest, now_ns: int, replaces: AccountOrder | None = None
    ) -> AccountOrder:
        """Take an order; what it matches at once is filled when this returns.

        Args:
            replaces: an open order that is canceled for it, if it is taken.

        Raises:
            RefusedError: it is not taken; an event `rejected` says so.
        """
        try:
            self.faults.refuse_order()
            listing = self._judge(request, replaces)
            order = self._make(request, listing, now_ns)
            self._check_funds(order, listing, replaces)
        except RefusedError:
            market = self.markets.get(request.symbol)
            if market is not None:
                refused = AccountOrder(
                    id=0, request=request, tick=market.tick, ticks=request.ticks,
                    units=request.units, created_ns=now_ns, updated_ns=now_ns, status="rejected",
                )  # fmt: skip
                self.tell(refused, "rejected", now_ns)
            raise
        if replaces is not None:
            self.cancel(replaces, now_ns)
        self.hold(order, *self.needed(order, listing))
        self.open[order.id] = order
        self.positions.reserve(request.closes)
        self.tell(order, "new", now_ns)
        if self.faults.hold_until_ns > now_ns:
            order.parked_units = order.left - self._released_units(order, listing)
        self._work(order, now_ns)
        return order

    def check(self, request: OrderRequest) -> None:
        """Say whether an order would be taken; nothing is changed.

        Raises:
            RefusedError: it would not.
        """
        listing = self._judge(request, None)
        self._check_funds(self._make(request, listing, 0), listing, None)

    def amend(
        self,
        order: AccountOrder,
        now_ns: int,
        *,
        units: int | None = None,
        ticks: int | None = None,
        post_only: bool = False,
    ) -> None:
        """Change an open order in place; less of it at the same price keeps its place in the queue.

        Raises:
            RefusedError: nothing has changed.
        """
        if not order.is_open or order.guard_ticks is not None:
            raise RefusedError("unknown_order")
        listing = self.rules.listing(order.symbol)
        market = self.markets[order.symbol]
        changed = copy(order)
        changed.units = order.units if units is None else units
        changed.ticks = order.ticks if ticks is None else ticks
        if order.request.closes and changed.units != order.units:
            raise RefusedError("quantity")
        if changed.units <= order.filled_units:
            raise RefusedError("amend_below_filled")
        check_size(changed.units, changed.ticks, listing, market)
        post_only = post_only or order.request.post_only
        moved = changed.ticks != order.ticks
        if moved and post_only and market.crosses(order.side, changed.ticks):
            raise RefusedError("post_only")
        asset, needed = self.needed(changed, listing)
        if needed - order.held > self.balances.available(asset):
            raise RefusedError("insufficient_funds")
        if order.parked_units:
            parked = order.parked_units + changed.units - order.units
            order.parked_units = max(0, min(parked, changed.left))
        order.units, order.ticks, order.updated_ns = changed.units, changed.ticks, now_ns
        self.hold(order, asset, needed)
        self.tell(order, "amended", now_ns)
        self._work_anew(order, now_ns, moved=moved)

    def cancel(self, order: AccountOrder, now_ns: int, cause: Cause = "user") -> None:
        """Cancel an open order.

        Raises:
            RefusedError: it has ended already.
        """
        if not order.is_open:
            raise RefusedError("unknown_order")
        self.end(order, "canceled", cause, now_ns)

    def cancel_all(
        self,
        now_ns: int,
        *,
        cause: Cause = "user",
        only: Callable[[AccountOrder], bool] = lambda _: True,
    ) -> list[AccountOrder]:
        """Cancel all open orders, or some of them; which ones."""
        found = [order for order in self.open.values() if only(order)]
        for order in found:
            self.cancel(order, now_ns, cause)
        return found

    def tick(self, now_ns: int) -> None:
        """Do what is due: the dead-man timer, the end of held fills and of orders, events."""
        if self.dead_man_ns and now_ns >= self.dead_man_ns:
            self.dead_man_ns = 0
            self.cancel_all(now_ns, cause="dead_man")
        if self.faults.hold_until_ns and now_ns >= self.faults.hold_until_ns:
            self.release_fills(now_ns)
        for order in list(self.open.values()):
            if 0 < order.request.expires_ns <= now_ns:
                self.end(order, "expired", "", now_ns)
        self.delivery.pump(now_ns)

    # ---- held fills, a fault

    def hold_fills(self, until_ns: int, now_ns: int) -> None:
        """Take all open orders out of the books, but for the share that may fill."""
        self.faults.hold_until_ns = until_ns
        for order in list(self.open.values()):
            market = self.markets[order.symbol]
            market.cancel(order.number)
            listing = self.rules.listing(order.symbol)
            order.parked_units = order.left - self._released_units(order, listing)
            self._work(order, now_ns)

    def release_fills(self, now_ns: int) -> None:
        """Let all orders match again."""
        self.faults.hold_until_ns = 0
        for order in list(self.open.values()):
            if order.parked_units:
                order.parked_units = 0
                self.markets[order.symbol].cancel(order.number)
                self._work(order, now_ns)

    def _released_units(self, order: AccountOrder, listing: Listing) -> int:
        if order.request.time_in_force == "fok":
            return 0
        share = int(order.left * self.faults.hold_share)
        return share // listing.step_units * listing.step_units

    # ---- taking an order

    def _judge(self, request: OrderRequest, replaces: AccountOrder | None) -> Listing:
        market = self.markets.get(request.symbol)
        if market is None:
            raise RefusedError("symbol")
        listing = self.rules.listing(request.symbol)
        if (request.kind == "limit") != (request.ticks is not None):
            raise RefusedError("price")
        check_size(request.units, request.ticks, listing, market)
        if request.post_only and (request.kind == "market" or request.time_in_force != "gtc"):
            raise RefusedError("time_in_force")
        namesake = self.by_client_id(request.client_id)
        if namesake is not None and namesake is not replaces:
            raise RefusedError("client_id")
        crosses = market.crosses(request.side, request.ticks)
        if request.post_only and crosses and self.rules.refuses_post_only:
            raise RefusedError("post_only")
        if request.reduce_only and not request.closes:
            raise RefusedError("reduce_only")
        self.positions.check(request)
        return listing

    def _make(self, request: OrderRequest, listing: Listing, now_ns: int) -> AccountOrder:
        market = self.markets[request.symbol]
        order = AccountOrder(
            id=self.take_id(),
            request=request,
            tick=market.tick,
            ticks=request.ticks,
            units=request.units,
            created_ns=now_ns,
            updated_ns=now_ns,
            fee_asset=listing.base
            if self.rules.fee_in == "received" and request.side == 1
            else listing.quote,
        )
        if request.kind == "market":
            # What it would match now is the worst that it may ever match, and is what is held.
            reached = market.walk(request.side, request.units, None, self.key)
            order.guard_ticks = reached[-1][0] if reached else market.best(request.side) or 1
        return order

    def _check_funds(
        self, order: AccountOrder, listing: Listing, replaces: AccountOrder | None
    ) -> None:
        asset, amount = self.needed(order, listing)
        available = self.balances.available(asset)
        if replaces is not None and replaces.held_asset == asset:
            available += replaces.held
        if amount > available:
            raise RefusedError("insufficient_funds")

    # ---- in the book

    def _work(self, order: AccountOrder, now_ns: int) -> None:
        """Bring what may match of an order to the market, and end it if it does not rest."""
        market, request = self.markets[order.symbol], order.request
        units = order.left - order.parked_units
        if units <= 0:
            return
        crosses = market.crosses(order.side, order.ticks)
        if request.post_only and crosses:
            self.end(order, "canceled", "post_only", now_ns)
            return
        price = order.guard_ticks if order.ticks is None else order.ticks
        if request.time_in_force == "fok":
            reached = sum(u for _, u in market.walk(order.side, units, price, self.key))
            if reached < units:
                self.end(order, "canceled", "fok", now_ns)
                return
        rests = request.kind == "limit" and request.time_in_force == "gtc"
        order.number = order.number or market.take_number()
        self.by_number[order.symbol, order.number] = order
        while order.is_open and (units := order.left - order.parked_units) > 0:
            market.submit(
                order.side, units, now_ns, ticks=price, owner=self.key, number=order.number,
                rests=rests,
            )  # fmt: skip
            if not self._resolve_self_trade(order, market, price, now_ns):
                break
        if order.is_open and not rests and not order.parked_units:
            self.end(order, "canceled", "market" if request.kind == "market" else "ioc", now_ns)

    def _work_anew(self, order: AccountOrder, now_ns: int, *, moved: bool) -> None:
        """Bring an amended order to the market, in its old place if it may keep that."""
        market = self.markets[order.symbol]
        resting = market.resting(order.number)
        wanted = order.left - order.parked_units
        if not moved and resting is not None and 0 < wanted <= resting.units:
            if wanted < resting.units:
                market.shrink(order.number, resting.units - wanted)
            return
        market.cancel(order.number)
        self._work(order, now_ns)

    def _resolve_self_trade(
        self, order: AccountOrder, market: Market, price: int | None, now_ns: int
    ) -> bool:
        """Cancel what the order says if it has met an order of its own; True to match on."""
        if not order.is_open or market.resting(order.number) is not None:
            return False
        own = market.meets_own(order.side, price, self.key)
        if own is None:
            return False
        choice = order.request.self_trade
        if choice != "cancel_newest":
            self.end(self.by_number[order.symbol, own.id], "canceled", "self_trade", now_ns)
        if choice != "cancel_oldest":
            self.end(order, "canceled", "self_trade", now_ns)
        return order.is_open
