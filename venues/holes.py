"""Holes in a stream's trades: the one place that decides which trades a gap has swallowed.

Trade ids of an instrument rise. A hole lies between the newest id that was on the tape when the gap
came and the lowest that the next connection told; both ends are known to the venue, or it is not
filled. Of what a venue lists over REST only ids strictly between the two are missing, and of these
only what has not come onto the tape since: a later snapshot may reach into a hole that is still
being filled. Holes of one stream never overlap.

Never here: requests, time, retries (`processes/collector/backfill.py`).
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Final

import numpy as np
from msgspec import Struct

from schemas import tape
from schemas.errors import AnswerError
from schemas.instruments import Instrument
from schemas.tape import Flag, Kind, Marker, MarkerReason, Side
from venues.wire import Interruption, SlotBlock, Subscription

HOLES_OF_A_STREAM: Final = 8
"""More wait for no stream: while REST fails, connections may break for ever."""


class MissedTrade(Struct, frozen=True, kw_only=True):
    """A trade as REST lists it; `amount` is below 0 where the taker sold."""

    id: int
    event_ns: int
    price: float
    amount: float
    count: int = 1
    """A funding trade's period in days."""


TradesFrom = Callable[[Instrument, int], Awaitable[list[MissedTrade]]]
"""A venue's page of trades from a time on (ns UTC, inclusive), oldest first; VenueError."""


def missed_trade(
    number: int, event_ns: int, price: Decimal, amount: Decimal, count: int = 1
) -> MissedTrade:
    """A row of REST.

    Raises:
        AnswerError: it is no trade.
    """
    if number <= 0 or event_ns <= 0 or price <= 0 or not amount:
        raise AnswerError(f"trade {number} at {event_ns} ns: {amount} at {price}")
    return MissedTrade(
        id=number, event_ns=event_ns, price=float(price), amount=float(amount), count=count
    )


class Hole(Struct, kw_only=True):
    """What is missing of one stream."""

    subscription: Subscription
    since: Interruption
    """As the stream's GAP says it."""
    last: int
    """The newest trade before; 0 = none was known."""
    last_ns: int
    """When the venue says that it was made."""
    epoch: int
    """The connection whose GAP it is."""
    to_recv_ns: int
    first: int = 0
    """The lowest id told behind the hole; 0 = none yet."""
    told: set[int]
    """Ids inside that have come onto the tape since."""
    count: int = 0
    """Trades that were put onto the tape from REST."""

    def holds(self, number: int) -> bool:
        """Whether a trade of this id was missed, as far as is known now."""
        return self.last < number and (not self.first or number < self.first)

    def missing(self, rows: list[MissedTrade]) -> list[MissedTrade]:
        """The rows that the tape lacks, each once, by id."""
        found = {row.id: row for row in rows if self.holds(row.id) and row.id not in self.told}
        return [found[number] for number in sorted(found)]


class Holes:
    """All holes that are not closed, oldest first."""

    def __init__(self) -> None:
        self.waiting: list[Hole] = []
        self.dropped = 0

    def open(self, hole: Hole) -> None:
        """One more; a stream that has had no trade since its last hole's begin has that one still.

        Of too many the second is dropped, since the first may be just being filled: its GAP stays
        unclosed, and the next life of the collector finds it there.
        """
        mine = self.of(hole.subscription)
        if mine and not mine[-1].first:
            mine[-1].to_recv_ns, mine[-1].epoch = hole.to_recv_ns, hole.epoch
            return
        if len(mine) >= HOLES_OF_A_STREAM:
            self.close(mine[1])
            self.dropped += 1
        self.waiting.append(hole)

    def of(self, subscription: Subscription) -> list[Hole]:
        """A stream's holes, oldest first."""
        wanted = _key(subscription)
        return [hole for hole in self.waiting if _key(hole.subscription) == wanted]

    def close(self, hole: Hole) -> None:
        """It is done with."""
        self.waiting = [each for each in self.waiting if each is not hole]

    def note(self, slots: np.ndarray) -> None:
        """Slots that go onto the tape: no trade among them is missing any more."""
        if not self.waiting:
            return
        trades = slots[slots["kind"] == Kind.TRADE]
        if not len(trades):
            return
        for hole in self.waiting:
            ids = trades["id_low"][trades["instrument"] == hole.subscription.instrument.index]
            hole.told.update(number for number in ids.tolist() if hole.holds(number))


