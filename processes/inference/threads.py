"""MLX computes on a thread of its own, and how that thread is scheduled.

Each operation handed over wakes the thread. A thread that is woken may take the processor from who
woke it, so that five operations cost ten changes between two threads. As a *batch* thread it does
not: it runs once the caller has handed everything over and waits. That is a quarter less time a
step on two cores. Linux only; elsewhere nothing is changed.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def _threads() -> set[int]:
    try:
        return {int(name) for name in os.listdir("/proc/self/task")}  # noqa: PTH208
    except OSError:
        return set()


@contextmanager
def patient() -> Iterator[None]:
    """Threads that are started inside this block do not interrupt those who wake them."""
    before = _threads()
    yield
    if hasattr(os, "SCHED_BATCH"):
        for thread in _threads() - before - {threading.get_native_id()}:
            os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
