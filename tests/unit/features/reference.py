"""Every column of the catalogue written plainly, from the list of slots: the kernels' oracle.

Slow and obvious: a window is "all events whose 100 ms bucket is one of the last n", computed anew
for each row. Nothing is kept between rows but the exponential means.
"""

import math
from itertools import pairwise

import numpy as np

from schemas.tape import Flag, Kind

BUCKET = 100_000_000
FAST, SLOW = 1 - math.exp(-0.1 / 5), 1 - math.exp(-0.1 / 30)


class Reference:
    """One instrument. `slots` are all its slots in order, `tick` its tick size."""

    def __init__(self, slots: np.ndarray, tick: float) -> None:
        self.tick = tick
        self.books = []
        self.trades = []
        for slot in slots:
            if slot["kind"] == Kind.BOOK_LEVEL and slot["flags"] & Flag.FRAME_END:
                self.books.append(self._book(slot))
            elif slot["kind"] == Kind.TRADE and not slot["flags"] & Flag.SNAPSHOT:
                signed = float(slot["size"]) * (1 if slot["side"] == 1 else -1)
                self.trades.append((int(slot["recv_ns"]), float(slot["price"]), signed))

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

    def row(self, cut_ns: int) -> dict[str, float]:
        books = [book for book in self.books if book["ns"] < cut_ns]
        trades = [trade for trade in self.trades if trade[0] < cut_ns]
        last = (cut_ns - 1) // BUCKET
        out: dict[str, float] = {}
        self._levels(books, out)
        self._flows(books, trades, last, out)
        self._prices(books, trades, last, cut_ns, out)
        return out

    def _levels(self, books, out) -> None:
        now = books[-1]
        bids, asks, mid, tick = now["bids"], now["asks"], now["mid"], self.tick
        bid, ask = bids[0][0] * tick, asks[0][0] * tick
        out["spread_bps"] = (ask - bid) / mid * 1e4
        spreads = [b["asks"][0][0] - b["bids"][0][0] for b in books if b["bids"] and b["asks"]][
            -1024:
        ]
        ordered = sorted(spreads)
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

    def _prices(self, books, trades, last, cut_ns, out) -> None:
        mid = books[-1]["mid"]

        def mid_at_end_of(bucket):
            known = [b["mid"] for b in books if b["ns"] // BUCKET <= bucket]
            return known[-1] if known else books[0]["mid"]

        for seconds in (1, 5, 15, 60):
            out[f"return_{seconds}s_bps"] = math.log(mid / mid_at_end_of(last - seconds * 10)) * 1e4
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
        out["mean_fast_bps"], out["mean_slow_bps"], out["mean_cross_bps"] = self._means(books, last)
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
        mid = books[-1]["mid"]
        return (mid / fast - 1) * 1e4, (mid / slow - 1) * 1e4, (fast / slow - 1) * 1e4
