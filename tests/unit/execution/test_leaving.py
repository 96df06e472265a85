"""A life of execution that is told to end before the kill switch's level is reached: the killer
does the rest at the venue, and only where there is a rest."""

import json
from decimal import Decimal

import pytest

from processes import killswitch, runtime
from processes.execution.main import Execution
from processes.execution.orders import Order
from processes.runtime import Context
from processes.standing import hold_orders, noted_orders
from schemas.control import Word
from schemas.trading import Intent, KillLevel, OrderFilled
from tests.conformance.brokers import BITFINEX, KEY, SECRET
from tests.crash_world import ACCOUNT, crash_world
from tests.helpers import QuietLog
from tests.unit.execution.test_execution import Broker

KILLED_S = 60.0


class Orphan(Execution):
    """Execution whose venue has not answered yet, so that it closes nothing itself."""

    def _make_brokers(self):
        return {ACCOUNT: Broker(self)}


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setenv("DC_TEST_KEY", KEY)
    monkeypatch.setenv("DC_TEST_SECRET", SECRET)
    with crash_world(BITFINEX, None) as made:
        monkeypatch.setattr(runtime, "open_log", lambda *_: QuietLog())
        made.keep_session()
        yield made


def end_at(world, level: KillLevel, held: str) -> None:
    """A life that holds so much, obeys the level, acknowledges it, and loses its supervisor."""
    context = Context(world.paths.run, "execution")
    execution = Orphan(context)
    execution.begin()
    if held:
        now_ns = context.clock.now_ns()
        intent = Intent(
            command_id="a" * 32, instrument=0, symbol=BITFINEX.symbol, account=ACCOUNT, side="buy",
            quantity=held, kind="market", decided_ns=now_ns,
        )  # fmt: skip
        execution._ledger.record_intent(intent)
        execution._machine.orders[intent.command_id] = Order.of(intent)
        execution._take_event(
            OrderFilled(intent.command_id, "1", "100", held, "0", BITFINEX.quote, now_ns)
        )
    context.control.set(Word.KILL_LEVEL, level)
    execution._look_at_switch()
    assert context.control.get(Word.KILL_ACKNOWLEDGED) == level
    context.stop()
    execution.live()
    context.close()


def test_the_killer_flattens_what_an_orphan_leaves(world):
    end_at(world, KillLevel.FLATTEN, "0.25")
    killer = killswitch._killers.pop()
    text, _ = killer.communicate(timeout=KILLED_S)
    assert killer.returncode == 0, text
    (ended,) = json.loads(text.splitlines()[-1])
    assert {name: Decimal(amount) for name, amount in ended["closed"].items()} == {
        BITFINEX.symbol: Decimal("0.25")
    }
    (order,) = world.truth()["orders"]
    assert (order["side"], Decimal(order["filled"])) == ("sell", Decimal("0.25"))
    (noted,) = noted_orders(world.paths.data)
    assert noted.intent.quantity == "0.25"


@pytest.mark.parametrize(
    ("level", "held"), [(KillLevel.PAUSE, "0.25"), (KillLevel.FLATTEN, ""), (KillLevel.NONE, "1")]
)
def test_no_killer_comes_where_nothing_is_left_to_do(world, level, held):
    before = list(killswitch._killers)
    end_at(world, level, held)
    assert killswitch._killers == before
    assert world.truth()["orders"] == []
    hold_orders(world.paths.data).close()
