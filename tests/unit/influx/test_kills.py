"""The process on real rings, killed at random while its server is killed, frozen, full and
refusing: when everything is back, the server holds every point once.

What is expected is computed here from the slots that were fed, not by the code under test.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from processes.clock import Clock
from processes.influx.aggregates import GRACE_NS, WINDOW_NS
from processes.influx.dead_letters import read_letters
from processes.influx.lines import FEATURES
from processes.influx.spool import hold, look
from processes.rings import ring_layout
from schemas import metrics
from schemas.control import ProcessState
from shm.identity import pid_of
from shm.ring import RingWriter
from tests.helpers import python, wait_until
from tests.influx_shim import TOKEN, Shim, influx_shim
from tests.instances import Bare, bare_instance
from tests.unit.influx.slots import decision_slots, feature_slots, marker_slots, prediction_slots

MAKERS = {
    "features": feature_slots, "predictions": prediction_slots, "decisions": decision_slots,
    "tape.bitfinex": marker_slots,
}  # fmt: skip
CAPACITY = 4096
FEW = ("ofi_1_1s", "spread_bps", "mean_cross_bps")

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def server() -> Iterator[Shim]:
    with influx_shim() as made:
        yield made


class Rig:
    """An instance's memory, with this test as the writer of all rings and influx as a child."""

    def __init__(self, bare: Bare, memory: Any) -> None:
        self.bare, self.memory = bare, memory
        self.folder = bare.paths.data / "influx"
        self.child: Any = None
        self.fed: dict[str, list[np.ndarray]] = {ring: [] for ring in MAKERS}
        self.counters: Counter[str] = Counter()
        now_ns = Clock(memory.registry.clock_offset_ns).now_ns()
        self.start_ns = (now_ns - 3600 * 10**9) // WINDOW_NS * WINDOW_NS
        self.writers = {ring: self.writer(ring) for ring in MAKERS}

    def writer(self, ring: str) -> RingWriter:
        dtype, layout = ring_layout(ring)
        segments = self.memory._segments
        return RingWriter(segments[f"ring {ring}"], segments[f"readers {ring}"], dtype, layout)

    def feed(self, count: int) -> None:
        for ring, make in MAKERS.items():
            writer = self.writers[ring]
            slots = make(count, self.start_ns, writer.committed + 1)
            writer.append(slots)
            self.fed[ring].append(slots)

    # ---- the child

    def begin(self) -> None:
        """Start it, and return when it is ready."""
        arguments = ["--run", str(self.bare.paths.run), "--name", "influx"]
        self.child = python("-m", "processes.influx.main", *arguments, start_new_session=True)
        wait_until(self._ready_or_dead, 60, "influx is ready")

    def _ready_or_dead(self) -> bool:
        assert self.child.poll() is None, self.child.communicate()
        row = self.memory.control.row(self.place)
        return pid_of(row.owner) == self.child.pid and row.state == ProcessState.READY

    @property
    def place(self) -> int:
        return self.memory.control.find("influx")

    def count(self, name: str) -> int:
        return self.memory.counters.values(self.place)[metrics.place(name)]

    def end(self, number: int) -> None:
        for name in ("influx_lines_dropped", "influx_rows_late", "influx_records_damaged"):
            self.counters[name] += self.count(name)
        self.child.send_signal(number)
        _, errors = self.child.communicate(timeout=60)
        assert self.child.returncode == (-number if number == signal.SIGKILL else 0), errors
        self.child = None

    def reader_rows(self, ring: str) -> Any:
        return next(row for row in self.memory.readers(ring).rows() if row.name == "influx")

    def caught_up(self) -> bool:
        return all(
            self.reader_rows(ring).position == self.writers[ring].committed for ring in MAKERS
        )


@contextmanager
def rig(shim: Shim, monkeypatch, **settings: Any) -> Iterator[Rig]:
    monkeypatch.setenv("DC_TEST_TOKEN", TOKEN)
    for bucket in ("rt-fast", "agg-30s", "logs"):
        shim.upstream.ask(f'DROP DATABASE "{bucket}"')
    shim.make_databases()
    shim.strict = True
    rings = {
        f"rings__{name}": CAPACITY for name in ("tape", "features", "predictions", "decisions")
    }
    with bare_instance(influx=shim.settings(**settings), **rings) as bare:
        bare.put_in_force()
        made = Rig(bare, bare.open())
        try:
            yield made
        finally:
            if made.child is not None:
                made.child.kill()
                made.child.communicate()


