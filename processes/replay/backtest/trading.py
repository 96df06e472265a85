"""Execution's machine in event time: predictions and the broker's events in, orders out.

The same journal, screen and machine as live. What has a time of its own (orders on their way to
the venue, reports on their way back, the timer) waits in one queue; at the same instant the tape is
first, then what waits, in the order in which it came about, then the timer, then predictions.
"""

import hashlib
import heapq
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from processes.execution.beginning import Beginning
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
from processes.execution.journal import DRAIN, Destination, InputJournal
from processes.execution.machine import Machine
from processes.execution.screen import Screen
from processes.replay.backtest.broker import Execution, TapeBroker
from processes.replay.backtest.tops import Tops
from schemas import predictions
from schemas.decisions import SlotKind
from schemas.instruments import Tables
from schemas.settings import Settings
from schemas.trading import (
    AccountConnected,
    BrokerEvent,
    Intent,
    KillLevel,
    OrderEvent,
    Reconciled,
)

GENERATION: Final = 1
"""Of the settings, which never change in a backtest."""


class Delays:
    """How long words are under way: deterministic, whatever the order in which they are asked."""

    def __init__(self, settings: Settings) -> None:
        told = settings.backtest
        self._there_ns = int(told.latency_ms * 1e6)
        self._back_ns = int(told.report_latency_ms * 1e6)
        self._jitter_ns = int(told.jitter_ms * 1e6)
        self._seed = told.seed

    def there(self, command_id: str, leg: str) -> int:
        """From a decision to the venue."""
        return self._there_ns + self._drawn(command_id, leg)

    def back(self, command_id: str) -> int:
        """From the venue to execution; the same for all words of an order: they keep order."""
        return self._back_ns + self._drawn(command_id, "back")

    def _drawn(self, command_id: str, leg: str) -> int:
        if not self._jitter_ns:
            return 0
        text = f"{self._seed} {command_id} {leg}".encode()
        word = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
        return word * self._jitter_ns >> 64


class Trading:
    """One life of execution, from the beginning of a session's span to its end.

    Args:
        journal: takes inputs and decisions. on_send: told of every order with the mark it was
            decided at. on_fill: of every fill, at its time. on_time: called at each turn of the
            timer. on_pull: of every trigger that fires.
    """

    def __init__(
        self,
        session: int,
        tables: Tables,
        settings: Settings,
        tops: Tops,
        journal: Destination,
        on_send: Callable[[Intent, Decimal], None],
        on_fill: Callable[[Execution], None],
        on_time: Callable[[int], None],
        on_pull: Callable[[Pull, int], None],
    ) -> None:
        self.now_ns = 0
        self.session = session
        self.machine = Machine(session, tables.instruments, settings)
        self._accounts = list(settings.execution.accounts)
        self._journal = InputJournal(journal, lambda: self.now_ns)
        self._journal.generation = GENERATION
        self._screen = Screen(self._journal, self.machine)
        self._delays = Delays(settings)
        self._broker = TapeBroker(tops, list(tables.instruments), settings, self._tell, on_fill)
        self._on_send = on_send
        self._on_time = on_time
        self._on_pull = on_pull
        self._timer_ns = int(settings.execution.timer_s * 1e9)
        self._next_timer_ns = 0
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0

    def begin(self, now_ns: int, beginning: Beginning, level: KillLevel = KillLevel.NONE) -> None:
        """Take up positions, and the switch as it is latched.

        The broker has nothing to say about orders of before.
        """
        self.now_ns = now_ns
        self._next_timer_ns = now_ns + self._timer_ns
        self.machine.take_up(beginning)
        told = {
            "open_orders": len(self.machine.open_orders()),
            "positions": len(self.machine.book.held()),
            "realized_today": str(self.machine.book.realized_today),
        }
        self._journal.message(SlotKind.INPUT_START, now_ns, told)
        if level:
            self._switch(level)
        for account in self._accounts:
            self._take_event(AccountConnected(account, now_ns, is_paper=True))
            self._take_event(Reconciled(account, now_ns))

    def advance(self, until_ns: int) -> None:
        """Let time pass, the broker following the tape."""
        while True:
            waits_ns = self._waiting[0][0] if self._waiting else self._next_timer_ns
            due_ns = min(waits_ns, self._next_timer_ns)
            if self._broker.look(min(due_ns, until_ns)):
                continue  # its report may be due before anything else
            if due_ns > until_ns:
                break
            self.now_ns = max(self.now_ns, due_ns)
            if self._waiting and waits_ns <= self._next_timer_ns:
                heapq.heappop(self._waiting)[2]()
            else:
                self._next_timer_ns += self._timer_ns
                self._journal.message(SlotKind.INPUT_TIMER, self.now_ns, {})
                self._do(self.machine.on_timer(self.now_ns))
                self._on_time(self.now_ns)
        self.now_ns = max(self.now_ns, until_ns)

    def decide(self, address: int, count: int, now_ns: int) -> None:
        """Decide about predictions.

        Args:
            address: of `count` prediction slots.
        """
        self.advance(now_ns)
        for at in range(0, count, DRAIN):
            some = min(count - at, DRAIN)
            place = address + at * predictions.SLOT_BYTES
            self._do(self._screen.decide(place, some, self.now_ns))

    def end(self, now_ns: int) -> None:
        """The tapes end: orders are over, and what is still under way arrives."""
        self.advance(now_ns)
        self._broker.close(now_ns)
        while self._waiting:
            time_ns, _, arrive = heapq.heappop(self._waiting)
            self.now_ns = max(self.now_ns, time_ns)
            arrive()
            self._broker.close(self.now_ns)
        self._on_time(self.now_ns)

    # ---- words under way

    def _wait(self, time_ns: int, what: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._waiting, (time_ns, self._number, what))

    def _tell(self, event: OrderEvent, time_ns: int) -> None:
        back_ns = self._delays.back(event.command_id)
        self._wait(time_ns + back_ns, lambda: self._take_event(event))

    def _take_event(self, event: BrokerEvent) -> None:
        self._journal.event(event, self.now_ns)
        self._do(self.machine.on_event(event, self.now_ns))

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect.intent)
                case Cancel():
                    self._cancel(effect.command_id)
                case Pull():
                    self._pull(effect)
                case Adopt():
                    raise AssertionError("nobody else trades on a tape")
                case Stepped():
                    pass  # what it led to is in the decisions
                case CancelAll() | Reconcile():
                    pass  # the venue has our orders only, and it and the ledger are one here

    def _pull(self, pull: Pull) -> None:
        """The switch as execution would find it at its next turn; nobody arms it again."""
        self._on_pull(pull, self.now_ns)
        if pull.level > self.machine.kill_level:
            self._switch(pull.level)

    def _switch(self, level: KillLevel) -> None:
        self._journal.kill_level = level
        self._journal.message(SlotKind.INPUT_COMMAND, self.now_ns, {"kill_level": level})
        self._do(self.machine.on_kill(level, self.now_ns))

    def _send(self, intent: Intent) -> None:
        self._on_send(intent, self.machine.book.mark(intent.instrument, Decimal(0)))
        time_ns = self.now_ns + self._delays.there(intent.command_id, "there")
        self._wait(time_ns, lambda: self._broker.submit(intent, self.now_ns))

    def _cancel(self, command_id: str) -> None:
        time_ns = self.now_ns + self._delays.there(command_id, "cancel")
        self._wait(time_ns, lambda: self._broker.cancel(command_id, self.now_ns))
