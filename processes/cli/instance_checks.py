"""doctor's checks of this folder: settings, secrets, ports, ledger, and what the dead have left."""

import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from config.loader import ROOT, load, profiles
from processes.cli.findings import Finding, Look, judged, warned
from processes.cli.machine_checks import SHARED_MEMORY
from processes.clock import Clock, measure_offset_ns
from processes.databases.places import described
from processes.execution.ledger import FILE, LedgerError
from processes.execution.reading import LedgerView
from processes.files import walk
from processes.logs import open_log
from processes.places import REGISTRY, SOCKET_SUFFIXES, lock
from processes.supervisor.memory import remove_leftovers
from schemas.control import Word
from schemas.errors import ConfigError, DatabaseError
from schemas.settings import LogSettings
from shm.control import ControlBlock
from shm.errors import SharedMemoryError
from shm.segment import Segment, instance_id

HALF: Final = re.compile(r"\..+\.(\d+)")
"""What `write_whole` writes beside a file: its name and the writer's pid."""
OPEN_TO_OTHERS: Final = 0o077


def check_settings(_: Look) -> Finding:
    """Every profile."""
    for profile in profiles():
        try:
            load(profile)
        except ConfigError as error:
            return Finding("settings", "wrong", f"{profile}: {error}", "mend it in config/")
    return Finding("settings", "well", f"{', '.join(profiles())} are good")


def check_folder(look: Look) -> Finding:
    """The run folder is ours alone."""
    found = look.paths.run.stat()
    mode, mine = stat.S_IMODE(found.st_mode), found.st_uid == os.getuid()
    text = f"{look.paths.run} is {'ours' if mine else 'somebody else’s'}, mode {mode:o}"
    is_well = mine and not mode & OPEN_TO_OTHERS
    return judged("run folder", is_well, text, f"chmod 700 {look.paths.run}")


def check_secrets(look: Look) -> Finding:
    """Files with secrets in them are for their owner alone."""
    bare = [path for path in _secret_files(look) if path.stat().st_mode & OPEN_TO_OTHERS]
    names = " ".join(str(path) for path in bare)
    text = f"others may read {names}" if bare else "their files are for you alone"
    return judged("secrets", not bare, text, f"chmod 600 {names}")


def _secret_files(look: Look) -> Iterator[Path]:
    named = [look.settings.console.token_file, *_file_references(look.settings)]
    paths = [ROOT / Path(name).expanduser() for name in named if name]
    paths.append(look.paths.data / "state" / "console.token")
    deploy = ROOT / "deploy"
    paths += [*deploy.glob("*.env"), *deploy.glob("*.token")]
    yield from (path for path in dict.fromkeys(paths) if path.is_file())


