"""What history jobs and cancel do: how downloads are, and their end. Loads nothing heavy."""

from pathlib import Path
from typing import Any

from processes.cli.screen import say, say_json, table
from processes.history.jobs import JobStore
from processes.operations.instance import find_paths
from processes.operations.jobs import cancel, describe
from schemas.history import Job


def _sentence(one: dict[str, Any]) -> str:
    text = f"{one['job']}  {one['symbol']} {one['channel']}: {one['state']}, {one['rows']} rows"
    if one["state"] == "done":
        text += f"\n  {one['file']}" if one["file"] else "; the venue has nothing in this range"
    elif one["state"] != "running":
        text += f"; go on with: dcctl history resume {one['job']}"
    return text + (f"\n  {one['note']}" if one["note"] else "")


def show(jobs: list[Job], store: JobStore, lake: Path, *, as_json: bool) -> None:
    """Print how some jobs are, a sentence each."""
    found = [describe(job, store, lake) for job in jobs]
    if as_json:
        say_json(found)
        return
    for one in found:
        say(_sentence(one))


def show_jobs(*, as_json: bool) -> None:
    """Print all jobs."""
    data = find_paths().data
    store = JobStore(data)
    found = [describe(job, store, data / "lake") for job in store.jobs()]
    if as_json:
        say_json(found)
        return
    if not found:
        say("no downloads yet; dcctl history download --help")
        return
    head = ["job", "venue", "channel", "symbol", "from", "to", "rows", "done", "state"]
    rows = [
        [
            one["job"],
            one["venue"],
            " ".join(filter(None, (one["channel"], one["timeframe"]))),
            one["symbol"],
            one["from"][:16],
            one["to"][:16],
            str(one["rows"]),
            f"{one['share']:.0%}",
            one["state"] + (f": {one['error']}" if one["error"] else ""),
        ]
        for one in found
    ]
    say(table(head, rows, right=(6, 7)))


def cancel_all(names: list[str], *, as_json: bool) -> None:
    """End jobs, and say how they are when they have ended."""
    data = find_paths().data
    store, lake = JobStore(data), data / "lake"
    show(cancel(names, store, lake), store, lake, as_json=as_json)
