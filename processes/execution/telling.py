"""What execution tells the world: orders, positions and accounts on the bus, in the log, counted.

Reads the machine and changes nothing; what it publishes is for who watches, no part of trading.
"""

from typing import Final

import msgspec

from processes.execution.effects import Pull, Stepped
from processes.execution.machine import Machine
from processes.execution.orders import Order
from processes.runtime import Context
from schemas.messages import (
    AccountAlarmed,
    OrderChanged,
    PositionChanged,
    StepChanged,
    TriggerFired,
)
from schemas.metrics import place
from schemas.trading import AccountAlarm, AccountAway, AccountFact, AssetHeld, PositionHeld, Step

STEPS: Final = {Step.POSITIONS_ONLY: "positions only", Step.FLAT: "flat and stopped"}
MICROS: Final = 1_000_000


class Teller:
    """One for execution's life."""

    def __init__(self, context: Context, machine: Machine) -> None:
        self._context = context
        self._machine = machine
        self.step_text = ""
        """For the status, while trading has fallen."""

    def account(self, fact: AccountFact) -> None:
        """A broker has told something of an account."""
        told = msgspec.to_builtins(fact)
        if isinstance(fact, AccountAlarm | AccountAway):
            self._context.log.warning("account", **told)
        elif not isinstance(fact, AssetHeld | PositionHeld):
            self._context.log.info("account", **told)
        if isinstance(fact, AccountAlarm):
            self._context.bus.publish(
                AccountAlarmed(
                    account=fact.account, code=fact.code, text=fact.text, time_ns=fact.time_ns
                )
            )

    def order(self, order: Order, now_ns: int) -> None:
        """An order has another state."""
        state, number = order.state.name.lower(), order.intent.command_id
        self._context.bus.publish(
            OrderChanged(
                command_id=number,
                instrument=order.intent.instrument,
                state=state,
                time_ns=now_ns,
                filled=f"{order.filled:f}",
                text=order.text,
            )
        )
        if order.state.final:
            self._context.log.info(
                "order closed",
                command_id=number,
                state=state,
                filled=f"{order.filled:f}",
                fills=len(order.fill_ids),
                text=order.text,
            )

    def position(self, instrument: int, now_ns: int) -> None:
        """A fill was booked."""
        self._context.metrics.add(place("fills"))
        position = self._machine.book.position(instrument)
        others = {asset: f"{fee:f}" for asset, fee in position.other_fees.items()}
        if others:
            self._context.log.warning(
                "fees that are in no profit", instrument=instrument, fees=others
            )
        self._context.bus.publish(
            PositionChanged(
                instrument=instrument,
                quantity=f"{position.quantity:f}",
                average_price=f"{position.average_price:f}",
                realized=f"{position.realized:f}",
                time_ns=now_ns,
                other_fees=others,
            )
        )

    def step(self, change: Stepped, now_ns: int) -> None:
        """Trading fell, or climbed back."""
        name = change.step.name.lower()
        self.step_text = "" if change.step is Step.FULL else f"{STEPS[change.step]}: {change.text}"
        log, metrics = self._context.log, self._context.metrics
        (log.info if change.step is Step.FULL else log.warning)(
            "trading", step=name, reason=change.text
        )
        metrics.set(place("trading_step"), change.step)
        if change.step is not Step.FULL:
            metrics.add(place("trading_falls"))
        self._context.bus.publish(StepChanged(step=name, text=change.text, time_ns=now_ns))

    def trigger(self, pull: Pull, now_ns: int) -> None:
        """A trigger has fired."""
        level = pull.level.name.lower()
        self._context.log.error("trigger", code=pull.code, switch=level, text=pull.text)
        self._context.metrics.add(place("triggers_fired"))
        self._context.bus.publish(
            TriggerFired(code=pull.code, level=int(pull.level), text=pull.text, time_ns=now_ns)
        )

    def count(self) -> None:
        """What is open, and what it has brought."""
        book, metrics = self._machine.book, self._context.metrics
        metrics.set(place("open_orders"), len(self._machine.open_orders()))
        metrics.set(place("open_positions"), len(book.held()))
        metrics.set(place("realized_pnl_micros"), int(book.realized_today * MICROS))
        metrics.set(place("unrealized_pnl_micros"), int(book.unrealized() * MICROS))
        metrics.set(place("drawdown_micros"), int(book.drawdown() * MICROS))
        metrics.set(place("losing_streak"), book.losses.streak)
        metrics.set(place("ledger_away"), int(self._machine.ledger_away))
        metrics.set(place("accounts_away"), len(self._machine.accounts.waited_for()))
