"""How GMO Coin writes what is an account's: rows of REST lists, and frames of the private socket.

Ids are numbers, all other numbers are texts; an order without a price has "0". Only leverage
symbols have positions. No order event ever says EXECUTED: fills come as execution events alone.
Source: api.coin.z.com/docs. What a position event's kinds stand for is not documented: OPR opened,
UPR changed, CPR closed is the reading of its clients.
"""

from typing import Any

from processes.simulator.account import Account
from processes.simulator.balances import atoms_text
from processes.simulator.events import FillEvent, OrderEvent, PositionEvent
from processes.simulator.market import Market
from processes.simulator.numbers import plain_amount_text, plain_price_text, plain_text, time_text
from processes.simulator.orders import (
    AccountFill,
    AccountOrder,
    Cause,
    Position,
    PositionWhat,
    What,
)

Row = dict[str, Any]
ENDS: dict[Cause, tuple[str, str]] = {
    "": ("EXECUTED", ""),
    "user": ("CANCELED", "USER"),
    "ioc": ("EXPIRED", "EXPIRED_FAK"),
    "market": ("EXPIRED", "EXPIRED_FAK"),
    "fok": ("EXPIRED", "EXPIRED_FOK"),
    "post_only": ("EXPIRED", "EXPIRED_SOK"),
    "self_trade": ("EXPIRED", "EXPIRED_SELFTRADE"),
    "hold_released": ("CANCELED", "USER"),
    "dead_man": ("CANCELED", "USER"),
}
"""Status and cancelType of an order that has ended, by its cause."""
MESSAGES: dict[What, str] = {"new": "NOR", "amended": "ROR", "canceled": "COR"}
POSITION_MESSAGES: dict[PositionWhat, str] = {"opened": "OPR", "changed": "UPR", "closed": "CPR"}


def is_leverage(symbol: str) -> bool:
    """Whether a symbol is traded with positions."""
    return "_" in symbol


def side_text(side: int) -> str:
    """BUY or SELL."""
    return "BUY" if side == 1 else "SELL"


def status_of(order: AccountOrder) -> tuple[str, str]:
    """Status and cancelType."""
    return ("ORDERED", "") if order.is_open else ENDS[order.cause]


def _price(order: AccountOrder) -> str:
    return "0" if order.ticks is None else plain_price_text(order.tick, order.ticks)


def _settles(order: AccountOrder) -> str:
    return "CLOSE" if order.request.closes else "OPEN"


def _term(order: AccountOrder) -> str:
    default = "FAS" if order.request.kind == "limit" else "FAK"
    return str(order.request.extra.get("timeInForce", default))


def order_row(order: AccountOrder) -> Row:
    """One order of `orders` or `activeOrders`."""
    status, cancel_type = status_of(order)
    row = {
        "rootOrderId": order.id,
        "orderId": order.id,
        "symbol": order.symbol,
        "side": side_text(order.side),
        "orderType": "NORMAL",
        "executionType": order.request.kind.upper(),
        "settleType": _settles(order),
        "size": plain_amount_text(order.units),
        "executedSize": plain_amount_text(order.filled_units),
        "price": _price(order),
        "losscutPrice": "0",
        "status": status,
        "timeInForce": _term(order),
        "timestamp": time_text(order.created_ns, 3),
    }
    return row | ({"cancelType": cancel_type} if cancel_type else {})


def execution_row(fill: AccountFill, settles: str) -> Row:
    """One fill of `executions` or `latestExecutions`."""
    position = {"positionId": fill.position_id} if fill.position_id else {}
    return {
        "executionId": fill.id,
        "orderId": fill.order_id,
        **position,
        "symbol": fill.symbol,
        "side": side_text(fill.side),
        "settleType": settles,
        "size": plain_amount_text(fill.units),
        "price": plain_price_text(fill.tick, fill.ticks),
        "lossGain": atoms_text(fill.profit),
        "fee": atoms_text(fill.fee),
        "timestamp": time_text(fill.time_ns, 3),
    }


