"""What each venue's decoder takes, and many books at once from the simulator.

Decoding: frames of recordings (of the simulator's form where there is none: GMO Coin's full books)
through the venue's codec in reads of 64 frames: parsing, book, checksum, ten levels a side, slots
into a ring. Processor time, one core; no socket and no WebSocket framing. Where checksums are off
their frames, or their fields, are taken out of the recording.

Many books: a whole instance on the local exchange: 100 Bitfinex symbols with four channels each and
50 Kraken books. What counts is that nothing is lost: no gap, no failed checksum, no slot that a
reader missed; the rate is what the simulator brings up beside it, on the same cores.
"""

import gc
import os
import random
import re
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from msgspec import Struct

from benchmarks.figures import Figure, figure, interleave
from benchmarks.instance import BenchmarkError, Instance, running_instance
from benchmarks.memory import private_ring
from benchmarks.recordings import BOOK_TRADES_2018, recorded, with_checksums
from processes.cli.frames import read_frames
from processes.clock import monotonic_s, nap
from processes.rings import ring_layout
from processes.supervisor.tables import Allotment
from shm.ring import RingWriter
from venues.registry import open_recording
from venues.wire import FrameBatch, SlotBlock

READ_FRAMES = 64
START_NS = 1_790_000_000_000_000_000
KRAKEN = ("ws_v2_book_btcusd_d10_2023.part1.jsonl", "ws_v1_book1000_2021_as_v2_shape.jsonl")
GMO_FRAMES, GMO_LEVELS = 4000, 30
SYMBOLS, KRAKEN_SYMBOLS = 100, 50
FAULTS = ("sequence_gaps", "checksums_failed", "resyncs", "frames_bad", "reconnects")


class Stream(Struct, frozen=True, kw_only=True):
    """Frames of one venue, and how often they are gone through to last a while."""

    venue: str
    frames: list[bytes]
    source: str


def kraken_stream(name: str, *, checked: bool) -> Stream | None:
    """A Kraken recording; None where there is none."""
    path = Path(os.environ.get("DC_FIXTURES", "")) / "kraken" / name
    if not path.is_file():
        return None
    frames = [frame.text for frame in read_frames([path]) if frame.text]
    if not checked:
        frames = [re.sub(rb'"checksum": ?\d+,? ?', b"", frame) for frame in frames]
        frames = [re.sub(rb", ?\}", b"}", frame) for frame in frames]
    return Stream(venue="kraken", frames=frames, source=f"recording {name}")


def gmo_stream(seed: int = 7) -> Stream:
    """Whole books of 30 levels a side, two or three levels of which change from frame to frame."""
    draw = random.Random(seed)
    sides = {"asks": [13_660_001 + 7 * n for n in range(GMO_LEVELS)],
             "bids": [13_660_000 - 7 * n for n in range(GMO_LEVELS)]}  # fmt: skip
    sizes = {price: draw.randrange(1, 9000) for prices in sides.values() for price in prices}
    frames = []
    for number in range(GMO_FRAMES):
        for _ in range(3):
            sizes[draw.choice(list(sizes))] = draw.randrange(1, 9000)
        texts = {
            side: ",".join(f'{{"price":"{p}","size":"{sizes[p] / 1000}"}}' for p in prices)
            for side, prices in sides.items()
        }
        frames.append(
            f'{{"channel":"orderbooks","asks":[{texts["asks"]}],"bids":[{texts["bids"]}],'
            f'"symbol":"BTC_JPY","timestamp":"2026-09-23T03:{number // 60 % 60:02}:'
            f'{number % 60:02}.765Z","grouping":"1"}}'.encode()
        )
    return Stream(venue="gmo", frames=frames, source=f"made, {GMO_LEVELS} levels a side")


def streams() -> dict[str, Stream]:
    """All that can be measured here, by the figure's name."""
    found: dict[str, Stream] = {"venue_gmo": gmo_stream()}
    plain = recorded(BOOK_TRADES_2018)
    if plain is not None:
        source = plain.source
        found["venue_bitfinex"] = Stream(
            venue="bitfinex", frames=plain.frames, source=f"{source}, no checksums"
        )
        checked = with_checksums(plain)
        found["venue_bitfinex_checked"] = Stream(
            venue="bitfinex", frames=checked.frames, source=checked.source
        )
    for name, label in zip(
        KRAKEN, ("venue_kraken_depth_10", "venue_kraken_five_books"), strict=True
    ):
        for with_sums, suffix in ((True, "_checked"), (False, "")):
            stream = kraken_stream(name, checked=with_sums)
            if stream is not None:
                found[label + suffix] = stream
    return found


