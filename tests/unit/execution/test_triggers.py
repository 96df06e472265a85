"""Triggers: each fires once, and again only after it has recovered and a person has armed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.loader import load
from processes import runtime
from processes.execution.beginning import Beginning
from processes.execution.effects import Pull
from processes.execution.machine import Machine
from processes.latch import read_latch
from schemas.control import Word
from schemas.errors import ConfigError
from schemas.trading import (
    TRIGGER_TEXT,
    AccountAway,
    KillLevel,
    OrderAccepted,
    OrderRejected,
    OrderUnknown,
    TriggerCode,
)
from tests.instances import bare_instance
from tests.unit.execution.test_execution import Life
from tests.unit.execution.test_machine import T0, enter, fill, prediction
from tests.unit.execution.test_risk import BTC, SECOND, machine, settings

OFF = {f"risk__triggers__{code}__at": "0" for code in TriggerCode} | {
    f"risk__triggers__{code}__again_below": "0" for code in TriggerCode
}


def only(code: str, at: str, again_below: str, pull: str = "pause") -> dict[str, str]:
    name = f"risk__triggers__{code}"
    mine = {f"{name}__at": at, f"{name}__again_below": again_below, f"{name}__pull": pull}
    return OFF | {"risk__max_daily_loss": "9999", "risk__max_drawdown": "9999"} | mine


def pulls(effects) -> list[tuple[str, KillLevel]]:
    return [(one.code, one.level) for one in effects if isinstance(one, Pull)]


def holding(**changes) -> Machine:
    """One bitcoin at 100."""
    made = machine(**changes)
    _, intent = enter(made)
    assert pulls(made.on_event(fill(intent), T0)) == []
    return made


def at_price(made: Machine, price: float, second: int) -> list[tuple[str, KillLevel]]:
    made.book.see(BTC, price)
    return pulls(made.on_timer(T0 + second * SECOND))


def arm(made: Machine, second: int) -> None:
    made.on_kill(KillLevel.PAUSE, T0 + second * SECOND)
    assert pulls(made.on_kill(KillLevel.NONE, T0 + second * SECOND)) == []


def test_it_fires_once_and_again_after_recovery_and_arming():
    made = holding(**only("daily_loss", "10", "5", "flatten"))
    assert at_price(made, 90.5, 1) == []
    assert at_price(made, 90.0, 2) == [("daily_loss", KillLevel.FLATTEN)]
    assert at_price(made, 80.0, 3) == []
    assert at_price(made, 96.0, 4) == [], "recovered, and nobody has armed"
    assert at_price(made, 80.0, 5) == []
    arm(made, 6)
    assert at_price(made, 89.0, 7) == [("daily_loss", KillLevel.FLATTEN)]


def test_who_arms_in_spite_of_it_is_not_overruled():
    made = holding(**only("daily_loss", "10", "5"))
    assert at_price(made, 85.0, 1) == [("daily_loss", KillLevel.PAUSE)]
    arm(made, 2)
    assert at_price(made, 84.0, 3) == []
    assert at_price(made, 94.0, 4) == [], "better, but not below the lower threshold"
    assert at_price(made, 85.0, 5) == []
    assert at_price(made, 96.0, 6) == []
    assert at_price(made, 85.0, 7) == [("daily_loss", KillLevel.PAUSE)]


def test_one_that_only_tells_needs_no_person():
    made = holding(**only("daily_loss", "10", "5", "none"))
    for second, (price, fires) in enumerate([(85.0, 1), (85.0, 0), (99.0, 0), (85.0, 1)]):
        assert len(at_price(made, price, second)) == fires


@given(st.lists(st.tuples(st.sampled_from(["price", "arm", "restart"]), st.integers(80, 105))))
def test_between_two_firings_lie_a_recovery_and_an_arming(steps):
    """Whatever happens, a restart at any point included."""
    changes = only("daily_loss", "10", "5")
    made = holding(**changes)
    fired, recovered, armed, price = False, False, False, 100
    for second, (what, number) in enumerate(steps, 1):
        if what == "arm":
            arm(made, second)
            armed = True
        elif what == "restart":
            kept = Beginning.of([], made.book).encode()
            made = machine(**changes)
            made.take_up(Beginning.decode(kept))
            made.book.see(BTC, float(price))
        price = number if what == "price" else price
        found = at_price(made, float(price), second)
        if found:
            assert price <= 90
            assert not fired or (recovered and armed)
            fired, recovered, armed = True, False, False
        elif price <= 90:
            assert fired
            assert not (recovered and armed)
        recovered |= price > 95


def test_a_drawdown_pulls_and_arming_accepts_it():
    made = holding(**only("drawdown", "10", "5"))
    assert at_price(made, 120.0, 1) == []
    assert at_price(made, 109.0, 2) == [("drawdown", KillLevel.PAUSE)]
    arm(made, 3)
    assert at_price(made, 109.0, 4) == []
    assert at_price(made, 100.0, 5) == []
    assert at_price(made, 99.0, 6) == [("drawdown", KillLevel.PAUSE)]


def test_rejects_in_a_row_pull():
    made = machine(**only("order_rejects", "2", "1"), strategy__cooldown_s="0")
    for cut, told in ((1, []), (2, [("order_rejects", KillLevel.PAUSE)]), (3, [])):
        _, intent = enter(made, cut=cut)
        assert pulls(made.on_event(OrderRejected(intent.command_id, T0, "no"), T0)) == told


def test_losses_in_a_row_pull():
    made = holding(**only("losing_streak", "1", "1", "cancel"))
    later = T0 + 61 * SECOND
    told = prediction(2, up=0.0, reference_price=90.0, now_ns=later)
    _, (sent,) = made.on_prediction(told, later, 2)
    event = fill(sent.intent, price="90", now_ns=later)
    assert pulls(made.on_event(event, later)) == [("losing_streak", KillLevel.CANCEL)]


def test_an_order_that_nobody_can_say_anything_of_pulls_in_time():
    made = machine(**only("unknown_orders", "30", "1"))
    _, intent = enter(made)
    made.on_event(OrderUnknown(intent.command_id, T0, ""), T0)
    assert pulls(made.on_timer(T0 + 29 * SECOND)) == []
    assert pulls(made.on_timer(T0 + 30 * SECOND)) == [("unknown_orders", KillLevel.PAUSE)]
    made.on_event(OrderAccepted(intent.command_id, "v", T0), T0 + 31 * SECOND)
    arm(made, 32)
    made.on_timer(T0 + 33 * SECOND)
    assert made.book.losses.fired == {}


def test_accounts_that_are_all_away_are_told():
    made = machine(**only("accounts_away", "60", "1", "none"))
    made.on_event(AccountAway("paper", T0, "gone"), T0)
    made.on_timer(T0 + SECOND)
    assert pulls(made.on_timer(T0 + 60 * SECOND)) == []
    assert pulls(made.on_timer(T0 + 61 * SECOND)) == [("accounts_away", KillLevel.NONE)]


def test_thresholds_that_would_fire_at_once_again_are_refused():
    with pytest.raises(ConfigError, match="again_below"):
        settings(risk__triggers__daily_loss__again_below="301")
    with pytest.raises(ConfigError, match="again_below"):
        settings(risk__triggers__order_rejects__again_below="6")


def test_every_trigger_has_words_and_settings():
    assert set(TRIGGER_TEXT) == set(TriggerCode)
    names = msgspec.to_builtins(load("demo", environment={}).risk.triggers)
    assert set(names) == set(TriggerCode)


def test_the_latch_is_on_disk_before_the_word_and_the_ledger(monkeypatch):
    """Who dies between the two finds the reading as it was, and pulls again."""
    with bare_instance(risk__triggers__order_rejects__at=1) as instance:
        monkeypatch.setattr(runtime, "open_log", lambda *_: instance.log)
        instance.put_in_force()
        instance.open()
        life = Life(instance).begin()
        seen = []
        record = life.execution._ledger.record_event
        raised = life.context.control.raise_to

        def note(what, call):
            def noted(*arguments):
                seen.append((what, read_latch(life.context.paths.data).level))
                return call(*arguments)

            return noted

        monkeypatch.setattr(life.execution._ledger, "record_event", note("ledger", record))
        monkeypatch.setattr(life.context.control, "raise_to", note("word", raised))
        number = life.send()
        life.tell(OrderRejected(number, life.context.clock.now_ns(), "no"))
        assert seen == [("word", KillLevel.PAUSE), ("ledger", KillLevel.PAUSE)]
        assert life.context.control.get(Word.KILL_LEVEL) == KillLevel.PAUSE
        assert "order_rejects" in read_latch(life.context.paths.data).by
        life.execution._look_at_switch()
        assert life.machine.kill_level == KillLevel.PAUSE
        life.end()
        again = Life(instance).begin()
        assert set(again.machine.book.losses.fired) == {"order_rejects"}
        assert again.machine.book.losses.latched
        again.execution._next_timer_ns = 0
        again.execution._take_time()
        assert set(again.machine.book.losses.fired) == {"order_rejects"}
        again.switch(KillLevel.NONE)
        again.execution._next_timer_ns = 0
        again.execution._take_time()
        assert again.machine.book.losses.fired == {}, "armed, and rejects begin at none"
        again.end()