def _key(subscription: Subscription) -> tuple[int, int]:
    return subscription.instrument.index, subscription.stream.index


# ---- on the tape


def write_missed(block: SlotBlock, hole: Hole, trades: list[MissedTrade], recv_ns: int) -> int:
    """Trades as slots flagged BACKFILLED; how many slots.

    They carry no book: what it was when they were made is not known.
    """
    slots = block.slots
    slots[: len(trades)] = np.zeros(1, tape.SLOT)
    for at, trade in enumerate(trades):
        slot = slots[at]
        _write_head(slot, hole, Kind.TRADE, recv_ns)
        slot["event_ns"], slot["id_low"] = trade.event_ns, trade.id
        slot["price"], slot["size"] = trade.price, abs(trade.amount)
        slot["side"] = Side.BID if trade.amount > 0 else Side.ASK
        slot["count"] = trade.count
        slot["flags"] |= Flag.FRAME_END
    return len(trades)


def write_closing(
    block: SlotBlock,
    hole: Hole,
    reason: MarkerReason,
    *,
    from_event_ns: int,
    to_event_ns: int,
    recv_ns: int,
) -> int:
    """The marker BACKFILLED behind a hole's trades (`schemas.tape.MARKER`); one slot."""
    block.slots[0] = np.zeros((), tape.SLOT)
    slot = block.slots.view(tape.MARKER)[0]
    _write_head(slot, hole, Kind.MARKER, recv_ns)
    slot["marker"], slot["reason"] = Marker.BACKFILLED, reason
    slot["count"] = hole.count
    slot["id_low"], slot["id_high"] = hole.last, hole.first
    slot["from_epoch"] = hole.since.epoch
    slot["from_venue_sequence"] = hole.since.venue_sequence
    slot["from_recv_ns"], slot["to_recv_ns"] = hole.since.recv_ns, hole.to_recv_ns
    slot["from_event_ns"], slot["to_event_ns"] = from_event_ns, to_event_ns
    return 1


def _write_head(slot: Any, hole: Hole, kind: Kind, recv_ns: int) -> None:
    instrument = hole.subscription.instrument
    slot["recv_ns"], slot["epoch"], slot["kind"] = recv_ns, hole.epoch, kind
    slot["instrument"], slot["stream"] = instrument.index, hole.subscription.stream.index
    slot["flags"] = Flag.BACKFILLED
    if instrument.pair.endswith(":FUNDING"):
        slot["flags"] |= Flag.FUNDING


# ---- from the tape


def unclosed_since(
    slots: np.ndarray, subscription: Subscription
) -> tuple[np.ndarray, Interruption] | None:
    """The oldest GAP of a stream that no BACKFILLED marker closes, where an earlier life ended.

    Returns:
        The slots before it, and what it says; None if there is none.
    """
    index, stream = _key(subscription)
    markers = slots.view(tape.MARKER)
    mine = (slots["kind"] == Kind.MARKER) & (slots["instrument"] == index)
    mine &= slots["stream"] == stream
    closings = markers[mine & (markers["marker"] == Marker.BACKFILLED)]
    for at in np.flatnonzero(mine & (markers["marker"] == Marker.GAP)):
        gap = markers[at]
        covered = (closings["from_recv_ns"] <= gap["from_recv_ns"]) & (
            gap["to_recv_ns"] <= closings["to_recv_ns"]
        )
        if not covered.any():
            return slots[:at], Interruption(
                epoch=int(gap["from_epoch"]),
                venue_sequence=int(gap["from_venue_sequence"]),
                event_ns=int(gap["from_event_ns"]),
                recv_ns=int(gap["from_recv_ns"]),
                reason=int(gap["reason"]),
            )
    return None
