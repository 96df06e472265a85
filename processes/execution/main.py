"""Execution as a child process: one blocking loop, one journal, one broker thread.

Order of things for each input: commit it to the journal; let the machine decide; commit the
decision; for an order, write and sync the intent, look at the kill switch once more, hand it over.
At start, ledger and venue must agree before anything new is sent.
"""

import contextlib
import queue
import sys
from typing import IO, Any, Final

from processes.clock import monotonic_s, nap
from processes.execution.assets import assets_by_instrument
from processes.execution.beginning import Beginning
from processes.execution.brokers.base import QUEUE_EVENTS, Broker, Events, Outstanding
from processes.execution.brokers.registry import Brokerage
from processes.execution.effects import (
    Adopt,
    Cancel,
    CancelAll,
    Effect,
    Pull,
    Reconcile,
    Send,
    Stepped,
)
from processes.execution.gate import SendGate
from processes.execution.journal import DRAIN, INTEGERS_BYTES, InputJournal
from processes.execution.ledger import LedgerUnavailableError, open_ledger
from processes.execution.machine import Machine
from processes.execution.persons import Persons
from processes.execution.screen import Screen
from processes.execution.signals import SignalDesk
from processes.execution.telling import Teller
from processes.killswitch import is_at_a_venue, start_killer
from processes.latch import Latch, write_latch
from processes.live import mode_of
from processes.rings import enabled_venues
from processes.runtime import Context, run
from processes.sessions import SessionFolder
from processes.standing import (
    forget_noted,
    hold_orders,
    noted_orders,
    write_standing,
)
from schemas.control import Word
from schemas.decisions import SlotKind
from schemas.errors import OperatorError
from schemas.messages import KillChanged
from schemas.metrics import place
from schemas.settings import Settings
from schemas.trading import (
    AccountAlarm,
    AccountFact,
    BrokerEvent,
    CancelNotSent,
    Intent,
    KillLevel,
    NotSent,
    OrderAccepted,
    OrderAdopted,
    OrderExpired,
    OrderNew,
    OrderState,
    OrderUnknown,
    clipped,
)
from shm.atomics import read_word

GIL_SWITCH_S: Final = 0.0002
LOCK_POLL_S: Final = 0.02
HEALTHY_S: Final = 2.0
"""A main thread that has not turned for so long is not at work: dead-man timers run out."""
CLOSED_ASKED: Final = 50
"""So many closed orders a venue is asked about with the open ones, for fills that came late."""
KEPT_NS: Final = 3_600_000_000_000
"""Closed orders of the last hour are remembered over a restart."""


