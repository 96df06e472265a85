"""Tapes through the feature kernels, cut where they were cut.

A recorded cut says how far each tape was read; the slots in between are applied tape by tape, which
comes to the same as any other order, since an instrument is on one tape. Builders that began anew
and losses of the ring are rows too, so a replay forgets and skips what they did.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np

from processes.features import cuts, kernels
from processes.features.cutter import FOREVER
from processes.features.state import make_states
from processes.recordings.comparison import Comparison
from processes.recordings.recording import Recording
from schemas import features
from schemas.features import MAX_TAPES, CutReason
from schemas.tape import WHOLE_CONNECTION

_TRIGGER: Final = int(CutReason.TRIGGER)
_POSITIONS: Final = [f"tape_position_{number}" for number in range(MAX_TAPES)]


class Tape:
    """One tape, read as far as it is asked for.

    Args:
        read: begins at the first slot. kept: so many slots back it can be rewound without that.
        thinned: spans in which slots were left out, and others changed for that.
    """

    def __init__(
        self,
        read: Callable[[], Iterator[np.ndarray]],
        kept: int,
        thinned: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.position = 0
        self.missing = 0
        """Slots that are in no file, among those that were to be applied."""
        self.sampled = False
        """Whether some of what was applied is of a span that storage sampled."""
        self._thinned = thinned
        self._read = read
        self._kept = kept
        self._begin()

    def _begin(self) -> None:
        self._left = self._read()
        self._blocks: list[tuple[np.ndarray, np.ndarray]] = []
        """Sequences and slots of the newest blocks."""
        self._number = 0
        """The block in which the next slot is."""
        self.position = 0

    def apply(self, position: int, number: int, words: int) -> int:
        """Apply what comes up to a position as slots of this tape; how many slots."""
        taken = 0
        begin = self.position
        self.sampled |= any(first <= position and last > begin for first, last in self._thinned)
        while self.position < position and (block := self._block()) is not None:
            sequences, slots = block
            at = int(np.searchsorted(sequences, np.uint64(self.position), side="right"))
            end = int(np.searchsorted(sequences, np.uint64(position), side="right"))
            if end > at:
                address = int(slots.ctypes.data)
                kernels.apply_block(words, address, at, end, FOREVER, number)
                reached = int(sequences[end - 1])
                self.missing += reached - self.position - (end - at)
                self.position = reached
                taken += end - at
            if end < len(sequences):
                break
        self.missing += max(position - self.position, 0)
        self.position = max(self.position, position)
        return taken

    def skip(self, position: int) -> None:
        """Go on after a position, earlier or later."""
        if position < self.position:
            first = self._blocks[0][0][0] if self._blocks else 0
            if position + 1 < first:
                self._begin()
            self._number = 0
        self.position = position

    def _block(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The block of the next slot; None after the last."""
        while True:
            while self._number < len(self._blocks):
                block = self._blocks[self._number]
                if block[0][-1] > self.position:
                    return block
                self._number += 1
            slots = next(self._left, None)
            if slots is None:
                return None
            self._blocks.append((np.ascontiguousarray(slots["sequence"]), slots))
            oldest = int(self._blocks[-1][0][-1]) - self._kept
            gone = sum(1 for sequences, _ in self._blocks[:-1] if sequences[-1] < oldest)
            del self._blocks[:gone]
            self._number -= gone


