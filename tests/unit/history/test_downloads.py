"""Downloads against the fakes: every row once, in order, whatever the pages and the faults."""

import asyncio
import csv
import random
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from processes.history import sources
from processes.history.downloader import Download
from processes.history.jobs import JobStore, new_id
from processes.history.timeframes import DAY_MS, HOUR_MS, candle_end_ms, spell
from schemas.errors import AnswerError, OperatorError, UnavailableError
from schemas.history import Job
from schemas.rest import (
    BitfinexRates,
    BitfinexRestSettings,
    GmoRates,
    GmoRestSettings,
    KrakenRates,
    KrakenRestSettings,
)
from tests.rest_servers import (
    FakeBitfinex,
    FakeGmo,
    FakeKraken,
    cut,
    make_candles,
    make_trades,
    status,
)
from venues.pace import Pace
from venues.rest import RestClient, Tools

START = 1_700_000_000_000 - 1_700_000_000_000 % 60_000
NOW = START + 400 * DAY_MS


class World:
    def __init__(self) -> None:
        self.now_ns = NOW * 1_000_000

    async def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
        await asyncio.sleep(0)


def make_job(venue: str = "bitfinex", channel: str = "trades", **changes) -> Job:
    name = new_id()
    usual = {
        "id": name, "venue": venue, "channel": channel, "symbol": "tBTCUSD",
        "rest_symbol": {"bitfinex": "tBTCUSD", "kraken": "XBTUSD", "gmo": "BTC_JPY"}[venue],
        "timeframe": "1m" if channel == "candles" else "", "start_ms": START,
        "end_ms": START + 30 * DAY_MS, "limit": 0, "sort": "asc", "format": "csv",
        "created_ns": NOW * 1_000_000, "file": f"{venue}/restapi/{channel}/x/{channel}-{name}.csv",
    }  # fmt: skip
    job = Job(**{**usual, **changes})
    return msgspec.structs.replace(job, file=job.file.replace(".csv", f".{job.format}"))


class Bench:
    """A data folder, and downloads into it."""

    def __init__(self, data: Path, page_rows: int = 50) -> None:
        self.store = JobStore(data)
        self.lake = data / "lake"
        self.data = data
        self.page_rows = page_rows

    def settings(self, server):
        fast = {"url": server.url, "share_of_rate": 1.0, "retries": 2}
        if isinstance(server, FakeBitfinex):
            rates = BitfinexRates(trades=6000, candles=6000, tickers_history=6000)
            return BitfinexRestSettings(rates=rates, page_rows=self.page_rows, **fast)
        if isinstance(server, FakeKraken):
            rates = KrakenRates(public=6000)
            return KrakenRestSettings(rates=rates, page_rows=self.page_rows, **fast)
        return GmoRestSettings(rates=GmoRates(public=6000), **fast)

    def run(self, server, job: Job, report=lambda *_: None):
        """Run a job, recorded if it is new; its progress."""
        if job.id not in self.store.ids():
            self.store.record(job)
        world = World()

        async def work():
            pace = Pace(self.data / "rates", job.venue, utc_ns=lambda: world.now_ns,
                        sleep=world.sleep)  # fmt: skip
            tools = Tools(utc_ns=lambda: world.now_ns, uniform=lambda: 0.0, sleep=world.sleep)
            async with RestClient(self.settings(server), pace, tools) as client:
                source = sources.source_of(job, client)
                download = Download(
                    job, self.store, source, lake=self.lake,
                    now_ms=lambda: world.now_ns // 1_000_000,
                )  # fmt: skip
                return await download.run(report)

        progress = asyncio.run(work())
        assert server.complaints == []
        return progress

    def rows(self, job: Job) -> list[tuple[str, ...]]:
        """The finished file, columns in their order, as text."""
        path = self.lake / job.file
        if job.format == "csv":
            with path.open(encoding="utf-8", newline="") as file:
                return [tuple(row) for row in csv.reader(file)][1:]
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        return [tuple(row.values()) for row in table.to_pylist()]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def plain(text: str) -> str:
    return format(Decimal(text), "f")


def texts(trades) -> list[tuple[str, ...]]:
    return [(str(t.id), str(t.mts), plain(t.amount), plain(t.price)) for t in trades]


