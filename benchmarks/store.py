"""What a lake in a store costs: pushing with the proof, and reading it back by the tools.

Over a folder, as a share of another machine is; and over the store that DC_BENCH_STORE names, such
as s3://bucket/folder?..., with credentials in the environment. Beside the same read from the
machine's own lake, in the same run. Times are of a clock on the wall.
"""

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, figure
from benchmarks.lake import ask, record, seconds
from processes.clock import Clock
from processes.lake.compact import compact
from processes.lake.push import Push
from processes.lake.verify import Verification
from processes.lake_places import Place, open_lake
from processes.lake_stores import Store
from processes.storage.store import PENDING_SLOTS
from schemas.stores import parse_store

VARIABLE = "DC_BENCH_STORE"


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """Figures of a folder, and of the named store."""
    slots, copies, rounds = (20_000, 1, 1) if quick else (4 * PENDING_SLOTS, 8, 3)
    found: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="dc-bench-") as folder:
        original = Path(folder) / "original"
        rows = record(original, slots, copies)
        share = Path(folder) / "share"
        share.mkdir()
        places = {"folder": f"file://{share}"}
        if os.environ.get(VARIABLE):
            places["named"] = os.environ[VARIABLE]
        for name, uri in places.items():
            runs: dict[str, list[float]] = {}
            for number in range(rounds):
                data = Path(folder) / "data"
                shutil.copytree(original, data / "lake")
                _measure(data, _below(uri, f"round-{number}"), rows, runs)
                shutil.rmtree(data)
            found |= _figures(name, rows, runs)
    return found


def _below(uri: str, folder: str) -> str:
    """The same store, one folder deeper."""
    base, mark, options = uri.partition("?")
    deeper = f"{base.rstrip('/')}/{folder}"
    if deeper.startswith("file://"):
        Path(deeper.removeprefix("file://")).mkdir()
    return f"{deeper}{mark}{options}"


def _measure(data: Path, uri: str, rows: int, runs: dict[str, list[float]]) -> None:
    def add(name: str, amount: float, took_s: float) -> None:
        runs.setdefault(name, []).append(amount / took_s)

    def verify(lake: Place) -> None:
        report = Verification(lake, data / "none").run()
        assert report.rows == rows
        assert not report.faults

    lake = data / "lake"
    store = Store(parse_store(VARIABLE, uri))
    for form in ("sealed", "daily"):
        push = Push(data, store, uri, 0)
        before = push.done.bytes
        took_s = seconds(partial(push.run, Clock(0)))
        push.close()
        add(f"push_{form}", (push.done.bytes - before) / 1e6, took_s)
        away = open_lake(uri)
        add(f"verify_{form}", rows, seconds(partial(verify, away)))
        add(f"query_{form}", rows, seconds(partial(ask, away)))
        add(f"verify_{form}_here", rows, seconds(partial(verify, lake)))
        add(f"query_{form}_here", rows, seconds(partial(ask, lake)))
        if form == "sealed":
            compact(lake, before="9999-01-01")


def _figures(name: str, rows: int, runs: dict[str, list[float]]) -> dict[str, Figure]:
    note = f"{rows:,} book rows of 16 symbols"
    found = {}
    for what, samples in runs.items():
        if what.endswith("_here"):
            continue
        unit = "MB/s" if what.startswith("push") else "rows/s"
        beside = {"here": runs[f"{what}_here"]} if f"{what}_here" in runs else {}
        found[f"{name}_{what}"] = figure(samples, unit, beside, note=note)
    return found
