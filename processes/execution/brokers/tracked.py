"""What a session knows of an order that it sent or may have sent, and of a person's word on it."""

from collections.abc import Container
from decimal import Decimal
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from schemas.account import OrderUpdate
from schemas.errors import VenueError
from venues.trading import NewOrder, OrderRef, Trading

FAULTS: Final = (VenueError, OSError, TimeoutError)
"""What a venue's calls raise."""


class Tracked(Struct):
    """An order that was sent, or may have been."""

    ref: OrderRef
    fill_ids: set[str]
    sent_ns: int
    """When it left at the latest: in an earlier life, the gate's bound after its decision."""
    filled: Decimal = Decimal(0)
    is_final: bool = False
    accepted: bool = False
    is_under_way: bool = False
    """It is being sent, or its answer is waited for."""
    is_asked: bool = False
    """Unknown, or not all of it is here: the venue is to be asked."""
    must_end: bool = False
    """A market order, or one whose cancel was sent: it is asked for until it is over, since the
    event that says so may be lost."""
    is_unknown: bool = False
    """`OrderUnknown` was told of it."""
    is_ambiguous: bool = False
    """The venue has several that it may be; only a person can settle it."""

    @classmethod
    def of(cls, order: NewOrder, venue_order_id: str, within_ns: int) -> "Tracked":
        """An order that is about to be sent, or was in an earlier life."""
        return cls(
            OrderRef(order=order, venue_order_id=venue_order_id),
            set(),
            order.decided_ns + within_ns,
            accepted=bool(venue_order_id),
            must_end=order.kind == "market",
        )

    def lacks(self, update: OrderUpdate) -> bool:
        """More was filled than the fills that are known of it come to."""
        return Decimal(update.filled_quantity or "0") > self.filled


async def refusal(
    tracked: Tracked | None,
    venue_order_id: str,
    taken: Container[str],
    trading: Trading,
    since_ns: int,
) -> str:
    """Why a person's word on an order is not taken; empty if it is.

    Args:
        venue_order_id: which of the venue's it is; empty: none. taken: ids of orders of ours.
    """
    if tracked is None or tracked.is_final or not tracked.is_ambiguous:
        return "it is not in doubt"
    if not venue_order_id:
        return ""
    if venue_order_id in taken:
        return f"not {venue_order_id}: it is another order of ours"
    why = await _misfit(tracked.ref.order, venue_order_id, trading, since_ns)
    if why:
        return f"not {venue_order_id}: {why}"
    return "" if tracked.is_ambiguous else "it is in doubt no longer"


async def _misfit(order: NewOrder, venue_order_id: str, trading: Trading, since_ns: int) -> str:
    """Why an order of the venue's cannot be this one; empty if it can."""
    # Under another name, so that no wrong id is remembered as this order's.
    probe = replace(order, command_id=f"{int(order.command_id, 16) ^ 1:032x}")
    try:
        sight = await trading.look([OrderRef(order=probe, venue_order_id=venue_order_id)], since_ns)
    except FAULTS as error:
        return f"the venue was not asked: {str(error) or type(error).__name__}"
    found = sight.orders.get(probe.command_id)
    if found is None:
        return "the venue has no such order"
    exact = (Decimal(found.quantity or 0), Decimal(found.limit_price or 0))
    wanted = (Decimal(order.quantity), Decimal(order.limit_price or 0))
    if (found.symbol, found.side, *exact) == (order.symbol, order.side, *wanted):
        return ""
    return f"that is {found.side} {found.quantity} {found.symbol} {found.limit_price}".strip()
