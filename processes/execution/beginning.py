"""What a life of execution begins with: orders and positions out of the ledger.

It is an input of the machine like any other, only too large for a slot: the slot of the start says
its fingerprint, and the session's folder keeps it.
"""

from decimal import Decimal

import msgspec

from processes.execution.losses import Losses
from processes.execution.orders import Order
from processes.execution.positions import Book, Position


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """Orders that are open or were closed lately, positions, the day's result, what risk remembers.

    What a recording of before did not have is empty.
    """

    orders: list[Order] = []
    positions: dict[int, Position] = {}
    day: str = ""
    realized_today: Decimal = Decimal(0)
    realized_by: dict[int, Decimal] = {}
    losses: Losses = msgspec.field(default_factory=Losses)

    @classmethod
    def of(cls, orders: list[Order], book: Book) -> "Beginning":
        """As the ledger gave them."""
        return cls(
            orders=orders,
            positions=book.positions,
            day=book.day,
            realized_today=book.realized_today,
            realized_by=book.realized_by,
            losses=book.losses,
        )

    def give(self, book: Book) -> None:
        """Make a book of it; marks, sizes and rates stay as they are."""
        book.positions = self.positions
        book.day, book.realized_today = self.day, self.realized_today
        # A recording of before has the day's sum only; -1 is no instrument.
        by = self.realized_by or {-1: self.realized_today}
        book.realized_by, book.losses = by, self.losses

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
