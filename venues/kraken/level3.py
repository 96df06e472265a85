"""Kraken's level3: a book order by order, in queue order, with the venue's truncation and checksum.

Rules (docs.kraken.com "L3 checksum (WebSocket v2)", and recordings): no delete comes for price
levels that leave the subscribed depth, so each side is cut by *level* after a whole message, and an
order that was cut comes back as a new `add`; orders of one message that join a level's queue stand
in the order of their own timestamps, not of the message; a `modify` keeps its place in the queue
unless its quantity grows or its price changes; the checksum is over the orders of the best ten
levels, oldest first, asks before bids.

Parsing and applying are apart: a message is applied whole or not at all.
"""

import zlib
from bisect import bisect_left
from collections import Counter
from typing import Any, Final

from msgspec import Struct

from schemas.errors import DecodeError
from schemas.ids import pack_text_id
from schemas.tape import Side
from venues.names import time_ns
from venues.numbers import NumberText, as_number

CHECKSUM_LEVELS: Final = 10
LONGEST_NUMBER: Final = 40


class Order(Struct):
    """One resting order.

    `price_text` and `quantity_text` are the wire's own digits, `check_text` what of them is in the
    checksum, `packed` the id's two words on the tape.
    """

    order_id: str
    side: Side
    price: float
    quantity: float
    price_text: str
    quantity_text: str
    check_text: str
    packed: tuple[int, int]
    time_ns: int

    @property
    def rank(self) -> float:
        """What levels are sorted by: smaller is better."""
        return -self.price if self.side == Side.BID else self.price


class Entry(Struct, frozen=True):
    """What a message says of one order."""

    order: Order
    is_delete: bool


class Change(Struct, frozen=True):
    """What became of the book: an order set or taken out, by the message or (derived) by a cut."""

    order: Order
    is_delete: bool
    is_derived: bool = False


class _Levels:
    """One side: queues by rank, best first. A queue is a dict, which keeps its order."""

    def __init__(self) -> None:
        self.ranks: list[float] = []
        self.queues: dict[float, dict[str, Order]] = {}

    def append(self, order: Order) -> None:
        queue = self.queues.get(order.rank)
        if queue is None:
            self.ranks.insert(bisect_left(self.ranks, order.rank), order.rank)
            queue = self.queues[order.rank] = {}
        queue[order.order_id] = order

    def remove(self, order: Order) -> None:
        queue = self.queues[order.rank]
        del queue[order.order_id]
        if not queue:
            del self.queues[order.rank]
            del self.ranks[bisect_left(self.ranks, order.rank)]

    def beyond(self, depth: int) -> list[Order]:
        """The orders of all levels below the depth."""
        return [o for rank in self.ranks[depth:] for o in self.queues[rank].values()]