class FeatureReplay:
    """The builder's state, moved on from cut to cut."""

    def __init__(self, recording: Recording, comparison: Comparison) -> None:
        self.events = 0
        self.rows = 0
        self._recording = recording
        self._comparison = comparison
        self._tapes = [
            Tape(
                partial(recording.tape, venue),
                recording.settings.rings.tape,
                recording.thinned(venue),
            )
            for venue in recording.venues
        ]
        self._broken = ""
        self._words = np.zeros(kernels.CUTTER_WORDS, np.int64)
        self._address = int(self._words.ctypes.data)
        self._begin_life(recording.generations[0])

    def _begin_life(self, generation: int) -> None:
        known = self._recording.generations
        number = generation if generation in known else known[0]
        settings = self._recording.folder.settings(number)
        self._states = make_states(self._recording.folder.tables(number).instruments)
        words = self._words
        words[:] = 0
        self._broken = ""
        for tape in self._tapes:
            tape.missing, tape.sampled = 0, False
        words[kernels.W_STATES] = self._states.ctypes.data
        words[kernels.W_COUNT] = len(self._states)
        kernels.obey(words, settings.features)

    def take(self, block: np.ndarray) -> np.ndarray:
        """Make recorded rows of whole cuts again, and compare them; what was made."""
        made = np.zeros(len(block), features.SLOT)
        markers = np.flatnonzero(block["instrument"] == WHOLE_CONNECTION)
        at = 0
        for marker in [*markers.tolist(), len(block)]:
            self._take_rows(block[at:marker], made[at:marker])
            if marker < len(block):
                self._take_marker(block[marker])
                made[marker] = block[marker]
            at = marker + 1
        return made

    def _take_rows(self, block: np.ndarray, made: np.ndarray) -> None:
        """Rows between two markers."""
        numbers, reasons = block["cut"].tolist(), block["reason"].tolist()
        times, generations = block["cut_ns"].tolist(), block["config_generation"].tolist()
        positions = [block[name].tolist() for name in _POSITIONS[: len(self._tapes)]]
        words, rows, at = self._words, len(block), 0
        while at < rows:
            end = at + 1
            while end < rows and numbers[end] == numbers[at]:
                end += 1
            for number, tape in enumerate(self._tapes):
                position = positions[number][at]
                self.events += tape.apply(position, number, self._address)
                words[kernels.W_POSITIONS + number] = position
            words[kernels.W_CUT] = numbers[at] - 1
            words[kernels.W_GENERATION] = generations[at]
            count = self._cut(made, at, times[at], reasons[at])
            self.rows += count
            if count != end - at and not self._is_broken():
                told = f"{end - at} rows of a cut, and {count} were made"
                self._comparison.missing(int(block["sequence"][at]), told)
            at = end
        self._compare(block, made)

    def _cut(self, made: np.ndarray, at: int, time_ns: int, reason: int) -> int:
        """Make a cut's rows where the recorded ones stand; how many there are."""
        room = len(made) - at
        beside = None if room >= len(self._states) else np.zeros(len(self._states), features.SLOT)
        out = int(made.ctypes.data) + at * features.SLOT_BYTES
        self._words[kernels.W_OUT] = out if beside is None else beside.ctypes.data
        count = cuts.cut(self._address, time_ns, reason == _TRIGGER, reason, 0)
        if beside is not None:
            made[at:] = beside[:room]
        return count

    def _compare(self, block: np.ndarray, made: np.ndarray) -> None:
        if not len(block):
            return
        if self._is_broken():
            first, last = int(block["sequence"][0]), int(block["sequence"][-1])
            self._comparison.leave_out(first, last, self._broken)
        else:
            self._comparison.add(block, made)

    def _is_broken(self) -> bool:
        """Windows and means remember: after a loss nothing of this life can be compared."""
        if not self._broken and any(tape.sampled for tape in self._tapes):
            self._broken = "books were sampled by storage"
        if not self._broken and any(tape.missing for tape in self._tapes):
            self._broken = "the lake misses slots of a tape"
        return bool(self._broken)

    def _take_marker(self, marker: np.void) -> None:
        reason = CutReason(int(marker["reason"]))
        if reason == CutReason.WARM:
            self._begin_life(int(marker["config_generation"]))
        for number, tape in enumerate(self._tapes):
            position = int(marker[_POSITIONS[number]])
            if reason == CutReason.LAPSE_BEGIN:
                self.events += tape.apply(position, number, self._address)
            else:
                tape.skip(position)
        if reason == CutReason.LAPSE_BEGIN:
            kernels.lapse(self._address, int(marker["cut_ns"]))
