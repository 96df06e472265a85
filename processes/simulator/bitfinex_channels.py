"""Bitfinex's channels: what a subscription shows of a market, as payload texts.

A book shows a window of `len` levels: what changed since the last frame goes out as updates, what
left the window as deletes, what came in as new levels. Funding (`f` symbols) is a market whose
price is a rate; the period of an offer follows from its order's id, and amounts have the reversed
sign: positive = offer (ask). Sources: pages ws-public-*.

    book P0..P4  [PRICE, COUNT, AMOUNT]    funding [RATE, PERIOD, COUNT, AMOUNT]
    book R0      [ORDER_ID, PRICE, AMOUNT] funding [OFFER_ID, PERIOD, RATE, AMOUNT]
"""

import re
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

from processes.simulator.bitfinex_session import Subscribed
from processes.simulator.checksums import bitfinex_checksum
from processes.simulator.history import Candle, History
from processes.simulator.market import BookSide, Order, Trade
from processes.simulator.numbers import amount_text, number_text, price_text

PRECISIONS = {"P0": 5, "P1": 4, "P2": 3, "P3": 2, "P4": 1}
LENGTHS = ("1", "25", "100", "250")
PERIODS = (2, 30, 120)
"""Days of funding offers."""
PERIOD = re.compile(r"p\d{1,3}")
LIQUIDATED = 40
"""Every so many trades of a derivative one was a liquidation."""
Shown = dict[Any, tuple[BookSide, str]]
"""What a book shows: key → (side, the entry's text)."""


def is_funding(symbol: str) -> bool:
    """True for `fUSD` and its like."""
    return symbol.startswith("f")


def is_derivative(symbol: str) -> bool:
    """True for perpetuals such as tBTCF0:USTF0."""
    return "F0:" in symbol


def symbol_of_key(key: str) -> str:
    """The symbol in a candle's key `trade:TF:SYMBOL`; a trading symbol may hold a colon itself."""
    parts = key.split(":")[2:]
    return parts[0] if parts and is_funding(parts[0]) else ":".join(parts)


def period_of(order: int) -> int:
    """The days of a funding offer."""
    return PERIODS[order % len(PERIODS)]


@lru_cache(65_536)
def level_entry(
    tick: Decimal, side: BookSide, ticks: int, count: int, units: int
) -> tuple[tuple[str, BookSide], tuple[BookSide, str]]:
    """Key and value of a level in a window; most levels are as they were a moment ago."""
    price = price_text(tick, ticks)
    return (price, side), (side, f"{price},{count},{amount_text(side * units)}")


