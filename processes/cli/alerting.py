"""What `dcctl alert` does: ask the process that runs; without one, send a test by itself."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from config.loader import load
from processes.alerts.book import Book, Memory
from processes.alerts.channels import Channel
from processes.bus import request
from processes.cli.screen import colour, say, say_json, table
from processes.clock import Clock, measure_offset_ns, monotonic_s, nap
from processes.operations.instance import find_paths, running_paths
from processes.places import is_locked, read_settings
from schemas.alerts import AlertSettings
from schemas.errors import OperatorError

PROCESS = "alerts"
POLL_S = 0.05
GRACE_S = 5.0
COLOUR = {"critical": "red", "warning": "yellow", "info": "dim"}
NONE = (
    "alerts.channels names none: write one into config/config.yml, like "
    "alerts: {channels: {phone: {url: 'ntfy://${TOPIC}'}}}, then stop and start (docs/alerts.md)"
)


def _ask(name: str, arguments: dict[str, Any] | None = None) -> Any:
    paths = running_paths()
    if not read_settings(paths.run)[0].alerts.channels:
        raise OperatorError(NONE)
    return request(paths.run, PROCESS, name, arguments)


def show_alerts(*, as_json: bool) -> None:
    """Print what lasts, and the channels.

    Raises:
        OperatorError: nothing runs, or no channel is set.
    """
    told = _ask("list")
    if as_json:
        say_json(told)
        return
    for one in told["alerts"]:
        acknowledged = f", acknowledged {one['acknowledged']}" if one["acknowledged"] else ""
        say(f"{colour(one['severity'], COLOUR[one['severity']])} {one['name']}")
        say(f"  {one['means']}: {one['text']}".rstrip(": "))
        say(f"  since {one['since']}, told {', '.join(one['told']) or 'nobody'}{acknowledged}")
        say(f"  to do: {one['todo']}")
    if not told["alerts"]:
        say("no alert lasts")
    rows = [
        [one["name"], str(one["owed"]), str(one["last_hour"]), one["reason"] or "ok"]
        for one in told["channels"]
    ]
    say()
    say(table(["channel", "owed", "last hour", "state"], rows, right=(1, 2)))
    if reason := told["heartbeat"]["reason"]:
        say(f"heartbeat: {reason}")


def acknowledge(name: str, *, as_json: bool) -> None:
    """Say that somebody has seen an alert.

    Raises:
        OperatorError: no such alert lasts; the text names those that do.
    """
    told = _ask("ack", {"name": name})
    if as_json:
        say_json(told)
    else:
        say(f"{name} is acknowledged: it is told no more until it is over")


def send_tests(channel: str, profile: str, config: Path | None, *, as_json: bool) -> None:
    """Send a test to one channel or all, and print what came of it.

    Raises:
        OperatorError: there is no such channel, or one did not take it.
    """
    paths = find_paths()
    running = is_locked(paths.run)
    settings = read_settings(paths.run)[0] if running else load(profile, file=config)
    if not settings.alerts.channels:
        raise OperatorError(NONE)
    names = [channel] if channel else list(settings.alerts.channels)
    for name in names:
        if name not in settings.alerts.channels:
            there = ", ".join(settings.alerts.channels)
            raise OperatorError(f"no channel {name}; there are: {there}")
    longest_s = max(settings.alerts.channels[name].timeout_s for name in names) + GRACE_S
    if running:
        request(paths.run, PROCESS, "test", {"channel": channel})
        outcomes = _wait(names, lambda: request(paths.run, PROCESS, "tested"), longest_s)
    else:
        outcomes = _test_here(names, settings.alerts, longest_s)
    if as_json:
        say_json({name: reason or "taken" for name, reason in outcomes.items()})
    else:
        say("\n".join(f"{name}: {reason or 'taken'}" for name, reason in outcomes.items()))
    if any(outcomes.values()):
        raise OperatorError("not every channel has taken the test")


def _wait(
    names: list[str], look: Callable[[], Mapping[str, str | None]], longest_s: float
) -> dict[str, str]:
    """What came of each test, once all are over."""
    until_s = monotonic_s() + longest_s
    found = look()
    while any(found[name] is None for name in names) and monotonic_s() < until_s:
        nap(POLL_S)
        found = look()
    late = "nothing came of it: another message of the channel may hang"
    return {name: late if (told := found[name]) is None else told for name in names}


def _test_here(names: list[str], alerts: AlertSettings, longest_s: float) -> dict[str, str]:
    """Send as the process would."""
    clock = Clock(measure_offset_ns())
    book = Book(alerts, Memory(), clock.now_ns())
    channels = {name: Channel(name, alerts, alerts.label or "not running") for name in names}

    def look() -> dict[str, str | None]:
        for one in channels.values():
            one.turn(book, clock.now_ns())
        return {n: None if c.tested is None else c.tested.reason for n, c in channels.items()}

    try:
        for one in channels.values():
            one.test()
        return _wait(names, look, longest_s)
    finally:
        for one in channels.values():
            one.end()
