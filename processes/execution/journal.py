"""Execution's end of the decisions ring: inputs in, decisions out, as slots.

An input is committed before it is acted on. Predictions are carried over by a compiled loop, a
drain at a time, with one decision about each; what the machine needs of one of them comes back as
plain Python numbers.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec
import numpy as np
from numba import carray, njit

from processes.execution.effects import Decision, no_market
from processes.execution.policy import Prediction
from schemas import decisions, predictions
from schemas.decisions import MESSAGE_BYTES, NUMBERS, STRATEGIES, SlotKind
from schemas.predictions import MODELS, SPEAKERS
from schemas.trading import BrokerEvent, ExternalSignal, KillLevel
from shm.atomics import memory

DRAIN: Final = 1024
INTEGERS_BYTES: Final = 64
_INPUT = int(SlotKind.INPUT_PREDICTION)
_TAIL_WORDS: Final = (predictions.SLOT_BYTES - 96) // 4
_MODELS: Final = len(MODELS)
_SPEAKERS: Final = len(SPEAKERS)
_BLEND: Final = 4 + 5 * _MODELS
_REGIME: Final = 4 + 5 * _SPEAKERS
FLOATS: Final = _REGIME + 1
_DECISION: Final = int(SlotKind.DECISION)
_SEEN: Final = (
    "instrument", "rung", "invalid", "cut", "feature_sequence", "prediction_sequence",
    "newest_recv_ns", "reference_price",
)  # fmt: skip
_STRATEGY: Final = {name: index for index, name in enumerate(STRATEGIES)}
(
    _CONFIDENCE, _MOVE, _COST, _VALUE, _POSITION, _QUANTITY, _LIMIT, _SPREAD, _VOLATILITY,
    _REALIZED, _UNREALIZED, _AGE, _HORIZON,
) = range(len(NUMBERS))  # fmt: skip


def _word(digits: str) -> int:
    """Sixteen hex digits as the signed word of the same bits."""
    value = int(digits, 16)
    return value - (1 << 64) if value >> 63 else value


@njit(cache=True, nogil=True)
def carry_predictions(
    source: int, count: int, time_ns: int, made_ns: int, kill_level: int, generation: int,
    drain: int,
) -> None:  # fmt: skip
    """Prediction slots to input slots, and the machine's numbers out of them.

    Args:
        drain: address of four addresses: (DRAIN) input slots, (DRAIN, 8) int64, (DRAIN, FLOATS)
            float64, (DRAIN) decision slots.
    """
    t = carray(memory(drain), (4,), np.int64)
    told = carray(memory(source), (count,), predictions.SLOT)
    told_words = carray(memory(source), (count, predictions.SLOT_BYTES // 4), np.uint32)
    slots = carray(memory(t[0]), (count,), decisions.SLOT)
    words = carray(memory(t[0]), (count, decisions.SLOT_BYTES // 4), np.uint32)
    whole = carray(memory(t[1]), (count, 8), np.int64)
    broken = carray(memory(t[2]), (count, FLOATS), np.float64)
    for index in range(count):
        one = told[index]
        for word in range(decisions.SLOT_BYTES // 4):
            words[index, word] = 0
        slot = slots[index]
        slot.time_ns = time_ns
        slot.made_ns = made_ns
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
        outputs, blend = one.outputs, one.blend
        for model in range(_MODELS):
            for column in range(5):
                broken[index, 4 + 5 * model + column] = outputs[model, column]
        for column in range(5):
            broken[index, _BLEND + column] = blend[column]
        broken[index, _REGIME] = one.regime


@njit(cache=True, nogil=True)
def write_decision(
    drain: int, index: int, time_ns: int, input_sequence: int, low: int, high: int, action: int,
    reason: int, strategy: int, confidence: float, move: float, cost: float, value: float,
    position: float, quantity: float, limit_price: float, realized: float, unrealized: float,
    horizon_s: float,
) -> None:  # fmt: skip
    """The decision slot at `index`, about the prediction that stands there of the drain."""
    t = carray(memory(drain), (4,), np.int64)
    source = carray(memory(t[0]), (DRAIN,), decisions.SLOT)[index]
    whole = carray(memory(t[1]), (DRAIN, 8), np.int64)
    broken = carray(memory(t[2]), (DRAIN, FLOATS), np.float64)
    words = carray(memory(t[3]), (DRAIN, decisions.SLOT_BYTES // 8), np.int64)
    slot = carray(memory(t[3]), (DRAIN,), decisions.SLOT)[index]
    for word in range(decisions.SLOT_BYTES // 8):
        words[index, word] = 0
    slot.time_ns = time_ns
    slot.input_sequence = input_sequence
    slot.cut = source.cut
    slot.feature_sequence = source.feature_sequence
    slot.prediction_sequence = source.prediction_sequence
    slot.reference_price = source.reference_price
    slot.newest_recv_ns = source.newest_recv_ns
    slot.command_low = low
    slot.command_high = high
    slot.kind = _DECISION
    slot.action = action
    slot.reason = reason
    slot.instrument = source.instrument
    slot.strategy = strategy
    slot.rung = source.rung
    slot.invalid = source.invalid
    slot.config_generation = source.config_generation
    slot.kill_level = source.kill_level
    numbers = slot.numbers
    numbers[_CONFIDENCE] = confidence
    numbers[_MOVE] = move
    numbers[_COST] = cost
    numbers[_VALUE] = value
    numbers[_POSITION] = position
    numbers[_QUANTITY] = quantity
    numbers[_LIMIT] = limit_price
    numbers[_SPREAD] = broken[index, 1]
    numbers[_VOLATILITY] = broken[index, 2]
    numbers[_REALIZED] = realized
    numbers[_UNREALIZED] = unrealized
    numbers[_HORIZON] = horizon_s
    numbers[_AGE] = (time_ns - whole[index, 4]) / 1e6


class Destination(Protocol):
    """Where slots go: the ring, or what a replay compares."""

    @property
    def committed(self) -> int:
        """Sequence of the last slot."""

    def append(self, slots: np.ndarray, count: int | None = None) -> None:
        """Commit slots."""

    def append_at(self, address: int, count: int) -> None:
        """As `append`, by address."""


class InputJournal:
    """The ring's writer as execution uses it."""

    def __init__(self, writer: Destination, now_ns: Callable[[], int]) -> None:
        self.generation = 0
        self.kill_level = KillLevel.NONE
        self._writer = writer
        self._now_ns = now_ns
        self._inputs = np.zeros(DRAIN, decisions.SLOT)
        self._outputs = np.zeros(DRAIN, decisions.SLOT)
        self._integers = np.zeros((DRAIN, 8), np.int64)
        self._floats = np.zeros((DRAIN, FLOATS), np.float64)
        arrays = (self._inputs, self._integers, self._floats, self._outputs)
        self._drain = np.array([array.ctypes.data for array in arrays], np.int64)
        self.drain = int(self._drain.ctypes.data)
        """The table of addresses that the kernels of a drain share."""
        self.cut_times = int(self._integers.ctypes.data) + 4 * 8
        """Where the first prediction's `cut_ns` stands; the next are INTEGERS_BYTES apart."""
        self._inputs_address, self._outputs_address = int(self._drain[0]), int(self._drain[3])
        self._first = 0

    def compile(self) -> None:
        """Run the compiled part once, so that the first real prediction is not late."""
        nothing = np.zeros(1, predictions.SLOT)
        carry_predictions(nothing.ctypes.data, 0, 0, 0, 0, 0, self.drain)
        write_decision(
            self.drain, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        )

    def take(self, address: int, count: int, time_ns: int) -> int:
        """Commit prediction slots as inputs, before anything is decided on them.

        Returns the sequence of the first; the others follow.
        """
        carry_predictions(
            address, count, time_ns, self._now_ns(), int(self.kill_level), self.generation,
            self.drain,
        )  # fmt: skip
        first = self._first = self._writer.committed + 1
        self._writer.append_at(self._inputs_address, count)
        return first

    def prediction(self, index: int) -> Prediction:
        """What the prediction at this place of the drain says."""
        numbers, parts = self._integers[index].tolist(), self._floats[index].tolist()
        outputs = tuple(tuple(parts[4 + 5 * m : 9 + 5 * m]) for m in range(_SPEAKERS))
        return Prediction._make((*numbers, *parts[:4], outputs, parts[_REGIME]))

    def best_rung(self, count: int) -> int:
        """The least fallen rung that so many predictions of the drain were made on."""
        return int(self._integers[:count, 1].min())

    def message(self, kind: SlotKind, time_ns: int, body: object) -> int:
        """Commit one input that is a message; its sequence."""
        self._write_message(kind, time_ns, body)
        self._writer.append(self._inputs, 1)
        return self._writer.committed

    def _write_message(self, kind: SlotKind, time_ns: int, body: object) -> None:
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

    def signal(self, signal: ExternalSignal, market: Prediction | None, time_ns: int) -> int:
        """Commit an outside signal, with what it will be judged by; its sequence.

        `decide` and `commit` then write the decision about it, as the first of a drain.
        """
        self._write_message(SlotKind.INPUT_SIGNAL, time_ns, signal)
        slot, seen = self._inputs[0], market or no_market(signal.instrument)
        for name in _SEEN:
            slot[name] = getattr(seen, name)
        self._integers[0] = 0
        self._integers[0, 4] = signal.ts_ns
        self._floats[0] = 0.0
        self._floats[0, 1:3] = seen.spread_bps, seen.volatility_bps
        self._writer.append(self._inputs, 1)
        self._first = self._writer.committed
        return self._first

    def event(self, event: BrokerEvent, time_ns: int) -> int:
        """Commit a broker's event."""
        return self.message(SlotKind.INPUT_BROKER, time_ns, event)

    def decide(self, decision: Decision, time_ns: int, input_sequence: int) -> None:
        """Write the decision about a prediction of the drain; `commit` will publish it."""
        wish = decision.wish
        assert wish is not None
        low = high = 0
        if decision.command_id:
            high, low = _word(decision.command_id[:16]), _word(decision.command_id[16:])
        index, seen = input_sequence - self._first, decision.seen
        assert 0 <= index < DRAIN
        write_decision(
            self.drain, index, time_ns, input_sequence, low, high, int(decision.action),
            int(decision.reason), _STRATEGY[decision.strategy], wish.confidence, wish.move_bps,
            wish.cost_bps, wish.value_bps, seen.position, float(decision.quantity),
            float(decision.price), seen.realized, seen.unrealized,
            wish.horizon_s,
        )  # fmt: skip

    def commit(self, count: int) -> None:
        """Publish the decisions of the drain: one about each of its predictions, in order."""
        self._outputs["made_ns"][:count] = self._now_ns()
        self._writer.append_at(self._outputs_address, count)