class Channel(Subscribed):
    """One subscription of one client to one market."""

    def __init__(self, number: int, request: dict[str, Any], history: History) -> None:
        super().__init__(number, request, history.market.symbol)
        self.history = history
        self.market = history.market
        self.funding = is_funding(self.symbol)
        self.version = -1
        self.sent: Shown = {}
        self.next_ns = 0
        self.checksum_ns = 0
        self.changed = False
        self.trade_mark = 0
        self.unconfirmed: deque[tuple[int, str]] = deque()
        self.candle_sent: tuple[int, int] = (0, 0)

    # ---- books

    def window(self) -> Shown:
        """What the book shows now."""
        limit = int(self.request["len"])
        raw = self.request["prec"] == "R0"
        shown: Shown = {}
        sides: tuple[BookSide, BookSide] = (1, -1)
        for side in sides:
            if raw:
                shown.update(self._raw_entries(side, limit))
            elif self.funding:
                shown.update(self._funding_entries(side, limit))
            elif self.request["prec"] == "P0":
                tick = self.market.tick
                for ticks, count, units in self.market.levels(side, limit):
                    key, entry = level_entry(tick, side, ticks, count, units)
                    shown[key] = entry
            else:
                for price, count, units in self._levels(side, limit):
                    shown[price, side] = (side, f"{price},{count},{amount_text(side * units)}")
        return shown

    def _raw_entries(
        self, side: BookSide, limit: int
    ) -> Iterator[tuple[int, tuple[BookSide, str]]]:
        orders = sorted(self.market.orders(side, limit), key=lambda o: (-side * o.ticks, o.id))
        for order in orders:
            price = self._price(order.ticks)
            if self.funding:
                amount = amount_text(-side * order.units)
                yield order.id, (side, f"{order.id},{period_of(order.id)},{price},{amount}")
            else:
                yield order.id, (side, f"{order.id},{price},{amount_text(side * order.units)}")

    def _funding_entries(self, side: BookSide, limit: int) -> Iterator[tuple[Any, Any]]:
        groups: dict[tuple[Decimal, int], list[int]] = {}
        for order in self.market.orders(side, 10**9):
            key = (self._rounded(order.ticks, side), period_of(order.id))
            if key not in groups and len(groups) == limit:
                break
            group = groups.setdefault(key, [0, 0])
            group[0] += 1
            group[1] += order.units
        for (rate, period), (count, units) in groups.items():
            text = f"{number_text(rate)},{period},{count},{amount_text(-side * units)}"
            yield (rate, period, side), (side, text)

    def _levels(self, side: BookSide, limit: int) -> Iterator[tuple[str, int, int]]:
        groups: dict[Decimal, list[int]] = {}
        for ticks, count, units in self.market.levels(side, 10**9):
            price = self._rounded(ticks, side)
            if price not in groups and len(groups) == limit:
                break
            group = groups.setdefault(price, [0, 0])
            group[0] += count
            group[1] += units
        for price, (count, units) in groups.items():
            yield number_text(price), count, units

    def _rounded(self, ticks: int, side: BookSide) -> Decimal:
        """The price at the book's precision, away from the other side."""
        price = self.market.price(ticks)
        if self.request["prec"] == "P0":
            return price
        step = Decimal(1).scaleb(price.adjusted() - PRECISIONS[self.request["prec"]] + 1)
        return (price / step).to_integral_value(
            "ROUND_FLOOR" if side == 1 else "ROUND_CEILING"
        ) * step

    def _price(self, ticks: int) -> str:
        return price_text(self.market.tick, ticks)

    def book_changes(self) -> list[str]:
        """Entries that turn what was sent into what is; deletes first, as levels make room."""
        shown = self.window()
        entries = [
            f"[{self._gone(text)},{-side if self.funding else side}]"
            for key, (side, text) in self.sent.items()
            if key not in shown
        ]
        entries += [
            f"[{text}]" for key, (side, text) in shown.items() if self.sent.get(key) != (side, text)
        ]
        self.sent = shown
        return entries

    def _gone(self, text: str) -> str:
        """A delete without its amount: the key with a count, or in raw books a price, of 0."""
        first, second, *_ = text.split(",")
        return f"{first},{second},0" if self.funding else f"{first},0"

    def checksum(self) -> int:
        """CRC-32 of the best 25 levels as they were last sent, signed."""
        sides: dict[BookSide, list[str]] = {1: [], -1: []}
        for side, text in self.sent.values():
            parts = text.split(",")
            sides[side].append(f"{parts[0]}:{parts[-1]}")
        return bitfinex_checksum(sides[1], sides[-1])

    # ---- others

    def trade_text(self, trade: Trade) -> str:
        """`[ID,MTS,AMOUNT,PRICE]`, with the period behind it for funding."""
        period = f",{period_of(trade.maker)}" if self.funding else ""
        amount = amount_text(trade.side * trade.units)
        time_ms = trade.time_ns // 10**6
        return f"[{trade.id},{time_ms},{amount},{self._price(trade.ticks)}{period}]"

    def candle_text(self, candle: Candle) -> str:
        """`[MTS,OPEN,CLOSE,HIGH,LOW,VOLUME]`."""
        prices = (candle.open, candle.close, candle.high, candle.low)
        texts = ",".join(self._price(ticks) for ticks in prices)
        return f"[{candle.start_ms},{texts},{amount_text(candle.units)}]"

    def candles(self) -> deque[Candle]:
        """The candles of the channel's key, oldest first."""
        key = str(self.request["key"])
        timeframe = key.split(":")[1]
        suffix = key.split(":")[3:] if self.funding else []
        history = self.history
        if suffix:
            periods = candle_periods(suffix) or frozenset()
            history = history.part(":".join(suffix), lambda t: period_of(t.maker) in periods)
        return history.candles[timeframe]

    def candles_changed(self) -> list[Candle]:
        """Candles that are other than they were sent, oldest first; they count as sent now."""
        found: list[Candle] = []
        for candle in reversed(self.candles()):
            if (candle.start_ms, candle.count) == self.candle_sent:
                break
            found.append(candle)
            if candle.start_ms <= self.candle_sent[0]:
                break
        if found:
            self.candle_sent = (found[0].start_ms, found[0].count)
        return found[::-1]


