"""Events from one process to another: the ring and its doorbells, against what else there is.

Two processes, no pinning; the events and the work at both ends are the same for every transport
(`benchmarks/events.py`). Throughput is one event at a time, as fast as it goes without loss;
latency is from before the send until the event is unpacked, at 10,000 events a second paced by
sleeping. Peers: `multiprocessing.Queue`, ZeroMQ PUSH/PULL, and Redis Streams over a Unix socket on
a server of the benchmark's own that keeps nothing on disk (its best case;
`benchmarks/peers/redis_streams.py`).
"""

import contextlib
import multiprocessing
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.events import percentiles_us, receive_all, send_all, send_paced
from benchmarks.figures import Figure, Runs, figure, interleave
from benchmarks.links import (
    CAPACITY,
    LAYOUT,
    READER,
    SLOT,
    Link,
    PushLink,
    QueueLink,
    RingLink,
    wait_for_room,
)
from benchmarks.memory import private_ring
from benchmarks.peering import PeerAbsentError, PeerProcess

RATE = 10_000.0
BLOCK = 64
WARM_EVENTS = 1000
"""Before anything is measured: kernels are loaded, sockets have found each other."""
RINGS = {"zmq": "ring_zmq", "datagram": "ring_datagram"}
QUEUE, PUSH = "multiprocessing.Queue", "zmq PUSH/PULL"
REDIS, REDIS_64 = "redis streams", "redis streams pipelined 64"


def _consume(link: Link, pipe: "Connection[Any, Any]") -> None:
    """The receiving process: obeys (first, count) until it is told None."""
    receive, close = link.open_receiver()
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        pipe.send("ready")
        pipe.send(receive_all(receive, *order))
    close()


def _consume_blocks(link: RingLink, pipe: "Connection[Any, Any]") -> None:
    """The receiving process of the block case: slots are copied and checked, not unpacked."""
    reader, inbox, close = link.open_reader(BLOCK)
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        pipe.send("ready")
        first, count = order
        while reader.position < first + count - 1:
            inbox.wait(20)
            while len(reader.read()):
                pass
            reader.acknowledge()
        assert reader.lost == 0
        pipe.send((time.monotonic_ns(), []))
    close()


