"""The whole pipeline at 10,000 events a second: its memory stays flat, and nothing is lost.

Ten minutes under --long, some seconds of the same otherwise (then the slopes are only printed: in
so short a time they show warming up). Rings are small, so that their pages have all been touched
long before the part that is judged begins, and lake files are sealed every minute, so that it
holds many of their lives.

Alone and whole: ./scripts/test --long -s tests/faults/test_soak.py
"""

import threading
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

from benchmarks.instance import Instance, running_instance
from benchmarks.latency import SYMBOLS, settings, wait_drained
from benchmarks.load import LEVELS, Load
from processes.clock import monotonic_s
from tests.helpers import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]

RATE = 10_000
SAMPLE_S, WHOLE_S = 8, 600
PART_S = 20
"""The sender makes its frames beforehand; so much of them fits in a modest memory."""
WARM_SHARE = 0.2
TROUGH_POINTS = 6
"""A minute of samples: storage's memory goes up and down with each file it writes and seals, by
tens of megabytes. What has gone up for good is what is still there at the lowest point."""
SLOPE_MAX_KB_PER_MIN = 1000.0
"""A process that leaks a hundred bytes an event grows by 60 MB a minute, one that leaks a kilobyte
a feature row by 40 MB. A healthy one was seen between 0 and 1.1 KB a minute on a quiet machine,
storage between 0 and some hundreds, since its allocator takes whole megabytes at a time."""


def slope_kb_per_min(points: list[tuple[float, int]]) -> float:
    """Theil-Sen: the median slope of all pairs, which a step or an outlier does not move."""
    times = np.array([at for at, _ in points]) / 60
    sizes = np.array([size for _, size in points]) / 1000
    first, second = np.triu_indices(len(points), 1)
    return float(np.median((sizes[second] - sizes[first]) / (times[second] - times[first])))


def judged(points: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """The lowest point of each minute, without the warming up."""
    warm = points[int(len(points) * WARM_SHARE) :]
    groups = [warm[at : at + TROUGH_POINTS] for at in range(0, len(warm), TROUGH_POINTS)]
    return [min(group, key=lambda point: point[1]) for group in groups]


class Sampler:
    """Resident memory of every process, and of the supervisor, now and then."""

    def __init__(self, instance: Instance, every_s: float) -> None:
        supervisor = int((instance.run / "lock").read_text())
        self.points: dict[str, list[tuple[float, int]]] = {}
        self._processes = {p.name: psutil.Process(p.pid) for p in instance.status().processes}
        self._processes["supervisor"] = psutil.Process(supervisor)
        self._every_s = every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def _live(self) -> None:
        while not self._end.wait(self._every_s):
            for name, process in self._processes.items():
                size = process.memory_info().rss
                self.points.setdefault(name, []).append((monotonic_s(), size))

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def report(self) -> dict[str, float]:
        """Slopes in KB a minute, printed with the way there."""
        slopes = {}
        print(f"{'process':<20} {'KB/min':>9}  MB, at even distances")
        for name, points in sorted(self.points.items()):
            slopes[name] = slope_kb_per_min(judged(points))
            shown = points[:: max(len(points) // 12, 1)]
            sizes = " ".join(f"{size / 1e6:.1f}" for _, size in [*shown, points[-1]])
            print(f"{name:<20} {slopes[name]:>9.1f}  {sizes}")
        return slopes


def sequences(folder: Path, column: str) -> np.ndarray:
    """Sequence numbers of all rows below a folder of the lake, in order."""
    parts = [np.zeros(0, np.uint64)]
    for path in folder.rglob("*.arrow"):
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            batches = [file.get_batch(number) for number in range(file.num_record_batches)]
            parts += [np.array(batch[column].to_numpy(zero_copy_only=False)) for batch in batches]
            del batches
    return np.sort(np.concatenate(parts))


def test_memory_is_flat_and_nothing_is_lost(long_run):
    seconds = WHOLE_S if long_run else SAMPLE_S
    part_s = min(PART_S, seconds / 2)
    wanted = settings(0, "zmq") | {
        "rings": {"tape": 1 << 17, "features": 4096, "predictions": 4096, "decisions": 8192},
        "features__trigger_interval_us": 10_000,
        "storage__seal_s": 60,
    }
    load = Load()
    wanted["venues__bitfinex__url"] = f"ws://127.0.0.1:{load.port}"
    sent = 0
    try:
        with running_instance(**wanted) as instance:
            snapshots = len(SYMBOLS) * 2 * LEVELS
            wait_until(lambda: committed(instance)["tape.bitfinex"] >= snapshots, 60, "the books")
            with Sampler(instance, 10.0 if long_run else 0.5) as sampler:
                while sent < seconds * RATE:
                    load.begin(f"paced {RATE} {part_s}")
                    sent += load.finish()["sent"]
            wait_drained(instance)
            slopes = sampler.report()
            rings = instance.status().rings
            lost = {(r.name, one.name): one.lost for r in rings for one in r.readers if one.lost}
            before = {ring.name: ring.committed for ring in rings}
            restarts = {p.name: p.restarts for p in instance.status().processes if p.restarts}
            instance.stop()
            troubles = instance.troubles()
            lake = instance.folder / "data" / "lake"
            found = {
                "tape.bitfinex": sequences(lake / "bitfinex", "tape_seq"),
                **{name: sequences(lake / name, "seq") for name in before if "." not in name},
            }
    finally:
        load.close()
    print(
        f"{sent} events sent, committed {before}, lake { ({n: len(f) for n, f in found.items()}) }"
    )
    assert not lost
    assert not restarts, troubles
    assert before["tape.bitfinex"] >= sent + snapshots
    for name, numbers in found.items():
        # Each slot once: what was committed, and the few that came while it stopped.
        assert len(numbers) >= before[name] > 0, name
        assert np.array_equal(numbers, np.arange(1, len(numbers) + 1)), name
    assert len(found["tape.bitfinex"]) < sent + snapshots + 1000, "more than was sent"
    if long_run:
        leaking = {name: round(s) for name, s in slopes.items() if s > SLOPE_MAX_KB_PER_MIN}
        assert not leaking, f"KB a minute: {leaking}"


def committed(instance: Instance) -> dict[str, int]:
    return {ring.name: ring.committed for ring in instance.status().rings}


@pytest.mark.parametrize("leak_kb_per_min", [-3000, 0, 3000])
def test_a_leak_is_seen_through_the_unrest(seed, leak_kb_per_min):
    """Ten minutes with noise, steps, a peak and a sawtooth of 30 MB: the slope is the leak's."""
    draw = np.random.default_rng(seed)
    points = []
    for number in range(60):
        at = number * 10.0
        size = 150_000 + leak_kb_per_min * at / 60 + draw.normal(0, 200)
        size += 40_000 * (number < 5) + 30_000 * (number in {20, 21}) + 150 * (number // 20)
        size += 5_000 * (number % 6)
        points.append((at, int(size * 1000)))
    assert slope_kb_per_min(judged(points)) == pytest.approx(leak_kb_per_min, abs=150)
