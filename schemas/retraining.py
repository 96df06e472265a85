"""Training again by itself, once a day: which families, of how many days, and when."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Fitted = Literal[
    "sgd", "ftrl", "passive_aggressive", "gbdt", "tcn", "cnn", "regime", "ridge", "logistic"
]
"""Families that a promotion makes sense of: rules have nothing to fit, base rates no skill."""
TimeOfDay = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class RetrainingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Training again by itself, once a day; docs/training.md."""

    families: tuple[Fitted, ...] = ()
    """As `dcctl train` names them; none = nothing is trained by itself."""
    at: TimeOfDay = "03:10"
    """UTC. A day that was slept through or stopped over is caught up with."""
    days: Annotated[float, Meta(gt=0, le=3660)] = 30.0
    """Of rows, up to the last whole hour."""
    horizon_s: Annotated[float, Meta(gt=0)] = 60.0
    """The one of training.targets that is trained for: a family has one promoted model."""
    recorded: bool = False
    """Take rows as they were recorded, and do not make them again out of the tapes."""
    promote: bool = True
    """Promote what is made; refused as `dcctl models promote` refuses it, never forced."""
    longest_s: Annotated[float, Meta(gt=0)] = 6 * 3600.0
    """A training that takes longer is ended, and counts as one that failed."""
    retry_s: Annotated[float, Meta(gt=0)] = 600.0
    """After one that failed; three are tried a day."""
