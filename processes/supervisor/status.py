"""What `dcctl status`, /healthz and /metrics say, read from the pages that everybody writes."""

import shutil
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from processes.clock import Clock, monotonic_s, utc_text
from processes.latch import read_latch
from processes.supervisor.child import Child, State
from processes.supervisor.memory import Memory
from schemas import metrics
from schemas.control import Mode, Word
from schemas.instruments import CHANNELS
from schemas.messages import (
    KillSwitchStatus,
    LatencyStatus,
    ProcessStatus,
    ReaderStatus,
    RingStatus,
    Status,
)
from schemas.predictions import Rung
from schemas.trading import KillLevel
from shm.identity import is_alive

SAMPLE_S: Final = 1.0
WINDOW: Final = 5
LOW_DISK_BYTES: Final = 1_000_000_000
LATENCIES: Final = (
    "recv_to_tape", "recv_to_feature", "recv_to_prediction", "recv_to_decision",
    "prediction_latency",
)  # fmt: skip


class Rates:
    """Rates over the last few seconds, from counts sampled once a second."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[tuple[float, int]]] = {}

    def sample(self, name: str, value: int) -> None:
        """Note a count; one that has fallen began anew with its process."""
        samples = self._samples.setdefault(name, deque(maxlen=WINDOW + 1))
        if samples and value < samples[-1][1]:
            samples.clear()
        samples.append((monotonic_s(), value))

    def per_s(self, name: str) -> float:
        """The rate now, 0 while there is nothing to compare."""
        samples = self._samples.get(name)
        if samples is None or len(samples) < 2:
            return 0.0
        (start_s, first), (end_s, last) = samples[0], samples[-1]
        return (last - first) / (end_s - start_s) if end_s > start_s else 0.0


class Used(NamedTuple):
    """What a process has taken of the machine."""

    rss_bytes: int
    cpu_s: float


NOTHING_USED: Final = Used(0, 0.0)


class Observer:
    """Reads the instance's pages; the supervisor samples it once a second."""

    def __init__(
        self, memory: Memory, children: list[Child], clock: Clock, data: Path, profile: str
    ) -> None:
        self.endpoints: dict[str, str] = {}
        self.rates = Rates()
        self._memory = memory
        self._children = children
        self._clock = clock
        self._data = data
        self._profile = profile
        self._used: dict[int, Used] = {}
        self._next_sample_s = 0.0

    def sample(self) -> None:
        """Take the second's samples when they are due."""
        if monotonic_s() < self._next_sample_s:
            return
        self._next_sample_s = monotonic_s() + SAMPLE_S
        for ring in self._memory.rings:
            self.rates.sample(ring, self._memory.committed(ring))
        for child in self._children:
            values = self.values(child)
            for channel in CHANNELS:
                place = metrics.place("ingest_events", channel)
                self.rates.sample(f"{child.spec.name} {channel}", values[place] if values else 0)
        self._used = {child.pid: _used(child.pid) for child in self._children if child.pid}

    def used(self, child: Child) -> Used:
        """What a child's process has taken of the machine, as of the last sample."""
        return self._used.get(child.pid, NOTHING_USED)

    def values(self, child: Child) -> list[int] | None:
        """A living child's counters."""
        if not is_alive(self._memory.counters.owner(child.row)):
            return None
        return self._memory.counters.values(child.row)

    def still_open(self) -> int | None:
        """Orders and positions that execution says are open; None while it is not alive."""
        for child in self._children:
            if child.spec.name == "execution":
                values = self.values(child)
                places = ("open_orders", "open_positions")
                return None if values is None else sum(values[metrics.place(p)] for p in places)
        return None

    def status(self) -> Status:
        """All of it."""
        control = self._memory.control
        latch = read_latch(self._data)
        return Status(
            state=self.state(),
            profile=self._profile,
            mode=Mode(control.get(Word.MODE)).name.lower(),
            rung=Rung(control.get(Word.RUNG)).name.lower(),
            kill_switch=KillSwitchStatus(
                level=KillLevel(control.get(Word.KILL_LEVEL)).name.lower(),
                latched_by=latch.by,
                since=utc_text(latch.since_ns) if latch.since_ns else "",
            ),
            processes=[self._process(child) for child in self._children],
            rings=[self._ring(ring) for ring in self._memory.rings],
            latency_us=self._latencies(),
            endpoints=self.endpoints,
        )

    def state(self) -> str:
        """The instance in a word."""
        states = {child.state for child in self._children}
        if self._memory.control.get(Word.DRAINING):
            return "stopping"
        if states == {State.READY}:
            return "running"
        if states & {State.FAILED, State.BACKING_OFF, State.STOPPED}:
            return "degraded"
        return "starting"

    def _process(self, child: Child) -> ProcessStatus:
        row = self._memory.control.row(child.row)
        age_ms = (self._clock.now_ns() - row.beat_ns) / 1e6 if row.beat_ns else -1.0
        return ProcessStatus(
            name=child.spec.name,
            pid=child.pid,
            state=child.state.value,
            restarts=child.restarts,
            uptime_s=round(child.uptime_s, 1),
            rss_bytes=self.used(child).rss_bytes,
            heartbeat_age_ms=round(age_ms, 1),
            detail=row.text if child.pid else child.exit_text,
        )

    def _ring(self, ring: str) -> RingStatus:
        committed = self._memory.committed(ring)
        return RingStatus(
            name=ring,
            committed=committed,
            rate_per_s=round(self.rates.per_s(ring), 1),
            readers=[
                ReaderStatus(
                    name=row.name,
                    position=row.position,
                    lag=max(committed - row.position, 0),
                    lost=row.lost,
                )
                for row in self._memory.readers(ring).rows()
                if row.alive or not row.tap
            ],
        )

    def _latencies(self) -> dict[str, LatencyStatus]:
        found = {}
        for name in LATENCIES:
            counts = [0] * metrics.BUCKETS
            for child in self._children:
                values = self.values(child)
                if values:
                    at = metrics.place(name)
                    part = values[at : at + metrics.BUCKETS]
                    counts = [a + b for a, b in zip(counts, part, strict=True)]
            found[name] = LatencyStatus(
                p50=round(metrics.quantile_ns(counts, 0.5) / 1e3, 1),
                p99=round(metrics.quantile_ns(counts, 0.99) / 1e3, 1),
                count=sum(counts),
            )
        return found

    def health(self) -> tuple[bool, dict[str, object]]:
        """/healthz: whether it is well, and each component."""
        components: dict[str, dict[str, object]] = {}
        for child in self._children:
            row = self._memory.control.row(child.row)
            well = child.state == State.READY
            components[child.spec.name] = {"healthy": well, "state": child.state.value}
            if row.text:
                components[child.spec.name]["detail"] = row.text
        free = shutil.disk_usage(self._data).free
        components["disk"] = {"healthy": free > LOW_DISK_BYTES, "free_bytes": free}
        memory = psutil.virtual_memory()
        components["memory"] = {"healthy": memory.percent < 95, "used_percent": memory.percent}
        level = KillLevel(self._memory.control.get(Word.KILL_LEVEL))
        components["kill_switch"] = {
            "healthy": level == KillLevel.NONE,
            "level": level.name.lower(),
        }
        well = all(part["healthy"] for part in components.values())
        body: dict[str, object] = {
            "overall": "healthy" if well else "unhealthy",
            "components": components,
            "timestamp": utc_text(self._clock.now_ns()),
        }
        return well, body


def _used(pid: int) -> Used:
    try:
        with (process := psutil.Process(pid)).oneshot():
            times = process.cpu_times()
            return Used(int(process.memory_info().rss), times.user + times.system)
    except psutil.Error:
        return NOTHING_USED
