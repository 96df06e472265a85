"""What a person changes while an instance runs: settings, subscriptions, connections.

The console and dcctl do it through these functions. A change of settings is tried by the supervisor
first, kept beside the instance's data (`processes/changes.py`), then taken; what is refused leaves
nothing behind. One change at a time, whoever makes it.
"""

import os
from typing import Any, Final

import msgspec

from config.loader import effect_of
from processes.bus import request
from processes.changes import (
    changes_path,
    read_changes,
    with_change,
    without_change,
    write_changes,
)
from processes.locks import hold
from processes.operations.instance import SUPERVISOR
from processes.places import Paths, read_settings
from schemas.errors import ConfigError, OperatorError, UsageError
from schemas.settings import REFUSED, RESTARTS, Settings

RELOAD_S: Final = 10.0
FORBIDDEN: Final = ("execution.live", "execution.accounts", "console")
"""Settings that stand in files alone: where money is, and who may come in, is not a page's."""
NOTHING: Final = "nothing would change: it is so already, or the environment says otherwise"


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A change of settings before it is made."""

    changes: dict[str, Any]
    diff: dict[str, list[Any]]
    """By key, as it is and as it would be."""
    restarts: list[str]


# ---- settings


def settings_in_force(paths: Paths) -> Settings:
    """Those of the instance that runs."""
    return read_settings(paths.run)[0]


def propose(paths: Paths, changed: dict[str, Any], dropped: list[str]) -> Proposal:
    """What a change would come to; nothing is done.

    Args:
        changed: by dotted key. dropped: keys whose earlier change is undone.

    Raises:
        OperatorError: it cannot be, or may not be changed while running, or here.
    """
    changes = read_changes(paths.data)
    for key in dropped:
        changes = without_change(changes, key)
    for key, value in changed.items():
        if any(key == one or key.startswith(f"{one}.") for one in FORBIDDEN):
            raise OperatorError(f"{key} is changed in your files alone: config/config.yml")
        changes = with_change(changes, key, value)
    trial = changes_path(paths.data).with_name(f"trial-{os.getpid()}.yml")
    write_changes(trial, changes)
    try:
        told = request(
            paths.run, SUPERVISOR, "reload", {"trial": str(trial)}, timeout_s=RELOAD_S
        )  # fmt: skip
    finally:
        trial.unlink(missing_ok=True)
    return Proposal(changes=changes, diff=told["changed"], restarts=told["restarted"])


def change(paths: Paths, changed: dict[str, Any], dropped: list[str]) -> Any:
    """Keep a change and have it taken; if it is refused, all is as before.

    Returns:
        What the supervisor says of it: `changed` and `restarted`.

    Raises:
        OperatorError: it is refused, or nothing would change.
    """
    path = changes_path(paths.data)
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path.with_suffix(".lock"), _busy):
        proposal = propose(paths, changed, dropped)
        if not proposal.diff:
            raise OperatorError(NOTHING)
        before = path.read_bytes() if path.exists() else None
        write_changes(path, proposal.changes)
        try:
            return request(paths.run, SUPERVISOR, "reload", timeout_s=RELOAD_S)
        except OperatorError:
            if before is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(before)
            raise


def _busy(owner: str) -> OperatorError:
    return OperatorError(f"process {owner} is changing settings; try again")


def may_change(key: str) -> bool:
    """Whether a setting may be changed here while the instance runs."""
    here = not any(key == one or key.startswith(f"{one}.") for one in (*FORBIDDEN, *REFUSED))
    return here and effect_of(key) is not None


def effect_text(key: str) -> str:
    """What a change of a setting costs, in words."""
    found = [name for rule in RESTARTS if key == rule or key.startswith(f"{rule}.")
             for name in RESTARTS[rule]]  # fmt: skip
    return f"restarts {', '.join(found)}" if found else "at once"


def parse_value(text: str) -> Any:
    """A value as it is typed: YAML.

    Raises:
        ConfigError: it is none.
    """
    try:
        return msgspec.yaml.decode(text) if text.strip() else ""
    except msgspec.DecodeError as error:
        raise ConfigError(f"{text!r} is no value: {error}") from None


# ---- feeds


def venue_of(paths: Paths, venue: str) -> str:
    """The venue's name, if one of it is enabled.

    Raises:
        UsageError: none is.
    """
    known = list(settings_in_force(paths).venues.enabled())
    if venue not in known:
        raise UsageError(f"no venue {venue} is enabled; there are {', '.join(known)}")
    return venue


def connections(paths: Paths, venue: str, *, timeout_s: float = RELOAD_S) -> dict[str, Any]:
    """A venue's connections with their streams; of a collector that does not answer, why."""
    try:
        told = request(paths.run, f"collector.{venue}", "connections", timeout_s=timeout_s)
    except OperatorError as error:
        return {"venue": venue, "connections": [], "error": str(error)}
    return {**told, "error": ""}


def switch_connection(paths: Paths, what: str, venue: str, connection: int) -> Any:
    """Connect or disconnect one connection of a venue, or all (-1).

    Raises:
        UsageError: there is no such venue or connection. OperatorError: its collector is away.
    """
    if what not in {"connect", "disconnect"}:
        raise UsageError(f"{what}: connect or disconnect")
    process = f"collector.{venue_of(paths, venue)}"
    return request(paths.run, process, what, {"connection": connection}, timeout_s=RELOAD_S)


def symbols_with(paths: Paths, venue: str, symbol: str, *, wanted: bool) -> dict[str, Any]:
    """The change of settings that subscribes a symbol of a venue, or ends that.

    Raises:
        UsageError: it is so already, or it is the last one.
    """
    symbols = list(settings_in_force(paths).venues.enabled()[venue_of(paths, venue)].symbols)
    if wanted == (symbol in symbols):
        raise UsageError(f"{venue} {symbol} is {'' if wanted else 'not '}subscribed already")
    if not wanted and len(symbols) == 1:
        raise UsageError(f"{symbol} is the last of {venue}; a venue needs one")
    symbols = [*symbols, symbol] if wanted else [one for one in symbols if one != symbol]
    return {f"venues.{venue}.symbols": symbols}
