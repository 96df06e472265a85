"""How fast a recorded session is replayed: tape events a second, on one core, out of sealed files.

The session is made by the production code in this process: a tape as in `stages.py`, the
cutter, the model chain on numpy, execution's machine, the lake. What is measured is `dcctl replay
--verify` without its start: through the feature kernels alone (reading, books and comparison
included), and all stages together. Processor times of all threads.
"""

import ctypes
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.figures import Figure, figure
from benchmarks.stages import START_NS, TICK_SIZE, make_tape
from config.loader import ROOT, load
from processes.execution.beginning import Beginning
from processes.execution.journal import InputJournal
from processes.execution.machine import Machine
from processes.execution.positions import Book
from processes.execution.screen import Screen
from processes.features.cutter import Cutter
from processes.inference.chain import Chain
from processes.logs import Log, open_log
from processes.places import Resolved
from processes.recordings.span import FOREVER
from processes.replay.main import Replay
from processes.sessions import SessionFolder
from processes.storage.store import PENDING_SLOTS, Lake, Split, TableView
from schemas import decisions, features, predictions
from schemas.decisions import SlotKind
from schemas.instruments import Tables
from schemas.layout import join
from schemas.settings import LogSettings, Settings
from schemas.trading import Reconciled

SESSION = 1
READ = 4096
"""Slots that the recording processes read at once."""


class Ring:
    """Takes what a stage publishes."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._blocks: list[np.ndarray] = []
        self.committed = 0

    def append(self, slots: np.ndarray, number: int | None = None) -> None:
        """Take slots."""
        self._take(slots[:number].copy())

    def append_at(self, address: int, number: int) -> None:
        """As `append`, by address."""
        slots = np.zeros(number, self._dtype)
        if number:
            ctypes.memmove(slots.ctypes.data, address, slots.nbytes)
        self._take(slots)

    def _take(self, slots: np.ndarray) -> None:
        slots["sequence"] = np.arange(len(slots)) + self.committed + 1
        self.committed += len(slots)
        self._blocks.append(slots)

    def slots(self) -> np.ndarray:
        """All of them."""
        return join(self._blocks, self._dtype)


def build_rows(slots: np.ndarray, tables: Tables, settings: Settings) -> np.ndarray:
    """Feature rows of a tape, by the live cutter under a clock that is the tape's."""
    ring, now_ns = Ring(features.SLOT), START_NS
    cutter = Cutter(
        tables.instruments, 1, settings.features,
        lambda address, number, _: ring.append_at(address, number), lambda: now_ns,
    )  # fmt: skip
    cutter.stamp(1)
    ring.append(cutter.warm_marker([0]))
    cutter.begin(START_NS)
    for first in range(0, len(slots), READ):
        block = slots[first : first + READ]
        now_ns = int(block["recv_ns"][-1])
        cutter.take(0, block, int(block.ctypes.data))
        cutter.turn()
    return ring.slots()


def _predict(
    rows: np.ndarray, instruments: int, settings: Settings, folder: SessionFolder, log: Log
) -> np.ndarray:
    ring, now_ns = Ring(predictions.SLOT), START_NS
    chain = Chain(
        settings.inference, ROOT / settings.inference.model, instruments,
        lambda address, number, _: ring.append_at(address, number), lambda: now_ns, log,
        lambda *_: None, keep=lambda lineup: folder.keep_lineup(lineup.version, lineup.encode()),
    )  # fmt: skip
    chain.load()
    chain.generation = 1
    for cut in np.split(rows, np.flatnonzero(rows["cut"][1:] != rows["cut"][:-1]) + 1):
        now_ns = int(cut["cut_ns"][0]) + 1_000_000
        drain = np.ascontiguousarray(cut)
        chain.take(drain, int(drain.ctypes.data))
    return ring.slots()


def _decide(
    told: np.ndarray, tables: Tables, settings: Settings, folder: SessionFolder
) -> np.ndarray:
    ring, now_ns = Ring(decisions.SLOT), START_NS
    machine = Machine(SESSION, tables.instruments, settings)
    journal = InputJournal(ring, lambda: now_ns)
    journal.generation = 1
    mark = folder.keep_state(Beginning.of([], Book()).encode())
    journal.message(SlotKind.INPUT_START, now_ns, {"state": mark})
    journal.event(Reconciled("paper", now_ns), now_ns)
    machine.on_event(Reconciled("paper", now_ns), now_ns)
    screen = Screen(journal, machine)
    for drain in np.split(told, np.flatnonzero(told["made_ns"][1:] != told["made_ns"][:-1]) + 1):
        now_ns = int(drain["made_ns"][0]) + 1_000_000
        block = np.ascontiguousarray(drain)
        screen.decide(int(block.ctypes.data), len(block), now_ns)
    return ring.slots()


def record(data: Path, events: int, cut_interval_s: float, log: Log) -> int:
    """A session of so many events in the lake; how many rows it has."""
    slots, tables = make_tape(events)
    for item in tables.instruments:
        tables.instruments[item.index] = msgspec.structs.replace(item, tick_size=TICK_SIZE)
    changed = {"DC__features__cut_interval_s": str(cut_interval_s)}
    settings = load("demo", environment={**changed, "DC__inference__device": "numpy"})
    folder = SessionFolder(data, SESSION)
    folder.keep(Resolved(generation=1, folders={}, settings=settings), tables)
    rows = build_rows(slots, tables, settings)
    told = _predict(rows, len(tables.instruments), settings, folder, log)
    rings = {
        "tape.bitfinex": slots, "features": rows, "predictions": told,
        "decisions": _decide(told, tables, settings, folder),
    }  # fmt: skip
    for ring, made in rings.items():
        lake = Lake(data / "lake", Split(ring, TableView(tables)), SESSION, settings.storage)
        for first in range(0, len(made), PENDING_SLOTS):
            lake.write(made[first : first + PENDING_SLOTS])
        lake.seal_all()
    return len(rows)


def _replayed(data: Path, log: Log) -> tuple[float, float]:
    """Events a second of processor time: through features, and through all stages."""
    passed: dict[str, float] = {}
    began = time.process_time()

    def note(stage: str, _: np.ndarray) -> None:
        passed[stage] = time.process_time() - began

    going = Replay(data, SESSION, log, note)
    began = time.process_time()
    going.run(FOREVER)
    verdict = going.verdict()
    assert verdict.identical, msgspec.json.encode(verdict)
    return verdict.events / passed["features"], verdict.events / passed["decisions"]


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """All figures of a replay."""
    events, rounds = (30_000, 1) if quick else (1_000_000, 7)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        log = open_log(data, "replay", LogSettings(level="error"), lambda: START_NS)
        rows = record(data, events, 1.0, log)
        _replayed(data, log)
        runs = [_replayed(data, log) for _ in range(rounds)]
    note = f"{events:,} events of 16 symbols from sealed files, {rows} rows, all identical"
    return {
        "replay_features": figure([run[0] for run in runs], "events/s", note=note),
        "replay_whole": figure(
            [run[1] for run in runs], "events/s", note="the same, inference and execution too"
        ),
    }
