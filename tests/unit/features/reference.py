"""Every column of the catalogue written plainly, from the list of slots: the kernels' oracle.

Slow and obvious: a window is "all events whose 100 ms bucket is one of the last n", computed anew
for each row, and a bar is "all trades of that second". Nothing is kept between rows but the
exponential means.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from schemas import tape
from schemas.features import CATALOGUE
from schemas.instruments import Instrument
from schemas.tape import Flag, Kind, Marker

BUCKET = 100_000_000
SECOND = 10**9
FAST, SLOW = 1 - math.exp(-0.1 / 5), 1 - math.exp(-0.1 / 30)
KEPT = 64
WARM_S = 15


class Reference:
    """One instrument of a tape. `slots` are those of all instruments, in order; `alone` leaves its
    peers away."""

    def __init__(
        self,
        slots: np.ndarray,
        instruments: Sequence[Instrument],
        number: int = 0,
        *,
        alone: bool = False,
    ) -> None:
        mine = slots[slots["instrument"] == number]
        self.instruments = instruments
        self.number = number
        self.slots = slots
        first = mine["reference_price"][
            (mine["kind"] == Kind.BOOK_LEVEL) & (mine["reference_price"] > 0)
        ]
        self.tick = instruments[number].tick_size or 10.0 ** (
            math.floor(math.log10(float(first[0]))) - 4
        )
        self.books = []
        self.trades = []
        self.statuses = []
        self.since = 0
        markers = mine.view(tape.MARKER)
        for slot, marker in zip(mine, markers, strict=True):
            flags, ns = slot["flags"], int(slot["recv_ns"])
            if slot["kind"] == Kind.BOOK_LEVEL and flags & Flag.FRAME_END and flags & Flag.PRIMARY:
                self.books.append(self._book(slot))
                if self.books[-1]["bids"] and self.books[-1]["asks"]:
                    self.since = self.since or ns
            elif slot["kind"] == Kind.MARKER and marker["marker"] == Marker.SNAPSHOT_END:
                self.since = self.since or (ns if flags & Flag.PRIMARY else 0)
            elif slot["kind"] == Kind.TRADE and not flags & Flag.SNAPSHOT:
                signed = float(slot["size"]) * (1 if slot["side"] == 1 else -1)
                self.trades.append((ns, float(slot["price"]), signed))
        self._derivative()
        others = [] if alone else self._peers()
        self.peers = [Reference(slots, instruments, other, alone=True) for other in others]

    def _book(self, slot):
        sides = []
        for side in (0, 1):
            levels = []
            for level in range(10):
                size = float(slot["book"][20 * side + 10 + level])
                price = float(slot["reference_price"]) + float(slot["book"][20 * side + level])
                if size > 0:
                    levels.append((round(price / self.tick), size))
            sides.append(levels)
        return {
            "ns": int(slot["recv_ns"]),
            "bids": sides[0],
            "asks": sides[1],
            "mid": float(slot["reference_price"]),
            "snapshot": bool(slot["flags"] & Flag.SNAPSHOT),
        }

    def _derivative(self) -> None:
        """Status and liquidations of the derivative: itself, or another of its asset."""
        asset = self.instruments[self.number].pair.split("/")[0]
        self.has_derivative = False
        self.statuses, self.liquidations = [], []
        others = [self.instruments[self.number], *self.instruments]
        for one in others:
            if one.pair.startswith(asset + "/") and one.pair.endswith(":PERP"):
                self.has_derivative = True
                break
        else:
            return
        for slot in self.slots[self.slots["kind"] == Kind.STATUS]:
            whole = np.array([slot])
            if not slot["flags"] & Flag.LIQUIDATION:
                if slot["instrument"] == one.index:
                    self.statuses.append(whole.view(tape.STATUS)[0])
            else:
                told = whole.view(tape.LIQUIDATION)[0]
                if told["symbol"].decode() == one.symbol and not told["is_match"]:
                    self.liquidations.append(told)

    def _peers(self) -> list[int]:
        """The first of the same asset at each other venue, of the same pair if there is one."""
        mine = self.instruments[self.number]
        found = {}
        for same_pair in (True, False):
            for one in self.instruments:
                alike = one.pair == mine.pair if same_pair else (
                    one.pair.split("/")[0] == mine.pair.split("/")[0]
                    and one.pair.endswith(":PERP") == mine.pair.endswith(":PERP")
                )  # fmt: skip
                if one.venue != mine.venue and alike and "/" in mine.pair:
                    found.setdefault(one.venue, one.index)
        return sorted(i for i in found.values() if (self.slots["instrument"] == i).any())

    def row(self, cut_ns: int) -> dict[str, float]:
        """What every column holds that is not missing."""
        books = [book for book in self.books if book["ns"] < cut_ns]
        trades = [trade for trade in self.trades if trade[0] < cut_ns]
        last = (cut_ns - 1) // BUCKET
        out: dict[str, float] = {}
        self._levels(books, out)
        self._flows(books, trades, last, out)
        self._prices(books, trades, last, cut_ns, out)
        for length, seconds in (("1s", 1), ("1m", 60)):
            self._bars(trades, cut_ns, length, seconds * SECOND, out)
        self._told(cut_ns, last, out)
        self._across(books, cut_ns, last, out)
        angle = 2 * math.pi * (cut_ns / (86_400 * SECOND) % 1)
        out["day_sin"], out["day_cos"] = math.sin(angle), math.cos(angle)
        history = (cut_ns - self.since) / 1e9
        out["history_s"] = min(history, 1500)
        for feature in CATALOGUE:
            if history < feature.needs_s:
                out.pop(feature.name, None)
        return out

    def _levels(self, books, out) -> None:
        now = books[-1]
        bids, asks, mid, tick = now["bids"], now["asks"], now["mid"], self.tick
        bid, ask = bids[0][0] * tick, asks[0][0] * tick
        out["spread_bps"] = (ask - bid) / mid * 1e4
        spreads = [b["asks"][0][0] - b["bids"][0][0] for b in books if b["bids"] and b["asks"]][
            -1024:
        ]
        ordered = sorted(min(max(spread, 0), 2047) for spread in spreads)
        for name, share in (("spread_q50_bps", 0.5), ("spread_q90_bps", 0.9)):
            out[name] = ordered[max(math.ceil(share * len(ordered)) - 1, 0)] * tick / mid * 1e4
        out["spread_rank"] = sum(s < asks[0][0] - bids[0][0] for s in spreads) / len(spreads)
        micro = (ask * bids[0][1] + bid * asks[0][1]) / (bids[0][1] + asks[0][1])
        out["microprice_bps"] = (micro / mid - 1) * 1e4
        for depth in (1, 5, 10):
            bought = sum(size for _, size in bids[:depth])
            sold = sum(size for _, size in asks[:depth])
            out[f"imbalance_{depth}"] = (bought - sold) / (bought + sold)
        out["depth_bid_5"] = sum(size for _, size in bids[:5])
        out["depth_ask_5"] = sum(size for _, size in asks[:5])
        for name, levels, sign in (("slope_bid_bps", bids, -1), ("slope_ask_bps", asks, 1)):
            far = sum(size * sign * (ticks * tick / mid - 1) * 1e4 for ticks, size in levels)
            out[name] = far / sum(size for _, size in levels)

    @staticmethod
    def _level_flow(old, new, level: int) -> float:
        def at(levels, missing):
            return levels[level] if level < len(levels) else (missing, 0.0)

        (pb, qb), (pb0, qb0) = at(new["bids"], -math.inf), at(old["bids"], -math.inf)
        (pa, qa), (pa0, qa0) = at(new["asks"], math.inf), at(old["asks"], math.inf)
        return (
            (qb if pb >= pb0 else 0)
            - (qb0 if pb <= pb0 else 0)
            - (qa if pa <= pa0 else 0)
            + (qa0 if pa >= pa0 else 0)
        )

    def _flows(self, books, trades, last, out) -> None:
        def recent(seconds):
            first = last - seconds * 10 + 1
            return [i for i, b in enumerate(books) if b["ns"] // BUCKET >= first]

        for depth, spans in ((1, (1, 5, 15)), (5, (1, 5)), (10, (1, 5))):
            for seconds in spans:
                flow = mean = 0.0
                for i in recent(seconds):
                    book = books[i]
                    mean += sum(s for _, s in book["bids"][:depth] + book["asks"][:depth]) / 2
                    if i and not book["snapshot"]:
                        flow += sum(self._level_flow(books[i - 1], book, n) for n in range(depth))
                count = len(recent(seconds))
                mean = mean / count if count else 0.0
                out[f"ofi_{depth}_{seconds}s"] = flow / mean if mean else 0.0

        def traded(seconds):
            first = last - seconds * 10 + 1
            return [t for t in trades if t[0] // BUCKET >= first]

        for seconds in (1, 5, 60):
            signed = sum(t[2] for t in traded(seconds))
            total = sum(abs(t[2]) for t in traded(seconds))
            out[f"trade_imbalance_{seconds}s"] = signed / total if total else 0.0
        out["trade_volume_5s"] = sum(abs(t[2]) for t in traded(5))
        out["trade_volume_60s"] = sum(abs(t[2]) for t in traded(60))
        out["trade_count_5s"] = len(traded(5)) / 5
        out["book_rate_1s"] = len(recent(1))
        out["book_rate_60s"] = len(recent(60)) / 60

    def _mid_at_end_of(self, books, bucket) -> float:
        known = [b["mid"] for b in books if b["ns"] // BUCKET <= bucket]
        return known[-1] if known else books[0]["mid"]

    def _return(self, books, last, seconds) -> float:
        return math.log(books[-1]["mid"] / self._mid_at_end_of(books, last - seconds * 10)) * 1e4

    def _prices(self, books, trades, last, cut_ns, out) -> None:
        mid = books[-1]["mid"]
        for seconds in (1, 5, 15, 60):
            out[f"return_{seconds}s_bps"] = self._return(books, last, seconds)
        steps = [
            (b["ns"] // BUCKET, 0.0 if b["snapshot"] else math.log(b["mid"] / a["mid"]))
            for a, b in pairwise(books)
        ]
        for seconds in (5, 60):
            first = last - seconds * 10 + 1
            total = sum(step * step for bucket, step in steps if bucket >= first)
            out[f"volatility_{seconds}s_bps"] = math.sqrt(total) * 1e4
        pairs = [
            (bucket, abs(step) * abs(before))
            for (_, before), (bucket, step) in zip([(0, 0.0), *steps], steps, strict=False)
        ]
        first = last - 600 + 1
        bipower = sum(value for bucket, value in pairs if bucket >= first) * math.pi / 2
        out["bipower_60s_bps"] = math.sqrt(bipower) * 1e4
        fast, slow = self._means(books, last)
        out["mean_fast_bps"], out["mean_slow_bps"] = (mid / fast - 1) * 1e4, (mid / slow - 1) * 1e4
        out["mean_cross_bps"] = (fast / slow - 1) * 1e4
        window = [t for t in trades if t[0] // BUCKET >= last - 600 + 1]
        volume = sum(abs(t[2]) for t in window)
        vwap = sum(abs(t[2]) * t[1] for t in window) / volume if volume else 0.0
        out["vwap_distance_60s_bps"] = (mid / vwap - 1) * 1e4 if vwap else 0.0
        out["book_age_s"] = (cut_ns - books[-1]["ns"]) / 1e9
        out["trade_age_s"] = min((cut_ns - trades[-1][0]) / 1e9, 60.0) if trades else 60.0

    @staticmethod
    def _means(books, last):
        fast = slow = books[0]["mid"]
        mid, index = books[0]["mid"], 0
        for bucket in range(books[0]["ns"] // BUCKET, last):
            while index < len(books) and books[index]["ns"] // BUCKET <= bucket:
                mid = books[index]["mid"]
                index += 1
            fast += FAST * (mid - fast)
            slow += SLOW * (mid - slow)
        return fast, slow

    def _bars(self, trades, cut_ns, length, bar_ns, out) -> None:
        out |= indicators(bars_of(trades, cut_ns, bar_ns)[-KEPT:], length)

    def _told(self, cut_ns, last, out) -> None:
        """Funding, basis and mark, and liquidations."""
        told = [s for s in self.statuses if s["recv_ns"] < cut_ns]
        if told and cut_ns - told[-1]["recv_ns"] <= 120 * SECOND:

            def newest(name):
                return next((float(s[name]) for s in reversed(told) if math.isfinite(s[name])), 0.0)

            price = newest("derivative_price")
            out["funding_bps"] = newest("current_funding") * 1e4
            if price and newest("spot_price"):
                out["basis_bps"] = (price / newest("spot_price") - 1) * 1e4
            if price and newest("mark_price"):
                out["mark_distance_bps"] = (price / newest("mark_price") - 1) * 1e4
        if self.has_derivative:
            sums = [0.0, 0.0]
            for one in self.liquidations:
                if one["recv_ns"] < cut_ns and one["recv_ns"] // BUCKET >= last - 599:
                    sums[int(one["amount"] > 0)] += abs(float(one["amount"]))
            short, long = sums
            total = short + long
            out["liquidation_imbalance_60s"] = (short - long) / total if total else 0.0
            out["liquidation_volume_60s"] = total

    def _across(self, books, cut_ns, last, out) -> None:
        """Lead and lag of the other venues."""
        mine = self.instruments[self.number]
        met = []
        for peer in self.peers:
            theirs = [book for book in peer.books if book["ns"] < cut_ns]
            fresh = theirs and cut_ns - theirs[-1]["ns"] <= 10 * SECOND
            if fresh and cut_ns - peer.since >= WARM_S * SECOND:
                met.append((peer, theirs))
        if not met:
            return
        for seconds in (1, 5):
            leads = [peer._return(theirs, last, seconds) for peer, theirs in met]
            out[f"peer_lead_{seconds}s_bps"] = np.mean(leads) - self._return(books, last, seconds)
        gaps = [
            math.log(some[-1]["mid"] / one._means(some, last)[1])
            for one, some in [*met, (self, books)]
        ]
        out["peer_gap_bps"] = (np.mean(gaps[:-1]) - gaps[-1]) * 1e4
        same = [
            theirs[-1]["mid"]
            for peer, theirs in met
            if self.instruments[peer.number].pair == mine.pair
        ]
        if same:
            out["peer_basis_bps"] = math.log(np.mean(same) / books[-1]["mid"]) * 1e4


Bar = tuple[float, float, float, float, float]
"""Open, high, low, close, volume."""


def bars_of(trades, cut_ns: int, bar_ns: int) -> list[Bar]:
    """Closed bars of (ns, price, signed size), flat where nothing was traded."""
    found: list[Bar] = []
    if not trades:
        return found
    for number in range(trades[0][0] // bar_ns, cut_ns // bar_ns):
        mine = [(price, abs(size)) for ns, price, size in trades if ns // bar_ns == number]
        prices = [price for price, _ in mine] or [found[-1][3]]
        volume = sum(size for _, size in mine)
        found.append((prices[0], max(prices), min(prices), prices[-1], volume))
    return found


def _wilder(values) -> float:
    mean = sum(values[:14]) / 14
    for value in values[14:]:
        mean = (mean * 13 + value) / 14
    return mean


def _exponential(values, length: int) -> float:
    mean = sum(values[:length]) / length
    for value in values[length:]:
        mean += (value - mean) * 2 / (length + 1)
    return mean


def indicators(bars: Sequence[Bar], length: str) -> dict[str, float]:
    """The columns that so many bars suffice for."""
    out: dict[str, float] = {}
    closes = [bar[3] for bar in bars]
    if len(bars) >= 15:
        changes = [after - before for before, after in pairwise(closes)]
        up, down = _wilder([max(c, 0) for c in changes]), _wilder([max(-c, 0) for c in changes])
        out[f"rsi_14_{length}"] = 100 * up / (up + down) if up + down > 1e-12 * closes[-1] else 50
        ranges = [
            max(high, before[3]) - min(low, before[3])
            for before, (_, high, low, *_) in pairwise(bars)
        ]
        out[f"atr_14_{length}_bps"] = _wilder(ranges) / closes[-1] * 1e4
    if len(bars) >= 20:
        recent = closes[-20:]
        mean, width = float(np.mean(recent)), 2 * float(np.std(recent))
        flat = width <= 1e-12 * mean
        out[f"bollinger_20_{length}"] = 0.5 if flat else (recent[-1] - mean + width) / (2 * width)
        high, low = max(bar[1] for bar in bars[-20:]), min(bar[2] for bar in bars[-20:])
        out[f"donchian_20_{length}"] = (recent[-1] - low) / (high - low) if high > low else 0.5
        if length == "1m":
            out["sma_cross_1m_bps"] = (np.mean(recent[-5:]) / mean - 1) * 1e4
    if len(bars) >= 26 and length == "1m":
        cross = _exponential(closes, 12) / _exponential(closes, 26) - 1
        out["ema_cross_1m_bps"] = cross * 1e4
    return out
