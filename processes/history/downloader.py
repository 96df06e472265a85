"""One download from its record to its finished file.

    page → rows not held yet → appended and synced → progress replaced → page ...

Whatever instant a crash picks, the progress on disk speaks of rows that are in the file, and what
is behind them is cut off when the job is taken up again: neither a hole nor a row twice. Rows of
the last time held are known by their ids, since pages overlap there.

May fail with VenueError (after the client's retries) or OperatorError; the job says so and can be
resumed. Looks for a wish to cancel several times a second, in the middle of a wait as well.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from processes.history.files import PartFile, finish, rows_of
from processes.history.jobs import JobStore
from processes.history.sources import Page, Record, Source
from processes.history.timeframes import candle_end_ms
from schemas.errors import AnswerError, DataControllerError, OperatorError
from schemas.history import Job, Progress

T = TypeVar("T")
LOOK_S: Final = 0.1
Report = Callable[[Job, Progress], None]
NowMs = Callable[[], int]


class _CancelledError(Exception):
    """Somebody wishes that the job ends."""


class Download:
    """One job at work."""

    def __init__(
        self, job: Job, store: JobStore, source: Source, *, lake: Path, now_ms: NowMs
    ) -> None:
        self.job = job
        self._store = store
        self._source = source
        self._lake = lake
        self._now_ms = now_ms

    async def run(self, report: Report) -> Progress:
        """Work until it is done or cancelled; how far it is then.

        Raises:
            DataControllerError: it failed; the progress holds the reason.
        """
        with self._store.working(self.job.id):
            progress = self._store.progress(self.job.id)
            if progress.state == "done":
                return progress
            progress = self._commit(progress, state="recorded", error="")
            try:
                return await self._work(progress, report)
            except _CancelledError:
                return self._commit(self._store.progress(self.job.id), state="cancelled")
            except DataControllerError as error:
                progress = self._store.progress(self.job.id)
                self._commit(progress, state="failed", error=str(error))
                raise
            except OSError as error:
                # Not noted as failed: on a full disk that would fail as well. Resuming helps.
                raise OperatorError(
                    f"job {self.job.id}: {error}; mend that, then: dcctl history resume "
                    f"{self.job.id}"
                ) from error

    def _commit(self, progress: Progress, **changes: Any) -> Progress:
        progress = msgspec.structs.replace(progress, **changes)
        self._store.commit(self.job.id, progress)
        return progress

    async def _work(self, progress: Progress, report: Report) -> Progress:
        if progress.cursor is None:
            note = await self._cancellable(self._source.note(self.job, self._now_ms()))
            first = self._source.first(self.job)
            progress = msgspec.structs.replace(progress, cursor=first, note=note)
        part = self._store.part(self.job.id)
        if not progress.complete:
            file = PartFile(part, progress.bytes, rows_of(self.job).header())
            try:
                while not progress.complete:
                    progress = await self._page(progress, file)
                    report(self.job, progress)
            finally:
                file.close()
        if progress.rows:
            facts = {
                "rows": str(progress.rows),
                "first_mts": str(progress.first_mts),
                "last_mts": str(progress.last_mts),
            }
            finish(self.job, part, progress.bytes, self._lake, facts)
        progress = self._commit(progress, state="done")
        part.unlink(missing_ok=True)
        report(self.job, progress)
        return progress

    async def _page(self, progress: Progress, file: PartFile) -> Progress:
        """One page: asked for, appended, noted."""
        assert progress.cursor is not None
        cursor = progress.cursor
        page = await self._ask(cursor)
        fresh = self._fresh(page.records, progress)
        if not fresh and page.records and not page.ended:
            page = await self._look_closer(page, cursor, progress)
            fresh = self._fresh(page.records, progress)
        ended = page.ended or (not fresh and page.empty_ends)
        held = [record for record in fresh if self._belongs(record)]
        if self.job.limit and progress.rows + len(held) >= self.job.limit:
            held = held[: self.job.limit - progress.rows]
            ended = True
        size = progress.bytes
        if held:
            size = file.append(rows_of(self.job).encode([record.values for record in held]))
        edge_key, edge_ids = self._edge(fresh, progress)
        return self._commit(
            progress,
            rows=progress.rows + len(held),
            pages=progress.pages + 1,
            longest_page=max(progress.longest_page, len(page.records)),
            bytes=size,
            cursor=page.cursor,
            edge_key=edge_key,
            edge_ids=edge_ids,
            first_mts=progress.first_mts or (held[0].mts if held else 0),
            last_mts=held[-1].mts if held else progress.last_mts,
            complete=ended,
        )

    async def _ask(self, cursor: int, *, wide: bool = False) -> Page:
        return await self._cancellable(self._source.page(self.job, cursor, wide=wide))

    async def _look_closer(self, page: Page, cursor: int, progress: Progress) -> Page:
        """A page that showed only what is held: the end, or a time with more rows than a page.

        Raises:
            AnswerError: rows of that time cannot be had, and there are some behind it.
        """
        if page.full:
            page = await self._ask(cursor, wide=True)
            if self._fresh(page.records, progress):
                return page
        # As long as the longest: the venue may give fewer rows than it is asked for.
        if page.beyond is not None and len(page.records) >= progress.longest_page:
            behind = await self._ask(page.beyond)
            if page.full or self._fresh(behind.records, progress):
                raise AnswerError(
                    f"{self.job.venue} {self.job.symbol}: {len(page.records)} rows of one time, "
                    "more than the venue gives at once; take the range before and after it"
                )
        return page

    def _belongs(self, record: Record) -> bool:
        """Whether a row is of the range, and final.

        A candle that still ran when the job was asked for would be a wrong one, and whether it is
        in must not depend on when a job is resumed.
        """
        job = self.job
        if not job.start_ms <= record.mts < job.end_ms:
            return False
        asked_ms = job.created_ns // 1_000_000
        return not job.timeframe or candle_end_ms(job.timeframe, record.mts) <= asked_ms

    def _fresh(self, records: list[Record], progress: Progress) -> list[Record]:
        """Rows that are not held: behind the edge, or at it with an id that is new."""
        ahead = 1 if self.job.sort == "asc" else -1
        edge, held = progress.edge_key, set(progress.edge_ids)
        seen: set[tuple[int, int]] = set()
        fresh = []
        for record in records:
            name = (record.key, record.id)
            if edge is not None:
                beyond = (record.key - edge) * ahead
                if beyond < 0 or (beyond == 0 and record.id in held):
                    continue
            if name not in seen:
                seen.add(name)
                fresh.append(record)
        return fresh

    def _edge(self, fresh: list[Record], progress: Progress) -> tuple[int | None, tuple[int, ...]]:
        """The farthest time held, and the ids of it."""
        if not fresh:
            return progress.edge_key, progress.edge_ids
        keys = [record.key for record in fresh]
        edge = max(keys) if self.job.sort == "asc" else min(keys)
        ids = tuple(record.id for record in fresh if record.key == edge)
        return edge, (progress.edge_ids + ids if edge == progress.edge_key else ids)

    async def _cancellable(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result, unless somebody wishes that the job ends before it is there."""
        task = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=LOOK_S)
                if self._store.is_cancelled(self.job.id):
                    raise _CancelledError
                if done:
                    return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
