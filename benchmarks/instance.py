"""A whole instance in a folder of its own, for benchmarks: real processes, real settings."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from processes.bus import request
from processes.clock import monotonic_s, nap
from processes.places import ROOT, read_registry
from processes.rings import ring_layout
from schemas.errors import DataControllerError, NotRunningError, OperatorError
from schemas.messages import Status
from shm.readers import RingReader
from shm.segment import Segment


class BenchmarkError(DataControllerError):
    """A measurement could not be made; the text says why."""


class Instance:
    """A running pipeline and its folder."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.run = folder / "run"
        self._process = process

    def status(self) -> Status:
        """As `dcctl status --json`."""
        return msgspec.convert(request(self.run, "supervisor", "status", timeout_s=20), Status)

    def wait_ready(self, deadline_s: float = 120.0) -> None:
        """Until every process is ready."""
        end_s = monotonic_s() + deadline_s
        last = ""
        while monotonic_s() < end_s:
            if self._process.poll() is not None:
                text = (self.folder / "supervisor.err").read_text()
                raise BenchmarkError(f"the instance ended: {text}")
            with contextlib.suppress(NotRunningError, OperatorError):
                status = self.status()
                if status.state == "running":
                    return
                last = ", ".join(f"{p.name} {p.state} {p.detail}" for p in status.processes)
                if any(p.state == "failed" for p in status.processes):
                    raise BenchmarkError(f"a process has failed: {last}")
            nap(0.1)
        raise BenchmarkError(f"not ready within {deadline_s} s: {last}")

    def slots(self, ring: str, limit: int = 1 << 22) -> np.ndarray:
        """A copy of what a ring holds."""
        registry = read_registry(self.run)
        entry, page = registry.find("ring", ring), registry.find("readers", ring)
        assert entry is not None
        assert page is not None
        dtype, layout = ring_layout(ring)
        reader = RingReader(
            Segment.attach(entry.name, writable=False), Segment.attach(page.name), dtype, layout,
            "benchmark", tap=True, limit=min(entry.capacity, limit),
        )  # fmt: skip
        found = reader.read().copy()
        reader.release()
        return found

    def committed(self, ring: str) -> int:
        """Sequence of a ring's newest slot."""
        return next(one.committed for one in self.status().rings if one.name == ring)

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds of each process so far."""
        import psutil

        found = {}
        for process in self.status().processes:
            times = psutil.Process(process.pid).cpu_times()
            found[process.name] = times.user + times.system
        return found

    def troubles(self) -> str:
        """The newest lines of its logs that are more than information."""
        return "\n".join(
            line
            for path in sorted((self.folder / "logs").glob("*.jsonl"))
            for line in path.read_text().splitlines()[-200:]
            if '"level": "info"' not in line
        )

    def stop(self) -> None:
        """End it in order."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextmanager
def running_instance(profile: str = "demo", **settings: Any) -> Iterator[Instance]:
    """An instance with these settings (`features__trigger=True`); stopped and removed after."""
    folder = Path(tempfile.mkdtemp(prefix="dc-bench-"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DC__http__port": "0",
        "DC__console__enabled": "false",
        "DC_LOG_STDOUT": "0",
        "DC__paths__run": str(folder / "run"),
        "DC__paths__data": str(folder / "data"),
        "DC__paths__logs": str(folder / "logs"),
        **{f"DC__{key}": msgspec.json.encode(value).decode() for key, value in settings.items()},
    }
    with (folder / "supervisor.err").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "processes.cli", "start", "--foreground", "-p", profile],
            cwd=ROOT,
            env=environment,
            stdout=errors,
            stderr=errors,
        )
    instance = Instance(folder, process)
    try:
        instance.wait_ready()
        yield instance
    finally:
        instance.stop()
        shutil.rmtree(folder, ignore_errors=True)