def _file_references(value: Any) -> Iterator[str]:
    """Every `file:...` in the settings."""
    if isinstance(value, str):
        if value.startswith("file:"):
            yield value.removeprefix("file:")
    elif isinstance(value, dict):
        for one in value.values():
            yield from _file_references(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _file_references(one)
    elif isinstance(value, msgspec.Struct):
        yield from _file_references(msgspec.structs.asdict(value))


def check_ports(look: Look) -> Finding:
    """Those that we shall listen on are free."""
    wanted = {"http.port": ("127.0.0.1", look.settings.http.port)}
    if look.settings.console.enabled:
        wanted["console.port"] = (look.settings.console.host, look.settings.console.port)
    shown = ", ".join(f"{key} {port or 'any'}" for key, (_, port) in wanted.items())
    if look.running:
        return Finding("ports", "well", f"in use by us: {shown}")
    taken = [
        f"{key} = {port}" for key, (host, port) in wanted.items() if port and _is_taken(host, port)
    ]
    hint = f"end who has it, or set {taken[0].split(' ')[0]} in config/config.yml" if taken else ""
    return judged("ports", not taken, f"taken: {', '.join(taken)}" if taken else shown, hint)


def _is_taken(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def check_ledger(look: Look) -> Finding:
    """Which it is; of a server, whether it answers."""
    settings = look.settings
    try:
        if settings.ledger.url:
            LedgerView(settings.ledger, look.paths.data).positions()
    except (ConfigError, LedgerError, DatabaseError) as error:
        hint = "start the server, or mend ledger.url in config/config.yml"
        return Finding("ledger", "wrong", str(error), hint)
    return Finding("ledger", "well", described(settings.ledger.url, look.paths.data / FILE))


def check_leftovers(look: Look) -> Finding:
    """What a killed supervisor of this folder has left."""
    if look.running:
        return Finding("leftovers", "well", "an instance runs")
    run = look.paths.run
    left = [path.name for path in run.iterdir() if path.suffix in SOCKET_SUFFIXES]
    if (run / REGISTRY).exists():
        left.append("shared memory of a killed supervisor")
    hint = "dcctl start takes the rings over; dcctl doctor --fix clears them away"
    return judged("leftovers", not left, ", ".join(left) or "none", hint)


def _clear_leftovers(look: Look) -> str:
    with lock(look.paths.run):
        log = open_log(look.paths.logs, "dcctl", LogSettings(), Clock(measure_offset_ns()).now_ns)
        gone = remove_leftovers(look.paths.run, look.paths.data, log)
    return f"removed {len(gone)} things"


def check_half_files(look: Look) -> Finding:
    """Files that somebody was writing when it died; what they should replace is whole."""
    found = list(_half_files(look))
    text = f"{len(found)} half-written, such as {found[0]}" if found else "none half-written"
    return warned("files", not found, text, "dcctl doctor --fix removes them")


def _half_files(look: Look) -> Iterator[Path]:
    for root in {look.paths.run, look.paths.data}:
        for folder, _, names in walk(root):
            for name in names:
                match = HALF.fullmatch(name)
                if match and not _lives(int(match[1])):
                    yield folder / name


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove_half_files(look: Look) -> str:
    found = list(_half_files(look))
    for path in found:
        path.unlink(missing_ok=True)
    return f"removed {len(found)} half-written files"


def check_strangers(look: Look) -> Finding:
    """Shared memory of other folders' instances that are dead; where it can be listed.

    Never removed from here: it may hold what their storage has not read, and their next start, or
    `dcctl stop`, takes care of it.
    """
    mine = instance_id(str(look.paths.run))
    dead = []
    for path in sorted(SHARED_MEMORY.glob("dc.*.control")) if SHARED_MEMORY.is_dir() else ():
        instance = path.name.split(".")[1]
        if instance != mine and path.stat().st_uid == os.getuid() and _is_dead(path.name):
            dead.append(instance)
    text = f"of dead instances of other folders: {', '.join(dead)}" if dead else "none but ours"
    hint = "dcctl stop in their folders; of a folder that is gone: rm /dev/shm/dc.ID.*"
    return warned("segments", not dead, text, hint)


def _is_dead(name: str) -> bool:
    try:
        with Segment.attach(name, writable=False) as segment:
            return not _lives(ControlBlock(segment).get(Word.SUPERVISOR_PID))
    except SharedMemoryError:
        return False  # it has just gone, or is no control block of ours


def _close_folder(look: Look) -> str:
    look.paths.run.chmod(0o700)
    return f"{look.paths.run} is for you alone"


def _close_secrets(look: Look) -> str:
    bare = [path for path in _secret_files(look) if path.stat().st_mode & OPEN_TO_OTHERS]
    for path in bare:
        path.chmod(0o600)
    return f"{len(bare)} files are for you alone; whoever could read them before may have"


CHECKS: Final[tuple[Callable[[Look], Finding], ...]] = (
    check_settings, check_folder, check_secrets, check_ports, check_ledger, check_leftovers,
    check_half_files, check_strangers,
)  # fmt: skip
MENDS: Final[dict[str, Callable[[Look], str]]] = {
    "leftovers": _clear_leftovers,
    "files": _remove_half_files,
    "run folder": _close_folder,
    "secrets": _close_secrets,
}
"""What `--fix` does about a finding; it says what it has done."""
