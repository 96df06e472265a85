"""What execution asks of a broker. A broker lives in a thread of its own; both ways are bounded."""

import queue
from collections.abc import Sequence
from typing import Final, Protocol

from schemas.trading import BrokerEvent, Intent

QUEUE_EVENTS: Final = 10_000

Events = queue.Queue[BrokerEvent]


class Broker(Protocol):
    """One account at one place.

    Events come through the queue it was made with. A call never blocks and never raises for what
    the venue does: that comes as an event, `OrderUnknown` where nobody can say.
    """

    error: BaseException | None
    """What ended its thread, if something did: execution ends too, and asks again in a new life."""

    def start(self) -> None:
        """Begin; connect where there is something to connect to."""

    def submit(self, intent: Intent) -> bool:
        """Hand an order over; False if it provably was not."""

    def cancel(self, command_id: str) -> bool:
        """Ask for a cancel; False if it provably was not asked for."""

    def reconcile(self, command_ids: Sequence[str]) -> None:
        """Tell all that is known of these orders, again; then `Reconciled`."""

    def close(self) -> None:
        """End the thread."""
