"""The feature catalogue, version 2, and the slot that carries one row.

A row is one instrument at one cut. Slot layout, 512 bytes:

    offset size field              what it holds
    ------ ---- ------------------ -------------------------------------------------------------
         0    8 sequence           u64, the ring's own
         8    8 cut_ns             i64, the boundary: events received before it are in
        16    8 made_ns            i64, when the row was written
        24    8 cut                u64, number of the cut; rows of one cut share it
        32    8 tape_position_0    u64, last tape sequence in the cut, a tape each ...
        40    8 tape_position_1
        48    8 tape_position_2
        56    8 tape_position_3
        64    8 invalid            u64, `Invalid` bits; 0 = every column may be trusted
        72    8 newest_recv_ns     i64, receive time of the newest event in the row
        80    8 reference_price    f64, mid price at the cut
        88    2 instrument         u16
        90    1 reason             u8, `CutReason`
        91    1 spare
        92    4 config_generation  u32
        96  248 values             62 x f32, columns as in CATALOGUE
       344    8 masked             u64, bit n: column n was not had or not believed, and holds its
                                   neutral or its last good value (`Policy`)
       352  160 book               40 x f32, the primary book at the cut, as on the tape

Windows are of receive time, kept in buckets of 100 ms: a window of 1 s is the running bucket and
the nine before it. Bars are of trades in receive time, 1 s and 1 m long; a bar without a trade is
flat at the close before it; indicators are of the closed ones, 64 at most, and say what TA-Lib says
of these.
"""

from enum import IntEnum, IntFlag
from typing import Final

from msgspec import Struct

from schemas.layout import fingerprint, layout

VERSION = 2
SLOT_BYTES = 512
WIDTH = 62
MAX_TAPES = 4


class CutReason(IntEnum):
    """Why a cut was made."""

    BOUNDARY = 1
    SILENCE = 2
    TRIGGER = 3
    WARM = 4
    """No row: a builder began anew, and warmed itself from after these tape positions."""
    LAPSE_BEGIN = 5
    """No row: the ring has lost what comes after these tape positions ..."""
    LAPSE_END = 6
    """No row: ... and goes on after these."""


class Invalid(IntFlag):
    """Why a row is not to be trusted."""

    NO_BOOK = 1
    STALE = 2
    GAPPED = 4
    CROSSED = 8
    WARMING = 16
    """Less than 15 s of unbroken history."""
    NOT_FINITE = 32
    """A number came out that is none; its column is masked."""
    STUCK = 64
    """Book events come, and not one of them has changed the ten levels for a minute."""
    DROPPED = 128
    """A column with the policy DROP is not believed: kept for the record, no model sees the row."""


class Policy(IntEnum):
    """What becomes of a column whose value is not had or not believed.

    What rules divide by, or must not be without, is DROP and no outlier: a neutral volatility would
    make a strong signal of any move, and in a crash of all moments.
    """

    MASK = 0
    """Its neutral value."""
    FILL = 1
    """Its last good value, if there was one."""
    DROP = 2
    """Its neutral value, and no model sees the row."""


class Feature(Struct, frozen=True):
    """One column: what it is, in what unit, by what formula, from where; and when it is believed.

    A value outside `low` to `high` is not, nor one that has been the very same for `stuck_after`
    boundaries with book events between (0: it may stay), nor one that is `OUTLIER` times
    max(its robust scale, `grain`) from its running median (0: only its range is looked at).
    """

    name: str
    unit: str
    formula: str
    source: str = "definition"
    low: float = 0.0
    high: float = 5000.0
    grain: float = 0.0
    needs_s: float = 0.0
    """Unbroken history without which it is missing."""
    policy: Policy = Policy.MASK
    neutral: float = 0.0
    stuck_after: int = 0


OUTLIER: Final = 50.0
FAR: Final = 5000.0
"""Basis points within which prices, returns and distances are believed."""
MANY: Final = 1e12

_OFI = "Cont, Kukanov, Stoikov: The Price Impact of Order Book Events, 2014"
_MLOFI = "Xu, Gould, Howison: Multi-Level Order-Flow Imbalance in a Limit Order Book, 2019"
_MICRO = "Gatheral, Oomen: Zero-intelligence realized variance estimation, 2010 (weighted mid)"
_BV = "Barndorff-Nielsen, Shephard: Power and Bipower Variation, 2004"
_WILDER = "Wilder: New Concepts in Technical Trading Systems, 1978; seeded as TA-Lib does"
_BANDS = "Bollinger: Bollinger on Bollinger Bands, 2001"
_EMA = "TA-Lib EMA: seeded with the mean of the first values"
_LEAD = "Hasbrouck: One Security, Many Markets, 1995 (who moves first)"


