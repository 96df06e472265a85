"""Execution's end of the decisions ring: inputs in, decisions out, as slots.

An input is committed before it is acted on. Predictions are carried over by a compiled loop, a
drain at a time; what the machine needs of them comes back as plain Python numbers.
"""

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
from numba import carray, njit

from processes.execution.machine import Decision
from processes.execution.policy import Prediction
from processes.runtime import SignallingWriter
from schemas import decisions, predictions
from schemas.decisions import MESSAGE_BYTES, NUMBERS, STRATEGIES, SlotKind
from schemas.predictions import MODELS
from schemas.trading import BrokerEvent, KillLevel
from shm.atomics import memory

DRAIN: Final = 1024
_INPUT = int(SlotKind.INPUT_PREDICTION)
_TAIL_WORDS: Final = (predictions.SLOT_BYTES - 96) // 4
_MODELS: Final = len(MODELS)
_NO_MESSAGE: Final = np.zeros(MESSAGE_BYTES, np.uint8)
_NUMBER: Final = {name: index for index, name in enumerate(NUMBERS)}


@njit(cache=True, nogil=True)
def carry_predictions(
    source: int, count: int, time_ns: int, kill_level: int, generation: int, target: int,
    integers: int, floats: int,
) -> None:  # fmt: skip
    """Prediction slots to input slots; the machine's numbers to (count, 8) int64 and float64s."""
    told = carray(memory(source), (count,), predictions.SLOT)
    told_words = carray(memory(source), (count, predictions.SLOT_BYTES // 4), np.uint32)
    slots = carray(memory(target), (count,), decisions.SLOT)
    words = carray(memory(target), (count, decisions.SLOT_BYTES // 4), np.uint32)
    whole = carray(memory(integers), (count, 8), np.int64)
    broken = carray(memory(floats), (count, 4 + 5 * _MODELS), np.float64)
    for index in range(count):
        one = told[index]
        for word in range(decisions.SLOT_BYTES // 4):
            words[index, word] = 0
        slot = slots[index]
        slot.time_ns = time_ns
        slot.cut = one.cut
        slot.feature_sequence = one.feature_sequence
        slot.prediction_sequence = one.sequence
        slot.reference_price = one.reference_price
        slot.newest_recv_ns = one.newest_recv_ns
        slot.kind = _INPUT
        slot.instrument = one.instrument
        slot.rung = one.rung
        slot.invalid = one.invalid
        slot.config_generation = generation
        slot.kill_level = kill_level
        for word in range(_TAIL_WORDS):
            words[index, 60 + word] = told_words[index, 24 + word]
        whole[index, 0] = one.instrument
        whole[index, 1] = one.rung
        whole[index, 2] = one.invalid
        whole[index, 3] = one.cut
        whole[index, 4] = one.cut_ns
        whole[index, 5] = one.feature_sequence
        whole[index, 6] = one.sequence
        whole[index, 7] = one.newest_recv_ns
        broken[index, 0] = one.reference_price
        broken[index, 1] = one.spread_bps
        broken[index, 2] = one.volatility_bps
        broken[index, 3] = one.book_age_s
        outputs = one.outputs
        for model in range(_MODELS):
            for column in range(5):
                broken[index, 4 + 5 * model + column] = outputs[model, column]


class InputJournal:
    """The ring's writer as execution uses it."""

    def __init__(self, writer: SignallingWriter, now_ns: Callable[[], int]) -> None:
        self.generation = 0
        self.kill_level = KillLevel.NONE
        self._writer = writer
        self._now_ns = now_ns
        self._inputs = np.zeros(DRAIN, decisions.SLOT)
        self._outputs = np.zeros(DRAIN, decisions.SLOT)
        self._integers = np.zeros((DRAIN, 8), np.int64)
        self._floats = np.zeros((DRAIN, 4 + 5 * _MODELS), np.float64)
        self._addresses = [
            int(array.ctypes.data) for array in (self._inputs, self._integers, self._floats)
        ]
        self._made = 0

    def compile(self) -> None:
        """Run the compiled part once, so that the first real prediction is not late."""
        nothing = np.zeros(1, predictions.SLOT)
        carry_predictions(nothing.ctypes.data, 0, 0, 0, 0, *self._addresses)

    def last_prediction(self) -> int:
        """Sequence of the last prediction that an earlier life took in; 0 if none is remembered."""
        recent = self._writer.ring.recent(self._writer.ring.capacity)
        taken = recent[recent["kind"] == SlotKind.INPUT_PREDICTION]
        return int(taken["prediction_sequence"].max()) if len(taken) else 0

    def predictions(self, address: int, count: int, time_ns: int) -> tuple[int, list[Prediction]]:
        """Commit prediction slots as inputs: the first one's sequence, and what they say."""
        inputs, integers, floats = self._addresses
        carry_predictions(
            address, count, time_ns, int(self.kill_level), self.generation, inputs, integers, floats
        )
        first = self._writer.ring.committed + 1
        self._inputs["made_ns"][:count] = self._now_ns()
        self._writer.append_at(inputs, count)
        found = []
        whole, broken = self._integers[:count].tolist(), self._floats[:count].tolist()
        for numbers, parts in zip(whole, broken, strict=True):
            outputs = tuple(tuple(parts[4 + 5 * m : 9 + 5 * m]) for m in range(_MODELS))
            found.append(Prediction._make((*numbers, *parts[:4], outputs)))
        return first, found

    def message(self, kind: SlotKind, time_ns: int, body: object) -> int:
        """Commit one input that is a message; its sequence."""
        raw = msgspec.msgpack.encode(body)
        assert len(raw) <= MESSAGE_BYTES, f"{kind.name} of {len(raw)} bytes"
        slot = self._inputs[:1]
        slot[:] = np.zeros(1, decisions.SLOT)
        slot["time_ns"] = time_ns
        slot["made_ns"] = self._now_ns()
        slot["kind"] = kind
        slot["config_generation"] = self.generation
        slot["kill_level"] = self.kill_level
        slot["message_length"] = len(raw)
        slot["message"] = np.frombuffer(raw.ljust(MESSAGE_BYTES, b"\0"), np.uint8)
        self._writer.append(self._inputs, 1)
        return self._writer.ring.committed

    def event(self, event: BrokerEvent, time_ns: int) -> int:
        """Commit a broker's event."""
        return self.message(SlotKind.INPUT_BROKER, time_ns, event)

    def decide(self, decision: Decision, time_ns: int, input_sequence: int) -> None:
        """Add a decision to those that `commit` will write."""
        prediction, wish = decision.prediction, decision.wish
        numbers = [0.0] * 16
        cut = features = source = newest = invalid = rung = 0
        reference = 0.0
        if prediction is not None:
            cut, features = prediction.cut, prediction.feature_sequence
            source, newest = prediction.prediction_sequence, prediction.newest_recv_ns
            invalid, rung = prediction.invalid, prediction.rung
            reference = prediction.reference_price
            numbers[_NUMBER["spread_bps"]] = prediction.spread_bps
            numbers[_NUMBER["volatility_bps"]] = prediction.volatility_bps
            numbers[_NUMBER["age_ms"]] = (time_ns - prediction.cut_ns) / 1e6
        if wish is not None:
            numbers[0:4] = wish.confidence, wish.move_bps, wish.cost_bps, wish.value_bps
        numbers[_NUMBER["quantity"]] = float(decision.quantity)
        numbers[_NUMBER["limit_price"]] = float(decision.price)
        high, low = 0, 0
        if decision.command_id:
            high, low = int(decision.command_id[:16], 16), int(decision.command_id[16:], 16)
        slot_values = (
            0, time_ns, 0, input_sequence, cut, features, source, reference, newest, low, high,
            int(SlotKind.DECISION), decision.action, decision.reason, decision.instrument,
            STRATEGIES.index(decision.strategy), rung, numbers, invalid, self.generation,
            self.kill_level, 0, 0, _NO_MESSAGE,
        )  # fmt: skip
        self._outputs[self._made] = slot_values
        self._made += 1
        if self._made == DRAIN:
            self.commit()

    def commit(self) -> None:
        """Write all decisions that were added."""
        if self._made:
            self._outputs["made_ns"][: self._made] = self._now_ns()
            self._writer.append(self._outputs, self._made)
            self._made = 0
