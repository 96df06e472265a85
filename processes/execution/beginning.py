"""What a life of execution begins with: orders and positions out of the ledger.

It is an input of the machine like any other, only too large for a slot: the slot of the start says
its fingerprint, and the session's folder keeps it.
"""

from decimal import Decimal

import msgspec

from processes.execution.orders import Order
from processes.execution.positions import Book, Position


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """Orders that are open or were closed lately, positions, and the day's result."""

    orders: list[Order]
    positions: dict[int, Position]
    day: str
    realized_today: Decimal

    @classmethod
    def of(cls, orders: list[Order], book: Book) -> "Beginning":
        """As the ledger gave them."""
        return cls(
            orders=orders,
            positions=book.positions,
            day=book.day,
            realized_today=book.realized_today,
        )

    def encode(self) -> bytes:
        """As it is kept."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, content: bytes) -> "Beginning":
        """As it was kept.

        Raises:
            msgspec.DecodeError: it is something else.
        """
        return msgspec.json.decode(content, type=cls)
