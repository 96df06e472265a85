"""What back-pressure costs storage, and what it saves: a tape's slots to journal and lake.

The slots of `benchmarks/stages.py` through a ring into the production store, a block at a time:
without any relief, with one that has nothing to do, and in both steps. `kept` is how much of the
slots comes into the journal. Processor time of all threads, journal and open lake files in it.
"""

import gc
import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, figure, interleave
from benchmarks.stages import make_slots
from processes.rings import ring_layout
from processes.storage.pressure import Step
from processes.storage.relief import Relief
from processes.storage.store import Store, TableView
from schemas.instruments import Tables
from schemas.settings import PressureSettings, StorageSettings
from shm.readers import READERS_BYTES, RingReader, format_readers
from shm.ring import RingWriter, format_ring, ring_bytes
from shm.segment import Segment, segment_name

RING = "tape.bitfinex"
BLOCK = 8192
CAPACITY = 4 * BLOCK
ALWAYS = 1e-9
"""A load that any lag is greater than."""
STEPS = {
    Step.FULL: PressureSettings(),
    Step.SAMPLED: PressureSettings(back_below=0, sample_at=ALWAYS, tops_at=1),
    Step.TOPS: PressureSettings(back_below=0, sample_at=ALWAYS / 2, tops_at=ALWAYS),
}


def run(
    slots: np.ndarray, tables: Tables, step: Step | None, kept: dict[Step | None, float]
) -> float:
    """Slots a second; none of a step is without any relief."""
    dtype, layout = ring_layout(RING)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dc-bench-")))
        name, sizes = secrets.token_hex(3), (ring_bytes(dtype.itemsize, CAPACITY), READERS_BYTES)
        ring, page = (
            Segment.create(segment_name(name, kind), size)
            for kind, size in zip(("b", "b.r"), sizes, strict=True)
        )
        for segment in (ring, page):
            stack.callback(Segment.unlink, segment.name)
            stack.callback(segment.close)
        format_ring(ring, dtype.itemsize, CAPACITY, layout, 1)
        format_readers(page)
        writer = RingWriter(ring, page, dtype, layout)
        relief = None if step is None else Relief(STEPS[step], folder / "lake", RING, 1)
        store = Store(
            RING, RingReader(ring, page, dtype, layout, "storage", limit=BLOCK),
            folder / "journal", folder / "lake", TableView(tables), 1, StorageSettings(),
            relief=relief,
        )  # fmt: skip
        store.recover()
        gc.collect()
        seconds = 0.0
        for first in range(0, len(slots), BLOCK):
            writer.append(slots[first : first + BLOCK])
            began = time.process_time()
            store.take()
            seconds += time.process_time() - began
        began = time.process_time()
        store.flush()
        seconds += time.process_time() - began
        kept[step] = store.slots / len(slots)
        assert relief is None or relief.step == step
        store.finish()
    return len(slots) / seconds


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """All figures of back-pressure."""
    events, rounds = (3 * BLOCK, 1) if quick else (32 * BLOCK, 9)
    slots, tables = make_slots(events)
    slots["sequence"] = np.arange(1, len(slots) + 1)
    kept: dict[Step | None, float] = {}
    cases: dict[str, Callable[[], float]] = {"without": partial(run, slots, tables, None, kept)}
    cases |= {step.name.lower(): partial(run, slots, tables, step, kept) for step in Step}
    run(slots[:BLOCK], tables, Step.SAMPLED, kept)  # what is loaded and compiled once is
    runs = interleave(cases, rounds)
    found = {}
    for step in Step:
        name = step.name.lower()
        note = f"book slots of 16 symbols at 10,000 a second, {kept[step]:.1%} of them kept"
        peers = {"without_relief": runs["without"]}
        found[f"storage_{name}"] = figure(runs[name], "slots/s", peers, note=note)
    return found