# ---- Bitfinex


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("page_rows", [45, 60, 500, 10_000])
def test_trades_with_bursts_at_page_edges(tmp_path, seed, sort, page_rows):
    bench = Bench(tmp_path, page_rows)
    trades = make_trades(seed, 1500, START)
    with FakeBitfinex(trades=trades).running() as server:
        job = make_job(sort=sort)
        progress = bench.run(server, job)
    expected = texts(trades if sort == "asc" else trades[::-1])
    assert sorted(bench.rows(job)) == sorted(expected)
    assert [row[1] for row in bench.rows(job)] == [row[1] for row in expected]
    assert progress.state == "done"
    assert progress.rows == len(trades)
    assert not bench.store.part(job.id).exists()


def test_a_burst_longer_than_a_page_is_asked_for_with_a_wider_one(tmp_path):
    bench = Bench(tmp_path, page_rows=10)
    trades = make_trades(3, 60, START)
    trades = [type(t)(t.id, trades[20].time_ns if 20 <= n < 50 else t.time_ns, t.amount, t.price)
              for n, t in enumerate(trades)]  # fmt: skip
    trades.sort(key=lambda t: t.time_ns)
    with FakeBitfinex(trades=trades).running() as server:
        job = make_job()
        bench.run(server, job)
    assert sorted(bench.rows(job)) == sorted(texts(trades))


def test_more_of_one_millisecond_than_the_venue_gives_is_said_not_hidden(tmp_path):
    bench = Bench(tmp_path, page_rows=10)
    trades = make_trades(3, 10_050, START)
    trades = [type(t)(t.id, START * 1_000_000, t.amount, t.price) for t in trades]
    with FakeBitfinex(trades=trades).running() as server:
        job = make_job()
        with pytest.raises(AnswerError, match="10000 rows of one time"):
            bench.run(server, job)
    assert bench.store.progress(job.id).state == "failed"
    assert not (bench.lake / job.file).exists()


def test_a_venue_that_gives_fewer_rows_than_asked_for_ends_nothing_early(bench):
    trades = make_trades(5, 400, START, burst=6)
    with FakeBitfinex(trades=trades, rows_max=20).running() as server:
        job = make_job()
        bench.run(server, job)
    assert sorted(bench.rows(job)) == sorted(texts(trades))


def test_a_burst_longer_than_what_the_venue_gives_is_said_not_hidden(bench):
    trades = make_trades(3, 60, START)
    trades = [type(t)(t.id, trades[20].time_ns if 20 <= n < 50 else t.time_ns, t.amount, t.price)
              for n, t in enumerate(trades)]  # fmt: skip
    trades.sort(key=lambda t: t.time_ns)
    fake = FakeBitfinex(trades=trades, rows_max=20)
    with fake.running() as server, pytest.raises(AnswerError, match="20 rows of one time"):
        bench.run(server, make_job())


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 50, 73])
def test_a_limit_is_obeyed_from_the_right_end(bench, sort, limit):
    trades = make_trades(8, 300, START)
    with FakeBitfinex(trades=trades).running() as server:
        job = make_job(sort=sort, limit=limit)
        bench.run(server, job)
    times = [t.mts for t in (trades if sort == "asc" else trades[::-1])][:limit]
    assert [int(row[1]) for row in bench.rows(job)] == times


def test_the_range_holds_its_beginning_and_not_its_end(bench):
    trades = make_trades(9, 300, START)
    first, last = trades[50].mts, trades[200].mts
    with FakeBitfinex(trades=trades).running() as server:
        job = make_job(start_ms=first, end_ms=last)
        bench.run(server, job)
    assert sorted(bench.rows(job)) == sorted(texts(t for t in trades if first <= t.mts < last))


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_candles_with_gaps(bench, sort, form, seed):
    candles = make_candles(seed, 700, START, 60_000)
    with FakeBitfinex(candles=candles).running() as server:
        job = make_job(channel="candles", sort=sort, format=form)
        bench.run(server, job)
    expected = candles if sort == "asc" else candles[::-1]
    if form == "csv":
        assert bench.rows(job) == [(str(r[0]), *map(plain, r[1:])) for r in expected]
    else:
        assert bench.rows(job) == [(r[0], *map(float, r[1:])) for r in expected]


def test_a_candle_that_still_runs_is_not_in_the_file(bench):
    candles = make_candles(1, 100, START, 60_000)
    asked_ns = (candles[-1][0] + 30_000) * 1_000_000
    with FakeBitfinex(candles=candles).running() as server:
        job = make_job(channel="candles", created_ns=asked_ns)
        bench.run(server, job)
    assert [int(row[0]) for row in bench.rows(job)] == [row[0] for row in candles[:-1]]


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("rows_max", [10_000, 60])
def test_tickers_by_windows_with_a_silent_week(bench, sort, rows_max):
    hours = [h for h in range(900) if not 300 <= h < 470]
    tickers = [(START + h * HOUR_MS, f"{100 + h}.5", f"{101 + h}") for h in hours]
    with FakeBitfinex(tickers=tickers, rows_max=rows_max).running() as server:
        job = make_job(channel="tickers", sort=sort, end_ms=START + 900 * HOUR_MS)
        progress = bench.run(server, job)
    expected = [("tBTCUSD", bid, ask, str(mts)) for mts, bid, ask in tickers]
    assert bench.rows(job) == (expected if sort == "asc" else expected[::-1])
    assert "about a year" in progress.note


