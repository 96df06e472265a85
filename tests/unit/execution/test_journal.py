"""What execution writes of a decision is what was decided, field by field."""

from decimal import Decimal

import numpy as np
import pytest

from processes import runtime
from processes.execution.effects import Decision, Seen
from processes.execution.journal import InputJournal
from processes.execution.policy import Wish
from processes.execution.strategies.registry import REGISTRY
from processes.runtime import Context
from schemas import decisions, predictions
from schemas.decisions import NUMBERS, STRATEGIES, SlotKind
from schemas.layout import join
from schemas.predictions import MODELS, SPEAKERS, spoken
from schemas.trading import Action, KillLevel, Reason
from tests.instances import bare_instance

T0 = 1_760_000_000_000_000_000


@pytest.fixture
def journal(monkeypatch):
    with bare_instance() as made:
        monkeypatch.setattr(runtime, "open_log", lambda *_: made.log)
        made.put_in_force()
        made.open()
        context = Context(made.paths.run, "execution")
        found = InputJournal(context.writer("decisions"), lambda: T0 + 5)
        found.compile()
        found.generation, found.kill_level = 3, KillLevel.PAUSE
        yield found
        context.close()


def told(count: int, seed: int) -> np.ndarray:
    """Predictions with something different in every field."""
    draw = np.random.default_rng(seed)
    slots = np.zeros(count, predictions.SLOT)
    for name in ("cut", "feature_sequence", "sequence", "newest_recv_ns", "invalid"):
        slots[name] = draw.integers(1, 1 << 60, count)
    slots["cut_ns"] = T0 - draw.integers(1, 10**9, count)
    slots["instrument"], slots["rung"] = draw.integers(0, 60_000, count), draw.integers(0, 3, count)
    for name in ("reference_price", "spread_bps", "volatility_bps", "book_age_s"):
        slots[name] = draw.normal(100, 10, count)
    slots["outputs"] = draw.normal(size=(count, predictions.MAX_MODELS, 5))
    return slots


def test_every_strategy_reads_whom_it_names(journal):
    """The kernel of a drain, the machine's numbers and an outside signal's market agree on it."""
    slots = told(3, 1)
    slots["blend"] = np.arange(15).reshape(3, 5) + 1000
    journal.take(slots.ctypes.data, 3, T0)
    for name, strategy in REGISTRY.items():
        speaker = name if name in SPEAKERS else "moving_average_cross"
        for index in range(3):
            wanted = (
                slots["blend"][index]
                if speaker == "blend"
                else slots["outputs"][index, MODELS.index(speaker)]
            )
            read = journal.prediction(index).outputs[strategy.model]
            assert read == tuple(wanted.tolist()), name
            assert journal._floats[index, 4 + 5 * strategy.model] == wanted[0]
            assert spoken(slots[index])[strategy.model] == tuple(wanted.tolist())
    assert len(journal.prediction(0).outputs) == len(SPEAKERS)


def decided(index: int) -> Decision:
    """A decision with something different in every field."""
    side = (Action.ENTER_LONG, Action.HOLD)[index % 2]
    reason = (Reason.SIGNAL, Reason.MAX_TOTAL_POSITION)[index % 2]
    wish = Wish(side, reason, "tcn", 0.1 + index, 0.2 + index, 0.3 + index, 0.4 + index)
    number = (
        "" if index % 2 else f"{0xF000_0000_0000_0001 + index:016x}{0x8000_0000_0000_00FF:016x}"
    )
    return Decision(
        side, reason, index, ("tcn", "moving_average_cross")[index % 2], wish, None,
        Decimal(f"{index}.5"), Decimal(f"{index}.25"), number,
        Seen(1.5 + index, -2.5 - index, 3.5 + index),
    )  # fmt: skip


def test_a_decision_is_written_as_it_was_made(journal, seed):
    for drain, count in enumerate((1, 7, 60)):
        slots = told(count, seed + drain)
        first = journal.take(slots.ctypes.data, count, T0)
        seen = [journal.prediction(index).prediction_sequence for index in range(count)]
        assert seen == slots["sequence"].tolist()
        # In another order than they came: each must find its own prediction and place.
        order = np.random.default_rng(seed).permutation(count).tolist()
        for index in order:
            journal.decide(decided(index), T0 + index, first + index)
        journal.commit(count)
        made = journal._writer.ring.recent(count)
        assert int(made["sequence"][0]) == first + count
        check(made, slots, first)
    inputs = join([journal._writer.ring.recent(120)], decisions.SLOT)[:60]
    assert (inputs["kind"] == SlotKind.INPUT_PREDICTION).all()
    assert (inputs["prediction_sequence"] == slots["sequence"]).all()


def check(made: np.ndarray, slots: np.ndarray, first: int) -> None:
    for index, (slot, source) in enumerate(zip(made, slots, strict=True)):
        decision = decided(index)
        plain = {
            "time_ns": T0 + index, "made_ns": T0 + 5, "input_sequence": first + index,
            "prediction_sequence": source["sequence"], "kind": SlotKind.DECISION,
            "action": decision.action, "reason": decision.reason,
            "strategy": STRATEGIES.index(decision.strategy), "config_generation": 3,
            "kill_level": KillLevel.PAUSE, "message_length": 0,
            **{
                name: source[name]
                for name in (
                    "cut", "feature_sequence", "reference_price", "newest_recv_ns", "instrument",
                    "rung", "invalid",
                )
            },
        }  # fmt: skip
        assert {name: slot[name] for name in plain} == plain
        number = f"{int(slot['command_high']):016x}{int(slot['command_low']):016x}"
        assert number == (decision.command_id or "0" * 32)
        wish, seen = decision.wish, decision.seen
        assert wish is not None
        wanted = {
            "confidence": wish.confidence, "expected_move_bps": wish.move_bps,
            "cost_bps": wish.cost_bps, "expected_value_bps": wish.value_bps,
            "position": seen.position, "quantity": float(decision.quantity),
            "limit_price": float(decision.price), "spread_bps": source["spread_bps"],
            "volatility_bps": source["volatility_bps"], "realized_pnl": seen.realized,
            "unrealized_pnl": seen.unrealized,
            "age_ms": (T0 + index - int(source["cut_ns"])) / 1e6, "horizon_s": wish.horizon_s,
        }  # fmt: skip
        assert set(wanted) == set(NUMBERS)
        numbers = dict(zip(NUMBERS, slot["numbers"].tolist(), strict=False))
        assert numbers == pytest.approx(wanted, rel=1e-12)
