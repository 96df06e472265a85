"""Rows of the lake as the slots that they were made from: `storage/columns.py` backwards.

Of the rings behind the tape; those of tapes are in `tapes.py`. `made_ns` and ring sequences are as
recorded.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import numpy as np
import pyarrow as pa

from processes.recordings.rows import Part
from schemas import decisions, features, predictions, tape
from schemas.errors import OperatorError
from schemas.features import CATALOGUE, COLUMN, MAX_TAPES, CutReason
from schemas.instruments import Stream, Tables
from schemas.predictions import MODELS, Device, Rung, outputs_of
from schemas.tape import WHOLE_CONNECTION
from schemas.trading import Action, KillLevel, Reason

_STREAM_FIELDS: Final = ("channel", "precision", "frequency", "timeframe", "variant")


class Indices:
    """Instruments and streams by what a file's metadata say of them."""

    def __init__(self, tables: Tables) -> None:
        self._instruments = {(i.venue, i.symbol): i.index for i in tables.instruments}
        self._streams = {_stream_key(stream): stream.index for stream in tables.streams}

    def instrument(self, metadata: dict[str, str]) -> int:
        """The instrument's place; `WHOLE_CONNECTION` of rows that are of none."""
        if "symbol" not in metadata:
            return WHOLE_CONNECTION
        return self._instruments[metadata["venue"], metadata["symbol"]]

    def stream(self, metadata: dict[str, str]) -> int:
        """The stream's place."""
        if "channel" not in metadata:
            return WHOLE_CONNECTION
        told = [metadata.get(name, "") for name in _STREAM_FIELDS]
        return self._streams[(*told, int(metadata.get("length", 0)))]


def _stream_key(stream: Stream) -> tuple[Any, ...]:
    return (*(str(getattr(stream, name)) for name in _STREAM_FIELDS), stream.length)


def numbers(part: Part, name: str) -> np.ndarray:
    """A column of a part as numbers."""
    column: np.ndarray = part.batch.column(name).to_numpy(zero_copy_only=False)
    return column


def places_of(parts: Sequence[Part]) -> tuple[list[np.ndarray], int]:
    """Where the rows of each part stand among those of all, by sequence; and how many there are."""
    total = sum(len(part.sequences) for part in parts)
    first = min(int(part.sequences[0]) for part in parts)
    last = max(int(part.sequences[-1]) for part in parts)
    if last - first + 1 == total:  # nothing is missing: the sequence says the place
        return [(part.sequences - np.uint64(first)).astype(np.intp) for part in parts], total
    every = np.sort(np.concatenate([part.sequences for part in parts]))
    return [np.searchsorted(every, part.sequences) for part in parts], total


class _Codes:
    """An enumeration's labels as the numbers they stand for."""

    def __init__(self, kind: type[IntEnum]) -> None:
        self._codes = {member.name.lower(): int(member) for member in kind}

    def of(self, column: pa.DictionaryArray) -> np.ndarray:
        """(rows) int64; 0 where there is no label."""
        texts = column.dictionary.to_pylist()
        codes = np.array([self._codes[text] for text in texts] or [0], np.int64)
        indices = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        found: np.ndarray = codes[indices]
        if column.null_count:
            found[column.is_null().to_numpy(zero_copy_only=False)] = 0
        return found


_CUT_REASONS, _RUNGS, _DEVICES = _Codes(CutReason), _Codes(Rung), _Codes(Device)
_ACTIONS, _REASONS, _KILL_LEVELS = _Codes(Action), _Codes(Reason), _Codes(KillLevel)
_SLOT_KINDS = _Codes(decisions.SlotKind)


def _lists(part: Part, name: str, width: int) -> np.ndarray:
    flat = part.batch.column(name).flatten().to_numpy(zero_copy_only=False)
    shaped: np.ndarray = flat.reshape(-1, width)
    return shaped


_CUT: Final = (
    "cut", "cut_ns", "made_ns", "invalid", "newest_recv_ns", "reference_price",
    "config_generation", *(f"tape_position_{number}" for number in range(MAX_TAPES)),
)  # fmt: skip
CUT_COLUMNS: Final = ("seq", "reason", *_CUT)
"""Columns of the lake's feature rows that every catalogue has: where and when rows were cut."""


