"""Order flow with something in it to find: the book leads, the price follows.

A hidden pressure p in (-1, 1) wanders (an Ornstein-Uhlenbeck process through tanh, correlation time
`PRESSURE_S`). Limit orders and cancels lean with it at once, so that the book's imbalance shows it;
market orders lean with what it was `LEAD_S` earlier. Whoever reads the imbalance knows something of
the next seconds, on average and never for sure. Everything follows from one seed: the n-th order of
a market is the same in every run, only the pace is real.
"""

import math
import random
from decimal import Decimal

from processes.simulator.market import UNITS, BookSide, Market

PRESSURE_S = 12.0
LEAD_S = 3.0
LIMIT_TILT = 0.38
MARKET_TILT = 0.42
SHARES = (0.52, 0.36, 0.12)
"""Of limit orders, cancels and market orders."""
TARGET_ORDERS = 260
SIDES: tuple[BookSide, BookSide] = (1, -1)

START_PRICES: dict[str, tuple[str, str]] = {
    "tBTCUSD": ("86700", "1"),
    "tETHUSD": ("2890.5", "0.1"),
    "tSOLUSD": ("131.42", "0.01"),
    "tXRPUSD": ("2.1034", "0.0001"),
    "tBTCF0:USTF0": ("86710", "1"),
    "fUSD": ("0.00025", "0.0000001"),
    "BTC/USD": ("86700.0", "0.1"),
    "ETH/USD": ("2890.50", "0.01"),
    "SOL/USD": ("131.42", "0.01"),
    "XRP/USD": ("2.10340", "0.00001"),
    "BTC_JPY": ("13660000", "1"),
    "ETH_JPY": ("455000", "1"),
    "XRP_JPY": ("331.400", "0.001"),
    "SOL_JPY": ("20700", "1"),
    "BTC": ("13660000", "1"),
    "ETH": ("455000", "1"),
    "XRP": ("331.400", "0.001"),
    "SOL": ("20700", "1"),
}
"""First price and tick of well-known symbols; others start at 100 with ticks of 0.01."""

LOTS: dict[str, str] = {
    "BTC_JPY": "0.001", "ETH_JPY": "0.01", "XRP_JPY": "10", "SOL_JPY": "0.1",
    "BTC": "0.00001", "ETH": "0.0001", "XRP": "1", "SOL": "0.01",
}  # fmt: skip
"""Smallest step of an amount where it is not 0.00000001."""


class Flow:
    """The orders of one market.

    Args:
        rate_per_s: orders a second, on average. resting: about so many orders stay in the book.
        start_ns: when the orders were placed with which the book begins.
    """

    def __init__(
        self,
        market: Market,
        start_ticks: int,
        seed: int,
        rate_per_s: float,
        resting: int = TARGET_ORDERS,
        start_ns: int = 0,
    ) -> None:
        self.market = market
        self._resting = resting
        # A fuller book is a wider one.
        self._spread = 12.0 * max(1.0, resting / TARGET_ORDERS)
        self._lot_units = int(Decimal(LOTS.get(market.symbol, "0")) * UNITS) or 1
        self.time_s = 0.0
        """Market time of the newest order, seconds from the start."""
        self._rate = rate_per_s
        self._draw = random.Random(f"{seed} {market.symbol}")  # noqa: S311 (a market, not a secret)
        self._last_ticks = start_ticks
        self._pressure = 0.0
        self._pressure_s = 0.0
        self._lagged: list[tuple[float, float]] = []
        self._next_s = 0.0
        self._fill_book(start_ticks, start_ns)

    def advance(self, until_s: float, start_ns: int) -> int:
        """Send every order due before `until_s` of market time; how many. `start_ns`: time zero."""
        sent = 0
        while self._next_s < until_s:
            self.time_s = self._next_s
            self._next_s += self._draw.expovariate(self._rate)
            self._wander()
            self._send_one(start_ns + int(self.time_s * 1e9))
            sent += 1
        return sent

    def part(self, seed: str) -> None:
        """Draw anew from here on: one of the futures that this state may have."""
        self._draw = random.Random(seed)  # noqa: S311 (a market, not a secret)

    def move(self, ticks: int, time_ns: int) -> None:
        """Trade all that rests on the way to a price, and at it; then quote around the price."""
        for side in SIDES:
            units = sum(units for _, units in self.market.walk(side, 1 << 80, ticks, ""))
            if units:
                self.market.submit(side, units, time_ns, ticks=ticks, rests=False)
        self._fill_book(ticks, time_ns)
        self._last_ticks = ticks

    def _fill_book(self, ticks: int, time_ns: int) -> None:
        for _ in range(self._resting // 2):
            distance = 1 + int(self._draw.expovariate(1 / self._spread))
            self.market.submit(1, self._size(), time_ns, ticks=ticks - distance)
            self.market.submit(-1, self._size(), time_ns, ticks=ticks + distance)

    def _wander(self) -> None:
        passed = self.time_s - self._pressure_s
        keep = math.exp(-passed / PRESSURE_S)
        noise = math.sqrt(1.0 - keep * keep) * self._draw.gauss(0.0, 1.0)
        self._pressure = keep * self._pressure + noise
        self._pressure_s = self.time_s
        self._lagged.append((self.time_s, math.tanh(self._pressure)))
        while len(self._lagged) > 1 and self._lagged[1][0] <= self.time_s - LEAD_S:
            self._lagged.pop(0)

    def _size(self) -> int:
        units = max(1000, int(self._draw.lognormvariate(-1.2, 0.9) * UNITS))
        return max(units // self._lot_units, 1) * self._lot_units

    def _side(self, tilt: float) -> BookSide:
        return 1 if self._draw.random() < 0.5 + tilt else -1

    def _mid(self) -> float:
        bid, ask = self.market.best(1), self.market.best(-1)
        if bid is None or ask is None:
            return float(self._last_ticks)
        self._last_ticks = (bid + ask) // 2
        return (bid + ask) / 2

    def _send_one(self, time_ns: int) -> None:
        pressure = self._lagged[-1][1]
        limit, cancel, _ = SHARES
        # Around the target the book neither empties nor grows without end.
        crowded = (self.market.open_orders - self._resting) / self._resting
        choice = self._draw.random()
        if choice < limit - 0.2 * crowded:
            self._send_limit(self._side(LIMIT_TILT * pressure / 2), time_ns)
        elif choice < limit + cancel:
            # Orders of the side that the pressure is against are taken back first.
            self._cancel_one(self._side(-LIMIT_TILT * pressure / 2))
        else:
            side = self._side(MARKET_TILT * self._lagged[0][1] / 2)
            self.market.submit(side, self._size(), time_ns)
        if self.market.best(1) is None or self.market.best(-1) is None:
            self._fill_book(self._last_ticks, time_ns)

    def _send_limit(self, side: BookSide, time_ns: int) -> None:
        mid = self._mid()
        distance = self._draw.expovariate(2 / self._spread)
        # Rounded away from the other side, so that most orders rest.
        ticks = math.floor(mid - distance) if side == 1 else math.ceil(mid + distance)
        self.market.submit(side, self._size(), time_ns, ticks=ticks)

    def _cancel_one(self, side: BookSide) -> None:
        orders = self.market.orders(side, 40)
        if len(orders) > 5:
            self.market.cancel(self._draw.choice(orders).id)


def make_market(symbol: str, first_trade_id: int) -> tuple[Market, int]:
    """A market with its first price in ticks."""
    price, tick = START_PRICES.get(symbol, ("100", "0.01"))
    market = Market(symbol, Decimal(tick), first_trade_id)
    return market, int(Decimal(price) / Decimal(tick))
