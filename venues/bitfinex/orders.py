"""Orders as Bitfinex names and takes them.

A client id (`cid`) is a whole number of 45 bits, and means one order only together with the UTC day
on which the venue took it, `cid_date`; the venue's page says that it does not enforce either
(docs.bitfinex.com, "New Order"). Ours is made from the command id, so that it is the same in every
life of execution. Two of n orders of a day share one with odds of n²/2^46: one in 700,000 for ten
thousand orders.

Amounts are signed texts, below zero for a sale. A price has five significant digits; the venue cuts
off further ones, which would be another price than was decided, so such an order is not sent.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from schemas.account import plain_decimal
from schemas.errors import DecodeError
from venues.trading import NewOrder, NotSentError, OrderRef

CLIENT_IDS: Final = (1 << 45) - 1
PRICE_DIGITS: Final = 5
AMOUNT_DECIMALS: Final = 8
DAY_SLACK_NS: Final = 60_000_000_000
"""Clocks differ, and an order may wait before it leaves."""


def client_id_of(command_id: str) -> int:
    """1 to 2^45 - 1."""
    return int(command_id, 16) % CLIENT_IDS + 1


def days_of(order: NewOrder) -> list[str]:
    """The UTC days that the venue may have taken it on: two around midnight."""
    times = (order.decided_ns - DAY_SLACK_NS, order.decided_ns + DAY_SLACK_NS)
    return sorted({utc_day(time_ns) for time_ns in times})


def utc_day(time_ns: int) -> str:
    """`cid_date` of a time."""
    return f"{datetime.fromtimestamp(time_ns // 1_000_000_000, UTC):%Y-%m-%d}"


def input_of(order: NewOrder) -> dict[str, Any]:
    """An order as `on` takes it.

    On the exchange wallet nothing can be sold that is not held: `reduce_only` needs no flag there.

    Raises:
        NotSentError: it cannot be put in the venue's words.
    """
    wanted = {
        "type": "EXCHANGE MARKET" if order.kind == "market" else "EXCHANGE LIMIT",
        "symbol": order.symbol,
        "amount": signed_amount(order.quantity, order.side),
        "cid": client_id_of(order.command_id),
    }
    if order.kind == "limit":
        wanted["price"] = price_text(order.limit_price)
    return wanted


def change_of(ref: OrderRef, change: str, limit_price: str) -> dict[str, Any]:
    """What `ou` takes.

    Raises:
        NotSentError: there is nothing to change, or no id to change it by.
    """
    if not ref.venue_order_id or not (change or limit_price):
        raise NotSentError("an order that is changed has an id and something to change")
    wanted: dict[str, Any] = {"id": int(ref.venue_order_id)}
    if change:
        grows = change.startswith("-") == (ref.order.side == "sell")
        wanted["delta"] = signed_amount(change.removeprefix("-"), "buy" if grows else "sell")
    if limit_price:
        wanted["price"] = price_text(limit_price)
    return wanted


def names_of(refs: Sequence[OrderRef]) -> dict[str, Any]:
    """Orders as `oc_multi` takes them: ids, and client ids with each day that they may be of."""
    numbers = [int(ref.venue_order_id) for ref in refs if ref.venue_order_id]
    client_ids = [
        [client_id_of(ref.order.command_id), day]
        for ref in refs
        if not ref.venue_order_id
        for day in days_of(ref.order)
    ]
    named = {"id": numbers, "cid": client_ids}
    return {name: value for name, value in named.items() if value}


def signed_amount(quantity: str, side: str) -> str:
    """A quantity with the sign of its side.

    Raises:
        NotSentError: it is none, or has more than eight decimals.
    """
    amount = _decimal(quantity)
    exponent = amount.normalize().as_tuple().exponent
    if amount <= 0 or not isinstance(exponent, int) or exponent < -AMOUNT_DECIMALS:
        raise NotSentError(f"{quantity} is no quantity at Bitfinex: {AMOUNT_DECIMALS} decimals")
    return f"{amount if side == 'buy' else -amount:f}"


def price_text(price: str) -> str:
    """A price that the venue takes as it is.

    Raises:
        NotSentError: it is none, or has more than five significant digits.
    """
    value = _decimal(price)
    if value <= 0 or len(value.normalize().as_tuple().digits) > PRICE_DIGITS:
        raise NotSentError(f"{price} is no price at Bitfinex: {PRICE_DIGITS} significant digits")
    return f"{value:f}"


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(plain_decimal(text))
    except DecodeError as error:
        raise NotSentError(str(error)) from None
