"""One socket as the venue leads it: what every venue's side of a conversation has in common.

Holds what is done later (late acks, snapshots after acks), the faults waiting to be committed on
this socket, and the venue's conduct, which all of its sockets share. Knows no protocol; never reads
a clock: every call brings the time.
"""

import heapq
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from msgspec import Struct

ANY = "*"
"""In place of a symbol: whichever comes first."""


class Torn(str):
    """A frame of which only the first half goes out; then the connection is cut."""

    __slots__ = ()


class Ping(str):
    """A protocol-level ping instead of a frame."""

    __slots__ = ()


class Faults(Struct):
    """What goes wrong next on one socket; a symbol, `ANY`, or "" for nothing."""

    gap: str = ""
    """The next data frame of this symbol is lost on the way."""
    spoil: str = ""
    """The next checksum of this symbol is wrong."""
    tear: str = ""
    """The next snapshot of this symbol ends in the middle, and with it the connection."""
    heartbeats_only_until_ns: int = 0

    def takes(self, name: str, symbol: str) -> bool:
        """True once, when the fault is meant for this symbol."""
        waiting = getattr(self, name)
        if not waiting or waiting not in {ANY, symbol}:
            return False
        setattr(self, name, "")
        return True


class Conduct(Struct):
    """How a venue treats its clients' requests just now: shared by all of its sockets."""

    operative: bool = True
    limit: int | None = None
    """Subscriptions a connection may have, if not the venue's own number."""
    refuse: int = 0
    """So many subscriptions to come are refused,"""
    refuse_symbol: str = ANY
    """if they are of this symbol."""
    late: int = 0
    """So many acks to come are late,"""
    late_ns: int = 0
    """by this much."""
    twice: int = 0
    """So many subscriptions to come are taken as if they had been sent twice."""

    def refuses(self, symbol: str) -> bool:
        """True if a subscription of this symbol is refused on purpose."""
        if not self.refuse or self.refuse_symbol not in {ANY, symbol}:
            return False
        self.refuse -= 1
        return True

    def delays_ns(self) -> int:
        """How late the next ack is."""
        if not self.late:
            return 0
        self.late -= 1
        return self.late_ns

    def doubles(self) -> bool:
        """True if the next subscription is taken twice."""
        if not self.twice:
            return False
        self.twice -= 1
        return True


class Conversation(ABC):
    """The venue's end of one socket.

    Args:
        send: takes finished frames, in order.
        conduct: the venue's, shared.
    """

    def __init__(self, send: Callable[[str], None], conduct: Conduct | None) -> None:
        self.faults = Faults()
        self.conduct = conduct or Conduct()
        self.ended = False
        """The venue hangs up without a word (1006)."""
        self.unanswered = 0
        """Protocol-level pings in a row without a pong."""
        self.backlog: Callable[[], int] = int
        """Frames given to `send` that have not left yet."""
        self._send = send
        self._later: list[tuple[int, int, Callable[[int], None]]] = []
        self._promises = 0

    @abstractmethod
    def receive(self, text: str, now_ns: int) -> None:
        """One frame from the client."""

    @abstractmethod
    def tick(self, now_ns: int) -> None:
        """Send whatever is due."""

    @abstractmethod
    def announce(self, what: str) -> None:
        """Say `restart`, `maintenance` or `maintenance_end`; a venue without words hangs up."""

    def close(self, now_ns: int) -> None:
        """The socket is gone, whoever ended it: nothing is promised any more."""
        del now_ns
        self._later.clear()

    def pong(self) -> None:
        """The client answered a protocol-level ping."""
        self.unanswered = 0

    def later(self, due_ns: int, action: Callable[[int], None]) -> None:
        """Do something at a time; what is due at the same time is done in the order of asking."""
        self._promises += 1
        heapq.heappush(self._later, (due_ns, self._promises, action))

    def keep_promises(self, now_ns: int) -> None:
        """Do what has come due."""
        while self._later and self._later[0][0] <= now_ns:
            due_ns, _, action = heapq.heappop(self._later)
            action(max(due_ns, now_ns))

    def send_snapshot(self, symbol: str, frame: str) -> None:
        """Send a snapshot, or the half of it if that fault is waiting."""
        self._send(Torn(frame) if self.faults.takes("tear", symbol) else frame)


def as_object(text: str) -> dict[str, Any] | None:
    """The JSON object of a client's frame, or None."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def seeded(*parts: object) -> random.Random:
    """Random numbers that follow from the parts alone."""
    return random.Random(" ".join(map(str, parts)))  # noqa: S311 (a market, not a secret)
