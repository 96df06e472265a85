"""One ring on its way to Redis: a block of its slots is held until Redis has it.

Nothing more is read meanwhile, so what the bridge holds is bounded, and a Redis that stays away
costs slots of the ring: how many, and which, becomes an entry of its own (a gap).

Redis itself says how far it has come (`bridge:positions`, written in the transaction that writes
the entries). Where it says something else than this process believed, it is right: an answer was
lost, or Redis was set back. What it has lost is brought again as long as the ring remembers it.
"""

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from processes.bridge.entries import Entry, body, head
from schemas.streams import GapData
from shm.readers import RingReader

MakeEntries = Callable[[np.ndarray, bool], list[Entry]]
"""Entries of slots; the second argument says whether the bridge is far behind."""


class Source:
    """One ring.

    Args:
        exchange: of the gap entries; empty for a ring of no venue.
        streams: name and length of each stream that the ring feeds: all of them are told of a gap.
        make: from slots to entries.
    """

    def __init__(
        self,
        ring: str,
        session: int,
        reader: RingReader,
        exchange: str,
        streams: Mapping[str, tuple[str, int]],
        make: MakeEntries,
        conflate_lag: int,
        now_ns: Callable[[], int],
    ) -> None:
        self.ring = ring
        self.entries: list[Entry] = []
        """Of the block that is held."""
        self.lost = 0
        """Slots lost so far in this process's life."""
        self._session = session
        self._reader = reader
        self._exchange = exchange
        self._streams = dict(streams)
        self._make = make
        self._conflate_lag = conflate_lag
        self._now_ns = now_ns
        self._believed: int | None = None
        """What Redis has said that it has; None before it was asked, or if it has nothing."""
        self._done = reader.position
        """Everything up to here is done with: a held block begins behind it."""
        self._held = False
        self._emptied = False

    @property
    def position(self) -> int:
        """Sequence of the last slot that was read."""
        return self._reader.position

    @property
    def lag(self) -> int:
        """Slots that are not read yet."""
        return self._reader.committed - self._reader.position

    @property
    def ahead(self) -> bool:
        """Whether Redis does not know yet how far this is."""
        return self._believed != self._reader.position

    @property
    def empty(self) -> bool:
        """Whether there is nothing in the block that Redis need know."""
        return not self.entries

    def fill(self) -> bool:
        """Take the next block, unless one is held; True if there was one."""
        if self._held:
            return False
        lag = self.lag
        slots = self._reader.read()
        lost = self._reader.lost_before
        if not len(slots) and not lost:
            return False
        if lost:
            self.lost += lost
            last = int(slots["sequence"][0]) - 1 if len(slots) else self._reader.position
            self.entries += self._gap("lapped", last - lost + 1, last)
        self.entries += self._make(slots, lag > self._conflate_lag)
        self._held = True
        return True

    def agree(self, stored: Mapping[bytes, bytes]) -> bool:
        """Compare with what Redis says it has. False: the block is void, read again."""
        known = self._position_in(stored)
        if known is None:
            if self._done > 0 and not self._emptied:
                # This session has been here, and Redis does not know: it has been emptied.
                self.entries[:0] = self._gap("emptied", 0, self._done)
                self._held = self._emptied = True
            self._believed = None
            return True
        if known == self._believed:
            return True
        self._believed = known
        if known == self._done:
            return True
        self._reader.seek(min(known, self._reader.committed))
        self._done = self._reader.position
        self._drop()
        return False

    def _position_in(self, stored: Mapping[bytes, bytes]) -> int | None:
        session, _, position = stored.get(self.ring.encode(), b"").partition(b":")
        return int(position) if session == b"%d" % self._session else None

    @property
    def mark(self) -> str:
        """What Redis shall remember."""
        return f"{self._session}:{self._reader.position}"

    def delivered(self) -> None:
        """Redis has the block and the position."""
        self._believed = self._reader.position
        self._emptied = False
        self.passed()

    def passed(self) -> None:
        """The block is done with, whether or not there was anything in it for Redis."""
        self._done = self._reader.position
        self._reader.acknowledge()
        self._drop()

    def _drop(self) -> None:
        self.entries = []
        self._held = False

    def _gap(self, reason: str, first: int, last: int) -> list[Entry]:
        data = GapData(
            reason=reason,  # type: ignore[arg-type]
            ring=self.ring,
            from_sequence=first,
            to_sequence=last,
        )
        text = body(head("gap", self._exchange, ""), self._now_ns(), msgspec.json.encode(data))
        source = f"{self._session}/{self.ring}/{last}"
        return [Entry(name, length, source, text) for name, length in self._streams.values()]
