"""Samples that are made up, with a truth planted in them or none."""

from typing import Final

import numpy as np

from models.samples import DOWN, FLAT, UNKNOWN, UP, Samples, Target
from schemas.features import CATALOGUE, COLUMN, Invalid
from schemas.tape import LEVELS

TARGET: Final = Target(horizon_s=10.0, move_bps=1.0)
SECOND_NS: Final = 10**9
START_NS: Final = 1_760_000_000 * SECOND_NS
FIRST, SECOND = COLUMN["ofi_1_1s"], COLUMN["imbalance_1"]
"""Columns in which the truth stands; it also stands in the sizes of the best bid and ask."""

SCALES: Final = np.exp(np.random.default_rng(0).normal(size=len(CATALOGUE)))


def planted(cuts: int, instruments: int, truth: str, seed: int, strength: float = 1.0) -> Samples:
    """All instruments at every second, and moves that follow a truth of two hidden numbers.

    Args:
        truth: `linear` (their difference), `nonlinear` (that of their sizes, which no linear
            function of them tells) or `noise` (neither).
        strength: spread of what can be known of a move, against a spread of 1 of what cannot.
    """
    draw = np.random.default_rng(seed)
    count = cuts * instruments
    hidden = draw.normal(size=(count, 2))
    values = draw.normal(size=(count, len(CATALOGUE)))
    values[:, FIRST], values[:, SECOND] = hidden.T
    signal = {
        "linear": (hidden[:, 0] - hidden[:, 1]) / np.sqrt(2),
        "nonlinear": (np.abs(hidden[:, 0]) - np.abs(hidden[:, 1])) / 0.85,
        "noise": np.zeros(count),
    }[truth]
    move = 2 * (strength * signal + draw.normal(size=count))
    label = np.where(move > TARGET.move_bps, UP, np.where(move < -TARGET.move_bps, DOWN, FLAT))
    unknown = draw.random(count) < 0.1
    cut_ns = START_NS + np.repeat(np.arange(cuts), instruments) * SECOND_NS
    instrument = np.tile(np.arange(instruments), cuts)
    walk = draw.normal(size=(cuts, instruments)).cumsum(axis=0).ravel()
    return Samples(
        values=((values + 3) * SCALES).astype(np.float32),
        book=_book(hidden, draw),
        invalid=np.where(unknown, int(Invalid.STALE), 0).astype(np.uint64),
        instrument=instrument.astype(np.uint16),
        cut_ns=cut_ns,
        price=100.0 * 10.0**instrument * np.exp(1e-4 * walk),
        move_bps=np.where(unknown, np.nan, move),
        label=np.where(unknown, UNKNOWN, label).astype(np.int8),
        matured_ns=cut_ns + int(TARGET.horizon_s * SECOND_NS),
    )


def _book(hidden: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """(n, 40) float32: bid offsets and sizes, ask offsets and sizes, as on the tape."""
    steps = 0.005 * (1 + np.arange(LEVELS) + draw.random((len(hidden), LEVELS)))
    sizes = np.exp(0.5 * draw.normal(size=(len(hidden), 2, LEVELS)))
    sizes[:, :, 0] = np.exp(0.5 * hidden)
    return np.hstack([-steps, sizes[:, 0], steps, sizes[:, 1]]).astype(np.float32)


def log_loss(said: np.ndarray, samples: Samples) -> np.ndarray:
    """Of each labelled sample, in nats."""
    known = samples.known
    chances = said[known, samples.label[known]]
    loss: np.ndarray = -np.log(np.maximum(chances.astype(np.float64), 1e-6))
    return loss


def base_rate(samples: Samples) -> np.ndarray:
    """(3): how often each label comes."""
    found: np.ndarray = np.bincount(samples.label[samples.known], minlength=3) / samples.known.sum()
    return found


def interleaved(samples: Samples, seed: int) -> Samples:
    """The same samples, but for a third of them: instruments come and go from cut to cut."""
    kept = np.random.default_rng(seed).random(samples.count) > 1 / 3
    return samples.take(kept)
