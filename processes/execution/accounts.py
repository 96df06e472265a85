"""What is known of each account: whether its venue was compared with the ledger, and what it has.

Made of settings and of what brokers tell, and part of the machine: it reads no clock.
"""

from collections.abc import Collection, Container
from decimal import Decimal
from typing import Final

from processes.execution.comparison import AGAIN_NS, amount_of
from processes.execution.effects import Effect, Reconcile
from schemas.brokers import PaperAccount
from schemas.settings import Settings
from schemas.trading import (
    AccountAlarm,
    AccountAway,
    AccountConnected,
    AccountFact,
    AssetHeld,
    PositionHeld,
    Reconciled,
)

NOTHING: Final = Decimal(0)


class Accounts:
    """All of them, by name."""

    def __init__(self) -> None:
        self.reconciled: set[str] = set()
        """Whose venue has answered for all that the ledger has."""
        self.holdings: dict[str, dict[str, AssetHeld]] = {}
        """What venues say that accounts have, by account and asset."""
        self.on_paper: set[str] = set()
        """Accounts at a venue that are traded on paper, as their broker says."""
        self._asked_ns: dict[str, int] = {}

    def obey(self, settings: Settings) -> None:
        """Take settings."""
        accounts = settings.execution.accounts
        self.names = list(accounts)
        self._paper = {n for n, account in accounts.items() if isinstance(account, PaperAccount)}
        self._ask_every_ns = {
            name: int(account.ask_every_s * 1e9)
            for name, account in accounts.items()
            if not isinstance(account, PaperAccount)
        }

    def take(self, fact: AccountFact, now_ns: int) -> list[Effect]:
        """A broker has told something of an account."""
        match fact:
            case AccountConnected():
                self.reconciled.discard(fact.account)
                change = self.on_paper.add if fact.is_paper else self.on_paper.discard
                change(fact.account)
                return [self._ask(fact.account, now_ns)]
            case AccountAway():
                self.reconciled.discard(fact.account)
            case Reconciled():
                self.reconciled.add(fact.account)
            case AssetHeld():
                self.holdings.setdefault(fact.account, {})[fact.asset] = fact
            case PositionHeld():
                pass  # compared with the book
            case AccountAlarm():
                pass  # told by who wires us; a pause comes back as the switch's own input
        return []

    def due(self, now_ns: int, hurry: Collection[str] = ()) -> list[Effect]:
        """Venues are compared with the ledger from time to time, nothing to be seen amiss.

        Args:
            hurry: accounts to be asked soon.
        """
        return [
            self._ask(name, now_ns)
            for name, every_ns in self._ask_every_ns.items()
            if name in self.reconciled
            and now_ns - self._asked_ns.get(name, 0)
            >= (min(every_ns, AGAIN_NS) if name in hurry else every_ns)
        ]

    def asked_ns(self, account: str) -> int:
        """When its venue was asked last."""
        return self._asked_ns.get(account, 0)

    def _ask(self, account: str, now_ns: int) -> Reconcile:
        self._asked_ns[account] = now_ns
        return Reconcile(account)

    def waited_for(self) -> list[str]:
        """Accounts that are not reconciled."""
        return [name for name in self.names if name not in self.reconciled]

    def funds(self, account: str, names: Container[str]) -> Decimal | None:
        """What an account has to spend of an asset under any of its names.

        None where there is no wallet to look into: on paper. An asset that the venue has not
        spoken of is not there.
        """
        if account in self._paper or account in self.on_paper:
            return None
        held = self.holdings.get(account, {}).items()
        return sum((amount_of(one.available) for asset, one in held if asset in names), NOTHING)