def run_stream(stream: Stream, repeats: int) -> float:
    """Frames a second of processor time, once the kernels are compiled."""
    name = f"tape.{stream.venue}"
    dtype, layout = ring_layout(name)
    with private_ring(dtype, layout, 1 << 16) as (ring, page):
        writer = RingWriter(ring, page, dtype, layout)

        def publish(block: SlotBlock, count: int) -> None:
            writer.append_at(block.address, count)

        codec = open_recording(stream.venue, publish, partial(Allotment().place, stream.venue))
        batches = []
        for first in range(0, len(stream.frames), READ_FRAMES):
            batch = FrameBatch()
            for frame in stream.frames[first : first + READ_FRAMES]:
                batch.add(frame)
            batches.append(batch)
        spent = 0.0
        for life in range(repeats + 1):
            # Kraken and GMO Coin say what is a snapshot, so the same connection can go on.
            if life == 0 or stream.venue == "bitfinex":
                codec.open(life + 1, START_NS, from_first=False)
            gc.collect()
            began = time.process_time()
            for batch in batches:
                codec.feed(batch, START_NS)
            if life:  # the first goes to the compiler and to first touches
                spent += time.process_time() - began
        failed = codec.tally()["checksums_failed"] + codec.bad_frames
        if failed:
            raise BenchmarkError(f"{stream.source}: {failed} frames were not as they should be")
    return repeats * len(stream.frames) / spent


def measure(*, quick: bool) -> dict[str, Figure]:
    """Every stream that is here, interleaved; then many books at once."""
    found = streams()
    target = 5_000 if quick else 100_000
    cases: dict[str, Callable[[], float]] = {
        name: partial(run_stream, stream, max(1, target // len(stream.frames)))
        for name, stream in found.items()
    }
    runs = interleave(cases, 1 if quick else 5)
    figures = {
        name: figure(runs[name], "frames/s", note=f"{name}: {found[name].source}") for name in found
    }
    return figures | measure_many_books(5.0 if quick else 30.0)


def _codes(count: int) -> list[str]:
    letters = "ABCDEFGHIJ"
    return [f"{letters[n // 10]}{letters[n % 10]}Q" for n in range(count)]


def measure_many_books(seconds: float) -> dict[str, Figure]:
    """100 Bitfinex symbols of four channels and 50 Kraken books, held without a loss.

    Raises:
        BenchmarkError: something was lost; the text says what.
    """
    bitfinex = [f"t{code}USD" for code in _codes(SYMBOLS)]
    kraken = [f"{code}/USD" for code in _codes(KRAKEN_SYMBOLS)]
    with running_instance(
        venues__bitfinex__symbols=bitfinex,
        venues__kraken={
            "enabled": True, "url": "simulator", "symbols": kraken, "channels": ["books"],
        },
        simulator__symbols=bitfinex,
        simulator__kraken_symbols=kraken,
        simulator__events_per_s=RATE_A_SYMBOL,
        execution__enabled=False,
        rings__tape=1 << 20,
    ) as instance:  # fmt: skip
        before = {ring: instance.committed(ring) for ring in ("tape.bitfinex", "tape.kraken")}
        began_s = monotonic_s()
        nap(seconds)
        spent_s = monotonic_s() - began_s
        rates = {ring: (instance.committed(ring) - was) / spent_s for ring, was in before.items()}
        connections = _check_nothing_lost(instance)
    told = ", ".join(f"{name} {number}" for name, number in connections.items())
    note = f"connections: {told}; {seconds:g} s, simulator and all processes on these cores"
    return {
        f"many_books_{ring.partition('.')[2]}": figure([rate], "events/s", note=note)
        for ring, rate in rates.items()
    }


RATE_A_SYMBOL = 20.0
"""Orders a second and symbol: more than the simulator can make of 150 markets on one core."""


def _check_nothing_lost(instance: Instance) -> dict[str, int]:
    """Connections by venue."""
    status = instance.status()
    fallen = [process.name for process in status.processes if process.restarts]
    lost = {r.name: r.lost for ring in status.rings for r in ring.readers if r.lost}
    url = f"{status.endpoints['http']}/metrics"  # on loopback
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    wrong = [
        line
        for line in lines
        if line.startswith("data_controller_")
        and any(fault in line for fault in FAULTS)
        and not line.endswith(" 0.0")
    ]
    if fallen or lost or wrong:
        raise BenchmarkError(f"something was lost: {fallen} {lost} {wrong}")
    held = {}
    for process in status.processes:
        if process.name.startswith("collector."):
            told = re.search(r"on (\d+) connections", process.detail)
            held[process.name.partition(".")[2]] = int(told.group(1)) if told else 1
    return held
