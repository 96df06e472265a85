"""Closing what is open: what the kill switch asks for, level by level, and what a fall asks for.

Part of the machine: it reads no clock, and what it does is a function of the machine's inputs.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from processes.execution.accounts import Accounts
from processes.execution.effects import Cancel, CancelAll, Effect, Send
from processes.execution.gate import KILL_SWITCH
from processes.execution.orders import Order
from schemas.trading import Intent, KillLevel, Reason

DEGRADATION: Final = "degradation"
"""The strategy of orders that close what nothing manages any more."""
FLATTEN_PAUSE_NS: Final = 1_000_000_000
FLATTEN_PAUSE_MAX_NS: Final = 16_000_000_000
"""Between two attempts to close a position: 1, 2, 4 ... s. A market that has nobody on its other
side would be asked as fast as it can refuse."""


class Attempts(NamedTuple):
    """How often a position was tried to be closed, and when it may be again."""

    made: int
    next_ns: int


class Held(Protocol):
    """What closing must know of the machine."""

    accounts: Accounts

    def open_orders(self) -> list[Order]:
        """Orders of which something may still come."""

    def closable(self) -> list[int]:
        """Instruments with a position, no order under way, and an account that may send."""


Close = Callable[[int, str, Reason, str, int], Intent]
"""Makes the order that closes an instrument's position: instrument, strategy, reason, leg, now."""


class Closing:
    """The kill switch's part of the machine, and flattening."""

    def __init__(self, machine: Held, close: Close) -> None:
        self._machine = machine
        self._close = close
        self._attempts: dict[int, Attempts] = {}
        self._swept: set[str] = set()
        """Accounts that were asked to cancel everything since the switch was pulled."""

    def forget(self) -> None:
        """The switch is released: the next attempt is a first one."""
        self._attempts.clear()

    def obey(self, level: KillLevel, now_ns: int) -> list[Effect]:
        """What the level asks for now: cancel what is open, then close what is held."""
        if level < KillLevel.CANCEL:
            self._swept.clear()
            return []
        effects: list[Effect] = []
        for order in self._machine.open_orders():
            if not order.cancel_asked and order.intent.strategy != KILL_SWITCH:
                order.cancel_asked = True
                effects.append(Cancel(order.intent.command_id))
        flat = not effects and level >= KillLevel.FLATTEN
        # Beside ours there may be orders that a crash or a person left at the venue.
        unswept = sorted(self._machine.accounts.reconciled - self._swept)
        self._swept.update(unswept)
        swept: list[Effect] = [CancelAll(account) for account in unswept]
        closing = self.flatten(KILL_SWITCH, Reason.KILL_FLATTEN, now_ns) if flat else []
        return swept + effects + closing

    def wind_down(self, now_ns: int) -> list[Effect]:
        """Trading has fallen to the last step: entries are cancelled, positions closed."""
        effects: list[Effect] = []
        for order in self._machine.open_orders():
            if not order.cancel_asked and not order.intent.reduce_only:
                order.cancel_asked = True
                effects.append(Cancel(order.intent.command_id))
        return effects or self.flatten(DEGRADATION, Reason.DEGRADED_FLATTEN, now_ns)

    def flatten(self, strategy: str, reason: Reason, now_ns: int) -> list[Effect]:
        """Close every position that can be closed now."""
        effects: list[Effect] = []
        for instrument in self._machine.closable():
            attempts = self._attempts.get(instrument, Attempts(0, 0))
            if now_ns < attempts.next_ns:
                continue
            attempt = attempts.made + 1
            pause_ns = min(FLATTEN_PAUSE_NS << min(attempts.made, 8), FLATTEN_PAUSE_MAX_NS)
            self._attempts[instrument] = Attempts(attempt, now_ns + pause_ns)
            intent = self._close(instrument, strategy, reason, str(attempt), now_ns)
            effects.append(Send(intent))
        return effects
