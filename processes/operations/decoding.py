"""Slots of any ring as records that a person reads."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np

from schemas import decisions, features, predictions, tape
from schemas.trading import Action, KillLevel, Reason

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


def decoder(ring: str) -> Callable[[np.void, int], dict[str, Any]]:
    """What turns a slot of this ring, and the time it is looked at, into a record."""
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
