"""What a book can give an order: the one model of fills, for the paper broker and for backtests.

Pure arithmetic over ten levels a side. The tape does not know of our fills, so who calls keeps what
was taken from levels that still stand, and it is not there a second time. Nothing here knows time,
queues or accounts.
"""

from collections.abc import Container, Sequence
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Final, NamedTuple

import numpy as np

from schemas.tape import LEVELS
from schemas.trading import Intent, OrderSide

CENT: Final = Decimal("0.00000001")


class Level(NamedTuple):
    """One level of a book, or what was taken of one."""

    price: Decimal
    size: Decimal


def levels_of(book: np.ndarray, reference: float, *, asks: bool) -> list[Level]:
    """One side of the ten levels a slot carries, best first.

    Args:
        book: (40) float32 as in `schemas/tape.py`. reference: what its offsets are from.
    """
    base = 2 * LEVELS if asks else 0
    offsets, sizes = book[base : base + LEVELS], book[base + LEVELS : base + 2 * LEVELS]
    return [
        Level(price_of(reference, offset), Decimal(repr(round(size, 8))))
        for offset, size in zip(offsets.tolist(), sizes.tolist(), strict=True)
        if size > 0
    ]


def price_of(reference: float, offset: float) -> Decimal:
    """A level's price again in the venue's digits: float32 offsets are good to nine of them."""
    return Decimal(f"{reference + offset:.9g}")


def worse(price: Decimal, limit: Decimal, side: OrderSide) -> bool:
    """Beyond what an order of this side would pay or take."""
    return price > limit if side == "buy" else price < limit


def walk(
    levels: Sequence[Level],
    taken: dict[Decimal, Decimal],
    wanted: Decimal,
    side: OrderSide,
    limit: Decimal | None,
) -> list[Level]:
    """What an order gets of the levels of the other side, a fill a level, best first.

    Args:
        taken: what was had of levels before; what is had now is added. limit: none for a market
            order.
    """
    found = []
    for level in levels:
        if wanted <= 0 or (limit is not None and worse(level.price, limit, side)):
            break
        before = taken.get(level.price, Decimal(0))
        amount = min(wanted, level.size - before)
        if amount > 0:
            taken[level.price] = before + amount
            wanted -= amount
            found.append(Level(level.price, amount))
    return found


def standing(taken: dict[Decimal, Decimal], levels: Sequence[Level]) -> dict[Decimal, Decimal]:
    """What was taken of levels that are on the book still."""
    there = {level.price for level in levels}
    return {price: size for price, size in taken.items() if price in there}


def fee_of(price: Decimal, quantity: Decimal, fee_bps: float) -> Decimal:
    """What a venue takes of a fill, to eight digits."""
    rate = Decimal(str(fee_bps)) / 10_000
    return (quantity * price * rate).quantize(CENT, ROUND_HALF_UP)


def fill_id(intent: Intent, number: int) -> str:
    """A fill's own name: the order's and its number."""
    return f"{intent.command_id[:16]}-{number}"


def fault(intent: Intent, instruments: Container[int]) -> str:
    """Why no venue would have this order; empty if one would."""
    if intent.instrument not in instruments:
        return f"no instrument {intent.instrument}"
    if not _above_zero(intent.quantity):
        return f"quantity {intent.quantity!r}: must be above zero"
    if intent.kind == "limit" and not _above_zero(intent.limit_price):
        return f"limit price {intent.limit_price!r}: must be above zero"
    return ""


def _above_zero(text: str) -> bool:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return False
    return number.is_finite() and number > 0
