"""Execution's wiring: what is written before what, the last look, a restart, and the switch."""

import queue
import sqlite3
import threading

import msgspec
import psycopg
import pytest

from processes import runtime
from processes.execution import main as module
from processes.execution.effects import Send
from processes.execution.main import Execution
from processes.execution.orders import Order
from processes.runtime import Context
from processes.standing import hold_orders, note_order, noted_orders, read_standing
from schemas.control import Word
from schemas.decisions import SlotKind
from schemas.errors import OperatorError
from schemas.trading import (
    AccountConnected,
    Intent,
    KillLevel,
    OrderAccepted,
    OrderAdopted,
    OrderCanceled,
    OrderFilled,
    Reconciled,
)
from tests.helpers import wait_until
from tests.instances import bare_instance
from tests.servers import postgres_server

T0 = 1_760_000_000_000_000_000


class Broker:
    """A broker that only remembers what was asked of it. `look` is called at each submit."""

    def __init__(self, execution) -> None:
        self.execution = execution
        self.asked = []
        self.takes = True
        self.error = None
        self.look = lambda: None

    def start(self) -> None:
        self.asked.append("start")

    def submit(self, intent: Intent) -> bool:
        self.look()
        self.asked.append(("submit", intent.command_id))
        return self.takes

    def cancel(self, command_id: str) -> bool:
        self.asked.append(("cancel", command_id))
        return self.takes

    def cancel_all(self) -> bool:
        self.asked.append("cancel_all")
        return self.takes

    def reconcile(self, outstanding) -> bool:
        self.asked.append(("reconcile", [order.intent.command_id for order in outstanding]))
        return True

    def settle(self, command_id: str, venue_order_id: str) -> bool:
        self.asked.append(("settle", command_id, venue_order_id))
        return self.takes

    def close(self) -> None:
        self.asked.append("close")

    def submitted(self) -> list[str]:
        return [told[1] for told in self.asked if told[0] == "submit"]


class Watched(Execution):
    """Execution with that broker."""

    def _make_brokers(self):
        return {"paper": Broker(self)}


class Life:
    """One life of execution in a bare instance."""

    def __init__(self, instance) -> None:
        self.context = Context(instance.paths.run, "execution")
        self.execution = Watched(self.context)
        self.broker = self.execution._brokers["paper"]
        self.machine = self.execution._machine

    def begin(self, *, reconciled: bool = True) -> "Life":
        self.execution.begin()
        if reconciled:
            self.tell(Reconciled("paper", T0))
        return self

    def tell(self, *events) -> None:
        for event in events:
            self.execution._take_event(event)

    def ask(self, command: str, arguments=None):
        """What a person is answered, without the bus between."""
        return self.context.bus._handlers[command](arguments or {})

    def send(self, number: int = 1, **more) -> str:
        """An order of the machine's, as a decision makes it."""
        wanted = {
            "instrument": 0, "symbol": "tBTCUSD", "side": "buy", "quantity": "3", "kind": "market",
            "decided_ns": self.context.clock.now_ns(), **more,
        }  # fmt: skip
        intent = Intent(command_id=f"{number:032x}", **wanted)
        order = self.machine.orders[intent.command_id] = Order.of(intent)
        order.sent = True
        self.execution._send(Send(intent))
        return intent.command_id

    def states(self) -> dict[str, str]:
        path = self.context.paths.data / "ledger.sqlite"
        db = sqlite3.connect(path)
        found = dict(db.execute("SELECT command_id, state FROM orders").fetchall())
        db.close()
        return found

    def switch(self, level: KillLevel) -> None:
        self.context.control.set(Word.KILL_LEVEL, level)
        self.execution._look_at_switch()

    def acknowledged(self) -> int:
        return self.context.control.get(Word.KILL_ACKNOWLEDGED)

    def inputs(self) -> list[SlotKind]:
        recent = self.execution._journal._writer.ring.recent(100)
        return [SlotKind(int(kind)) for kind in recent["kind"]]

    def ledger_back(self) -> bool:
        self.execution._next_timer_ns = 0
        self.execution._take_time()
        return not self.machine.ledger_away

    def end(self) -> None:
        self.execution.close()
        self.context.close()


@pytest.fixture
def instance():
    with bare_instance() as made:
        made.put_in_force()
        made.open()
        yield made


@pytest.fixture
def lives(instance, monkeypatch):
    """Makes lives; a new one ends the one before, as a crash would, but for its sockets."""
    monkeypatch.setattr(runtime, "open_log", lambda *_: instance.log)
    made = []

    def live(*, ended: bool = False) -> Life:
        if made and not ended:
            made.pop().end()
        elif made:
            made.pop()
        made.append(Life(instance))
        return made[-1]

    yield live
    for life in made:
        life.end()


