"""Signals from elsewhere: what is refused and why, redelivery, and what execution makes of them."""

import msgspec
import pytest
import redis

from processes import runtime
from processes.bridge.courier import Courier
from processes.bridge.signals import CONSUMER, SignalRefusedError, Signals, signal_of
from processes.runtime import Context
from schemas import decisions
from schemas.control import Word
from schemas.decisions import SlotKind
from schemas.settings import BridgeSettings, BridgeSignals
from schemas.streams import SIGNAL_GROUP
from schemas.trading import Action, ExternalSignal, KillLevel, Reason, Reconciled
from tests.helpers import wait_until
from tests.instances import bare_instance
from tests.unit.bridge.conftest import Rings
from tests.unit.execution.test_execution import Watched

NOW = 1_760_000_000_000_000_000
GOOD = {
    "type": "signal", "exchange": "bitfinex", "symbol": "tBTCUSD", "ts": NOW // 10**6,
    "strategy": "far_away", "action": "enter_long", "confidence": 0.7, "price_ref": 60000.0,
    "meta": {"anything": [1, 2]},
}  # fmt: skip
SETTINGS = BridgeSettings(signals=BridgeSignals(enabled=True))


def fields(number: str = "", **changes) -> dict[bytes, bytes]:
    body = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    made = {b"body": msgspec.json.encode(body)}
    return made | ({b"id": number.encode()} if number else {})


def test_a_good_signal_says_what_it_said(rings):
    made = signal_of(b"1-0", fields("a1"), rings.names, NOW, SETTINGS)
    index = rings.names.find("bitfinex", "tBTCUSD").index
    assert made == ExternalSignal(
        "far_away/a1", "1-0", index, Action.ENTER_LONG, 0.7, 60000.0, GOOD["ts"] * 10**6
    )
    assert signal_of(b"1-0", fields(price_ref=None), rings.names, NOW, SETTINGS).price == 0.0
    assert signal_of(b"1-0", fields(), rings.names, NOW, SETTINGS).id == "far_away/1-0"


