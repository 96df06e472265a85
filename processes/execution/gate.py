"""The last look before a send, and the proof that none is under way.

Every broker asks the gate immediately before it writes an order to its venue, and says when it has
written. The kill switch is acknowledged only while nothing is between the two: then whatever comes
to the gate later reads the raised word. That holds because a send is counted before the word is
read: either the count is seen by who acknowledges, or the word that was raised before is seen here.

    with gate.sending(intent) as refused:
        if not refused:
            socket.write(order)

Never blocks: the lock is held for an addition.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from schemas.trading import Intent, KillLevel
from shm.atomics import read_word

KILL_SWITCH = "kill_switch"
"""The strategy of the kill switch's own orders, which alone pass it."""


class SendGate:
    """One for all brokers of execution.

    Args:
        word_address: the kill switch's word in the control block.
        within_ns: an order decided longer ago than this is not sent any more.
    """

    def __init__(self, word_address: int, now_ns: Callable[[], int], within_ns: int) -> None:
        self._word_address = word_address
        self._now_ns = now_ns
        self.within_ns = within_ns
        self._lock = threading.Lock()
        self._under_way = 0
        # Compiled now, and not at the first look, which would take a second or two.
        read_word(word_address)

    @contextmanager
    def sending(self, intent: Intent) -> Iterator[str]:
        """Around a write: why it must not happen, or nothing."""
        self.begin()
        try:
            yield self.refusal(intent)
        finally:
            self.end()

    def begin(self) -> None:
        """A send may be about to begin: `refusal` comes after it, and `end` in any case."""
        with self._lock:
            self._under_way += 1

    def end(self) -> None:
        """It was written, or given up."""
        with self._lock:
            self._under_way -= 1

    @property
    def idle(self) -> bool:
        """Nothing is between its last look and the end of its write."""
        return self._under_way == 0

    @property
    def open(self) -> bool:
        """The kill switch is not pulled at all."""
        return read_word(self._word_address) == KillLevel.NONE

    def refusal(self, intent: Intent) -> str:
        """Why an order must not be sent now; empty if it may."""
        level = read_word(self._word_address)
        passes = (
            level == KillLevel.NONE
            or intent.strategy == KILL_SWITCH
            or (level == KillLevel.PAUSE and intent.reduce_only)
        )
        if not passes:
            return "the kill switch is on"
        if self._now_ns() - intent.decided_ns > self.within_ns:
            return "it has waited too long for its broker"
        return ""
