"""A drain that a kernel has screened gives the decisions, slot for slot, of one prediction a
time."""

import numpy as np
import pytest

from processes import runtime
from processes.execution.effects import Send
from processes.execution.journal import InputJournal
from processes.execution.machine import Machine
from processes.execution.screen import Screen
from processes.runtime import Context
from schemas import predictions
from schemas.instruments import Instrument
from schemas.predictions import MODELS
from schemas.trading import OrderFilled, Reason, Reconciled
from tests.instances import bare_instance
from tests.unit.execution.test_machine import settings

T0 = 1_760_000_000_000_000_000
INSTRUMENTS = 4


@pytest.fixture
def context(monkeypatch):
    with bare_instance() as made:
        monkeypatch.setattr(runtime, "open_log", lambda *_: made.log)
        made.put_in_force()
        made.open()
        found = Context(made.paths.run, "execution")
        yield found
        found.close()


def drain(draw, count: int, now_ns: int) -> np.ndarray:
    """Predictions of every kind: clear and unclear, stale, invalid, not finite, without a price."""
    slots = np.zeros(count, predictions.SLOT)
    slots["cut"] = slots["sequence"] = draw.integers(1, 1 << 40, count)
    slots["cut_ns"] = now_ns - draw.choice([1_000_000, 60_000_000_000], count, p=[0.9, 0.1])
    slots["instrument"] = draw.integers(0, INSTRUMENTS, count)
    slots["rung"] = draw.choice([0, 2], count, p=[0.9, 0.1])
    slots["invalid"] = draw.choice([0, 4], count, p=[0.9, 0.1])
    prices = [100.25, 99.1, 0.0, -1.0, np.nan, np.inf]
    slots["reference_price"] = draw.choice(prices, count, p=[0.45, 0.45, 0.03, 0.02, 0.03, 0.02])
    slots["spread_bps"] = draw.choice([1.0, 5_000.0, np.nan], count, p=[0.9, 0.05, 0.05])
    up = draw.choice([0.0, 0.33, 0.9, np.nan], count, p=[0.2, 0.4, 0.37, 0.03])
    move = draw.choice([50.0, 0.1, np.inf], count, p=[0.8, 0.17, 0.03])
    for model in range(len(MODELS)):
        slots["outputs"][:, model, 0] = up
        slots["outputs"][:, model, 2] = 0.33
        slots["outputs"][:, model, 3] = move
    return slots


class Side:
    """A machine and its journal, all fills at once; with the screen before it or without."""

    def __init__(self, context: Context, *, screened: bool) -> None:
        self.machine = Machine(
            7,
            [
                Instrument(index=n, venue="kraken", symbol=f"A{n}/USD", pair=f"A{n}/USD")
                for n in range(INSTRUMENTS)
            ],
            settings(),
        )
        self.machine.on_event(Reconciled("paper", T0), T0)
        self.journal = InputJournal(context.writer("decisions"), lambda: T0)
        self.screen = Screen(self.journal, self.machine) if screened else None

    def take(self, slots: np.ndarray, now_ns: int) -> tuple[np.ndarray, int]:
        count = len(slots)
        first = self.journal.take(slots.ctypes.data, count, now_ns)
        others = range(count) if self.screen is None else self.screen.others(count, first, now_ns)
        effects = []
        for index in others:
            asked = self.journal.prediction(index)
            decision, wanted = self.machine.on_prediction(asked, now_ns, first + index)
            self.journal.decide(decision, now_ns, first + index)
            effects += wanted
        if self.screen is not None:
            self.screen.marks(count)
        self.journal.commit(count)
        for effect in effects:
            assert isinstance(effect, Send)
            number, quantity = effect.intent.command_id, effect.intent.quantity
            self.machine.on_event(
                OrderFilled(number, number, "100", quantity, "0.1", "USD", now_ns), now_ns
            )
        made = self.journal._writer.ring.recent(count).copy()
        made["input_sequence"] -= first
        made["sequence"] -= first
        return made, len(others)


def test_screened_decisions_are_those_of_one_prediction_at_a_time(context, seed):
    draw = np.random.default_rng(seed)
    plain, screened = Side(context, screened=False), Side(context, screened=True)
    assert screened.screen is not None
    screened.screen.compile()
    now_ns, reasons, asked, told = T0, set(), 0, 0
    for _ in range(200):
        now_ns += int(draw.integers(1, 30_000_000_000))
        slots = drain(draw, int(draw.integers(1, 12)), now_ns)
        plain.journal._writer = screened.journal._writer
        wanted, count = plain.take(slots, now_ns)
        got, others = screened.take(slots, now_ns)
        assert got.tobytes() == wanted.tobytes()
        reasons |= set(got["reason"].tolist())
        asked, told = asked + others, told + count
        one, other = plain.machine.book, screened.machine.book
        assert one.held() == other.held()
        assert all(one.position(n) == other.position(n) for n in range(INSTRUMENTS))
        assert one.exposure() == other.exposure()
        assert one.unrealized() == other.unrealized()
        assert [one.mark(n, one.realized_today) for n in range(INSTRUMENTS)] == [
            other.mark(n, other.realized_today) for n in range(INSTRUMENTS)
        ]
    assert asked < told, "the screen let everything through"
    assert {Reason.SIGNAL, Reason.NO_SIGNAL, Reason.STALE_DATA, Reason.NOT_FINITE} < reasons
