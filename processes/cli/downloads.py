"""What history download and resume do: jobs of what was typed, run together."""

import asyncio
import random
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, get_args
from urllib.parse import quote

from msgspec import Struct

from config.loader import load
from processes.cli.jobs import show
from processes.cli.listings import listings_of
from processes.cli.progress import Bars
from processes.cli.screen import complain
from processes.cli.times import parse_time
from processes.clock import Clock, file_stamp, measure_offset_ns, utc_text
from processes.history.downloader import Download
from processes.history.jobs import JobStore, new_id
from processes.history.sources import check_channel, source_of
from processes.history.timeframes import spell
from processes.operations.instance import find_paths
from processes.operations.jobs import MS_NS
from processes.places import rates_folder
from processes.reference import find_symbol
from schemas.errors import DataControllerError, OperatorError
from schemas.history import FileFormat, Job, Order
from schemas.rest import RestSections
from venues.access import check_venue, make_client
from venues.kraken.symbols import rest_name
from venues.rest import RestClient, Tools

OWN_NAMES: Final = {
    "bitfinex": re.compile(r"[tf][A-Za-z0-9]+(:[A-Za-z0-9]+)*"),
    "kraken": re.compile(r"[A-Za-z0-9.]*[A-Za-z0-9](/[A-Za-z0-9.]+)?"),
    "gmo": re.compile(r"[A-Z0-9]+(_JPY)?"),
}
"""What a venue's own symbols look like; anything else is looked up among its instruments."""


class Wanted(Struct, frozen=True, kw_only=True):
    """A download as it was typed."""

    venue: str
    channel: str
    symbols: tuple[str, ...]
    start: str
    end: str
    timeframe: str
    format: str
    limit: int
    sort: str


class _Desk:
    """Settings, folders and clock of one command."""

    def __init__(self) -> None:
        paths = find_paths()
        self.rest: RestSections = load().rest
        self.data: Path = paths.data
        self.lake = paths.data / "lake"
        self.store = JobStore(paths.data)
        self.tools = Tools(utc_ns=Clock(measure_offset_ns()).now_ns, uniform=random.random)

    def now_ms(self) -> int:
        """Milliseconds UTC."""
        return self.tools.utc_ns() // MS_NS


def download_all(wanted: Wanted, *, as_json: bool) -> None:
    """Record a job a symbol, then run them together."""
    desk = _Desk()
    jobs = make_jobs(wanted, desk)
    for job in jobs:
        desk.store.record(job)
    _run(jobs, desk, as_json=as_json)


def make_jobs(wanted: Wanted, desk: _Desk) -> list[Job]:
    """Jobs of what was typed.

    Raises:
        OperatorError: something of it cannot be; nothing was recorded.
    """
    venue = check_venue(wanted.venue)
    if wanted.timeframe and wanted.channel != "candles":
        raise OperatorError(f"--timeframe is of candles; {wanted.channel} have none")
    timeframe = spell(wanted.timeframe or "1m") if wanted.channel == "candles" else ""
    check_channel(venue, wanted.channel, timeframe)
    _check_word("--format", wanted.format, get_args(FileFormat))
    _check_word("--sort", wanted.sort, get_args(Order))
    now_ms = desk.now_ms()
    # What has not happened yet cannot be downloaded, and must not look as if it had been.
    end_ms = min(parse_time(wanted.end, "--to"), now_ms) if wanted.end else now_ms
    if not wanted.start and not (wanted.limit and wanted.sort == "desc"):
        raise OperatorError("say --from, or --sort desc with --limit for the newest rows")
    start_ms = parse_time(wanted.start, "--from") if wanted.start else 0
    if start_ms >= end_ms:
        first, last = utc_text(start_ms * MS_NS), utc_text(end_ms * MS_NS)
        raise OperatorError(f"nothing lies between --from {first} and --to {last}")
    return [
        _make_job(wanted, desk, typed, timeframe=timeframe, start_ms=start_ms, end_ms=end_ms)
        for typed in dict.fromkeys(wanted.symbols)
    ]


def _check_word(option: str, word: str, allowed: tuple[str, ...]) -> None:
    if word not in allowed:
        raise OperatorError(f"{option} {word}: it may be {' or '.join(allowed)}")


def _make_job(
    wanted: Wanted, desk: _Desk, typed: str, *, timeframe: str, start_ms: int, end_ms: int
) -> Job:
    symbol, rest_symbol = _names(wanted.venue, typed, desk)
    name = new_id()
    parts = [wanted.channel, timeframe, file_stamp(start_ms * MS_NS), file_stamp(end_ms * MS_NS)]
    stem = "-".join([part for part in parts if part] + [name])
    folder = f"{wanted.venue}/restapi/{wanted.channel}/{quote(symbol, safe='')}"
    return Job(
        id=name,
        venue=wanted.venue,
        channel=wanted.channel,  # type: ignore[arg-type]  # check_channel has seen it
        symbol=symbol,
        rest_symbol=rest_symbol,
        timeframe=timeframe,
        start_ms=start_ms,
        end_ms=end_ms,
        limit=wanted.limit,
        sort=wanted.sort,  # type: ignore[arg-type]
        format=wanted.format,  # type: ignore[arg-type]
        created_ns=desk.tools.utc_ns(),
        file=f"{folder}/{stem}.{wanted.format}",
    )


def _names(venue: str, typed: str, desk: _Desk) -> tuple[str, str]:
    """A symbol as the venue's streams and as its REST calls name it.

    Raises:
        OperatorError: nothing is called so.
    """
    if OWN_NAMES[venue].fullmatch(typed):
        return typed, rest_name(typed) if venue == "kraken" else typed
    found = find_symbol(listings_of(venue, desk.rest, desk.data), typed)
    if found is None:
        raise OperatorError(
            f"{venue} has no instrument {typed}; dcctl instruments --venue {venue} --search TEXT"
        )
    return found.symbol, found.rest_symbol


def resume_all(names: list[str], *, as_json: bool) -> None:
    """Go on with jobs."""
    desk = _Desk()
    _run([desk.store.job(name) for name in dict.fromkeys(names)], desk, as_json=as_json)


def _run(jobs: list[Job], desk: _Desk, *, as_json: bool) -> None:
    try:
        failed = asyncio.run(_work(jobs, desk, Bars(quiet=as_json)))
    except KeyboardInterrupt:
        complain(f"interrupted; go on with: dcctl history resume {' '.join(j.id for j in jobs)}")
        raise
    show(jobs, desk.store, desk.lake, as_json=as_json)
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise OperatorError(f"{failed[0]}{more}")


async def _work(jobs: list[Job], desk: _Desk, bars: Bars) -> list[DataControllerError]:
    """Run jobs together, one client a venue; what failed."""
    async with AsyncExitStack() as stack:
        clients: dict[str, RestClient] = {}
        for venue in sorted({job.venue for job in jobs}):
            client = make_client(venue, desk.rest, rates_folder(desk.rest), desk.tools)
            clients[venue] = await stack.enter_async_context(client)
        downloads = [
            Download(
                job,
                desk.store,
                source_of(job, clients[job.venue]),
                lake=desk.lake,
                now_ms=desk.now_ms,
            )
            for job in jobs
        ]
        ends = await asyncio.gather(
            *(one.run(bars.report) for one in downloads), return_exceptions=True
        )
    failed: list[DataControllerError] = []
    for job, end in zip(jobs, ends, strict=True):
        if isinstance(end, DataControllerError):
            failed.append(OperatorError(f"job {job.id}, {job.symbol}: {end}"))
        elif isinstance(end, BaseException):
            raise end
    return failed
