"""Books in samples: of a window of the tape, which slots are kept, and with which flags.

A window is what came in so many milliseconds, whole frames. Of each level (or order) the newest
slot is kept, so a book that is made of the kept rows is right at the window's end; only there a
kept row ends a frame. In the last step a primary book's levels behind its best ones are held back
in memory, and given out when they are among the best again, or with the step's end: in the place,
and under the sequence, of slots that were left out. While a book needs more of them than there are
such places, no row of it ends a frame: that a book is right wherever a frame ends is always true.

Whoever calls commits a window after it is safely on disk, so that a failed write can be repeated.
Nothing here fails; it keeps `HELD_SLOTS` slots at most, and is called only while storage is behind.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from processes.storage.pressure import Step
from processes.storage.rows import pick
from schemas import tape
from schemas.layout import join
from schemas.settings import PressureSettings
from schemas.tape import LEVELS, Flag, Kind, Marker, Side

HELD_SLOTS: Final = 65_536
"""With so many levels held back none is any more, until some are given out."""
Edges = Mapping[int, tuple[float, float]]
"""By instrument: the worst bid and ask price that are among the best levels."""


class Thinned(NamedTuple):
    """A window as it is to be written, and what is true once it is."""

    rows: np.ndarray
    left_out: int
    held: np.ndarray
    edges: Edges


class Thinner:
    """What one tape's books are owed, and the windows they are written in."""

    def __init__(self, settings: PressureSettings) -> None:
        self._window_ns = settings.sample_ms * 1_000_000
        self._levels = settings.top_levels
        self._held = np.zeros(0, tape.SLOT)
        self._edges: Edges = {}

    @property
    def owed(self) -> int:
        """Levels and orders that were held back and not written since."""
        return len(self._held)

    def ends(self, block: np.ndarray, *, full: bool, late: bool) -> list[int]:
        """Where windows end in a block of the tape.

        Args:
            full: no more slots fit into a block, so that a window must end in it.
            late: the last window is over, though nothing behind it has come.
        """
        windows = np.maximum.accumulate(block["recv_ns"] // self._window_ns)
        ends: list[int] = (np.flatnonzero(np.diff(windows)) + 1).tolist()
        if late:
            return [*ends, len(block)]
        if full and not ends:
            frames = np.flatnonzero(block["flags"] & Flag.FRAME_END)
            return [int(frames[-1]) + 1 if len(frames) else len(block)]
        return ends

    def commit(self, thinned: Thinned) -> None:
        """A window is written."""
        self._held, self._edges = thinned.held, thinned.edges

    def thin(self, window: np.ndarray, step: Step) -> Thinned:
        """What is to be written of a window."""
        is_book = (window["kind"] == Kind.BOOK_LEVEL) | (window["kind"] == Kind.L3_ORDER)
        series = _series(window)
        cleared = _cleared(window, series)
        held = self._held
        if cleared and len(held):
            gone = np.isin(_series(held), np.fromiter(cleared, np.uint32))
            held = pick(held, np.flatnonzero(~gone))
        for which, place in cleared.items():
            # What a snapshot wipes away need not have been.
            is_book[:place] &= series[:place] != which
        places = np.flatnonzero(is_book)
        is_book = (window["kind"] == Kind.BOOK_LEVEL) | (window["kind"] == Kind.L3_ORDER)
        newest = _newest_of_level(_both(held, pick(window, places)))
        newest_held, newest_here = newest[: len(held)], places[newest[len(held) :]]
        edges: Edges = {}
        due = np.ones(len(held), np.bool_)
        ends = places[_last_of_each(series[places])]
        kept = ~is_book
        if step == Step.TOPS and len(held) < HELD_SLOTS:
            edges = {**self._edges, **self._edges_of(pick(window, places))}
            due = _among_best(held, edges)
            kept[newest_here[_among_best(pick(window, newest_here), edges)]] = True
            kept[ends] = True
        else:
            kept[newest_here] = True
        back = newest_here[~kept[newest_here]]
        placed, sequences, short = _place(
            held, np.flatnonzero(newest_held & due), window["sequence"][~kept],
            dict(zip(series[ends].tolist(), window["sequence"][ends].tolist(), strict=True)),
        )  # fmt: skip
        newest_held[placed] = False
        still = pick(held, np.flatnonzero(newest_held))
        owed = _both(still, pick(window, back))
        rows = self._rows(window, kept, ends, np.concatenate([_series(held), _series(owed)]), short)
        given = pick(held, placed)
        given["sequence"] = sequences
        given["flags"] = given["flags"] & ~np.uint16(Flag.FRAME_END) | np.uint16(Flag.SAMPLED)
        if len(given):
            rows = _both(rows, given)
            rows = pick(rows, np.argsort(rows["sequence"], kind="stable"))
        return Thinned(rows, len(window) - len(rows), owed, edges)

    @staticmethod
    def _rows(
        window: np.ndarray, kept: np.ndarray, ends: np.ndarray, owed: np.ndarray, short: set[int]
    ) -> np.ndarray:
        """The kept slots, with flags that say what may be read of their books."""
        series = _series(window)
        is_book = (window["kind"] == Kind.BOOK_LEVEL) | (window["kind"] == Kind.L3_ORDER)
        touched = is_book & np.isin(series, np.concatenate([series[~kept], owed]))
        whole = np.zeros(len(window), np.bool_)
        whole[ends] = True
        whole &= ~np.isin(series, np.fromiter(short, np.uint32, len(short)))
        flags = window["flags"].copy()
        flags[touched] |= np.uint16(Flag.SAMPLED)
        flags[touched & ~whole] &= ~np.uint16(Flag.FRAME_END)
        rows = pick(window, np.flatnonzero(kept))
        rows["flags"] = flags[kept]
        return rows

    def _edges_of(self, slots: np.ndarray) -> dict[int, tuple[float, float]]:
        """Out of the ten levels that the last slot of a primary book's frame carries."""
        wanted = Flag.PRIMARY | Flag.FRAME_END
        whole = (slots["flags"] & wanted == wanted) & (slots["kind"] == Kind.BOOK_LEVEL)
        found = {}
        for place in np.flatnonzero(whole)[_last_of_each(slots["instrument"][whole])]:
            slot = slots[int(place)]
            found[int(slot["instrument"])] = (
                self._edge(slot, 0, -np.inf), self._edge(slot, 2 * LEVELS, np.inf)
            )  # fmt: skip
        return found

    def _edge(self, slot: np.void, at: int, whole: float) -> float:
        """Price of the worst of the best levels; `whole` where the book has not so many."""
        offset = float(slot["book"][at + self._levels - 1])
        if not slot["book"][at + LEVELS + self._levels - 1]:
            return whole
        reference = float(slot["reference_price"])
        # Offsets are rounded; a level more than asked for does no harm.
        rounding = abs(offset) * 1e-6 + abs(reference) * 1e-12
        return reference + offset + (rounding if at else -rounding)


def _series(slots: np.ndarray) -> np.ndarray:
    """Instrument and stream as one number."""
    found: np.ndarray = slots["instrument"].astype(np.uint32) << 16 | slots["stream"]
    return found


def _last_of_each(values: np.ndarray) -> np.ndarray:
    """Where each value stands last."""
    _, back = np.unique(values[::-1], return_index=True)
    found: np.ndarray = np.sort(len(values) - 1 - back)
    return found


def _cleared(window: np.ndarray, series: np.ndarray) -> dict[int, int]:
    """Where books were begun anew, by series, for the last time."""
    markers = np.flatnonzero(window["kind"] == Kind.MARKER)
    said = pick(window, markers).view(tape.MARKER)["marker"]
    begins = markers[said == Marker.SNAPSHOT_BEGIN]
    return dict(zip(series[begins].tolist(), begins.tolist(), strict=True))


def _newest_of_level(slots: np.ndarray) -> np.ndarray:
    """Which slots are the last of their level, or order."""
    is_order = slots["kind"] == Kind.L3_ORDER
    period = np.where(slots["flags"] & Flag.FUNDING, slots["count"], 0).astype(np.uint64)
    level = period << np.uint64(8) | slots["side"]
    first = _series(slots).astype(np.uint64) << np.uint64(32)
    first |= np.where(is_order, np.uint64(1 << 31), level)
    prices = (slots["price"] + 0.0).view(np.uint64)
    second = np.where(is_order, slots["id_low"], prices)
    third = np.where(is_order, slots["id_high"], 0)
    order = np.lexsort((third, second, first))
    newest = np.ones(len(slots), np.bool_)
    same = np.ones(max(len(slots) - 1, 0), np.bool_)
    for key in (first, second, third):
        same &= key[order[1:]] == key[order[:-1]]
    newest[order[:-1][same]] = False
    return newest


def _among_best(slots: np.ndarray, edges: Edges) -> np.ndarray:
    """Which levels are among the best; of other than primary books, all."""
    found = np.ones(len(slots), np.bool_)
    primary = (slots["kind"] == Kind.BOOK_LEVEL) & (slots["flags"] & Flag.PRIMARY != 0)
    instruments, which = np.unique(slots["instrument"], return_inverse=True)
    everything = (-np.inf, np.inf)
    told = np.array([edges.get(one, everything) for one in instruments.tolist()], np.float64)
    worst = told.reshape(-1, 2)[which]
    is_bid, price = slots["side"] == Side.BID, slots["price"]
    found[primary] = np.where(is_bid, price >= worst[:, 0], price <= worst[:, 1])[primary]
    return found


def _both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Slots one after the other; mostly the first are none."""
    return join([one, other], tape.SLOT) if len(one) and len(other) else one if len(one) else other


def _place(
    held: np.ndarray, due: np.ndarray, free: np.ndarray, ends: Mapping[int, int]
) -> tuple[np.ndarray, np.ndarray, set[int]]:
    """Free sequences for held slots, each before the end of its series.

    Args:
        due: places of held slots. free: sequences, rising. ends: last sequence by series.

    Returns:
        Places of those that have one, their sequences, and the series with some that have none.
    """
    placed: list[np.ndarray] = [np.zeros(0, np.intp)]
    given: list[np.ndarray] = [np.zeros(0, np.uint64)]
    short: set[int] = set()
    series = _series(held)[due]
    never = 1 << 63
    for which in sorted(np.unique(series).tolist(), key=lambda one: ends.get(one, never)):
        mine = due[series == which]
        room = int(np.searchsorted(free, np.uint64(ends.get(which, never))))
        count = min(room, len(mine))
        if count < len(mine):
            short.add(which)
        placed.append(mine[:count])
        given.append(free[:count])
        free = free[count:]
    return np.concatenate(placed), np.concatenate(given), short
