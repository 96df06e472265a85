"""Rows of Kraken's private channels, `executions` and `balances`, as the venue writes them.

Numbers are bare and as a double is printed: no trailing zeros, an exponent below 1e-4. A row of an
order that was told before names only what has changed; a fill's row is whole. A fill that
completes its order says `partially_filled`: the order's end is the row `filled` behind it. Source:
pages executions and balances of Spot WebSocket v2; reasons that no page holds are marked so.
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from processes.simulator.account import Account
from processes.simulator.balances import ATOMS
from processes.simulator.events import BalanceEvent, FillEvent, OrderEvent
from processes.simulator.kraken_books import order_text
from processes.simulator.market import UNITS
from processes.simulator.numbers import time_text
from processes.simulator.orders import AccountFill, AccountOrder, Cause

Row = dict[str, Any]
REASONS: dict[Cause, str] = {
    "": "",
    "user": "User requested",
    # Not documented from here on.
    "ioc": "Immediate or cancel",
    "fok": "Fill or kill",
    "market": "Market price protection",
    "self_trade": "Self trade prevention",
    "post_only": "Post only order",
    "dead_man": "Cancel all orders after timeout",
}


def number(value: Decimal) -> str:
    """A decimal as a double is printed, with all of its digits: 0.00008528 is 8.528e-05."""
    value = value.normalize()
    exponent = value.adjusted()
    if not value or -5 < exponent < 16:
        return f"{value:f}"
    digits = "".join(map(str, value.as_tuple().digits))
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{'-' if value < 0 else ''}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def as_json(value: Any) -> str:
    """JSON in which decimals keep their digits."""
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(k)}:{as_json(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(as_json, value))}]"
    return json.dumps(value)


def money(atoms: int) -> Decimal:
    """Atoms as a number."""
    return Decimal(atoms) / ATOMS


def amount(units: int) -> Decimal:
    """Units as a number."""
    return Decimal(units) / UNITS


def names(order: AccountOrder) -> Row:
    """What an order is called."""
    row: Row = {"order_id": order_text(order.id)}
    if order.request.client_id:
        row["cl_ord_id"] = order.request.client_id
    if "userref" in order.request.extra:
        row["order_userref"] = order.request.extra["userref"]
    return row


def whole_row(order: AccountOrder, exec_type: str, status: str, now_ns: int) -> Row:
    """All of an order."""
    request = order.request
    row = names(order) | {
        "symbol": order.symbol,
        "side": _side(order),
        "order_type": request.kind,
        "order_qty": amount(order.units),
        "cum_qty": amount(order.filled_units),
        "cum_cost": money(order.cost),
        "time_in_force": "GTD" if request.expires_ns else request.time_in_force.upper(),
        "exec_type": exec_type,
        "order_status": status,
        "fee_usd_equiv": Decimal(0),
        "fee_ccy_pref": "fciq",
        "timestamp": time_text(now_ns, 6),
    }
    if order.ticks is not None:
        row |= {"limit_price": order.tick * order.ticks, "limit_price_type": "static"}
    if order.filled_units:
        row["avg_price"] = order.average
    if request.post_only:
        row["post_only"] = True
    if request.expires_ns:
        row["expire_time"] = time_text(request.expires_ns, 6)
    return row


def order_rows(event: OrderEvent) -> list[Row]:
    """What is told of an order's event; a refused order is no execution."""
    order, now_ns = event.order, event.time_ns
    if event.what == "rejected":
        return []
    if event.what == "new":
        return [
            whole_row(order, "pending_new", "pending_new", now_ns),
            _sparse(order, "new", "new", now_ns),
        ]
    status = _status(order)
    row = _sparse(order, event.what, status, now_ns)
    if event.what == "amended":
        row["order_qty"] = amount(order.units)
        if order.ticks is not None:
            row["limit_price"] = order.tick * order.ticks
    else:
        row |= {"cum_qty": amount(order.filled_units), "cum_cost": money(order.cost)}
        if order.filled_units:
            row["avg_price"] = order.average
        if event.what == "canceled":
            row["reason"] = REASONS.get(order.cause, "")
    return [row]


def fill_row(event: FillEvent) -> Row:
    """What is told of a fill."""
    order = event.order
    return fill_facts(order, event.fill_made) | {
        "order_status": "partially_filled",
        "cum_qty": amount(order.filled_units),
        "cum_cost": money(order.cost),
        "avg_price": order.average,
    }


def fill_facts(order: AccountOrder, fill: AccountFill) -> Row:
    """A fill by itself."""
    return names(order) | {
        "exec_id": order_text(fill.id, "T"),
        "exec_type": "trade",
        "trade_id": fill.trade_id,
        "symbol": fill.symbol,
        "side": _side(order),
        "order_type": order.request.kind,
        "last_qty": amount(fill.units),
        "last_price": fill.tick * fill.ticks,
        "cost": money(fill.cost),
        "liquidity_ind": "m" if fill.maker else "t",
        "fees": [{"asset": fill.fee_asset, "qty": money(fill.fee)}],
        "fee_usd_equiv": Decimal(0),
        "timestamp": time_text(fill.time_ns, 6),
    }


def snapshot_rows(account: Account, *, orders: bool, trades: int) -> list[Row]:
    """Open orders, and the last so many fills, the newest first."""
    rows = [
        whole_row(order, "new", _status(order), order.updated_ns)
        for order in (account.open.values() if orders else ())
    ]
    for fill in list(account.fills.values())[: -trades - 1 : -1] if trades else ():
        filled = account.order(fill.order_id)
        if filled is not None:
            rows.append(fill_facts(filled, fill) | {"order_status": _status(filled)})
    return rows


def balance_rows(account: Account) -> list[Row]:
    """Every asset with its one wallet."""
    rows = []
    for asset in account.balances.assets:
        balance = money(account.balances.total(asset))
        wallets = [{"type": "spot", "id": "main", "balance": balance}]
        rows.append(
            {"asset": asset, "asset_class": "currency", "balance": balance, "wallets": wallets}
        )
    return rows


def balance_row(event: BalanceEvent) -> Row:
    """One ledger entry: the fee stands beside the amount, the balance is after both."""
    return {
        "ledger_id": order_text(event.id, "L"),
        "ref_id": order_text(event.fill, "T"),
        "timestamp": time_text(event.time_ns, 6),
        "type": "trade",
        "subtype": "",
        "category": "trade",
        "asset": event.asset,
        "asset_class": "currency",
        "wallet_type": "spot",
        "wallet_id": "main",
        "amount": money(event.change + event.fee),
        "fee": money(event.fee),
        "balance": money(event.total),
    }


def joined(rows: Iterable[Row]) -> str:
    """Rows of a frame's data."""
    return ",".join(map(as_json, rows))


def _sparse(order: AccountOrder, exec_type: str, status: str, now_ns: int) -> Row:
    return names(order) | {
        "exec_type": exec_type,
        "order_status": status,
        "timestamp": time_text(now_ns, 6),
    }


def _side(order: AccountOrder) -> str:
    return "buy" if order.side == 1 else "sell"


def _status(order: AccountOrder) -> str:
    if order.status == "open":
        return "partially_filled" if order.filled_units else "new"
    return order.status