class Execution:
    """Inputs, the machine, and what its decisions do."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reader = context.reader("predictions", limit=DRAIN)
        self._writer = context.writer("decisions")
        self._journal = InputJournal(self._writer, context.clock.now_ns)
        self._journal.generation = context.generation
        self._inbox = context.inbox([self._reader], ["predictions"])
        self._ledger = open_ledger(
            context.settings.ledger,
            context.paths.data,
            context.session,
            assets_by_instrument(context.tables.instruments),
        )
        self._events: Events = queue.Queue(QUEUE_EVENTS)
        self._machine = Machine(context.session, context.tables.instruments, context.settings)
        self._teller = Teller(context, self._machine)
        self._screen = Screen(self._journal, self._machine)
        self._desk = SignalDesk(
            self._writer.ring, self._journal, self._machine, context.clock.now_ns, self._do
        )
        self._desk.enabled = context.settings.bridge.signals.enabled
        context.bus.on_command("signals", self._on_signals)
        self._kill_word = context.control.word_address(Word.KILL_LEVEL)
        self._obeyed: KillLevel | None = None
        """A level of the switch that is obeyed and not acknowledged yet."""
        self._gate = SendGate(
            self._kill_word,
            context.clock.now_ns,
            context.settings.execution.send_within_ms * 1_000_000,
        )
        self._turned_s = monotonic_s()
        self._brokers = self._make_brokers()
        Persons(context, self._machine, self._gate, self._brokers, self._take_event).listen()
        self._next_timer_ns = 0
        self._places = {
            name: place(name)
            for name in (
                "decisions", "decisions_denied", "orders_sent", "fills", "recv_to_decision",
            )
        }  # fmt: skip
        self._denied = 0
        context.on_reload(self._obey)

    def _make_brokers(self) -> dict[str, Broker]:
        context = self._context
        rings = [f"tape.{venue}" for venue in enabled_venues(context.settings)]
        return Brokerage(
            context.settings,
            context.tables.instruments,
            context.paths.data,
            self._events,
            self._gate,
            context.clock.now_ns,
            lambda account: [
                context.reader(ring, start="newest", name=f"execution.{account}") for ring in rings
            ],
            lambda: monotonic_s() - self._turned_s < HEALTHY_S,
        ).brokers()

    # ---- start

    def begin(self) -> None:
        """Restore from the ledger, obey the latch, ask the broker for every open order."""
        self._journal.compile()
        self._screen.compile()
        self._orders_lock = self._wait_for_orders()
        now_ns = self._context.clock.now_ns()
        self._adopt()
        orders, book = self._ledger.restore(now_ns - KEPT_NS)
        kept = Beginning.of(orders, book).encode()
        folder = SessionFolder(self._context.paths.data, self._context.session)
        # What the machine takes up is what was kept, so that a replay takes up the same.
        self._machine.take_up(Beginning.decode(kept))
        # A crash between the ledger's row and this file has left an older one.
        self._keep_standing()
        # Only now: a killer that comes after a crash in between must know of them.
        forget_noted(self._context.paths.data)
        self._reader.seek(max(self._reader.position, self._last_prediction()))
        self._desk.restore()
        open_ids = [order.intent.command_id for order in self._machine.open_orders()]
        self._journal.message(
            SlotKind.INPUT_START,
            now_ns,
            {
                "open_orders": len(open_ids),
                "positions": len(book.held()),
                "realized_today": str(book.realized_today),
                "state": folder.keep_state(kept),
            },
        )
        self._context.control.set(
            Word.MODE, mode_of(self._context.paths.data, self._context.settings)
        )
        self._look_at_switch()
        # What an earlier life acknowledged is not this one's answer.
        self._context.control.set(Word.KILL_ACKNOWLEDGED, self._machine.kill_level)
        for broker in self._brokers.values():
            broker.start()
        # What an earlier life may have sent is asked for, never sent again.
        for number in open_ids:
            self._take_event(OrderUnknown(number, now_ns, "after a restart"))
        self._context.log.info("restored", open_orders=open_ids, positions=len(book.held()))

    def _wait_for_orders(self) -> IO[str]:
        """The right to send orders; while a killer has it, it is waited for."""
        while True:
            try:
                return hold_orders(self._context.paths.data)
            except OperatorError as error:
                self._context.say(str(error))
            self._context.service()
            if self._context.stopping:
                raise SystemExit(0)
            nap(LOCK_POLL_S)

    def _adopt(self) -> None:
        """Orders that a killer has sent become the ledger's: open ones, to be asked for."""
        for noted in noted_orders(self._context.paths.data):
            number = noted.intent.command_id
            self._ledger.record_intent(noted.intent)
            if noted.venue_order_id:
                taken = OrderAccepted(number, noted.venue_order_id, self._context.clock.now_ns())
                self._ledger.record_event(taken, OrderState.ACKED)
            self._context.log.warning("the killer's order", command_id=number)

    def _last_prediction(self) -> int:
        """Sequence of the last prediction that an earlier life took in; 0 if none is remembered."""
        recent = self._writer.ring.recent(self._writer.ring.capacity)
        taken = recent[recent["kind"] == SlotKind.INPUT_PREDICTION]
        return int(taken["prediction_sequence"].max()) if len(taken) else 0

    # ---- the loop

    def live(self) -> None:
        """Take inputs until told to stop."""
        context = self._context
        timeout_ms = context.settings.signal.timeout_ms
        while not context.stopping:
            self._inbox.wait(timeout_ms)
            self._turned_s = monotonic_s()
            self._look_at_switch()
            self._take_predictions()
            self._take_events()
            self._take_time()
            self._look_at_brokers()
            context.service()
        for broker in self._brokers.values():
            broker.close()
        self.close()
        self._leave_to_the_killer()

    def _leave_to_the_killer(self) -> None:
        """A life that ends before the switch's level is reached leaves the rest to the killer."""
        level = self._machine.kill_level
        standing = self._machine.standing()
        stands = standing.positions or any(one.open for one in standing.orders)
        paths = self._context.paths
        if level >= KillLevel.CANCEL and stands and is_at_a_venue(paths.data):
            self._context.log.warning("left to the killer", switch=KillLevel(level).name.lower())
            start_killer(paths, KillLevel(level))

    def close(self) -> None:
        """Let go of the ledger, and of the right to send orders."""
        self._ledger.close()
        self._orders_lock.close()

    def _look_at_brokers(self) -> None:
        for account, broker in self._brokers.items():
            if broker.error is not None:
                raise RuntimeError(f"the broker of {account} has ended") from broker.error

    def _look_at_switch(self) -> None:
        """The kill switch: journaled as a command, obeyed, acknowledged."""
        level = read_word(self._kill_word)
        if level == self._machine.kill_level:
            self._acknowledge()
            return
        now_ns = self._context.clock.now_ns()
        self._journal.kill_level = KillLevel(level)
        self._journal.message(SlotKind.INPUT_COMMAND, now_ns, {"kill_level": level})
        effects = self._machine.on_kill(level, now_ns)
        self._obeyed = KillLevel(level)
        self._acknowledge()
        self._do(effects)
        # Who finds the switch off in the next life must know that it was on in this one.
        self._ledger.record_losses(self._machine.book.losses, now_ns)
        name = KillLevel(level).name.lower()
        self._context.log.warning("kill switch", switch=name)
        self._context.bus.publish(KillChanged(level=level, by="", time_ns=now_ns))

    def _acknowledge(self) -> None:
        """From here on nothing is sent but what the switch itself asks for."""
        # No broker is between its last look and the end of its write.
        if self._obeyed is not None and self._gate.idle:
            self._context.control.set(Word.KILL_ACKNOWLEDGED, self._obeyed)
            self._obeyed = None

    def _take_predictions(self) -> None:
        slots = self._reader.read()
        if not len(slots):
            return
        now_ns = self._context.clock.now_ns()
        journal, count = self._journal, len(slots)
        self._do(self._screen.decide(self._reader.block_address, count, now_ns))
        self._reader.acknowledge()
        metrics = self._context.metrics
        metrics.add(self._places["decisions"], count)
        metrics.observe_ages(
            self._places["recv_to_decision"], journal.cut_times, INTEGERS_BYTES, count,
            self._context.clock.now_ns(),
        )  # fmt: skip
        if self._machine.denied != self._denied:
            metrics.add(self._places["decisions_denied"], self._machine.denied - self._denied)
            self._denied = self._machine.denied

    def _on_signals(self, arguments: dict[str, Any]) -> dict[str, int]:
        """The bridge brings signals: the switch is looked at first, as before predictions."""
        self._look_at_switch()
        taken = self._desk.take(arguments)
        self._context.metrics.add(self._places["decisions"], taken)
        return {"taken": taken}

    def _take_events(self) -> None:
        while not self._events.empty():
            self._take_event(self._events.get_nowait())

    def _take_event(self, event: BrokerEvent) -> None:
        now_ns = self._context.clock.now_ns()
        event = clipped(event)
        if isinstance(event, OrderAdopted) and not self._is_news(event):
            return
        self._journal.event(event, now_ns)
        effects = self._machine.on_event(event, now_ns)
        self._fire(effects)
        if isinstance(event, AccountFact):
            self._teller.account(event)
            if isinstance(event, AccountAlarm) and event.pause:
                self._pull(KillLevel.PAUSE, f"{event.account}: {event.code}", event.time_ns)
        elif self._machine.news_of is not None:
            self._ledger.record_event(event, self._machine.news_of.state, self._machine.book.losses)
        if self._machine.news_of is not None or self._machine.changed_positions:
            self._keep_standing()
        for order, _ in self._machine.changed_orders:
            self._teller.order(order, now_ns)
        for instrument in self._machine.changed_positions:
            self._teller.position(instrument, now_ns)
        self._do(effects)

    def _is_news(self, event: OrderAdopted) -> bool:
        """Told at each reconcile; what the ledger has had and let go must not begin anew."""
        try:
            return not self._ledger.knows(event.command_id)
        except LedgerUnavailableError:
            return False  # told again at the next

    def _adopt_made_there(self, intent: Intent) -> None:
        """An order that somebody else has made gets its place in the ledger."""
        with contextlib.suppress(LedgerUnavailableError):  # it is kept, and written later
            self._ledger.record_intent(intent)
        self._context.log.warning(
            "an order that was made there", command_id=intent.command_id, symbol=intent.symbol,
            side=intent.side, quantity=intent.quantity,
        )  # fmt: skip
        self._keep_standing()

    def _take_time(self) -> None:
        now_ns = self._context.clock.now_ns()
        if now_ns < self._next_timer_ns:
            return
        interval_ns = int(self._context.settings.execution.timer_s * 1e9)
        self._next_timer_ns = now_ns + interval_ns
        self._note_ledger(away=not self._ledger.tend())
        self._journal.message(SlotKind.INPUT_TIMER, now_ns, {})
        effects = self._machine.on_timer(now_ns)
        self._fire(effects)
        self._do(effects)
        self._ledger.record_losses(self._machine.book.losses, now_ns)
        self._teller.count()
        text = self._teller.step_text
        if self._machine.ledger_away:
            text = "the ledger is away: nothing is sent"
        if waits := self._machine.accounts.waited_for():
            text = f"nothing is sent to {', '.join(waits)}: not reconciled yet"
        # One account that is away is no reason to hold up the others.
        if self._machine.accounts.reconciled:
            self._context.ready(text)
        else:
            self._context.say(text)

    # ---- effects

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect)
                case Cancel():
                    self._cancel(effect)
                case CancelAll():
                    if not self._brokers[effect.account].cancel_all():
                        self._context.log.error("the broker's queue is full", **effect._asdict())
                case Reconcile():
                    self._reconcile(effect.account)
                case Adopt():
                    self._adopt_made_there(effect.intent)
                case Stepped():
                    self._teller.step(effect, self._context.clock.now_ns())
                case Pull():
                    pass  # done before anything was written

    def _send(self, effect: Send) -> None:
        intent = effect.intent
        now_ns = self._context.clock.now_ns()
        try:
            is_new = self._ledger.record_intent(intent)
        except LedgerUnavailableError as error:
            # The ledger writes it later, and then that it was not sent.
            self._context.log.warning("not sent", command_id=intent.command_id, reason=str(error))
            self._note_ledger(away=True)
            self._take_event(OrderExpired(intent.command_id, now_ns, "the ledger is away"))
            return
        if not is_new:
            self._context.log.error("command id known already", command_id=intent.command_id)
            self._take_event(NotSent(intent.command_id, now_ns, "its id is known already"))
            return
        self._journal.message(
            SlotKind.ORDER,
            now_ns,
            OrderNew(
                intent.command_id, intent.instrument, intent.side, intent.quantity, intent.kind,
                intent.limit_price, intent.reduce_only, intent.strategy,
            ),
        )  # fmt: skip
        # A first look; the broker takes the last one, immediately before it writes.
        if refused := self._gate.refusal(intent):
            self._take_event(OrderExpired(intent.command_id, now_ns, refused))
            return
        self._keep_standing()
        if not self._brokers[intent.account].submit(intent):
            self._take_event(OrderExpired(intent.command_id, now_ns, "the broker's queue is full"))
            return
        self._context.metrics.add(self._places["orders_sent"])
        self._context.log.info(
            "order sent",
            command_id=intent.command_id,
            symbol=intent.symbol,
            side=intent.side,
            quantity=intent.quantity,
            strategy=intent.strategy,
        )
        self._teller.order(self._machine.orders[intent.command_id], now_ns)

    def _keep_standing(self) -> None:
        """For the killer, should this process be dead when it is needed."""
        write_standing(self._context.paths.data, self._machine.standing())

    def _note_ledger(self, *, away: bool) -> None:
        """Whether an intent can be made durable is an input of the machine when it changes."""
        if away == self._machine.ledger_away:
            return
        now_ns = self._context.clock.now_ns()
        self._journal.message(SlotKind.INPUT_LEDGER, now_ns, {"away": away})
        self._machine.on_ledger(away=away)
        self._context.log.warning("the ledger is away" if away else "the ledger is back")

    def _cancel(self, effect: Cancel) -> None:
        order = self._machine.orders[effect.command_id]
        if self._brokers[order.intent.account].cancel(effect.command_id):
            self._context.log.info("cancel sent", command_id=effect.command_id)
            return
        self._context.log.error("the broker's queue is full", command_id=effect.command_id)
        self._take_event(CancelNotSent(effect.command_id, self._context.clock.now_ns()))

    def _reconcile(self, account: str) -> None:
        """Have a broker answer for what is open, and for what was closed lately."""
        outstanding = [
            Outstanding(
                intent=order.intent,
                venue_order_id=order.venue_order_id,
                fill_ids=frozenset(order.fill_ids),
                filled=f"{order.filled:f}",
                open=order.open,
            )
            for order in self._machine.remembered(account, CLOSED_ASKED)
        ]
        if not self._brokers[account].reconcile(outstanding):
            self._context.log.error("the broker's queue is full", account=account)

    def _pull(self, level: KillLevel, by: str, now_ns: int) -> None:
        """Latch a level of the switch; what it changes comes back as its own input."""
        latch = Latch(level=level, by=f"execution: {by}", since_ns=now_ns)
        write_latch(self._context.paths.data, latch)
        if self._context.control.raise_to(Word.KILL_LEVEL, level):
            self._context.control.set(Word.KILL_SINCE_NS, now_ns)

    def _fire(self, effects: list[Effect]) -> None:
        """Pull what triggers ask for, before it is remembered that they have fired."""
        now_ns = self._context.clock.now_ns()
        for effect in effects:
            if isinstance(effect, Pull):
                if effect.level:
                    self._pull(effect.level, f"{effect.code}: {effect.text}", now_ns)
                self._teller.trigger(effect, now_ns)

    def _obey(self, settings: Settings) -> None:
        self._journal.generation = self._context.generation
        now_ns = self._context.clock.now_ns()
        self._journal.message(
            SlotKind.INPUT_CONFIG, now_ns, {"generation": self._context.generation}
        )
        self._machine.on_config(settings)
        self._gate.within_ns = settings.execution.send_within_ms * 1_000_000
        self._desk.enabled = settings.bridge.signals.enabled


def main(context: Context) -> None:
    """Execute."""
    # The broker's thread may hold the interpreter for so long at most.
    sys.setswitchinterval(GIL_SWITCH_S)
    execution = Execution(context)
    execution.begin()
    execution.live()


if __name__ == "__main__":
    run(main)