def position_row(position: Position, market: Market, leverage: int) -> Row:
    """One position of `openPositions`."""
    return {
        "positionId": position.id,
        "symbol": position.symbol,
        "side": side_text(position.side),
        "size": plain_amount_text(position.units),
        "orderdSize": plain_amount_text(position.ordered_units),
        "price": plain_price_text(position.tick, position.ticks),
        "lossGain": atoms_text(unrealised(position, market)),
        "leverage": str(leverage),
        "losscutPrice": "0",
        "timestamp": time_text(position.opened_ns, 3),
    }


def unrealised(position: Position, market: Market) -> int:
    """What closing a position at the other side's best price would bring, in atoms of yen."""
    other = market.best(position.side)
    return 0 if other is None else position.profit(other, position.units)


def sum_row(account: Account, symbol: str, side: int) -> Row:
    """All positions of a symbol and side together."""
    held, market = account.positions.of(symbol, side), account.markets[symbol]
    units = sum(position.units for position in held)
    worth = sum(position.ticks * position.units for position in held)
    return {
        "symbol": symbol,
        "side": side_text(side),
        "averagePositionRate": plain_text(market.tick * worth / units) if units else "0",
        "positionLossGain": atoms_text(sum(unrealised(p, market) for p in held)),
        "sumOrderQuantity": plain_amount_text(sum(p.ordered_units for p in held)),
        "sumPositionQuantity": plain_amount_text(units),
    }


# ---- frames


def execution_frame(event: FillEvent) -> Row:
    """A fill, with its order as it is after it."""
    order, fill = event.order, event.fill_made
    position = {"positionId": fill.position_id} if fill.position_id else {}
    return {
        "channel": "executionEvents",
        "orderId": order.id,
        "executionId": fill.id,
        "symbol": order.symbol,
        "settleType": _settles(order),
        "executionType": order.request.kind.upper(),
        "side": side_text(order.side),
        "executionPrice": plain_price_text(fill.tick, fill.ticks),
        "executionSize": plain_amount_text(fill.units),
        **position,
        "orderTimestamp": time_text(order.created_ns, 3),
        "executionTimestamp": time_text(fill.time_ns, 3),
        "lossGain": atoms_text(fill.profit),
        "fee": atoms_text(fill.fee),
        "orderPrice": _price(order),
        "orderSize": plain_amount_text(order.units),
        "orderExecutedSize": plain_amount_text(order.filled_units),
        "timeInForce": _term(order),
        "msgType": "ER",
    }


def order_frame(event: OrderEvent) -> Row | None:
    """What happened to an order; None for what this channel does not tell."""
    order = event.order
    if event.what not in MESSAGES:
        return None
    status, cancel_type = status_of(order) if event.what == "canceled" else ("ORDERED", "")
    row = {
        "channel": "orderEvents",
        "orderId": order.id,
        "symbol": order.symbol,
        "settleType": _settles(order),
        "executionType": order.request.kind.upper(),
        "side": side_text(order.side),
        "orderStatus": status,
        "orderTimestamp": time_text(order.created_ns, 3),
        "orderPrice": _price(order),
        "orderSize": plain_amount_text(order.units),
        "orderExecutedSize": plain_amount_text(order.filled_units),
        "losscutPrice": "0",
        "timeInForce": _term(order),
        "msgType": "ER" if status == "EXPIRED" else MESSAGES[event.what],
    }
    return row | ({"cancelType": cancel_type} if cancel_type else {})


def position_frame(event: PositionEvent, profit: int, leverage: int) -> Row:
    """A position after a fill."""
    position = event.position
    return {
        "channel": "positionEvents",
        "positionId": position.id,
        "symbol": position.symbol,
        "side": side_text(position.side),
        "size": plain_amount_text(position.units),
        "orderdSize": plain_amount_text(position.ordered_units),
        "price": plain_price_text(position.tick, position.ticks),
        "lossGain": atoms_text(profit),
        "leverage": str(leverage),
        "losscutPrice": "0",
        "timestamp": time_text(event.time_ns, 3),
        "msgType": POSITION_MESSAGES[event.what],
    }


def sum_frame(account: Account, symbol: str, side: int, kind: str, now_ns: int) -> Row:
    """All positions of a symbol and side together; `kind` is INIT, UPDATE or PERIODIC."""
    return {
        "channel": "positionSummaryEvents",
        **sum_row(account, symbol, side),
        "timestamp": time_text(now_ns, 3),
        "msgType": kind,
    }
