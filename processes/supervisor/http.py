"""/healthz and /metrics on 127.0.0.1, from the counter pages at the moment of the scrape."""

import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from processes.supervisor.child import Child, State
from processes.supervisor.status import Observer
from schemas import metrics
from schemas.errors import OperatorError
from schemas.instruments import CHANNELS
from schemas.messages import Status
from schemas.trading import KillLevel

BOUNDS_EVERY = 4
"""Prometheus gets one bucket an octave; the page keeps four."""


class PageCollector(Collector):
    """Counter pages as Prometheus metrics; a dead process's series are not there."""

    def __init__(self, observer: Observer, children: list[Child]) -> None:
        self._observer = observer
        self._children = children

    def collect(self) -> Iterator[Any]:
        """All metrics, once a scrape."""
        pages = [(child, self._observer.values(child)) for child in self._children]
        living = [(child.spec.name, values) for child, values in pages if values is not None]
        yield from self._of_processes()
        yield self._ingest_rate()
        status = self._observer.status()
        level = KillLevel[status.kill_switch.level.upper()]
        yield _of(metrics.KILL_SWITCH_ACTIVE, [((), int(level != KillLevel.NONE))])
        yield _of(metrics.KILL_SWITCH_LEVEL, [((), int(level))])
        yield from _ring_metrics(status)
        for metric in metrics.TABLE:
            yield _family(metric, living)

    def _of_processes(self) -> Iterator[Any]:
        names = [child.spec.name for child in self._children]
        used = [self._observer.used(child) for child in self._children]
        ready = [int(child.state == State.READY) for child in self._children]
        restarts = [child.restarts for child in self._children]
        for told, values in (
            (metrics.PROCESS_UP, ready),
            (metrics.PROCESS_RESTARTS, restarts),
            (metrics.PROCESS_MEMORY, [one.rss_bytes for one in used]),
            (metrics.PROCESS_CPU, [one.cpu_s for one in used]),
        ):
            yield _of(told, [((name,), value) for name, value in zip(names, values, strict=True)])

    def _ingest_rate(self) -> Any:
        found = []
        for child in self._children:
            kind, _, venue = child.spec.name.partition(".")
            if kind == "collector":
                for channel in CHANNELS:
                    rate = self._observer.rates.per_s(f"{child.spec.name} {channel}")
                    found.append(((venue, channel), rate))
        return _of(metrics.INGEST_RATE, found)


def _of(told: metrics.Told, values: Iterable[tuple[tuple[str, ...], float]]) -> Any:
    kind = CounterMetricFamily if told.kind == "counter" else GaugeMetricFamily
    family = kind(told.exposed, told.help, labels=told.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _ring_metrics(status: Status) -> Iterator[Any]:
    readers = [(ring.name, reader) for ring in status.rings for reader in ring.readers]
    yield _of(metrics.RING_COMMITTED, [((ring.name,), ring.committed) for ring in status.rings])
    yield _of(metrics.RING_READER_LAG, [((ring, one.name), one.lag) for ring, one in readers])
    yield _of(metrics.RING_READER_LOST, [((ring, one.name), one.lost) for ring, one in readers])


def _family(metric: metrics.Metric, living: list[tuple[str, list[int]]]) -> Any:
    """One metric of all living processes. Nanoseconds become seconds."""
    at = metrics.place(metric.name, *metrics.LABELS[metric.by][:1])
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.exposed, metric.help, labels=metric.labels)
        for process, values in living:
            counts = values[at : at + metrics.BUCKETS]
            if sum(counts):
                total_ns = values[at + metrics.BUCKETS]
                histogram.add_metric([process], _buckets(counts), total_ns / 1e9)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.exposed, f"{metric.help} ({metric.unit})", labels=metric.labels)
    for process, values in living:
        for offset in range(metric.slots):
            value = values[at + offset]
            # A process has a place for every metric; those it never touched are not its own.
            if value or not metric.by:
                more = metrics.LABELS[metric.by][offset : offset + 1]
                family.add_metric([process, *more], value)
    return family


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    bounds = metrics.bucket_bounds_ns()
    found, below = [], 0
    for index, bound in enumerate(bounds):
        below += counts[index]
        if index % BOUNDS_EVERY == 0:
            found.append((f"{bound / 1e9:.9g}", float(below)))
    found.append(("+Inf", float(below + counts[-1])))
    return found


class Handler(BaseHTTPRequestHandler):
    """GET /healthz, GET /metrics."""

    protocol_version = "HTTP/1.1"
    timeout = 5.0
    server: "Endpoint"

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0]
        if path == "/healthz":
            well, body = self.server.observer.health()
            self._reply(200 if well else 503, "application/json", msgspec.json.encode(body))
        elif path == "/metrics":
            self._reply(200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))
        else:
            self._reply(404, "text/plain", b"there are /healthz and /metrics\n")

    def _reply(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Scrapes are not logged."""


class Endpoint(ThreadingHTTPServer):
    """The HTTP server. Binding comes first, so that a taken port stops a start before it begins.

    Raises:
        OperatorError: the port is taken.
    """

    daemon_threads = True
    observer: Observer
    registry: CollectorRegistry

    def __init__(self, port: int) -> None:
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError:
            raise OperatorError(
                f"port {port} of 127.0.0.1 is taken by another program; set http.port in "
                "config/config.yml, or DC__http__port=0 for any free one"
            ) from None
        self.url = f"http://127.0.0.1:{self.server_port}"

    def begin(self, observer: Observer, children: list[Child]) -> None:
        """Serve from a thread of its own."""
        self.observer = observer
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(PageCollector(observer, children))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()
