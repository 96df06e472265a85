"""tap: any ring or the bus, decoded, filtered, live.

A ring is mapped read-only; only the tap's own row in the readers' page is written, and freed at the
end, or by the next comer if this process is killed.
"""

import os
from collections.abc import Iterator
from typing import Any

import msgspec

from processes.bus import subscribe
from processes.cli.screen import say
from processes.clock import Clock, nap, utc_text
from processes.operations.decoding import decoder
from processes.operations.instance import registry, running_paths
from processes.rings import ring_layout
from schemas.errors import UsageError
from schemas.messages import decode_fact
from shm.readers import RingReader
from shm.segment import Segment

POLL_S = 0.01


def tap(what: str, match: list[str], *, count: int, oldest: bool, as_json: bool) -> None:
    """Print slots or facts as they come."""
    wanted = [_condition(text) for text in match]
    source = _facts() if what == "bus" else _slots(what, oldest=oldest)
    shown = 0
    for record in source:
        if all(str(record.get(name)) == value for name, value in wanted):
            say(msgspec.json.encode(record).decode() if as_json else _line(record))
            shown += 1
            if count and shown >= count:
                return


def _condition(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise UsageError(f"--match {text}: write it as field=value, like instrument=0")
    return name, value


def _line(record: dict[str, Any]) -> str:
    """What the record says; what is empty or zero is left to --json."""
    parts = []
    for name, value in record.items():
        if value in ("", None, 0, [], {}):
            continue
        parts.append(f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}")
    return "  ".join(parts)


def _facts() -> Iterator[dict[str, Any]]:
    import zmq

    found = registry()
    context: Any = zmq.Context()
    socket = subscribe(context, running_paths().run, [child.name for child in found.children])
    while True:
        _, body = socket.recv_multipart()
        fact = decode_fact(body)
        record = {"fact": fact.__struct_config__.tag, **msgspec.structs.asdict(fact)}
        if "time_ns" in record:
            record["time"] = utc_text(record.pop("time_ns"))
        yield record


def _slots(ring: str, *, oldest: bool) -> Iterator[dict[str, Any]]:
    found = registry()
    entry, page = found.find("ring", ring), found.find("readers", ring)
    if entry is None or page is None:
        known = ", ".join([*found.ring_names(), "bus"])
        raise UsageError(f"no ring {ring}; there are {known}")
    dtype, layout = ring_layout(ring)
    ring_map = Segment.attach(entry.name, writable=False)
    rows = Segment.attach(page.name)
    reader = RingReader(
        ring_map, rows, dtype, layout, f"tap.{os.getpid()}",
        start="resume" if oldest else "newest", tap=True, limit=512,
    )  # fmt: skip
    now_ns = Clock(found.clock_offset_ns).now_ns
    decode = decoder(ring)
    try:
        while True:
            slots = reader.read()
            reader.acknowledge()
            if reader.lost_before:
                yield {"lost": reader.lost_before}
            for slot in slots:
                yield decode(slot, now_ns())
            if not len(slots):
                running_paths()
                nap(POLL_S)
    finally:
        reader.release()
