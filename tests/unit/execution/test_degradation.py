"""The ladder of trading: each step forced, seen, and left again by itself; but not from a kill."""

import numpy as np
import pytest

from processes import runtime
from processes.execution.effects import Cancel, Send, Stepped
from processes.execution.machine import Machine
from schemas import predictions
from schemas.messages import StepChanged
from schemas.metrics import place
from schemas.predictions import Rung
from schemas.trading import KillLevel, OrderCanceled, Reason, Step
from tests.instances import bare_instance
from tests.unit.execution.test_execution import Life
from tests.unit.execution.test_machine import T0, enter, fill
from tests.unit.execution.test_risk import BTC, ETH, SECOND, machine, reason

LONG = 60


def fallen(**changes) -> Machine:
    """A machine that holds one bitcoin and follows the network."""
    made = machine(strategy__name="tcn", risk__positions_only_s=LONG, **changes)
    _, intent = enter(made)
    made.on_event(fill(intent), T0)
    return made


def turn(made: Machine, second: int, rung: Rung | None = None) -> list:
    """A drain of predictions on a rung, or none, then the timer."""
    now_ns = T0 + second * SECOND
    if rung is not None:
        made.see_rung(rung, now_ns)
    return made.on_timer(now_ns)


def test_every_step_down_and_back_up():
    made = fallen()
    assert turn(made, 0, Rung.MLX) == []
    assert turn(made, 5, Rung.CPU) == []
    assert made.step is Step.FULL, "the slower rung of the network is as good"
    assert turn(made, 14, Rung.POSITIONS_ONLY) == []
    (told,) = turn(made, 15, Rung.POSITIONS_ONLY)
    assert (told.step, made.step) == (Step.POSITIONS_ONLY, Step.POSITIONS_ONLY)
    assert made.book.held() == [BTC]
    assert turn(made, 5 + LONG - 1, Rung.POSITIONS_ONLY) == []
    told, sent = turn(made, 5 + LONG, Rung.POSITIONS_ONLY)
    assert isinstance(told, Stepped)
    assert told.step is Step.FLAT
    intent = sent.intent
    assert (intent.side, intent.quantity, intent.reduce_only) == ("sell", "1", True)
    assert (intent.strategy, intent.reason) == ("degradation", Reason.DEGRADED_FLATTEN)
    later = T0 + 70 * SECOND
    assert reason(made, ETH, 9, later) == Reason.DEGRADED
    assert turn(made, 71, Rung.POSITIONS_ONLY) == [], "the order is on its way"
    made.on_event(OrderCanceled(intent.command_id, later), later)
    (again,) = turn(made, 73, Rung.POSITIONS_ONLY)
    made.on_event(fill(again.intent, now_ns=later), later)
    assert made.book.held() == []
    assert turn(made, 80, Rung.CPU) == [Stepped(Step.FULL, "predictions can be used again")]
    assert reason(made, ETH, 10, T0 + 81 * SECOND) == Reason.SIGNAL


def test_predictions_that_do_not_come_are_the_same_fall():
    made = fallen()
    turn(made, 0, Rung.MLX)
    assert [one.step for one in turn(made, 10)] == [Step.POSITIONS_ONLY]
    assert [type(one) for one in turn(made, LONG)] == [Stepped, Send]


def test_what_is_said_tells_a_start_from_a_fall():
    made = fallen()
    (said,) = turn(made, 0) or turn(made, 10)
    assert said.text == "waiting for a first prediction, since 10 s"
    turn(made, 11, Rung.MLX)
    (said,) = turn(made, 21)
    assert said.text == "no prediction could be used for 10 s"


def test_a_rule_can_use_predictions_of_every_rung():
    made = machine(risk__positions_only_s=LONG)
    for second in range(0, 200, 5):
        assert turn(made, second, Rung.POSITIONS_ONLY) == []
    assert [one.step for one in turn(made, 300)] == [Step.FLAT]


def test_entries_under_way_are_cancelled_before_positions_are_closed():
    made = fallen()
    turn(made, 0, Rung.MLX)
    now_ns = T0 + SECOND
    _, intent = enter(made, now_ns=now_ns, cut=2, instrument=ETH)
    _, cancel = turn(made, LONG)
    assert cancel == Cancel(intent.command_id)
    made.on_event(OrderCanceled(intent.command_id, now_ns), now_ns)
    (closing,) = turn(made, LONG + 1)
    assert closing.intent.instrument == BTC


def test_it_may_be_switched_off_and_does_not_touch_what_the_kill_switch_does():
    made = machine(strategy__name="tcn", risk__positions_only_s=0)
    turn(made, 0, Rung.MLX)
    turn(made, 10_000)
    assert made.step is Step.POSITIONS_ONLY
    made = fallen()
    turn(made, 0, Rung.MLX)
    made.on_kill(KillLevel.FLATTEN, T0)
    assert [type(one) for one in turn(made, LONG)] == [Stepped]
    turn(made, LONG + 5, Rung.MLX)
    assert made.step is Step.FULL
    assert reason(made, ETH, 3, T0 + 70 * SECOND) == Reason.KILLED


def test_the_pause_lets_it_close():
    made = fallen()
    turn(made, 0, Rung.MLX)
    made.on_kill(KillLevel.PAUSE, T0)
    _, sent = turn(made, LONG)
    assert sent.intent.reduce_only


def test_each_step_is_visible(monkeypatch):
    with bare_instance(strategy__name="tcn", risk__positions_only_s=LONG) as instance:
        monkeypatch.setattr(runtime, "open_log", lambda *_: instance.log)
        instance.put_in_force()
        instance.open()
        life = Life(instance).begin()
        try:
            told = []
            monkeypatch.setattr(life.context.bus, "publish", told.append)
            clock = life.context.clock
            start_ns = clock.now_ns()
            seen = []
            for second in (0, 20, 100):
                monkeypatch.setattr(clock, "now_ns", lambda s=second: start_ns + s * SECOND)
                life.execution._next_timer_ns = 0
                life.execution._take_time()
                row = life.context.control.row(life.context.row)
                seen.append((row.text, life.context.metrics.get(place("trading_step"))))
            assert seen[0] == ("", 0)
            assert seen[1] == ("positions only: waiting for a first prediction, since 20 s", 1)
            assert seen[2] == ("flat and stopped: waiting for a first prediction, since 100 s", 2)
            steps = [fact.step for fact in told if isinstance(fact, StepChanged)]
            assert steps == ["positions_only", "flat"]
        finally:
            life.end()


@pytest.mark.parametrize("rungs", [[2, 0, 2], [2, 2], [1]])
def test_a_drain_counts_by_its_best_prediction(rungs):
    from tests.unit.execution.test_strategies import Drained

    made = Drained(**{"strategy.name": "tcn"})
    seen = []
    made.machine.see_rung = lambda rung, _: seen.append(rung)
    slots = np.zeros(len(rungs), predictions.SLOT)
    slots["rung"] = rungs
    made.screen.decide(int(slots.ctypes.data), len(rungs), T0)
    assert seen == [min(rungs)]
