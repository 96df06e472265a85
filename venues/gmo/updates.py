"""GMO Coin's REST rows of an account as the events that its private stream tells of the same.

Where the two name one fact they name it alike: a fill has one id on both ways. Fees and profits are
yen.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from schemas.account import BalanceChange, Fee, Fill, OrderStatus, OrderUpdate
from schemas.errors import AnswerError, DecodeError
from schemas.trading import OrderSide
from venues.exact import plain
from venues.gmo.private_rest import MS_NS, Asset, Execution, Order, PositionSum
from venues.gmo.symbols import QUOTE

VENUE: Final = "gmo"
STATUSES: Final[dict[str, OrderStatus]] = {
    "WAITING": "pending",
    "ORDERED": "open",
    "MODIFYING": "open",
    "CANCELLING": "open",
    "CANCELED": "canceled",
    "EXPIRED": "expired",
    "EXECUTED": "filled",
}
SIDES: Final[dict[str, OrderSide]] = {"BUY": "buy", "SELL": "sell"}


def order_update(order: Order) -> OrderUpdate:
    """An order of `orders` or `activeOrders`."""
    status = STATUSES.get(order.status, "unknown")
    if status == "open" and order.executed_size:
        status = "partially_filled"
    price = plain(order.price) if order.price else ""
    is_stop = order.execution_type == "STOP"
    return OrderUpdate(
        venue=VENUE,
        order_id=str(order.order_id),
        symbol=order.symbol,
        status=status,
        status_text=order.status,
        side=SIDES.get(order.side, ""),
        order_type=order.execution_type,
        quantity=plain(order.size),
        filled_quantity=plain(order.executed_size),
        limit_price="" if is_stop else price,
        stop_price=price if is_stop else "",
        time_in_force=order.time_in_force,
        post_only=order.time_in_force == "SOK",
        reduce_only=order.settle_type == "CLOSE",
        reason=order.cancel_type,
        created_ns=order.mts * MS_NS,
    )


def fill_of(execution: Execution) -> Fill:
    """A trade of `executions` or `latestExecutions`."""
    fee = execution.fee
    try:
        return Fill(
            venue=VENUE,
            fill_id=str(execution.execution_id),
            order_id=str(execution.order_id),
            symbol=execution.symbol,
            side=SIDES.get(execution.side, ""),
            price=plain(execution.price),
            quantity=plain(execution.size),
            position_id="" if execution.position_id is None else str(execution.position_id),
            fees=(Fee(asset=QUOTE, amount=plain(fee)),),
            liquidity="" if not fee else "maker" if fee < 0 else "taker",
            profit=plain(execution.loss_gain) if execution.settle_type != "OPEN" else "",
            time_ns=execution.mts * MS_NS,
        )
    except DecodeError as error:
        raise AnswerError(str(error)) from None


def balance_of(asset: Asset) -> BalanceChange:
    """A row of `account/assets`."""
    return BalanceChange(
        venue=VENUE,
        asset=asset.symbol,
        balance=plain(asset.amount),
        available=plain(asset.available),
        is_snapshot=True,
    )


def signed_sums(rows: Iterable[PositionSum]) -> dict[str, Decimal]:
    """Positions by symbol, of the rows of `positionSummary`: one for each side.

    Raises:
        AnswerError: a row has no side: whether it is long or short is not known.
    """
    found: dict[str, Decimal] = {}
    for row in rows:
        if row.side not in SIDES:
            raise AnswerError(f"a position of {row.symbol} has the side {row.side!r:.20}")
        signed = row.size if SIDES[row.side] == "buy" else -row.size
        found[row.symbol] = found.get(row.symbol, Decimal(0)) + signed
    return found
