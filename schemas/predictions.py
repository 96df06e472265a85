"""What inference says of one instrument at one cut. Slot layout, 320 bytes:

offset size field              what it holds
------ ---- ------------------ -------------------------------------------------------------
     0    8 sequence           u64, the ring's own
     8    8 made_ns            i64, when the prediction was written
    16    8 cut                u64, the feature row's cut
    24    8 cut_ns             i64
    32    8 feature_sequence   u64, the row it is made from
    40    8 newest_recv_ns     i64, from the row
    48    8 reference_price    f64, from the row
    56    8 invalid            u64, from the row
    64    8 model_version      u64, fingerprint of the line-up that spoke (`schemas/lineup.py`)
    72    8 learner_state      u64, fingerprint of what the online model had learnt; 0 = none learns
    80    2 instrument         u16
    82    1 rung               u8, `Rung`
    83    1 device             u8, `Device`
    84    2 batch_rows         u16, rows of the batch shape it was computed in
    86    2 flags              u16, `PredictionFlag` bits
    88    4 config_generation  u32
    92    4 drain_first        u32, low half of the sequence of the first row of its drain
    96  180 outputs            9 models x (up, flat, down, expected move bp, its spread bp), f32
   276   20 blend              the same five of the blend
   296    4 spread_bps         f32, from the row, since execution reads nothing else
   300    4 volatility_bps     f32, volatility_60s_bps of the row
   304    4 regime             f32, the likeliest state by the regime model; NaN without one
   308    8 book_age_s, mean_cross_bps   f32 each, from the row
   316    4 spare

Of the rows of a drain only the newest of each instrument is published; rows before `drain_first`
that no prediction is about were taken in silence, after a restart. That is what a replay needs to
drain as it was drained.
"""

from enum import IntEnum, IntFlag
from typing import Literal, get_args

import numpy as np

from schemas.layout import fingerprint, layout

VERSION = 4
SLOT_BYTES = 320
MAX_MODELS = 9


class Rung(IntEnum):
    """How much of the model chain is in force; higher is worse."""

    MLX = 0
    CPU = 1
    POSITIONS_ONLY = 2


class Device(IntEnum):
    """What computed the network's part."""

    NONE = 0
    MLX_CPU = 1
    MLX_GPU = 2
    NUMPY = 3


class PredictionFlag(IntFlag):
    """Bits of a prediction's `flags`."""

    LATE = 1
    """The deadline of the cut had passed when it was made."""


NETWORK = "tcn"
"""Family and place of the network that the rungs are of; the one of which a version is shipped."""
RULE = "moving_average_cross"
"""Family and place of the rule that speaks where nothing else can, and is in the chain itself."""
RULES: tuple[str, ...] = (RULE, "rsi_thresholds", "bollinger_touch", "donchian_breakout")
"""Families, and places, that speak without a version: what the textbook says of one indicator."""
BLEND = "blend"
MODELS: tuple[str, ...] = (NETWORK, RULE, "cnn", "linear", "gbdt", "regime", *RULES[1:])
"""Names behind the rows of `outputs`: places in which one model each can stand. A place where none
stands, or none that could speak, has NaN there."""
SPEAKERS: tuple[str, ...] = (*MODELS, BLEND)
"""Whom a strategy can follow."""
PLACE_OF: dict[str, str] = {
    "tcn": "tcn",
    "moving_average_cross": "moving_average_cross",
    "cnn": "cnn",
    "sgd": "linear",
    "ftrl": "linear",
    "passive_aggressive": "linear",
    "ridge": "linear",
    "logistic": "linear",
    "gbdt": "gbdt",
    "regime": "regime",
    "rsi_thresholds": "rsi_thresholds",
    "bollinger_touch": "bollinger_touch",
    "donchian_breakout": "donchian_breakout",
}
"""The place of each family that can stand in inference's line-up."""
Family = Literal[
    "tcn", "moving_average_cross", "cnn", "sgd", "ftrl", "passive_aggressive", "ridge", "logistic",
    "gbdt", "regime", "rsi_thresholds", "bollinger_touch", "donchian_breakout",
]  # fmt: skip
assert get_args(Family) == tuple(PLACE_OF)
assert len(MODELS) <= MAX_MODELS
assert set(PLACE_OF.values()) == set(MODELS)


def spoken(slot: np.void) -> tuple[tuple[float, ...], ...]:
    """Outputs of a prediction slot in the order of SPEAKERS."""
    models = slot["outputs"][: len(MODELS)].tolist()
    return tuple(tuple(model) for model in [*models, slot["blend"].tolist()])


def outputs_of(name: str) -> list[str]:
    """Columns of a model's five outputs."""
    return [f"{name}_{output}" for output in ("up", "flat", "down", "move_bps", "spread_bps")]


SLOT = layout(
    [
        ("sequence", "<u8", 0),
        ("made_ns", "<i8", 8),
        ("cut", "<u8", 16),
        ("cut_ns", "<i8", 24),
        ("feature_sequence", "<u8", 32),
        ("newest_recv_ns", "<i8", 40),
        ("reference_price", "<f8", 48),
        ("invalid", "<u8", 56),
        ("model_version", "<u8", 64),
        ("learner_state", "<u8", 72),
        ("instrument", "<u2", 80),
        ("rung", "u1", 82),
        ("device", "u1", 83),
        ("batch_rows", "<u2", 84),
        ("flags", "<u2", 86),
        ("config_generation", "<u4", 88),
        ("drain_first", "<u4", 92),
        ("outputs", ("<f4", (MAX_MODELS, 5)), 96),
        ("blend", ("<f4", (5,)), 276),
        ("spread_bps", "<f4", 296),
        ("volatility_bps", "<f4", 300),
        ("regime", "<f4", 304),
        ("book_age_s", "<f4", 308),
        ("mean_cross_bps", "<f4", 312),
        ("spare", "<u4", 316),
    ],
    SLOT_BYTES,
)

FINGERPRINT = fingerprint(SLOT, VERSION, MODELS)