def test_arrow_files_carry_their_constants(bench):
    with FakeBitfinex(trades=make_trades(2, 100, START)).running() as server:
        job = make_job(format="arrow")
        bench.run(server, job)
    with pa.memory_map(str(bench.lake / job.file)) as source:
        schema = pa.ipc.open_file(source).schema
    told = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    assert told["venue"] == "bitfinex"
    assert told["symbol"] == "tBTCUSD"
    assert told["rows"] == "100"
    assert told["sort"] == "asc"
    assert schema.names == ["id", "mts", "amount", "price"]


def test_a_range_without_rows_is_done_and_makes_no_file(bench):
    with FakeBitfinex().running() as server:
        job = make_job()
        progress = bench.run(server, job)
    assert (progress.state, progress.rows) == ("done", 0)
    assert not (bench.lake / job.file).exists()


def test_an_unknown_symbol_fails_with_the_venues_words(bench):
    with FakeBitfinex().running() as server:
        job = make_job(rest_symbol="tNOPE")
        with pytest.raises(Exception, match="symbol: invalid"):
            bench.run(server, job)
    assert "symbol: invalid" in bench.store.progress(job.id).error


def test_faults_on_the_way_cost_no_row(bench, seed):
    trades = make_trades(seed, 600, START)
    chance = random.Random(seed)
    fake = FakeBitfinex(trades=trades)
    with fake.running() as server:
        job = make_job()
        kinds = [status(500), cut, status(429, b"", Retry_After="3"), status(502, b"<html>")]

        def hurt(*_):
            if chance.random() < 0.5:
                fake.faults.append(chance.choice(kinds))

        bench.run(server, job, hurt)
    assert bench.rows(job) == texts(trades)


def test_a_failed_job_goes_on_where_it_was(bench):
    trades = make_trades(4, 600, START)
    fake = FakeBitfinex(trades=trades)
    with fake.running() as server:
        job = make_job()
        pages = 0

        def break_it(*_):
            nonlocal pages
            pages += 1
            if pages == 5:
                fake.faults.extend([status(502)] * 3)

        with pytest.raises(UnavailableError):
            bench.run(server, job, break_it)
        assert bench.store.progress(job.id).state == "failed"
        asked = len(fake.seen)
        bench.run(server, job)
        assert fake.seen[asked].params["start"] > str(START)
    assert bench.rows(job) == texts(trades)


def test_cancelling_ends_it_within_a_page_and_resuming_goes_on(bench):
    trades = make_trades(4, 600, START)
    with FakeBitfinex(trades=trades).running() as server:
        job = make_job()
        seen = []

        def cancel(job, progress):
            seen.append(progress.rows)
            if len(seen) == 3:
                bench.store.ask_to_cancel(job.id)

        progress = bench.run(server, job, cancel)
        assert progress.state == "cancelled"
        assert len(seen) == 3
        assert 0 < progress.rows < 600
        assert bench.run(server, job).state == "done"
    assert bench.rows(job) == texts(trades)


def test_two_processes_do_not_work_on_one_job(bench):
    job = make_job()
    bench.store.record(job)
    with bench.store.working(job.id):
        assert bench.store.is_running(job.id)
        with pytest.raises(OperatorError, match="another process"), bench.store.working(job.id):
            pass
    assert not bench.store.is_running(job.id)


def test_a_file_that_lost_committed_rows_is_not_built_upon(bench):
    with FakeBitfinex(trades=make_trades(4, 300, START)).running() as server:
        job = make_job()

        def stop(job, progress):
            if progress.pages == 3:
                bench.store.ask_to_cancel(job.id)

        bench.run(server, job, stop)
        part = bench.store.part(job.id)
        part.write_bytes(part.read_bytes()[:-1])
        with pytest.raises(OperatorError, match="lost rows"):
            bench.run(server, job)


