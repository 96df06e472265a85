"""What a fit may learn from: samples that have a label, and the part of them that is held out."""

from typing import Final

import numpy as np

from models.base import ModelError
from models.samples import Samples

LEAST: Final = 100
"""Labelled samples below which nothing is fitted."""


def learnable(samples: Samples, least: int = LEAST) -> Samples:
    """The samples with a label and a move.

    Raises:
        ModelError: there are too few, or their labels are all alike.
    """
    known = samples.take(_usable(samples))
    if known.count < least:
        raise ModelError(
            f"{known.count} samples have a label and {least} are needed: "
            "take a longer span or a shorter horizon"
        )
    if len(np.unique(known.label)) < 2:
        raise ModelError("all labels are alike: there is nothing to tell apart, change move_bps")
    return known


def held_out(samples: Samples, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Which samples to learn from, and which, later ones, to look at: two masks (n) of bool.

    The later part is this share of the labelled samples. What matured after its first cut is in
    neither: its label was made of prices that the later part's rows have seen already (the purge of
    López de Prado, Advances in Financial Machine Learning, 2018, chapter 7).
    """
    labelled = np.flatnonzero(_usable(samples))
    later = np.zeros(samples.count, bool)
    if len(labelled) == 0:
        return later, later.copy()
    first_ns = samples.cut_ns[labelled[int(len(labelled) * (1 - share))]]
    later[labelled] = samples.cut_ns[labelled] >= first_ns
    earlier = _usable(samples) & ~later & (samples.matured_ns <= first_ns)
    return earlier, later


def _usable(samples: Samples) -> np.ndarray:
    found: np.ndarray = samples.known & np.isfinite(samples.move_bps)
    return found
