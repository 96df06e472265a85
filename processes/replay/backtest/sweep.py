"""Sweeps: days times settings, each a backtest of its own, on Dask.

Points know nothing of each other: a day begins without positions, whatever the day before held, so
that the result is the same whatever the number of workers and their order. A point that fails says
why and ends no other. On a cluster elsewhere every worker must see this program and the same
`data/` folder.
"""

import itertools
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from processes.clock import day_of
from processes.lake_files import folders_of
from processes.lake_places import open_lake
from processes.recordings.span import FOREVER, SESSION_NS, Span, sessions_in
from processes.replay.backtest.main import backtest
from processes.replay.backtest.result import Money, Summary
from schemas.errors import DataControllerError, UsageError
from schemas.settings import Settings

DAY_NS: Final = 86_400_000_000_000
MOST_POINTS: Final = 100_000
LOW_IS_GOOD: Final = frozenset({"fees", "spread", "slippage", "max_drawdown"})

Load = Callable[[dict[str, str]], Settings]
"""From changes to settings; raises UsageError."""


class Point(Struct, frozen=True, kw_only=True):
    """One backtest of a sweep, as a worker gets it."""

    number: int
    day: str
    values: dict[str, str]
    data: str
    sessions: list[int]
    span: Span
    settings: Settings


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a point."""

    day: str
    values: dict[str, str]
    events: int = 0
    digest: str = ""
    summary: Summary | None = None
    error: str = ""
    """Why there is no summary; empty if nothing was recorded on that day."""


class Row(Struct, frozen=True, kw_only=True):
    """One choice of settings over all days."""

    values: dict[str, str]
    days: int
    failed: int
    net: Money
    fees: Money
    spread: Money
    slippage: Money
    turnover: Money
    orders: int
    trades: int
    won: int
    hit_rate: float
    max_drawdown: Money
    """The worst of a day."""


class Swept(Struct, frozen=True, kw_only=True):
    """A whole sweep."""

    by: str
    rows: list[Row]
    """The best first."""
    points: list[Outcome]
    """In the order of settings, then days."""


def read_axis(text: str) -> tuple[str, list[str]]:
    """`key=a,b,c` or `key=1..5`: the key and its values.

    Raises:
        UsageError: it is neither.
    """
    key, equals, told = text.partition("=")
    if not equals or not key or not told:
        raise UsageError(f"--sweep {text}: type it like --sweep strategy.horizon_s=60,120,300")
    whole = re.fullmatch(r"(\d+)\.\.(\d+)", told)
    values = told.split(",")
    if whole:
        values = [str(n) for n in range(int(whole[1]), int(whole[2]) + 1)]
    if not values or not all(values) or len(set(values)) != len(values):
        raise UsageError(f"--sweep {text}: name each value once, like {key}=1..5 or {key}=1,2,5")
    return key, values


def days_in(data: Path, span: Span, sessions: Sequence[int]) -> Iterator[tuple[str, Span]]:
    """UTC days on which something may be recorded, as parts of a span."""
    known = {path.name.removeprefix("dt=") for path in folders_of(open_lake(data / "lake"))}
    if known:  # the newest file of a day may reach into the next
        known.add(str(date.fromisoformat(max(known)) + timedelta(days=1)))
    earliest = day_of(min(sessions) * SESSION_NS) if sessions else ""
    for day in sorted(known):
        begin = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 10**9
        part = Span(
            from_ns=max(begin, span.from_ns), to_ns=min(begin + DAY_NS, span.to_ns, FOREVER)
        )
        if day >= earliest and part.from_ns < part.to_ns:
            yield day, part


def make_points(
    data: Path, span: Span, sessions: Sequence[int], axes: dict[str, list[str]], load: Load
) -> list[Point]:
    """Every choice of settings on every day.

    Raises:
        UsageError: a value is wrong, or there are too many points.
    """
    days = list(days_in(data, span, sessions))
    choices = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if len(choices) * len(days) > MOST_POINTS:
        raise UsageError(f"{len(choices) * len(days)} points: at most {MOST_POINTS} at once")
    points: list[Point] = []
    for values in choices:
        settings = load(values)
        for day, part in days:
            mine = [one for one in sessions_in(data, part) if one in sessions]
            if mine:
                points.append(
                    Point(
                        number=len(points), day=day, values=values, data=str(data.absolute()),
                        sessions=mine, span=part, settings=settings,
                    )
                )  # fmt: skip
    return points


def run_point(raw: bytes) -> bytes:
    """A point as a worker runs it: JSON in, JSON out; never raises for what a backtest does."""
    point = msgspec.json.decode(raw, type=Point)
    missed = Outcome(day=point.day, values=point.values)
    try:
        result = backtest(Path(point.data), point.sessions, point.span, point.settings)
    except UsageError:
        return msgspec.json.encode(missed)  # nothing is recorded then
    except DataControllerError as error:
        return msgspec.json.encode(replace(missed, error=str(error)))
    except Exception as error:  # noqa: BLE001  (a bug at one point must not cost the others)
        return msgspec.json.encode(replace(missed, error=repr(error)))
    found = replace(missed, events=result.events, digest=result.digest, summary=result.summary)
    return msgspec.json.encode(found)


def sweep(
    points: Sequence[Point],
    by: str,
    workers: int,
    cluster: str,
    report: Callable[[int, Outcome], None],
) -> Swept:
    """Run points on local processes, or on the cluster whose scheduler has this address.

    Args:
        by: the field of `Row` that rows are sorted by. report: told of each point as it is done,
            and how many are.
    """
    check_metric(by)
    done: dict[int, Outcome] = {}
    for number, outcome in _run(points, workers, cluster):
        done[number] = outcome
        report(len(done), outcome)
    outcomes = [done[point.number] for point in points]
    return Swept(by=by, rows=_rank(outcomes, by), points=outcomes)


def check_metric(by: str) -> None:
    """Raises UsageError if rows have no such figure."""
    known = [name for name in Row.__struct_fields__ if name != "values"]
    if by not in known:
        raise UsageError(f"--by {by}: choose one of {', '.join(known)}")


def _run(points: Sequence[Point], workers: int, cluster: str) -> Iterator[tuple[int, Outcome]]:
    import distributed  # noqa: PLC0415

    dask: Any = distributed  # it is not typed

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="dcctl-sweep-") as folder:
        local: Any = None
        if not cluster:
            local = dask.LocalCluster(
                n_workers=min(workers, len(points)), threads_per_worker=1, processes=True,
                # Any port: without one it takes 8787 and warns where another cluster has it.
                dashboard_address="127.0.0.1:0", local_directory=folder,
                silence_logs=logging.CRITICAL,
            )  # fmt: skip
        try:
            with dask.Client(local or cluster) as client:
                futures = {
                    client.submit(run_point, msgspec.json.encode(point), pure=False): point
                    for point in points
                }
                for future in dask.as_completed(list(futures)):
                    yield futures[future].number, _outcome(futures[future], future)
        except OSError as error:
            if not cluster:
                raise
            raise UsageError(f"--cluster {cluster} cannot be reached: {error}") from None
        finally:
            if local is not None:
                local.close()


def _outcome(point: Point, future: Any) -> Outcome:
    error = future.exception()
    if error is not None:  # its worker died, or cannot import this program
        return Outcome(day=point.day, values=point.values, error=repr(error))
    return msgspec.json.decode(future.result(), type=Outcome)


def _rank(outcomes: Sequence[Outcome], by: str) -> list[Row]:
    found: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(tuple(outcome.values.values()), []).append(outcome)
    rows = [_row(group) for group in found.values()]
    sign = 1 if by in LOW_IS_GOOD else -1
    return sorted(rows, key=lambda row: sign * Decimal(str(getattr(row, by))))


def _row(group: Sequence[Outcome]) -> Row:
    days = [outcome.summary for outcome in group if outcome.summary is not None]

    def total(name: str) -> Money:
        return f"{sum((Decimal(getattr(day, name)) for day in days), Decimal(0)):f}"

    trades, won = sum(day.trades for day in days), sum(day.won for day in days)
    return Row(
        values=group[0].values,
        days=len(days),
        failed=sum(bool(outcome.error) for outcome in group),
        net=total("net"),
        fees=total("fees"),
        spread=total("spread"),
        slippage=total("slippage"),
        turnover=total("turnover"),
        orders=sum(day.orders for day in days),
        trades=trades,
        won=won,
        hit_rate=round(won / trades, 6) if trades else 0.0,
        max_drawdown=f"{max((Decimal(day.max_drawdown) for day in days), default=Decimal(0)):f}",
    )
