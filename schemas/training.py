"""How models are trained and judged, and trained again by themselves, once a day."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.units import BasisPoints, Positive, Seconds

Fitted = Literal[
    "sgd",
    "ftrl",
    "passive_aggressive",
    "gbdt",
    "tcn",
    "cnn",
    "regime",
    "ridge",
    "logistic",
    "moving_average_cross",
    "rsi_thresholds",
    "bollinger_touch",
    "donchian_breakout",
    "blend",
]
"""Families that a promotion makes sense of: base rates have no skill."""
TimeOfDay = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class TargetSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model predicts."""

    horizon_s: Seconds
    move_bps: BasisPoints
    """Moves of mid smaller than this count as flat."""


class TrainingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models are trained and judged; docs/training.md."""

    targets: Annotated[tuple[TargetSettings, ...], Meta(min_length=1)] = (
        TargetSettings(horizon_s=60.0, move_bps=3.0),
        TargetSettings(horizon_s=300.0, move_bps=6.0),
        TargetSettings(horizon_s=900.0, move_bps=11.0),
        TargetSettings(horizon_s=3600.0, move_bps=22.0),
        TargetSettings(horizon_s=7200.0, move_bps=32.0),
    )
    """A model of each, if `--horizon` names none of them."""
    labels: Literal["move", "triple_barrier"] = "move"
    """Of where mid is at the horizon, or of which barrier it touches first, after costs."""
    take_bps: BasisPoints = 10.0
    """Of triple barriers: profit at which a trade ends, net of its costs."""
    stop_bps: BasisPoints = 30.0
    """Loss at which it ends, costs included; rows that cost as much have no label."""
    gap_s: Seconds = 10.0
    """Rows of an instrument further apart than this have a gap between, which no label crosses."""
    slippage_bps: BasisPoints = 1.0
    """Of a fill, beside the spread and the venue's fee."""
    folds: Annotated[int, Meta(ge=1, le=100)] = 5
    window_s: Annotated[float, Meta(ge=0)] = 0.0
    """A fold learns from at most so long before its test; 0 = from all that came before."""
    embargo_horizons: Annotated[float, Meta(ge=0)] = 1.0
    """So many horizons are kept free between what is learnt from and a test."""
    baselines: tuple[str, ...] = ("ridge", "logistic")
    """Families that each report is compared with, beside the base rates; fitted on its folds."""
    expiry_days: Annotated[float, Meta(gt=0)] = 7.0
    """A model is too old to be promoted so long after the last row it was fitted on."""
    keep: Positive = 30
    """Versions of a family that are kept; the promoted one and the one before it stay anyway."""
    max_rows: Positive = 20_000_000
    """Rows of a training; each is some 480 bytes on disk while it lasts."""


class RetrainingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training again by itself, once a day; docs/training.md."""

    families: tuple[Fitted, ...] = ()
    """As `dcctl train` names them; none = nothing is trained by itself."""
    at: TimeOfDay = "03:10"
    """UTC. A day that was slept through or stopped over is caught up with."""
    days: Annotated[float, Meta(gt=0, le=3660)] = 30.0
    """Of rows, up to the last whole hour."""
    horizon_s: Seconds = 60.0
    """The one of training.targets that is trained for: a family has one promoted model."""
    recorded: bool = False
    """Take rows as they were recorded, and do not make them again out of the tapes."""
    promote: bool = True
    """Promote what is made; refused as `dcctl models promote` refuses it, never forced."""
    longest_s: Seconds = 6 * 3600.0
    """A training that takes longer is ended, and counts as one that failed."""
    retry_s: Seconds = 600.0
    """After one that failed; three are tried a day."""
