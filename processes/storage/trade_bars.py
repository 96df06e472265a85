"""Bars made of trades: what a set of trades comes to, and joining two sets. Pure.

A bar is a function of its trades' own times, prices and sizes alone. In whatever order they are
told, by whatever way they come, the same set gives the same bar, to the bit: volumes are summed as
decimals without rounding, and trades of one time are ordered by the venue's number, or, where a
venue gives none, by session and place on the tape.
"""

import zlib
from collections.abc import Iterator
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from typing import Final

import numpy as np
from msgspec import Struct

MINUTE_NS: Final = 60_000_000_000
_HOUR_NS: Final = 60 * MINUTE_NS
_DAY_NS: Final = 24 * _HOUR_NS
TIMEFRAMES: Final = {
    "1m": MINUTE_NS, "5m": 5 * MINUTE_NS, "15m": 15 * MINUTE_NS, "30m": 30 * MINUTE_NS,
    "1h": _HOUR_NS, "3h": 3 * _HOUR_NS, "4h": 4 * _HOUR_NS, "6h": 6 * _HOUR_NS,
    "12h": 12 * _HOUR_NS, "1D": _DAY_NS, "1W": 7 * _DAY_NS,
}  # fmt: skip
"""The venues' timeframes of one length; all begin by UTC. Months are not of one length."""
MONDAY_NS: Final = 4 * _DAY_NS
"""The first Monday of 1970: weeks begin with Mondays."""
EXACT: Final = Context(prec=4000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
"""Sums and products of any float64 are exact in it."""
_RATIO: Final = Context(prec=34)

Identity = tuple[int, int]
"""What no other trade of a symbol and minute has: (0, the venue's id), or, where a venue gives no
ids, (session, tape sequence)."""
Key = tuple[int, int, int]
"""A trade's place among others: its time, then its identity."""
_IDENTITY: Final = np.dtype([("session", "<i8"), ("number", "<i8")])


class Bar(Struct, frozen=True, kw_only=True):
    """What a set of trades comes to."""

    first: Key
    last: Key
    open: float
    high: float
    low: float
    close: float
    volume: Decimal
    notional: Decimal
    """Sum of price times size."""
    trades: int
    recv_ns: int
    """When the last of them came."""

    def joined(self, other: "Bar") -> "Bar":
        """The bar of both sets, which have no trade in common."""
        return Bar(
            first=min(self.first, other.first),
            last=max(self.last, other.last),
            open=self.open if self.first < other.first else other.open,
            high=max(self.high, other.high),
            low=min(self.low, other.low),
            close=self.close if self.last > other.last else other.close,
            volume=EXACT.add(self.volume, other.volume),
            notional=EXACT.add(self.notional, other.notional),
            trades=self.trades + other.trades,
            recv_ns=max(self.recv_ns, other.recv_ns),
        )

    @property
    def average_price(self) -> float | None:
        """Weighted by volume; None without one."""
        return float(_RATIO.divide(self.notional, self.volume)) if self.volume else None


def start_of(timeframe: str, time_ns: int) -> int:
    """When the bar begins that a time belongs to."""
    length = TIMEFRAMES[timeframe]
    first = MONDAY_NS if timeframe == "1W" else 0
    return (time_ns - first) // length * length + first


def exact(number: float) -> Decimal:
    """A float as the decimal that it was read from: the shortest that gives the same float."""
    return Decimal(repr(float(number)))


def decimal_text(number: Decimal) -> str:
    """Plain digits, without zeros behind."""
    return f"{number.normalize(EXACT):f}"


def minutes_of(trades: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(start, its trades in the order of the tape) of each minute that has any, by event time.

    Args:
        trades: (n) tape.SLOT.
    """
    starts = trades["event_ns"] // MINUTE_NS * MINUTE_NS
    for start_ns in np.unique(starts):
        yield int(start_ns), trades[starts == start_ns]


def bar_of(trades: np.ndarray, session: int, counted: set[Identity]) -> Bar | None:
    """The bar of those trades that are not counted yet; None if there are none.

    Args:
        trades: (n) tape.SLOT, of one symbol. counted: is given those that were new.
    """
    made: Bar | None = None
    for slot in trades:
        number = int(slot["id_low"])
        identity = (0, number) if number else (session, int(slot["sequence"]))
        if identity in counted:
            continue
        counted.add(identity)
        key = (int(slot["event_ns"]), *identity)
        price, size = float(slot["price"]), exact(slot["size"])
        one = Bar(
            first=key, last=key, open=price, high=price, low=price, close=price, volume=size,
            notional=EXACT.multiply(exact(price), size), trades=1, recv_ns=int(slot["recv_ns"]),
        )  # fmt: skip
        made = one if made is None else made.joined(one)
    return made


def packed(counted: set[Identity]) -> bytes:
    """Identities as a database keeps them."""
    return zlib.compress(np.array(sorted(counted), _IDENTITY).tobytes(), 1)


def unpacked(raw: bytes) -> set[Identity]:
    """The identities that were packed."""
    return set(np.frombuffer(zlib.decompress(raw), _IDENTITY).tolist())
