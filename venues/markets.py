"""What is known of a venue's markets, over all connections of a process: books and trade ids.

Books belong to a (instrument, stream) and are emptied by each snapshot; trade memories belong to an
instrument and outlive connections, so that a resubscription repeats no trade. `Interruption`s wait
here for the subscription that ends them, which writes them to the tape as a GAP.
"""

import numpy as np

from schemas.tape import Flag, Kind, MarkerReason
from venues.book import make_books
from venues.holes import Hole, Holes, unclosed_since
from venues.trades import MEMORY, TRADE_MEMORY
from venues.wire import Interruption, Subscription


class Markets:
    """Books, trade memories and open interruptions of one process."""

    def __init__(self, books: int = 8) -> None:
        self.books = make_books(books)
        self.trades = np.zeros(books, TRADE_MEMORY)
        self.version = 0
        """Rises when the arrays are laid elsewhere, or an instrument has its primary book: who
        holds addresses and places of books looks at it."""
        self.interrupted: dict[tuple[int, int], Interruption] = {}
        self.holes: Holes | None = None
        """What gaps have swallowed of trades; set by who fills them, before anything is recovered
        or decoded. A venue whose trades have no ids has none."""
        self._unfinished: dict[tuple[int, int], Hole] = {}
        self._book_index: dict[tuple[int, int], int] = {}
        self._primary: dict[int, int] = {}
        self._trade_index: dict[int, int] = {}

    def book(self, subscription: Subscription) -> int:
        """Index of the book of a stream, made if it is new."""
        key = (subscription.instrument.index, subscription.stream.index)
        index = self._book_index.setdefault(key, len(self._book_index))
        if index == len(self.books):
            self.books = np.concatenate([self.books, make_books(len(self.books))])
            self.version += 1
        if subscription.primary and self._primary.get(subscription.instrument.index) != index:
            self._primary[subscription.instrument.index] = index
            self.version += 1
        return index

    def indices(self) -> dict[tuple[int, int], int]:
        """Index of every book by (instrument, stream)."""
        return dict(self._book_index)

    def primary_book(self, instrument: int) -> int:
        """Index of an instrument's primary book, -1 while it has none."""
        return self._primary.get(instrument, -1)

    def trade_memory(self, instrument: int) -> int:
        """Index of an instrument's trade memory, made if it is new."""
        index = self._trade_index.setdefault(instrument, len(self._trade_index))
        if index == len(self.trades):
            self.trades = np.concatenate([self.trades, np.zeros(len(self.trades), TRADE_MEMORY)])
            self.version += 1
        return index

    def recall_trades(self, instrument: int, ids: np.ndarray, times_ns: np.ndarray) -> None:
        """Fill an instrument's memory with the highest of these ids; those it holds stay known.

        So a tape that is read anew is recalled, and what came over REST is kept in mind: neither
        stands in the order in which it was told.
        """
        if not len(ids):
            return
        memory = self.trades[self.trade_memory(instrument)]
        held = memory["ids"][: min(int(memory["count"]), MEMORY)]
        kept = np.unique(np.concatenate([held, ids]))[-MEMORY:]
        memory["ids"][: len(kept)] = kept
        memory["count"] = len(kept)
        at = int(np.argmax(ids))
        if ids[at] > memory["newest"]:
            memory["newest"], memory["newest_ns"] = ids[at], times_ns[at]

    def newest_trade(self, instrument: int) -> int:
        """The highest trade id known of an instrument, 0 if none is."""
        return int(self.trades[self.trade_memory(instrument)]["newest"])

    def interrupt(self, subscription: Subscription, interruption: Interruption) -> None:
        """Note that a stream is unknown from here on; an earlier, open note stays."""
        key = (subscription.instrument.index, subscription.stream.index)
        self.interrupted.setdefault(key, interruption)

    def recover(self, slots: np.ndarray, wanted: list[Subscription]) -> None:
        """Trade ids, and for each stream since when it is unknown, from the tape's newest slots."""
        if not len(slots):
            return
        trades = slots[(slots["kind"] == Kind.TRADE) & (slots["id_low"] != 0)]
        for instrument in np.unique(trades["instrument"]):
            mine = trades[trades["instrument"] == instrument]
            self.recall_trades(int(instrument), mine["id_low"].astype(np.int64), mine["event_ns"])
        for subscription in wanted:
            if subscription.stream.channel == "trades" and self.holes is not None:
                self._recover_hole(slots, trades, subscription)
        # What came late, over REST too, says nothing of how long a connection was there.
        slots = slots[slots["flags"] & Flag.BACKFILLED == 0]
        ends = {int(epoch): _end_of(slots, epoch) for epoch in np.unique(slots["epoch"])}
        for subscription in wanted if len(slots) else []:
            mine = slots[
                (slots["instrument"] == subscription.instrument.index)
                & (slots["stream"] == subscription.stream.index)
            ]
            epoch = int((mine if len(mine) else slots)["epoch"][-1])
            self.interrupt(subscription, ends[epoch])

    # ---- holes

    def open_hole(
        self, subscription: Subscription, since: Interruption, *, epoch: int, to_recv_ns: int
    ) -> None:
        """A trades stream goes on behind a gap; nothing if nobody fills holes."""
        if self.holes is None:
            return
        self.settle_holes()
        memory = self.trades[self.trade_memory(subscription.instrument.index)]
        memory["oldest_told"] = 0
        key = (subscription.instrument.index, subscription.stream.index)
        hole = self._unfinished.pop(key, None) or Hole(
            subscription=subscription,
            since=since,
            last=int(memory["newest"]),
            last_ns=int(memory["newest_ns"]),
            epoch=epoch,
            to_recv_ns=to_recv_ns,
            told=set(),
        )
        hole.epoch, hole.to_recv_ns = epoch, to_recv_ns
        self.holes.open(hole)

    def settle_holes(self) -> None:
        """Note where holes end whose stream has told a trade by now."""
        for hole in self.holes.waiting if self.holes is not None else []:
            if not hole.first:
                memory = self.trades[self.trade_memory(hole.subscription.instrument.index)]
                hole.first = int(memory["oldest_told"])

    def _recover_hole(
        self, slots: np.ndarray, trades: np.ndarray, subscription: Subscription
    ) -> None:
        """Take up the hole that an earlier life left, as far as it was filled."""
        found = unclosed_since(slots, subscription)
        if found is None:
            return
        before, since = found
        index = subscription.instrument.index
        mine = trades[trades["instrument"] == index]
        known = before[(before["kind"] == Kind.TRADE) & (before["instrument"] == index)]
        if not len(known):
            return
        newest = known[int(np.argmax(known["id_low"]))]
        hole = Hole(
            subscription=subscription,
            since=since,
            last=int(newest["id_low"]),
            last_ns=int(newest["event_ns"]),
            epoch=0,
            to_recv_ns=0,
            told=set(),
        )
        hole.told.update(number for number in mine["id_low"].tolist() if hole.holds(number))
        self._unfinished[index, subscription.stream.index] = hole


def _end_of(slots: np.ndarray, epoch: int) -> Interruption:
    """The last that the tape knows of a connection."""
    mine = slots[slots["epoch"] == epoch]
    told = mine[mine["kind"] != Kind.MARKER]
    times = told["event_ns"][told["kind"] != Kind.TRADE]  # a trade's time is older than its frame
    return Interruption(
        epoch=epoch,
        venue_sequence=int(mine["venue_sequence"].max()),
        event_ns=int(times.max()) if len(times) else 0,
        recv_ns=int(mine["recv_ns"].max()),
        reason=MarkerReason.COLLECTOR_RESTART,
    )