def test_the_longest_signal_fits_in_a_slot(rings):
    made = signal_of(
        b"1" * 20 + b"-" + b"9" * 20,
        fields("i" * 64, strategy="s" * 32), rings.names, NOW, SETTINGS,
    )  # fmt: skip
    assert len(msgspec.msgpack.encode(made)) <= decisions.MESSAGE_BYTES


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({b"other": b"x"}, "no field body"),
        ({b"body": b"{"}, "truncated"),
        ({b"body": b"\xff\xfe"}, "body:"),
        ({b"body": b" " * 5000}, "5000 bytes"),
        (fields(action="buy"), "Invalid enum value 'buy'"),
        (fields(action="hold"), "asks for nothing"),
        (fields(confidence=1.5), "<= 1"),
        (fields(confidence="high"), "Expected `float`"),
        (fields(price_ref=-1.0), "> 0"),
        (fields(strategy="a b"), "matching regex"),
        (fields(strategy=...), "missing required field `strategy`"),
        (fields(extra=1), "unknown field `extra`"),
        (fields(type="order"), "Invalid enum value 'order'"),
        (fields(symbol="tNOWHERE"), "no instrument 'tNOWHERE' at 'bitfinex'"),
        (fields(exchange="nyse"), "no instrument 'tBTCUSD' at 'nyse'"),
        (fields(ts=NOW // 10**6 - 2001), "stale: 2001 ms old, at most 2000"),
        (fields(ts=NOW // 10**6 + 501), "501 ms ahead, at most 500"),
        (fields("x" * 65), "id: 1 to 64"),
        (fields("a\nb"), "id: 1 to 64"),
    ],
)
def test_a_bad_signal_is_refused_with_a_reason(rings, bad, reason):
    with pytest.raises(SignalRefusedError) as caught:
        signal_of(b"1-0", bad, rings.names, NOW, SETTINGS)
    assert reason in str(caught.value)


class World:
    """Execution in this process, the bridge's way in, and a Redis between."""

    def __init__(self, instance, client: redis.Redis, url: str) -> None:
        self.instance, self.client, self.url = instance, client, url
        self.rings = Rings(instance)
        self.settings = msgspec.structs.replace(instance.settings.bridge, url=url)
        self.lives: list[Context] = []
        self.signals: list[Signals] = []
        self.links = []

    def execution(self) -> Watched:
        context = Context(self.instance.paths.run, "execution")
        made = Watched(context)
        made.begin()
        made._take_event(Reconciled("paper", context.clock.now_ns()))
        self.lives.append(context)
        return made

    def end(self, made: Watched) -> None:
        for signals in self.signals:
            signals._courier.close()  # the bus cannot end while a socket of it is open
        made.close()
        made._context.close()
        self.lives.remove(made._context)

    def bridge(self, timeout_s: float = 5.0) -> Signals:
        import os
        import random

        from processes.bridge.link import Link

        link = Link(self.settings, os.environ, random.Random(1))
        context = self.lives[0]
        courier = Courier(context.bus.context, self.instance.paths.run, "execution", timeout_s)
        made = Signals(link, courier, self.rings.names, self.settings, context.clock.now_ns)
        self.links.append(link)
        self.signals.append(made)
        return made

    def write(self, number: str = "", **changes) -> bytes:
        now = {"ts": self.lives[0].clock.now_ns() // 10**6}
        entry: bytes = self.client.xadd("signal:in", fields(number, **(now | changes)))
        return entry

    def see_market(self, made: Watched, price: float = 60000.0) -> None:
        """A prediction about tBTCUSD that comes to nothing but a mark."""
        import numpy as np

        from schemas import predictions

        slots = np.zeros(1, predictions.SLOT)
        slots["reference_price"] = price
        slots["spread_bps"] = 1.0
        slots["cut_ns"] = made._context.clock.now_ns()
        slots["cut"] = 5
        self.rings.writer("predictions").append(slots)
        made._take_predictions()

    def pump(self, made: Watched, bridge: Signals, done) -> None:
        def turn() -> bool:
            bridge.turn()
            made._context.bus.serve_commands()
            return done()

        wait_until(turn, 15, "signals to be taken")

    def pending(self) -> int:
        return int(self.client.xpending("signal:in", SIGNAL_GROUP)["pending"])

    def outcomes(self) -> list[tuple[str, str]]:
        """(action, reason) of each decision about an outside signal, from the ring."""
        reader = self.rings.reader("test", "decisions", start="oldest", tap=True)
        reader.seek(0)
        slots = reader.read()
        reader.release()
        mine = (slots["kind"] == SlotKind.DECISION) & (
            slots["strategy"] == decisions.STRATEGIES.index("external")
        )
        return [(Action(int(s["action"])).name, Reason(int(s["reason"])).name) for s in slots[mine]]

    def close(self) -> None:
        for signals in self.signals:
            signals._courier.close()
        for link in self.links:
            link.close()
        for context in list(self.lives):
            context.close()


@pytest.fixture
def world(server, client, closed_logs, monkeypatch):
    monkeypatch.setattr(runtime.gc, "freeze", lambda: None)
    with bare_instance(
        bridge__enabled=True, bridge__signals__enabled=True, bridge__url=server.url,
        bridge__signals__poll_ms=1,
    ) as instance:  # fmt: skip
        instance.put_in_force()
        instance.open()
        made = World(instance, client, server.url)
        yield made
        made.close()


def test_a_signal_becomes_a_journaled_input_a_decision_and_an_order(world):
    execution = world.execution()
    world.see_market(execution)
    bridge = world.bridge()
    world.write("one")
    world.pump(execution, bridge, lambda: bridge.taken == 1)
    world.pump(execution, bridge, lambda: world.pending() == 0)
    assert world.outcomes() == [("ENTER_LONG", "SIGNAL")]
    assert len(execution._brokers["paper"].submitted()) == 1
    recent = execution._journal._writer.ring.recent(20)
    kinds = [SlotKind(int(kind)).name for kind in recent["kind"]]
    at = kinds.index("INPUT_SIGNAL")
    assert kinds[at : at + 3] == ["INPUT_SIGNAL", "DECISION", "ORDER"]
    assert recent["input_sequence"][at + 1] == recent["sequence"][at]
    assert recent["reference_price"][at] == 60000.0
    world.end(execution)


def test_refused_signals_are_acknowledged_counted_and_written_down(world):
    execution = world.execution()
    bridge = world.bridge()
    world.write("old", ts=1000)
    world.client.xadd("signal:in", {"body": "nonsense"})
    world.pump(execution, bridge, lambda: bridge.refused == 2)
    assert world.pending() == 0
    told = [entry for _, entry in world.client.xrange("signal:refused")]
    assert told[0][b"reason"].startswith(b"stale: ")
    assert told[1][b"body"] == b"nonsense"
    assert world.outcomes() == []
    world.end(execution)


def test_a_repeated_id_is_decided_once(world):
    execution = world.execution()
    world.see_market(execution)
    bridge = world.bridge()
    world.write("same")
    world.write("same")
    world.write("same", strategy="another")
    world.pump(execution, bridge, lambda: bridge.taken == 3)
    assert world.outcomes() == [
        ("ENTER_LONG", "SIGNAL"), ("HOLD", "SIGNAL_DUPLICATE"), ("HOLD", "ORDER_PENDING"),
    ]  # fmt: skip
    assert len(execution._brokers["paper"].submitted()) == 1
    world.end(execution)


def test_denied_with_the_reason_of_what_denied_it(world):
    execution = world.execution()
    bridge = world.bridge()
    world.write("blind")
    world.pump(execution, bridge, lambda: bridge.taken == 1)
    world.see_market(execution)
    world.write("out", action="exit")
    world.write("short", action="enter_short")
    world.write("far", price_ref=70000.0)
    world.pump(execution, bridge, lambda: bridge.taken == 4)
    execution._context.control.set(Word.KILL_LEVEL, KillLevel.PAUSE)
    world.write("paused")
    world.pump(execution, bridge, lambda: bridge.taken == 5)
    reasons = [reason for _, reason in world.outcomes()]
    assert reasons == ["NO_MARKET", "NOTHING_TO_EXIT", "SHORT_NOT_ALLOWED", "PRICE_BAND", "KILLED"]
    assert execution._brokers["paper"].submitted() == []
    world.end(execution)


def test_a_bridge_that_died_before_it_acknowledged_brings_it_again_and_it_acts_once(world):
    execution = world.execution()
    world.see_market(execution)
    first = world.bridge()
    world.write("one")
    wait_until(lambda: first.turn() or first._under_way)
    # Journaled and decided; the answer finds nobody.
    wait_until(execution._context.bus.serve_commands)
    assert world.pending() == 1
    second = world.bridge()
    world.pump(execution, second, lambda: second.taken == 1)
    world.pump(execution, second, lambda: world.pending() == 0)
    assert world.outcomes() == [("ENTER_LONG", "SIGNAL")]
    world.end(execution)


def test_an_execution_that_died_after_the_journal_does_not_act_again(world):
    execution = world.execution()
    world.see_market(execution)
    entry = world.write("one")
    world.client.xgroup_create("signal:in", SIGNAL_GROUP, "0")
    world.client.xreadgroup(SIGNAL_GROUP, CONSUMER, {"signal:in": ">"})
    now_ns = execution._context.clock.now_ns()
    journaled = signal_of(
        entry, world.client.xrange("signal:in")[0][1], world.rings.names, now_ns, world.settings
    )
    execution._journal.signal(journaled, None, now_ns)  # and here it dies
    world.end(execution)
    execution = world.execution()
    world.see_market(execution)
    bridge = world.bridge()
    world.pump(execution, bridge, lambda: bridge.taken == 1)
    assert execution._brokers["paper"].submitted() == []
    assert world.outcomes() == []
    world.end(execution)


def test_an_execution_that_does_not_answer_costs_nothing_but_time(world):
    execution = world.execution()
    world.see_market(execution)
    bridge = world.bridge(timeout_s=0.05)
    world.write("one")

    def given_up() -> bool:
        bridge.turn()
        return bool(bridge.trouble)

    wait_until(given_up)
    assert "no answer" in bridge.trouble
    assert world.pending() == 1
    world.pump(execution, bridge, lambda: bridge.taken == 1)
    assert bridge.trouble == ""
    assert world.outcomes() == [("ENTER_LONG", "SIGNAL")]
    world.end(execution)


def test_signals_that_are_not_wanted_stay_with_redis(world):
    execution = world.execution()
    execution._desk.enabled = False
    bridge = world.bridge()
    world.write("one")
    world.pump(execution, bridge, lambda: bridge.trouble)
    assert "bridge.signals.enabled is false" in bridge.trouble
    assert world.outcomes() == []
    world.end(execution)


def test_an_emptied_redis_gets_its_group_again(world):
    execution = world.execution()
    world.see_market(execution)
    bridge = world.bridge()
    world.write("one")
    world.pump(execution, bridge, lambda: bridge.taken == 1)
    world.pump(execution, bridge, lambda: world.pending() == 0)
    world.client.flushall()
    world.write("two")
    world.pump(execution, bridge, lambda: bridge.taken == 2)
    assert len(world.outcomes()) == 2
    world.end(execution)
