"""Names of the control block's words and of the states in its process rows.

The block itself (`shm/control.py`) knows only numbered 64-bit words and rows.
"""

from enum import IntEnum


class Word(IntEnum):
    """One 64-bit word each."""

    CLOCK_OFFSET_NS = 0
    """Added to the monotonic clock it gives nanoseconds UTC; fixed for the life of the session."""
    SESSION = 1
    """Number of the session: the rings' generation."""
    MODE = 2
    RUNG = 3
    KILL_LEVEL = 4
    KILL_SINCE_NS = 5
    KILL_ACKNOWLEDGED = 6
    """The level that execution has seen and obeys."""
    CONFIG_GENERATION = 7
    SUPERVISOR_PID = 8
    DRAINING = 9
    """1 while an ordered stop is going on: readers finish what is committed, then end."""


class Mode(IntEnum):
    """What orders are."""

    PAPER = 0
    DRY_RUN = 1
    LIVE = 2


class ProcessState(IntEnum):
    """What a process says of itself in its row."""

    STOPPED = 0
    STARTING = 1
    READY = 2
    DRAINING = 3
