"""start, stop, restart, reload."""

import os
import stat
import subprocess
import sys
from pathlib import Path

from config.loader import DEFAULT_PROFILE, ROOT
from processes.changes import load_with_changes
from processes.cli.screen import colour, complain, say, say_json
from processes.cli.status import process_table
from processes.clock import Clock, measure_offset_ns, monotonic_s, nap
from processes.operations.instance import ask, find_paths, running_paths
from processes.operations.instance import status as read_status
from processes.places import SOCKET_SUFFIXES, Paths, is_locked, lock, read_registry, resolve
from schemas.errors import (
    ConfigError,
    NotRunningError,
    OperatorError,
    ShutDownError,
    UsageError,
)
from schemas.messages import Status
from schemas.registry import Registry
from shm.errors import SharedMemoryError

OUTPUT_BYTES_MAX = 10_000_000
RESTART_S = 120.0
POLL_S = 0.05
ASK_S = 0.2
"""Between questions to a supervisor whose children begin: answers cost what they want to have."""
PATIENCE_S = 30.0
"""So long a process may say why it is not ready before `start` tells the user and returns."""
NEXT_STEPS = """
  ./scripts/dcctl console             see and steer it in a browser
  ./scripts/dcctl top                 watch it live
  ./scripts/dcctl tap decisions       every decision and why
  ./scripts/dcctl logs -f             what happens
  ./scripts/dcctl kill                stop all orders, close positions
  ./scripts/dcctl stop                end it"""


MODES = {"paper": "on paper", "dry_run": "without money", "live": "with money"}
"""What orders are, in words."""


SERVICE = "DC_SERVICE"
"""Environment variable: which manager started this process as a service."""


def start_foreground(profile: str, file: Path | None) -> None:
    """Be the supervisor, until a signal. The one way in which an instance is started.

    What no restart can cure must not be restarted. systemd is told by exit code 78; launchd knows
    only whether the code is 0.
    """
    from processes.logs import TO_STDOUT
    from processes.sessions import refuse_mixed
    from processes.supervisor.main import supervise

    os.environ.setdefault(TO_STDOUT, "1")
    profile = profile or DEFAULT_PROFILE
    service = os.environ.pop(SERVICE, "")
    if service == "launchd":
        _shorten_output()
    try:
        settings = load_with_changes(profile, file)
        data = resolve(settings, ROOT).data
        refuse_mixed(data, settings)
        if any(section.url.startswith("wss://") for section in settings.venues.enabled().values()):
            from processes.cli.listings import refresh_before_start  # it loads the HTTP client

            refresh_before_start(settings, data)
        supervise(profile, file)
    except ShutDownError as error:
        if not service:
            raise
        complain(str(error))
    except ConfigError as error:
        if service != "launchd":
            raise
        complain(str(error))


def _shorten_output() -> None:
    """Launchd's files of our standard output and error: nobody else ever makes them shorter."""
    for descriptor in (1, 2):
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_size > OUTPUT_BYTES_MAX:
            os.ftruncate(descriptor, 0)


def start_background(profile: str, file: Path | None, timeout_s: float) -> None:
    """Start a supervisor of its own session, and wait until all is ready.

    Raises:
        ConfigError: bad settings, nothing started. OperatorError: it cannot start, or is not ready.
    """
    from processes.logs import TO_STDOUT

    settings = load_with_changes(profile, file)
    paths = resolve(settings, ROOT)
    if is_locked(paths.run):
        raise OperatorError("Data Controller runs here already: dcctl status, or dcctl stop")
    kernels = os.environ.get("NUMBA_CACHE_DIR")
    if kernels and not any(Path(kernels).rglob("*.nbi")):
        sys.stderr.write("The first start compiles the kernels: a minute, more if it is busy ...\n")
    arguments = ["--profile", settings.profile]
    arguments += ["--config", str(file.resolve())] if file is not None else []
    errors = paths.logs / "supervisor.err"
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "processes.cli", "start", "--foreground", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), TO_STDOUT: "0"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    status = _wait_ready(process, paths, timeout_s, errors)
    sys.stderr.write(errors.read_text(errors="replace"))  # what it wants told beside starting
    say(process_table(status))
    say()
    if status.state == "running":
        say(f"{colour('running', 'green')}: profile {status.profile}, orders {MODES[status.mode]}, "
            f"health and metrics at {status.endpoints['http']}")  # fmt: skip
        if status.kill_switch.level != "none":
            say(f"the kill switch is on ({status.kill_switch.level}): dcctl arm")
        say(NEXT_STEPS)
        return
    waiting = [p for p in status.processes if p.state != "ready"]
    for one in waiting:
        complain(f"{one.name} is {one.state}: {one.detail or 'see dcctl logs ' + one.name}")
    if any(one.state == "failed" for one in waiting):
        raise OperatorError("it is not ready; dcctl logs says why, dcctl stop ends what runs")
    raise OperatorError("not ready yet; it goes on trying: dcctl status, or dcctl stop")


