"""What Kraken does with orders, whichever way they come: rules, limits, texts of refusals.

The WebSocket and REST both stand before this desk. Texts are those of the venue's page of errors;
what no page or recording holds is marked. Nothing here knows a socket.
"""

import re
from decimal import Decimal
from typing import Any, get_args

from msgspec import Struct

from processes.simulator.account import Account
from processes.simulator.accounts import Accounts
from processes.simulator.kraken_books import order_number, order_text
from processes.simulator.kraken_rates import Deed, RateCounter, Tier
from processes.simulator.kraken_session import RefusalError
from processes.simulator.kraken_tokens import Tokens
from processes.simulator.orders import (
    AccountOrder,
    OrderRequest,
    RefusedError,
    SelfTrade,
    TimeInForce,
    Why,
    price_ticks,
    quantity_units,
)

RATE_REFUSED = "EOrder:Rate limit exceeded"
UNAVAILABLE = "EService:Unavailable"
UNKNOWN_ORDER = "EOrder:Unknown order"
ARGUMENTS = "EGeneral:Invalid arguments"
DEAD_MAN_MOST_S = 86_400
TEXTS: dict[Why, str] = {
    "symbol": "EQuery:Unknown asset pair",
    "quantity": f"{ARGUMENTS}:volume",
    "quantity_step": f"{ARGUMENTS}:volume",
    "quantity_min": "EOrder:Order minimum not met",
    "cost_min": "EOrder:Cost minimum not met",
    "price": "EOrder:Invalid price",
    "price_step": "EOrder:Tick size check failed",
    "time_in_force": f"{ARGUMENTS}:timeinforce",
    "client_id": f"{ARGUMENTS}:cl_ord_id already in use",  # not documented
    "post_only": "EOrder:Post only order",
    "reduce_only": "EOrder:Reduce only:No position exists",
    "insufficient_funds": "EOrder:Insufficient funds",
    "unknown_order": UNKNOWN_ORDER,
    "amend_below_filled": f"{ARGUMENTS}:order_qty",  # not documented
    "no_position": "EOrder:Unknown position",
    "rejected": "EOrder:Invalid order",
}
CLIENT_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}|[ -~]{1,18}"
)
"""A UUID with or without dashes, or free text of up to 18 characters."""


class Wanted(Struct, kw_only=True):
    """An order as it was asked for, checked for nothing yet."""

    symbol: str
    side: str
    order_type: str
    quantity: Decimal | None
    price: Decimal | None = None
    time_in_force: str = "gtc"
    post_only: bool = False
    reduce_only: bool = False
    client_id: str | None = None
    userref: int | None = None
    self_trade: str = "cancel_newest"
    expires_ns: int | None = None
    """With `gtd`: when it ends by itself."""


