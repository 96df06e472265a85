"""When rows are cut, and from what: the one place that decides it, live and in replay.

Events are applied in the order (receive time, tape, sequence). A boundary cut at time T holds the
events received before T; it is made when an event at or after T has come (`BOUNDARY`), or shortly
after T when nothing has (`SILENCE`). A trigger cut holds all that has come. Each row carries the
last sequence of every tape in it, so that a replay cuts at the same places.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from processes.features import kernels
from schemas import features, tape
from schemas.features import MAX_TAPES, CutReason
from schemas.layout import join
from schemas.settings import FeatureSettings

SILENCE_GRACE_NS: Final = 2_000_000
"""How long after a boundary its events may still be on their way through the ring."""
LONGEST_SILENCE: Final = 60
"""Boundaries that passed without an event and are still cut, one by one."""
FOREVER: Final = (1 << 63) - 1

_BOUNDARY, _SILENCE, _TRIGGER = (
    int(reason) for reason in (CutReason.BOUNDARY, CutReason.SILENCE, CutReason.TRIGGER)
)

Emit = Callable[[int, int, int], None]
"""Takes rows: the address where they stand, how many, and the time of their cut."""


class Cutter:
    """Rolling state of all instruments, and the cuts made of it.

    Args:
        tick_sizes: of the instruments in the order of the table. tapes: how many tapes there are.
        emit: takes finished rows. now_ns: stamps them.
    """

    def __init__(
        self,
        tick_sizes: list[float],
        tapes: int,
        settings: FeatureSettings,
        emit: Emit,
        now_ns: Callable[[], int],
    ) -> None:
        assert 0 < tapes <= MAX_TAPES
        self.cut_number = 0
        self.late_cuts = 0
        self.events = 0
        self.rows = 0
        self.invalid_rows = 0
        self.generation = 0
        self._tapes = tapes
        self._words = np.zeros(kernels.CUTTER_WORDS, np.int64)
        self._words_address = int(self._words.ctypes.data)
        self._states = kernels.make_states(tick_sizes)
        self._address = int(self._states.ctypes.data)
        self._count = len(self._states)
        self._rows = np.zeros(self._count, features.SLOT)
        self._rows_address = int(self._rows.ctypes.data)
        self._emit = emit
        self._now_ns = now_ns
        self._boundary_ns = 0
        self._triggered_ns = 0
        self._pending: list[np.ndarray] = []
        self.obey(settings)

    def obey(self, settings: FeatureSettings) -> None:
        """Take settings."""
        self._interval_ns = int(settings.cut_interval_s * 1e9)
        self._stale_ns = int(settings.stale_after_s * 1e9)
        self._trigger = settings.trigger
        self._trigger_ns = settings.trigger_interval_us * 1000

    def begin(self, now_ns: int) -> None:
        """The next boundary is the first after now."""
        self._boundary_ns = (now_ns // self._interval_ns + 1) * self._interval_ns

    def compile(self) -> None:
        """Run every compiled part once, so that the first real cut is as quick as the others."""
        nothing = np.zeros(1, tape.SLOT)
        words, rows = self._words_address, self._rows_address
        kernels.apply_block(self._address, self._count, words, nothing.ctypes.data, 0, 0, 0, False)
        kernels.cut(self._address, self._count, words, rows, 1, 1, True, 0, 0, 0, 0)
        kernels.lapse(self._address, 0, 0)

    def place(self, tape_number: int, position: int) -> None:
        """Say how far a tape was taken, where no slot says it."""
        self._words[kernels.W_POSITIONS + tape_number] = position

    def warm(self, slots: np.ndarray, address: int) -> None:
        """Take slots of one tape without cutting."""
        kernels.apply_block(
            self._address, self._count, self._words_address, address, 0, len(slots), FOREVER, False
        )

    def lapse(self, now_ns: int) -> None:
        """Slots were lost: no history is unbroken."""
        kernels.lapse(self._address, self._count, now_ns)

    def wait_ns(self, now_ns: int) -> int:
        """How long nothing needs to be done if nothing comes."""
        return max(self._boundary_ns + SILENCE_GRACE_NS - now_ns, 0)

    def take(self, tape_number: int, slots: np.ndarray, address: int) -> None:
        """Slots of one tape. With a single tape they are in order already and applied at once."""
        self.events += len(slots)
        if self._tapes == 1:
            self._apply(len(slots), address)
        else:
            numbered = slots.copy()
            numbered["spare"] = tape_number
            self._pending.append(numbered)

    def _apply(self, count: int, address: int) -> None:
        """Apply slots in order, cutting wherever one of them passes a boundary."""
        done = 0
        while True:
            done = kernels.apply_block(
                self._address, self._count, self._words_address, address, done, count,
                self._boundary_ns, self._tapes > 1,
            )  # fmt: skip
            if done == count:
                return
            self._cut_boundary(_BOUNDARY)

    def turn(self) -> None:
        """After all tapes were read: what is due now."""
        now_ns = self._now_ns()
        if self._pending and (self._trigger or now_ns >= self._boundary_ns + SILENCE_GRACE_NS):
            self._apply_merged()
        if now_ns - self._boundary_ns > LONGEST_SILENCE * self._interval_ns:
            # Woken from a long sleep: rows for every second of it would be news of nothing.
            self.begin(now_ns)
        while now_ns >= self._boundary_ns + SILENCE_GRACE_NS:
            self._cut_boundary(_SILENCE)
        if self._trigger and now_ns - self._triggered_ns >= self._trigger_ns:
            self._cut_trigger(now_ns)

    def _apply_merged(self) -> None:
        """Slots of several tapes, applied in one order for all."""
        slots = join(self._pending, tape.SLOT)
        self._pending.clear()
        order = np.lexsort((slots["sequence"], slots["spare"], slots["recv_ns"]))
        merged = np.ascontiguousarray(slots[order])
        self._apply(len(merged), int(merged.ctypes.data))

    def _cut_boundary(self, reason: int) -> None:
        boundary_ns = self._boundary_ns
        now_ns = self._now_ns()
        if now_ns - boundary_ns > 100_000_000:
            self.late_cuts += 1
        self._boundary_ns += self._interval_ns
        self._cut(boundary_ns, reason, touched_only=False)

    def _cut_trigger(self, now_ns: int) -> None:
        newest_ns = int(self._words[kernels.W_NEWEST])
        if newest_ns and self._cut(newest_ns + 1, _TRIGGER, touched_only=True):
            self._triggered_ns = now_ns

    def _cut(self, cut_ns: int, reason: int, *, touched_only: bool) -> int:
        made = kernels.cut(
            self._address, self._count, self._words_address, self._rows_address, cut_ns,
            self._stale_ns, touched_only, self.cut_number + 1, reason, self.generation,
            self._now_ns(),
        )  # fmt: skip
        if made:
            self.cut_number += 1
            self.rows += made
            self.invalid_rows += int(self._words[kernels.W_INVALID])
            self._emit(self._rows_address, made, cut_ns)
        return made

    def warm_marker(self, positions: list[int]) -> np.ndarray:
        """The slot that says from which positions a restarted builder warmed itself."""
        row = np.zeros(1, features.SLOT)
        row["reason"] = CutReason.WARM
        row["instrument"] = tape.WHOLE_CONNECTION
        row["cut"] = self.cut_number
        row["cut_ns"] = row["made_ns"] = self._now_ns()
        row["config_generation"] = self.generation
        for number, position in enumerate(positions):
            row[f"tape_position_{number}"] = position
        return row
