"""Slots to Arrow columns: one function a table of the lake.

A slot has 256 bytes, a row of a table some 70. So the rows of a series are not copied out of their
block as slots: each column is gathered by itself (`Rows`), which is several times quicker.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from schemas import decisions, features, predictions, tape
from schemas.features import CATALOGUE, MAX_TAPES, CutReason
from schemas.ids import text_ids
from schemas.instruments import Stream
from schemas.lake import SCHEMAS, TICKER_COLUMNS
from schemas.predictions import MODELS, Device, Rung, outputs_of
from schemas.tape import Flag, Kind, Marker, MarkerReason
from schemas.trading import Action, KillLevel, Reason

_SIDES: Final = pa.array(["none", "bid", "ask"])
_MESSAGE_TYPES: Final = pa.array(["te", "tu", "snapshot"])
_OPERATIONS: Final = pa.array(["set", "delete"])
_SIGNS: Final = np.array([1.0, 1.0, -1.0])
"""By side: sizes have the venue's sign in the lake."""
_MARKER_FIELDS: Final = tuple(
    name
    for name in tape.MARKER.names or ()
    if name not in (tape.SLOT.names or ()) and name not in {"marker", "reason"}
)


class Rows:
    """Those slots of a block that stand at `places`, fetched a column at a time."""

    def __init__(self, slots: np.ndarray, places: np.ndarray) -> None:
        self._slots = slots
        self._places = places
        self._columns: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: str) -> np.ndarray:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._slots[name][self._places]
        return column

    def view(self, form: np.dtype[Any], rows: Any = slice(None)) -> np.ndarray:
        """The slots, or some of them, whole and with another kind's columns."""
        return pick(self._slots, self._places[rows]).view(form)


