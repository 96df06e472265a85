"""What a training found, as data: `report.json` beside the model."""

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from processes.training.dataset import Made
from processes.training.evaluation import Evaluation
from processes.training.leakage import Leakage
from schemas.errors import OperatorError

REPORT: Final = "report.json"


class FoldResult(Struct, frozen=True, kw_only=True):
    """One walk-forward test."""

    number: int
    learnt: int
    """Labels that were learnt from."""
    purged: int
    """Samples before the test that were kept out, for what they would tell of it."""
    tested: int
    from_ns: int
    to_ns: int
    log_loss: float
    log_loss_flat: float


class Importance(Struct, frozen=True, kw_only=True):
    """How much a column moves forecasts from down towards up, in log-odds."""

    column: str
    mean: float
    """Of its size, over the rows that were looked at."""
    share: float
    """Of all columns'."""


class TrainingReport(Struct, frozen=True, kw_only=True):
    """Everything about one training but the numbers learnt. The same inputs give the same bytes."""

    family: str
    version: str
    made_by: str
    horizon_s: float
    move_bps: float
    labels: str
    seed: int
    from_ns: int
    to_ns: int
    made: Made
    known: int
    """Rows that have a label."""
    folds: list[FoldResult]
    evaluation: Evaluation
    """Of the folds' tests together: nothing in it was learnt from."""
    importances: list[Importance]
    leakage: Leakage
    libraries: dict[str, str]
    settings: dict[str, Any]

    @property
    def flat(self) -> Any:
        """The comparison with the flat baseline."""
        return next(one for one in self.evaluation.versus if one.name == "flat")


def read_report(folder: Path) -> TrainingReport:
    """The report of a version.

    Raises:
        OperatorError: it cannot be read.
    """
    try:
        return msgspec.json.decode((folder / REPORT).read_bytes(), type=TrainingReport)
    except (OSError, msgspec.DecodeError) as error:
        raise OperatorError(f"{folder / REPORT} cannot be read: {error}; train it anew") from None
