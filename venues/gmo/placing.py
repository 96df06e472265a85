"""An order as GMO Coin takes it, and the one way in which it leaves.

What the venue would refuse for its steps is refused here; what must only reduce never opens. An
order that has not begun to leave in time is not sent at all, and one that has is waited for.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from decimal import Decimal
from typing import Any, Final

from schemas.errors import MaintenanceError, RateLimitedError, RefusedError, UnavailableError
from venues.exact import plain
from venues.gmo.rest import SymbolRules
from venues.gmo.symbols import LEVERAGE
from venues.rest import Sending
from venues.trading import NewOrder, NotSentError

BEGIN_S: Final = 2.0
"""An order that has not begun to leave by then is not sent: the market has moved on."""
ANSWER_S: Final = 10.0


def closes_positions(order: NewOrder) -> bool:
    """Whether it is a closing order, which can open nothing."""
    return order.reduce_only and order.symbol.endswith(LEVERAGE)


def order_body(order: NewOrder, rules: Mapping[str, SymbolRules]) -> dict[str, str]:
    """An order as the venue takes it.

    Raises:
        RefusedError: the venue would not have it, or it would open what it must only reduce.
    """
    rule = rules.get(order.symbol)
    if rule is None:
        raise RefusedError(f"GMO Coin lists no {order.symbol}")
    size = Decimal(order.quantity)
    if size % rule.size_step:
        raise RefusedError(f"{order.quantity} {order.symbol} is no multiple of {rule.size_step}")
    if order.reduce_only and order.side == "buy" and not order.symbol.endswith(LEVERAGE):
        raise RefusedError("a spot purchase reduces nothing")
    body = {
        "symbol": order.symbol,
        "side": order.side.upper(),
        "executionType": order.kind.upper(),
        "timeInForce": "FAS" if order.kind == "limit" else "FAK",
        "size": plain(size.normalize()),
    }
    if order.kind == "limit":
        price = Decimal(order.limit_price)
        if price % rule.tick_size:
            raise RefusedError(f"{order.limit_price} is no multiple of {rule.tick_size}")
        body["price"] = plain(price.normalize())
    return body


async def sent_once(
    send: Callable[[Sending], Coroutine[Any, Any, str]], written: Callable[[], None]
) -> str:
    """An order's id, or one of the protocol's four ends.

    Where the venue says no, there is no order; but not where it says that it is busy.
    """
    has_begun = given_up = False
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(BEGIN_S) as limit:

            def begin() -> None:
                nonlocal has_begun
                if given_up:
                    raise ConnectionError("it was given up before it began to leave")
                has_begun = True
                limit.reschedule(loop.time() + ANSWER_S)

            return await send(Sending(begin, written))
    except (RateLimitedError, MaintenanceError) as error:
        if error.code or isinstance(error, RateLimitedError):
            raise RefusedError(str(error), code=error.code) from None
        raise
    except (UnavailableError, TimeoutError) as error:
        if has_begun:
            raise
        given_up = True
        raise NotSentError(str(error) or "its turn did not come in time") from None
