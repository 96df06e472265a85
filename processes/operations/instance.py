"""Finding the instance that runs in this project's folder, and talking to it."""

import os
from pathlib import Path
from typing import Any

import msgspec

from processes.bus import request
from processes.places import ROOT, Paths, is_locked, read_registry, read_settings, resolve
from schemas.errors import ConfigError, NotRunningError
from schemas.messages import Status
from schemas.registry import Registry
from schemas.settings import Settings

SUPERVISOR = "supervisor"


def find_paths() -> Paths:
    """The folders of this project's instance; the usual ones if the settings are unreadable."""
    usual = ROOT / "run"
    if not any(name.startswith("DC__paths") for name in os.environ) and is_locked(usual):
        try:
            return read_settings(usual)[1]  # what runs says itself where it lives; and quickly
        except OSError:
            pass  # it is just starting, or just stopping
    from config.loader import load  # noqa: PLC0415  (a running instance needs none of it)

    try:
        settings = load()
    except ConfigError:
        settings = Settings()
    return resolve(settings, ROOT)


def running_paths() -> Paths:
    """The folders of the instance that runs.

    Raises:
        NotRunningError: none runs.
    """
    paths = find_paths()
    if not is_locked(paths.run):
        raise NotRunningError("Data Controller is not running here: dcctl start")
    return paths


def registry() -> Registry:
    """What the running instance has made."""
    return read_registry(running_paths().run)


def ask(name: str, arguments: dict[str, Any] | None = None, *, timeout_s: float = 10.0) -> Any:
    """One command to the supervisor."""
    return request(running_paths().run, SUPERVISOR, name, arguments, timeout_s=timeout_s)


def status(run: Path | None = None, *, timeout_s: float = 5.0) -> Status:
    """The instance's status."""
    folder = run or running_paths().run
    return msgspec.convert(request(folder, SUPERVISOR, "status", timeout_s=timeout_s), Status)
