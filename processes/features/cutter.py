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
from schemas.settings import FeatureSettings

SILENCE_GRACE_NS: Final = 2_000_000
"""How long after a boundary its events may still be on their way through the ring."""
FOREVER: Final = (1 << 63) - 1

Emit = Callable[[np.ndarray, int], None]
"""Takes the first so many rows of an array."""


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
        self.generation = 0
        self.positions = [0] * tapes
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

    def warm(self, slots: np.ndarray) -> None:
        """Take slots without cutting."""
        kernels.apply_block(self._address, self._count, slots.ctypes.data, 0, len(slots), FOREVER)

    def lapse(self, now_ns: int) -> None:
        """Slots were lost: no history is unbroken."""
        kernels.lapse(self._address, self._count, now_ns)

    def wait_ns(self, now_ns: int) -> int:
        """How long nothing needs to be done if nothing comes."""
        return max(self._boundary_ns + SILENCE_GRACE_NS - now_ns, 0)

    def take(self, tape_number: int, slots: np.ndarray, address: int) -> None:
        """Slots of one tape. With a single tape they are in order already and applied at once."""
        self.events += len(slots)
        if len(self.positions) == 1:
            self._apply(slots, address)
        else:
            numbered = slots.copy()
            numbered["spare"] = tape_number
            self._pending.append(numbered)

    def _apply(self, slots: np.ndarray, address: int) -> None:
        """Apply slots in order, cutting wherever one of them passes a boundary."""
        done = 0
        while done < len(slots):
            before = done
            done = kernels.apply_block(
                self._address, self._count, address, done, len(slots), self._boundary_ns
            )
            if done > before:
                self._note_positions(slots[before:done])
            if done < len(slots):
                self._cut_boundary(CutReason.BOUNDARY)

    def _note_positions(self, slots: np.ndarray) -> None:
        if len(self.positions) == 1:
            self.positions[0] = int(slots["sequence"][-1])
            return
        for number in range(len(self.positions)):
            mine = slots["sequence"][slots["spare"] == number]
            if len(mine):
                self.positions[number] = int(mine[-1])

    def turn(self) -> None:
        """After all tapes were read: what is due now."""
        now_ns = self._now_ns()
        if self._pending and (self._trigger or now_ns >= self._boundary_ns + SILENCE_GRACE_NS):
            self._apply_merged()
        while now_ns >= self._boundary_ns + SILENCE_GRACE_NS:
            self._cut_boundary(CutReason.SILENCE)
        if self._trigger and now_ns - self._triggered_ns >= self._trigger_ns:
            self._cut_trigger(now_ns)

    def _apply_merged(self) -> None:
        """Slots of several tapes, applied in one order for all."""
        slots = np.concatenate(self._pending)
        self._pending.clear()
        order = np.lexsort((slots["sequence"], slots["spare"], slots["recv_ns"]))
        merged = np.ascontiguousarray(slots[order])
        self._apply(merged, int(merged.ctypes.data))

    def _cut_boundary(self, reason: CutReason) -> None:
        boundary_ns = self._boundary_ns
        now_ns = self._now_ns()
        if now_ns - boundary_ns > 100_000_000:
            self.late_cuts += 1
        self._boundary_ns += self._interval_ns
        self._cut(boundary_ns, reason, touched_only=False)
        if now_ns - self._boundary_ns > 60 * self._interval_ns:
            # Woken from a long sleep: rows for every second of it would be news of nothing.
            self.begin(now_ns)

    def _cut_trigger(self, now_ns: int) -> None:
        newest_ns = int(self._states["newest_ns"].max())
        if newest_ns and self._cut(newest_ns + 1, CutReason.TRIGGER, touched_only=True):
            self._triggered_ns = now_ns

    def _cut(self, cut_ns: int, reason: CutReason, *, touched_only: bool) -> int:
        made = kernels.cut(
            self._address, self._count, cut_ns, self._stale_ns, touched_only, self._rows_address
        )
        if made:
            self.cut_number += 1
            self._finish(self._rows[:made], reason)
            self._emit(self._rows, made)
        return made

    def _finish(self, rows: np.ndarray, reason: CutReason) -> None:
        rows["cut"] = self.cut_number
        rows["reason"] = reason
        rows["config_generation"] = self.generation
        for number, position in enumerate(self.positions):
            rows[f"tape_position_{number}"] = position
        rows["made_ns"] = self._now_ns()

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
