"""What models are fitted on and asked about: feature rows, and what the market did after them.

A sample is one instrument at one cut. Samples stand in the order of the feature ring: by cut, and
within a cut by instrument, so that a model that keeps a memory of each instrument may take them one
after another as inference would. Labels are of event time alone: a label is known from `matured_ns`
on, and whoever learns from a sample before that time has seen the future.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

import numpy as np

UP: Final = 0
FLAT: Final = 1
DOWN: Final = 2
UNKNOWN: Final = -1
"""The label of a sample whose future was not seen, or of a row that is not to be trusted."""
CLASSES: Final = 3
OUTPUTS: Final = 5
"""Columns of a prediction: chances of up, flat and down, which sum to 1; the expected move in basis
points; its spread (one standard deviation) in basis points."""


class Target(NamedTuple):
    """What is predicted."""

    horizon_s: float
    """How far ahead."""
    move_bps: float
    """Moves of mid smaller than this count as flat."""


@dataclass(frozen=True)
class Samples:
    """n samples; every array has n rows."""

    values: np.ndarray
    """(n, F) float32, the columns of `schemas.features.CATALOGUE`."""
    book: np.ndarray
    """(n, 40) float32, the primary book at the cut, as on the tape."""
    invalid: np.ndarray
    """(n) uint64, `schemas.features.Invalid` bits."""
    instrument: np.ndarray
    """(n) uint16."""
    cut_ns: np.ndarray
    """(n) int64, never falling."""
    price: np.ndarray
    """(n) float64, mid at the cut."""
    move_bps: np.ndarray
    """(n) float64, log move of mid over the horizon in basis points; NaN where it is not known."""
    label: np.ndarray
    """(n) int8: UP, FLAT, DOWN or UNKNOWN."""
    matured_ns: np.ndarray
    """(n) int64, when the label became known."""

    @property
    def count(self) -> int:
        """N."""
        return len(self.cut_ns)

    def take(self, which: np.ndarray | slice) -> "Samples":
        """Some of the samples, in the same order."""
        return Samples(*(getattr(self, field.name)[which] for field in fields(self)))

    @property
    def known(self) -> np.ndarray:
        """(n) bool: samples that have a label."""
        found: np.ndarray = self.label != UNKNOWN
        return found

    def streams(self) -> Iterator[tuple[int, np.ndarray]]:
        """Each instrument, and where its samples stand."""
        for instrument in np.unique(self.instrument):
            yield int(instrument), np.flatnonzero(self.instrument == instrument)
