"""How the sender stands with its server: a written state machine, without a clock of its own.

state     on                      becomes   and
--------- ----------------------- --------- ------------------------------------------------
ok        taken                   ok
ok        failed                  backoff   waits 0.5, 1, 2 ... 30 s with jitter, or as long
as the server asks (Retry-After)
backoff   the wait is over        probing   one batch is tried
probing   taken                   ok
probing   failed                  backoff   waits longer
any       not_allowed             held      an alert; the token or a bucket is wrong
held      the wait is over        probing   somebody may have mended it
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

RETRY_AFTER_MAX_S: Final = 600.0
"""A server that asks for longer is asked again after this."""


class LinkState(IntEnum):
    """As the metric `influx_sender_state` shows it."""

    OK = 0
    BACKOFF = 1
    PROBING = 2
    HELD = 3


class Link:
    """The state machine.

    Args:
        first_s, longest_s: of the waits after failures. hold_s: of those after a refusal.
        uniform: a random number from 0 to 1, for jitter.
    """

    def __init__(
        self, first_s: float, longest_s: float, hold_s: float, uniform: Callable[[], float]
    ) -> None:
        self.state = LinkState.OK
        self.reason = ""
        self._first_s = first_s
        self._longest_s = longest_s
        self._hold_s = hold_s
        self._uniform = uniform
        self._failures = 0
        self._until_s = 0.0

    def may_send(self, now_s: float) -> bool:
        """Whether a batch may be tried now."""
        if self.state in {LinkState.BACKOFF, LinkState.HELD}:
            if now_s < self._until_s:
                return False
            self.state = LinkState.PROBING
        return True

    def hurry(self) -> None:
        """Do not wait any more: try now."""
        self._until_s = 0.0

    def taken(self) -> bool:
        """The server answered as it should; True if it did not before."""
        recovered = self.state is not LinkState.OK
        self.state, self.reason, self._failures = LinkState.OK, "", 0
        return recovered

    def failed(self, now_s: float, reason: str, retry_after_s: float = 0.0) -> None:
        """No answer, or one that says *later*."""
        wait_s = min(self._first_s * 2.0**self._failures, self._longest_s)
        wait_s *= 0.5 + 0.5 * self._uniform()
        self._failures = min(self._failures + 1, 60)
        self.state, self.reason = LinkState.BACKOFF, reason
        self._until_s = now_s + max(wait_s, min(retry_after_s, RETRY_AFTER_MAX_S))

    def not_allowed(self, now_s: float, reason: str) -> None:
        """The server is well and will not have it: a person must look."""
        self.state, self.reason = LinkState.HELD, reason
        self._until_s = now_s + self._hold_s
