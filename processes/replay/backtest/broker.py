"""The backtest's broker: a venue that fills from recorded tapes, in event time.

A market order walks the ten levels of the book it meets; what they cannot fill is cancelled. A
limit order takes what is at its price or better, then rests in the queue of its price
(`queueing.py`) and is filled by trades when the queue before it is used up, by trades beyond its
price, and by quotes of the other side that reach it. Whatever one of our orders had of a level is
not there for another as long as the level stands. While the stream is broken nothing is filled:
orders wait for the next whole book, and those that rest go to the back of the queue there.

Never looks further than it is told, and looks at no event while nothing is at stake.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec
import numpy as np

from processes.execution.fills import Level, fault, fee_of, fill_id, walk, worse
from processes.fees import fees_by_instrument
from processes.replay.backtest.queueing import ZERO, Place
from processes.replay.backtest.tops import SAME_PRICE, Tops
from schemas.instruments import Instrument
from schemas.settings import Settings
from schemas.tape import LEVELS, Kind, Side
from schemas.trading import (
    Intent,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderFilled,
    OrderRejected,
)

_TRADE, _BOOK = int(Kind.TRADE), int(Kind.BOOK_LEVEL)
_TAKERS: Final = {"buy": (int(Side.ASK), int(Side.NONE)), "sell": (int(Side.BID), int(Side.NONE))}
"""Sides of trades that can hit a resting order of ours: a seller's hits our bid."""


class Execution(NamedTuple):
    """A fill, and what it was made against; for the report."""

    intent: Intent
    told: OrderFilled
    maker: bool
    middle: float
    """Middle price when the order arrived, or when it was hit."""
    best: Decimal
    """The best price on the side that the order took from; its own if it was hit."""


class Resting(msgspec.Struct):
    """An order that the venue has."""

    intent: Intent
    remaining: Decimal
    limit: Decimal | None
    place: Place
    fills: int = 0
    is_met: bool = False
    """It has met a book: what is left of it rests."""


