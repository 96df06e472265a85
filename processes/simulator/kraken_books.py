"""Kraken's books: what a client of `book` or `level3` holds, and what must be said to change it.

The venue sends no delete for what leaves the window of `depth` levels: the client cuts each side
after every message, and a level that comes back is sent whole. So an update names what is other
within the window and deletes only what is gone from the market. Entries of a message stand in no
order; orders of a level that enters are not in queue order. Sources: pages book and level3 of
Spot WebSocket v2, guides book-checksum-v2 and l3-checksum-v2.
"""

import random
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from msgspec import Struct

from processes.simulator.checksums import KRAKEN_LEVELS, kraken_checksum
from processes.simulator.market import BookSide, Market, Order
from processes.simulator.numbers import UNIT_DECIMALS, fixed_text, time_text

BOOK_DEPTHS = (10, 25, 100, 500, 1000)
LEVEL3_DEPTHS = (10, 100, 1000)
REPEATED = 0.05
"""Of changed levels: two entries for one price in a message; the last one counts."""
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
SIDES: tuple[BookSide, BookSide] = (1, -1)


@lru_cache(131_072)
def _level_texts(price: int, decimals: int, units: int) -> tuple[str, str]:
    return fixed_text(price, decimals), fixed_text(units, UNIT_DECIMALS)


class PairText:
    """A market's numbers as Kraken writes them: with the fixed decimals of the pair."""

    def __init__(self, market: Market) -> None:
        exponent = market.tick.as_tuple().exponent
        assert isinstance(exponent, int)
        self.decimals = max(0, -exponent)
        self._scale = int(market.tick.scaleb(self.decimals))

    def price(self, ticks: int) -> str:
        """Ticks with the pair's price decimals."""
        return fixed_text(ticks * self._scale, self.decimals)

    def quantity(self, units: int) -> str:
        """Units with eight decimals, whatever the pair."""
        return fixed_text(units, UNIT_DECIMALS)

    def level(self, ticks: int, units: int) -> tuple[str, str]:
        """Price and quantity."""
        return _level_texts(ticks * self._scale, self.decimals, units)

    def average(self, turnover: int, units: int) -> str:
        """A volume-weighted price."""
        return self.price(0 if not units else round(turnover / units))


MULTIPLIER = 0x9E3779B97F4A7C15
"""Odd, so that no two numbers below 2^75 share their letters, and letters tell the number."""


def order_text(number: int, kind: str = "O") -> str:
    """An order's id in the venue's form, OXXXXX-XXXXX-XXXXXX; other kinds begin otherwise."""
    value = number * MULTIPLIER % (1 << 75)
    letters = "".join(BASE32[value >> 5 * place & 31] for place in range(15))
    return f"{kind}{letters[:5]}-{letters[5:10]}-{letters[10:]}{BASE32[number % 32]}"


def order_number(text: str) -> int:
    """The number whose `order_text` this is; -1 if it is of none."""
    letters = text[1:].replace("-", "")
    if len(letters) != 16 or any(letter not in BASE32 for letter in letters):
        return -1
    value = sum(BASE32.index(letter) << 5 * place for place, letter in enumerate(letters[:15]))
    number = value * pow(MULTIPLIER, -1, 1 << 75) % (1 << 75)
    return number if order_text(number, text[0]) == text else -1


class BookWindow:
    """The price levels that one client holds."""

    def __init__(self, market: Market, depth: int, draw: random.Random) -> None:
        self.market = market
        self.depth = depth
        self.version = -1
        self._text = PairText(market)
        self._draw = draw
        self._held: dict[BookSide, dict[int, int]] = {1: {}, -1: {}}

    def snapshot(self) -> tuple[str, str]:
        """All bids and all asks, best first."""
        self.version = self.market.version
        self._held = {side: self._window(side) for side in SIDES}
        bids, asks = (
            ",".join(self._entry(ticks, units) for ticks, units in self._held[side].items())
            for side in SIDES
        )
        return bids, asks

    def changes(self) -> tuple[str, str]:
        """Bids and asks of the update that brings the client up to date; both may be empty."""
        self.version = self.market.version
        return self._side_changes(1), self._side_changes(-1)

    def checksum(self) -> int:
        """Of the best ten levels that the client holds now."""
        asks, bids = (
            [
                self._text.level(ticks, units)
                for ticks, units in islice(self._held[side].items(), KRAKEN_LEVELS)
            ]
            for side in (-1, 1)
        )
        return kraken_checksum(asks, bids)

    def _window(self, side: BookSide) -> dict[int, int]:
        return {ticks: units for ticks, _, units in self.market.levels(side, self.depth)}

    def _side_changes(self, side: BookSide) -> str:
        held, shown = self._held[side], self._window(side)
        if held == shown:
            self._held[side] = shown
            return ""
        changed = [(ticks, units) for ticks, units in shown.items() if held.get(ticks) != units]
        changed += [
            (ticks, 0)
            for ticks in held
            if ticks not in shown and not self.market.queue(side, ticks)
        ]
        self._held[side] = shown
        if len(changed) > 1:
            self._draw.shuffle(changed)
        entries = []
        for ticks, units in changed:
            if self._draw.random() < REPEATED:
                entries.append(self._entry(ticks, 0 if units else 1000))
            entries.append(self._entry(ticks, units))
        return ",".join(entries)

    def _entry(self, ticks: int, units: int) -> str:
        return f'{{"price":{self._text.price(ticks)},"qty":{self._text.quantity(units)}}}'

    def levels(self, side: BookSide) -> list[tuple[str, str]]:
        """The levels that the client ought to hold: (price, quantity) texts, best first."""
        return [self._text.level(*level) for level in self._held[side].items()]


