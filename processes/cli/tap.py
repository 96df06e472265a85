"""tap: any ring or the bus, decoded, filtered, live.

A ring is mapped read-only; only the tap's own row in the readers' page is written, and freed at the
end, or by the next comer if this process is killed.
"""

import os
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np

from processes.bus import subscribe
from processes.cli.instance import registry, running_paths
from processes.cli.screen import say
from processes.clock import Clock, nap, utc_text
from processes.rings import ring_layout
from schemas import decisions, features, predictions, tape
from schemas.errors import UsageError
from schemas.messages import decode_fact
from schemas.trading import Action, KillLevel, Reason
from shm.readers import RingReader
from shm.segment import Segment

POLL_S = 0.01
_FORMS = {
    tape.Kind.TICKER: tape.TICKER,
    tape.Kind.CANDLE: tape.CANDLE,
    tape.Kind.STATUS: tape.STATUS,
    tape.Kind.MARKER: tape.MARKER,
}
_ENUMS: dict[str, dict[str, type[IntEnum]]] = {
    "tape": {
        "kind": tape.Kind,
        "side": tape.Side,
        "marker": tape.Marker,
        "reason": tape.MarkerReason,
    },
    "features": {"reason": features.CutReason},
    "predictions": {"rung": predictions.Rung, "device": predictions.Device},
    "decisions": {
        "kind": decisions.SlotKind,
        "action": Action,
        "reason": Reason,
        "rung": predictions.Rung,
        "kill_level": KillLevel,
    },
}


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
    decode = _decoder(ring)
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


def _decoder(ring: str) -> Callable[[np.void, int], dict[str, Any]]:
    kind = ring.partition(".")[0]
    enums = _ENUMS[kind]
    hidden = {"spare", "book", "message_length"}

    def decode(slot: np.void, now_ns: int) -> dict[str, Any]:
        if kind == "tape":
            form = _tape_form(slot)
            if form is not None:
                slot = np.frombuffer(slot.tobytes(), form)[0]
        record: dict[str, Any] = {}
        for name in slot.dtype.names or ():
            if name in hidden:
                continue
            value = slot[name]
            if name in enums:
                record[name] = enums[name](int(value)).name.lower()
            elif name == "values":
                columns = zip(features.CATALOGUE, value.tolist(), strict=False)
                record |= {feature.name: number for feature, number in columns}
            elif name == "numbers":
                record |= dict(zip(decisions.NUMBERS, value.tolist(), strict=False))
            elif name == "outputs":
                record |= dict(zip(predictions.MODELS, value.tolist(), strict=False))
            elif name == "message":
                record["message"] = _message(slot)
            else:
                record[name] = _plain(value)
        return _with_times(record, now_ns)

    return decode


def _tape_form(slot: np.void) -> "np.dtype[np.void] | None":
    """The columns of a slot's kind, None for those of every slot."""
    kind, flags = int(slot["kind"]), int(slot["flags"])
    if kind == tape.Kind.STATUS and flags & tape.Flag.LIQUIDATION:
        return tape.LIQUIDATION
    return _FORMS.get(tape.Kind(kind))


def _plain(value: Any) -> Any:
    """A numpy value as JSON has it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.tolist() if isinstance(value, np.ndarray) else value.item()


def _message(slot: np.void) -> Any:
    length = int(slot["message_length"])
    return msgspec.msgpack.decode(slot["message"].tobytes()[:length]) if length else None


def _with_times(record: dict[str, Any], now_ns: int) -> dict[str, Any]:
    """How old a slot was when it was shown, hop by hop where it carries the times."""
    newest = record.get("newest_recv_ns") or record.get("recv_ns") or record.get("time_ns")
    made = record.get("made_ns")
    if newest and made:
        record["recv_to_made_us"] = round((made - newest) / 1e3, 1)
    if newest:
        record["age_us"] = round((now_ns - (made or newest)) / 1e3, 1)
    return record
