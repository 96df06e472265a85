"""What execution asks of a broker. A broker lives in a thread of its own; both ways are bounded."""

import queue
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct

from schemas.trading import BrokerEvent, Intent

QUEUE_EVENTS: Final = 10_000
QUEUE_COMMANDS: Final = 1_000

Events = queue.Queue[BrokerEvent]


class Outstanding(Struct, frozen=True, kw_only=True):
    """An order that a broker must answer for: what the ledger has of it."""

    intent: Intent
    venue_order_id: str = ""
    fill_ids: frozenset[str] = frozenset()
    """Fills that need not be told again; a fill told twice does no harm."""
    filled: str = "0"
    """What those fills come to."""
    open: bool = True
    """False: closed as far as we know; only fills that came late are wanted of it."""


class Broker(Protocol):
    """One account at one place.

    Events come through the queue it was made with. A call never blocks and never raises for what
    the venue does: that comes as an event, `OrderUnknown` where nobody can say; then the broker
    goes on asking until it can say more. It tells `AccountConnected` when its venue can be asked
    (whoever needs no connection tells it at its start), `AccountAway` when it cannot, and after
    `AccountAway` sends nothing before `reconcile` was called and answered with `Reconciled`. It
    asks the gate (`gate.py`) immediately before each write of an order, and tells an order that
    was refused there as `OrderExpired`. A command id is sent to a venue at most once, whatever
    happens.
    """

    @property
    def error(self) -> BaseException | None:
        """What ended its thread, if something did: execution ends too, and asks in a new life."""

    def start(self) -> None:
        """Begin; connect where there is something to connect to."""

    def submit(self, intent: Intent) -> bool:
        """Hand an order over; False if it provably was not."""

    def cancel(self, command_id: str) -> bool:
        """Ask for a cancel; False if it provably was not asked for."""

    def cancel_all(self) -> bool:
        """Ask for the cancel of every order of the account, those that are not ours too."""

    def reconcile(self, outstanding: Sequence[Outstanding]) -> bool:
        """Tell all that is known of these orders, and what the account holds; then `Reconciled`.

        An order that the venue provably never had is `OrderExpired`. False if it was not asked.
        """

    def settle(self, command_id: str, venue_order_id: str) -> bool:
        """Take a person's word on an order in doubt: its id at the venue; empty: it is not there.

        False if it was not taken: nothing is ever in doubt here, or the queue is full.
        """

    def close(self) -> None:
        """End the thread."""
