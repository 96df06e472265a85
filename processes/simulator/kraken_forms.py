"""Fields of the forms that Kraken's signed calls come with: every value is text."""

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from processes.simulator.kraken_desk import ARGUMENTS
from processes.simulator.kraken_session import RefusalError
from processes.simulator.orders import AccountOrder

Form = dict[str, str]


def selected(orders: Iterable[AccountOrder], form: Form) -> list[AccountOrder]:
    """Those of the form's user reference or client id, if it names one."""
    client_id, userref = form.get("cl_ord_id"), form.get("userref")
    return [
        order
        for order in orders
        if client_id in {None, order.request.client_id}
        and userref in {None, str(order.request.extra.get("userref"))}
    ]


def whole(text: str) -> int | None:
    """A whole number of 32 bits or so; None for what is none."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,10}", text) else None


def decimal(form: Form, name: str) -> Decimal | None:
    """A number, or None where there is no such field.

    Raises:
        RefusalError: it is no number.
    """
    text = form.get(name)
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise RefusalError(f"{ARGUMENTS}:{name}") from error
    if not value.is_finite():
        raise RefusalError(f"{ARGUMENTS}:{name}")
    return value


def seconds(form: Form, name: str, default: int) -> int:
    """A time or an offset in whole units; the default for what is none."""
    text = form.get(name, "").partition(".")[0]
    return int(text) if text.isdecimal() and len(text) < 16 else default
