"""How an account's events leave, and what goes wrong with its commands and events on request.

Events are told in the order in which they happened, when the exchange's time moves on: the answer
to a command comes before its events. Faults change the way, never the events themselves.
"""

import heapq
from collections.abc import Callable
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from processes.simulator.events import AccountEvent, FillEvent
from processes.simulator.orders import RefusedError

Listener = Callable[[AccountEvent, int], None]
"""Takes an event and the time of telling it, ns."""
Command = Literal["order", "amend", "cancel"]
Lost = Literal["", "request", "answer"]


class Treatment(Struct, frozen=True):
    """What is done to one command, and the order of its answer and its events."""

    lost: Lost = ""
    """request: not taken; answer: taken, and nobody is told."""
    cut: bool = True
    """What is lost is lost with the connection."""
    late_ns: int = 0
    events_first: bool = False


class AccountFaults(Struct):
    """What goes wrong next with one account; counts are of commands or events to come."""

    reject: int = 0
    no_funds: int = 0
    rate_limit: int = 0
    nonce: int = 0
    lose: int = 0
    lose_what: Lost = ""
    lose_command: str = ""
    """Only commands of this kind; empty: whichever comes first."""
    lose_cut: bool = True
    late: int = 0
    late_ns: int = 0
    late_fills: int = 0
    late_fills_ns: int = 0
    doubled: int = 0
    events_first: int = 0
    commands: dict[str, int] = {}
    """How many of each kind have come so far."""
    hold_until_ns: int = 0
    hold_share: Decimal = Decimal(0)
    """Of each order that may fill in spite of it."""

    def takes(self, name: str) -> bool:
        """True for the next so many."""
        left = getattr(self, name)
        if left:
            setattr(self, name, left - 1)
        return bool(left)

    def refuse_order(self) -> None:
        """Refuse an order if that is what was asked for.

        Raises:
            RefusedError: it was.
        """
        if self.takes("reject"):
            raise RefusedError("rejected")
        if self.takes("no_funds"):
            raise RefusedError("insufficient_funds")

    def treatment(self, command: Command) -> Treatment:
        """Count a command, and say what happens to it."""
        self.commands[command] = self.commands.get(command, 0) + 1
        lost: Lost = ""
        if self.lose_command in {"", command} and self.takes("lose"):
            lost = self.lose_what
        return Treatment(
            lost=lost,
            cut=self.lose_cut,
            late_ns=self.late_ns if self.takes("late") else 0,
            events_first=self.takes("events_first"),
        )


class Delivery:
    """The way from an account to everybody who listens."""

    def __init__(self, faults: AccountFaults) -> None:
        self.listeners: list[Listener] = []
        self._faults = faults
        self._waiting: list[tuple[int, int, AccountEvent]] = []
        self._late: dict[int, int] = {}
        """Fills that come late, and when; what follows from them comes with them."""
        self._put = 0

    def put(self, event: AccountEvent) -> None:
        """Take an event that has happened."""
        faults = self._faults
        if isinstance(event, FillEvent) and faults.takes("late_fills"):
            self._late[event.fill] = event.time_ns + faults.late_fills_ns
        due_ns = self._late.get(event.fill, event.time_ns)
        for _ in range(2 if faults.takes("doubled") else 1):
            self._put += 1
            heapq.heappush(self._waiting, (due_ns, self._put, event))

    def pump(self, now_ns: int) -> None:
        """Tell what is due."""
        self._late = {fill: due_ns for fill, due_ns in self._late.items() if due_ns > now_ns}
        while self._waiting and self._waiting[0][0] <= now_ns:
            _, _, event = heapq.heappop(self._waiting)
            for listener in list(self.listeners):
                listener(event, now_ns)
