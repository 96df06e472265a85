"""Slots for tests of influx, and line protocol read back into numbers."""

import re
from typing import Any

import numpy as np

from schemas import decisions, features, predictions, tape
from schemas.decisions import SlotKind
from schemas.features import CATALOGUE, CutReason
from schemas.instruments import Instrument, Stream, Tables
from schemas.predictions import MODELS
from schemas.tape import WHOLE_CONNECTION, Kind, Marker, MarkerReason
from schemas.trading import Action, Reason

TABLES = Tables(
    instruments=[
        Instrument(index=0, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD"),
        Instrument(index=1, venue="bitfinex", symbol="tDOGE:USD", pair="DOGE/USD"),
        Instrument(index=2, venue="kraken", symbol="a b,c=d\\", pair=""),
    ],
    streams=[Stream(index=0, channel="books"), Stream(index=1, channel="trades")],
)
SECOND = 1_000_000_000


def feature_slots(count: int, start_ns: int, first: int = 1, gaps: bool = True) -> np.ndarray:
    """Rows of two instruments a second, some columns NaN or infinite."""
    draw = np.random.default_rng(first)
    slots = np.zeros(count, features.SLOT)
    slots["sequence"] = np.arange(first, first + count)
    slots["cut_ns"] = start_ns + (slots["sequence"] // 2).astype(np.int64) * SECOND
    slots["made_ns"] = slots["cut_ns"] + 700_000
    slots["instrument"] = slots["sequence"] % 2
    slots["reason"] = 1
    slots["invalid"] = slots["sequence"] % 5
    slots["reference_price"] = draw.normal(100, 1, count)
    values = draw.normal(0, 3, (count, len(CATALOGUE))).astype(np.float32)
    if gaps:
        values[draw.random(values.shape) < 0.05] = np.nan
        values[draw.random(values.shape) < 0.01] = np.inf
        values[::17] = np.nan
    slots["values"][:, : len(CATALOGUE)] = values
    return slots


def warm_slot(sequence: int, start_ns: int) -> np.ndarray:
    """What a restarted features writes before its rows: of no instrument."""
    slots = feature_slots(1, start_ns, sequence)
    slots["instrument"] = WHOLE_CONNECTION
    slots["reason"] = CutReason.WARM
    return slots


def prediction_slots(count: int, start_ns: int, first: int = 1) -> np.ndarray:
    draw = np.random.default_rng(first + 7)
    slots = np.zeros(count, predictions.SLOT)
    slots["sequence"] = np.arange(first, first + count)
    slots["cut_ns"] = start_ns + (slots["sequence"] // 2).astype(np.int64) * SECOND
    slots["made_ns"] = slots["cut_ns"] + 1_500_000
    slots["instrument"] = slots["sequence"] % 2
    slots["outputs"][:, : len(MODELS)] = draw.random((count, len(MODELS), 5))
    slots["outputs"][::3, 0] = np.nan
    slots["blend"] = draw.random((count, 5))
    slots["regime"] = np.nan
    slots["reference_price"] = 100.0
    return slots


def decision_slots(count: int, start_ns: int, first: int = 1) -> np.ndarray:
    """Inputs and decisions by turns; every sixth one acts, every tenth is denied."""
    slots = np.zeros(count, decisions.SLOT)
    slots["sequence"] = np.arange(first, first + count)
    slots["time_ns"] = start_ns + (slots["sequence"] // 4).astype(np.int64) * SECOND
    slots["made_ns"] = slots["time_ns"] + 2_000_000
    slots["newest_recv_ns"] = slots["time_ns"] - 1_000_000
    number = slots["sequence"]
    slots["kind"] = np.where(number % 2 == 0, SlotKind.DECISION, SlotKind.INPUT_PREDICTION)
    slots["instrument"] = number % 2
    slots["strategy"] = 1
    acts, denied = number % 12 == 0, number % 10 == 0
    slots["action"] = np.where(acts, Action.ENTER_LONG, Action.HOLD)
    slots["reason"] = np.where(
        acts, Reason.SIGNAL, np.where(denied, Reason.COOLDOWN, Reason.NO_SIGNAL)
    )
    slots["numbers"][:, 0] = number / 7
    slots["command_high"] = np.where(acts, number, 0)
    slots["command_low"] = np.where(acts, 5, 0)
    slots["cut"] = number
    return slots


def marker_slots(count: int, start_ns: int, first: int = 1) -> np.ndarray:
    """A tape of trades, every fifth slot a gap, every seventh the end of a snapshot."""
    slots = np.zeros(count, tape.MARKER)
    slots["sequence"] = np.arange(first, first + count)
    slots["recv_ns"] = start_ns + slots["sequence"].astype(np.int64)
    slots["kind"] = Kind.TRADE
    gap, end = slots["sequence"] % 5 == 0, slots["sequence"] % 7 == 0
    slots["kind"][gap | end] = Kind.MARKER
    slots["marker"][gap | end] = np.where(gap, Marker.GAP, Marker.SNAPSHOT_END)[gap | end]
    slots["reason"][gap] = MarkerReason.CHECKSUM
    slots["lost"][gap] = 3
    slots["to_venue_sequence"][gap] = (1 << 64) - 1
    slots["instrument"] = np.where(slots["sequence"] % 10 == 0, 65535, 0)
    slots["stream"] = np.where(slots["sequence"] % 10 == 0, 65535, 1)
    return slots.view(tape.SLOT)


def parse(line: bytes) -> tuple[str, dict[str, str], dict[str, Any], int]:
    """(measurement, tags, fields, time) of a line, by the protocol's own rules."""
    head, body, stamp = re.fullmatch(r"((?:\\.|[^\\ ])+) (.*) (-?\d+)", line.decode()).groups()
    measurement, *tags = re.split(r"(?<!\\),", head)
    pairs = [re.split(r"(?<!\\)=", tag, maxsplit=1) for tag in tags]
    texts = re.findall(r'([^=,]+)=("(?:[^"\\]|\\.)*"|[^,]+)', body)
    return (
        measurement,
        {key: re.sub(r"\\([,= ])", r"\1", value) for key, value in pairs},
        {key: _value(text) for key, text in texts},
        int(stamp),
    )


def _value(text: str) -> Any:
    if text.startswith('"'):
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    return int(text[:-1]) if text.endswith("i") else float(text)
