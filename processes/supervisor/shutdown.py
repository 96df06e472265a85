"""The kill switch's last level: when the books are flat, or cannot be made so in time, the end."""

from typing import Final

from schemas.trading import KillLevel

DEADLINE_S: Final = 30.0


class Shutdown:
    """Watches a shutdown that the kill switch asks for.

    Args:
        settle_s: how long nothing may be open, without a break. Longer than two of execution's
            timers, since that is how old its gauges may be.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._asked_s: float | None = None
        self._flat_s: float | None = None

    def due(
        self, level: int, acknowledged: int, still_open: int | None, now_s: float
    ) -> str | None:
        """Whether it is time to stop, and why; None before that.

        Args:
            level: the switch. acknowledged: what execution has obeyed.
            still_open: orders and positions that are open; None while execution is not alive.
        """
        if level < KillLevel.SHUTDOWN:
            self._asked_s = self._flat_s = None
            return None
        if self._asked_s is None:
            self._asked_s = now_s
        if acknowledged < KillLevel.SHUTDOWN or still_open != 0:
            self._flat_s = None
        elif self._flat_s is None:
            self._flat_s = now_s
        if self._flat_s is not None and now_s - self._flat_s >= self._settle_s:
            return "the kill switch: shut down, nothing is open"
        if now_s - self._asked_s >= DEADLINE_S:
            left = "execution is not alive" if still_open is None else f"{still_open} are open"
            return f"the kill switch: shut down, though {left} after {DEADLINE_S:g} s"
        return None
