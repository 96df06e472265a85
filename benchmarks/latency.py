"""Received → decision: every tape event charged to the first decision whose cut covers it.

All processes of a real instance on this machine, a real loopback WebSocket, trigger interval 0, the
network on MLX, at 10,000 events a second.
"""

from typing import Any

import numpy as np

from benchmarks.instance import Instance, running_instance
from benchmarks.load import Load
from processes.clock import monotonic_s, nap
from schemas import tape
from schemas.decisions import SlotKind

SYMBOLS = ("tBTCUSD", "tETHUSD", "tSOLUSD", "tXRPUSD", "tLTCUSD", "tADAUSD", "tDOTUSD", "tEOSUSD")


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


def charges_ns(instance: Instance) -> dict[str, np.ndarray]:
    """Latency of every book event at every hop: (event) arrays of nanoseconds."""
    events = instance.slots("tape.bitfinex")
    events = events[
        (events["kind"] == tape.Kind.BOOK_LEVEL) & (events["flags"] & int(tape.Flag.SNAPSHOT) == 0)
    ]
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
    """One run: percentiles in microseconds for each hop, what was sent and decided, CPU shares."""
    load = Load()
    try:
        with running_instance(**settings(load.port, doorbell)) as instance:
            nap(2.0)
            before = instance.cpu_s()
            began_s = monotonic_s()
            load.begin(f"paced {rate} {seconds}")
            sent = load.finish()["sent"]
            took_s = monotonic_s() - began_s
            wait_drained(instance)
            after = instance.cpu_s()
            charges = charges_ns(instance)
            lost = sum(r.lost for ring in instance.status().rings for r in ring.readers)
            return {
                "events": sent,
                "charged": len(charges["decision"]),
                "lost": lost,
                "rate_per_s": round(sent / took_s),
                **{
                    f"{name}_{label}_us": round(float(np.percentile(values, share)) / 1e3, 1)
                    for name, values in charges.items()
                    for label, share in (("p50", 50), ("p99", 99))
                },
                "cpu_share": {
                    name: round((after[name] - before[name]) / took_s, 3) for name in after
                },
            }
    finally:
        load.close()


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(measure(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])), indent=1))
