"""How good forecasts are, on samples that their model has not seen: figures, each with its doubt.

Chances are scored as they are given; where a model says nothing its row is scored as the flat
baseline's, so that silence wins nothing. A trade is entered where the chances of up and down differ
by a threshold or more, and pays what `costs.py` says.
"""

from typing import Final

import numpy as np
from msgspec import Struct
from numba import njit

from models.samples import CLASSES, DOWN, FLAT, OUTPUTS, UP, Samples
from processes.training.bootstrap import Blocks, Interval, auc
from schemas.features import CATALOGUE, COLUMN

THRESHOLDS: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
BINS: Final = 10
LEAST: Final = 1e-6
"""No chance counts as smaller: one mistake is not all there is to say of a model."""
HOUR_NS: Final = 3_600_000_000_000
DAY_S: Final = 86_400.0
_NAMES: Final = ("low volatility", "middle volatility", "high volatility")


class Bin(Struct, frozen=True, kw_only=True):
    """Forecasts of about one chance, and how often it came true."""

    low: float
    high: float
    said: float
    came: float
    count: int


class Reliability(Struct, frozen=True, kw_only=True):
    """What chances are worth; `error` is the mean distance of said and came, by counts."""

    up: list[Bin]
    down: list[Bin]
    error: float


class Entries(Struct, frozen=True, kw_only=True):
    """Trades from one threshold on."""

    threshold: float
    entries: int
    """Samples at which a trade would be entered; their moves overlap."""
    gross_bps: float
    net_bps: Interval
    """Mean of an entry after costs."""
    hit_rate: float
    """Of entries, those whose mid moved their way."""
    trades: int
    """One at a time an instrument, each held until its label was known."""
    trade_net_bps: float
    total_net_bps: float
    trades_per_day: float
    turnover_per_day: float
    """In sizes of a position, both ways, all instruments."""


class Part(Struct, frozen=True, kw_only=True):
    """Figures of some of the samples."""

    name: str
    samples: int
    log_loss: float
    log_loss_flat: float
    accuracy: float
    auc_direction: float
    net_bps: float
    """Mean of an entry after costs, from the middle threshold on."""


class Versus(Struct, frozen=True, kw_only=True):
    """Beside another model, on the same samples."""

    name: str
    log_loss: float
    difference: Interval
    """Ours less its log loss: below zero ours is better."""


class Evaluation(Struct, frozen=True, kw_only=True):
    """Everything about one model's forecasts."""

    samples: int
    unsaid: int
    """Samples of which the model said nothing, scored as the flat baseline's."""
    from_ns: int
    to_ns: int
    blocks: int
    """Blocks of time that intervals were drawn from; with fewer than 20 they say little."""
    block_s: float
    shares: list[float]
    """Of up, flat and down among the labels."""
    log_loss: Interval
    brier: Interval
    accuracy: Interval
    auc_up: Interval
    auc_down: Interval
    auc_direction: Interval
    """Up against down, where mid moved."""
    move_correlation: float
    reliability: Reliability
    thresholds: list[Entries]
    by_regime: list[Part]
    by_hour: list[Part]
    by_instrument: list[Part]
    versus: list[Versus]


class Forecasts(Struct, frozen=True):
    """What a model said, of samples that all have labels."""

    samples: Samples
    said: np.ndarray
    """(n, OUTPUTS); NaN where it said nothing."""
    flat: np.ndarray
    """(n, CLASSES) chances of the flat baseline: the shares of labels in what was learnt from."""
    cost_bps: np.ndarray
    """(n)."""

    @property
    def chances(self) -> np.ndarray:
        """(n, CLASSES) float64, in the flat baseline's words where the model said nothing."""
        return chances_of(self.said, self.flat)


