"""Pulling and releasing the kill switch as a person does, whether or not anything runs.

The latch is on disk before anybody is asked. The supervisor, which has the memory at hand, is asked
first; if it does not answer, who asks does it.
"""

from typing import Final

import msgspec

from processes.bus import request
from processes.clock import Clock, measure_offset_ns
from processes.killswitch import pull, release
from processes.latch import Latch, Pulled, write_latch
from processes.operations.instance import SUPERVISOR
from processes.places import Paths, read_registry
from schemas.errors import OperatorError
from schemas.registry import Registry
from schemas.trading import KillLevel

SUPERVISOR_S: Final = 1.5
"""Longer than the supervisor gives execution to obey."""


def registry_or_none(paths: Paths) -> Registry | None:
    """What runs there; a registry that cannot be read must not stop a kill."""
    try:
        return read_registry(paths.run)
    except OperatorError:
        return None


def pull_switch(paths: Paths, level: KillLevel, by: str) -> Pulled:
    """Raise the switch to at least `level`, from this very process if nobody else can hear."""
    now_ns = Clock(measure_offset_ns()).now_ns()
    # On disk before anything else: whatever happens from here on, nothing new will be sent for
    # long.
    write_latch(paths.data, Latch(level=level, by=by, since_ns=now_ns))
    arguments = {"level": level.name, "by": by}
    try:
        answer = request(paths.run, SUPERVISOR, "kill", arguments, timeout_s=SUPERVISOR_S)
        return msgspec.convert(answer, Pulled)
    except OperatorError:
        return pull(registry_or_none(paths), paths, level, by, now_ns)


def release_switch(paths: Paths) -> KillLevel:
    """Open the switch; the level it was at."""
    return release(registry_or_none(paths), paths.data)