def cut_slots(parts: Sequence[Part], indices: Indices) -> np.ndarray:
    """Feature rows of a stretch of the ring, in order, without values and books."""
    places, total = places_of(parts)
    slots = np.zeros(total, features.SLOT)
    for part, at in zip(parts, places, strict=True):
        slots["sequence"][at] = part.sequences
        slots["instrument"][at] = indices.instrument(part.metadata)
        slots["reason"][at] = _CUT_REASONS.of(part.batch.column("reason"))
        for name in _CUT:
            slots[name][at] = numbers(part, name)
    return slots


def feature_slots(parts: Sequence[Part], indices: Indices) -> np.ndarray:
    """Feature rows of a stretch of the ring, in order."""
    slots = cut_slots(parts, indices)
    for part, at in zip(parts, places_of(parts)[0], strict=True):
        absent = [name for name in (*COLUMN, "masked") if part.batch.column(name).null_count]
        if absent:
            raise OperatorError(
                f"the rows are of another feature catalogue than version {features.VERSION}: they "
                f"have no {absent[0]}; their tapes can still be used: dcctl backtest"
            )
        slots["masked"][at] = numbers(part, "masked")
        values = np.zeros((len(at), features.WIDTH), np.float32)
        for column, feature in enumerate(CATALOGUE):
            values[:, column] = numbers(part, feature.name)
        slots["values"][at] = values
        slots["book"][at] = _lists(part, "book", 4 * tape.LEVELS)
    return slots


def prediction_slots(parts: Sequence[Part], indices: Indices) -> np.ndarray:
    """Predictions of a stretch of the ring, in order."""
    places, total = places_of(parts)
    slots = np.zeros(total, predictions.SLOT)
    same = (
        "cut", "cut_ns", "made_ns", "newest_recv_ns", "reference_price", "invalid",
        "model_version", "learner_state", "batch_rows", "flags", "config_generation",
        "drain_first", "spread_bps", "volatility_bps", "regime", "book_age_s", "mean_cross_bps",
    )  # fmt: skip
    slots["outputs"] = np.nan
    for part, at in zip(parts, places, strict=True):
        slots["sequence"][at] = part.sequences
        slots["instrument"][at] = indices.instrument(part.metadata)
        slots["feature_sequence"][at] = numbers(part, "feature_seq")
        slots["rung"][at] = _RUNGS.of(part.batch.column("rung"))
        slots["device"][at] = _DEVICES.of(part.batch.column("device"))
        for name in same:
            slots[name][at] = numbers(part, name)
        for place, model in enumerate(MODELS):
            for column, name in enumerate(outputs_of(model)):
                slots["outputs"][at, place, column] = numbers(part, name)
        for column, name in enumerate(outputs_of("blend")):
            slots["blend"][at, column] = numbers(part, name)
    return slots


def decision_slots(parts: Sequence[Part], _: Indices) -> np.ndarray:
    """Inputs and decisions of a stretch of the ring, in order; outputs of predictions are empty."""
    places, total = places_of(parts)
    slots = np.zeros(total, decisions.SLOT)
    same = (
        "time_ns", "made_ns", "cut", "reference_price", "newest_recv_ns", "instrument", "invalid",
        "config_generation",
    )  # fmt: skip
    named = {
        "kind": _SLOT_KINDS, "action": _ACTIONS, "reason": _REASONS, "rung": _RUNGS,
        "kill_level": _KILL_LEVELS,
    }  # fmt: skip
    for part, at in zip(parts, places, strict=True):
        batch = part.batch
        slots["sequence"][at] = part.sequences
        for name in same:
            slots[name][at] = numbers(part, name)
        slots["input_sequence"][at] = numbers(part, "input_seq")
        slots["feature_sequence"][at] = numbers(part, "feature_seq")
        slots["prediction_sequence"][at] = numbers(part, "prediction_seq")
        for name, codes in named.items():
            slots[name][at] = codes.of(batch.column(name))
        strategies = batch.column("strategy")
        known = [decisions.STRATEGIES.index(text) for text in strategies.dictionary.to_pylist()]
        slots["strategy"][at] = np.array(known)[strategies.indices.to_numpy()]
        slots["numbers"][at] = _lists(part, "numbers", 16)
        ids = np.frombuffer(b"".join(batch.column("command_id").to_pylist()), ">u8").reshape(-1, 2)
        slots["command_high"][at], slots["command_low"][at] = ids[:, 0], ids[:, 1]
        for place, raw in zip(at.tolist(), batch.column("message").to_pylist(), strict=True):
            if raw is not None:
                slots["message_length"][place] = len(raw)
                slots["message"][place, : len(raw)] = np.frombuffer(raw, np.uint8)
    return slots
