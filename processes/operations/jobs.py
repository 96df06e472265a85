"""Downloads of past market data as a person sees them, and their end. Loads nothing heavy."""

from pathlib import Path
from typing import Any, Final

from processes.clock import monotonic_s, nap, utc_text
from processes.history.jobs import JobStore
from schemas.errors import OperatorError
from schemas.history import Job, Progress

MS_NS: Final = 1_000_000
CANCEL_WAIT_S: Final = 15.0


def share_done(job: Job, progress: Progress) -> float:
    """How much of a job is done, 0 to 1: of its rows if it is limited, else of its time."""
    if progress.state == "done" or progress.complete:
        return 1.0
    if not progress.last_mts:
        return 0.0
    covered = progress.last_mts - job.start_ms
    if job.sort == "desc":
        covered = job.end_ms - progress.last_mts
    share = covered / max(job.end_ms - job.start_ms, 1)
    if job.limit:
        share = max(share, progress.rows / job.limit)
    return min(max(share, 0.0), 1.0)


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


def cancel(names: list[str], store: JobStore, lake: Path) -> list[Job]:
    """End jobs, and return when they have ended.

    Raises:
        OperatorError: one is done already, or its process does not answer.
    """
    jobs = [store.job(name) for name in dict.fromkeys(names)]
    for job in jobs:
        if store.progress(job.id).state == "done":
            raise OperatorError(f"job {job.id} is done: {lake / job.file}")
        store.ask_to_cancel(job.id)
    for job in jobs:
        _wait_for_end(job, store)
    return jobs


def _wait_for_end(job: Job, store: JobStore) -> None:
    end_s = monotonic_s() + CANCEL_WAIT_S
    while store.is_running(job.id):
        if monotonic_s() > end_s:
            raise OperatorError(f"the process of job {job.id} does not answer; end it by its pid")
        nap(0.05)
    store.note_cancelled(job.id)
