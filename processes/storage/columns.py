"""Slots to Arrow columns: one function a table of the lake.

A slot has 256 bytes, a row of a table some 70. So the rows of a tape's series are not copied out of
their block as slots; `rows.py` has most columns, and here is what a table has of its own.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from processes.storage.rows import Rows
from schemas import decisions, features, predictions, tape
from schemas.features import CATALOGUE, MAX_TAPES, CutReason
from schemas.ids import text_ids
from schemas.instruments import Stream
from schemas.lake import SCHEMAS, TICKER_COLUMNS
from schemas.predictions import MODELS, Device, Rung, outputs_of
from schemas.tape import Flag, Marker, MarkerReason
from schemas.trading import Action, KillLevel, Reason

_MESSAGE_TYPES: Final = pa.array(["te", "tu", "snapshot"])
_OPERATIONS: Final = pa.array(["set", "delete"])
_MARKER_FIELDS: Final = tuple(
    name
    for name in tape.MARKER.names or ()
    if name not in (tape.SLOT.names or ()) and name not in {"marker", "reason"}
)


def _plain(column: np.ndarray) -> pa.Array:
    """A column of a structured array, copied together."""
    return pa.array(np.ascontiguousarray(column))


def _labels(codes: np.ndarray, texts: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), texts)


class _Names:
    """An enumeration as labels: codes may have gaps."""

    def __init__(self, kind: type[IntEnum], texts: Sequence[str] | None = None) -> None:
        members = list(kind)
        self._texts = pa.array([m.name.lower() for m in members] if texts is None else list(texts))
        self._codes = np.full(max(m.value for m in members) + 2, -1, np.int8)
        for index, member in enumerate(members):
            self._codes[member.value] = index

    def labels(self, values: np.ndarray) -> pa.Array:
        codes = self._codes[np.minimum(values, len(self._codes) - 1)]
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), self._texts)


_CUT_REASONS, _RUNGS, _DEVICES = _Names(CutReason), _Names(Rung), _Names(Device)
_ACTIONS, _REASONS, _KILL_LEVELS = _Names(Action), _Names(Reason), _Names(KillLevel)
_SLOT_KINDS = _Names(decisions.SlotKind)


def _markers(rows: Rows) -> tuple[pa.Array, pa.Array]:
    """The columns `marker` and `marker_detail`."""
    places = rows.markers()
    if not places:
        return rows.nulls(), rows.nulls()
    names: list[str | None] = [None] * len(rows)
    details: list[str | None] = [None] * len(rows)
    markers = rows.whole(places).view(tape.MARKER)
    for place, marker in zip(places, markers, strict=True):
        names[place] = Marker(int(marker["marker"])).name.lower()
        detail: dict[str, Any] = {
            name: int(marker[name]) for name in _MARKER_FIELDS if int(marker[name])
        }
        detail["reason"] = MarkerReason(int(marker["reason"])).name.lower()
        details[place] = msgspec.json.encode(detail).decode()
    return pa.array(names, pa.string()), pa.array(details, pa.string())


def _common(rows: Rows) -> list[pa.Array]:
    names = ("tape_seq", "venue_seq", "event_ns", "recv_ns", "epoch", "flags")
    return [*[rows.array(name) for name in names], *_markers(rows)]


def _has(rows: Rows, flag: Flag) -> np.ndarray:
    found: np.ndarray = (rows["flags"] & np.uint16(flag)) != 0
    return found


def _ticker(rows: Rows, _: Stream) -> list[pa.Array]:
    view = rows.whole().view(tape.TICKER)
    return [pa.array(rows.without_markers(view[n], np.nan)) for n in TICKER_COLUMNS.values()]


def _trades(rows: Rows, _: Stream) -> list[pa.Array]:
    kinds = np.where(_has(rows, Flag.SNAPSHOT), 2, _has(rows, Flag.CONFIRMED))
    return [
        *[rows.array(name) for name in ("id", "price", "amount")],
        _labels(kinds, _MESSAGE_TYPES),
        *[rows.array(name) for name in ("is_snapshot", "period")],
    ]


def _books(rows: Rows, _: Stream) -> list[pa.Array]:
    names = ("price", "count", "amount", "side", "is_snapshot", "period")
    return [rows.array(name) for name in names]


def _order_ids(rows: Rows) -> list[pa.Array]:
    """The columns `order_id` and `order_text`: one of the two is a row's id."""
    low, high = rows["id"], rows["id_high"]
    is_text = high != 0
    if not is_text.any():
        return [rows.array("id"), rows.nulls()]
    return [pa.array(np.where(is_text, 0, low)), pa.array(text_ids(low, high), mask=~is_text)]


def _raw_books(rows: Rows, _: Stream) -> list[pa.Array]:
    return [
        *_order_ids(rows),
        *[rows.array(name) for name in ("price", "amount")],
        _labels(_has(rows, Flag.DELETE), _OPERATIONS),
        *[rows.array(name) for name in ("side", "is_snapshot", "period")],
    ]


