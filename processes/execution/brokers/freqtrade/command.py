"""An order as it was given to a bot: what names its trade, how far its sending came, what was told.

A bot takes no client order id, so an order is found again by these: an entry by its tag, which is
the command id; an exit by its trade and by the orders which that trade had before. They are put
down before the call, so that a crash at any step leaves a question that can be answered.
"""

import hashlib
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from schemas.trading import (
    Intent,
    OrderAccepted,
    OrderAdopted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
)

Role = Literal["entry", "exit"]
Told = OrderAccepted | OrderFilled | OrderCanceled | OrderRejected | OrderExpired
"""What is put down of an order; that its outcome is unknown is said anew each time."""


class Command(Struct, kw_only=True):
    """One order and what is known of it."""

    intent: Intent
    pair: str
    role: Role
    tag: str
    """The trade's entry tag; an entry's own command id."""
    opened_ms: int = 0
    """With the tag, what names the trade; 0 until it is known."""
    before: list[str] = []
    """Exit orders that the trade had before this one."""
    sent_ns: int = 0
    """When it was handed over, put down before that; 0 = it was not."""
    answered: bool = False
    """The call has ended in the bot, with whatever answer: nothing of it is still to come."""
    refusal: str = ""
    """What the bot said against it; it stands unless the order is found nevertheless."""
    order_id: str = ""
    told: list[Told] = []
    cancel_wanted: bool = False
    made_there: bool = False
    """The bot's own rule has made it, or a person at the bot; nothing of it was ever sent."""
    checked: bool = False
    """A live bot does not know it and never will: only its venue can say more, to a person."""

    @property
    def id(self) -> str:
        """Its command id."""
        return self.intent.command_id

    @property
    def quantity(self) -> Decimal:
        """What was ordered, base currency."""
        return Decimal(self.intent.quantity)

    @property
    def filled(self) -> Decimal:
        """How much was told as filled."""
        return sum((Decimal(fill.quantity) for fill in self._fills()), Decimal(0))

    @property
    def cost(self) -> Decimal:
        """What that came to, quote currency, without fees."""
        return sum(
            (Decimal(fill.quantity) * Decimal(fill.price) for fill in self._fills()), Decimal(0)
        )

    @property
    def fees(self) -> Decimal:
        """What was told as fees."""
        return sum((Decimal(fill.fee) for fill in self._fills()), Decimal(0))

    def _fills(self) -> list[OrderFilled]:
        return [event for event in self.told if isinstance(event, OrderFilled)]

    @property
    def adopted(self) -> OrderAdopted:
        """What tells of it, if it was made there."""
        intent = self.intent
        return OrderAdopted(
            intent.command_id, intent.account, intent.instrument, intent.side, intent.quantity,
            intent.decided_ns,
        )  # fmt: skip

    @property
    def over(self) -> bool:
        """Nothing more is expected of it."""
        ended = any(
            isinstance(event, OrderCanceled | OrderRejected | OrderExpired) for event in self.told
        )
        return ended or self.filled >= self.quantity

    @property
    def side(self) -> int:
        """1 adds to the trade, -1 takes from it."""
        return 1 if self.role == "entry" else -1


def fill_name(order_id: str, filled: Decimal) -> str:
    """What names a fill: its order, and how much of that was filled with it.

    A bot names none. The order's id is shortened, since a dry-run's has 60 characters and an event
    must fit a slot.
    """
    mark = hashlib.blake2b(order_id.encode(), digest_size=8).hexdigest()
    return f"{mark}@{filled.normalize():f}"
