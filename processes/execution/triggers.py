"""Triggers: what pulls the kill switch by itself, once, and when it may again.

Part of the machine: readings of its own state, the time from its inputs. A trigger fires when its
reading reaches `at`. It can fire again only when the reading has been below `again_below` since,
and a person has armed since it pulled; one that pulls nothing needs no person. So a reading that
hovers about its threshold pulls once, and a person who arms in spite of it is not overruled.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from processes.execution.accounts import Accounts
from processes.execution.comparison import Comparison
from processes.execution.effects import Pull
from processes.execution.losses import Fired, Losses
from processes.execution.orders import Order
from processes.execution.positions import Book
from schemas.settings import TriggerSettings
from schemas.trading import KillLevel, OrderState, TriggerCode

LEVELS: Final = {
    "none": KillLevel.NONE, "pause": KillLevel.PAUSE, "cancel": KillLevel.CANCEL,
    "flatten": KillLevel.FLATTEN,
}  # fmt: skip


class Watched(Protocol):
    """What triggers look at."""

    accounts: Accounts
    book: Book
    comparison: Comparison

    def open_orders(self) -> list[Order]:
        """Orders of which something may still come."""


class Triggers:
    """All of them."""

    def __init__(self, machine: Watched) -> None:
        self._machine = machine
        self._unknown_ns: dict[str, int] = {}
        """Since when orders are unknown."""
        self._away_ns = 0
        """Since when no account is reconciled; 0 while one is."""

    def obey(self, settings: TriggerSettings) -> None:
        """Take settings."""
        self._settings = settings

    def look(self, now_ns: int) -> list[Pull]:
        """What fires now."""
        losses = self._machine.book.losses
        found = []
        for code, reading in self._readings(now_ns).items():
            trigger = getattr(self._settings, code.value)
            at, level = float(trigger.at), LEVELS[trigger.pull]
            if code.value in losses.fired:
                self._recover(losses, code, below=reading < float(trigger.again_below))
            if code.value not in losses.fired and 0 < at <= reading:
                losses.fired = {**losses.fired, code.value: Fired(armed=not level)}
                text = f"{code.text}: {reading:g}, trigger at {at:g}"
                if code is TriggerCode.POSITIONS_DIFFER:
                    text = f"{text}: {self._machine.comparison.text}"
                found.append(Pull(level, code, text))
        return found

    @staticmethod
    def _recover(losses: Losses, code: TriggerCode, *, below: bool) -> None:
        fired = losses.fired[code.value]
        fired.recovered |= below
        if fired.recovered and fired.armed:
            losses.fired = {name: one for name, one in losses.fired.items() if one is not fired}

    def _readings(self, now_ns: int) -> Mapping[TriggerCode, float]:
        book = self._machine.book
        return {
            TriggerCode.DAILY_LOSS: -float(book.result_today()),
            TriggerCode.DRAWDOWN: float(book.drawdown()),
            TriggerCode.LOSING_STREAK: float(book.losses.streak),
            TriggerCode.ORDER_REJECTS: float(book.losses.rejects),
            TriggerCode.UNKNOWN_ORDERS: self._unknown_s(now_ns),
            TriggerCode.ACCOUNTS_AWAY: self._away_s(now_ns),
            TriggerCode.POSITIONS_DIFFER: float(len(self._machine.comparison.found)),
        }

    def _unknown_s(self, now_ns: int) -> float:
        """Age of the order that has been unknown for longest."""
        unknown = [
            order.intent.command_id
            for order in self._machine.open_orders()
            if order.state is OrderState.UNKNOWN
        ]
        self._unknown_ns = {name: self._unknown_ns.get(name, now_ns) for name in unknown}
        return (now_ns - min(self._unknown_ns.values(), default=now_ns)) / 1e9

    def _away_s(self, now_ns: int) -> float:
        """How long no account could be sent to."""
        if self._machine.accounts.reconciled:
            self._away_ns = 0
            return 0.0
        self._away_ns = self._away_ns or now_ns
        return (now_ns - self._away_ns) / 1e9
