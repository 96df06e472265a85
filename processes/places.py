"""Folders of an instance: where they are, who holds them, and what stands in the run folder.

This is all that a command needs to find a running instance; it loads nothing heavy.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import IO

import msgspec

from processes.locks import hold, is_held
from schemas.errors import ConfigError, NotRunningError, OperatorError
from schemas.registry import Registry
from schemas.rest import RestSections
from schemas.settings import Settings
from shm.sockets import SOCKET_PATH_BYTES_MAX

ROOT = Path(__file__).resolve().parent.parent
LONGEST_SOCKET = "/collector.bitfinex.bell"
REGISTRY = "registry.json"
CONFIG = "config.json"
SOCKET_SUFFIXES = frozenset({".pub", ".ctl", ".bell"})


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """Where the instance lives."""

    run: Path
    data: Path
    logs: Path


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """`run/config.json`: what all processes of the instance obey."""

    generation: int
    folders: dict[str, str]
    settings: Settings


def read_registry(run: Path) -> Registry:
    """The registry of the instance that runs there.

    Raises:
        NotRunningError: none runs. OperatorError: what it has written cannot be read.
    """
    path = run / REGISTRY
    try:
        return msgspec.json.decode(path.read_bytes(), type=Registry)
    except FileNotFoundError:
        raise NotRunningError("Data Controller is not running here: dcctl start") from None
    except msgspec.DecodeError as error:
        raise OperatorError(
            f"{path} cannot be read ({error}); if nothing runs here, remove it: rm {path}"
        ) from None


def read_settings(run: Path) -> tuple[Settings, Paths, int]:
    """The settings that the supervisor has put in force, the folders, and their generation."""
    resolved = msgspec.json.decode((run / CONFIG).read_bytes(), type=Resolved)
    folders = {name: Path(value) for name, value in resolved.folders.items()}
    return resolved.settings, Paths(**folders), resolved.generation


def resolve(settings: Settings, root: Path) -> Paths:
    """The instance's folders as absolute paths; made if they are not there.

    The run folder is `run` in the project, or a folder of the user's below the system's temporary
    one where that path is too long for sockets.

    Raises:
        ConfigError: a folder cannot be made. OperatorError: the run folder is somebody else's.
    """
    wanted = settings.paths
    run = root / (wanted.run or "run")
    if len(str(run).encode()) + len(LONGEST_SOCKET) > SOCKET_PATH_BYTES_MAX and not wanted.run:
        mark = hashlib.blake2b(str(root).encode(), digest_size=4).hexdigest()
        run = Path(tempfile.gettempdir()) / f"dc-{os.getuid()}-{mark}"
    paths = Paths(run=run, data=root / wanted.data, logs=root / wanted.logs)
    _make("run", run)
    if run.stat().st_uid != os.getuid():
        raise OperatorError(f"{run} belongs to somebody else; set paths.run to a folder of yours")
    run.chmod(0o700)
    _make("data", paths.data / "state")
    _make("logs", paths.logs)
    return paths


def _make(name: str, folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700 if name == "run" else 0o777, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"paths.{name}: {folder} cannot be made ({error.strerror}); name a folder that you may "
            "write to"
        ) from None


def lock(run: Path) -> IO[str]:
    """Hold the instance's lock for as long as the file is open.

    Raises:
        OperatorError: another supervisor holds it.
    """
    return hold(
        run / "lock",
        lambda owner: OperatorError(
            f"Data Controller runs here already (process {owner}); dcctl status, or dcctl stop"
        ),
    )


def is_locked(run: Path) -> bool:
    """Whether a supervisor lives there."""
    return is_held(run / "lock")


def lock_owner(run: Path) -> int:
    """The process that a lock file names, 0 if it names none."""
    try:
        text = (run / "lock").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(text) if text.isdecimal() else 0


def rates_folder(sections: RestSections) -> Path:
    """Where all of a user's processes on this machine share the venues' rates.

    Not below `data`: a venue counts what comes from an address, whichever instance sent it.
    """
    usual = Path(tempfile.gettempdir()) / f"dc-rates-{os.getuid()}"
    return Path(sections.rates).absolute() if sections.rates else usual