def fill(command_id: str, number: int, quantity: str = "1") -> OrderFilled:
    return OrderFilled(command_id, f"{command_id}-{number}", "100", quantity, "0", "USD", T0)


def test_the_intent_is_on_disk_before_the_broker_has_it(lives):
    life = lives().begin()
    seen = []
    life.broker.look = lambda: seen.append(life.states())
    number = life.send()
    assert seen == [{number: "new"}]
    assert life.broker.submitted() == [number]


def test_the_same_decision_is_never_sent_twice(lives):
    life = lives().begin()
    number = life.send()
    life.machine.orders.clear()  # as after a restart that has forgotten it
    assert life.send() == number
    assert life.broker.submitted() == [number]
    assert life.machine.orders == {}


def test_a_broker_that_did_not_take_it_lets_it_expire(lives):
    life = lives().begin()
    life.broker.takes = False
    number = life.send()
    assert life.states() == {number: "expired"}
    assert life.machine.open_orders() == []


@pytest.mark.parametrize("level", [level for level in KillLevel if level])
def test_the_last_look_before_the_send(lives, level):
    """The word is read again after the intent is written; the loop has not seen it yet."""
    life = lives().begin()
    life.context.control.set(Word.KILL_LEVEL, level)
    number = life.send(1)
    reducing = life.send(2, reduce_only=True)
    closing = life.send(3, strategy="kill_switch", reduce_only=True)
    passed = [reducing] if level == KillLevel.PAUSE else []
    assert life.broker.submitted() == [*passed, closing]
    assert life.states()[number] == "expired"


def test_what_a_crash_left_is_asked_for_and_never_sent_again(lives):
    life = lives().begin()
    number = life.send()
    life = lives().begin(reconciled=False)
    life.tell(AccountConnected("paper", T0))
    assert life.broker.asked == ["start", ("reconcile", [number])]
    assert life.machine.accounts.waited_for() == ["paper"]
    assert life.states() == {number: "unknown"}
    life.tell(OrderAccepted(number, "v", T0), fill(number, 1, "3"), Reconciled("paper", T0))
    assert life.machine.accounts.waited_for() == []
    assert life.states() == {number: "filled"}
    assert life.machine.book.position(0).quantity == 3


def test_told_again_after_a_restart_nothing_is_booked_twice(lives):
    life = lives().begin()
    number = life.send()
    life.tell(OrderAccepted(number, "v", T0), fill(number, 1))
    life = lives().begin(reconciled=False)
    again = OrderAccepted(number, "v", T0), fill(number, 1), fill(number, 2)
    life.tell(*again, *again, Reconciled("paper", T0))
    assert life.machine.book.position(0).quantity == 2
    life = lives().begin()
    assert life.machine.book.position(0).quantity == 2


def test_the_ledger_shows_the_state_that_the_facts_come_to(lives):
    """A late fill of a cancelled order is booked, and the order stays cancelled."""
    life = lives().begin()
    number = life.send()
    life.tell(OrderAccepted(number, "v", T0), fill(number, 1), OrderCanceled(number, T0))
    life.tell(fill(number, 2))
    assert life.machine.book.position(0).quantity == 2
    assert life.states() == {number: "canceled"}
    life.tell(fill(number, 3), fill(number, 4))
    assert life.states() == {number: "filled"}
    assert life.machine.book.position(0).quantity == 4


def test_an_order_that_was_made_there_is_booked_once_whatever_is_told_again(lives):
    def made(life):
        life.tell(
            OrderAdopted(theirs, "paper", 0, "sell", "2", T0),
            OrderAccepted(theirs, "venue-9", T0), fill(theirs, 9, "2"),
        )  # fmt: skip

    def position(life):
        return str(life.machine.book.position(0).quantity)

    theirs = "9" * 32
    life = lives().begin()
    bought = life.send()
    life.tell(fill(bought, 1, "3"))
    made(life)
    assert life.states() == {bought: "filled", theirs: "filled"}
    assert position(life) == "1"
    known = len(life.inputs())
    life.tell(OrderAdopted(theirs, "paper", 0, "sell", "2", T0))
    assert len(life.inputs()) == known
    made(life)
    assert position(life) == "1"
    assert life.broker.submitted() == [bought]
    # A life remembers what is young or open; its ledger knows the rest.
    later = lives().begin()
    assert theirs not in later.machine.orders
    made(later)
    assert position(later) == "1"
    assert theirs not in later.machine.orders


