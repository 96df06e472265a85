"""A crash at every step of the writing, one after another: what is resumed holds every row once.

The process dies (an exception that nothing catches) at the n-th call of a step that touches the
disk, with some bytes of the next write perhaps already there; then the job is taken up again, and
again.
"""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes.history import downloader, files, jobs
from tests.rest_servers import FakeBitfinex, make_candles, make_trades
from tests.unit.history.test_downloads import START, Bench, make_job, plain, texts


class Died(BaseException):
    """The process is gone."""


class Reaper:
    """Lets the program die at its n-th step on disk, before or after the step is done."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left = at
        self.after = after

    def around(self, function):
        def step(*arguments, **named):
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Died
            result = function(*arguments, **named)
            if self.left == 0:
                raise Died
            return result

        return step


STEPS = [
    (os, "fsync"),
    (jobs, "write_whole"),
    (files, "sync_folder"),
    (files.PartFile, "append"),
    (files.CsvRows, "seal"),
    (files.ArrowRows, "seal"),
    (downloader, "finish"),
    (Path, "rename"),
    (Path, "unlink"),
]


@pytest.fixture(scope="module")
def venue():
    trades = make_trades(11, 90, START, burst=8)
    candles = make_candles(11, 90, START, 60_000)
    with FakeBitfinex(trades=trades, candles=candles).running() as server:
        yield server


@given(
    deaths=st.lists(
        st.tuples(st.integers(1, 60), st.booleans(), st.binary(max_size=30)), max_size=5
    ),
    channel=st.sampled_from(["trades", "candles"]),
    form=st.sampled_from(["csv", "arrow"]),
    sort=st.sampled_from(["asc", "desc"]),
)
@settings(max_examples=40, deadline=None)
def test_whatever_step_it_dies_at(tmp_path_factory, venue, deaths, channel, form, sort):
    bench = Bench(tmp_path_factory.mktemp("crash"), page_rows=20)
    job = make_job(channel=channel, format=form, sort=sort)
    bench.store.record(job)
    for at, after, torn in deaths:
        with pytest.MonkeyPatch.context() as patch:
            reaper = Reaper(at, after=after)
            for owner, name in STEPS:
                patch.setattr(owner, name, reaper.around(getattr(owner, name)))
            try:
                bench.run(venue, job)
            except Died:
                part = bench.store.part(job.id)
                if part.exists():
                    with part.open("ab") as file:
                        file.write(torn)
    assert bench.run(venue, job).state == "done"
    found = bench.rows(job)
    if channel == "trades":
        expected = texts(venue.trades)
    else:
        expected = [(str(row[0]), *map(plain, row[1:])) for row in venue.candles]
    expected = expected if sort == "asc" else expected[::-1]
    if form == "arrow":
        ints = 2 if channel == "trades" else 1
        expected = [(*map(int, r[:ints]), *map(float, r[ints:])) for r in expected]
    assert sorted(found) == sorted(expected)
    left = {path.name for path in bench.lake.rglob("*") if path.is_file()}
    assert left == {Path(job.file).name}
