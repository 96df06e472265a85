"""Lines made, kept on disk, read back and sent to a real server, in lines a second.

A line is a feature row: 40 floats and four whole numbers. The peer of making lines is the client's
own `Point(...).to_line_protocol()` of the same rows. The server is an influxd of version 1 where
one is installed (Debian: apt install influxdb); the way there is the product's own, the sender with
the client's synchronous write, to a small server in this process that renames the path of version
2.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from influxdb_client.client.write.point import Point

from benchmarks.figures import Figure, figure, interleave
from processes.influx.accumulator import Accumulator, Batch
from processes.influx.aggregates import aggregate_tables
from processes.influx.client import Writer
from processes.influx.dead_letters import DeadLetters
from processes.influx.lines import FEATURES, Tags, feature_lines, feature_values
from processes.influx.sender import Sender
from processes.influx.spool import Spool
from schemas import features
from schemas.instruments import Instrument, Tables
from schemas.settings import InfluxSettings

BLOCK = 1024
INSTRUMENTS = 8
TABLES = Tables(
    instruments=[
        Instrument(index=index, venue="bitfinex", symbol=f"tMARKET{index}", pair=f"M{index}/USD")
        for index in range(INSTRUMENTS)
    ]
)


def rows(count: int) -> np.ndarray:
    """Feature rows of eight instruments a second, the newest a minute old."""
    draw = np.random.default_rng(1)
    slots = np.zeros(count, features.SLOT)
    slots["sequence"] = np.arange(1, count + 1)
    seconds = np.arange(count, dtype=np.int64) // INSTRUMENTS
    newest = time.time_ns() // 10**9 - 60
    slots["cut_ns"] = (newest - seconds[-1] + seconds) * 10**9
    slots["made_ns"] = slots["cut_ns"] + 300_000
    slots["instrument"] = np.arange(count) % INSTRUMENTS
    slots["reference_price"] = draw.normal(60_000, 50, count)
    slots["values"][:, : len(FEATURES)] = draw.normal(0, 3, (count, len(FEATURES)))
    return slots


def make(slots: np.ndarray) -> list[Batch]:
    """What the process does with a ring's rows, block by block."""
    tags, accumulator = Tags(lambda: TABLES), Accumulator(InfluxSettings(pending_bytes=1 << 30))
    for start in range(0, len(slots), BLOCK):
        accumulator.add(feature_lines(slots[start : start + BLOCK], tags), 0.0)
    accumulator.close_all()
    found = []
    while accumulator.first is not None:
        found.append(accumulator.pop())
    return found


