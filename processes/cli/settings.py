"""config and version."""

import importlib.metadata
import platform
from pathlib import Path

import msgspec

from config.loader import ROOT, flatten
from processes.changes import load_with_changes
from processes.cli.screen import say, say_json, table
from schemas.settings import Settings

LIBRARIES = (
    "numpy", "numba", "pyzmq", "msgspec", "orjson", "pyarrow", "mlx", "picows", "uvloop", "aiohttp",
)  # fmt: skip


def show_config(profile: str, file: Path | None, *, schema: bool, as_json: bool) -> None:
    """Print settings, or their schema."""
    if schema:
        say_json(msgspec.json.schema(Settings))
        return
    settings = load_with_changes(profile, file)
    if as_json:
        say_json(settings)
        return
    say(table(["setting", "value"], [[k, str(v)] for k, v in sorted(flatten(settings).items())]))


def project_version() -> str:
    """The version in pyproject.toml."""
    for line in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("version = "):
            return line.partition("=")[2].strip().strip('"')
    return "unknown"


def versions() -> dict[str, str]:
    """Of the project, of Python, and of what the program stands on."""
    found = {"data-controller": project_version(), "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def show_version(*, as_json: bool) -> None:
    """Print versions."""
    found = versions()
    if as_json:
        say_json(found)
    else:
        say(table(["what", "version"], [[k, v] for k, v in found.items()]))
