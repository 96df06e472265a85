"""doctor: what is wrong with this machine or folder, and what to type."""

import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from config.loader import ROOT, load, profiles
from processes.cli.screen import colour, say, say_json
from processes.clock import Clock, measure_offset_ns
from processes.databases.places import described
from processes.execution.ledger import FILE, LedgerError
from processes.execution.reading import LedgerView
from processes.logs import open_log
from processes.operations.instance import find_paths
from processes.places import REGISTRY, SOCKET_SUFFIXES, Paths, is_locked, lock
from processes.rings import ring_specs
from processes.supervisor.memory import remove_leftovers
from schemas.errors import ConfigError, OperatorError
from schemas.settings import LogSettings

LOW_DISK_BYTES = 2_000_000_000
LOW_FILES = 1024


class Finding(msgspec.Struct, frozen=True):
    """One check's result."""

    check: str
    well: bool
    text: str
    type_this: str = ""


def examine(*, fix: bool, as_json: bool) -> None:
    """Run all checks; fail if one is not well.

    Raises:
        OperatorError: something is wrong.
    """
    paths = find_paths()
    findings = [check(paths) for check in CHECKS]
    if fix and any(f.check == "leftovers" and not f.well for f in findings):
        with lock(paths.run):
            log = open_log(paths.logs, "dcctl", LogSettings(), Clock(measure_offset_ns()).now_ns)
            gone = remove_leftovers(paths.run, paths.data, log)
        findings = [f for f in findings if f.check != "leftovers"]
        findings.append(Finding("leftovers", well=True, text=f"removed {len(gone)} things"))
    if as_json:
        say_json(findings)
    else:
        for finding in findings:
            mark = colour("well ", "green") if finding.well else colour("WRONG", "red")
            say(f"{mark}  {finding.check:<12} {finding.text}")
            if not finding.well:
                say(f"       {'':<12} → {finding.type_this}")
    wrong = sum(not finding.well for finding in findings)
    if wrong:
        raise OperatorError(f"{wrong} of {len(findings)} checks found something wrong")


def _python(_: Paths) -> Finding:
    text = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", sys.version_info >= (3, 11), text, "install Python 3.11 or newer")


def _settings(_: Paths) -> Finding:
    for profile in profiles():
        try:
            load(profile)
        except ConfigError as error:
            return Finding("settings", False, f"{profile}: {error}", "mend it in config/")
    return Finding("settings", True, f"{', '.join(profiles())} are good")


def _memory(_: Paths) -> Finding:
    needed = sum(spec.slot_bytes * spec.capacity for spec in ring_specs(load()))
    folder = Path("/dev/shm")  # noqa: S108 (asked for its size, not written)
    if not folder.is_dir():
        return Finding("memory", True, f"rings of the demo take {needed / 1e6:.0f} MB")
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB of shared memory free, the demo takes {needed / 1e6:.0f} MB"
    return Finding("memory", free > 2 * needed, text, "mount a larger /dev/shm, or lower rings.*")


def _disk(paths: Paths) -> Finding:
    free = shutil.disk_usage(paths.data).free
    text = f"{free / 1e9:.1f} GB free where {paths.data} lives"
    return Finding("disk", free > LOW_DISK_BYTES, text, "free some, or set paths.data elsewhere")


def _files(_: Paths) -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} open files allowed"
    return Finding("open files", soft >= LOW_FILES, text, f"ulimit -n {min(8192, hard)}")


def _folder(paths: Paths) -> Finding:
    mode = paths.run.stat().st_mode & 0o777
    mine = paths.run.stat().st_uid == os.getuid()
    text = f"{paths.run} is {'ours' if mine else 'somebody else’s'}, mode {mode:o}"
    return Finding("run folder", mine and mode == 0o700, text, f"chmod 700 {paths.run}")


def _port(paths: Paths) -> Finding:
    port = load().http.port
    if is_locked(paths.run) or not port:
        return Finding("http port", True, "in use by us" if port else "any free one")
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Finding(
                "http port", False, f"{port} is taken", "set http.port in config/config.yml"
            )
    return Finding("http port", True, f"{port} is free")


def _leftovers(paths: Paths) -> Finding:
    if is_locked(paths.run):
        return Finding("leftovers", True, "an instance runs")
    left = [path.name for path in paths.run.iterdir() if path.suffix in SOCKET_SUFFIXES]
    if (paths.run / REGISTRY).exists():
        left.append("shared memory of a killed supervisor")
    text = ", ".join(left) if left else "none"
    hint = "dcctl start takes the rings over; dcctl doctor --fix clears them away"
    return Finding("leftovers", not left, text, hint)


def _network(_: Paths) -> Finding:
    from processes.inference import kernels  # noqa: F401  (proves that kernels can be compiled)

    cache = Path(os.environ.get("NUMBA_CACHE_DIR", ROOT))
    writable = os.access(cache if cache.exists() else cache.parent, os.W_OK)
    text = f"compiled kernels are kept in {cache.relative_to(ROOT) if cache != ROOT else cache}"
    return Finding("kernels", writable, text, f"make {cache} writable")


def _ledger(paths: Paths) -> Finding:
    """The ledger as the default profile means it; of a server, whether it answers."""
    try:
        settings = load()
        if settings.ledger.url:
            LedgerView(settings.ledger, paths.data).positions()
    except (ConfigError, LedgerError) as error:
        hint = "start the server, or mend ledger.url in config/config.yml"
        return Finding("ledger", False, str(error), hint)
    return Finding("ledger", True, described(settings.ledger.url, paths.data / FILE))


CHECKS: tuple[Callable[[Paths], Finding], ...] = (
    _python, _settings, _memory, _disk, _files, _folder, _port, _leftovers, _network,
    _ledger,
)  # fmt: skip