def _wait_ready(
    process: subprocess.Popen[bytes], paths: Paths, timeout_s: float, errors: Path
) -> Status:
    deadline_s = monotonic_s() + timeout_s
    status: Status | None = None
    told = ""
    silent_s = monotonic_s()
    while monotonic_s() < deadline_s:
        code = process.poll()
        if code is not None:
            text = errors.read_text(errors="replace").strip()
            raise (ConfigError if code == 78 else OperatorError)(
                text or f"the supervisor ended with code {code}; see logs/supervisor.jsonl"
            )
        try:
            status = read_status(paths.run, timeout_s=1.0)
        except NotRunningError:
            nap(POLL_S)
            continue
        except OperatorError:
            continue
        if status.state == "running":
            return status
        if any(p.state == "failed" for p in status.processes):
            return status
        if not all(p.detail for p in status.processes if p.state != "ready"):
            silent_s = monotonic_s()  # one of them still works on it, and says nothing
        elif monotonic_s() - silent_s > PATIENCE_S:
            return status
        told = _tell_progress(status, told)
        nap(ASK_S)
    if status is None:
        raise OperatorError(f"the supervisor did not answer in {timeout_s:g} s; see dcctl logs")
    return status


def _tell_progress(status: Status, told: str) -> str:
    """On a terminal, one line that says what is being waited for."""
    waiting = ", ".join(p.name for p in status.processes if p.state != "ready")
    if waiting != told and sys.stderr.isatty():
        sys.stderr.write(f"\x1b[2K\rstarting: waiting for {waiting}\r")
        sys.stderr.flush()
    return waiting


def stop(timeout_s: float) -> None:
    """Ask the supervisor to stop, wait for its end, and look for what is left."""
    paths = find_paths()
    if not is_locked(paths.run):
        _clear_leftovers(paths)
        return
    registry = read_registry(paths.run)
    answer = ask("stop")
    deadline_s = monotonic_s() + timeout_s
    while is_locked(paths.run):
        if monotonic_s() > deadline_s:
            raise OperatorError(f"still stopping after {timeout_s:g} s; see dcctl logs supervisor")
        nap(POLL_S)
    left = _what_is_left(registry, paths, answer["pids"])
    if left:
        raise OperatorError(f"stopped, but this is left: {', '.join(left)}; dcctl doctor --fix")
    say("stopped: no process, no shared memory, no socket is left")


def _what_is_left(registry: Registry, paths: Paths, pids: list[int]) -> list[str]:
    from shm.segment import Segment

    left = [f"process {pid}" for pid in pids if _lives(pid)]
    for entry in registry.segments:
        try:
            Segment.attach(entry.name, writable=False).close()
        except SharedMemoryError:
            continue
        left.append(f"shared memory /{entry.name}")
    left += [str(path) for path in paths.run.iterdir() if path.suffix in SOCKET_SUFFIXES]
    return left


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _clear_leftovers(paths: Paths) -> None:
    from processes.logs import open_log
    from processes.supervisor.memory import remove_leftovers
    from schemas.settings import LogSettings

    with lock(paths.run):
        log = open_log(paths.logs, "dcctl", LogSettings(), Clock(measure_offset_ns()).now_ns)
        found = remove_leftovers(paths.run, paths.data, log)
    if not found:
        raise NotRunningError("Data Controller is not running here")
    say(f"nothing was running; removed what a killed supervisor had left ({len(found)} things)")


def restart(names: list[str]) -> None:
    """Restart children and wait until each is ready again as a new process."""
    before = {process.name: process.pid for process in read_status().processes}
    unknown = [name for name in names if name not in before]
    if unknown:
        raise UsageError(f"no process {unknown[0]}; there are {', '.join(before)}")
    wanted = ask("restart", {"processes": names})
    deadline_s = monotonic_s() + RESTART_S
    while late := [
        process.name
        for process in read_status().processes
        if process.name in wanted
        and (process.state != "ready" or process.pid == before[process.name])
    ]:
        if monotonic_s() > deadline_s:
            raise OperatorError(f"not ready again: {', '.join(late)}; see dcctl logs")
        nap(POLL_S)
    say(f"restarted: {', '.join(wanted)}")


def reload(*, as_json: bool) -> None:
    """Have the supervisor take the settings anew."""
    running_paths()
    answer = ask("reload")
    if as_json:
        say_json(answer)
        return
    if not answer["changed"]:
        say("nothing has changed")
        return
    for key, (old, new) in answer["changed"].items():
        say(f"{key}: {old} → {new}")
    restarted = answer["restarted"]
    say(f"in force; restarted: {', '.join(restarted)}" if restarted else "in force, live")