class Level3Book:
    """The book of one symbol.

    Args:
        depth: price levels a side that the subscription covers.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.missed = 0
        """Deletes of orders that were not there."""
        self._orders: dict[str, Order] = {}
        self._sides = {Side.BID: _Levels(), Side.ASK: _Levels()}

    def apply_snapshot(self, entries: list[Entry], checksum: int | None) -> list[Change]:
        """Take a parsed snapshot; its queues as the message lists them, where only that is right.

        By their times they are wrong where an amended order has kept its place: its time is new.
        """
        changes = self.apply(entries, is_snapshot=True)
        if checksum is not None and checksum != self.checksum():
            as_listed = self.apply(entries, is_snapshot=True, by_time=False)
            if checksum == self.checksum():
                return as_listed
            changes = self.apply(entries, is_snapshot=True)
        return changes

    def apply(
        self, entries: list[Entry], *, is_snapshot: bool = False, by_time: bool = True
    ) -> list[Change]:
        """Take a parsed message; what changed, in the order in which it did."""
        if is_snapshot:
            self._orders.clear()
            self._sides = {Side.BID: _Levels(), Side.ASK: _Levels()}
        changes = []
        for entry in self._in_queue_order(entries) if by_time else entries:
            if entry.is_delete:
                changes.append(Change(self._take_out(entry.order), is_delete=True))
            else:
                self._put(entry.order)
                changes.append(Change(entry.order, is_delete=False))
        for side in self._sides.values():
            for order in side.beyond(self.depth):
                side.remove(self._orders.pop(order.order_id))
                changes.append(Change(order, is_delete=True, is_derived=True))
        return changes

    def _in_queue_order(self, entries: list[Entry]) -> list[Entry]:
        """The entries so that those joining one queue do so by their own time.

        The others stay where they are, and so does an order that the message names twice.
        """
        times_named = Counter(entry.order.order_id for entry in entries)
        joining: dict[tuple[Side, float], list[int]] = {}
        for place, entry in enumerate(entries):
            order = entry.order
            alone = times_named[order.order_id] == 1
            if alone and not entry.is_delete and self._joins(order):
                joining.setdefault((order.side, order.rank), []).append(place)
        sorted_entries = list(entries)
        for places in joining.values():
            by_time = sorted(places, key=lambda place: entries[place].order.time_ns)
            for place, source in zip(places, by_time, strict=True):
                sorted_entries[place] = entries[source]
        return sorted_entries

    def _joins(self, order: Order) -> bool:
        """Whether an order goes to the end of a queue, not to the place that it has."""
        known = self._orders.get(order.order_id)
        return (
            known is None
            or (known.side, known.rank) != (order.side, order.rank)
            or order.quantity > known.quantity
        )

    def _put(self, order: Order) -> None:
        if self._joins(order):
            known = self._orders.get(order.order_id)
            if known is not None:
                self._sides[known.side].remove(known)
            self._sides[order.side].append(order)
        else:
            self._sides[order.side].queues[order.rank][order.order_id] = order
        self._orders[order.order_id] = order

    def _take_out(self, order: Order) -> Order:
        """Remove an order; as it was, or as the message names it where it was not there."""
        known = self._orders.pop(order.order_id, None)
        if known is None:
            self.missed += 1
            return order
        self._sides[known.side].remove(known)
        return known

    def checksum(self) -> int:
        """The unsigned CRC-32 that the venue would send now."""
        parts: list[str] = []
        for name in (Side.ASK, Side.BID):
            side = self._sides[name]
            for rank in side.ranks[:CHECKSUM_LEVELS]:
                parts += [order.check_text for order in side.queues[rank].values()]
        return zlib.crc32("".join(parts).encode())

    def orders(self, side: Side, levels: int) -> list[list[Order]]:
        """The best levels of a side, each its orders in queue order."""
        found = self._sides[side]
        return [list(found.queues[rank].values()) for rank in found.ranks[:levels]]

    def report(self) -> dict[str, Any]:
        """Levels and orders a side, and the best ten levels with their orders, for `ingest`."""
        told: dict[str, Any] = {"depth": self.depth, "orders": len(self._orders)}
        for name, side in (("bids", Side.BID), ("asks", Side.ASK)):
            found = self._sides[side]
            told[name] = len(found.ranks)
            told[f"top_{name}"] = [
                [queue[0].price_text, [[o.order_id, o.quantity_text] for o in queue]]
                for queue in self.orders(side, CHECKSUM_LEVELS)
            ]
        return told


def _bare(text: str) -> str:
    """A number's digits without point and leading zeros."""
    return text.replace(".", "").lstrip("0")


def read_entries(rows: list[Any], side: Side, *, is_snapshot: bool) -> list[Entry]:
    """A side's list of a message.

    Raises:
        DecodeError, KeyError, TypeError: a row is not as it must be.
    """
    entries = []
    for row in rows:
        event = "add" if is_snapshot else row["event"]
        if event not in {"add", "modify", "delete"}:
            raise DecodeError(f"an order cannot {event!r}")
        price, quantity = as_number(row["limit_price"]), as_number(row["order_qty"])
        is_delete = event == "delete"
        if not price > 0 or quantity < 0 or (not is_delete and not quantity):
            raise DecodeError("an order without price or quantity")
        price_text, quantity_text = _digits(price), _digits(quantity)
        order = Order(
            order_id=row["order_id"],
            side=side,
            price=float(price),
            quantity=float(quantity),
            price_text=price_text,
            quantity_text=quantity_text,
            check_text=_bare(price_text) + _bare(quantity_text),
            packed=pack_text_id(row["order_id"]),
            time_ns=time_ns(row["timestamp"]),
        )
        entries.append(Entry(order, is_delete=is_delete))
    return entries


def _digits(number: NumberText) -> str:
    if len(number.text) > LONGEST_NUMBER or "e" in number.text.lower():
        raise DecodeError(f"{number.text[:50]} is no price or quantity")
    return number.text
