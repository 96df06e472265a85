"""What came of one reading in three zones of it: low, middle and high.

A rule says that something follows where its indicator is beyond an edge. How often it did, and how
far prices went, can be counted; so can where the edges tell most. Counting needs no more than the
labelled rows, once, and the same rows give the same numbers. Zones that few rows are in say what
all rows say: counts are shrunk towards the base rates (a Dirichlet prior of PRIOR rows).
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit

from models.arrays import taken
from models.family import Weights
from models.samples import CLASSES, OUTPUTS

PRIOR: Final = 50.0
"""Rows of the base rates that each zone counts beside its own."""
SHARES: Final = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4])
"""Shares of the rows that may lie beyond an edge; the edges of the textbook are tried, too."""
ZONES: Final = 3


class Zones(NamedTuple):
    """Three zones."""

    edges: np.ndarray
    """(2) float64: low is at or below the first, high at or above the second."""
    outputs: np.ndarray
    """(ZONES, OUTPUTS) float64: chances of up, flat and down; the move and its spread, both in
    what the market usually moves."""

    def weights(self) -> Weights:
        """As a model keeps them."""
        return {"edges": self.edges.copy(), "outputs": self.outputs.copy()}


def zones_of(weights: Weights) -> Zones:
    """Zones that a model has kept.

    Raises:
        ModelError: an array is missing, or of another shape.
    """
    edges = taken(weights, "edges", 2, dtype=np.float64)
    return Zones(edges, taken(weights, "outputs", ZONES, OUTPUTS, dtype=np.float64))


def counted(
    reading: np.ndarray, label: np.ndarray, moves: np.ndarray, textbook: tuple[float, float]
) -> Zones:
    """The zones that tell most of the labels, and what came of each.

    Args:
        reading: (n) float64, finite. label: (n), all known. moves: (n) float64, in what the market
            usually moves. textbook: edges that are tried first; others have to be better.
    """
    edges = _best(reading, label, textbook)
    zone = np.where(reading <= edges[0], 0, np.where(reading >= edges[1], 2, 1))
    counts = np.zeros((ZONES, CLASSES))
    np.add.at(counts, (zone, label), 1.0)
    outputs = np.empty((ZONES, OUTPUTS))
    outputs[:, :CLASSES] = _chances(counts)
    spread = max(float(moves.std()), 1e-9)
    for which in range(ZONES):
        mine = moves[zone == which]
        outputs[which, 3] = mine.sum() / (len(mine) + PRIOR)
        apart = ((mine - outputs[which, 3]) ** 2).sum() + PRIOR * spread**2
        outputs[which, 4] = np.sqrt(apart / (len(mine) + PRIOR))
    return Zones(edges, outputs)


def _chances(counts: np.ndarray) -> np.ndarray:
    """(..., CLASSES) of counts by zone (..., CLASSES), shrunk to the rates of all zones."""
    total = counts.sum(axis=-2, keepdims=True) + 1
    shrunk = counts + PRIOR * total / total.sum(axis=-1, keepdims=True)
    found: np.ndarray = shrunk / shrunk.sum(axis=-1, keepdims=True)
    return found


def _best(reading: np.ndarray, label: np.ndarray, textbook: tuple[float, float]) -> np.ndarray:
    """(2) the edges under which the labels are likeliest."""
    low = np.unique(np.append(np.quantile(reading, SHARES, method="lower"), textbook[0]))
    high = np.unique(np.append(np.quantile(reading, 1 - SHARES, method="higher"), textbook[1]))
    below, above = np.zeros((len(low), CLASSES)), np.zeros((len(high), CLASSES))
    total = np.bincount(label, minlength=CLASSES).astype(np.float64)
    for one in range(CLASSES):
        mine = np.sort(reading[label == one])
        below[:, one] = np.searchsorted(mine, low, side="right")
        above[:, one] = len(mine) - np.searchsorted(mine, high, side="left")
    first, second = np.meshgrid(np.arange(len(low)), np.arange(len(high)), indexing="ij")
    pairs = first[low[first] < high[second]], second[low[first] < high[second]]
    counts = np.stack(
        [below[pairs[0]], total - below[pairs[0]] - above[pairs[1]], above[pairs[1]]], axis=1
    )
    likely = (counts * np.log(_chances(counts))).sum(axis=(1, 2))
    edges = np.stack([low[pairs[0]], high[pairs[1]]], axis=1)
    likely[(edges == np.array(textbook)).all(axis=1)] += 1e-9 * abs(likely).max()
    found: np.ndarray = edges[int(likely.argmax())]
    return found


@njit(cache=True, nogil=True)
def say_zone(reading: float, usual: float, edges: Any, outputs: Any, out: Any) -> None:
    """Write what came where a reading was like this one.

    Args:
        usual: what the market usually moves, basis points. out: (OUTPUTS) float32.
    """
    zone = 0 if reading <= edges[0] else 2 if reading >= edges[1] else 1
    for column in range(CLASSES):
        out[column] = outputs[zone, column]
    out[CLASSES] = outputs[zone, CLASSES] * usual
    out[CLASSES + 1] = outputs[zone, CLASSES + 1] * usual
