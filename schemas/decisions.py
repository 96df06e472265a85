"""Execution's input journal and its decisions, in one ring. Slot layout, 512 bytes:

    offset size field                what it holds
    ------ ---- -------------------- -----------------------------------------------------------
         0    8 sequence             u64, the ring's own
         8    8 time_ns              i64, the input's time: the only clock the machine knows
        16    8 made_ns              i64, when the slot was written
        24    8 input_sequence       u64, of a decision: the input that caused it
        32    8 cut                  u64
        40    8 feature_sequence     u64
        48    8 prediction_sequence  u64
        56    8 reference_price      f64
        64    8 newest_recv_ns       i64, receive time of the newest market event behind it
        72    8 command_low          u64, the order's command id, where there is one
        80    8 command_high         u64
        88    1 kind                 u8, `SlotKind`
        89    1 action               u8, `trading.Action`
        90    2 reason               u16, `trading.Reason`
        92    2 instrument           u16
        94    1 strategy             u8, index into STRATEGIES
        95    1 rung                 u8
        96  128 numbers              16 x f64 of a decision, columns as in NUMBERS
       224    8 invalid              u64, from the feature row
       232    4 config_generation    u32
       236    1 kill_level           u8
       237    1 spare
       238    2 message_length       u16
       240  272 message              msgpack bytes of an event or command; of a prediction input the
                                     224 bytes of its outputs (offsets 96 to 320 of its slot)

Inputs are committed before they are acted on, and the machine reads nothing else: the ring,
replayed, gives the same decisions to the bit.
"""

from enum import IntEnum

from schemas.layout import fingerprint, layout
from schemas.predictions import MAX_MODELS

VERSION = 2
SLOT_BYTES = 512
MESSAGE_BYTES = 272


class SlotKind(IntEnum):
    """What a slot of the ring is."""

    INPUT_PREDICTION = 1
    INPUT_BROKER = 2
    INPUT_TIMER = 3
    INPUT_COMMAND = 4
    INPUT_SIGNAL = 5
    INPUT_CONFIG = 6
    INPUT_START = 7
    INPUT_LEDGER = 8
    DECISION = 16
    ORDER = 17


NUMBERS: tuple[str, ...] = (
    "confidence",
    "expected_move_bps",
    "cost_bps",
    "expected_value_bps",
    "position",
    "quantity",
    "limit_price",
    "spread_bps",
    "volatility_bps",
    "realized_pnl",
    "unrealized_pnl",
    "age_ms",
    "horizon_s",
)

STRATEGIES: tuple[str, ...] = (
    "none",
    "moving_average_cross",
    "tcn",
    "blend",
    "kill_switch",
    "external",
    "always_flat",
    "volatility_trend",
    "degradation",
    "cnn",
    "linear",
    "gbdt",
    "regime",
    "rsi_thresholds",
    "bollinger_touch",
    "donchian_breakout",
)

_HEADER = [
    ("sequence", "<u8", 0),
    ("time_ns", "<i8", 8),
    ("made_ns", "<i8", 16),
    ("input_sequence", "<u8", 24),
    ("cut", "<u8", 32),
    ("feature_sequence", "<u8", 40),
    ("prediction_sequence", "<u8", 48),
    ("reference_price", "<f8", 56),
    ("newest_recv_ns", "<i8", 64),
    ("command_low", "<u8", 72),
    ("command_high", "<u8", 80),
    ("kind", "u1", 88),
    ("action", "u1", 89),
    ("reason", "<u2", 90),
    ("instrument", "<u2", 92),
    ("strategy", "u1", 94),
    ("rung", "u1", 95),
    ("numbers", ("<f8", (16,)), 96),
    ("invalid", "<u8", 224),
    ("config_generation", "<u4", 232),
    ("kill_level", "u1", 236),
    ("spare", "u1", 237),
    ("message_length", "<u2", 238),
]

SLOT = layout([*_HEADER, ("message", ("u1", (MESSAGE_BYTES,)), 240)], SLOT_BYTES)

INPUT_PREDICTION = layout(
    [
        *_HEADER,
        ("outputs", ("<f4", (MAX_MODELS, 5)), 240),
        ("blend", ("<f4", (5,)), 420),
        ("spread_bps", "<f4", 440),
        ("volatility_bps", "<f4", 444),
        ("regime", "<f4", 448),
        ("book_age_s", "<f4", 452),
        ("mean_cross_bps", "<f4", 456),
    ],
    SLOT_BYTES,
)
"""An INPUT_PREDICTION slot with its outputs by name."""

FINGERPRINT = fingerprint(SLOT, VERSION, (*NUMBERS, *STRATEGIES))
