"""Tape slots for history: beside what replay needs, what candles and markers tell.

Few of them beside books and trades, so they are filled in by numpy, over the compiled slots.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from processes.recordings.books import Books
from processes.recordings.rows import Part
from processes.recordings.slots import Indices, numbers, places_of
from processes.recordings.tapes import tape_columns, tape_slots
from schemas import tape
from schemas.tape import MarkerReason

_CANDLE: Final = {
    "open": "open", "close": "close", "high": "high", "low": "low", "volume": "volume",
    "vwap": "average_price", "trades": "trade_count",
}  # fmt: skip


def history_columns(table: str) -> list[str]:
    """As `tape_columns`, with what markers and candles tell."""
    own = [name for name in ("mts", *_CANDLE) if table == "candles"]
    return [*tape_columns(table), "marker_detail", *own]


def history_slots(parts: Sequence[Part], indices: Indices, books: Books) -> np.ndarray:
    """As `tape_slots`, with candles' own columns and the particulars of markers.

    Args:
        parts: with the columns of `history_columns`.
    """
    slots = tape_slots(parts, indices, books)
    places, _ = places_of(parts)
    for part, at in zip(parts, places, strict=True):
        if part.metadata["table"] == "candles":
            _fill_candles(slots, part, at)
        marker = part.batch.column("marker")
        if marker.null_count == len(marker):
            continue
        details = part.batch.column("marker_detail")
        for row in np.flatnonzero(marker.is_valid().to_numpy(zero_copy_only=False)):
            place = int(at[row])
            _fill_marker(slots[place : place + 1].view(tape.MARKER)[0], details[int(row)].as_py())
    return slots


def _fill_candles(slots: np.ndarray, part: Part, at: np.ndarray) -> None:
    is_event = part.batch.column("marker").is_null().to_numpy(zero_copy_only=False)
    candles, at = slots.view(tape.CANDLE), at[is_event]
    candles["start_ns"][at] = numbers(part, "mts")[is_event] * 1_000_000
    for column, field in _CANDLE.items():
        candles[field][at] = numbers(part, column)[is_event]


def _fill_marker(slot: Any, detail: str) -> None:
    told = msgspec.json.decode(detail)
    slot["reason"] = MarkerReason[told.pop("reason").upper()]
    for name, value in told.items():
        slot[name] = value
