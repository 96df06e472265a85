"""What happens to an account, told in one sequence: orders, fills, balances, positions.

Every event holds copies: nothing that happens later changes one that was told.
"""

from msgspec import Struct

from processes.simulator.orders import AccountFill, AccountOrder, Position, PositionWhat, What


class OrderEvent(Struct, frozen=True, kw_only=True):
    """Something happened to an order other than a fill."""

    sequence: int
    time_ns: int
    what: What
    order: AccountOrder
    fill: int = 0
    """The fill that completed it."""


class FillEvent(Struct, frozen=True, kw_only=True):
    """An order was filled, in part or whole; the order is as it is after the fill."""

    sequence: int
    time_ns: int
    order: AccountOrder
    fill_made: AccountFill

    @property
    def fill(self) -> int:
        """Its id."""
        return self.fill_made.id


class BalanceEvent(Struct, frozen=True, kw_only=True):
    """An asset's total has changed."""

    sequence: int
    time_ns: int
    id: int
    asset: str
    change: int
    fee: int
    """Part of the change, as it was taken."""
    total: int
    available: int
    fill: int


class PositionEvent(Struct, frozen=True, kw_only=True):
    """A position was opened, has changed or was closed (no units left)."""

    sequence: int
    time_ns: int
    what: PositionWhat
    position: Position
    fill: int


AccountEvent = OrderEvent | FillEvent | BalanceEvent | PositionEvent
