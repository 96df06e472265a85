"""What the supervisor tells the service manager that started it, by systemd's protocol sd_notify.

Datagrams of `NAME=value` lines to the socket that NOTIFY_SOCKET names (`@` = an abstract one); the
protocol is that of sd_notify(3) and sd_watchdog_enabled(3). Without that variable nothing is said.
Nothing here raises or waits: a manager that does not take a word costs that word.

The watchdog's word comes from the main loop alone, every third of the time in which the manager
wants one, and only while the heartbeats of the children that matter are fresh. What is fresh is the
supervisor's to say (`Child.is_fresh`); which choice that was: docs/decisions/0031.
"""

import contextlib
import os
import socket
from collections.abc import MutableMapping
from typing import Final

from processes.clock import monotonic_s

SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG: Final = ("WATCHDOG_USEC", "WATCHDOG_PID")
PATIENCE_S: Final = 30.0
"""So much longer the manager is asked to wait while we start or stop; said again in time."""


class Manager:
    """The service manager, if there is one.

    Args:
        address: its socket, empty without one. watchdog_s: how often it wants to hear of us, 0 = it
            does not watch.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._every_s = watchdog_s / 3
        self._next_s = 0.0
        self._next_patience_s = 0.0
        self._is_ready = False
        self._state = ""
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @classmethod
    def of_environment(cls, environment: MutableMapping[str, str]) -> "Manager":
        """As the variables say, which are taken out: no child of ours is meant."""
        address = environment.pop(SOCKET, "")
        every_us, pid = (environment.pop(name, "") for name in WATCHDOG)
        is_ours = not pid or pid == str(os.getpid())
        watchdog_s = int(every_us) / 1e6 if every_us.isdecimal() and is_ours else 0.0
        return cls(address, watchdog_s)

    def look(self, state: str, *, fresh: bool) -> None:
        """Called in every turn of the main loop.

        Args:
            state: the instance in a word. fresh: whether the children that matter are alive.
        """
        if self._socket is None:
            return
        if state != self._state:
            self._state = state
            self._tell(f"STATUS={state}")
        if state == "running" and not self._is_ready:
            self._is_ready = True
            self._tell("READY=1")
        now_s = monotonic_s()
        if (not self._is_ready or state == "stopping") and now_s >= self._next_patience_s:
            self._next_patience_s = now_s + PATIENCE_S / 3
            self._tell(f"EXTEND_TIMEOUT_USEC={int(PATIENCE_S * 1e6)}")
        if self._every_s and fresh and now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """New settings are being taken; `reloaded` follows."""
        if self._is_ready:
            self._tell(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s() * 1e6)}")

    def reloaded(self) -> None:
        """They are in force, or refused."""
        if self._is_ready:
            self._tell("READY=1")

    def stopping(self) -> None:
        """An ordered stop begins."""
        self._tell("STOPPING=1")

    def close(self) -> None:
        """Nothing more will be said."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, words: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(words.encode(), self._address)
