"""When rows are cut, and from what: the one place that decides it, live and in replay.

Events are applied in the order (receive time, tape, sequence). A boundary cut at time T holds the
events received before T; it is made when an event at or after T has come (`BOUNDARY`), or shortly
after T when nothing has (`SILENCE`). A trigger cut holds all that has come. Each row carries the
last sequence of every tape in it, so that a replay cuts at the same places.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from processes.features import cuts, kernels
from processes.features.state import make_states
from schemas import features, tape
from schemas.features import MAX_TAPES, CutReason
from schemas.instruments import Instrument
from schemas.layout import join
from schemas.settings import FeatureSettings

SILENCE_GRACE_NS: Final = 2_000_000
"""How long after a boundary its events may still be on their way through the ring."""
LONGEST_SILENCE: Final = 60
"""Boundaries that passed without an event and are still cut, one by one."""
FOREVER: Final = (1 << 63) - 1

_BOUNDARY, _SILENCE = int(CutReason.BOUNDARY), int(CutReason.SILENCE)

Emit = Callable[[int, int, int], None]
"""Takes rows: the address where they stand, how many, and the time of their cut."""


class Cutter:
    """Rolling state of all instruments, and the cuts made of it.

    Args:
        instruments: in the order of the table. tapes: how many tapes there are.
        emit: takes finished rows. now_ns: stamps them.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        tapes: int,
        settings: FeatureSettings,
        emit: Emit,
        now_ns: Callable[[], int],
    ) -> None:
        assert 0 < tapes <= MAX_TAPES
        self.late_cuts = 0
        self._tapes = tapes
        self._instruments = instruments
        self._states = make_states(instruments)
        self._rows = np.zeros(len(self._states), features.SLOT)
        self._words = np.zeros(kernels.CUTTER_WORDS, np.int64)
        self._words[kernels.W_STATES] = self._states.ctypes.data
        self._words[kernels.W_COUNT] = len(self._states)
        self._words[kernels.W_OUT] = self._rows.ctypes.data
        self._words[kernels.W_GRACE] = SILENCE_GRACE_NS
        self._address = int(self._words.ctypes.data)
        self._rows_address = int(self._rows.ctypes.data)
        self._emit = emit
        self._now_ns = now_ns
        self._boundary_ns = 0
        self._pending: list[np.ndarray] = []
        self._block = (0, 0)
        """Address and size of the slots of a single tape that the next turn applies."""
        self.obey(settings)

    def obey(self, settings: FeatureSettings) -> None:
        """Take settings."""
        self._interval_ns = int(settings.cut_interval_s * 1e9)
        self._trigger = settings.trigger
        words = self._words
        kernels.obey(words, settings)
        words[kernels.W_TRIGGER] = settings.trigger
        words[kernels.W_TRIGGER_INTERVAL] = settings.trigger_interval_us * 1000

    @property
    def cut_number(self) -> int:
        """Number of the last cut."""
        return int(self._words[kernels.W_CUT])

    @property
    def events(self) -> int:
        """Slots applied so far, warming not counted."""
        return int(self._words[kernels.W_EVENTS])

    @property
    def rows(self) -> int:
        """Rows cut so far."""
        return int(self._words[kernels.W_ROWS])

    @property
    def invalid_rows(self) -> int:
        """Rows cut so far that are not to be trusted."""
        return int(self._words[kernels.W_INVALID])

    def count(self, word: int) -> int:
        """What was counted so far: one of the kernels' words."""
        return int(self._words[word])

    def number_from(self, cut_number: int) -> None:
        """The last cut that an earlier life made."""
        self._words[kernels.W_CUT] = cut_number

    def stamp(self, generation: int) -> None:
        """Rows carry this generation of the settings from now on."""
        self._words[kernels.W_GENERATION] = generation

    def begin(self, now_ns: int) -> None:
        """The next boundary is the first after now."""
        self._set_boundary((now_ns // self._interval_ns + 1) * self._interval_ns)

    def _set_boundary(self, boundary_ns: int) -> None:
        self._boundary_ns = self._words[kernels.W_BOUNDARY] = boundary_ns

    def compile(self) -> None:
        """Run every compiled part once, so that the first real cut is as quick as the others."""
        nothing = np.zeros(1, tape.SLOT)
        before = self._words.copy()
        self._words[kernels.W_COUNT] = 0
        cuts.turn(self._address, nothing.ctypes.data, 0, 0, 0, 0)
        kernels.apply_block(self._address, nothing.ctypes.data, 0, 0, 0, 0)
        cuts.cut(self._address, 0, True, 0, 0)
        kernels.lapse(self._address, 0)
        self._words[:] = before

    def place(self, tape_number: int, position: int) -> None:
        """Say how far a tape was taken, where no slot says it."""
        self._words[kernels.W_POSITIONS + tape_number] = position

    def warm(self, tape_number: int, slots: np.ndarray, address: int) -> None:
        """Take slots of one tape without cutting."""
        kernels.apply_block(self._address, address, 0, len(slots), FOREVER, tape_number)

    def forget(self) -> None:
        """Begin anew, as if no slot had ever come."""
        self._states[:] = make_states(self._instruments)

    def lapse(self, now_ns: int, tape_number: int, position: int) -> np.ndarray:
        """Slots of a tape were lost, up to `position`: no history is unbroken.

        Returns the rows that mark it.
        """
        self.turn(early=True)  # what came before the loss is before the marker
        positions = [int(word) for word in self._words[kernels.W_POSITIONS :]]
        begin = self._marker(CutReason.LAPSE_BEGIN, now_ns, positions)
        kernels.lapse(self._address, now_ns)
        self.place(tape_number, position)
        positions[tape_number] = position
        return join([begin, self._marker(CutReason.LAPSE_END, now_ns, positions)], features.SLOT)

    def wait_ns(self, now_ns: int) -> int:
        """How long nothing needs to be done if nothing comes."""
        return max(self._boundary_ns + SILENCE_GRACE_NS - now_ns, 0)

    def take(self, tape_number: int, slots: np.ndarray, address: int) -> None:
        """Slots of one tape for the next turn; with a single tape they stay where they are."""
        if self._tapes == 1:
            assert not self._block[1], "a turn must follow each block"
            self._block = (address, len(slots))
        else:
            numbered = slots.copy()
            numbered["spare"] = tape_number
            self._pending.append(numbered)

    def turn(self, *, early: bool = False) -> None:
        """After all tapes were read: apply what came, make the cuts that are due.

        Slots of several tapes wait for the boundary, so that they can be put into one order, or for
        the trigger; `early` takes them at once. What comes after a boundary waits for the
        boundary's cut, and the trigger's cut is the last.
        """
        now_ns = self._now_ns()
        tape_number, merged = 0, None
        due = early or self._trigger or now_ns >= self._boundary_ns + SILENCE_GRACE_NS
        if self._pending and due:
            tape_number, merged = kernels.MERGED, self._merge()
            self._block = (int(merged.ctypes.data), len(merged))
        address, count = self._block
        self._block = (0, 0)
        done = 0
        while True:
            done, made = cuts.turn(self._address, address, done, count, now_ns, tape_number)
            if made:
                self._emit(self._rows_address, made, int(self._words[kernels.W_NEWEST]) + 1)
            if done < count:
                self._cut_boundary(_BOUNDARY)
            elif now_ns >= self._boundary_ns + SILENCE_GRACE_NS:
                self._pass_silence(now_ns)
            else:
                return

    def _merge(self) -> np.ndarray:
        """Slots of several tapes, in one order for all."""
        slots = join(self._pending, tape.SLOT)
        self._pending.clear()
        order = np.lexsort((slots["sequence"], slots["spare"], slots["recv_ns"]))
        return np.ascontiguousarray(slots[order])

    def _pass_silence(self, now_ns: int) -> None:
        """Boundaries have passed and nothing came behind them."""
        if now_ns - self._boundary_ns > LONGEST_SILENCE * self._interval_ns:
            # Woken from a long sleep: rows for every second of it would be news of nothing.
            self.begin(now_ns)
        while now_ns >= self._boundary_ns + SILENCE_GRACE_NS:
            self._cut_boundary(_SILENCE)

    def _cut_boundary(self, reason: int) -> None:
        boundary_ns = self._boundary_ns
        now_ns = self._now_ns()
        if now_ns - boundary_ns > 100_000_000:
            self.late_cuts += 1
        self._set_boundary(boundary_ns + self._interval_ns)
        made = cuts.cut(self._address, boundary_ns, False, reason, now_ns)
        if made:
            self._emit(self._rows_address, made, boundary_ns)

    def warm_marker(self, positions: list[int]) -> np.ndarray:
        """The slot that says after which positions a builder that began anew warmed itself."""
        return self._marker(CutReason.WARM, self._now_ns(), positions)

    def _marker(self, reason: CutReason, now_ns: int, positions: list[int]) -> np.ndarray:
        row = np.zeros(1, features.SLOT)
        row["reason"] = reason
        row["instrument"] = tape.WHOLE_CONNECTION
        row["cut"] = self.cut_number
        row["cut_ns"] = row["made_ns"] = now_ns
        row["config_generation"] = self._words[kernels.W_GENERATION]
        for number, position in enumerate(positions):
            row[f"tape_position_{number}"] = position
        return row