# ---- Kraken


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_kraken_trades_whatever_since_means(bench, inclusive, form, seed):
    trades = make_trades(seed, 700, START)
    with FakeKraken(trades=trades, inclusive=inclusive).running() as server:
        job = make_job("kraken", format=form, end_ms=trades[600].mts)
        bench.run(server, job)
    expected = texts(t for t in trades if t.mts < trades[600].mts)
    if form == "arrow":
        expected = [(int(a), int(b), float(c), float(d)) for a, b, c, d in expected]
        assert sorted(bench.rows(job)) == sorted(expected)
    else:
        found = [(a, b, plain(c), plain(d)) for a, b, c, d in bench.rows(job)]
        assert sorted(found) == sorted(expected)


def test_kraken_trades_newest_first_are_refused_with_what_to_type(bench):
    with FakeKraken().running() as server, pytest.raises(OperatorError, match="--sort asc"):
        bench.run(server, make_job("kraken", sort="desc"))


def test_kraken_candles_are_the_newest_720_and_it_says_so(bench):
    first = NOW - 1000 * 60_000
    first -= first % 60_000
    candles = make_candles(1, 1000, first, 60_000)
    with FakeKraken(candles=candles).running() as server:
        job = make_job("kraken", "candles", start_ms=first, end_ms=NOW)
        progress = bench.run(server, job)
        assert "720" in progress.note
        kept = candles[-720:]
        assert [int(row[0]) for row in bench.rows(job)] == [row[0] for row in kept]
        o, c, h, low, v = (Decimal(x) for x in kept[0][1:])
        assert tuple(map(Decimal, bench.rows(job)[0][1:])) == (o, c, h, low, v)
        with pytest.raises(OperatorError, match="longer --timeframe"):
            bench.run(server, make_job("kraken", "candles", start_ms=START, end_ms=START + DAY_MS))


# ---- GMO Coin


@pytest.mark.parametrize("sort", ["asc", "desc"])
def test_gmo_days_begin_at_six_in_japan(bench, sort):
    begin = START - START % DAY_MS
    candles = make_candles(1, 3 * 1440, begin, 60_000)
    with FakeGmo(candles=candles).running() as server:
        start, end = begin + 7 * HOUR_MS, begin + 2 * DAY_MS + 5 * HOUR_MS
        job = make_job("gmo", "candles", sort=sort, start_ms=start, end_ms=end)
        bench.run(server, job)
        dates = [seen.params["date"] for seen in server.seen if "date" in seen.params]
    expected = [row[0] for row in candles if start <= row[0] < end]
    assert [int(row[0]) for row in bench.rows(job)] == (
        expected if sort == "asc" else expected[::-1]
    )
    assert dates == sorted(dates, reverse=sort == "desc")
    assert len(dates) == 3


def test_gmo_years_and_dates_of_before_the_symbol(bench):
    begin = START - START % DAY_MS - 500 * DAY_MS
    candles = make_candles(1, 800, begin, DAY_MS)
    with FakeGmo(candles=candles, interval="1day").running() as server:
        job = make_job("gmo", "candles", timeframe="1D", start_ms=begin - 900 * DAY_MS, end_ms=NOW)
        bench.run(server, job)
    expected = [row[0] for row in candles if row[0] + DAY_MS <= NOW]
    assert [int(row[0]) for row in bench.rows(job)] == expected


def test_gmo_knows_its_symbols(bench):
    with FakeGmo().running() as server, pytest.raises(OperatorError, match="it has BTC, BTC_JPY"):
        bench.run(server, make_job("gmo", "candles", rest_symbol="NOPE"))


# ---- words


@pytest.mark.parametrize(
    ("venue", "channel", "timeframe", "words"),
    [
        ("gmo", "trades", "", ["whole", "it has: candles"]),
        ("gmo", "tickers", "", ["candles"]),
        ("kraken", "tickers", "", ["candles, trades"]),
        ("bitfinex", "books", "", ["candles, trades, tickers"]),
        ("bitfinex", "candles", "2m", ["1m, 5m"]),
        ("kraken", "candles", "1M", ["15D"]),
    ],
)
def test_what_a_venue_lacks_is_said_with_what_it_has(venue, channel, timeframe, words):
    with pytest.raises(OperatorError) as caught:
        sources.check_channel(venue, channel, timeframe)
    for word in words:
        assert word in str(caught.value)


def test_candles_end_when_they_should():
    assert candle_end_ms("1m", START) == START + 60_000
    assert candle_end_ms("14D", START) == START + 14 * DAY_MS
    january, february, march = 1_704_067_200_000, 1_706_745_600_000, 1_709_251_200_000
    assert candle_end_ms("1M", january) == february
    assert candle_end_ms("1M", february) == march
    assert (spell("1d"), spell("1w"), spell("1m"), spell("1M")) == ("1D", "1W", "1m", "1M")