class Pair:
    """A sending process (this one) and a receiving one, with a link between them."""

    def __init__(self, link: Any, consume: Callable[..., None]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, other = spawn.Pipe()
        self._process = spawn.Process(target=consume, args=(link, other), daemon=True)
        self._process.start()
        other.close()
        assert self._pipe.recv() == "ready"
        self._sent = 0

    def run(self, count: int, send: Callable[[int], int]) -> tuple[float, list[float]]:
        """`send(first)` sends `count` events; seconds until the last has come, and latencies."""
        first = self._sent + 1
        self._sent += count
        self._pipe.send((first, count))
        assert self._pipe.recv() == "ready"
        began_ns = send(first)
        done_ns, latencies = self._pipe.recv()
        return (done_ns - began_ns) / 1e9, latencies

    def close(self) -> None:
        """End the receiving process."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()


class Rig:
    """One transport, ready to be measured again and again."""

    def __init__(self, stack: ExitStack, link: Link) -> None:
        # The receiver first: a ring's sender wants to know its reader's row.
        self._pair = Pair(link, _consume)
        stack.callback(self._pair.close)
        self._send, close = link.open_sender()
        stack.callback(close)
        self.throughput(WARM_EVENTS)

    def throughput(self, count: int) -> float:
        """Events a second."""
        seconds, _ = self._pair.run(count, lambda first: send_all(self._send, first, count))
        return count / seconds

    def latency(self, count: int) -> dict[str, float]:
        """p50 and p99 in microseconds."""
        _, found = self._pair.run(count, lambda first: send_paced(self._send, first, count, RATE))
        return percentiles_us(found)


class BlockRig:
    """The ring, 64 slots a call at both ends."""

    def __init__(self, stack: ExitStack, link: RingLink) -> None:
        self._pair = Pair(link, _consume_blocks)
        stack.callback(self._pair.close)
        self._writer, self._ringer, self._page, close = link.open_writer()
        stack.callback(close)
        self._row = next(row.place for row in self._page.rows() if row.name == READER)
        self._block = np.zeros(BLOCK, SLOT)
        self.throughput(BLOCK * WARM_EVENTS)

    def throughput(self, count: int) -> float:
        """Slots a second; `count` is a multiple of the block."""
        seconds, _ = self._pair.run(count, lambda _: self._send(count))
        return count / seconds

    def _send(self, count: int) -> int:
        address, append = int(self._block.ctypes.data), self._writer.append_at
        began_ns = time.monotonic_ns()
        for number in range(count // BLOCK):
            armed = append(address, BLOCK)
            if armed:
                self._ringer.ring(armed)
            if number % 64 == 0:
                wait_for_room(self._page, self._row, self._writer)
        return began_ns


@contextmanager
def redis_server() -> Iterator[str]:
    """A private server; the path of its socket.

    Raises:
        PeerAbsentError: there is none on PATH.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise PeerAbsentError("absent: no redis-server on PATH (Debian: apt install redis-server)")
    with tempfile.TemporaryDirectory(prefix="dc-bench-") as folder:
        path = Path(folder) / "redis.sock"
        process = subprocess.Popen(
            [
                program, "--port", "0", "--unixsocket", str(path), "--save", "",
                "--appendonly", "no", "--dir", folder, "--loglevel", "warning",
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            for _ in range(100):
                if path.exists() or process.poll() is not None:
                    break
                time.sleep(0.05)
            if not path.exists():
                raise PeerAbsentError("absent: redis-server did not start")
            yield str(path)
        finally:
            process.terminate()
            process.wait()


def ring_link(stack: ExitStack, doorbell: str) -> RingLink:
    """A new ring with everything that goes when the stack does."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dc-bench-"))
    ring, readers = stack.enter_context(private_ring(SLOT, LAYOUT, CAPACITY))
    return RingLink(ring.name, readers.name, folder, doorbell)


class Measurement:
    """All transports side by side."""

    def __init__(self, stack: ExitStack, *, quick: bool, redis: bool) -> None:
        self._scale = 20 if quick else 1
        self._rounds = 1 if quick else 5
        self._rigs = {
            name: Rig(stack, ring_link(stack, doorbell)) for doorbell, name in RINGS.items()
        }
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dc-bench-"))
        queue = multiprocessing.get_context("spawn").Queue()
        self._rigs[QUEUE] = Rig(stack, QueueLink(queue))
        self._rigs[PUSH] = Rig(stack, PushLink(folder))
        self._block = BlockRig(stack, ring_link(stack, "datagram"))
        self._redis: PeerProcess | None = None
        self._absent = "absent: not asked for"
        if redis:
            self._start_redis(stack)

    def _start_redis(self, stack: ExitStack) -> None:
        try:
            address = stack.enter_context(redis_server())
            self._redis = PeerProcess("redis_streams.py", address)
            stack.callback(self._redis.close)
        except PeerAbsentError as error:
            self._absent = str(error)

    def throughput(self) -> dict[str, Figure]:
        """Events a second, one at a time, and slots a second by the block."""
        counts = {"ring_zmq": 400_000, "ring_datagram": 400_000, QUEUE: 100_000, PUSH: 200_000}
        cases: dict[str, Callable[[], float]] = {
            name: partial(rig.throughput, counts[name] // self._scale)
            for name, rig in self._rigs.items()
        }
        cases["block"] = partial(self._block.throughput, BLOCK * (500_000 // self._scale))
        if self._redis is not None:
            for name, batch, count in ((REDIS, 1, 20_000), (REDIS_64, 64, 128_000)):
                command = f"saturated {batch} {count // self._scale // 64 * 64}"
                cases[name] = partial(self._ask, command)
        runs = interleave(cases, self._rounds)
        peers: dict[str, Runs] = {name: runs[name] for name in (QUEUE, PUSH)}
        peers |= {name: runs.get(name, self._absent) for name in (REDIS, REDIS_64)}
        found = {
            f"transport_{name}": figure(
                runs[name], "events/s", peers, note="128-byte events, one at a time"
            )
            for name in RINGS.values()
        }
        found["transport_ring_block_64"] = figure(
            runs["block"], "slots/s", note="128-byte slots, 64 a write and a read"
        )
        return found

    def latency(self) -> dict[str, Figure]:
        """p50 and p99 at 10,000 events a second."""
        count = 20_000 // self._scale
        found: dict[str, list[dict[str, float]]] = {}
        rigs: dict[str, Callable[[], dict[str, float]]] = {
            name: partial(rig.latency, count) for name, rig in self._rigs.items()
        }
        if self._redis is not None:
            rigs[REDIS] = partial(self._redis.ask, f"paced {count} {RATE}")
        for _ in range(self._rounds):
            for name, run in rigs.items():
                found.setdefault(name, []).append(run())
        figures = {}
        for name in RINGS.values():
            for share in ("p50", "p99"):
                peers: dict[str, Runs] = {
                    peer: [run[share] for run in found[peer]] if peer in found else self._absent
                    for peer in (QUEUE, PUSH, REDIS)
                }
                figures[f"transport_{name}_latency_{share}"] = figure(
                    [run[share] for run in found[name]], "µs", peers,
                    note=f"at {RATE:,.0f} events/s", less_is_better=True,
                )  # fmt: skip
        return figures

    def _ask(self, command: str) -> float:
        assert self._redis is not None
        return float(self._redis.ask(command)["per_s"])


def measure(*, quick: bool = False, redis: bool = True) -> dict[str, Figure]:
    """All figures of the transport."""
    with ExitStack() as stack:
        measurement = Measurement(stack, quick=quick, redis=redis)
        return {**measurement.throughput(), **measurement.latency()}
