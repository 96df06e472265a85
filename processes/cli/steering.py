"""What dcctl changes while an instance runs; the console does the same by the same functions."""

from typing import Any

import typer

from config.loader import flatten
from processes.changes import read_changes
from processes.cli.screen import colour, complain, say, say_json, table
from processes.operations.figures import size, span
from processes.operations.instance import running_paths
from processes.operations.steering import (
    NOTHING,
    change,
    connections,
    parse_value,
    propose,
    settings_in_force,
    switch_connection,
    symbols_with,
    venue_of,
)
from schemas.errors import OperatorError, UsageError


def list_feeds(venue: str, *, streams: bool, as_json: bool) -> None:
    """Print connections, or their streams."""
    paths = running_paths()
    enabled = settings_in_force(paths).venues.enabled()
    wanted = [venue_of(paths, venue)] if venue else list(enabled)
    feeds = [connections(paths, name) for name in wanted]
    if as_json:
        say_json(feeds)
        return
    for feed in feeds:
        if feed["error"]:
            say(colour(f"{feed['venue']}: {feed['error']}", "red"))
    say(_stream_table(feeds) if streams else _connection_table(feeds))


def _connection_table(feeds: list[dict[str, Any]]) -> str:
    rows = []
    for feed in feeds:
        for one in feed["connections"]:
            most = one["named_limit"] or feed["limit"]
            rows.append(
                [
                    feed["venue"], str(one["connection"]), one["state"],
                    f"{one['wanted']} / {most}" if most else str(one["wanted"]),
                    str(one["live"]), str(one["refused"]), size(one["bytes"]), str(one["opened"]),
                    str(one["gaps"]), str(one["resyncs"]), one["last_error"],
                ]
            )  # fmt: skip
    head = [
        "venue", "no.", "state", "subscriptions", "live", "refused", "received", "opened", "gaps",
        "resyncs", "last error",
    ]  # fmt: skip
    return table(head, rows, right=(1, 3, 4, 5, 6, 7, 8, 9))


def _stream_table(feeds: list[dict[str, Any]]) -> str:
    rows = []
    for feed in feeds:
        for connection in feed["connections"]:
            for one in connection["streams"]:
                age_s = max(feed["now_ns"] - one["data_ns"], 0) / 1e9 if one["data_ns"] else None
                rows.append(
                    [
                        feed["venue"], str(connection["connection"]), one["symbol"],
                        f"{one['channel']} {one['suffix']}".strip(), one["state"],
                        "–" if age_s is None else f"{span(age_s)} ago", one["text"],
                    ]
                )  # fmt: skip
    head = ["venue", "no.", "symbol", "stream", "state", "last data", ""]
    return table(head, rows, right=(1, 5))


def connection_switched(what: str, venue: str, connection: int) -> None:
    """Connect or disconnect, and say so."""
    switch_connection(running_paths(), what, venue, connection)
    which = "all connections" if connection < 0 else f"connection {connection}"
    say(f"{venue}: {which} {what}ed; see dcctl feeds list")


def subscribed(venue: str, symbol: str, *, wanted: bool, is_sure: bool, as_json: bool) -> None:
    """Subscribe a symbol or end that."""
    changed = symbols_with(running_paths(), venue, symbol, wanted=wanted)
    _changed(changed, [], is_sure=is_sure, as_json=as_json)


def set_settings(
    assignments: list[str], dropped: list[str], *, is_sure: bool, as_json: bool
) -> None:
    """Change settings of what runs; without any, print what was changed so far."""
    if not assignments and not dropped:
        _show_changes(as_json=as_json)
        return
    changed = {}
    for text in assignments:
        key, is_assigned, value = text.partition("=")
        if not is_assigned or not key:
            raise UsageError(f"{text}: write KEY=VALUE, as risk.max_spread_bps=8")
        changed[key] = parse_value(value)
    _changed(changed, dropped, is_sure=is_sure, as_json=as_json)


def _show_changes(*, as_json: bool) -> None:
    changes = read_changes(running_paths().data)
    if as_json:
        say_json(changes)
    elif not changes:
        say("nothing was changed since the files were written: dcctl set KEY=VALUE")
    else:
        rows = [[key, str(value)] for key, value in sorted(flatten(changes).items())]
        say(table(["changed", "value"], rows))
        say("to undo one: dcctl set --drop KEY")


def _changed(changed: dict[str, Any], dropped: list[str], *, is_sure: bool, as_json: bool) -> None:
    """Show what would differ, ask, do it."""
    paths = running_paths()
    if not is_sure:
        proposal = propose(paths, changed, dropped)
        if not proposal.diff:
            raise OperatorError(NOTHING)
        rows = [[key, str(old), str(new)] for key, (old, new) in proposal.diff.items()]
        restarts = ", ".join(proposal.restarts)
        complain(table(["setting", "is", "would be"], rows))
        complain(f"restarts {restarts}" if restarts else "taken at once, nothing is restarted")
        typer.confirm("Apply?", abort=True, err=True)
    told = change(paths, changed, dropped)
    if as_json:
        say_json(told)
        return
    restarted = ", ".join(told["restarted"])
    say(
        f"in force: {', '.join(told['changed'])}"
        + (f"; restarted {restarted}" if restarted else "")
    )
