"""Progress of downloads: a bar a job on a terminal, a plain line now and then elsewhere."""

import sys
from typing import Final

from processes.clock import monotonic_s
from processes.operations.figures import span
from processes.operations.jobs import share_done
from schemas.history import Job, Progress

BAR: Final = 24
DRAW_S: Final = 0.1
LINE_S: Final = 5.0


class Bars:
    """What a user sees while downloads run; on standard error, so that results stay clean."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._began_s = monotonic_s()
        self._drawn_s = 0.0
        self._lines = 0
        self._first: dict[str, tuple[float, int]] = {}
        self._newest: dict[str, tuple[Job, Progress]] = {}

    def report(self, job: Job, progress: Progress) -> None:
        """A job is this far now."""
        self._first.setdefault(job.id, (share_done(job, progress), progress.rows))
        self._newest[job.id] = (job, progress)
        now_s = monotonic_s()
        ended = progress.state == "done"
        if self._quiet or (
            now_s - self._drawn_s < (DRAW_S if self._live else LINE_S) and not ended
        ):
            return
        self._drawn_s = now_s
        shown = list(self._newest.values()) if self._live else [(job, progress)]
        text = "\n".join(self._line(*one) for one in shown)
        if self._live and self._lines:
            text = f"\x1b[{self._lines}A\r\x1b[J{text}"
        self._lines = len(shown)
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _line(self, job: Job, progress: Progress) -> str:
        share = share_done(job, progress)
        elapsed_s = monotonic_s() - self._began_s
        first_share, first_rows = self._first[job.id]
        rate = (progress.rows - first_rows) / elapsed_s if elapsed_s > 0 else 0.0
        made = share - first_share
        left = f"{span(elapsed_s * (1 - share) / made)} left" if made > 0 else "time left unknown"
        if progress.state == "done":
            left = "done"
        filled = round(share * BAR)
        bar = f"[{'#' * filled}{'.' * (BAR - filled)}] " if self._live else ""
        name = f"{job.id}  {job.venue} {job.channel} {job.symbol}"
        return f"{name}  {bar}{share:4.0%}  {progress.rows} rows  {rate:.0f} rows/s  {left}"
