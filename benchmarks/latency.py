"""Received → decision: every tape event charged to the first decision whose cut covers it.

All processes of a real instance on this machine, a real loopback WebSocket, trigger interval 0, the
network on MLX. Two loads: paced, one frame a send; and saturated, 64 KB of frames a send, as fast
as the collector reads.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.instance import BenchmarkError, Instance, running_instance
from benchmarks.load import Load
from processes.clock import monotonic_s, nap
from schemas import tape
from schemas.decisions import SlotKind

SYMBOLS = ("tBTCUSD", "tETHUSD", "tSOLUSD", "tXRPUSD", "tLTCUSD", "tADAUSD", "tDOTUSD", "tEOSUSD")
WARM_RATE, WARM_S = 200, 16
"""Features ask for 15 s of history before a row counts."""


def settings(port: int, doorbell: str) -> dict[str, Any]:
    """An instance fed by the load sender alone."""
    return {
        "simulator__enabled": False,
        "venues__bitfinex__url": f"ws://127.0.0.1:{port}",
        "venues__bitfinex__symbols": list(SYMBOLS),
        "venues__bitfinex__channels": ["books"],
        "rings": {
            "tape": 1 << 19, "features": 1 << 18, "predictions": 1 << 18, "decisions": 1 << 19,
        },
        "features__trigger": True,
        "features__trigger_interval_us": 0,
        "signal__doorbell": doorbell,
        "supervisor__hung_after_s": 60,
    }  # fmt: skip


def wait_drained(instance: Instance, deadline_s: float = 60.0) -> None:
    """Until every reader has caught up."""
    end_s = monotonic_s() + deadline_s
    while monotonic_s() < end_s:
        nap(0.3)
        rings = instance.status().rings
        if all(reader.lag == 0 for ring in rings for reader in ring.readers):
            return
    raise BenchmarkError(f"readers are behind after {deadline_s:g} s: {rings}")


def updates(instance: Instance, after: int = 0) -> np.ndarray:
    """The book updates on the tape behind this sequence."""
    events = instance.slots("tape.bitfinex")
    found: np.ndarray = events[
        (events["kind"] == tape.Kind.BOOK_LEVEL)
        & (events["flags"] & int(tape.Flag.SNAPSHOT) == 0)
        & (events["sequence"] > after)
    ]
    return found


def check_nobody_fell(instance: Instance) -> None:
    """A reader that meets a torn slot ends its process, and the supervisor counts its restart.

    Raises:
        BenchmarkError: a process did not live through the run.
    """
    restarts = {p.name: p.restarts for p in instance.status().processes if p.restarts}
    if restarts:
        raise BenchmarkError(f"processes were started again: {restarts}")


def charges_ns(instance: Instance, events: np.ndarray) -> dict[str, np.ndarray]:
    """Latency of these events at every hop: (event) arrays of nanoseconds."""
    rows = instance.slots("features")
    told = instance.slots("predictions")
    made = instance.slots("decisions")
    made = made[made["kind"] == int(SlotKind.DECISION)]
    position = dict(zip(rows["sequence"].tolist(), rows["tape_position_0"].tolist(), strict=True))
    found: dict[str, list[np.ndarray]] = {"feature": [], "prediction": [], "decision": []}
    for instrument in np.unique(events["instrument"]):
        mine = events[events["instrument"] == instrument]
        hops = {
            "feature": (rows, rows["tape_position_0"].astype(np.int64)),
            "prediction": (told, _covered(told, position)),
            "decision": (made, _covered(made, position)),
        }
        for name, (slots, covered) in hops.items():
            own = (slots["instrument"] == instrument) & (covered > 0)
            times = slots["made_ns"][own]
            first = np.searchsorted(covered[own], mine["sequence"].astype(np.int64))
            reached = first < len(times)
            found[name].append(times[first[reached]] - mine["recv_ns"][reached])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _covered(slots: np.ndarray, position: dict[int, int]) -> np.ndarray:
    """The tape position of the feature row each slot stems from."""
    return np.array([position.get(n, 0) for n in slots["feature_sequence"].tolist()], np.int64)


def measure(doorbell: str, rate: float, seconds: float) -> dict[str, Any]:
    """One run: percentiles in microseconds for each hop, and each process's time an event.

    Rows warm first: while they say that their history is too short, nothing is decided on them, and
    the way through execution would be shorter than it is.
    """
    load = Load()
    try:
        with running_instance(**settings(load.port, doorbell)) as instance:
            load.begin(f"paced {WARM_RATE} {WARM_S}")
            load.finish()
            wait_drained(instance)
            first = instance.committed("tape.bitfinex")
            before = instance.cpu_s()
            began_s = monotonic_s()
            load.begin(f"paced {rate} {seconds}")
            sent = load.finish()["sent"]
            took_s = monotonic_s() - began_s
            wait_drained(instance)
            after = instance.cpu_s()
            check_nobody_fell(instance)
            events = updates(instance, first)
            charges = charges_ns(instance, events)
            if not len(events) == len(charges["decision"]) == sent:
                raise BenchmarkError(
                    f"{sent} sent, {len(events)} taped, {len(charges['decision'])} decided on"
                )
            return {
                "events": sent,
                "invalid_share": round(_invalid_share(instance, events), 4),
                "lost": sum(r.lost for ring in instance.status().rings for r in ring.readers),
                "rate_per_s": round(sent / took_s),
                **{
                    f"{name}_{label}_us": round(float(np.percentile(values, share)) / 1e3, 1)
                    for name, values in charges.items()
                    for label, share in (("p50", 50), ("p99", 99))
                },
                "cpu_us_per_event": {
                    name: round((after[name] - before[name]) / sent * 1e6, 1) for name in after
                },
            }
    finally:
        load.close()


def _invalid_share(instance: Instance, events: np.ndarray) -> float:
    """The share of decisions about these events whose rows were not to be trusted."""
    made = instance.slots("decisions")
    mine = (made["kind"] == int(SlotKind.DECISION)) & (
        made["newest_recv_ns"] >= events["recv_ns"][0]
    )
    return float(np.mean(made["invalid"][mine] != 0))


@contextlib.contextmanager
def _paused(instance: Instance, names: list[str]) -> Iterator[None]:
    """Stand processes of the instance still: what the others do without them."""
    import psutil

    processes = [
        psutil.Process(child.pid) for child in instance.status().processes if child.name in names
    ]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def measure_saturated(doorbell: str, frames: int, *, storage: bool) -> dict[str, Any]:
    """Collector, features and inference (and storage) under all that one connection can bring.

    Execution stands still. Events a second are counted from the first socket read to the moment
    when the last event is in a feature row: what the slowest of the stages keeps up with.
    """
    load = Load()
    wanted = {**settings(load.port, doorbell), "rings": {
        "tape": 1 << 21, "features": 1 << 18, "predictions": 1 << 18, "decisions": 1 << 16,
    }}  # fmt: skip
    assert frames < 1 << 21
    try:
        with running_instance(**wanted) as instance:
            nap(2.0)
            with _paused(instance, ["execution"] if storage else ["execution", "storage"]):
                load.begin(f"burst {frames}")
                load.finish()
                _wait_counted(instance)
                return _saturated_figures(instance, frames, storage=storage)
    finally:
        load.close()


def _wait_counted(instance: Instance) -> None:
    """Until features and inference have read all there is."""
    end_s = monotonic_s() + 60.0
    while monotonic_s() < end_s:
        nap(0.3)
        readers = [r for ring in instance.status().rings for r in ring.readers]
        if all(r.lag == 0 for r in readers if r.name in {"features", "inference"}):
            return
    raise BenchmarkError(f"features or inference is behind after a minute: {readers}")


def _saturated_figures(instance: Instance, frames: int, *, storage: bool) -> dict[str, Any]:
    check_nobody_fell(instance)
    events = updates(instance)
    rows = instance.slots("features")
    began_ns, ended_ns = int(events["recv_ns"][0]), int(events["recv_ns"][-1])
    counted_ns = int(rows["made_ns"][rows["tape_position_0"] >= events["sequence"][-1]][0])
    watched = {"features", "inference"} | ({"storage"} if storage else set())
    lost = sum(
        r.lost for ring in instance.status().rings for r in ring.readers if r.name in watched
    )
    assert len(events) == frames, (len(events), frames)
    collected_s, counted_s = (ended_ns - began_ns) / 1e9, (counted_ns - began_ns) / 1e9
    waits = charges_ns(instance, events)["prediction"]
    assert len(waits) == frames, "an event without a prediction"
    return {
        "events": frames,
        "events_per_s": round(frames / counted_s),
        "collected_per_s": round(frames / collected_s),
        "predictions": len(instance.slots("predictions")),
        "lost": lost,
        "prediction_p50_us": round(float(np.percentile(waits, 50)) / 1e3, 1),
        "prediction_p99_us": round(float(np.percentile(waits, 99)) / 1e3, 1),
    }


if __name__ == "__main__":
    import json
    import sys

    if sys.argv[1] == "saturated":
        found = measure_saturated(sys.argv[2], int(sys.argv[3]), storage=sys.argv[4] == "storage")
    else:
        found = measure(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
    print(json.dumps(found, indent=1))
