"""What is remembered of each instrument: one record, drawn here, that the kernels move on.

Also who an instrument's neighbours are: which other venues' books are its peers, and which
derivative's status tells of it. Both follow from the table of instruments alone, so a replay with
the same table finds the same.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from schemas import features, tape
from schemas.instruments import Instrument

BUCKET_NS: Final = 100_000_000
BUCKETS: Final = 608
WINDOWS: Final = 4
WINDOW_BUCKETS = np.array([10, 50, 150, 600])
RESUM_EVERY: Final = 64
SPREADS: Final = 1024
SPREAD_BINS: Final = 2048
LEVELS: Final = tape.LEVELS
BAR_NS = np.array([1_000_000_000, 60_000_000_000])
PERIODS: Final = 2
BARS: Final = 64
"""Closed bars of each length that are kept."""
MAX_PEERS: Final = features.MAX_TAPES - 1
SYMBOL_WORDS: Final = 4

# Sums of a bucket.
(
    OFI_1, OFI_5, OFI_10, DEPTH_1, DEPTH_5, DEPTH_10, BOOK_EVENTS, BOUGHT, SOLD, TRADES, NOTIONAL,
    SQUARES, BIPOWER, LIQUIDATED_LONG, LIQUIDATED_SHORT,
) = range(15)  # fmt: skip
SUMS: Final = 15

OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)
SMA_CROSS, EMA_CROSS, RSI, BOLLINGER, DONCHIAN, ATR = range(6)
INDICATORS: Final = 6
DERIVATIVE_PRICE, SPOT_PRICE, FUNDING, MARK_PRICE = range(4)
STATUS_WORDS: Final = 4

STATE = np.dtype(
    [
        ("tick_size", "f8"),
        ("has_book", "i8"),
        ("gapped", "i8"),
        ("touched", "i8"),
        ("tape", "i8"),  # which brought the book, and the connection there
        ("epoch", "i8"),
        ("since_ns", "i8"),  # unbroken history begins here
        ("book_ns", "i8"),
        ("changed_ns", "i8"),  # when the ten levels last were others than before
        ("trade_ns", "i8"),
        ("newest_ns", "i8"),
        ("reference", "f8"),
        ("mid", "f8"),
        ("last_return", "f8"),
        ("mean_fast", "f8"),
        ("mean_slow", "f8"),
        ("bucket", "i8"),
        ("rotations", "i8"),
        ("spread_count", "i8"),
        ("running", "f8", (SUMS,)),  # sums of the running bucket
        ("ticks", "i8", (2, LEVELS)),
        ("sizes", "f8", (2, LEVELS)),
        ("book", "f4", (4 * LEVELS,)),
        ("windows", "f8", (WINDOWS, SUMS)),  # of the buckets before the running one
        ("sums", "f8", (WINDOWS, SUMS)),  # windows with the running bucket, at the cut
        ("spreads", "i4", (SPREADS,)),
        ("spread_bins", "i4", (SPREAD_BINS,)),
        ("mids", "f8", (BUCKETS,)),
        ("buckets", "f8", (BUCKETS, SUMS)),
        # bars of trades, a row a length
        ("bar_number", "i8", (PERIODS,)),  # of the running bar since 1970; 0 before any trade
        ("bar", "f8", (PERIODS, 5)),
        ("bars_closed", "i8", (PERIODS,)),
        ("bars", "f8", (PERIODS, BARS, 5)),
        ("indicators_of", "i8", (PERIODS,)),  # `bars_closed` when they were computed
        ("indicators", "f8", (PERIODS, INDICATORS)),
        # status of a derivative
        ("status_ns", "i8"),
        ("status", "f8", (STATUS_WORDS,)),
        # what each column usually is, for `quality.py`
        ("centre", "f8", (features.WIDTH,)),
        ("scale", "f8", (features.WIDTH,)),
        ("seen", "i8", (features.WIDTH,)),
        ("good", "f4", (features.WIDTH,)),  # the last value that was believed
        ("has_good", "i8", (features.WIDTH,)),
        ("stood", "f4", (features.WIDTH,)),  # its value at the last boundary with news
        ("repeats", "i8", (features.WIDTH,)),
        ("books_judged", "i8"),  # `spread_count` at the last boundary
        # neighbours: indices of instruments, -1 for none
        ("venue", "i8"),
        ("symbol", "u8", (SYMBOL_WORDS,)),
        ("derivative", "i8"),
        ("peers", "i8", (MAX_PEERS,)),
        ("same_pair", "i8", (MAX_PEERS,)),
    ]
)

FAST: Final = 1.0 - math.exp(-BUCKET_NS / 5e9)
SLOW: Final = 1.0 - math.exp(-BUCKET_NS / 30e9)


def _base(pair: str) -> str:
    """The asset that is traded; empty for what is no trading pair."""
    base, slash, _ = pair.partition("/")
    return base if slash else ""


def _is_derivative(pair: str) -> bool:
    return pair.endswith(":PERP")


def derivative_of(number: int, instruments: Sequence[Instrument]) -> int:
    """The derivative whose status tells of an instrument; -1 without one.

    Itself, or the first of the same asset, of its own venue if there is one.
    """
    mine = instruments[number]
    if _is_derivative(mine.pair):
        return number
    found = [
        (other.venue != mine.venue, place)
        for place, other in enumerate(instruments)
        if _is_derivative(other.pair) and _base(other.pair) == _base(mine.pair) != ""
    ]
    return min(found)[1] if found else -1


def peers_of(number: int, instruments: Sequence[Instrument]) -> list[int]:
    """The instrument of the same asset and kind at each other venue, MAX_PEERS at most.

    Of several at a venue, that of the same pair.
    """
    mine = instruments[number]
    found: dict[str, tuple[bool, int]] = {}
    for place, other in enumerate(instruments):
        same_kind = _is_derivative(other.pair) == _is_derivative(mine.pair)
        same_asset = _base(other.pair) == _base(mine.pair) != ""
        if other.venue != mine.venue and same_kind and same_asset:
            found.setdefault(other.venue, (True, place))
            found[other.venue] = min(found[other.venue], (other.pair != mine.pair, place))
    return sorted(place for _, place in found.values())[:MAX_PEERS]


def make_states(instruments: Sequence[Instrument]) -> np.ndarray:
    """Fresh state of instruments, as the table has them."""
    states = np.zeros(max(len(instruments), 1), STATE)
    states["derivative"] = -1
    states["peers"] = -1
    venues = list(dict.fromkeys(one.venue for one in instruments))
    for number, one in enumerate(instruments):
        state = states[number]
        state["tick_size"] = one.tick_size
        state["venue"] = venues.index(one.venue)
        symbol = one.symbol.encode()[: 8 * SYMBOL_WORDS].ljust(8 * SYMBOL_WORDS, b"\0")
        state["symbol"] = np.frombuffer(symbol, "<u8")
        state["derivative"] = derivative_of(number, instruments)
        for place, peer in enumerate(peers_of(number, instruments)):
            state["peers"][place] = peer
            state["same_pair"][place] = instruments[peer].pair == one.pair
    return states