def _signed(name: str, formula: str, grain: float, needs_s: float = 0.0, source: str = "definition",
            policy: Policy = Policy.MASK) -> Feature:  # fmt: skip
    """A distance or return in basis points."""
    return Feature(name, "bp", formula, source, -FAR, FAR, grain, needs_s, policy)


def _share(name: str, formula: str, needs_s: float = 0.0, source: str = "definition",
           stuck_after: int = 0) -> Feature:  # fmt: skip
    """A balance between -1 and 1."""
    return Feature(name, "1", formula, source, -1.0, 1.0, 0.0, needs_s, stuck_after=stuck_after)


def _flow(name: str, formula: str, needs_s: float, source: str) -> Feature:
    return Feature(name, "1", formula, source, -1e6, 1e6, 5.0, needs_s)


CATALOGUE: tuple[Feature, ...] = (
    Feature("spread_bps", "bp", "(a1 - b1) / mid * 1e4", policy=Policy.DROP),
    Feature("spread_q50_bps", "bp", "exact median of the last 1024 spreads, in ticks"),
    Feature("spread_q90_bps", "bp", "exact 90 % quantile of the last 1024 spreads, in ticks"),
    Feature("spread_rank", "1", "share of the last 1024 spreads below the present one", high=1.0),
    _signed("microprice_bps", "(a1 qb1 + b1 qa1) / (qb1 + qa1) against mid", 0.5, source=_MICRO),
    _share("imbalance_1", "(qb - qa) / (qb + qa) of the best level"),
    _share("imbalance_5", "(qb - qa) / (qb + qa) summed over 5 levels"),
    _share("imbalance_10", "(qb - qa) / (qb + qa) summed over 10 levels", stuck_after=60),
    Feature("depth_bid_5", "base", "sum of the 5 best bid sizes", high=MANY),
    Feature("depth_ask_5", "base", "sum of the 5 best ask sizes", high=MANY),
    Feature("slope_bid_bps", "bp", "size-weighted distance of 10 bid levels from mid",
            high=10_000.0, stuck_after=60),
    Feature("slope_ask_bps", "bp", "size-weighted distance of 10 ask levels from mid",
            high=10_000.0, stuck_after=60),
    _flow("ofi_1_1s", "order-flow imbalance, best level, 1 s, over mean depth", 1, _OFI),
    _flow("ofi_1_5s", "the same, 5 s", 5, _OFI),
    _flow("ofi_1_15s", "the same, 15 s", 15, _OFI),
    _flow("ofi_5_1s", "order-flow imbalance of 5 levels, 1 s, over mean depth", 1, _MLOFI),
    _flow("ofi_5_5s", "the same, 5 s", 5, _MLOFI),
    _flow("ofi_10_1s", "order-flow imbalance of 10 levels, 1 s, over mean depth", 1, _MLOFI),
    _flow("ofi_10_5s", "the same, 5 s", 5, _MLOFI),
    _share("trade_imbalance_1s", "(buy - sell) / (buy + sell) traded size, 1 s", 1),
    _share("trade_imbalance_5s", "the same, 5 s", 5),
    _share("trade_imbalance_60s", "the same, 60 s", 15),
    Feature("trade_volume_5s", "base", "traded size, 5 s", high=MANY, needs_s=5),
    Feature("trade_volume_60s", "base", "traded size, 60 s", high=MANY, needs_s=15),
    Feature("trade_count_5s", "1/s", "trades, 5 s, a second", high=1e6, needs_s=5),
    _signed("vwap_distance_60s_bps", "mid against the volume-weighted price, 60 s", 5.0, 15),
    _signed("return_1s_bps", "log(mid / mid one second ago) * 1e4", 1.0, 1),
    _signed("return_5s_bps", "the same, 5 s", 2.0, 5),
    _signed("return_15s_bps", "the same, 15 s", 3.0, 15),
    _signed("return_60s_bps", "the same, 60 s", 5.0, 15),
    Feature("volatility_5s_bps", "bp", "square root of summed squared mid returns, 5 s",
            grain=2.0, needs_s=5),
    Feature("volatility_60s_bps", "bp", "the same, 60 s", needs_s=15, policy=Policy.DROP),
    Feature("bipower_60s_bps", "bp", "square root of bipower variation of mid, 60 s", _BV,
            grain=5.0, needs_s=15),
    Feature("book_rate_1s", "1/s", "book events, 1 s", high=1e6, needs_s=1),
    Feature("book_rate_60s", "1/s", "book events, 60 s, a second", high=1e6, needs_s=15),
    _signed("mean_fast_bps", "mid against its exponential mean, 5 s, by buckets", 2.0, 5),
    _signed("mean_slow_bps", "mid against its exponential mean, 30 s, by buckets", 3.0, 15),
    _signed("mean_cross_bps", "fast mean against slow mean", 3.0, 15),
    _signed("sma_cross_1m_bps", "simple mean of 5 closes against that of 20, bars of 1 m", 10.0),
    _signed("ema_cross_1m_bps", "exponential mean of 12 closes against 26, 1 m", 10.0,
            source=_EMA),
    Feature("rsi_14_1s", "1", "relative strength index of 14 closes, bars of 1 s", _WILDER,
            high=100.0, neutral=50.0),
    Feature("rsi_14_1m", "1", "the same, bars of 1 m", _WILDER, high=100.0, neutral=50.0),
    Feature("bollinger_20_1s", "1", "%b: close between the bands, mean of 20 -+ 2 deviations, 1 s",
            _BANDS, -5.0, 6.0, neutral=0.5),
    Feature("bollinger_20_1m", "1", "the same, 1 m", _BANDS, -5.0, 6.0, neutral=0.5),
    Feature("donchian_20_1s", "1", "close between lowest low and highest high of 20 bars, 1 s",
            high=1.0, neutral=0.5),
    Feature("donchian_20_1m", "1", "the same, 1 m", high=1.0, neutral=0.5),
    Feature("atr_14_1s_bps", "bp", "average true range of 14 bars over close, 1 s", _WILDER,
            grain=3.0),
    Feature("atr_14_1m_bps", "bp", "the same, 1 m", _WILDER, grain=10.0),
    Feature("funding_bps", "bp", "current funding rate of the derivative * 1e4", "status",
            -500.0, 500.0, 5.0, policy=Policy.FILL),
    _signed("basis_bps", "derivative price against spot price, as status tells", 5.0,
            source="status", policy=Policy.FILL),
    _signed("mark_distance_bps", "derivative price against its mark price", 5.0, source="status",
            policy=Policy.FILL),
    _signed("peer_lead_1s_bps", "mean 1 s return of other venues less the own", 2.0, 1, _LEAD),
    _signed("peer_lead_5s_bps", "the same, 5 s", 3.0, 5, _LEAD),
    _signed("peer_gap_bps", "mean_slow_bps of other venues less the own, in logarithms", 3.0, 15,
            _LEAD),
    _signed("peer_basis_bps", "log(mean mid of other venues' same pair / mid) * 1e4", 5.0),
    _share("liquidation_imbalance_60s", "(short - long) / (short + long) liquidated, 60 s", 15),
    Feature("liquidation_volume_60s", "base", "liquidated size of the derivative, 60 s",
            high=MANY, needs_s=15),
    _share("day_sin", "sin(2 pi t / 24 h), t of the day, UTC"),
    _share("day_cos", "cos(2 pi t / 24 h)"),
    Feature("book_age_s", "s", "age of the newest book event at the cut", high=86_400.0,
            policy=Policy.DROP),
    Feature("trade_age_s", "s", "age of the newest trade at the cut, 60 at most", high=60.0),
    Feature("history_s", "s", "unbroken history at the cut, 1500 at most", high=1500.0),
)  # fmt: skip

COLUMN: dict[str, int] = {feature.name: index for index, feature in enumerate(CATALOGUE)}
assert len(COLUMN) == len(CATALOGUE) == WIDTH

SLOT = layout(
    [
        ("sequence", "<u8", 0),
        ("cut_ns", "<i8", 8),
        ("made_ns", "<i8", 16),
        ("cut", "<u8", 24),
        ("tape_position_0", "<u8", 32),
        ("tape_position_1", "<u8", 40),
        ("tape_position_2", "<u8", 48),
        ("tape_position_3", "<u8", 56),
        ("invalid", "<u8", 64),
        ("newest_recv_ns", "<i8", 72),
        ("reference_price", "<f8", 80),
        ("instrument", "<u2", 88),
        ("reason", "u1", 90),
        ("spare", "u1", 91),
        ("config_generation", "<u4", 92),
        ("values", ("<f4", (WIDTH,)), 96),
        ("masked", "<u8", 344),
        ("book", ("<f4", (40,)), 352),
    ],
    SLOT_BYTES,
)

FINGERPRINT = fingerprint(SLOT, VERSION, (feature.name for feature in CATALOGUE))
"""Differs when a column is added, renamed or moved: a model made for another catalogue is
refused."""