class TapeBroker:
    """One account at all venues of the recording.

    Args:
        tell: takes what happened and when; called in the order of time. note: takes every fill.
    """

    def __init__(
        self,
        tops: Tops,
        instruments: list[Instrument],
        settings: Settings,
        tell: Callable[[OrderEvent, int], None],
        note: Callable[[Execution], None],
    ) -> None:
        self._tops = tops
        self._quotes = {item.index: item.pair.partition("/")[2] for item in instruments}
        self._fees = fees_by_instrument(instruments, settings)
        self._share = Decimal(str(settings.backtest.cancels_ahead))
        self._tell = tell
        self._note = note
        self._orders: dict[str, Resting] = {}
        self._known: set[str] = set()

    def submit(self, intent: Intent, now_ns: int) -> None:
        """An order has arrived. `look` has been called up to now."""
        number = intent.command_id
        if number in self._known:
            return  # a venue with client ids does nothing twice
        self._known.add(number)
        if why := fault(intent, self._quotes):
            self._tell(OrderRejected(number, now_ns, why), now_ns)
            return
        limit = Decimal(intent.limit_price) if intent.kind == "limit" else None
        order = Resting(intent, Decimal(intent.quantity), limit, Place(self._share))
        self._orders[number] = order
        self._tops.advance(now_ns)
        self._tell(OrderAccepted(number, f"tape-{number[:12]}", now_ns), now_ns)
        self._meet(order, now_ns)
        self._watch(intent.instrument)

    def cancel(self, command_id: str, now_ns: int) -> None:
        """A cancel has arrived. `look` has been called up to now."""
        order = self._orders.pop(command_id, None)
        if order is not None:
            self._tell(OrderCanceled(command_id, now_ns, "cancelled on request"), now_ns)
            self._watch(order.intent.instrument)

    def look(self, until_ns: int) -> bool:
        """Follow the tapes up to a time or to the first event that did something; if it did."""
        while self._orders:
            found = self._tops.next_event(until_ns)
            if found is None:
                return False
            if self._see(*found):
                return True
        return False

    def close(self, now_ns: int) -> None:
        """The tapes have ended."""
        for number in list(self._orders):
            self._end(self._orders[number], now_ns, "the tape has ended")

    # ---- orders

    def _watch(self, instrument: int) -> None:
        on = any(order.intent.instrument == instrument for order in self._orders.values())
        self._tops.watch(instrument, on=on)

    def _end(self, order: Resting, now_ns: int, why: str = "") -> None:
        del self._orders[order.intent.command_id]
        if why:
            self._tell(OrderCanceled(order.intent.command_id, now_ns, why), now_ns)
        self._watch(order.intent.instrument)

    def _meet(self, order: Resting, now_ns: int) -> None:
        """An order meets the book for the first time, if there is one."""
        intent = order.intent
        if not self._tops.is_whole(intent.instrument):
            return
        order.is_met = True
        levels = self._tops.levels(intent.instrument, asks=intent.side == "buy")
        taken = self._tops.taken(intent.instrument, intent.side == "buy")
        for fill in walk(levels, taken, order.remaining, intent.side, order.limit):
            self._fill(order, fill, now_ns, levels[0].price, maker=False)
        if order.remaining <= 0:
            self._end(order, now_ns)
        elif order.limit is None:
            self._end(order, now_ns, "the book had no more")
        else:
            self._look_at_level(order, now_ns)

    def _fill(
        self, order: Resting, fill: Level, now_ns: int, best: Decimal, *, maker: bool
    ) -> None:
        intent = order.intent
        order.remaining -= fill.size
        order.fills += 1
        fees = self._fees[intent.instrument]
        fee = fee_of(fill.price, fill.size, fees.maker_bps if maker else fees.taker_bps)
        told = OrderFilled(
            intent.command_id,
            fill_id(intent, order.fills),
            f"{fill.price:f}",
            f"{fill.size:f}",
            f"{fee:f}",
            self._quotes[intent.instrument],
            now_ns,
        )
        self._note(Execution(intent, told, maker, self._tops.middle(intent.instrument), best))
        self._tell(told, now_ns)

    # ---- events of the tape

    def _see(self, now_ns: int, slot: np.void) -> bool:
        """One event of a watched instrument; True if it did something to an order."""
        instrument, kind = int(slot["instrument"]), int(slot["kind"])
        done = False
        for order in list(self._orders.values()):
            if order.intent.instrument != instrument:
                continue
            remaining = order.remaining
            if not self._tops.is_whole(instrument):
                order.place.forget()
            elif not order.is_met:
                self._meet(order, now_ns)
            elif kind == _TRADE:
                self._see_trade(order, slot, now_ns)
            elif kind == _BOOK:
                self._see_book(order, now_ns)
            done |= order.remaining != remaining or order.intent.command_id not in self._orders
        return done

    def _see_trade(self, order: Resting, slot: np.void, now_ns: int) -> None:
        assert order.limit is not None
        side = order.intent.side
        if int(slot["side"]) not in _TAKERS[side]:
            return
        price, size = Decimal(repr(float(slot["price"]))), Decimal(repr(float(slot["size"])))
        if price == order.limit:
            size = order.place.on_trade(size, now_ns) if int(slot["side"]) else ZERO
        elif not worse(order.limit, price, side):
            return  # before it came to our price
        self._hit(order, size, now_ns)

    def _see_book(self, order: Resting, now_ns: int) -> None:
        assert order.limit is not None
        intent = order.intent
        is_buy = intent.side == "buy"
        levels = self._tops.levels(intent.instrument, asks=is_buy)
        if levels and not worse(levels[0].price, order.limit, intent.side):
            taken = self._tops.taken(intent.instrument, is_buy)
            reached = walk(levels, taken, order.remaining, intent.side, order.limit)
            self._hit(order, sum((level.size for level in reached), ZERO), now_ns)
        if order.remaining > 0:
            self._look_at_level(order, now_ns)

    def _look_at_level(self, order: Resting, now_ns: int) -> None:
        """See how much stands at the order's price, if that is within sight."""
        assert order.limit is not None
        intent = order.intent
        mine = self._tops.levels(intent.instrument, asks=intent.side == "sell")
        size = next((level.size for level in mine if _same(level.price, order.limit)), None)
        if size is None:
            in_sight = len(mine) < LEVELS or not worse(mine[-1].price, order.limit, intent.side)
            if not in_sight:
                return
            size = ZERO
        order.place.on_level(size, now_ns)

    def _hit(self, order: Resting, size: Decimal, now_ns: int) -> None:
        """Somebody has traded with a resting order, at its price."""
        assert order.limit is not None
        amount = min(size, order.remaining)
        if amount > 0:
            self._fill(order, Level(order.limit, amount), now_ns, order.limit, maker=True)
        if order.remaining <= 0:
            self._end(order, now_ns)


def _same(price: Decimal, other: Decimal) -> bool:
    return abs(float(price) - float(other)) <= SAME_PRICE * float(price)
