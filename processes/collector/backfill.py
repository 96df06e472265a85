"""Fills holes in trades streams over the venue's REST, beside the sockets and never in their way.

What a hole is and which trades it misses `venues/holes.py` decides; here is when to ask. One hole
is filled after another, a page at a time, oldest first. A page is asked for through the client that
keeps the machine's pace; what it brings goes onto the tape at once, flagged BACKFILLED, so a
process that is killed has lost nothing: the next one finds the gap unclosed and goes on. A marker
BACKFILLED closes each hole and says whether it is whole.

REST that fails, after the client's own retries, costs its hole and nothing else. Bounded: pages and
time for a hole (settings), trades of a page (the venue's), holes of a stream.
"""

import asyncio
from collections.abc import Callable

from msgspec import Struct

from processes.collector.tape import Publisher
from processes.logs import Log
from schemas.errors import VenueError
from schemas.tape import MarkerReason
from venues.holes import (
    Hole,
    Holes,
    MissedTrade,
    TradesFrom,
    write_closing,
    write_missed,
)
from venues.markets import Markets
from venues.wire import SlotBlock

LOOK_S = 0.2
BLOCK_SLOTS = 1024
LATE_S = 2.0
"""A list that does not yet hold what the stream has told is asked for again after this."""
LATE_TRIES = 5


class Limits(Struct, frozen=True, kw_only=True):
    """What the settings allow for a hole."""

    longest_s: float
    timeout_s: float
    pages: int


class Backfill:
    """One venue's holes and who fills them.

    Args:
        markets: have their `holes` from here on; before anything is recovered or decoded.
        fetch: the venue's pages of trades. tape: where they go. now_ns: the session's clock.
    """

    def __init__(
        self,
        markets: Markets,
        fetch: TradesFrom,
        tape: Publisher,
        *,
        limits: Limits,
        now_ns: Callable[[], int],
        log: Log,
    ) -> None:
        self.holes = markets.holes = Holes()
        self.trades = 0
        """Trades put onto the tape."""
        self.unfilled = 0
        """Holes that are not whole."""
        self._markets = markets
        self._fetch = fetch
        self._tape = tape
        self._limits = limits
        self._now_ns = now_ns
        self._log = log
        self._block = SlotBlock(BLOCK_SLOTS)

    async def run(self) -> None:
        """Fill holes for ever; ended by cancelling it, at any time."""
        while True:
            self._markets.settle_holes()
            due = next((hole for hole in self.holes.waiting if hole.first or not hole.last), None)
            if due is None:
                await asyncio.sleep(LOOK_S)
            else:
                await self._fill(due)

    async def _fill(self, hole: Hole) -> None:
        """Fetch what is missing of a hole, and close it."""
        journey = _Journey(hole, self._now_ns() - int(self._limits.longest_s * 1e9))
        reason, why = MarkerReason.NONE, ""
        if not hole.last:
            reason, why = MarkerReason.START, "no trade before it is known"
        elif hole.first > hole.last + 1:
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    reason = await self._travel(journey)
                why = _WHY.get(reason, "")
            except TimeoutError:
                reason, why = MarkerReason.TOO_FAR, f"not done in {self._limits.timeout_s:g} s"
            except VenueError as error:
                reason, why = MarkerReason.CONNECT_FAILED, str(error)
        self._close(journey, reason, why)

    async def _travel(self, journey: "_Journey") -> MarkerReason:
        """Page after page until the hole's other end; NONE if it was reached."""
        hole = journey.hole
        late = 0
        for _ in range(self._limits.pages):
            rows = await self._fetch(hole.subscription.instrument, journey.at_ns)
            if not journey.joins(rows):
                return MarkerReason.NOT_JOINED
            self._publish(journey, rows)
            is_newer = journey.go_on(rows)
            if any(row.id == hole.first for row in rows):
                return MarkerReason.TOO_FAR if journey.begins_late else MarkerReason.NONE
            if is_newer:
                late = 0
            elif late == LATE_TRIES or any(row.id > hole.first for row in rows):
                return MarkerReason.INCOMPLETE
            else:
                late += 1
                await asyncio.sleep(LATE_S)
        return MarkerReason.TOO_FAR

    def _publish(self, journey: "_Journey", rows: list[MissedTrade]) -> None:
        """What is missing of a page, onto the tape and into the memory: nothing comes between."""
        hole = journey.hole
        missing = hole.missing(rows)
        for start in range(0, len(missing), BLOCK_SLOTS):
            part = missing[start : start + BLOCK_SLOTS]
            count = write_missed(self._block, hole, part, self._now_ns())
            self._put(count)
            slots = self._block.slots[:count]
            self._markets.recall_trades(
                hole.subscription.instrument.index,
                slots["id_low"].astype("i8"),
                slots["event_ns"],
            )
        hole.count += len(missing)
        self.trades += len(missing)

    def _close(self, journey: "_Journey", reason: MarkerReason, why: str) -> None:
        hole = journey.hole
        count = write_closing(
            self._block,
            hole,
            reason,
            from_event_ns=journey.from_ns if journey.pages else 0,
            to_event_ns=journey.at_ns if journey.pages else 0,
            recv_ns=self._now_ns(),
        )
        self._put(count)
        self.holes.close(hole)
        self.unfilled += reason is not MarkerReason.NONE
        told = {"symbol": hole.subscription.instrument.symbol, "trades": hole.count}
        if reason is not MarkerReason.NONE:
            self._log.warning("trades of a gap stay missing", **told, reason=why)
        elif hole.count:
            self._log.info("trades of a gap were fetched", **told)

    def _put(self, count: int) -> None:
        self.holes.note(self._block.slots[:count])
        self._tape.recv_ns = self._now_ns()
        self._tape.publish(self._block, count)


_WHY = {
    MarkerReason.TOO_FAR: "further back, or more, than the settings allow",
    MarkerReason.NOT_JOINED: "the venue's list does not hold the trade that was known last",
    MarkerReason.INCOMPLETE: "the venue's list ends before what the stream told next",
}


class _Journey:
    """How far the fetching of a hole has come, by the venue's clock."""

    def __init__(self, hole: Hole, oldest_ns: int) -> None:
        self.hole = hole
        self.begins_late = hole.last_ns < oldest_ns
        """Trades older than the settings allow are left out."""
        self.from_ns = self.at_ns = max(hole.last_ns, oldest_ns)
        self.pages = 0
        self._newest = 0

    def joins(self, rows: list[MissedTrade]) -> bool:
        """Whether the list is the stream's: its first page holds the trade that was known last."""
        is_first, self.pages = not self.pages, self.pages + 1
        return not is_first or self.begins_late or any(row.id == self.hole.last for row in rows)

    def go_on(self, rows: list[MissedTrade]) -> bool:
        """Go to where a page ends; false if it brought nothing newer."""
        newest = max((row.id for row in rows), default=0)
        if newest <= self._newest:
            return False
        self._newest = newest
        self.at_ns = max(row.event_ns for row in rows)
        return True
