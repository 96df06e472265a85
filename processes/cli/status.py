"""status and top."""

import sys
from decimal import Decimal

from processes.cli.screen import colour, say, say_json, table
from processes.cli.service import service_line
from processes.clock import nap
from processes.databases.places import described
from processes.execution.ledger import FILE, LedgerError
from processes.execution.reading import LedgerView
from processes.operations.figures import micros, size, span
from processes.operations.instance import running_paths
from processes.operations.instance import status as read_status
from processes.places import read_settings
from schemas.errors import ConfigError
from schemas.messages import Status

DETAIL = 70
"""Characters of what a process says of itself that the table has room for; --json has all."""
STATE_COLOURS = {"ready": "green", "running": "green", "starting": "yellow", "draining": "yellow"}
HOPS = {
    "recv_to_tape": "received → tape",
    "recv_to_feature": "… → feature row",
    "recv_to_prediction": "… → prediction",
    "recv_to_decision": "… → decision",
    "prediction_latency": "one model batch",
}


def show(*, as_json: bool) -> None:
    """Print the status once."""
    status = read_status()
    if as_json:
        say_json(status)
    else:
        say(render(status))


def watch_status() -> None:
    """Print the status every second, in place on a terminal."""
    clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
    while True:
        text = render(read_status())
        sys.stdout.write(f"{clear}{text}\n")
        sys.stdout.flush()
        nap(1.0)


def render(status: Status) -> str:
    """The whole status as text."""
    switch = status.kill_switch
    head = f"Data Controller is {_tinted(status.state)}: profile {status.profile}, {status.mode}, "
    head += f"models on rung {status.rung}, "
    head += (
        "kill switch off"
        if switch.level == "none"
        else colour(
            f"KILL SWITCH {switch.level} since {switch.since} by {switch.latched_by}", "red"
        )
    )
    parts = [head, process_table(status), _ring_table(status), _latency_table(status)]
    parts += _position_lines()
    parts.append(f"health and metrics: {status.endpoints.get('http', '')}\n{service_line()}")
    return "\n\n".join(parts)


def _tinted(state: str) -> str:
    return colour(state, STATE_COLOURS.get(state, "red"))


def process_table(status: Status) -> str:
    """One line a process."""
    rows = [
        [
            p.name,
            str(p.pid or "-"),
            p.state,
            span(p.uptime_s) if p.pid else "-",
            str(p.restarts),
            size(p.rss_bytes) if p.rss_bytes else "-",
            f"{p.heartbeat_age_ms:.0f} ms" if p.pid else "-",
            p.detail if len(p.detail) <= DETAIL else f"{p.detail[: DETAIL - 1]}…",
        ]
        for p in status.processes
    ]
    head = ["process", "pid", "state", "up", "restarts", "memory", "heartbeat", ""]
    text = table(head, rows, right=(1, 4, 5, 6))
    for state in {p.state for p in status.processes}:
        text = text.replace(f"  {state} ", f"  {_tinted(state)} ")
    return text


def _ring_table(status: Status) -> str:
    rows = []
    for ring in status.rings:
        readers = ", ".join(
            f"{r.name} {r.lag} behind" + (f", {r.lost} LOST" if r.lost else "")
            for r in sorted(ring.readers, key=lambda reader: reader.name)
        )
        rows.append([ring.name, f"{ring.committed:,}", f"{ring.rate_per_s:,.1f}", readers])
    return table(["ring", "slots", "per s", "readers"], rows, right=(1, 2))


def _latency_table(status: Status) -> str:
    rows = [
        [text, micros(found.p50), micros(found.p99), f"{found.count:,}"]
        for name, text in HOPS.items()
        if (found := status.latency_us.get(name)) and found.count
    ]
    return table(["latency", "p50", "p99", "count"], rows, right=(1, 2, 3))


def _position_lines() -> list[str]:
    """What is held now, from the ledger, and where that is."""
    settings, paths, _ = read_settings(running_paths().run)
    url, path = settings.ledger.url, paths.data / FILE
    where = f"ledger: {described(url, path)}"
    if not url and not path.exists():
        return [where]
    try:
        positions = LedgerView(settings.ledger, paths.data).positions()
    except (LedgerError, ConfigError) as error:
        return [colour(str(error), "red")]  # what runs is worth seeing all the more
    rows = [
        [one.symbol, f"{Decimal(one.quantity).normalize():f}", f"{Decimal(one.realized):.4f}"]
        for one in positions
        if Decimal(one.quantity)
    ]
    head = ["position", "quantity", "realized"]
    return [*([table(head, rows, right=(1, 2))] if rows else []), where]