def chances_of(said: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """(n, CLASSES) float64 chances that sum to 1, none below LEAST."""
    given = said[:, :CLASSES].astype(np.float64)
    mute = ~np.isfinite(given).all(axis=1)
    given[mute] = flat[mute]
    given = np.clip(given, LEAST, None)
    scaled: np.ndarray = given / given.sum(axis=1, keepdims=True)
    return scaled


def base_rates(label: np.ndarray) -> np.ndarray:
    """(CLASSES) shares of labels, as one who knows nothing else would forecast them."""
    counts = np.bincount(label[label >= 0], minlength=CLASSES)[:CLASSES] + 1.0
    shares: np.ndarray = counts / counts.sum()
    return shares


def log_losses(chances: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(n) float64, nats."""
    losses: np.ndarray = -np.log(chances[np.arange(len(label)), label])
    return losses


def evaluate(
    forecasts: Forecasts,
    horizon_ns: int,
    seed: int,
    names: dict[int, str],
    others: dict[str, np.ndarray] | None = None,
) -> Evaluation:
    """Score forecasts.

    Args:
        names: of instruments. others: (n, OUTPUTS) of other models, on the same samples.
    """
    samples, label = forecasts.samples, forecasts.samples.label.astype(np.intp)
    chances = forecasts.chances
    blocks = Blocks(samples.cut_ns, horizon_ns, seed)
    losses, flat = log_losses(chances, label), log_losses(_whole(forecasts.flat), label)
    actual = np.eye(CLASSES)[label]
    up, down = chances[:, UP], chances[:, DOWN]
    moved = label != FLAT
    direction = Blocks(samples.cut_ns[moved], horizon_ns, seed)
    rivals = {
        name: log_losses(chances_of(said, forecasts.flat), label)
        for name, said in (others or {}).items()
    }
    expected = forecasts.said[:, CLASSES].astype(np.float64)
    return Evaluation(
        samples=samples.count,
        unsaid=int((~np.isfinite(forecasts.said[:, :CLASSES]).all(axis=1)).sum()),
        from_ns=int(samples.cut_ns[0]),
        to_ns=int(samples.cut_ns[-1]),
        blocks=blocks.count,
        block_s=blocks.length_s,
        shares=(np.bincount(label, minlength=CLASSES) / len(label)).tolist(),
        log_loss=blocks.mean(losses),
        brier=blocks.mean(((chances - actual) ** 2).sum(axis=1)),
        accuracy=blocks.mean((chances.argmax(axis=1) == label).astype(np.float64)),
        auc_up=blocks.auc(up, label == UP),
        auc_down=blocks.auc(down, label == DOWN),
        auc_direction=direction.auc((up - down)[moved], label[moved] == UP),
        move_correlation=_correlation(expected, samples.move_bps),
        reliability=reliability(chances, label),
        thresholds=[_entries(forecasts, chances, blocks, one) for one in THRESHOLDS],
        by_regime=_by_regime(forecasts, chances, losses, flat),
        by_hour=_by_hour(forecasts, chances, losses, flat),
        by_instrument=[
            _part(names.get(one, str(one)), where, forecasts, chances, losses, flat)
            for one, where in samples.streams()
        ],
        versus=[
            Versus(name=name, log_loss=float(its.mean()), difference=blocks.mean(losses - its))
            for name, its in {"flat": flat, **rivals}.items()
        ],
    )


def _whole(flat: np.ndarray) -> np.ndarray:
    return chances_of(np.full((len(flat), OUTPUTS), np.nan), flat)


def _correlation(expected: np.ndarray, move: np.ndarray) -> float:
    there = np.isfinite(expected) & np.isfinite(move)
    if there.sum() < 3 or expected[there].std() == 0.0 or move[there].std() == 0.0:
        return 0.0
    return float(np.corrcoef(expected[there], move[there])[0, 1])


def reliability(chances: np.ndarray, label: np.ndarray) -> Reliability:
    """Bins of equal width over the chances said of up and of down."""
    sides = [_bins(chances[:, side], label == side) for side in (UP, DOWN)]
    apart = sum(one.count * abs(one.said - one.came) for bins in sides for one in bins)
    count = sum(one.count for bins in sides for one in bins)
    return Reliability(up=sides[0], down=sides[1], error=apart / max(count, 1))


def _bins(said: np.ndarray, came: np.ndarray) -> list[Bin]:
    place = np.minimum((said * BINS).astype(np.intp), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    sums, hits = np.bincount(place, said, BINS), np.bincount(place, came, BINS)
    return [
        Bin(
            low=one / BINS, high=(one + 1) / BINS, said=float(sums[one] / counts[one]),
            came=float(hits[one] / counts[one]), count=int(counts[one]),
        )
        for one in range(BINS)
        if counts[one]
    ]  # fmt: skip


def _entries(
    forecasts: Forecasts, chances: np.ndarray, blocks: Blocks, threshold: float
) -> Entries:
    samples = forecasts.samples
    lean = chances[:, UP] - chances[:, DOWN]
    side = np.where(np.abs(lean) >= threshold, np.sign(lean), 0.0)
    gross = side * samples.move_bps
    net = gross - forecasts.cost_bps
    taken = side != 0.0
    count = int(taken.sum())
    trades, total = _one_at_a_time(
        samples.instrument.astype(np.int64), samples.cut_ns, samples.matured_ns, taken, net,
        int(samples.instrument.max()) + 1,
    )  # fmt: skip
    days = max(_days(samples), 1e-9)
    return Entries(
        threshold=threshold,
        entries=count,
        gross_bps=float(gross[taken].mean()) if count else 0.0,
        net_bps=blocks.mean(net, taken),
        hit_rate=float((gross[taken] > 0).mean()) if count else 0.0,
        trades=trades,
        trade_net_bps=total / trades if trades else 0.0,
        total_net_bps=total,
        trades_per_day=trades / days,
        turnover_per_day=2 * trades / days,
    )


def _days(samples: Samples) -> float:
    """Time that the samples cover, gaps left out."""
    steps = np.diff(np.unique(samples.cut_ns)) / 1e9
    usual_s = float(np.median(steps)) if len(steps) else 0.0
    return float(np.minimum(steps, 60.0 * usual_s).sum()) / DAY_S


@njit(cache=True, nogil=True)
def _one_at_a_time(
    instrument: np.ndarray, cut_ns: np.ndarray, matured_ns: np.ndarray, taken: np.ndarray,
    net: np.ndarray, instruments: int,
) -> tuple[int, float]:  # fmt: skip
    """Trades that do not overlap: how many, and the sum of what they make."""
    free_ns = np.zeros(instruments, np.int64)
    trades, total = 0, 0.0
    for at in range(len(cut_ns)):
        one = instrument[at]
        if taken[at] and cut_ns[at] >= free_ns[one]:
            trades += 1
            total += net[at]
            free_ns[one] = matured_ns[at]
    return trades, total


def volatility_column() -> int:
    """The catalogue's volatility over the longest window."""
    found = [name for name in COLUMN if name.startswith("volatility_")]
    assert found, CATALOGUE
    return COLUMN[found[-1]]


def _by_regime(
    forecasts: Forecasts, chances: np.ndarray, losses: np.ndarray, flat: np.ndarray
) -> list[Part]:
    """Thirds of the samples by each instrument's volatility."""
    samples = forecasts.samples
    third = np.zeros(samples.count, np.intp)
    volatility = samples.values[:, volatility_column()]
    for _, where in samples.streams():
        third[where] = np.searchsorted(
            np.quantile(volatility[where], [1 / 3, 2 / 3]), volatility[where], side="right"
        )
    return [
        _part(name, where, forecasts, chances, losses, flat)
        for number, name in enumerate(_NAMES)
        if len(where := np.flatnonzero(third == number))
    ]


def _by_hour(
    forecasts: Forecasts, chances: np.ndarray, losses: np.ndarray, flat: np.ndarray
) -> list[Part]:
    hour = forecasts.samples.cut_ns // HOUR_NS % 24
    return [
        _part(f"{one:02d}", np.flatnonzero(hour == one), forecasts, chances, losses, flat)
        for one in np.unique(hour).tolist()
    ]


def _auc(score: np.ndarray, positive: np.ndarray) -> float:
    return auc(score, positive) if 0 < positive.sum() < len(positive) else 0.5


def _part(
    name: str, where: np.ndarray, forecasts: Forecasts, chances: np.ndarray, losses: np.ndarray,
    flat: np.ndarray,
) -> Part:  # fmt: skip
    samples, label = forecasts.samples, forecasts.samples.label[where]
    lean = (chances[:, UP] - chances[:, DOWN])[where]
    net = np.sign(lean) * samples.move_bps[where] - forecasts.cost_bps[where]
    taken = np.abs(lean) >= THRESHOLDS[len(THRESHOLDS) // 2]
    moved = label != FLAT
    return Part(
        name=name,
        samples=len(where),
        log_loss=float(losses[where].mean()),
        log_loss_flat=float(flat[where].mean()),
        accuracy=float((chances[where].argmax(axis=1) == label).mean()),
        auc_direction=_auc(lean[moved], label[moved] == UP),
        net_bps=float(net[taken].mean()) if taken.any() else 0.0,
    )
