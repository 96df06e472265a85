"""Execution's recorded inputs through its machine, drain by drain and message by message.

The machine reads nothing else, so nothing else is needed: a start says with which orders and
positions its life began, a configuration which settings came into force. Predictions are looked up
where they are recorded, since an input holds only what of them the lake has not already.
"""

import ctypes
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np

from processes.execution.beginning import Beginning
from processes.execution.journal import DRAIN, InputJournal
from processes.execution.machine import Machine
from processes.execution.policy import Prediction
from processes.execution.screen import Screen
from processes.execution.signals import LOOK_BACK, last_market
from processes.recordings.comparison import UNLIKE, Comparison
from processes.recordings.recording import Recording, Window
from schemas import decisions
from schemas.decisions import SlotKind
from schemas.errors import OperatorError
from schemas.layout import join
from schemas.predictions import spoken
from schemas.trading import BrokerEvent, ExternalSignal, KillLevel

RESULTS: Final = UNLIKE | {"message"}
"""Of an input's message the lake has only what its own table has not."""
_PREDICTION, _DECISION = int(SlotKind.INPUT_PREDICTION), int(SlotKind.DECISION)
_SIGNAL: Final = int(SlotKind.INPUT_SIGNAL)


class Made:
    """Takes the slots that a drain comes to, in place of the ring."""

    def __init__(self) -> None:
        self.committed = 0
        self._inputs = np.zeros(DRAIN, decisions.SLOT)
        self._blocks: list[np.ndarray] = []

    def begin(self, committed: int) -> None:
        """The next slot is the one after this sequence."""
        self.committed = committed
        self._blocks.clear()

    def append(self, slots: np.ndarray, count: int | None = None) -> None:
        """Take slots."""
        mine = slots[:count].copy()
        self._blocks.append(mine)
        self.committed += len(mine)

    def append_at(self, address: int, count: int) -> None:
        """As `append`, by address."""
        mine = np.zeros(count, decisions.SLOT)
        if count:
            ctypes.memmove(mine.ctypes.data, address, mine.nbytes)
        self._blocks.append(mine)
        self.committed += count

    def slots(self) -> np.ndarray:
        """All since `begin`."""
        return join(self._blocks, decisions.SLOT)


def _message(slot: np.void) -> bytes:
    raw: bytes = slot["message"].tobytes()[: int(slot["message_length"])]
    return raw