def candle_periods(suffix: list[str]) -> frozenset[int] | None:
    """The periods of a funding candle's key: `p30`, or `a30:p2:p30` from 2 to 30; None if wrong."""
    aggregated = len(suffix) == 3 and suffix[0][:1] == "a" and suffix[0][1:].isdigit()
    ends = suffix[1:] if aggregated else suffix
    if len(ends) != 1 + aggregated or not all(PERIOD.fullmatch(end) for end in ends):
        return None
    days = [int(end[1:]) for end in ends]
    return frozenset(range(days[0], days[-1] + 1))


def ticker_text(history: History) -> str:
    """The ticker's fields, without symbol and brackets."""
    if is_funding(history.market.symbol):
        return _funding_ticker_text(history)
    market = history.market
    tick = market.tick
    change, relative = _changes(history)
    fields = [
        price_text(tick, market.best(1) or 0), amount_text(market.depth(1, 25)),
        price_text(tick, market.best(-1) or 0), amount_text(market.depth(-1, 25)),
        number_text(change), number_text(relative), price_text(tick, history.last),
        amount_text(history.volume), price_text(tick, history.high), price_text(tick, history.low),
    ]  # fmt: skip
    return f"{','.join(fields)},null"


def _funding_ticker_text(history: History) -> str:
    """FRR, BID, BID_PERIOD, BID_SIZE, ASK, ASK_PERIOD, ASK_SIZE, changes, LAST .. FRR_AMOUNT."""
    market = history.market
    tick = market.tick
    change, relative = _changes(history)
    rate = Decimal(history.turnover) / history.volume * tick if history.volume else Decimal(0)
    fields = [number_text(round(rate, 18))]
    sides: tuple[BookSide, BookSide] = (1, -1)
    for side in sides:
        first: Order | None = next(iter(market.orders(side, 1)), None)
        fields += [
            price_text(tick, first.ticks if first else 0),
            str(period_of(first.id) if first else 0),
            amount_text(market.depth(side, 25)),
        ]
    fields += [
        number_text(change), number_text(relative), price_text(tick, history.last),
        amount_text(history.volume), price_text(tick, history.high), price_text(tick, history.low),
        "null", "null", amount_text(market.depth(-1, 10**9)),
    ]  # fmt: skip
    return ",".join(fields)


def _changes(history: History) -> tuple[Decimal, Decimal]:
    """Of the price since the market opened: absolute, and as a share."""
    change = history.market.price(history.last - history.open)
    opened = history.market.price(history.open)
    return change, round(change / opened, 8) if history.open else Decimal(0)


STATUS_WRITE_MS = 3_000
FUNDING_EVERY_MS = 8 * 3_600_000


def derivative_text(history: History, now_ns: int) -> str:
    """The 23 fields of `status deriv`, without key and brackets; they change every 3 s.

    The spot price is the last trade's, the mark price the middle of the book; open interest is
    half of all that rests; the funding rate follows from how far mark and spot lie apart.
    """
    market = history.market
    bid, ask = market.best(1) or history.last, market.best(-1) or history.last
    time_ms = now_ns // 10**6 // STATUS_WRITE_MS * STATUS_WRITE_MS
    next_ms = (time_ms // FUNDING_EVERY_MS + 1) * FUNDING_EVERY_MS
    spot = market.price(history.last)
    mark = market.price(bid + ask) / 2
    rate = (mark - spot) / spot if history.last else Decimal(0)
    clamped = round(max(Decimal("-0.0025"), min(Decimal("0.0025"), rate)), 8)
    interest = amount_text((market.depth(1, 10**9) + market.depth(-1, 10**9)) // 2)
    step = (FUNDING_EVERY_MS - (next_ms - time_ms)) // 60_000
    fields = [
        str(time_ms), "null", number_text(mark), number_text(spot), "null",
        amount_text(history.volume), "null", str(next_ms), number_text(clamped), str(step), "null",
        number_text(clamped), "null", "null", number_text(mark), "null", "null", interest,
        "null", "null", "null", "0.0005", "0.0025",
    ]  # fmt: skip
    return ",".join(fields)


def liquidation_texts(history: History, trade: Trade) -> list[str]:
    """The two `pos` entries of a liquidation, trigger and market execution; [] if it was none."""
    if not is_derivative(history.market.symbol) or trade.id % LIQUIDATED:
        return []
    price = price_text(history.market.tick, trade.ticks)
    # The liquidated position is on the other side of the order that closed it.
    amount = amount_text(-trade.side * trade.units)
    head = f'"pos",{trade.id},{trade.time_ns // 10**6},null,"{history.market.symbol}",{amount}'
    return [f"[{head},{price},null,0,1,null,null]", f"[{head},{price},null,1,1,null,{price}]"]
