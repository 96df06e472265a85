"""Tokens of Kraken's private sockets: which account one opens, and for how long.

Source: REST page GetWebSocketsToken.
"""

import hashlib

from processes.simulator.account import Account
from processes.simulator.kraken_session import SESSION_REFUSED, RefusalError

TOKEN_S = 900
TEST_TOKEN = "simulator-token"  # noqa: S105 (opens nothing but this simulator)
"""Always good for level3, without a REST call."""


class Tokens:
    """Those that were issued and are not too old."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._tokens: dict[str, tuple[Account, int]] = {}
        self._issued = 0

    def issue(self, account: Account, now_ns: int) -> str:
        """A token that must be used within 15 minutes."""
        self._tokens = {t: row for t, row in self._tokens.items() if row[1] > now_ns}
        self._issued += 1
        text = f"{self._seed} {account.key} {self._issued}"
        token = hashlib.sha256(text.encode()).hexdigest()[:43]
        self._tokens[token] = (account, now_ns + TOKEN_S * 10**9)
        return token

    def knows(self, token: str, now_ns: int) -> bool:
        """True for the test token and for issued ones of the last 15 minutes."""
        return token == TEST_TOKEN or (token in self._tokens and self._tokens[token][1] > now_ns)

    def account_of(self, token: object, now_ns: int) -> Account:
        """Whose token it is.

        Raises:
            RefusalError: it is nobody's, or too old.
        """
        row = self._tokens.get(token) if isinstance(token, str) else None
        if row is None or row[1] <= now_ns:
            raise RefusalError(SESSION_REFUSED)
        return row[0]
