"""What people ask of execution over the bus.

The switch's drill, and their word on what only a look at the venue can say. Taken between two
inputs, in execution's own thread.
"""

from collections.abc import Callable, Mapping
from typing import Any

from processes.execution.brokers.base import Broker
from processes.execution.comparison import adjustment
from processes.execution.gate import SendGate
from processes.execution.machine import Machine
from processes.runtime import Context
from schemas.brokers import FreqtradeAccount
from schemas.errors import OperatorError
from schemas.trading import BrokerEvent


class Persons:
    """All who can ask.

    Args:
        take: takes an event as if the account's broker had told it.
    """

    def __init__(
        self,
        context: Context,
        machine: Machine,
        gate: SendGate,
        brokers: Mapping[str, Broker],
        take: Callable[[BrokerEvent], None],
    ) -> None:
        self._context = context
        self._machine = machine
        self._gate = gate
        self._brokers = brokers
        self._take = take

    def listen(self) -> None:
        """Take their commands from now on."""
        bus = self._context.bus
        bus.on_command("drill", self._on_drill)
        bus.on_command("settle", self._on_settle)
        bus.on_command("take_over", self._on_take_over)

    def _on_drill(self, _: dict[str, Any]) -> dict[str, Any]:
        """What the kill switch would end, asked of the thread that would obey it."""
        standing = self._machine.standing()
        return {
            "idle": self._gate.idle,
            "orders": [one.intent.command_id for one in standing.orders if one.open],
            "positions": {held.symbol: held.quantity for held in standing.positions},
        }

    def _on_settle(self, arguments: dict[str, Any]) -> dict[str, str]:
        """A person's word on an order in doubt; what comes of it is told as the broker's event."""
        number, venue_order_id = str(arguments["order"]), str(arguments["venue_order"])
        order = self._machine.orders.get(number)
        if order is None or not order.open:
            raise OperatorError(f"{number} is no open order; dcctl orders --open shows them")
        account = order.intent.account
        if isinstance(self._context.settings.execution.accounts[account], FreqtradeAccount):
            raise OperatorError(f"{account} has a bot: dcctl freqtrade absent {number}")
        if not self._brokers[account].settle(number, venue_order_id):
            raise OperatorError(f"{account} takes no word on {number} now")
        self._context.log.warning(
            "settled by a person", command_id=number, venue_order_id=venue_order_id
        )
        return {"account": account}

    def _on_take_over(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """A person has looked: what a venue holds is right, and the book follows it.

        Booked as a fill at a price of what is apart, as of an order that somebody else has made.
        Without an instrument: what differs.
        """
        name, price = str(arguments["instrument"]), str(arguments["price"])
        if not name:
            found = self._machine.comparison.found.values()
            return {"differences": [one.text for one in found]}
        item = next(
            (i for i in self._context.tables.instruments if f"{i.venue}:{i.symbol}" == name), None
        )
        difference = None if item is None else self._machine.difference(item.index)
        if item is None or difference is None:
            raise OperatorError(
                f"nothing of {name} differs from its venue; dcctl take-over says what does"
            )
        now_ns = self._context.clock.now_ns()
        for event in adjustment(item.index, difference, self._machine.book, price, now_ns):
            self._take(event)
        self._context.log.warning("taken over by a person", difference=difference.text, price=price)
        return {"differences": [difference.text]}
