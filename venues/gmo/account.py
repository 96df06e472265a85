"""The private stream's frames as typed account events (`schemas/account.py`), and its commands.

Rules (api.coin.z.com/docs, private WebSocket API): nothing is acknowledged and no state is told on
subscribing, but for positionSummaryEvents' INIT, so who connects reconciles over REST. An order
that is filled is told by its executions alone: no order event ever says EXECUTED. What was executed
so far is `orderExecutedSize`, which is cumulative. An execution may come before the REST reply to
the order: who waits for that reply must keep events of orders it does not know yet.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from schemas.account import (
    AccountEvent,
    AccountState,
    Fee,
    Fill,
    Liquidity,
    OrderStatus,
    OrderUpdate,
    PositionChange,
    plain_decimal,
)
from schemas.errors import DecodeError
from schemas.trading import OrderSide
from venues.gmo.values import error_of, number, text
from venues.numbers import NumberText, parse_exact
from venues.times import account_time_ns

VENUE: Final = "gmo"
CHANNELS: Final = ("executionEvents", "orderEvents", "positionEvents", "positionSummaryEvents")
PERMANENT_ERRORS: Final = frozenset({5007, 5010, 5011, 5012, 5014, 5106})
"""The key, its rights or the command are wrong: asking again changes nothing."""

_Values = dict[str, Any]
_STATUSES: Final[dict[str, OrderStatus]] = {
    "WAITING": "pending",
    "ORDERED": "open",
    "CANCELED": "canceled",
    "EXPIRED": "expired",
}
_SIDES: Final[dict[str, OrderSide]] = {"BUY": "buy", "SELL": "sell"}
_CLOSED_POSITION: Final = "CPR"


def subscribe_command(channel: str, *, periodic: bool = False) -> str:
    """The command that asks for a private channel; `periodic` for position sums every 5 s."""
    what = {"command": "subscribe", "channel": channel}
    return msgspec.json.encode(what | ({"option": "PERIODIC"} if periodic else {})).decode()


def account_events(frame: bytes, *, asked: str = "") -> list[AccountEvent]:
    """What a frame of the private stream says, in order.

    Args:
        asked: the channel of the command sent last, which an error is of.

    Raises:
        DecodeError, ValueError: it is no frame of this stream.
    """
    values = parse_exact(frame)
    if not isinstance(values, dict):
        raise DecodeError("a frame is an object")
    if "error" in values:
        code, said = error_of(values["error"])
        permanent = code in PERMANENT_ERRORS
        state = AccountState(
            venue=VENUE, channel=asked, live=False, permanent=permanent, text=f"{code} {said}"
        )
        return [state]
    channel = text(values.get("channel"))
    if channel not in _READERS:
        raise DecodeError(f"no private channel {channel[:40]}")
    return _READERS[channel](values)


def _take_execution(values: _Values) -> list[AccountEvent]:
    """A fill, and the order as it stands after it."""
    fee = _decimal(values, "fee")
    settles = values.get("settleType") not in {None, "OPEN"}
    fill = Fill(
        venue=VENUE,
        fill_id=_number_text(values, "executionId"),
        order_id=_number_text(values, "orderId"),
        symbol=text(values.get("symbol")),
        side=_side(values),
        price=_amount(values, "executionPrice"),
        quantity=_amount(values, "executionSize"),
        position_id=_number_text(values, "positionId", needed=False),
        fees=(Fee(asset="JPY", amount=fee),) if fee else (),
        liquidity=_liquidity(fee),
        profit=_decimal(values, "lossGain") if settles else "",
        time_ns=account_time_ns(values.get("executionTimestamp")),
    )
    filled, size = _amount(values, "orderExecutedSize"), _amount(values, "orderSize")
    done = Decimal(filled) >= Decimal(size)
    order = _order(values, "filled" if done else "partially_filled", "", fill.time_ns)
    return [fill, order]


def _take_order(values: _Values) -> list[AccountEvent]:
    said = text(values.get("orderStatus"))
    status = _STATUSES.get(said, "unknown")
    if status == "open" and Decimal(_amount(values, "orderExecutedSize")):
        status = "partially_filled"
    # The only time in the frame is that of the order itself.
    return [_order(values, status, said, 0)]


def _order(values: _Values, status: OrderStatus, said: str, event_ns: int) -> OrderUpdate:
    kind, settle = text(values.get("executionType")), values.get("settleType")
    price, term = _amount(values, "orderPrice"), _word(values, "timeInForce")
    price = price if Decimal(price) else ""
    return OrderUpdate(
        venue=VENUE,
        order_id=_number_text(values, "orderId"),
        symbol=text(values.get("symbol")),
        status=status,
        status_text=said,
        side=_side(values),
        order_type=kind,
        quantity=_amount(values, "orderSize"),
        filled_quantity=_amount(values, "orderExecutedSize"),
        limit_price="" if kind == "STOP" else price,
        stop_price=price if kind == "STOP" else "",
        time_in_force=term,
        post_only=term == "SOK",
        reduce_only=settle in {"CLOSE", "LOSS_CUT"},
        event=_word(values, "msgType"),
        reason=_word(values, "cancelType"),
        time_ns=event_ns,
        created_ns=account_time_ns(values.get("orderTimestamp")),
    )


def _take_position(values: _Values) -> list[AccountEvent]:
    said, size = text(values.get("msgType")), _amount(values, "size")
    losscut = _decimal(values, "losscutPrice")
    position = PositionChange(
        venue=VENUE,
        symbol=text(values.get("symbol")),
        status="closed" if said == _CLOSED_POSITION or not Decimal(size) else "open",
        status_text=said,
        side=_side(values),
        quantity=size,
        position_id=_number_text(values, "positionId"),
        average_price=_decimal(values, "price"),
        profit=_decimal(values, "lossGain"),
        liquidation_price=losscut if losscut and Decimal(losscut) else "",
        leverage=_decimal(values, "leverage"),
        time_ns=account_time_ns(values.get("timestamp")),
    )
    return [position]


def _take_sum(values: _Values) -> list[AccountEvent]:
    """All positions of a symbol and side together."""
    said, size = text(values.get("msgType")), _amount(values, "sumPositionQuantity")
    position = PositionChange(
        venue=VENUE,
        symbol=text(values.get("symbol")),
        status="open" if Decimal(size) else "closed",
        status_text=said,
        side=_side(values),
        quantity=size,
        average_price=_decimal(values, "averagePositionRate"),
        profit=_decimal(values, "positionLossGain"),
        time_ns=account_time_ns(values.get("timestamp")),
        is_snapshot=said == "INIT",
    )
    return [position]


_READERS: Final[dict[str, Callable[[_Values], list[AccountEvent]]]] = {
    "executionEvents": _take_execution,
    "orderEvents": _take_order,
    "positionEvents": _take_position,
    "positionSummaryEvents": _take_sum,
}


def _decimal(values: _Values, name: str) -> str:
    """A signed number's text, empty where the frame has none."""
    value = values.get(name)
    return "" if value is None else plain_decimal(number(value).text)


def _amount(values: _Values, name: str) -> str:
    """The text of a number that must be there and not below zero."""
    found = plain_decimal(number(values.get(name)).text)
    if found.startswith("-"):
        raise DecodeError(f"{name} is {found}")
    return found


def _number_text(values: _Values, name: str, *, needed: bool = True) -> str:
    """An id: a number in events, a string in replies."""
    value = values.get(name)
    if value is None and not needed:
        return ""
    digits = value.text if isinstance(value, NumberText) else text(value)
    if not (digits.isascii() and digits.isdigit()):
        raise DecodeError(f"{name} is {digits[:40]!r}")
    return digits


def _word(values: _Values, name: str) -> str:
    """A word of the venue's, empty where the frame has none."""
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _side(values: _Values) -> OrderSide:
    side = values.get("side")
    if not isinstance(side, str) or side not in _SIDES:
        raise DecodeError(f"side is {str(side)[:40]}")
    return _SIDES[side]


def _liquidity(fee: str) -> Liquidity:
    """The venue's fee is below zero for makers and above it for takers; 0 says nothing."""
    if not fee or not Decimal(fee):
        return ""
    side: Literal["maker", "taker"] = "maker" if fee.startswith("-") else "taker"
    return side