def expected_windows(slots: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Rows of every closed window by its start and instrument."""
    starts = slots["cut_ns"] // WINDOW_NS * WINDOW_NS
    end = int(slots["cut_ns"].max()) - WINDOW_NS - GRACE_NS
    return {
        (start, instrument): slots[(starts == start) & (slots["instrument"] == instrument)]
        for start in sorted(set(starts.tolist()))
        for instrument in (0, 1)
        if start <= end
    }


def check(made: Rig, shim: Shim) -> None:
    """Everything that was fed is in the server once, and nothing else is."""
    whole = {ring: np.concatenate([s.view(np.uint8).reshape(len(s), -1) for s in parts])
             for ring, parts in made.fed.items()}  # fmt: skip
    slots = {ring: raw.view(ring_layout(ring)[0]).reshape(-1) for ring, raw in whole.items()}
    symbols = ("tBTCUSD", "tETHUSD")

    features = slots["features"]
    stored = {(row["time"], row["symbol"]): row for row in shim.rows("rt-fast", "features")}
    assert len(stored) == len(shim.rows("rt-fast", "features")) == len(features)
    for slot in features:
        key = int(slot["cut_ns"]) + int(slot["sequence"]) % 1000, symbols[int(slot["instrument"])]
        row = stored[key]
        for name in FEW:
            value = slot["values"][FEATURES.index(name)]
            assert (row[name] is not None) == bool(np.isfinite(value))
            assert row[name] is None or np.float32(row[name]) == value

    predicted = slots["predictions"]
    nudge = (predicted["sequence"] % 1000).astype(np.int64)
    times = Counter(row["time"] for row in shim.rows("rt-fast", "predictions"))
    assert times == Counter((predicted["cut_ns"] + nudge).tolist())
    decided = slots["decisions"][slots["decisions"]["sequence"] % 2 == 0]
    assert Counter(row["confidence"] for row in shim.rows("rt-fast", "decisions")) == Counter(
        decided["numbers"][:, 0].tolist()
    )
    audited = [int(n) for n in decided["sequence"] if n % 12 == 0 or n % 10 == 0]
    assert sorted(row["cut"] for row in shim.rows("logs", "audit")) == audited
    gaps = [int(n) for n in slots["tape.bitfinex"]["sequence"] if n % 5 == 0]
    found = [row["time"] % 1000 for row in shim.rows("logs", "markers")]
    assert len(found) == len(gaps)

    points = {
        (row["time"], symbols.index(row["symbol"])): row
        for row in shim.rows("agg-30s", "features_30s")
    }
    windows = expected_windows(features)
    assert set(points) == set(windows)
    for key, rows in windows.items():
        assert points[key]["rows"] == len(rows)
        for name in FEW:
            values = rows["values"][:, FEATURES.index(name)].astype(np.float64)
            values = values[np.isfinite(values)]
            point = points[key]
            assert point[f"{name}_count"] == len(values)
            assert point[f"{name}_mean"] == pytest.approx(values.mean(), rel=1e-12)
            assert (point[f"{name}_min"], point[f"{name}_max"]) == (values.min(), values.max())
            assert point[f"{name}_last"] == values[-1]


def trouble(shim: Shim, draw: random.Random) -> None:
    """The server in one of its bad states, until `mend`."""
    kind = draw.choice(["down", "frozen", "full", "slow", "none"])
    if kind == "down" and shim.upstream.process is not None:
        shim.upstream.kill()
    elif kind == "frozen" and shim.upstream.process is not None:
        shim.upstream.freeze()
    elif kind == "full":
        shim.always = draw.choice([429, 503])
    elif kind == "slow":
        shim.broken = True


def mend(shim: Shim) -> None:
    shim.always, shim.broken = 0, False
    if shim.upstream.process is None:
        shim.upstream.start()
    else:
        shim.upstream.thaw()


def test_killed_at_random_with_a_server_that_fails_nothing_is_lost_or_doubled(
    server, monkeypatch, seed, long_run
):
    draw = random.Random(seed)
    lives = 25 if long_run else 4
    with rig(server, monkeypatch, timeout_s=0.3, segment_bytes=20_000) as made:
        try:
            made.feed(40)
            for _ in range(lives):
                trouble(server, draw)
                made.begin()
                for _ in range(draw.randint(1, 4)):
                    made.feed(draw.randint(1, 150))
                    if draw.random() < 0.7:
                        wait_until(made.caught_up, 30, "influx has read the rings")
                    if draw.random() < 0.3:
                        mend(server)
                made.end(signal.SIGKILL)
                made.feed(draw.randint(0, 150))
                if draw.random() < 0.5:
                    mend(server)
        finally:
            mend(server)
        made.begin()
        wait_until(made.caught_up, 30, "influx has read the rings")
        wait_until(lambda: look(made.folder).bytes == 0, 60, "the spool is empty")
        made.end(signal.SIGTERM)
        assert sum(made.reader_rows(ring).lost for ring in MAKERS) == 0
        assert made.counters["influx_lines_dropped"] == made.counters["influx_rows_late"] == 0
        assert read_letters(made.folder) == []
        check(made, server)


def test_an_ordered_end_sends_all_and_a_new_session_goes_on_in_the_middle_of_a_window(
    server, monkeypatch
):
    # An answer that comes late must not read as a fault of the server's: the end gives up on one.
    with rig(server, monkeypatch, timeout_s=30) as made:
        made.begin()
        made.feed(290)
        wait_until(made.caught_up, 60, "influx has read the rings")
        wait_until(lambda: look(made.folder).bytes == 0, 60, "the spool is empty")
        made.feed(40)  # ends in the middle of a window, and is for the ordered end to send
        made.end(signal.SIGTERM)
        assert look(made.folder).bytes == 0
        check(made, server)
        before = {ring: writer.committed for ring, writer in made.writers.items()}
        made.memory.remove(made.bare.paths.run)
        made.memory = made.bare.open()
        made.writers = {ring: made.writer(ring) for ring in MAKERS}
        made.begin()
        for ring, make in MAKERS.items():
            slots = make(200, made.start_ns, before[ring] + 1)
            made.fed[ring].append(slots)
            made.writers[ring].append(slots.copy())
        wait_until(made.caught_up, 30)
        made.end(signal.SIGTERM)
        starts = {row["time"] for row in server.rows("agg-30s", "features_30s")}
        assert {row["rows"] for row in server.rows("agg-30s", "features_30s")} <= {29, 30}
        first_life = np.concatenate(made.fed["features"][:2])
        assert len(starts) == len(expected_windows(first_life)) // 2 + 3


def test_a_full_spool_drops_the_oldest_and_says_how_many(server, monkeypatch):
    with rig(
        server, monkeypatch, url="http://127.0.0.1:9", spool_bytes=100_000, segment_bytes=20_000
    ) as made:
        made.begin()
        for _ in range(12):
            made.feed(300)
            wait_until(made.caught_up, 30)
        wait_until(lambda: made.count("influx_lines_dropped") > 0, 20)
        wait_until(lambda: made.count("influx_sender_state") == 1, 20, "it backs off")

        def settled() -> bool:
            """Between a record's write and the drop of the oldest the files are larger."""
            size = sum(path.stat().st_size for path in made.folder.glob("*.spool"))
            return made.count("influx_spool_bytes") <= size <= 100_000

        wait_until(settled, 20, "no more on the disk than may be there")
        lines = made.count("influx_lines")
        assert lines > made.count("influx_lines_dropped") > 0
        made.end(signal.SIGTERM)


def test_a_spool_that_somebody_else_sends_is_refused(server, monkeypatch):
    with rig(server, monkeypatch) as made, hold(made.folder):
        arguments = ["--run", str(made.bare.paths.run), "--name", "influx"]
        other = python("-m", "processes.influx.main", *arguments)
        _, errors = other.communicate(timeout=60)
        assert other.returncode != 0
        assert f"by process {os.getpid()} already" in errors