def test_every_input_is_in_the_journal_before_it_is_acted_on(lives):
    life = lives().begin()
    assert life.inputs() == [SlotKind.INPUT_START, SlotKind.INPUT_BROKER]
    seen = []
    life.broker.look = lambda: seen.append(len(life.inputs()))
    life.switch(KillLevel.PAUSE)
    assert life.inputs()[-1] == SlotKind.INPUT_COMMAND
    number = life.send(strategy="kill_switch")
    life.tell(OrderAccepted(number, "v", T0))
    assert life.inputs()[-1] == SlotKind.INPUT_BROKER


def test_the_switch_is_acknowledged_once_it_is_obeyed(lives):
    life = lives().begin()
    number = life.send()
    assert life.acknowledged() == KillLevel.NONE
    life.switch(KillLevel.CANCEL)
    assert life.broker.asked[-1] == ("cancel", number)
    assert life.acknowledged() == KillLevel.CANCEL
    life.switch(KillLevel.NONE)
    assert life.acknowledged() == KillLevel.NONE


def test_a_new_life_obeys_the_switch_before_anything_else(lives):
    life = lives().begin()
    number = life.send()
    life.context.control.set(Word.KILL_LEVEL, KillLevel.CANCEL)
    life = lives().begin(reconciled=False)
    assert life.acknowledged() == KillLevel.CANCEL
    assert life.broker.submitted() == []
    assert ("cancel", number) in life.broker.asked


def test_a_new_life_does_not_stand_by_what_an_older_one_acknowledged(lives):
    """Armed while execution was down: the next pull must wait for this life's own answer."""
    life = lives().begin()
    life.switch(KillLevel.FLATTEN)
    life.context.control.set(Word.KILL_LEVEL, KillLevel.NONE)
    life = lives().begin()
    assert life.acknowledged() == KillLevel.NONE


def test_execution_does_not_outlive_its_broker(lives, monkeypatch):
    """Orders would hang in the air with nobody to answer for them; a new life asks for them."""
    life = lives().begin()
    turns = iter([None, OSError("disk full")])

    def service() -> None:
        try:
            life.broker.error = next(turns)
        except StopIteration:
            life.context.stop()

    monkeypatch.setattr(life.context, "service", service)
    with pytest.raises(RuntimeError, match="broker") as caught:
        life.execution.live()
    assert "disk full" in str(caught.value.__cause__)


def test_events_come_out_of_the_queue_in_order(lives):
    life = lives().begin()
    number = life.send()
    for event in (OrderAccepted(number, "v", T0), fill(number, 1), fill(number, 2, "2")):
        life.execution._events.put(event)
    life.execution._take_events()
    assert life.states() == {number: "filled"}
    with pytest.raises(queue.Empty):
        life.execution._events.get_nowait()


def test_a_cancel_that_found_no_place_is_asked_for_again(lives):
    life = lives().begin()
    number = life.send()
    life.broker.takes = False
    life.switch(KillLevel.CANCEL)
    assert life.broker.asked[-1] == ("cancel", number)
    life.broker.takes = True
    before = len(life.broker.asked)
    life.execution._next_timer_ns = 0
    life.execution._take_time()
    assert life.broker.asked[before:] == [("cancel", number)]
    life.execution._next_timer_ns = 0
    life.execution._take_time()
    assert life.broker.asked[before:] == [("cancel", number)], "asked for once"
    assert life.inputs().count(SlotKind.INPUT_BROKER) == 2  # reconciled, and the cancel not sent


def test_without_its_database_nothing_is_sent_and_the_machine_knows(monkeypatch):
    """A real PostgreSQL dies and comes back: an intent that is not durable is no order."""
    with postgres_server() as server:
        url = server.create("ledger")
        with bare_instance(ledger__url=url, ledger__timeout_s=1.0) as made:
            monkeypatch.setattr(runtime, "open_log", lambda *_: made.log)
            made.put_in_force()
            made.open()
            life = Life(made).begin()
            first = life.send(1)
            assert life.broker.submitted() == [first]
            server.kill()
            second = life.send(2)
            assert life.broker.submitted() == [first]
            assert life.machine.orders[second].state.name == "EXPIRED"
            assert life.machine.ledger_away
            assert SlotKind.INPUT_LEDGER in life.inputs()
            server.start()
            wait_until(life.ledger_back, what="the ledger to be back")
            third = life.send(3)
            assert life.broker.submitted() == [first, third]
            life.end()
            with psycopg.connect(url) as database:
                states = dict(
                    database.execute("SELECT command_id, state FROM ledger.orders").fetchall()
                )
            assert states[second] == "expired"
            assert set(states) == {first, second, third}


