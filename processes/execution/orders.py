"""The life of an order, written so that the order of events cannot matter.

An order's state is a function of the facts known of it, not of the path on which they came: how
much was filled, and whether it was sent, accepted, cancelled, rejected, expired, or lost sight of.
Facts are only ever added (a fill is known by its id, so a doubled one adds nothing), so events that
come out of order, twice or late end in the same state. TRANSITIONS is what can be seen from
outside, and what the property test holds the code against.

    NEW ─▶ SENT ─▶ ACKED ─▶ PARTIALLY_FILLED ─▶ FILLED
             │        │             │
             ├────────┴─────────────┴─▶ CANCELED · EXPIRED (a late fill may still make it FILLED)
             ├─▶ REJECTED
             └─▶ UNKNOWN ─▶ whatever the venue answers when it is asked
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct

from schemas.trading import (
    CancelNotSent,
    Intent,
    NotSent,
    OrderAccepted,
    OrderAdopted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderState,
    OrderUnknown,
    Reason,
)

S = OrderState
CLOSED_KEPT: Final = 500
LIKENESS_NS: Final = 30_000_000_000
"""At a venue whose orders have no names of ours, one that is under way is told apart by its time,
give or take the clocks: what was sent so shortly before it must be known."""
MADE_THERE: Final = "made_there"
"""In a strategy's place: who has made the order is not told."""
_OPEN_ENDS = frozenset({S.FILLED, S.CANCELED, S.REJECTED, S.EXPIRED})
TRANSITIONS: Final[dict[OrderState, frozenset[OrderState]]] = {
    S.NEW: frozenset({S.SENT, S.EXPIRED, S.UNKNOWN}),
    S.SENT: frozenset({S.ACKED, S.PARTIALLY_FILLED, S.UNKNOWN}) | _OPEN_ENDS,
    S.UNKNOWN: frozenset({S.ACKED, S.PARTIALLY_FILLED}) | _OPEN_ENDS,
    S.ACKED: frozenset({S.PARTIALLY_FILLED}) | _OPEN_ENDS,
    S.PARTIALLY_FILLED: frozenset({S.FILLED, S.CANCELED, S.EXPIRED}),
    S.CANCELED: frozenset({S.FILLED}),
    S.EXPIRED: frozenset({S.FILLED, S.CANCELED, S.REJECTED}),
    S.REJECTED: frozenset({S.PARTIALLY_FILLED, S.FILLED, S.CANCELED, S.EXPIRED}),
    S.FILLED: frozenset(),
}
"""From each state, the states an event may lead to. A venue that fills what it rejected or let
expire is believed: the quantity is the truth. NEW becomes UNKNOWN after a crash before the send
was known."""


class Order(Struct):
    """An order and all that is known of it."""

    intent: Intent
    quantity: Decimal
    sent: bool = False
    accepted: bool = False
    canceled: bool = False
    rejected: bool = False
    expired: bool = False
    unknown: bool = False
    filled: Decimal = Decimal(0)
    fill_ids: set[str] = set()
    cancel_asked: bool = False
    text: str = ""
    venue_order_id: str = ""

    @classmethod
    def of(cls, intent: Intent) -> "Order":
        """A new order."""
        return cls(intent=intent, quantity=Decimal(intent.quantity), fill_ids=set())

    @classmethod
    def adopted(cls, event: OrderAdopted, symbol: str) -> "Order":
        """One that somebody else has made, followed as one of ours."""
        intent = Intent(
            command_id=event.command_id, instrument=event.instrument, symbol=symbol,
            account=event.account, side=event.side, quantity=event.quantity, kind="market",
            reduce_only=True, strategy=MADE_THERE, reason=Reason.MADE_THERE,
            decided_ns=event.time_ns,
        )  # fmt: skip
        order = cls.of(intent)
        order.sent = True
        return order

    @property
    def state(self) -> OrderState:
        """What the facts come to."""
        if self.filled >= self.quantity:
            return S.FILLED
        if self.canceled:
            return S.CANCELED
        if self.rejected and not self.filled:
            return S.REJECTED
        if self.expired:
            return S.EXPIRED
        if self.filled:
            return S.PARTIALLY_FILLED
        if self.accepted:
            return S.ACKED
        if self.unknown:
            return S.UNKNOWN
        return S.SENT if self.sent else S.NEW

    @property
    def open(self) -> bool:
        """Something may still happen, as far as we know."""
        return not self.state.final

    def add(self, event: OrderEvent) -> bool:
        """Add what an event says; True if it was news."""
        before = (self.accepted, self.canceled, self.rejected, self.expired, self.unknown)
        fills = len(self.fill_ids)
        match event:
            case OrderAccepted():
                self.accepted = self.sent = True
                self.venue_order_id = event.venue_order_id or self.venue_order_id
            case OrderFilled():
                self._fill(event)
            case OrderCanceled():
                self.canceled = self.sent = True
                self.text = event.text or self.text
            case OrderRejected():
                self.rejected = self.sent = True
                self.text = event.text or self.text
            case OrderExpired():
                self.expired = True
                self.text = event.text or self.text
            case OrderUnknown():
                self.unknown = self.sent = True
            case OrderAdopted():
                self.sent = True
            case CancelNotSent():
                self.cancel_asked = False
            case NotSent():
                pass
        after = (self.accepted, self.canceled, self.rejected, self.expired, self.unknown)
        return before != after or fills != len(self.fill_ids)

    def _fill(self, event: OrderFilled) -> None:
        self.sent = self.accepted = True
        if event.fill_id not in self.fill_ids:
            self.fill_ids.add(event.fill_id)
            self.filled += Decimal(event.quantity)


def lately_over(orders: Sequence[Order], least: int) -> list[Order]:
    """Closed orders that may still matter, oldest first.

    Of those that their venue had, all of the last LIKENESS_NS and at least so many; and so many
    that never came there, which must not crowd the others out.
    """
    newest_ns = max((order.intent.decided_ns for order in orders), default=0)
    over = [order for order in orders if not order.open]
    there = [order for order in over if order.venue_order_id]
    late = sum(order.intent.decided_ns > newest_ns - LIKENESS_NS for order in there)
    never = [order for order in over if not order.venue_order_id]
    return never[-least:] + there[-min(max(least, late), CLOSED_KEPT) :]
