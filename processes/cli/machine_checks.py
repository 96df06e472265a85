"""doctor's checks of the machine: Python and packages, memory, disk, files, clock, the service."""

import importlib.metadata
import os
import platform
import re
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from config.loader import ROOT
from processes.cli.findings import Finding, Look, judged, warned
from processes.clock import measure_offset_ns
from processes.operations.services import service_of, this_machine
from processes.places import read_registry
from processes.rings import ring_specs
from schemas.errors import OperatorError

LOW_DISK_BYTES: Final = 2_000_000_000
LOW_FILES: Final = 1024
SKEW_S: Final = 5.0
DIVIDER: Final = "# ---- DEVELOPERS"
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 (asked for its size, not written)


def check_python(_: Look) -> Finding:
    """New enough."""
    text = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return judged("python", sys.version_info >= (3, 11), text, "install Python 3.11 or newer")


def check_packages(_: Look) -> Finding:
    """Those that the lock has for this machine, in its versions."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").partition(DIVIDER)[0]
    lines = re.findall(r"^([\w.-]+==[^\\\n]*)", text, re.MULTILINE)
    wanted = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate()]
    strange = []
    for one in wanted:
        try:
            found = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            strange.append(f"{one.name} is absent")
            continue
        if found not in one.specifier:
            strange.append(f"{one.name} is {found}, not {one.specifier}")
    shown = ", ".join(strange[:5]) + (f" and {len(strange) - 5} more" if strange[5:] else "")
    text = shown or f"{len(wanted)} as requirements.lock has them"
    return warned("packages", not strange, text, "rm -r .venv, then ./scripts/dcctl version")


def check_memory(look: Look) -> Finding:
    """Room for the rings."""
    needed = sum(spec.slot_bytes * spec.capacity for spec in ring_specs(look.settings))
    if look.running or not SHARED_MEMORY.is_dir():
        return Finding("memory", "well", f"rings take {needed / 1e6:.0f} MB")
    free = shutil.disk_usage(SHARED_MEMORY).free
    text = f"{free / 1e9:.1f} GB of shared memory free, the rings take {needed / 1e6:.0f} MB"
    return judged("memory", free > 2 * needed, text, "mount a larger /dev/shm, or lower rings.*")


def check_disk(look: Look) -> Finding:
    """Room for data."""
    free = shutil.disk_usage(look.paths.data).free
    text = f"{free / 1e9:.1f} GB free where {look.paths.data} lives"
    return judged("disk", free > LOW_DISK_BYTES, text, "free some, or set paths.data elsewhere")


def check_files(_: Look) -> Finding:
    """Open files: the supervisor raises the soft limit by itself, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} open files allowed, {'any number' if hard < 0 else hard} at most"
    is_well = hard < 0 or hard >= LOW_FILES
    return judged("open files", is_well, text, f"have the hard limit raised to {LOW_FILES}")


def check_clock(look: Look) -> Finding:
    """A session's clock is monotonic with an offset; it stands still while a machine sleeps.

    How far the machine's own clock is from the venues': `outside_checks`.
    """
    try:
        registry = read_registry(look.paths.run) if look.running else None
    except OperatorError:
        registry = None
    if registry is None:
        return Finding("clock", "well", "no session runs that it could differ from")
    behind_s = (measure_offset_ns() - registry.clock_offset_ns) / 1e9
    text = f"the session is {abs(behind_s):.1f} s {'behind' if behind_s > 0 else 'ahead of'} UTC"
    hint = "dcctl stop, then dcctl start: a new session takes the clock anew"
    return judged("clock", abs(behind_s) <= SKEW_S, text, hint)


def check_kernels(_: Look) -> Finding:
    """They can be compiled, and kept."""
    from processes.inference import kernels  # noqa: F401  (proves that they can)

    cache = Path(os.environ.get("NUMBA_CACHE_DIR", ROOT))
    writable = os.access(cache if cache.exists() else cache.parent, os.W_OK)
    shown = cache.relative_to(ROOT) if cache.is_relative_to(ROOT) and cache != ROOT else cache
    text = f"compiled kernels are kept in {shown}"
    return judged("kernels", writable, text, f"make {cache} writable")


def check_service(_: Look) -> Finding:
    """Whether it comes back with the machine; not to have it so is nobody's fault."""
    try:
        service = service_of(this_machine(), ROOT)
    except OperatorError as error:
        return Finding("service", "well", str(error))
    if not service.is_installed():
        return Finding("service", "well", "none; dcctl install makes one")
    try:
        pid = service.pid()
    except OperatorError as error:
        return Finding("service", "warning", f"{service.path} is there, but {error}", str(error))
    running = f"runs as process {pid}" if pid else "does not run"
    return Finding("service", "well", f"{service.name} is installed and {running}")


CHECKS: Final[tuple[Callable[[Look], Finding], ...]] = (
    check_python, check_packages, check_memory, check_disk, check_files, check_clock,
    check_kernels, check_service,
)  # fmt: skip
