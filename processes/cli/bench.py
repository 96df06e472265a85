"""bench: this machine's figures beside those of the peers, measured in the same run.

A benchmark is a function of `benchmarks/` that gives figures by name; `BENCHMARKS` lists them. They
are loaded when they are asked for, because they bring the whole pipeline with them.
"""

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from processes.cli.screen import say, say_json, table
from processes.cli.settings import versions
from schemas.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.figures import Figure

Benchmark = Callable[[bool], "dict[str, Figure]"]
"""Takes whether to be quick: short runs that only show that it works."""


def _decoding(quick: bool) -> "dict[str, Figure]":
    from benchmarks.decoding import measure

    return measure(quick=quick)


def _transport(quick: bool) -> "dict[str, Figure]":
    from benchmarks.transport import measure

    return measure(quick=quick)


def _stages(quick: bool) -> "dict[str, Figure]":
    from benchmarks.stages import measure

    return measure(quick=quick)


def _replay(quick: bool) -> "dict[str, Figure]":
    from benchmarks.replay import measure

    return measure(quick=quick)


def _lake(quick: bool) -> "dict[str, Figure]":
    from benchmarks.lake import measure

    return measure(quick=quick)


def _store(quick: bool) -> "dict[str, Figure]":
    from benchmarks.store import measure

    return measure(quick=quick)


def _bridge(quick: bool) -> "dict[str, Figure]":
    from benchmarks.bridge import measure

    return measure(quick=quick)


def _backtest(quick: bool) -> "dict[str, Figure]":
    from benchmarks.backtest import measure

    return measure(quick=quick)


def _training(quick: bool) -> "dict[str, Figure]":
    from benchmarks.training import measure

    return measure(quick=quick)


def _venues(quick: bool) -> "dict[str, Figure]":
    from benchmarks.venues import measure

    return measure(quick=quick)


def _influx(quick: bool) -> "dict[str, Figure]":
    from benchmarks.influx import measure

    return measure(quick=quick)


def _ledger(quick: bool) -> "dict[str, Figure]":
    from benchmarks.ledger import measure

    return measure(quick=quick)


def _models(quick: bool) -> "dict[str, Figure]":
    from benchmarks.models import measure

    return measure(quick=quick)


def _skill(quick: bool) -> "dict[str, Figure]":
    from benchmarks.attainable import measure

    return measure(quick=quick)


def _onlookers(quick: bool) -> "dict[str, Figure]":
    from benchmarks.onlookers import measure

    return measure(quick=quick)


def _pressure(quick: bool) -> "dict[str, Figure]":
    from benchmarks.pressure import measure

    return measure(quick=quick)


def _latency(quick: bool) -> "dict[str, Figure]":
    from benchmarks.figures import figure
    from benchmarks.latency import measure

    rounds, rate, seconds = (1, 2_000.0, 2.0) if quick else (3, 10_000.0, 10.0)
    found: dict[str, Figure] = {}
    runs: dict[str, list[dict[str, Any]]] = {"zmq": [], "datagram": []}
    for _ in range(rounds):
        for doorbell, made in runs.items():
            made.append(measure(doorbell, rate, seconds))
    for doorbell, made in runs.items():
        lost = sum(run["lost"] for run in made)
        note = f"received → decision, all processes, at {rate:,.0f} events/s, {lost} slots lost"
        spent = made[-1]["cpu_us_per_event"]
        note += "; processor time an event of the last run: "
        note += ", ".join(f"{name} {us} µs" for name, us in spent.items())
        for share in ("p50", "p99"):
            found[f"latency_{doorbell}_{share}"] = figure(
                [run[f"decision_{share}_us"] for run in made], "µs", note=note
            )
    return found


def _saturated(quick: bool) -> "dict[str, Figure]":
    from benchmarks.figures import figure
    from benchmarks.latency import measure_saturated

    rounds, frames = (1, 100_000) if quick else (3, 1_900_000)
    runs: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for _ in range(rounds):
        for storage, made in runs.items():
            made.append(measure_saturated("zmq", frames, storage=storage))
    found: dict[str, Figure] = {}
    for storage, made in runs.items():
        lost = sum(run["lost"] for run in made)
        name = f"saturated_storage_{'on' if storage else 'off'}"
        what = "collector, features, inference" + (", storage" if storage else "")
        note = f"{what}: {frames:,} frames in 64 KB sends, {lost} slots lost"
        found[name] = figure([run["events_per_s"] for run in made], "events/s", note=note)
        for share in ("p50", "p99"):
            waits = [run[f"prediction_{share}_us"] for run in made]
            found[f"{name}_prediction_{share}"] = figure(waits, "µs", note="received → prediction")
    return found


BENCHMARKS: dict[str, Benchmark] = {
    "decoding": _decoding,
    "latency": _latency,
    "saturated": _saturated,
    "transport": _transport,
    "stages": _stages,
    "lake": _lake,
    "store": _store,
    "ledger": _ledger,
    "pressure": _pressure,
    "onlookers": _onlookers,
    "venues": _venues,
    "replay": _replay,
    "influx": _influx,
    "bridge": _bridge,
    "backtest": _backtest,
    "models": _models,
    "skill": _skill,
    "training": _training,
}


def run_benchmarks(names: list[str], *, quick: bool, as_json: bool) -> None:
    """Measure, and say what came of it.

    Raises:
        OperatorError: a name is none of a benchmark.
    """
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        allowed = ", ".join(BENCHMARKS)
        raise UsageError(f"there is no benchmark {unknown[0]}; there are {allowed}")
    about = machine()
    figures: dict[str, Figure] = {}
    for name in names or BENCHMARKS:
        figures |= BENCHMARKS[name](quick)
    if as_json:
        from benchmarks.peering import peer_versions

        used = versions() | peer_versions()
        say_json({"machine": about, "versions": used, "quick": quick, "figures": figures})
        return
    say(f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB, "
        f"{about['system']}, load {about['load_1min']}\n")  # fmt: skip
    say(table(["figure", "value", "unit", "least - most"], _rows(figures), right=(1,)))
    for note in dict.fromkeys(figure.note for figure in figures.values() if figure.note):
        say(f"  {note}")
    if quick:
        say("\nA quick run shows that it works; its figures are not to be quoted.")


def _rows(figures: "dict[str, Figure]") -> list[list[str]]:
    """A row a figure, and one a peer below it."""
    rows = []
    for name, found in figures.items():
        spread = f"{found.low:,.6g} - {found.high:,.6g}" if found.runs > 1 else ""
        rows.append([name, f"{found.value:,.6g}", found.unit, spread])
        for peer, other in found.peers.items():
            if other is None:
                rows.append([f"  {peer}", "absent", "", ""])
            else:
                ratio = f"{other.ratio:.2f} times better"
                rows.append([f"  {peer}", f"{other.value:,.6g}", other.unit, ratio])
    return rows


def machine() -> dict[str, Any]:
    """What was measured on."""
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
