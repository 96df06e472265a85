"""Pulling and releasing the kill switch, from any process, with or without a supervisor.

Order matters. The latch file is written first (synced, renamed), so that whatever starts later
finds it; then the word in the control block is raised, which execution looks at before every send
and must acknowledge. If it does not within a second it is killed: a process that is dead sends
nothing. Its next life reads the latch before anything else and does what the level asks. Only
`release` opens it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from processes.clock import monotonic_s, nap
from processes.latch import Latch, Pulled, read_latch, remove_latch, write_latch
from processes.live import may_trade
from processes.places import ROOT, Paths
from processes.sessions import latest_settings
from schemas.brokers import PaperAccount
from schemas.control import Word
from schemas.errors import OperatorError
from schemas.registry import Registry
from schemas.trading import KillLevel
from shm.control import ControlBlock
from shm.errors import SharedMemoryError
from shm.identity import is_alive, pid_of
from shm.segment import Segment

ACKNOWLEDGE_S = 1.0
_POLL_S = 0.002
_killers: list[subprocess.Popen[str]] = []
"""Those that were started here and may not have been waited for."""


def pull(
    registry: Registry | None,
    paths: Paths,
    level: KillLevel,
    by: str,
    now_ns: int,
    *,
    execution: str = "execution",
) -> Pulled:
    """Raise the switch to at least `level`, and make sure that execution obeys or is dead.

    Dead, and with orders or positions at a venue, the killer is started: it does what the level
    asks, and execution's next life waits for its end.
    """
    data = paths.data
    began_s = monotonic_s()
    before = read_latch(data)
    write_latch(data, Latch(level=level, by=by, since_ns=now_ns))
    wanted = KillLevel(max(level, before.level))

    def answer(*, acknowledged: bool, killed: bool, running: bool) -> Pulled:
        spent_ms = (monotonic_s() - began_s) * 1e3
        killer = not acknowledged and wanted >= KillLevel.CANCEL and is_at_a_venue(data)
        if killer:
            start_killer(paths, wanted)
        return Pulled(
            level=wanted.name.lower(),
            acknowledged=acknowledged,
            killed=killed,
            milliseconds=round(spent_ms, 3),
            running=running,
            killer=killer,
        )

    with_control = _attach(registry)
    if with_control is None:
        return answer(acknowledged=False, killed=False, running=False)
    control, close = with_control
    try:
        if control.raise_to(Word.KILL_LEVEL, wanted):
            control.set(Word.KILL_SINCE_NS, now_ns)
        owner = control.row(control.find(execution)).owner
        if not is_alive(owner):
            return answer(acknowledged=False, killed=False, running=False)
        while monotonic_s() - began_s < ACKNOWLEDGE_S:
            if control.get(Word.KILL_ACKNOWLEDGED) >= wanted:
                return answer(acknowledged=True, killed=False, running=True)
            nap(_POLL_S)
        _kill(owner)
        return answer(acknowledged=False, killed=True, running=True)
    finally:
        close()


def is_at_a_venue(data: Path) -> bool:
    """Whether any account is: on paper there is nothing that a killer could end."""
    try:
        settings = latest_settings(data)
    except OperatorError:
        return False
    return any(
        not isinstance(account, PaperAccount) and may_trade(data, settings, name)
        for name, account in settings.execution.accounts.items()
    )


def start_killer(paths: Paths, level: KillLevel, *, drill: bool = False) -> subprocess.Popen[str]:
    """Start the killer, in a session of its own: it outlives who started it."""
    for killer in [one for one in _killers if one.poll() is not None]:
        _killers.remove(killer)
        if killer.stdout is not None:
            killer.stdout.close()
    command = [
        sys.executable, "-m", "processes.killer.main", "--data", str(paths.data),
        "--logs", str(paths.logs), "--level", level.name.lower(),
    ]  # fmt: skip
    killer = subprocess.Popen(
        command + (["--drill"] if drill else []),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    _killers.append(killer)
    return killer


def release(registry: Registry | None, data: Path) -> KillLevel:
    """Open the switch; the level it was at."""
    before = KillLevel(read_latch(data).level)
    remove_latch(data)
    with_control = _attach(registry)
    if with_control is not None:
        control, close = with_control
        control.set(Word.KILL_SINCE_NS, 0)
        control.set(Word.KILL_LEVEL, KillLevel.NONE)
        close()
    return before


def _attach(registry: Registry | None) -> tuple[ControlBlock, Callable[[], None]] | None:
    entry = registry.find("control") if registry is not None else None
    if entry is None:
        return None
    try:
        segment = Segment.attach(entry.name)
    except SharedMemoryError:
        return None
    return ControlBlock(segment), segment.close


def _kill(owner: int) -> None:
    """End a process for good and wait until it is gone."""
    deadline_s = monotonic_s() + 5.0
    while is_alive(owner) and monotonic_s() < deadline_s:
        try:
            os.kill(pid_of(owner), signal.SIGKILL)
        except ProcessLookupError:
            return
        nap(_POLL_S)
