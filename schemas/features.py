"""The feature catalogue, version 1, and the slot that carries one row.

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
        96  256 values             64 x f32, columns as in CATALOGUE, zeros behind them
       352  160 book               40 x f32, the primary book at the cut, as on the tape

Windows are of receive time, kept in buckets of 100 ms: a window of 1 s is the running bucket and
the nine before it.
"""

from enum import IntEnum, IntFlag

from msgspec import Struct

from schemas.layout import fingerprint, layout

VERSION = 1
SLOT_BYTES = 512
WIDTH = 64
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
    """Less history than the longest window needs."""
    NOT_FINITE = 32


class Feature(Struct, frozen=True):
    """One column: what it is, in what unit, by what formula, from where."""

    name: str
    unit: str
    formula: str
    source: str = "definition"


_OFI = "Cont, Kukanov, Stoikov: The Price Impact of Order Book Events, 2014"
_MLOFI = "Xu, Gould, Howison: Multi-Level Order-Flow Imbalance in a Limit Order Book, 2019"
_MICRO = "Gatheral, Oomen: Zero-intelligence realized variance estimation, 2010 (weighted mid)"
_BV = "Barndorff-Nielsen, Shephard: Power and Bipower Variation, 2004"

CATALOGUE: tuple[Feature, ...] = (
    Feature("spread_bps", "bp", "(a1 - b1) / mid * 1e4"),
    Feature("spread_q50_bps", "bp", "exact median of the last 1024 spreads, in ticks"),
    Feature("spread_q90_bps", "bp", "exact 90 % quantile of the last 1024 spreads, in ticks"),
    Feature("spread_rank", "1", "share of the last 1024 spreads below the present one"),
    Feature("microprice_bps", "bp", "(a1 qb1 + b1 qa1) / (qb1 + qa1) against mid", _MICRO),
    Feature("imbalance_1", "1", "(qb - qa) / (qb + qa) of the best level"),
    Feature("imbalance_5", "1", "(qb - qa) / (qb + qa) summed over 5 levels"),
    Feature("imbalance_10", "1", "(qb - qa) / (qb + qa) summed over 10 levels"),
    Feature("depth_bid_5", "base", "sum of the 5 best bid sizes"),
    Feature("depth_ask_5", "base", "sum of the 5 best ask sizes"),
    Feature("slope_bid_bps", "bp", "size-weighted distance of 10 bid levels from mid"),
    Feature("slope_ask_bps", "bp", "size-weighted distance of 10 ask levels from mid"),
    Feature("ofi_1_1s", "1", "order-flow imbalance, best level, 1 s, over mean depth", _OFI),
    Feature("ofi_1_5s", "1", "the same, 5 s", _OFI),
    Feature("ofi_1_15s", "1", "the same, 15 s", _OFI),
    Feature("ofi_5_1s", "1", "order-flow imbalance of 5 levels, 1 s, over mean depth", _MLOFI),
    Feature("ofi_5_5s", "1", "the same, 5 s", _MLOFI),
    Feature("ofi_10_1s", "1", "order-flow imbalance of 10 levels, 1 s, over mean depth", _MLOFI),
    Feature("ofi_10_5s", "1", "the same, 5 s", _MLOFI),
    Feature("trade_imbalance_1s", "1", "(buy - sell) / (buy + sell) traded size, 1 s"),
    Feature("trade_imbalance_5s", "1", "the same, 5 s"),
    Feature("trade_imbalance_60s", "1", "the same, 60 s"),
    Feature("trade_volume_5s", "base", "traded size, 5 s"),
    Feature("trade_volume_60s", "base", "traded size, 60 s"),
    Feature("trade_count_5s", "1/s", "trades, 5 s, a second"),
    Feature("vwap_distance_60s_bps", "bp", "mid against the volume-weighted price, 60 s"),
    Feature("return_1s_bps", "bp", "log(mid / mid one second ago) * 1e4"),
    Feature("return_5s_bps", "bp", "the same, 5 s"),
    Feature("return_15s_bps", "bp", "the same, 15 s"),
    Feature("return_60s_bps", "bp", "the same, 60 s"),
    Feature("volatility_5s_bps", "bp", "square root of summed squared mid returns, 5 s"),
    Feature("volatility_60s_bps", "bp", "the same, 60 s"),
    Feature("bipower_60s_bps", "bp", "square root of bipower variation of mid, 60 s", _BV),
    Feature("book_rate_1s", "1/s", "book events, 1 s"),
    Feature("book_rate_60s", "1/s", "book events, 60 s, a second"),
    Feature("mean_fast_bps", "bp", "mid against its exponential mean, 5 s, by buckets"),
    Feature("mean_slow_bps", "bp", "mid against its exponential mean, 30 s, by buckets"),
    Feature("mean_cross_bps", "bp", "fast mean against slow mean"),
    Feature("book_age_s", "s", "age of the newest book event at the cut"),
    Feature("trade_age_s", "s", "age of the newest trade at the cut, 60 at most"),
)

COLUMN: dict[str, int] = {feature.name: index for index, feature in enumerate(CATALOGUE)}
assert len(COLUMN) == len(CATALOGUE) <= WIDTH

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
        ("book", ("<f4", (40,)), 352),
    ],
    SLOT_BYTES,
)

FINGERPRINT = fingerprint(SLOT, VERSION, (feature.name for feature in CATALOGUE))
"""Differs when a column is added, renamed or moved: a model made for another catalogue is
refused."""
