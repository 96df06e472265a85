"""Whether forecasts are good because they have seen the future: checks that a report carries.

    overlap   a label that is learnt from was known only after its test had begun
    column    a column tells the coming move better than any market does, or far better than it
              tells the move that has just been: what a row knows, it knows from the past
    lag       rows one horizon older tell the move better than the newest: they are out of step
    shuffle   on labels shuffled in blocks a model still beats the flat baseline on its tests

Skill is 2 AUC - 1 of up against down where mid moved: 0 is none, 1 is all. Of a column it is the
mean over PARTS parts of time, less two standard errors before it is held against anything. A check
that finds nothing is no proof: a future that is mixed in faintly looks like a market that can be
known (docs/training.md says how faintly).
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
from msgspec import Struct

from models.labels import SECOND_NS, Paths, stretches
from models.samples import FLAT, Samples, Target
from processes.training.bootstrap import Blocks, Interval, auc
from processes.training.evaluation import base_rates, chances_of, log_losses
from processes.training.folds import Fold
from schemas.features import CATALOGUE

PARTS: Final = 20
MOST_ROWS: Final = 200_000
"""Columns are looked at in no more rows: every k-th of more."""
IMPLAUSIBLE: Final = 0.8
"""Skill of a single column, at the horizon or one row ahead, that no market gives."""
EXCESS: Final = 0.25
"""So much more of the coming move than of the one before it, and a column is not of the past."""
TOLD: Final = 12
PENALTY: Final = 1e-3
_LEAST: Final = 10
"""Moves of either kind that a part of time needs to count."""


class Finding(Struct, frozen=True, kw_only=True):
    """Something that must not be."""

    check: Literal["overlap", "column", "lag", "shuffle"]
    column: str = ""
    text: str


class ColumnSkill(Struct, frozen=True, kw_only=True):
    """How well one column alone tells moves."""

    name: str
    future: float
    past: float
    """Of the move over the horizon that ended at the row."""
    next_row: float


class Leakage(Struct, frozen=True, kw_only=True):
    """What the checks have found."""

    findings: list[Finding]
    columns: list[ColumnSkill]
    """The TOLD that tell most of the coming move."""
    skill: Interval
    """AUC of a linear probe on the last test."""
    skill_lagged: Interval
    """The same with rows one horizon older."""
    shuffled: Interval
    """Log loss of the family on shuffled labels less that of the flat baseline."""


Fit = Callable[[Samples, Samples], np.ndarray]
"""Fits the family on some samples; (n, OUTPUTS) of others."""


def check(
    samples: Samples, paths: Paths, folds: Sequence[Fold], target: Target, gap_s: float, seed: int,
    fit: Fit,
) -> Leakage:  # fmt: skip
    """Look for the future in what was learnt from.

    Args:
        samples: labelled. gap_s: as labels were made with. fit: one fit of the family under test.
    """
    moves = _Moves(samples, paths, target, gap_s)
    columns = column_skills(samples, moves)
    skill, lagged, lag = _lags(samples, moves, folds[-1], target, seed)
    shuffled, found = _shuffled(samples, folds[-1], target, seed, fit)
    told = sorted((one for one, *_ in columns), key=lambda one: -abs(one.future))
    return Leakage(
        findings=[*overlaps(samples, folds), *_columns(columns), *lag, *found],
        columns=told[:TOLD],
        skill=skill,
        skill_lagged=lagged,
        shuffled=shuffled,
    )


def overlaps(samples: Samples, folds: Sequence[Fold]) -> list[Finding]:
    """Folds that learn from what their test is made of."""
    found = []
    for fold in folds:
        late = samples.known[fold.train] & (samples.matured_ns[fold.train] >= fold.from_ns)
        shared = (fold.train >= fold.test.start) & (fold.train < fold.test.stop)
        if late.any() or shared.any():
            told = (
                f"fold {fold.number} learns from {int((late | shared).sum())} samples that "
                "overlap its test"
            )
            found.append(Finding(check="overlap", text=told))
    return found


class _Moves:
    """Moves of mid about each sample: over the coming horizon, the past one, the next row."""

    def __init__(self, samples: Samples, paths: Paths, target: Target, gap_s: float) -> None:
        count = samples.count
        self.future = np.where(samples.known, samples.move_bps, np.nan)
        self.past = np.full(count, np.nan)
        self.next_row = np.full(count, np.nan)
        self.older = np.full(count, -1)
        """(n) place of the instrument's last row that is a horizon old or more; -1 = none."""
        horizon_ns = round(target.horizon_s * SECOND_NS)
        level = np.log(samples.price) * 1e4
        for _, where in samples.streams():
            cuts = samples.cut_ns[where]
            numbers = stretches(paths, where, int(gap_s * SECOND_NS))
            before = np.searchsorted(cuts, cuts - horizon_ns, side="right") - 1
            there = (before >= 0) & (numbers[np.maximum(before, 0)] == numbers)
            self.older[where[there]] = where[before[there]]
            self.past[where[there]] = (level[where] - level[where[before]])[there]
            joined = np.flatnonzero(np.diff(numbers) == 0)
            self.next_row[where[joined]] = np.diff(level[where])[joined]
        self.past[np.abs(self.past) < target.move_bps] = np.nan
        self.future[samples.label == FLAT] = np.nan
        self.next_row[np.abs(self.next_row) < 1e-9] = np.nan