class DecisionReplay:
    """Lives of the machine, one after another.

    Args:
        predictions: those of the recording, in blocks.
    """

    def __init__(self, recording: Recording, predictions: Iterator[np.ndarray]) -> None:
        self.comparison = Comparison("decisions", decisions.SLOT, RESULTS)
        self.made = 0
        self._recording = recording
        self._predictions = Window(predictions, recording.settings.rings.predictions)
        self._out = Made()
        self._recent: deque[np.ndarray] = deque()
        """Slots of the ring that a signal's market is looked for in."""
        self._signals: deque[tuple[int, ExternalSignal]] = deque()
        """Outside signals that a new life finds in the ring."""
        self._why = "execution's first life began before the recording"
        """Why what comes cannot be compared, if so."""
        self._machine: Machine
        self._journal: InputJournal
        self._screen: Screen

    def take(self, block: np.ndarray) -> None:
        """Take recorded inputs again, and compare the decisions; of one time, all are in one."""
        kinds, times = block["kind"].astype(np.int64), block["time_ns"]
        changed = (kinds[1:] != kinds[:-1]) | (times[1:] != times[:-1])
        # Messages are taken one by one, drains together.
        changed |= (kinds[1:] != _PREDICTION) & (kinds[1:] != _DECISION)
        bounds = [0, *(np.flatnonzero(changed) + 1).tolist(), len(block)]
        runs = [block[begin:end] for begin, end in pairwise(bounds)]
        for place, run in enumerate(runs):
            kind = int(run["kind"][0])
            after = runs[place + 1] if place + 1 < len(runs) else run[:0]
            decided = after if int(after["kind"][:1].sum()) == _DECISION else None
            if kind == _PREDICTION:
                self._take_drain(run, decided)
            elif kind == _SIGNAL:
                self._take_signal(run, decided)
            elif kind not in {_DECISION, SlotKind.ORDER}:
                self._take_message(run[0])
            self._keep(run)

    def _take_drain(self, inputs: np.ndarray, decided: np.ndarray | None) -> None:
        """`decided` is None where execution died before it had decided."""
        if decided is None:
            return
        recorded = join([inputs, decided], decisions.SLOT)
        first, last = int(recorded["sequence"][0]), int(recorded["sequence"][-1])
        wanted = inputs["prediction_sequence"]
        told = self._predictions.between(int(wanted[0]) - 1, int(wanted[-1]))
        if not self._why and (
            told is None
            or len(decided) != len(inputs)
            or not np.array_equal(told["sequence"], wanted)
        ):
            self._why = "the lake misses predictions or decisions"
        if self._why or told is None:
            self.comparison.leave_out(first, last, self._why)
            return
        slots = np.ascontiguousarray(told)
        self._out.begin(first - 1)
        self._screen.decide(int(slots.ctypes.data), len(slots), int(inputs["time_ns"][0]))
        made = self._out.slots()
        self.made += len(decided)
        self.comparison.add(recorded, made)

    def _take_signal(self, asked: np.ndarray, decided: np.ndarray | None) -> None:
        """An outside signal, and what was decided about it; None where execution died first."""
        slot = asked[0]
        signal = msgspec.msgpack.decode(_message(slot), type=ExternalSignal)
        sequence, now_ns = int(slot["sequence"]), int(slot["time_ns"])
        self._signals.append((sequence, signal))
        if decided is None or self._why:
            if decided is not None:
                self.comparison.leave_out(sequence, int(decided["sequence"][-1]), self._why)
            return
        market = self._market(sequence, signal.instrument)
        self._out.begin(sequence - 1)
        self._journal.signal(signal, market, now_ns)
        decision, _ = self._machine.on_signal(signal, market, now_ns, sequence)
        self._journal.decide(decision, now_ns, sequence)
        self._journal.commit(1)
        self.made += 1
        self.comparison.add(join([asked, decided], decisions.SLOT), self._out.slots())

    def _market(self, sequence: int, instrument: int) -> Prediction | None:
        """The last prediction about an instrument that execution had taken in, as it saw it."""
        recent = join(list(self._recent), decisions.SLOT)
        recent = recent[recent["sequence"] >= max(sequence - LOOK_BACK, 0)]
        recent = recent[recent["sequence"] < sequence]
        found = last_market(recent, instrument)
        if found is None:
            return None
        number = found.prediction_sequence
        told = self._predictions.between(number - 1, number)
        if told is None:
            return None
        row = told[0]
        return found._replace(
            spread_bps=float(row["spread_bps"]),
            volatility_bps=float(row["volatility_bps"]),
            book_age_s=float(row["book_age_s"]),
            regime=float(row["regime"]),
            outputs=spoken(row),
        )

    def _keep(self, run: np.ndarray) -> None:
        recent = self._recent
        recent.append(run)
        newest = int(run["sequence"][-1])
        while int(recent[0]["sequence"][-1]) < newest - LOOK_BACK:
            recent.popleft()
        capacity = self._recording.settings.rings.decisions
        while self._signals and self._signals[0][0] <= newest - capacity:
            self._signals.popleft()

    def _take_message(self, slot: np.void) -> None:
        kind, now_ns = SlotKind(int(slot["kind"])), int(slot["time_ns"])
        raw = _message(slot)
        if kind == SlotKind.INPUT_START:
            self._begin_life(slot, msgspec.msgpack.decode(raw))
        if self._why:
            return
        if kind == SlotKind.INPUT_BROKER:
            self._machine.on_event(msgspec.msgpack.decode(raw, type=BrokerEvent), now_ns)
        elif kind == SlotKind.INPUT_TIMER:
            self._machine.on_timer(now_ns)
        elif kind == SlotKind.INPUT_COMMAND:
            level = int(msgspec.msgpack.decode(raw)["kill_level"])
            self._journal.kill_level = KillLevel(level)
            self._machine.on_kill(level, now_ns)
        elif kind == SlotKind.INPUT_LEDGER:
            self._machine.on_ledger(away=bool(msgspec.msgpack.decode(raw)["away"]))
        elif kind == SlotKind.INPUT_CONFIG:
            number = int(slot["config_generation"])
            self._journal.generation = number
            self._machine.on_config(self._recording.folder.settings(number))

    def _begin_life(self, slot: np.void, told: dict[str, Any]) -> None:
        number = int(slot["config_generation"])
        folder = self._recording.folder
        try:
            settings = folder.settings(number)
            beginning = Beginning.decode(folder.state(str(told["state"])))
        except (OperatorError, msgspec.DecodeError) as error:
            self._why = str(error)
            return
        self._why = ""
        instruments = folder.tables(number).instruments
        self._machine = Machine(self._recording.session, instruments, settings)
        self._machine.take_up(beginning)
        for _, signal in self._signals:
            self._machine.remember_signal(signal)
        self._journal = InputJournal(self._out, lambda: 0)
        self._journal.generation = number
        self._screen = Screen(self._journal, self._machine)
