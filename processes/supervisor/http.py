"""/healthz and /metrics on 127.0.0.1, from the counter pages at the moment of the scrape."""

import threading
from collections.abc import Iterator
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
from schemas.trading import KillLevel

PREFIX = "data_controller"
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
        active = GaugeMetricFamily("kill_switch_active", "1 while the kill switch is on")
        active.add_metric([], int(level != KillLevel.NONE))
        yield active
        yield from _ring_metrics(status)
        for metric in metrics.TABLE:
            yield _family(metric, living)

    def _of_processes(self) -> Iterator[Any]:
        up = GaugeMetricFamily(f"{PREFIX}_process_up", "1 while ready", labels=["process"])
        restarts = CounterMetricFamily(
            f"{PREFIX}_process_restarts", "restarts by the supervisor", labels=["process"]
        )
        for child in self._children:
            up.add_metric([child.spec.name], int(child.state == State.READY))
            restarts.add_metric([child.spec.name], child.restarts)
        yield up
        yield restarts

    def _ingest_rate(self) -> Any:
        family = GaugeMetricFamily(
            f"{PREFIX}_ingest_rate", "events a second", labels=["exchange", "channel"]
        )
        for child in self._children:
            kind, _, venue = child.spec.name.partition(".")
            if kind == "collector":
                for channel in CHANNELS:
                    rate = self._observer.rates.per_s(f"{child.spec.name} {channel}")
                    family.add_metric([venue, channel], rate)
        return family


def _ring_metrics(status: Any) -> Iterator[Any]:
    lag = GaugeMetricFamily(
        f"{PREFIX}_ring_reader_lag", "slots a reader is behind", labels=["ring", "reader"]
    )
    lost = CounterMetricFamily(
        f"{PREFIX}_ring_reader_lost", "slots a reader has missed", labels=["ring", "reader"]
    )
    committed = CounterMetricFamily(f"{PREFIX}_ring_committed", "slots committed", labels=["ring"])
    for ring in status.rings:
        committed.add_metric([ring.name], ring.committed)
        for reader in ring.readers:
            lag.add_metric([ring.name, reader.name], reader.lag)
            lost.add_metric([ring.name, reader.name], reader.lost)
    yield from (committed, lag, lost)


def _family(metric: metrics.Metric, living: list[tuple[str, list[int]]]) -> Any:
    """One metric of all living processes. Nanoseconds become seconds."""
    at = metrics.place(metric.name, *metrics.LABELS[metric.by][:1])
    if metric.kind == "histogram":
        # The user's name for this one, without our prefix.
        name = "prediction_latency" if metric.name == "prediction_latency" else ""
        histogram = HistogramMetricFamily(
            f"{name or f'{PREFIX}_{metric.name}'}_seconds", metric.help, labels=["process"]
        )
        for process, values in living:
            counts = values[at : at + metrics.BUCKETS]
            if sum(counts):
                total_ns = values[at + metrics.BUCKETS]
                histogram.add_metric([process], _buckets(counts), total_ns / 1e9)
        return histogram
    labels = ["process", metric.by] if metric.by else ["process"]
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(f"{PREFIX}_{metric.name}", f"{metric.help} ({metric.unit})", labels=labels)
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