class KrakenDesk:
    """All accounts of the venue.

    Args:
        tier: of all accounts.
    """

    def __init__(self, accounts: Accounts, tier: Tier, seed: int) -> None:
        self.accounts = accounts
        self.tier: Tier = tier
        self.tokens = Tokens(seed)

    # ---- orders

    def find(
        self, account: Account, *, order_id: str = "", client_id: str = "", userref: int = 0
    ) -> list[AccountOrder]:
        """The open orders that are meant.

        Raises:
            RefusalError: there are none.
        """
        found: list[AccountOrder | None]
        if order_id:
            found = [account.open.get(order_number(order_id))]
        elif client_id:
            found = [account.by_client_id(client_id)]
        else:
            found = [o for o in account.open.values() if o.request.extra.get("userref") == userref]
        orders = [order for order in found if order is not None]
        if not orders:
            raise RefusalError(UNKNOWN_ORDER)
        return orders

    def request_of(self, wanted: Wanted) -> OrderRequest:
        """An order in whole ticks and units.

        Raises:
            RefusalError: it is not as the venue takes it.
        """
        market = self.accounts.markets.get(wanted.symbol)
        if market is None:
            raise RefusalError(TEXTS["symbol"])
        if wanted.side not in {"buy", "sell"}:
            raise RefusalError(f"{ARGUMENTS}:type")
        if wanted.order_type not in {"limit", "market"}:
            raise RefusalError(f"{ARGUMENTS}:ordertype")
        tif = wanted.time_in_force.lower()
        if (tif == "gtd") != (wanted.expires_ns is not None):
            raise RefusalError(f"{ARGUMENTS}:expiretm")
        if tif not in {*get_args(TimeInForce), "gtd"}:
            raise RefusalError(TEXTS["time_in_force"])
        if wanted.self_trade not in get_args(SelfTrade):
            raise RefusalError(f"{ARGUMENTS}:stptype")
        self._check_client_id(wanted)
        units = None if wanted.quantity is None else quantity_units(wanted.quantity)
        if units is None:
            raise RefusalError(TEXTS["quantity"])
        is_limit = wanted.order_type == "limit"
        ticks = _ticks(market.tick, wanted.price) if is_limit else None
        if is_limit and ticks is None:
            raise RefusalError(TEXTS["price"])
        return OrderRequest(
            symbol=wanted.symbol,
            side=1 if wanted.side == "buy" else -1,
            kind="limit" if is_limit else "market",
            units=units,
            ticks=ticks,
            client_id=wanted.client_id or "",
            time_in_force="gtc" if tif == "gtd" else tif,  # type: ignore[arg-type]
            expires_ns=wanted.expires_ns or 0,
            post_only=wanted.post_only,
            reduce_only=wanted.reduce_only,
            self_trade=wanted.self_trade,  # type: ignore[arg-type]
            extra={"userref": wanted.userref or 0},
        )

    def _check_client_id(self, wanted: Wanted) -> None:
        if wanted.client_id is None:
            return
        if wanted.userref is not None or not CLIENT_ID.fullmatch(wanted.client_id):
            raise RefusalError(f"{ARGUMENTS}:cl_ord_id")

    def place(
        self, account: Account, wanted: Wanted, now_ns: int, *, validate: bool = False
    ) -> AccountOrder | None:
        """Take an order; None if it was only to be checked.

        Raises:
            RefusalError: it is refused.
        """
        request = self.request_of(wanted)
        try:
            if validate:
                account.check(request)
                return None
            self.count(account, request.symbol, "add", 0, now_ns)
            return account.place(request, now_ns)
        except RefusedError as error:
            raise RefusalError(TEXTS[error.why]) from error

    def amend(
        self,
        account: Account,
        order: AccountOrder,
        now_ns: int,
        *,
        quantity: Decimal | None,
        price: Decimal | None,
        post_only: bool,
    ) -> str:
        """Change an order in place; the amend's id.

        Raises:
            RefusalError: it is refused.
        """
        if quantity is None and price is None:
            raise RefusalError(ARGUMENTS)
        units = None if quantity is None else quantity_units(quantity)
        if quantity is not None and units is None:
            raise RefusalError(TEXTS["quantity"])
        ticks = None if price is None else _ticks(order.tick, price)
        self.count(account, order.symbol, "amend", now_ns - order.created_ns, now_ns)
        try:
            account.amend(order, now_ns, units=units, ticks=ticks, post_only=post_only)
        except RefusedError as error:
            raise RefusalError(TEXTS[error.why]) from error
        return order_text(account.take_id(), "T")

    def edit(
        self, account: Account, order: AccountOrder, changes: dict[str, Any], now_ns: int
    ) -> AccountOrder:
        """Cancel an order and place another one with the changes; refused, the old one stays.

        Raises:
            RefusalError: it is refused.
        """
        request = order.request
        wanted = Wanted(
            symbol=request.symbol,
            side="buy" if request.side == 1 else "sell",
            order_type=request.kind,
            quantity=Decimal(order.units).scaleb(-8),
            price=None if order.ticks is None else order.tick * order.ticks,
            time_in_force="gtd" if request.expires_ns else request.time_in_force,
            expires_ns=request.expires_ns or None,
            post_only=request.post_only,
            userref=request.extra.get("userref"),
        )
        for name, value in changes.items():
            setattr(wanted, name, value)
        changed = self.request_of(wanted)
        self.count(account, order.symbol, "edit", now_ns - order.created_ns, now_ns)
        try:
            return account.place(changed, now_ns, replaces=order)
        except RefusedError as error:
            raise RefusalError(TEXTS[error.why]) from error

    def cancel(self, account: Account, order: AccountOrder, now_ns: int) -> None:
        """Cancel an open order."""
        self.count(account, order.symbol, "cancel", now_ns - order.created_ns, now_ns)
        account.cancel(order, now_ns)

    def cancel_all(self, account: Account, now_ns: int) -> int:
        """Cancel all; how many there were."""
        orders = list(account.open.values())
        for order in orders:
            self.cancel(account, order, now_ns)
        return len(orders)

    def cancel_after(self, account: Account, timeout_s: object, now_ns: int) -> int:
        """Arm the dead-man timer, or disarm it with 0; when all is canceled, 0 for never.

        Raises:
            RefusalError: that is no time-out.
        """
        whole = isinstance(timeout_s, int) and not isinstance(timeout_s, bool)
        if not whole or not 0 <= timeout_s <= DEAD_MAN_MOST_S:  # type: ignore[operator]
            raise RefusalError(f"{ARGUMENTS}:timeout")
        account.dead_man_ns = now_ns + timeout_s * 10**9 if timeout_s else 0  # type: ignore[operator]
        return account.dead_man_ns

    def count(self, account: Account, symbol: str, deed: Deed, age_ns: int, now_ns: int) -> None:
        """Count a command.

        Raises:
            RefusalError: it is one too many.
        """
        counters: dict[str, RateCounter] = account.memory.setdefault("rates", {})
        counter = counters.setdefault(symbol, RateCounter())
        if not counter.takes(self.tier, deed, age_ns, now_ns):
            raise RefusalError(RATE_REFUSED)


def _ticks(tick: Decimal, price: Decimal | None) -> int | None:
    if price is None:
        return None
    if price <= 0:
        raise RefusalError(TEXTS["price"])
    ticks = price_ticks(tick, price)
    if ticks is None:
        raise RefusalError(TEXTS["price_step"])
    return ticks
