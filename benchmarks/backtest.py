"""How fast a backtest is: tape events a second with inference and execution, and a day of a symbol.

Tapes as in `stages.py`, in sealed files of the lake; numpy predicts; every second a row of each
symbol is cut, predicted and decided on. The day is one symbol's events over 24 hours, which is
86,400 cuts. Processor times of all threads, the reading of the lake included.
"""

import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from benchmarks.figures import Figure, figure
from benchmarks.stages import START_NS, TICK_SIZE, make_tape
from config.loader import load
from processes.places import Resolved
from processes.recordings.span import SESSION_NS, Span
from processes.replay.backtest.main import backtest
from processes.sessions import SessionFolder
from processes.storage.store import PENDING_SLOTS, Lake, Split, TableView
from schemas.settings import Settings

SESSION: Final = START_NS // SESSION_NS
DAY_NS: Final = 86_400 * 10**9


def record(data: Path, events: int, symbols: int, settings: Settings, lasts_ns: int = 0) -> None:
    """A tape in the lake, spread over `lasts_ns` if that is given."""
    slots, tables = make_tape(events, symbols)
    if lasts_ns:
        slots["recv_ns"] = START_NS + np.arange(len(slots)) * (lasts_ns // len(slots))
    for item in tables.instruments:
        tables.instruments[item.index] = msgspec.structs.replace(item, tick_size=TICK_SIZE)
    folder = SessionFolder(data, SESSION)
    folder.keep(Resolved(generation=1, folders={}, settings=settings), tables)
    split = Split("tape.bitfinex", TableView(tables))
    lake = Lake(data / "lake", split, SESSION, settings.storage)
    for first in range(0, len(slots), PENDING_SLOTS):
        lake.write(slots[first : first + PENDING_SLOTS])
    lake.seal_all()


def _timed(data: Path, settings: Settings, rounds: int) -> tuple[list[float], str]:
    """Seconds of processor time a run, and what a run was."""
    result = backtest(data, [SESSION], Span(), settings)
    runs = []
    for _ in range(rounds):
        began = time.process_time()
        again = backtest(data, [SESSION], Span(), settings)
        runs.append(time.process_time() - began)
        assert again.digest == result.digest
    told = f"{result.events:,} events, {result.decisions:,} decisions, {result.summary.fills} fills"
    return runs, told


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """All figures of a backtest."""
    settings = load("demo", environment={}, changes={"inference.device": "numpy"})
    events, daily, rounds = (30_000, 30_000, 1) if quick else (1_000_000, 2_000_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder), events, 16, settings)
        many, told = _timed(Path(folder), settings, rounds)
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder), daily, 1, settings, DAY_NS)
        day, of_day = _timed(Path(folder), settings, rounds)
    return {
        "backtest_whole": figure([events / run for run in many], "events/s", note=told),
        "backtest_day": figure(day, "s", note=of_day),
    }