def _candles(rows: Rows, stream: Stream) -> list[pa.Array]:
    view = rows.whole().view(tape.CANDLE)
    numbers = [
        pa.array(rows.without_markers(view[name], np.nan))
        for name in ("open", "close", "high", "low", "volume", "average_price", "trade_count")
    ]
    return [
        pa.array(rows.without_markers(view["start_ns"] // 1_000_000, 0)),
        *numbers,
        _labels(np.zeros(len(rows)), pa.array([stream.timeframe])),
        rows.array("is_snapshot"),
    ]


def _status(rows: Rows, _: Stream) -> list[pa.Array]:
    view = rows.whole().view(tape.STATUS)
    return [pa.array(rows.without_markers(view[n], np.nan)) for n in tape.STATUS_COLUMNS]


def _liquidations(rows: Rows, _: Stream) -> list[pa.Array]:
    view = rows.whole().view(tape.LIQUIDATION)
    symbols: list[str | None] = [symbol.decode() for symbol in view["symbol"].tolist()]
    for place in rows.markers():
        symbols[place] = None
    return [
        rows.array("id"),
        pa.array(symbols, pa.string()),
        *[pa.array(rows.without_markers(view[n], np.nan)) for n in tape.LIQUIDATION_COLUMNS],
    ]


def _connection(rows: Rows, _: Stream) -> list[pa.Array]:
    del rows
    return []


_TABLES: Final[dict[str, Callable[[Rows, Stream], list[pa.Array]]]] = {
    "ticker": _ticker,
    "trades": _trades,
    "books": _books,
    "raw_books": _raw_books,
    "candles": _candles,
    "status": _status,
    "liquidations": _liquidations,
    "connection": _connection,
}


def tape_batch(rows: Rows, stream: Stream) -> pa.RecordBatch:
    """Slots of one instrument and stream as rows of its channel's table."""
    columns = _common(rows) + _TABLES[stream.table](rows, stream)
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMAS[stream.table])


def _fixed_lists(values: np.ndarray) -> pa.Array:
    flat = np.ascontiguousarray(values).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1])


def feature_batch(slots: np.ndarray) -> pa.RecordBatch:
    """Feature rows."""
    assert slots.dtype == features.SLOT
    values = np.ascontiguousarray(slots["values"].T)
    columns = [
        *[_plain(slots[name]) for name in ("sequence", "cut", "cut_ns", "made_ns")],
        _CUT_REASONS.labels(slots["reason"]),
        *[_plain(slots[n]) for n in ("invalid", "newest_recv_ns", "reference_price")],
        _plain(slots["config_generation"]),
        *[_plain(slots[f"tape_position_{index}"]) for index in range(MAX_TAPES)],
        *[pa.array(values[index]) for index in range(len(CATALOGUE))],
        _plain(slots["masked"]),
        _fixed_lists(slots["book"]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMAS["features"])


def prediction_batch(slots: np.ndarray) -> pa.RecordBatch:
    """Predictions."""
    assert slots.dtype == predictions.SLOT
    outputs = {
        name: values
        for model, block in (
            *[(model, slots["outputs"][:, index]) for index, model in enumerate(MODELS)],
            ("blend", slots["blend"]),
        )
        for name, values in zip(outputs_of(model), block.T, strict=True)
    }
    head = ("sequence", "cut", "cut_ns", "made_ns", "feature_sequence", "newest_recv_ns")
    tail = ("spread_bps", "volatility_bps", "regime", "book_age_s", "mean_cross_bps")
    columns = [
        *[_plain(slots[name]) for name in head],
        *[_plain(slots[n]) for n in ("reference_price", "invalid", "model_version")],
        _plain(slots["learner_state"]),
        _RUNGS.labels(slots["rung"]),
        _DEVICES.labels(slots["device"]),
        *[_plain(slots[n]) for n in ("batch_rows", "flags", "config_generation", "drain_first")],
        *[_plain(values) for values in outputs.values()],
        *[_plain(slots[name]) for name in tail],
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMAS["predictions"])


def decision_batch(slots: np.ndarray) -> pa.RecordBatch:
    """Inputs and decisions of execution."""
    assert slots.dtype == decisions.SLOT
    strategies = pa.array(list(decisions.STRATEGIES))
    command_ids = np.ascontiguousarray(slots[["command_high", "command_low"]])
    raw = command_ids["command_high"].astype(">u8").reshape(-1, 1).view(np.uint8)
    low = command_ids["command_low"].astype(">u8").reshape(-1, 1).view(np.uint8)
    ids = np.concatenate([raw, low], axis=1).tobytes()
    messages = [
        slot["message"].tobytes()[: int(slot["message_length"])] if slot["message_length"] else None
        for slot in slots
    ]
    columns = [
        _plain(slots["sequence"]),
        _SLOT_KINDS.labels(slots["kind"]),
        *[_plain(slots[n]) for n in ("time_ns", "made_ns", "input_sequence", "cut")],
        *[_plain(slots[n]) for n in ("feature_sequence", "prediction_sequence")],
        *[_plain(slots[n]) for n in ("reference_price", "newest_recv_ns")],
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(slots), [None, pa.py_buffer(ids)]),
        _ACTIONS.labels(slots["action"]),
        _REASONS.labels(slots["reason"]),
        _plain(slots["instrument"]),
        _labels(slots["strategy"], strategies),
        _RUNGS.labels(slots["rung"]),
        _plain(slots["invalid"]),
        _KILL_LEVELS.labels(slots["kill_level"]),
        _plain(slots["config_generation"]),
        _fixed_lists(slots["numbers"]),
        pa.array(messages, pa.binary()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMAS["decisions"])
