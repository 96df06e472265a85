"""Walk-forward folds: what a model may learn from before each stretch that it is tested on.

Tests follow one another in time and cover all but the first part. A model learns from what came
before a test, less what would tell it about the test (López de Prado, Advances in Financial Machine
Learning, 2018, ch. 7): samples whose labels were known only after the test's beginning are purged,
and so are those within an embargo before it, and those whose labels reach into the rows that the
first predictions are made of (so many times the usual distance of cuts: before a gap there is
nothing to keep free).
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from models.base import ModelError
from models.samples import Samples

LEAST_KNOWN: Final = 50
"""Labels that a fold needs on either side, to be one."""


class Plan(NamedTuple):
    """How folds are cut."""

    folds: int
    embargo_ns: int
    """Kept free between the last label learnt and the test."""
    window_ns: int = 0
    """Training begins at most so long before the test; 0 = with the first sample there is."""
    rows_back: int = 0
    """Earlier rows of an instrument that a prediction is made of: `Model.rows_back`."""


class Fold(NamedTuple):
    """One test and what may be learnt before it."""

    number: int
    train: np.ndarray
    """(k) places of samples."""
    test: slice
    context: slice
    """Begins so far before the test that the first predictions have their rows; the test ends
    it."""
    limit_ns: int
    """No label that is learnt from was known at this time or later."""
    from_ns: int
    to_ns: int
    """Cuts of the first and of the last sample of the test."""


def walk_forward(samples: Samples, plan: Plan) -> list[Fold]:
    """The folds, in the order of time. Samples of one cut are never parted.

    Raises:
        ModelError: there is too little between beginning and end for so many.
    """
    found = list(_folds(samples, plan))
    known = samples.known
    for fold in found:
        if min(known[fold.train].sum(), known[fold.test].sum()) < LEAST_KNOWN:
            raise ModelError(
                f"fold {fold.number} of {plan.folds} has {known[fold.train].sum()} labels to learn "
                f"from and {known[fold.test].sum()} to be tested on, of {LEAST_KNOWN} needed: take "
                "a longer span (--from, --to), fewer folds (--folds), or a shorter --horizon"
            )
    return found


def _folds(samples: Samples, plan: Plan) -> Iterator[Fold]:
    cuts = np.unique(samples.cut_ns)
    usual_ns = int(np.median(np.diff(cuts))) if len(cuts) > 1 else 0
    edges = [int(cuts[len(cuts) * part // (plan.folds + 1)]) for part in range(1, plan.folds + 1)]
    ends = [*edges[1:], int(cuts[-1]) + 1]
    for number, (from_ns, to_ns) in enumerate(zip(edges, ends, strict=True), start=1):
        begin, end = np.searchsorted(samples.cut_ns, [from_ns, to_ns])
        first = _first_needed(samples, int(begin), plan.rows_back)
        limit_ns = from_ns - plan.embargo_ns - plan.rows_back * usual_ns
        learnt = samples.matured_ns[:begin] < limit_ns
        if plan.window_ns:
            learnt &= samples.cut_ns[:begin] >= from_ns - plan.window_ns
        yield Fold(
            number, np.flatnonzero(learnt), slice(int(begin), int(end)), slice(first, int(end)),
            limit_ns, from_ns, int(samples.cut_ns[end - 1]),
        )  # fmt: skip


def _first_needed(samples: Samples, begin: int, rows_back: int) -> int:
    """Where the earliest row is that the predictions of a test are made of."""
    first = begin
    if not rows_back:
        return first
    before = samples.instrument[:begin]
    for instrument in np.unique(samples.instrument[begin:]):
        mine = np.flatnonzero(before == instrument)[-rows_back:]
        first = min(first, int(mine[0])) if len(mine) else first
    return first