def _timed(count: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def _aggregate(slots: np.ndarray) -> None:
    table, tags = aggregate_tables()["features"], Tags(lambda: TABLES)
    for start in range(0, len(slots), BLOCK):
        block = slots[start : start + BLOCK]
        table.add(block["cut_ns"], block["instrument"], feature_values(block))
        table.close(tags)


def _points(slots: np.ndarray) -> None:
    """The client's own way, a Point a row."""
    make: Any = Point  # which has no types
    for slot in slots:
        item = TABLES.instruments[int(slot["instrument"])]
        point = make("features").tag("venue", item.venue).tag("symbol", item.symbol)
        for name, value in zip(FEATURES, slot["values"].tolist(), strict=False):
            point.field(name, value)
        point.time(int(slot["cut_ns"])).to_line_protocol()


@contextmanager
def _spool(folder: Path) -> Iterator[Spool]:
    spool = Spool(folder, 16_000_000, 4_000_000_000, time.time_ns())
    yield spool
    spool.close()
    shutil.rmtree(folder, ignore_errors=True)


def _append(batches: list[Batch], folder: Path) -> None:
    with _spool(folder) as spool:
        for batch in batches:
            spool.append(batch)


def _read(batches: list[Batch], folder: Path) -> float:
    """Lines a second from the disk, acknowledged."""
    with _spool(folder) as spool:
        for batch in batches:
            spool.append(batch)

        def work() -> None:
            for _ in batches:
                record = spool.next_live()
                assert record is not None
                spool.done(record)

        return _timed(sum(batch.lines for batch in batches), work)


class _Rename(BaseHTTPRequestHandler):
    """`/api/v2/write?bucket=B&precision=ns` to `/write?db=B&precision=n` of a version 1."""

    protocol_version = "HTTP/1.1"
    upstream = ""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """One write."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        told = urllib.parse.urlencode({"db": query["bucket"], "precision": "n"})
        with urllib.request.urlopen(f"{self.upstream}/write?{told}", content) as answer:  # noqa: S310
            self.send_response(answer.status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _influxd(program: str) -> Iterator[str]:
    """A private server behind the renamed path; its address."""
    with tempfile.TemporaryDirectory(prefix="dc-bench-") as folder:
        port = _free_port()
        config = Path(folder) / "influxdb.conf"
        config.write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{_free_port()}"\n'
            f'[meta]\ndir = "{folder}/meta"\n[data]\ndir = "{folder}/data"\n'
            f'wal-dir = "{folder}/wal"\n[monitor]\nstore-enabled = false\n'
            f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
        )
        process = subprocess.Popen(
            [program, "-config", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        address = f"http://127.0.0.1:{port}"
        handler = type("Rename", (_Rename,), {"upstream": address})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            told = urllib.parse.urlencode({"q": 'CREATE DATABASE "rt-fast"'}).encode()
            for _ in range(200):
                with contextlib.suppress(urllib.error.URLError):
                    urllib.request.urlopen(f"{address}/query", told).close()  # noqa: S310
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            process.kill()
            process.wait()


def _send(batches: list[Batch], folder: Path, url: str) -> tuple[float, float]:
    """Lines a second through the sender, and processor microseconds a line of ours."""
    settings = InfluxSettings(url=url, token="${DC_BENCH_TOKEN}", timeout_s=30.0)  # noqa: S106
    with _spool(folder) as spool:
        for batch in batches:
            spool.append(batch)
        writer = Writer(settings)
        sender = Sender(spool, DeadLetters(folder, 1_000_000), writer, settings, time.time_ns)
        lines = sum(batch.lines for batch in batches)
        spent = time.thread_time()

        def work() -> None:
            while not spool.is_empty:
                assert sender.turn(), sender.link.reason

        rate = _timed(lines, work)
        writer.close()
        assert sender.sent_lines == lines
        return rate, (time.thread_time() - spent) * 1e6 / lines


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """All figures of InfluxDB."""
    rounds, count = (1, 4_000) if quick else (5, 40_000)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dc-bench-")))
        slots = rows(count)
        batches = make(slots)
        size = sum(len(batch.body) for batch in batches) / count
        few = slots[: count // 10]
        runs = interleave(
            {
                "make": lambda: _timed(count, partial(make, slots)),
                "point": lambda: _timed(len(few), partial(_points, few)),
                "windows": lambda: _timed(count, partial(_aggregate, slots)),
                "spool": lambda: _timed(count, partial(_append, batches, folder / "a")),
                "read": lambda: _read(batches, folder / "b"),
            },
            rounds,
        )
        found = {
            "influx_lines_made": figure(
                runs["make"], "lines/s", {"influxdb-client Point": runs["point"]},
                note=f"feature rows of 40 floats, {size:.0f} bytes a line",
            ),
            "influx_rows_aggregated": figure(runs["windows"], "rows/s", note="into 30 s windows"),
            "influx_spool_write": figure(runs["spool"], "lines/s", note="compressed, to disk"),
            "influx_spool_read": figure(runs["read"], "lines/s", note="read back, acknowledged"),
        }  # fmt: skip
        program = shutil.which("influxd")
        if program is not None:
            os.environ.setdefault("DC_BENCH_TOKEN", "none")
            url = stack.enter_context(_influxd(program))
            sent = [_send(batches, folder / f"c{number}", url) for number in range(rounds)]
            spent = min(us for _, us in sent)
            found["influx_sent"] = figure(
                [rate for rate, _ in sent], "lines/s",
                note=f"to influxd 1 on the same machine, {spent:.2f} µs a line of our processor",
            )  # fmt: skip
        return found
