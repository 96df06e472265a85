"""What a broker asks of a venue: the one shape of `venues/<venue>/trading.py`.

Owns no ledger and no policy. An order is placed by one call that ends in one of four ways: it
returns (the venue has taken the order), `RefusedError` (the venue will not have it),
`NotSentError` (provably nothing left this machine), or any other error (nobody can say: the broker
asks with `look`). What happens to orders afterwards is told as events of `schemas/account.py`.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol

from msgspec import Struct

from schemas.account import AccountEvent, BalanceChange, Fill, OrderUpdate
from schemas.errors import VenueError
from schemas.trading import Intent, OrderKind, OrderSide
from venues.rest import RestClient

Tell = Callable[[AccountEvent], None]


class Access(Struct, frozen=True, kw_only=True):
    """What trading calls are made with. Its text shows no secret."""

    key: str
    secret: str
    rest: RestClient
    """To be entered at `connect` and left at `close`."""
    socket_url: str
    """Of the private socket; empty = the venue's own."""
    next_nonce: Callable[[], int]
    now_ns: Callable[[], int]

    def __repr__(self) -> str:
        """Nothing that a log may not have."""
        return "Access(...)"


class NotSentError(VenueError):
    """The order provably did not leave this machine."""


class NewOrder(Struct, frozen=True, kw_only=True):
    """An order to be placed. Quantities and prices are plain decimal text."""

    command_id: str
    """32 hex digits. A venue with client ids takes one command id at most once."""
    symbol: str
    side: OrderSide
    quantity: str
    kind: OrderKind
    limit_price: str = ""
    reduce_only: bool = False
    """Only closes what is held: on margin it must not open the other side."""
    decided_ns: int = 0

    @classmethod
    def of(cls, intent: Intent) -> "NewOrder":
        """An intent as a venue sees it."""
        return cls(
            command_id=intent.command_id,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            kind=intent.kind,
            limit_price=intent.limit_price,
            reduce_only=intent.reduce_only,
            decided_ns=intent.decided_ns,
        )


class OrderRef(Struct, frozen=True, kw_only=True):
    """An order that may have been placed, by all names it may have."""

    order: NewOrder
    venue_order_id: str = ""
    """Empty where the venue's answer was never seen."""


class Sight(Struct, kw_only=True):
    """What a venue has of the orders it was asked about: open ones, and closed ones as far back."""

    orders: dict[str, OrderUpdate] = {}
    """By command id."""
    fills: list[tuple[str, Fill]] = []
    """With the command id each is of; oldest first."""
    missing: set[str] = set()
    """Command ids that the venue, asked for open and closed orders, does not know."""
    ambiguous: dict[str, str] = {}
    """Command ids that more than one order or fill there may be of, and which; never guessed."""
    foreign: list[OrderUpdate] = []
    """Orders of the account that nobody asked about: open ones, and others that were told of."""


class Trading(Protocol):
    """One key at one venue, in one event loop. Not connected until `connect`."""

    venue: str
    parallel: int
    """So many orders may be under way at once: 1 where an unknown one is found by its looks."""
    settle_s: float
    """An order that left so long ago and is missing will not come any more."""

    def client_id(self, order: NewOrder) -> str:
        """What the venue's events call an order of ours; empty where they cannot."""

    async def connect(self, tell: Tell) -> None:
        """Open the private channels. Returns once they are live; `tell` is called in the loop.

        Raises:
            RefusedError: the key is wrong, and trying again soon is of no use (a nonce that came
                too late is no such fault). VenueError: another refusal. OSError, TimeoutError: not
                reached.
        """

    async def watch(self) -> None:
        """Serve the connection until it is lost or useless, and raise why.

        Raises:
            VenueError, OSError, TimeoutError: what ended it, a gap in its sequence included.
        """

    async def close(self) -> None:
        """End the connection, if there is one. Never raises."""

    async def place(self, order: NewOrder, written: Callable[[], None]) -> str:
        """Send an order, once; the venue's id of it, empty if only an event will tell that.

        Args:
            written: to be called as soon as the last byte has been handed to the system; who does
                not call it is taken to be sending until this returns.

        Raises:
            RefusedError, NotSentError: there is no order. VenueError, OSError, TimeoutError: there
                may be one.
        """

    async def cancel(self, refs: Sequence[OrderRef]) -> None:
        """Ask for cancels. An order that is over already is no error."""

    async def cancel_all(self) -> None:
        """Ask for the cancel of all orders of the account."""

    async def dead_man(self, timeout_s: float) -> None:
        """Have the venue cancel everything unless called again in time; nothing where it cannot."""

    async def look(self, refs: Sequence[OrderRef], since_ns: int) -> Sight:
        """Ask what became of orders, over REST; `since_ns` is before any of them was sent."""

    async def holdings(self) -> list[BalanceChange]:
        """What the account has."""

    async def margin_positions(self) -> dict[str, Decimal]:
        """What the account holds on margin by symbol, negative where it is short.

        What is not named is flat; nothing is where it is spot only.
        """