def pick(slots: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`slots[places]`, as words: numpy copies structures a field at a time."""
    words = np.ascontiguousarray(slots).view(np.int64).reshape(-1, slots.itemsize // 8)
    picked: np.ndarray = words[places].view(slots.dtype).reshape(-1)
    return picked


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


def _markers(slots: Rows, is_marker: np.ndarray) -> tuple[pa.Array, pa.Array]:
    """The columns `marker` and `marker_detail`."""
    count = len(slots)
    if not is_marker.any():
        return pa.nulls(count, pa.string()), pa.nulls(count, pa.string())
    names: list[str | None] = [None] * count
    details: list[str | None] = [None] * count
    for index in np.flatnonzero(is_marker):
        marker = slots.view(tape.MARKER, [index])[0]
        names[index] = Marker(int(marker["marker"])).name.lower()
        detail: dict[str, Any] = {
            name: int(marker[name]) for name in _MARKER_FIELDS if int(marker[name])
        }
        detail["reason"] = MarkerReason(int(marker["reason"])).name.lower()
        details[index] = msgspec.json.encode(detail).decode()
    return pa.array(names, pa.string()), pa.array(details, pa.string())


def _common(slots: Rows, is_marker: np.ndarray) -> list[pa.Array]:
    names = ("sequence", "venue_sequence", "event_ns", "recv_ns", "epoch", "flags")
    return [*[_plain(slots[name]) for name in names], *_markers(slots, is_marker)]


def _signed(slots: Rows) -> np.ndarray:
    """Sizes with the venue's sign: positive for bids and buyers."""
    signed: np.ndarray = slots["size"] * _SIGNS[slots["side"]]
    return signed


def _has(slots: Rows, flag: Flag) -> np.ndarray:
    found: np.ndarray = (slots["flags"] & flag) != 0
    return found


def _ticker(slots: Rows, is_marker: np.ndarray, _: Stream) -> list[pa.Array]:
    view = slots.view(tape.TICKER)
    return [pa.array(np.where(is_marker, np.nan, view[field])) for field in TICKER_COLUMNS.values()]


def _periods(slots: Rows) -> pa.Array:
    """Days of a funding market's rows, 0 of others."""
    return pa.array(np.where(_has(slots, Flag.FUNDING), slots["count"], 0).astype(np.uint32))


def _trades(slots: Rows, is_marker: np.ndarray, _: Stream) -> list[pa.Array]:
    kinds = np.where(_has(slots, Flag.SNAPSHOT), 2, np.where(_has(slots, Flag.CONFIRMED), 1, 0))
    return [
        _plain(slots["id_low"]),
        _plain(slots["price"]),
        pa.array(_signed(slots)),
        _labels(kinds, _MESSAGE_TYPES),
        pa.array(_has(slots, Flag.SNAPSHOT) & ~is_marker),
        _periods(slots),
    ]


def _books(slots: Rows, is_marker: np.ndarray, _: Stream) -> list[pa.Array]:
    deleted = _has(slots, Flag.DELETE)
    # As the wire has it: a deleted level has count 0 and amount 1 or -1.
    signs = _SIGNS[slots["side"]]
    counts = np.where(_has(slots, Flag.FUNDING), slots["id_low"], slots["count"])
    return [
        _plain(slots["price"]),
        pa.array(counts.astype(np.uint32)),
        pa.array(np.where(deleted, signs, slots["size"] * signs)),
        _labels(slots["side"], _SIDES),
        pa.array(_has(slots, Flag.SNAPSHOT) & ~is_marker),
        _periods(slots),
    ]


def _order_ids(slots: Rows) -> list[pa.Array]:
    """The columns `order_id` and `order_text`: one of the two is a row's id."""
    low, high = slots["id_low"], slots["id_high"]
    is_text = high != 0
    if not is_text.any():
        return [_plain(low), pa.nulls(len(slots), pa.string())]
    return [pa.array(np.where(is_text, 0, low)), pa.array(text_ids(low, high), mask=~is_text)]


def _raw_books(slots: Rows, is_marker: np.ndarray, _: Stream) -> list[pa.Array]:
    return [
        *_order_ids(slots),
        _plain(slots["price"]),
        pa.array(_signed(slots)),
        _labels(_has(slots, Flag.DELETE), _OPERATIONS),
        _labels(slots["side"], _SIDES),
        pa.array(_has(slots, Flag.SNAPSHOT) & ~is_marker),
        _periods(slots),
    ]


def _candles(slots: Rows, is_marker: np.ndarray, stream: Stream) -> list[pa.Array]:
    view = slots.view(tape.CANDLE)
    numbers = [
        pa.array(np.where(is_marker, np.nan, view[name]))
        for name in ("open", "close", "high", "low", "volume", "average_price", "trade_count")
    ]
    return [
        pa.array(np.where(is_marker, 0, view["start_ns"] // 1_000_000)),
        *numbers,
        _labels(np.zeros(len(slots)), pa.array([stream.timeframe])),
        pa.array(_has(slots, Flag.SNAPSHOT) & ~is_marker),
    ]


def _status(slots: Rows, is_marker: np.ndarray, _: Stream) -> list[pa.Array]:
    view = slots.view(tape.STATUS)
    return [pa.array(np.where(is_marker, np.nan, view[name])) for name in tape.STATUS_COLUMNS]


def _liquidations(slots: Rows, is_marker: np.ndarray, _: Stream) -> list[pa.Array]:
    view = slots.view(tape.LIQUIDATION)
    symbols = [
        None if marker else symbol.decode()
        for symbol, marker in zip(view["symbol"].tolist(), is_marker.tolist(), strict=True)
    ]
    return [
        _plain(slots["id_low"]),
        pa.array(symbols, pa.string()),
        *[pa.array(np.where(is_marker, np.nan, view[n])) for n in tape.LIQUIDATION_COLUMNS],
    ]


def _connection(slots: Rows, is_marker: np.ndarray, _: Stream) -> list[pa.Array]:
    del slots, is_marker
    return []


_TABLES: Final[dict[str, Callable[[Rows, np.ndarray, Stream], list[pa.Array]]]] = {
    "ticker": _ticker,
    "trades": _trades,
    "books": _books,
    "raw_books": _raw_books,
    "candles": _candles,
    "status": _status,
    "liquidations": _liquidations,
    "connection": _connection,
}


def tape_batch(
    slots: np.ndarray, stream: Stream, places: np.ndarray | None = None
) -> pa.RecordBatch:
    """Slots of one instrument and stream as rows of its channel's table: all, or those `places`."""
    rows = Rows(slots, np.arange(len(slots)) if places is None else places)
    is_marker = rows["kind"] == Kind.MARKER
    columns = _common(rows, is_marker) + _TABLES[stream.table](rows, is_marker, stream)
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
