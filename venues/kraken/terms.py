"""An order in the words of Kraken's trading methods: numbers bare, with the digits they were given.

Source: docs.kraken.com/api/docs/websocket-v2, add_order and amend_order. Nothing here sends.
"""

import msgspec

from schemas.account import plain_decimal
from schemas.errors import DecodeError
from venues.kraken.private_socket import Message
from venues.trading import NewOrder, NotSentError


def order_terms(order: NewOrder) -> Message:
    """An order as `add_order` and `batch_add` take it, but for its symbol.

    `reduce_only` is for margin alone: on spot nothing can be sold that is not held.
    """
    terms: Message = {
        "order_type": order.kind,
        "side": order.side,
        "order_qty": _number(order.quantity),
        "cl_ord_id": order.command_id,
        "fee_preference": "quote",
    }
    if order.kind == "limit":
        terms |= {"limit_price": _number(order.limit_price), "time_in_force": "gtc"}
    return terms


def changed_terms(quantity: str, limit_price: str) -> Message:
    """What is to be otherwise; an empty text stays as it is."""
    named = {"order_qty": quantity, "limit_price": limit_price}
    return {name: _number(value) for name, value in named.items() if value}


def _number(text: str) -> msgspec.Raw:
    """A bare JSON number with all its digits.

    Raises:
        NotSentError: it is none.
    """
    try:
        return msgspec.Raw(plain_decimal(text).encode())
    except DecodeError as error:
        raise NotSentError(str(error)) from None
