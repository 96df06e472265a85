"""What history jobs and cancel do: how downloads are, and their end. Loads nothing heavy."""

from pathlib import Path
from typing import Any, Final

from processes.cli.instance import find_paths
from processes.cli.progress import share_done
from processes.cli.screen import say, say_json, table
from processes.clock import monotonic_s, nap, utc_text
from processes.history.jobs import JobStore
from schemas.errors import OperatorError
from schemas.history import Job

MS_NS: Final = 1_000_000
CANCEL_WAIT_S: Final = 15.0


def describe(job: Job, store: JobStore, lake: Path) -> dict[str, Any]:
    """A job as `--json` shows it."""
    progress = store.progress(job.id)
    state: str = progress.state
    if state == "recorded":
        state = "running" if store.is_running(job.id) else "interrupted"
    finished = progress.state == "done" and progress.rows
    return {
        "job": job.id,
        "venue": job.venue,
        "channel": job.channel,
        "symbol": job.symbol,
        "timeframe": job.timeframe,
        "from": utc_text(job.start_ms * MS_NS),
        "to": utc_text(job.end_ms * MS_NS),
        "format": job.format,
        "sort": job.sort,
        "limit": job.limit,
        "state": state,
        "share": round(share_done(job, progress), 4),
        "rows": progress.rows,
        "pages": progress.pages,
        "first_mts": progress.first_mts,
        "last_mts": progress.last_mts,
        "file": str(lake / job.file) if finished else "",
        "note": progress.note,
        "error": progress.error,
    }


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
    """End jobs, and return when they have ended.

    Raises:
        OperatorError: one is done already, or its process does not answer.
    """
    data = find_paths().data
    store, lake = JobStore(data), data / "lake"
    jobs = [store.job(name) for name in dict.fromkeys(names)]
    for job in jobs:
        if store.progress(job.id).state == "done":
            raise OperatorError(f"job {job.id} is done: {lake / job.file}")
        store.ask_to_cancel(job.id)
    for job in jobs:
        _wait_for_end(job, store)
    show(jobs, store, lake, as_json=as_json)


def _wait_for_end(job: Job, store: JobStore) -> None:
    end_s = monotonic_s() + CANCEL_WAIT_S
    while store.is_running(job.id):
        if monotonic_s() > end_s:
            raise OperatorError(f"the process of job {job.id} does not answer; end it by its pid")
        nap(0.05)
    store.note_cancelled(job.id)
