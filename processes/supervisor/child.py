"""One child: its written state machine, its process, its restarts.

    state         on event        becomes        and
    ------------- --------------- -------------- ------------------------------------------------
    stopped       start           starting       exec
    starting      is_ready        ready
    starting      exited          backing_off    count against the budget
    starting      stop            draining       SIGTERM to its group, SIGKILL after the grace
    ready         not_ready       starting
    ready         exited          backing_off
    ready         stop            draining
    draining      exited          stopped
    backing_off   retry           starting       exec, after 0.2, 0.4, 0.8 ... 10 s
    backing_off   give_up         failed         the budget is spent
    backing_off   stop            stopped
    failed        start           starting       by hand: dcctl restart NAME
    failed        stop            stopped

A child that stops beating is not alive, whatever its pid says: SIGABRT (its stacks go to the fault
file), then SIGKILL, and then it has exited like any other.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from enum import Enum
from pathlib import Path
from typing import Final

import psutil
from msgspec import Struct

from config.loader import ROOT
from processes.clock import monotonic_s
from processes.logs import Log
from schemas.control import ProcessState
from schemas.settings import SupervisorSettings
from shm.control import ControlBlock
from shm.identity import pid_of

THREAD_LIMITS: Final = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip


def _environment() -> dict[str, str]:
    """What a child is started with.

    One thread for linear algebra: our products are so small that handing half of one to another
    thread takes several times as long as computing it.
    """
    threads = dict.fromkeys(THREAD_LIMITS, "1")
    return {**threads, **os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


class State(Enum):
    """What a child is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    BACKING_OFF = "backing_off"
    FAILED = "failed"


class Event(Enum):
    """What can happen to a child."""

    START = "start"
    IS_READY = "is_ready"
    NOT_READY = "not_ready"
    EXITED = "exited"
    STOP = "stop"
    RETRY = "retry"
    GIVE_UP = "give_up"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.STOPPED, Event.START): State.STARTING,
    (State.STARTING, Event.IS_READY): State.READY,
    (State.STARTING, Event.EXITED): State.BACKING_OFF,
    (State.STARTING, Event.STOP): State.DRAINING,
    (State.READY, Event.NOT_READY): State.STARTING,
    (State.READY, Event.EXITED): State.BACKING_OFF,
    (State.READY, Event.STOP): State.DRAINING,
    (State.DRAINING, Event.EXITED): State.STOPPED,
    (State.BACKING_OFF, Event.RETRY): State.STARTING,
    (State.BACKING_OFF, Event.GIVE_UP): State.FAILED,
    (State.BACKING_OFF, Event.STOP): State.STOPPED,
    (State.FAILED, Event.START): State.STARTING,
    (State.FAILED, Event.STOP): State.STOPPED,
}

ABORT_GRACE_S: Final = 1.0
HEALTHY_S: Final = 60.0
"""Ready this long without a break: restarts before it no longer lengthen the backoff."""


class ChildSpec(Struct, frozen=True, kw_only=True):
    """What to run. `stage`: started after all of lower ones are ready. `stop_order`: low first."""

    name: str
    module: str
    stage: int
    stop_order: int
    is_critical: bool = False
    """Market data, decisions or their record stand still without it."""
    is_waited_for: bool = True
    """Later stages begin only once it is ready, or given up."""
    ends_its_own: bool = False
    """SIGTERM is for it alone: it ends what it has started by itself."""


