"""The accounts of a venue: who there is, what the markets do to them, what is so.

An account is looked up by its API key. What matches in a market is booked with the accounts that
were part of it. `truth` tells all of an account in plain texts, for a test that holds a ledger
against the venue to the last unit.
"""

from collections.abc import Callable, Iterable
from typing import Any

from config.secrets import read_secret
from processes.simulator.account import Account
from processes.simulator.balances import atoms_text
from processes.simulator.faults import ACCOUNT_KINDS, Fault
from processes.simulator.market import Market, Trade
from processes.simulator.orders import Rules
from schemas.errors import OperatorError
from schemas.settings import SimulatorAccount


class Accounts:
    """All accounts of one venue.

    Args:
        named: those of the settings that are at this venue.
        first_id: ids of orders, fills and positions count up from here.

    Raises:
        ConfigError: a secret is not in the environment. OperatorError: a key is there twice.
    """

    def __init__(
        self,
        venue: str,
        named: Iterable[SimulatorAccount],
        markets: dict[str, Market],
        rules: Rules,
        first_id: int,
    ) -> None:
        self.venue = venue
        self.markets = markets
        self._next_id = first_id
        self._by_key: dict[str, Account] = {}
        for each in named:
            if each.key in self._by_key:
                raise OperatorError(
                    f"simulator.accounts has the key {each.key} twice at {venue}; take another one"
                )
            self._by_key[each.key] = Account(
                each.key, _secret(each), each.balances, markets, rules, self._take_id
            )

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    @property
    def all(self) -> list[Account]:
        """Every account."""
        return list(self._by_key.values())

    def of(self, key: str) -> Account | None:
        """The account of an API key."""
        return self._by_key.get(key)

    def noting(self, symbol: str) -> Callable[[Trade], None]:
        """What a market's trades are told to."""

        def note(trade: Trade) -> None:
            for account in self._by_key.values():
                account.take(trade, symbol)

        return note

    def tick(self, now_ns: int) -> None:
        """Do what is due."""
        for account in self._by_key.values():
            account.tick(now_ns)

    # ---- faults

    def commit(self, fault: Fault, now_ns: int) -> None:
        """Commit a fault that is meant for accounts."""
        if fault.kind not in ACCOUNT_KINDS:
            return
        for account in self._by_key.values():
            if fault.account in {"", account.key}:
                _commit(account, fault, now_ns)

    # ---- what is so

    def truth(self, key: str) -> dict[str, Any]:
        """All of an account: orders, fills, balances, positions, in plain texts.

        `events` counts what has happened, `commands` what has arrived of each kind: also what was
        refused or, on request, lost on the way.

        Raises:
            OperatorError: there is no such account.
        """
        account = self._by_key.get(key)
        if account is None:
            known = ", ".join(self._by_key) or "none"
            raise OperatorError(f"{self.venue} has no account {key}; it has {known}")
        balances = account.balances
        return {
            "orders": [order.facts() for order in account.orders()],
            "fills": [fill.facts() for fill in account.fills.values()],
            "balances": {
                asset: {
                    "total": atoms_text(balances.total(asset)),
                    "held": atoms_text(balances.held(asset)),
                    "available": atoms_text(balances.available(asset)),
                }
                for asset in balances.assets
            },
            "positions": [position.facts() for position in account.positions.open.values()],
            "events": account.sequence,
            "commands": account.faults.commands,
        }


def _secret(account: SimulatorAccount) -> str:
    if not account.secret.startswith("${"):
        return account.secret
    return read_secret(f"simulator.accounts: secret of {account.key}", account.secret)


def _commit(account: Account, fault: Fault, now_ns: int) -> None:
    """Set what a fault asks for; later requests of one kind replace earlier ones."""
    faults = account.faults
    match fault.kind:
        case "reject_order":
            faults.reject = fault.times
        case "insufficient_funds":
            faults.no_funds = fault.times
        case "rate_limit":
            faults.rate_limit = fault.times
        case "nonce_error":
            faults.nonce = fault.times
        case "lose_request" | "lose_answer":
            faults.lose, faults.lose_command = fault.times, fault.command
            faults.lose_what = "request" if fault.kind == "lose_request" else "answer"
            faults.lose_cut = fault.how != "silent"
        case "late_answer":
            faults.late, faults.late_ns = fault.times, fault.until_ns(0)
        case "late_fills":
            faults.late_fills, faults.late_fills_ns = fault.times, fault.until_ns(0)
        case "doubled_events":
            faults.doubled = fault.times
        case "out_of_order_events":
            faults.events_first = fault.times
        case "hold_fills":
            faults.hold_share = fault.held_share
            account.hold_fills(fault.until_told_ns(now_ns), now_ns)
        case "release_fills":
            account.release_fills(now_ns)