class HeldOrder(Struct, frozen=True):
    """An order as it was last told to a client."""

    number: int
    ticks: int
    units: int
    time_ns: int


class Level3Window:
    """The orders that one client holds: all orders of the best `depth` price levels."""

    def __init__(self, market: Market, depth: int, draw: random.Random) -> None:
        self.market = market
        self.depth = depth
        self.version = -1
        self._text = PairText(market)
        self._draw = draw
        self._held: dict[BookSide, dict[int, HeldOrder]] = {1: {}, -1: {}}

    def snapshot(self) -> tuple[str, str]:
        """All bids and all asks, best level first and oldest order of a level first."""
        self.version = self.market.version
        self._held = {side: self._window(side) for side in SIDES}
        bids, asks = (
            ",".join(self._entry(order) for order in self._held[side].values()) for side in SIDES
        )
        return bids, asks

    def changes(self, now_ns: int) -> tuple[str, str]:
        """Events of bids and asks; both may be empty."""
        self.version = self.market.version
        return self._side_changes(1, now_ns), self._side_changes(-1, now_ns)

    def checksum(self) -> int:
        """Of the orders in the best ten levels, in queue order."""
        asks, bids = (
            [
                (self._text.price(order.ticks), self._text.quantity(order.units))
                for order in self._best(side)
            ]
            for side in (-1, 1)
        )
        return kraken_checksum(asks, bids)

    def _best(self, side: BookSide) -> Iterator[HeldOrder]:
        seen: set[int] = set()
        for order in self._held[side].values():
            seen.add(order.ticks)
            if len(seen) > KRAKEN_LEVELS:
                return
            yield order

    def _window(self, side: BookSide) -> dict[int, HeldOrder]:
        return {
            order.id: HeldOrder(order.id, order.ticks, order.units, shown_time_ns(order))
            for ticks, _, _ in self.market.levels(side, self.depth)
            for order in self.market.queue(side, ticks)
        }

    def _side_changes(self, side: BookSide, now_ns: int) -> str:
        held, shown = self._held[side], self._window(side)
        self._held[side] = shown
        entries = []
        for number, order in shown.items():
            before = held.get(number)
            if before is None:
                entries.append(self._event("add", order))
            elif before.units != order.units:
                entries.append(self._event("modify", order))
        for number, order in held.items():
            if number not in shown and self.market.resting(number) is None:
                gone = HeldOrder(order.number, order.ticks, order.units, now_ns)
                entries.append(self._event("delete", gone))
        if len(entries) > 1:
            self._draw.shuffle(entries)
        return ",".join(entries)

    def _event(self, event: str, order: HeldOrder) -> str:
        return f'{{"event":"{event}",{self._fields(order)}}}'

    def _entry(self, order: HeldOrder) -> str:
        return f"{{{self._fields(order)}}}"

    def _fields(self, order: HeldOrder) -> str:
        return (
            f'"order_id":"{order_text(order.number)}","limit_price":{self._text.price(order.ticks)},'
            f'"order_qty":{self._text.quantity(order.units)},'
            f'"timestamp":"{time_text(order.time_ns, 9)}"'
        )

    def orders(self, side: BookSide) -> list[tuple[str, str, str]]:
        """What the client ought to hold: (id, price, quantity) texts, best and oldest first."""
        return [
            (order_text(o.number), self._text.price(o.ticks), self._text.quantity(o.units))
            for o in self._held[side].values()
        ]


def shown_time_ns(order: Order) -> int:
    """When the order says it was placed: ever later within a queue, so that it gives the order."""
    return order.time_ns + order.id
