"""Settings that were changed while an instance ran: a file over all others, kept with its data.

Nobody's own files are ever rewritten. `data/state/changes.yml` (JSON, which is YAML too) holds what
the console was told to change, by sections as in config.yml; removing a key, or the file, undoes
it. The environment goes before it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from config.loader import ROOT, load
from processes.files import write_whole
from schemas.errors import ConfigError
from schemas.settings import Settings


def changes_path(data: Path) -> Path:
    """Where they are kept."""
    return data / "state" / "changes.yml"


def load_with_changes(profile: str, file: Path | None, *, overlay: Path | None = None) -> Settings:
    """The settings in force for a profile, with what was changed; or with another such file.

    Raises:
        ConfigError: something is wrong; the text says what and where.
    """
    settings = load(profile, file=file)
    path = overlay or changes_path(ROOT / settings.paths.data)
    return load(profile, file=file, overlay=path) if path.exists() else settings


def read_changes(data: Path) -> dict[str, Any]:
    """What was changed, by sections.

    Raises:
        ConfigError: somebody has written something else into the file.
    """
    path = changes_path(data)
    try:
        found = msgspec.yaml.decode(path.read_bytes())
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} must hold keys and values")
    return found


def with_change(changes: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The same changes and one more, by its dotted key."""
    first, _, rest = key.partition(".")
    inner = changes.get(first)
    inner = inner if isinstance(inner, dict) else {}
    return {**changes, first: with_change(inner, rest, value) if rest else value}


def without_change(changes: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The same changes without one."""
    first, _, rest = key.partition(".")
    left = dict(changes)
    inner = left.get(first)
    if rest and isinstance(inner, dict):
        left[first] = without_change(inner, rest)
        if not left[first]:
            del left[first]
    elif not rest:
        left.pop(first, None)
    return left


def write_changes(path: Path, changes: Mapping[str, Any]) -> None:
    """Keep them, whole or not at all."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(changes), indent=1))
