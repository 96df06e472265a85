"""What is known of a venue's markets, over all connections of a process: books and trade ids.

Books belong to a (instrument, stream) and are emptied by each snapshot; trade memories belong to an
instrument and outlive connections, so that a resubscription repeats no trade. `Interruption`s wait
here for the subscription that ends them, which writes them to the tape as a GAP.
"""

import numpy as np
from msgspec import Struct

from schemas.tape import Flag, Kind, MarkerReason
from venues.book import make_books
from venues.trades import MEMORY, TRADE_MEMORY
from venues.wire import Subscription


class Interruption(Struct, frozen=True, kw_only=True):
    """Since when a stream is unknown: after this frame of that connection."""

    epoch: int
    venue_sequence: int
    event_ns: int
    recv_ns: int
    reason: int


class Markets:
    """Books, trade memories and open interruptions of one process."""

    def __init__(self, books: int = 8) -> None:
        self.books = make_books(books)
        self.trades = np.zeros(books, TRADE_MEMORY)
        self.version = 0
        """Rises when the arrays are laid elsewhere, or an instrument has its primary book: who
        holds addresses and places of books looks at it."""
        self.interrupted: dict[tuple[int, int], Interruption] = {}
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

    def recall_trades(self, instrument: int, ids: np.ndarray) -> None:
        """Fill an instrument's memory from what was on the tape before a restart, oldest first."""
        memory = self.trades[self.trade_memory(instrument)]
        kept = ids[-MEMORY:]
        memory["ids"][: len(kept)] = kept
        memory["count"] = len(kept)
        memory["newest"] = int(ids.max()) if len(ids) else 0

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
            ids = trades["id_low"][trades["instrument"] == instrument]
            self.recall_trades(int(instrument), ids.astype(np.int64))
        ends = {int(epoch): _end_of(slots, epoch) for epoch in np.unique(slots["epoch"])}
        for subscription in wanted:
            mine = slots[
                (slots["instrument"] == subscription.instrument.index)
                & (slots["stream"] == subscription.stream.index)
            ]
            epoch = int((mine if len(mine) else slots)["epoch"][-1])
            self.interrupt(subscription, ends[epoch])


def _end_of(slots: np.ndarray, epoch: int) -> Interruption:
    """The last that the tape knows of a connection."""
    mine = slots[slots["epoch"] == epoch]
    told = mine[(mine["kind"] != Kind.MARKER) & (mine["flags"] & Flag.BACKFILLED == 0)]
    times = told["event_ns"][told["kind"] != Kind.TRADE]  # a trade's time is older than its frame
    return Interruption(
        epoch=epoch,
        venue_sequence=int(mine["venue_sequence"].max()),
        event_ns=int(times.max()) if len(times) else 0,
        recv_ns=int(mine["recv_ns"].max()),
        reason=MarkerReason.COLLECTOR_RESTART,
    )
