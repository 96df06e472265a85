"""When to connect again: exponential with full jitter, never giving up, within the venue's rate."""

import random
from collections import deque

from processes.clock import monotonic_s


class Backoff:
    """Delays of 1, 2, 4 ... seconds at most, each drawn evenly between 0 and that (AWS, 2015)."""

    def __init__(self, first_s: float, longest_s: float, draw: random.Random) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._draw = draw
        self.failures = 0

    def next_s(self) -> float:
        """The delay before the next try."""
        ceiling = min(self._first_s * 2 ** min(self.failures, 30), self._longest_s)
        self.failures += 1
        return self._draw.uniform(0, ceiling)

    def succeeded(self) -> None:
        """The connection works: begin from the first delay next time."""
        self.failures = 0


class ConnectLimit:
    """At most so many connection attempts in any 60 s, for all connections of the process."""

    def __init__(self, per_minute: int) -> None:
        self._times: deque[float] = deque(maxlen=per_minute)

    def delay_s(self) -> float:
        """How long the next attempt has to wait; calling it books the attempt."""
        now_s = monotonic_s()
        wait_s = 0.0
        if len(self._times) == self._times.maxlen:
            wait_s = max(0.0, self._times[0] + 60.0 - now_s)
        self._times.append(now_s + wait_s)
        return wait_s