def test_orders_and_positions_stand_on_disk_before_the_broker_has_the_order(lives):
    life = lives().begin()
    seen = []
    life.broker.look = lambda: seen.append(read_standing(life.context.paths.data))
    number = life.send()
    assert [one.intent.command_id for one in seen[0].orders] == [number]
    life.tell(OrderAccepted(number, "V1", T0), fill(number, 1, "2"))
    standing = read_standing(life.context.paths.data)
    assert standing.orders[0].venue_order_id == "V1"
    assert standing.orders[0].fill_ids == [f"{number}-1"]
    assert [(held.account, held.quantity) for held in standing.positions] == [("paper", "2")]
    life.tell(OrderCanceled(number, T0))
    assert not any(one.open for one in read_standing(life.context.paths.data).orders)


def test_a_new_life_sets_right_what_a_crash_left_standing(lives, monkeypatch):
    """The ledger has a fill, and the process died before the killer's file had it."""
    life = lives().begin()
    number = life.send()
    life.tell(OrderAccepted(number, "V1", T0))
    monkeypatch.setattr(life.execution, "_keep_standing", lambda: None)
    life.tell(fill(number, 1, "3"))
    data = life.context.paths.data
    assert len(read_standing(data).orders) == 1
    lives().begin(reconciled=False)
    standing = read_standing(data)
    assert not any(one.open for one in standing.orders)
    assert [held.quantity for held in standing.positions] == ["3"]


def test_a_killers_orders_become_the_ledgers_and_are_asked_for(lives):
    life = lives().begin()
    data = life.context.paths.data
    sent = Intent(
        command_id="c" * 32, instrument=0, symbol="tBTCUSD", side="sell", quantity="2",
        kind="market", reduce_only=True, strategy="kill_switch", decided_ns=T0,
    )  # fmt: skip
    life.end()
    note_order(data, sent)
    known = msgspec.structs.replace(sent, command_id="d" * 32)
    note_order(data, known)
    note_order(data, known, "V7")
    life = lives(ended=True).begin(reconciled=False)
    life.tell(AccountConnected("paper", T0))
    assert life.broker.asked[-1] == ("reconcile", [sent.command_id, known.command_id])
    assert life.states() == {sent.command_id: "unknown", known.command_id: "acked"}
    assert life.machine.orders[known.command_id].venue_order_id == "V7"
    assert noted_orders(data) == []


def test_a_killers_orders_are_noted_until_they_stand_with_execution(lives, monkeypatch):
    life = lives()
    sent = Intent(
        command_id="c" * 32, instrument=0, symbol="tBTCUSD", side="sell", quantity="2",
        kind="market", reduce_only=True, strategy="kill_switch", decided_ns=T0,
    )  # fmt: skip
    note_order(life.context.paths.data, sent)

    def die(*_) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(module, "write_standing", die)
    with pytest.raises(SystemExit):
        life.begin()
    assert [one.intent for one in noted_orders(life.context.paths.data)] == [sent]


def test_while_a_killer_may_send_execution_waits(lives):
    life = lives()
    killer = hold_orders(life.context.paths.data)
    begun = threading.Thread(target=life.begin, kwargs={"reconciled": False})
    begun.start()
    wait_until(
        lambda: "may send orders" in life.context.control.row(life.context.row).text, 10, "it waits"
    )
    assert life.broker.asked == []
    killer.close()
    begun.join(30)
    assert life.broker.asked[0] == "start"


def test_a_drill_asks_and_changes_nothing(lives):
    life = lives().begin()
    number = life.send()
    told = life.ask("drill")
    assert told == {"idle": True, "orders": [number], "positions": {}}
    assert life.broker.asked[-1] == ("submit", number)


def test_a_persons_word_goes_to_the_broker_of_an_open_order(lives):
    life = lives().begin()
    number = life.send(account="paper")
    word = {"order": number, "venue_order": "8003"}
    assert life.ask("settle", word) == {"account": "paper"}
    assert life.broker.asked[-1] == ("settle", number, "8003")
    life.broker.takes = False
    with pytest.raises(OperatorError, match="paper takes no word"):
        life.ask("settle", word)
    life.tell(OrderCanceled(number, T0))
    with pytest.raises(OperatorError, match="no open order"):
        life.ask("settle", word)
