"""What training costs for a day of one symbol: rows out of the lake, each family, and memory.

The day is 2,000,000 events in sealed files and 86,400 cuts, a row each. Rows are made again of the
tape, or taken as recorded; a family is trained as `dcctl train` does it: five folds, all together,
once more on shuffled labels, figures and report. Processor times of all threads; memory is the
largest that a process of its own had resident.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from benchmarks.figures import Figure, figure
from benchmarks.replay import build_rows
from benchmarks.stages import START_NS, TICK_SIZE, make_tape
from config.loader import ROOT, load
from models.families import FAMILIES
from processes.places import Resolved
from processes.recordings.span import SESSION_NS
from processes.sessions import SessionFolder
from processes.storage.store import PENDING_SLOTS, Lake, Split, TableView
from processes.training.dataset import Selection, Source, collect
from processes.training.trainer import Desk, train
from processes.training.work import Work
from schemas.settings import Settings

SESSION: Final = START_NS // SESSION_NS
SLOW: Final = frozenset({"gbdt", "logistic", "regime", "tcn", "cnn"})
"""Families that are timed once: a training of theirs takes minutes."""
CHANGED: Final = {
    "training.baselines": "[]",
    "training.gap_s": "60",
    # The made-up tape hardly moves.
    "training.targets": "[{horizon_s: 60, move_bps: 0.02}]",
}


def record(data: Path, events: int, lasts_s: int, settings: Settings) -> int:
    """A tape of one symbol and its rows in the lake; how many rows."""
    slots, tables = make_tape(events, 1)
    slots["recv_ns"] = START_NS + np.arange(len(slots)) * (lasts_s * 10**9 // len(slots))
    for item in tables.instruments:
        tables.instruments[item.index] = msgspec.structs.replace(item, tick_size=TICK_SIZE)
    folder = SessionFolder(data, SESSION)
    folder.keep(Resolved(generation=1, folders={}, settings=settings), tables)
    rows = build_rows(slots, tables, settings)
    for ring, made in {"tape.bitfinex": slots, "features": rows}.items():
        lake = Lake(data / "lake", Split(ring, TableView(tables)), SESSION, settings.storage)
        for first in range(0, len(made), PENDING_SLOTS):
            lake.write(made[first : first + PENDING_SLOTS])
        lake.seal_all()
    return len(rows)


def _timed(run: Callable[[int], Any], rounds: int) -> list[float]:
    """Seconds of processor time a round, the first one left out: it compiles."""
    run(0)
    took = []
    for number in range(1, rounds + 1):
        began = time.process_time()
        run(number)
        took.append(time.process_time() - began)
    return took


def largest_mb(command: list[str], environment: Mapping[str, str]) -> float:
    """The most that a command had resident, in MB.

    On Linux a process begins with the largest figure of who has started it; so somebody small does.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    asks = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", asks, *command],
        env=dict(environment), cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout) / (1024 if sys.platform == "linux" else 1024**2)


def _memory_mb(data: Path, family: str) -> float:
    """The most that a training in a process of its own had resident."""
    changed = {f"DC__{key.replace('.', '__')}": value for key, value in CHANGED.items()}
    return largest_mb(
        [sys.executable, "-m", "processes.cli", "train", family, "--json"],
        {**os.environ, **changed, "DC__paths__data": str(data), "PYTHONPATH": str(ROOT)},
    )


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """All figures of training."""
    settings = load("demo", environment={}, changes=CHANGED)
    events, lasts_s, rounds = (30_000, 7200, 1) if quick else (2_000_000, 86_400, 3)
    target = settings.training.targets[0]
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        rows = record(data, events, lasts_s, settings)
        note = f"{events:,} events, {rows:,} rows"
        if not quick:
            found["training_memory_day"] = figure([_memory_mb(data, "ridge")], "MB", note=note)
        for name, recorded in (("again", False), ("recorded", True)):
            source = Source(data, Selection(recorded=recorded))
            took = _timed(lambda n, s=source, k=name: collect(s, data / f"{k}{n}"), rounds)  # type: ignore[misc]
            found[f"training_rows_{name}_day"] = figure(took, "s", note=note)
        with Work(data / "models") as work:
            dataset = collect(source, data / "recorded0")
            for family in FAMILIES:

                def run(seed: int, family: str = family) -> None:
                    desk = Desk(data / "models", work, settings, source, dataset, 5, seed)
                    train(desk, family, target, lambda *_: None)

                times = 1 if family in SLOW else rounds
                found[f"training_{family}_day"] = figure(_timed(run, times), "s", note=note)
    return found