def column_skills(samples: Samples, moves: _Moves) -> list[tuple[ColumnSkill, float, float, float]]:
    """Each column's skill, and what is sure of it: of the future, the next row, the excess."""
    some = slice(None, None, samples.count // MOST_ROWS + 1)
    values = samples.values[some]
    edges = np.linspace(0, len(values), PARTS + 1).astype(np.intp)
    told = []
    for column, feature in enumerate(CATALOGUE):
        skills = {
            name: _by_parts(values[:, column], getattr(moves, name)[some], edges)
            for name in ("future", "past", "next_row")
        }
        future, past, following = (
            float(np.nanmean(skills[name])) if np.isfinite(skills[name]).any() else 0.0
            for name in ("future", "past", "next_row")
        )
        made = ColumnSkill(name=feature.name, future=future, past=past, next_row=following)
        excess = skills["future"] * np.sign(future) - skills["past"] * np.sign(past)
        ahead, beside = skills["future"] * np.sign(future), skills["next_row"] * np.sign(following)
        told.append((made, _sure(ahead), _sure(beside), _sure(excess)))
    return told


def _by_parts(values: np.ndarray, move: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(PARTS) skill in each part of time; NaN where it has too few moves."""
    found = np.full(PARTS, np.nan)
    for part in range(PARTS):
        mine = slice(edges[part], edges[part + 1])
        there = np.isfinite(move[mine])
        up = move[mine][there] > 0
        if min(up.sum(), (~up).sum()) >= _LEAST:
            found[part] = 2 * auc(values[mine][there], up) - 1
    return found


def _sure(parts: np.ndarray) -> float:
    """The mean of the parts, less two standard errors."""
    there = parts[np.isfinite(parts)]
    if len(there) < PARTS // 2:
        return 0.0
    return float(there.mean() - 2 * there.std(ddof=1) / np.sqrt(len(there)))


def _columns(columns: list[tuple[ColumnSkill, float, float, float]]) -> list[Finding]:
    found = []
    for one, future, following, excess in columns:
        if max(future, following) > IMPLAUSIBLE:
            told = (
                f"{one.name} alone tells the move over the horizon with a skill of "
                f"{one.future:.2f}, to the next row of {one.next_row:.2f}: no market gives more "
                f"than {IMPLAUSIBLE}"
            )
        elif excess > EXCESS:
            told = (
                f"{one.name} tells the coming move with a skill of {one.future:.2f}, and the one "
                f"before it with {one.past:.2f}: it is made of the future"
            )
        else:
            continue
        found.append(Finding(check="column", column=one.name, text=told))
    return found


def _lags(
    samples: Samples, moves: _Moves, fold: Fold, target: Target, seed: int
) -> tuple[Interval, Interval, list[Finding]]:
    """A linear probe on the newest rows and on those one horizon older, on the same tests."""
    there = np.isfinite(moves.future) & (moves.older >= 0)
    train = fold.train[there[fold.train]]
    train = train[:: len(train) // MOST_ROWS + 1]
    test = np.flatnonzero(there[fold.test]) + fold.test.start
    if min(len(train), len(test)) < 2 * _LEAST:
        none = Interval(low=0.0, value=0.5, high=1.0)
        return none, none, []
    blocks = Blocks(samples.cut_ns[test], round(target.horizon_s * SECOND_NS), seed)
    up = moves.future[test] > 0
    newest = blocks.auc(
        _probe(samples.values[train], moves.future[train], samples.values[test]), up
    )
    older = moves.older
    lagged = blocks.auc(
        _probe(samples.values[older[train]], moves.future[train], samples.values[older[test]]), up
    )
    if lagged.low <= newest.high or lagged.low <= 0.5:
        return newest, lagged, []
    told = (
        f"rows one horizon older tell the move with an AUC of {lagged.value:.3f}, the newest with "
        f"{newest.value:.3f}: labels and rows are out of step"
    )
    return newest, lagged, [Finding(check="lag", text=told)]


def _probe(train: np.ndarray, move: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Ridge regression of the move's sign."""
    mean, scale = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    scale[scale < 1e-12] = 1.0
    rows = (train - mean) / scale
    square = rows.T @ rows / len(rows) + PENALTY * np.eye(rows.shape[1])
    side = np.sign(move)
    slope = np.linalg.solve(square, rows.T @ (side - side.mean()) / len(rows))
    score: np.ndarray = ((test - mean) / scale) @ slope
    return score


def _shuffled(
    samples: Samples, fold: Fold, target: Target, seed: int, fit: Fit
) -> tuple[Interval, list[Finding]]:
    """Fit and test on labels that blocks of time have swapped."""
    horizon_ns = round(target.horizon_s * SECOND_NS)
    mixed = shuffle(samples, horizon_ns, seed)
    train, test = mixed.take(fold.train), mixed.take(fold.test)
    test = test.take(test.known)
    flat = np.tile(base_rates(train.label), (test.count, 1))
    said = fit(train, test)
    losses = log_losses(chances_of(said, flat), test.label.astype(np.intp))
    least = log_losses(flat, test.label.astype(np.intp))
    difference = Blocks(test.cut_ns, horizon_ns, seed).mean(losses - least)
    # Of two such intervals in a hundred neither may end below zero: three standard errors, not two.
    bound = difference.value + 1.5 * (difference.high - difference.value)
    if bound >= 0:
        return difference, []
    told = (
        f"on shuffled labels the log loss is {-difference.value:.4f} better than the flat "
        "baseline's: the test is known from elsewhere than from its rows"
    )
    return difference, [Finding(check="shuffle", text=told)]


def shuffle(samples: Samples, horizon_ns: int, seed: int) -> Samples:
    """The samples with labels and moves of other times, blocks of ten horizons swapped whole.

    When a label is known stays as it is, so that folds do.
    """
    draw = np.random.default_rng(seed)
    move, label = samples.move_bps.copy(), samples.label.copy()
    for _, where in samples.streams():
        known = where[samples.known[where]]
        if not len(known):
            continue
        block = (samples.cut_ns[known] - samples.cut_ns[known[0]]) // max(10 * horizon_ns, 1)
        order = np.argsort(draw.permutation(int(block.max()) + 1)[block], kind="stable")
        move[known], label[known] = samples.move_bps[known[order]], samples.label[known[order]]
    columns = {name: getattr(samples, name) for name in samples.__dataclass_fields__}
    return Samples(**{**columns, "move_bps": move, "label": label})