class Child:
    """One child of the supervisor. `tick` is called often and never blocks."""

    def __init__(
        self,
        spec: ChildSpec,
        row: int,
        control: ControlBlock,
        settings: SupervisorSettings,
        run: Path,
        logs: Path,
        log: Log,
    ) -> None:
        self.spec = spec
        self.row = row
        self.state = State.STOPPED
        self.restarts = 0
        self.exit_text = ""
        self._control = control
        self._settings = settings
        self._run = run
        self._logs = logs
        self._log = log.bind(child=spec.name)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = -1
        self._spawned_s = 0.0
        self._was_ready_s = 0.0
        self._retry_s = 0.0
        self._kill_s = 0.0
        self._failures = 0
        self._exits: deque[float] = deque()
        self._start_again = False
        self._forgiven_s = float("-inf")

    # ---- what is asked of it

    def start(self) -> None:
        """Start if it is stopped or given up."""
        if self.state in {State.STOPPED, State.FAILED}:
            self._failures = 0
            self._exits.clear()
            self._become(Event.START)
            self._spawn()

    def stop(self) -> None:
        """End it in order."""
        self._start_again = False
        if self.state in {State.STARTING, State.READY}:
            self._become(Event.STOP)
            self._signal(signal.SIGTERM)
            self._kill_s = monotonic_s() + self._settings.stop_timeout_s
        elif self.state in {State.BACKING_OFF, State.FAILED}:
            self._become(Event.STOP)

    def restart(self) -> None:
        """End it in order and start it again; not counted against the budget."""
        if self.state in {State.STARTING, State.READY, State.DRAINING}:
            self.stop()
            self._start_again = True
        else:
            self.stop()
            self.start()

    def obey(self, settings: SupervisorSettings) -> None:
        """Take new settings."""
        self._settings = settings

    @property
    def pid(self) -> int:
        """The process, 0 without one."""
        return self._process.pid if self._process is not None else 0

    @property
    def uptime_s(self) -> float:
        """Since the process was started."""
        return monotonic_s() - self._spawned_s if self._process is not None else 0.0

    def is_fresh(self, now_ns: int) -> bool:
        """Whether it beats, once it has; one that is on its way up, or down, is seen to already."""
        if self._process is None or not self._was_ready_s or self.state == State.DRAINING:
            return True
        age_s = (now_ns - self._control.row(self.row).beat_ns) / 1e9
        return min(age_s, monotonic_s() - self._forgiven_s) <= self._settings.hung_after_s

    def forgive(self) -> None:
        """It could not beat, through no fault of its own: count its silence from now on."""
        self._forgiven_s = monotonic_s()

    # ---- what happens to it

    def tick(self, now_ns: int) -> bool:
        """Look at the process and move on; True if the state has changed."""
        before = self.state
        if self._process is not None:
            self._look(now_ns)
        elif self.state == State.BACKING_OFF and monotonic_s() >= self._retry_s:
            self.restarts += 1
            self._become(Event.RETRY)
            self._spawn()
        return self.state is not before

    def _look(self, now_ns: int) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            self._on_exit(code)
            return
        if self.state == State.DRAINING:
            if monotonic_s() >= self._kill_s:
                self._log.warning("did not stop in time, killed")
                self._signal(signal.SIGKILL)
            return
        self._watch_row(now_ns)

    def _watch_row(self, now_ns: int) -> None:
        assert self._process is not None
        row = self._control.row(self.row)
        mine = pid_of(row.owner) == self._process.pid and row.beats > 0
        age_s = (now_ns - row.beat_ns) / 1e9 if mine else self.uptime_s
        age_s = min(age_s, monotonic_s() - self._forgiven_s)
        limit_s = self._settings.ready_timeout_s
        if mine and self._was_ready_s:
            limit_s = self._settings.hung_after_s
        if age_s > limit_s:
            self._end_hung(age_s)
        elif mine and row.state == ProcessState.READY and self.state == State.STARTING:
            self._was_ready_s = monotonic_s()
            self._become(Event.IS_READY)
        elif mine and row.state == ProcessState.STARTING and self.state == State.READY:
            self._become(Event.NOT_READY)
        if self.state == State.READY and monotonic_s() - self._was_ready_s > HEALTHY_S:
            self._failures = 0

    def _end_hung(self, age_s: float) -> None:
        if not self._kill_s:
            self._log.error("hung: no heartbeat", age_s=round(age_s, 1))
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGABRT)
            self._kill_s = monotonic_s() + ABORT_GRACE_S
        elif monotonic_s() >= self._kill_s:
            self._signal(signal.SIGKILL)

    def _on_exit(self, code: int) -> None:
        self._forget_process()
        self.exit_text = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        if self.state == State.DRAINING:
            self._become(Event.EXITED)
            if self._start_again:
                self._start_again = False
                self.restarts += 1
                self.start()
            return
        self._log.warning("ended by itself", how=self.exit_text)
        self._become(Event.EXITED)
        now_s = monotonic_s()
        self._exits.append(now_s)
        while self._exits and now_s - self._exits[0] > self._settings.budget_s:
            self._exits.popleft()
        if len(self._exits) > self._settings.budget:
            self._log.error("given up", exits=len(self._exits), within_s=self._settings.budget_s)
            self._become(Event.GIVE_UP)
            return
        longest_s, first_s = self._settings.backoff_longest_s, self._settings.backoff_first_s
        self._retry_s = now_s + min(first_s * 2**self._failures, longest_s)
        self._failures = min(self._failures + 1, 30)

    def _become(self, event: Event) -> None:
        after = TRANSITIONS[self.state, event]
        self._log.info("state", before=self.state.value, on=event.value, after=after.value)
        self.state = after

    # ---- the process

    def _spawn(self) -> None:
        guard, self._guard = os.pipe()
        arguments = [sys.executable, "-m", self.spec.module, "--run", str(self._run)]
        arguments += ["--name", self.spec.name, "--guard", str(guard)]
        # Early words (an import that fails) go here; everything later to the process's own log.
        with (self._logs / f"{self.spec.name}.err").open("ab") as errors:
            self._process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=None if os.environ.get("DC_LOG_STDOUT") == "1" else errors,
                stderr=errors,
                pass_fds=[guard],
                start_new_session=True,
            )
        os.close(guard)
        self._spawned_s = monotonic_s()
        self._was_ready_s = 0.0
        self._kill_s = 0.0

    def _forget_process(self) -> None:
        self._process = None
        self._kill_s = 0.0
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group, and to descendants that have left it."""
        if self._process is None:
            return
        if number == signal.SIGTERM and self.spec.ends_its_own:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
            return
        family = []
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(self._process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.send_signal(number)
