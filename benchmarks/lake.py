"""What the lake's tools cost: verifying, packing, asking, and a look at the last record.

The rows are those of `benchmarks/stages.py`, given new sequences as often as needed, written and
sealed by the production writer. Packing is all of it: merging, writing, reading back, holding every
value against the Arrow files. Verifying reads both forms. Times are of a clock on the wall.
"""

import gc
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Figure, figure
from benchmarks.stages import make_slots
from processes.lake.compact import compact
from processes.lake.query import query
from processes.lake.show import records
from processes.lake.verify import Verification
from processes.lake_files import describe
from processes.lake_places import Place
from processes.storage.store import PENDING_SLOTS, Lake, Split, TableView
from schemas.settings import StorageSettings

SQL = "SELECT symbol, count(*), avg(price), max(recv_ns) FROM books WHERE side = 'bid' GROUP BY ALL"


def record(folder: Path, slots: int, copies: int) -> int:
    """A lake of so many copies of the slots; how many rows."""
    made, tables = make_slots(slots)
    lake = Lake(folder, Split("tape.bitfinex", TableView(tables)), 1, StorageSettings())
    for _ in range(copies):
        for first in range(0, len(made), PENDING_SLOTS):
            lake.write(made[first : first + PENDING_SLOTS])
        made["sequence"] += len(made)
        made["recv_ns"] += made["recv_ns"][-1] - made["recv_ns"][0]
    lake.seal_all()
    return lake.rows


def seconds(work: Callable[[], object]) -> float:
    """How long some work takes."""
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ask(lake: Place) -> None:
    """A filter and a group over all rows of books."""
    assert sum(row[1] for block in query(lake, SQL).blocks for row in block)


def _last(path: Path) -> None:
    file = describe(path)
    [record] = records(file, limit=1, first_seq=file.pieces[-1].last_seq)
    assert record["tape_seq"] == file.pieces[-1].last_seq


def measure(*, quick: bool = False) -> dict[str, Figure]:
    """All figures of the tools."""
    slots, copies, rounds = (20_000, 1, 1) if quick else (4 * PENDING_SLOTS, 8, 5)
    runs: dict[str, list[float]] = {}
    sizes: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="dc-bench-") as folder:
        original = Path(folder) / "original"
        rows = record(original, slots, copies)
        for _ in range(rounds):
            lake = Path(folder) / "lake"
            shutil.copytree(original, lake)
            _measure(lake, runs, sizes, rows)
            shutil.rmtree(lake)
    note = f"{rows:,} book rows of 16 symbols"
    found = {
        name: figure([rows / seconds for seconds in runs[name]], "rows/s", note=note)
        for name in runs
        if not name.startswith("last")
    }
    for name in ("last_sealed", "last_daily"):
        found[name] = figure([1e3 * seconds for seconds in runs[name]], "ms", less_is_better=True)
    found["daily_bytes"] = figure(
        [sizes["daily"] / rows],
        "bytes/row",
        {"sealed": [sizes["sealed"] / rows]},
        note=note,
        less_is_better=True,
    )
    return found


def _measure(lake: Path, runs: dict[str, list[float]], sizes: dict[str, float], rows: int) -> None:
    def verify() -> None:
        report = Verification(lake, lake.parent / "journal").run()
        assert report.rows == rows
        assert not report.faults

    def both(form: str, ending: str) -> None:
        paths = sorted(lake.rglob(f"*{ending}"), key=lambda path: path.stat().st_size)
        sizes[form] = sum(path.stat().st_size for path in paths)
        runs.setdefault(f"verify_{form}", []).append(seconds(verify))
        runs.setdefault(f"query_{form}", []).append(seconds(lambda: ask(lake)))
        runs.setdefault(f"last_{form}", []).append(seconds(lambda: _last(paths[-1])))

    both("sealed", ".arrow")
    runs.setdefault("compact", []).append(seconds(lambda: compact(lake, before="9999-01-01")))
    both("daily", ".parquet")
