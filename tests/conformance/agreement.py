"""What a ledger has otherwise than its venue: orders, states, fills to the last unit, fees."""

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, Protocol

from processes.execution.orders import Order
from schemas.trading import OrderFilled, OrderState


class VenueWays(Protocol):
    """What must be known of a venue."""

    named: bool
    """An order carries our name for it."""
    expires: frozenset[str]
    """The simulator's causes of an end that the venue calls expiry, and not a cancel."""


def disagreement(
    ways: VenueWays,
    truth: Mapping[str, Mapping[str, Any]],
    true_fills: Iterable[Mapping[str, Any]],
    orders: Collection[Order],
    told_fills: Mapping[str, Iterable[OrderFilled]],
) -> str:
    """What differs first; nothing if they agree.

    Args:
        truth: the simulator's orders, by the venue's id. true_fills: its fills.
        orders: the ledger's. told_fills: the ledger's fills, by command id.
    """
    fills = list(true_fills)
    known = {order.venue_order_id: order for order in orders}
    for name, row in truth.items():
        order = known.get(name)
        if order is None and _left_no_trace(ways, row, orders):
            continue
        if order is None:
            return f"the venue has {name}, and the ledger does not"
        told = sorted(
            (Decimal(f.price), Decimal(f.quantity), *_fee(f.fee, f.fee_currency))
            for f in told_fills[order.intent.command_id]
        )
        true = sorted(
            (Decimal(f["price"]), Decimal(f["quantity"]), *_fee(f["fee"], f["fee_asset"]))
            for f in fills
            if f["order_id"] == row["id"]
        )
        if told != true:
            return f"{name} has fills {true}, and {told} were told"
        wanted = {
            "open": OrderState.PARTIALLY_FILLED if true else OrderState.ACKED,
            "filled": OrderState.FILLED,
            "canceled": OrderState.EXPIRED if row["cause"] in ways.expires else OrderState.CANCELED,
        }[row["status"]]
        if order.state is not wanted or order.filled != Decimal(row["filled"]):
            return f"{name} is {row['status']}, and {order.state.name} was told"
    for order in orders:
        if order.venue_order_id in truth:
            continue
        if order.state not in {OrderState.REJECTED, OrderState.EXPIRED} or order.filled:
            return f"the venue has no {order.intent.command_id}, told as {order.state.name}"
    return ""


def _left_no_trace(ways: VenueWays, row: Mapping[str, Any], orders: Iterable[Order]) -> bool:
    """Whether nobody can know an order of the venue's: it is over, unfilled, without a name.

    Then it is one that was told as never there, which comes to the same.
    """
    lost = row["status"] == "canceled" and not Decimal(row["filled"])
    return (
        (not ways.named)
        and lost
        and any(
            order.state is OrderState.EXPIRED
            and not order.venue_order_id
            and order.intent.side == row["side"]
            and order.quantity == Decimal(row["quantity"])
            and order.intent.limit_price == row["price"]
            for order in orders
        )
    )


def _fee(amount: str, asset: str) -> tuple[Decimal, str]:
    """No fee is of no asset."""
    return Decimal(amount), asset if Decimal(amount) else ""
