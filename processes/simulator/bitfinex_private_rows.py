"""Bitfinex's account records as rows of JSON: orders, trades, wallets, notifications.

Numbers are written as JavaScript does, nulls stand where the venue knows nothing. Sources: pages
ws-auth-orders, ws-auth-trades, ws-auth-wallets, ws-auth-notifications, and frames of them that
others have published, of which come the texts, a notification's time in seconds with a fraction,
and an execution's in milliseconds with one.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from processes.simulator.account import Account
from processes.simulator.balances import atoms_text
from processes.simulator.numbers import amount_text, number_text, price_text
from processes.simulator.orders import AccountFill, AccountOrder, OrderRequest

POST_ONLY, REDUCE_ONLY = 4096, 1024
NULL = "null"
MS = 10**6
ORDER_FIELDS = 32
KINDS = {"gtc": "EXCHANGE LIMIT", "ioc": "EXCHANGE IOC", "fok": "EXCHANGE FOK"}
ENDS = {
    "post_only": "POSTONLY CANCELED",
    "ioc": "IOC CANCELED",
    "fok": "FILLORKILL CANCELED",
}
"""Why an order was canceled, where the venue's status says it."""
WALLET = "exchange"


def utc_day(time_ns: int) -> str:
    """The day of a time, as `cid_date` has it."""
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%d}"


def kind_of(request: OrderRequest) -> str:
    """The order's type in the venue's word."""
    return "EXCHANGE MARKET" if request.kind == "market" else KINDS[request.time_in_force]


def atoms_number(value: int) -> str:
    """Atoms as JavaScript prints them."""
    return number_text(Decimal(atoms_text(value)))


def order_row(order: AccountOrder, *, as_sent: bool = False) -> str:
    """An order as it is, or as if nothing had happened to it yet."""
    request = order.request
    fields = [NULL] * ORDER_FIELDS
    fields[0] = str(order.id)
    fields[1] = _or_null(request.extra.get("gid"))
    fields[2] = request.client_id or NULL
    fields[3] = json.dumps(order.symbol)
    fields[4] = str(order.created_ns // MS)
    fields[5] = str(order.updated_ns // MS)
    fields[6] = amount_text(order.side * (order.units if as_sent else order.left))
    fields[7] = amount_text(order.side * order.units)
    fields[8] = json.dumps(kind_of(request))
    fields[12] = str(flags_of(request))
    fields[13] = json.dumps("ACTIVE" if as_sent else status_text(order))
    fields[16] = "0" if order.ticks is None else price_text(order.tick, order.ticks)
    fields[17] = "0" if as_sent else _average(order)
    fields[18] = fields[19] = fields[23] = fields[24] = "0"
    fields[28] = '"API>BFX"'
    return f"[{','.join(fields)}]"


def refused_row(wanted: dict[str, Any]) -> str:
    """What a notification repeats of an order that is refused."""
    fields = [NULL] * ORDER_FIELDS
    fields[2] = _or_null(wanted.get("cid"))
    fields[3] = json.dumps(wanted.get("symbol"))
    fields[8] = json.dumps(wanted.get("type"))
    return f"[{','.join(fields)}]"


def named_row(order_id: object, client_id: object) -> str:
    """What a notification repeats of an order that it could not find."""
    fields = [NULL] * ORDER_FIELDS
    fields[0], fields[2] = _or_null(order_id), _or_null(client_id)
    return f"[{','.join(fields)}]"


def flags_of(request: OrderRequest) -> int:
    """Its flags, summed."""
    return POST_ONLY * request.post_only + REDUCE_ONLY * request.reduce_only


def status_text(order: AccountOrder) -> str:
    """Status with its details: `PARTIALLY FILLED @ 107.6(-0.2)`."""
    done = f"@ {_average(order)}({amount_text(order.side * order.filled_units)})"
    partly = f"PARTIALLY FILLED {done}" if order.filled_units else ""
    if order.status == "filled":
        return f"EXECUTED {done}"
    if order.status == "canceled":
        end = ENDS.get(order.cause, "CANCELED")
        return f"{end} was: {partly}" if partly else end
    return partly or "ACTIVE"


def trade_row(fill: AccountFill, order: AccountOrder, *, confirmed: bool) -> str:
    """An execution; type, price, fee and its currency only once it is confirmed."""
    fields = [
        str(fill.id),
        json.dumps(fill.symbol),
        number_text(Decimal(fill.time_ns // 10**4) / 100),
        str(fill.order_id),
        amount_text(fill.side * fill.units),
        price_text(fill.tick, fill.ticks),
        NULL,
        NULL,
        "1" if fill.maker else "-1",
        NULL,
        NULL,
        order.request.client_id or NULL,
    ]
    if confirmed:
        price = fill.ticks if order.ticks is None else order.ticks
        fields[2] = str(fill.time_ns // MS)
        fields[6] = json.dumps(kind_of(order.request))
        fields[7] = price_text(fill.tick, price)
        fields[9] = atoms_number(-fill.fee)
        fields[10] = json.dumps(fill.fee_asset)
    return f"[{','.join(fields)}]"


def wallet_row(asset: str, total: int, available: int | None) -> str:
    """A wallet; what is available is null until it was reckoned."""
    free = NULL if available is None else atoms_number(available)
    return f'["{WALLET}",{json.dumps(asset)},{atoms_number(total)},0,{free},null,null]'


def wallets(account: Account, *, reckoned: bool) -> str:
    """All wallets of an account."""
    balances = account.balances
    return joined(
        wallet_row(asset, balances.total(asset), balances.available(asset) if reckoned else None)
        for asset in balances.assets
    )


def notification(kind: str, data: str, now_ns: int, *, error: str = "", text: str = "") -> str:
    """A notification's payload; one of an order that was taken has its time in seconds."""
    time = number_text(Decimal(now_ns // MS) / 1000) if kind == "on-req" else str(now_ns // MS)
    status = "ERROR" if error else "SUCCESS"
    return f'[{time},"{kind}",null,null,{data},null,"{status}",{json.dumps(error or text)}]'


def joined(rows: Iterable[str]) -> str:
    """Rows as a list."""
    return f"[{','.join(rows)}]"


def _average(order: AccountOrder) -> str:
    return number_text(round(order.average, 8)) if order.filled_units else "0"


def _or_null(value: object) -> str:
    return NULL if value is None else json.dumps(value)
