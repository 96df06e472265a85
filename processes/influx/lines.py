"""Slots to line protocol: one point a slot, its tags escaped once a series.

A block is written together: the numbers of all its rows are made text by one call (float32 with
the shortest digits that read back the same), and a row is put together by one template. A NaN or an
infinity has no form in the protocol, so its field is left out.

A field has one type for ever: what is a float here is never written with an `i`, what is whole
always is. Points of a series are unique by their time: the last three digits of the nanoseconds are
those of the slot's sequence, since two slots may have the same time and would overwrite each other.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
import orjson

from schemas import decisions, predictions, tape
from schemas.decisions import NUMBERS, STRATEGIES, SlotKind
from schemas.features import CATALOGUE
from schemas.instruments import Tables
from schemas.messages import ConfigChanged, Fact, ProcessChanged, RungChanged
from schemas.predictions import MODELS, Rung, outputs_of
from schemas.tape import WHOLE_CONNECTION, Kind, Marker, MarkerReason
from schemas.trading import REASON_TEXT, Action, KillLevel, Reason

I64_MAX: Final = (1 << 63) - 1
QUIET: Final = frozenset(
    {Reason.NO_SIGNAL, Reason.ALREADY_IN_POSITION, Reason.EV_TOO_SMALL, Reason.STRATEGY_DISABLED}
)
"""Reasons of decisions that neither acted nor were denied: no part of the audit log."""
SNAPSHOTS: Final = (Marker.SNAPSHOT_BEGIN, Marker.SNAPSHOT_END)
FEATURES: Final = tuple(feature.name for feature in CATALOGUE)
OUTPUTS: Final = tuple(name for model in (*MODELS, "blend") for name in outputs_of(model))
STATE: Final = ("spread_bps", "volatility_bps", "regime", "book_age_s", "mean_cross_bps")
PREDICTIONS: Final = OUTPUTS + STATE
_AUDIT_NUMBERS: Final = tuple(
    NUMBERS.index(name)
    for name in ("confidence", "expected_value_bps", "position", "quantity", "limit_price")
)
_MARKER_FIELDS: Final = (
    "epoch", "from_epoch", "lost", "from_recv_ns", "to_recv_ns", "from_venue_sequence",
    "to_venue_sequence",
)  # fmt: skip


class Bucket(IntEnum):
    """Where lines go; the numbers stand in files and are never changed."""

    FAST = 0
    AGGREGATES = 1
    LOGS = 2


class Lines(NamedTuple):
    """Lines of one bucket, and the time of the newest."""

    bucket: Bucket
    lines: list[bytes]
    newest_ns: int


def escape_tag(text: str) -> bytes:
    """A tag's value; an empty one is not allowed by the protocol and becomes `_`.

    Source: docs.influxdata.com/influxdb/v2, "Line protocol", special characters.
    """
    one_line = text.replace("\n", " ").rstrip("\\")
    for character in ",= ":
        one_line = one_line.replace(character, f"\\{character}")
    return (one_line or "_").encode()


def quote(text: str) -> bytes:
    """A string field's value."""
    one_line = text.replace("\n", " ").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{one_line}"'.encode()


class Tags:
    """The escaped tags of instruments, made once each.

    Args:
        load: reads the tables again, for an index that was not there before.
    """

    def __init__(self, load: Callable[[], Tables]) -> None:
        self._load = load
        self._tables = load()
        self._made: dict[int, bytes] = {}

    def of(self, instrument: int) -> bytes:
        """`venue=...,symbol=...,pair=...`"""
        made = self._made.get(instrument)
        if made is None:
            if instrument >= len(self._tables.instruments):
                self._tables = self._load()
            item = self._tables.instruments[instrument]
            made = b"venue=%b,symbol=%b,pair=%b" % (
                escape_tag(item.venue), escape_tag(item.symbol), escape_tag(item.pair),
            )  # fmt: skip
            self._made[instrument] = made
        return made

    def channel(self, stream: int) -> bytes:
        """The channel of a stream."""
        if stream == WHOLE_CONNECTION:
            return b"connection"
        if stream >= len(self._tables.streams):
            self._tables = self._load()
        return escape_tag(self._tables.streams[stream].channel)


class FloatFields:
    """Columns of floats as fields: `a=0.25,b=1e-7`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [escape_tag(name) for name in names]
        self._template = b",".join(b"%b=%%b" % name for name in self._names)

    def texts(self, values: np.ndarray) -> list[bytes]:
        """One text a row of (rows, columns); empty for a row without a finite number."""
        if not len(values):
            return []
        block = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
        whole = np.isfinite(values).all(axis=1).tolist()
        rows = block[2:-2].split(b"],[")
        return [
            self._template % tuple(row.split(b",")) if complete else self._sparse(row)
            for row, complete in zip(rows, whole, strict=True)
        ]

    def _sparse(self, row: bytes) -> bytes:
        pairs = zip(self._names, row.split(b","), strict=True)
        return b",".join(b"%b=%b" % (name, text) for name, text in pairs if text != b"null")


_FEATURES: Final = FloatFields(FEATURES)
_REFERENCE: Final = FloatFields(("reference_price",))
_PREDICTIONS: Final = FloatFields(PREDICTIONS)
_NUMBERS: Final = FloatFields(NUMBERS)
_AUDIT: Final = FloatFields([NUMBERS[index] for index in _AUDIT_NUMBERS])


def unique_ns(times: np.ndarray, sequences: np.ndarray) -> np.ndarray:
    """Times to the microsecond, with the sequence's last three digits behind."""
    found: np.ndarray = times // 1000 * 1000 + (sequences % 1000).astype(np.int64)
    return found


def prediction_values(slots: np.ndarray) -> np.ndarray:
    """Outputs, blend and state of predictions as (rows, len(PREDICTIONS)) float32."""
    outputs = slots["outputs"][:, : len(MODELS)].reshape(len(slots), -1)
    state = np.stack([slots[name] for name in STATE], axis=1)
    found: np.ndarray = np.concatenate([outputs, slots["blend"], state], axis=1)
    return found


def feature_values(slots: np.ndarray) -> np.ndarray:
    """The catalogue's columns of feature rows as (rows, len(FEATURES)) float32."""
    found: np.ndarray = slots["values"][:, : len(FEATURES)]
    return found


def feature_lines(slots: np.ndarray, tags: Tags) -> Lines:
    """Feature rows."""
    times = unique_ns(slots["cut_ns"], slots["sequence"])
    late = (slots["made_ns"] - slots["cut_ns"]) // 1000
    columns = zip(
        slots["instrument"].tolist(),
        _joined(_FEATURES.texts(feature_values(slots)), _reference(slots)),
        slots["reason"].tolist(), slots["invalid"].tolist(), late.tolist(), times.tolist(),
        strict=True,
    )  # fmt: skip
    lines = [
        b"features,%b %breason=%di,invalid=%di,latency_us=%di %d"
        % (tags.of(instrument), fields, reason, invalid, late_us, time_ns)
        for instrument, fields, reason, invalid, late_us, time_ns in columns
    ]
    return Lines(Bucket.FAST, lines, int(times.max()))


def prediction_lines(slots: np.ndarray, tags: Tags) -> Lines:
    """Predictions."""
    times = unique_ns(slots["cut_ns"], slots["sequence"])
    late = (slots["made_ns"] - slots["cut_ns"]) // 1000
    columns = zip(
        slots["instrument"].tolist(),
        _joined(_PREDICTIONS.texts(prediction_values(slots)), _reference(slots)),
        slots["rung"].tolist(), slots["invalid"].tolist(), late.tolist(), times.tolist(),
        strict=True,
    )  # fmt: skip
    lines = [
        b"predictions,%b %brung=%di,invalid=%di,latency_us=%di %d"
        % (tags.of(instrument), fields, rung, invalid, late_us, time_ns)
        for instrument, fields, rung, invalid, late_us, time_ns in columns
    ]
    return Lines(Bucket.FAST, lines, int(times.max()))


def _reference(slots: np.ndarray) -> list[bytes]:
    return _REFERENCE.texts(slots["reference_price"].reshape(-1, 1))


def _joined(*columns: list[bytes]) -> Iterator[bytes]:
    """Fields of several blocks, each that is not empty with a comma behind it."""
    for texts in zip(*columns, strict=True):
        yield b"".join(b"%b," % text for text in texts if text)


def decision_lines(slots: np.ndarray, tags: Tags) -> Iterator[Lines]:
    """Decisions among the slots of the decisions ring: each one's numbers, and the audit log."""
    decided = slots[slots["kind"] == SlotKind.DECISION]
    if not len(decided):
        return
    times = unique_ns(decided["time_ns"], decided["sequence"])
    numbers = _NUMBERS.texts(decided["numbers"][:, : len(NUMBERS)])
    lines = []
    for slot, fields, time_ns in zip(decided, _joined(numbers), times.tolist(), strict=True):
        known = int(slot["newest_recv_ns"])
        late = b",latency_us=%di" % ((int(slot["made_ns"]) - known) // 1000) if known else b""
        lines.append(
            b"decisions,%b,strategy=%b %baction=%di,reason=%di,rung=%di%b %d"
            % (
                tags.of(int(slot["instrument"])), escape_tag(STRATEGIES[int(slot["strategy"])]),
                fields, slot["action"], slot["reason"], slot["rung"], late, time_ns,
            )
        )  # fmt: skip
    yield Lines(Bucket.FAST, lines, int(times.max()))
    audited = (decided["action"] != Action.HOLD) | ~np.isin(decided["reason"], list(QUIET))
    if audited.any():
        yield _audit_lines(decided[audited], times[audited], tags)


def _audit_lines(slots: np.ndarray, times: np.ndarray, tags: Tags) -> Lines:
    numbers = _AUDIT.texts(slots["numbers"][:, list(_AUDIT_NUMBERS)])
    lines = []
    for slot, fields, time_ns in zip(slots, _joined(numbers), times.tolist(), strict=True):
        reason = Reason(int(slot["reason"]))
        command = f"{int(slot['command_high']):016x}{int(slot['command_low']):016x}"
        lines.append(
            b"audit,%b,strategy=%b,action=%b,reason=%b %btext=%b,command_id=%b,cut=%di %d"
            % (
                tags.of(int(slot["instrument"])), escape_tag(STRATEGIES[int(slot["strategy"])]),
                Action(int(slot["action"])).name.lower().encode(), reason.name.lower().encode(),
                fields, quote(REASON_TEXT[reason]), quote(command.strip("0") and command),
                slot["cut"], time_ns,
            )
        )  # fmt: skip
    return Lines(Bucket.LOGS, lines, int(times.max()))


def switch_lines(slots: np.ndarray, level_before: int) -> Lines | None:
    """Moves of the kill switch and starts of execution, as the decisions ring tells of them."""
    levels = slots["kill_level"].astype(np.int64)
    before = np.concatenate([[level_before], levels[:-1]])
    times = unique_ns(slots["time_ns"], slots["sequence"])
    lines = [
        b"kill_switch,level=%b level_code=%di,before=%di %d"
        % (KillLevel(int(level)).name.lower().encode(), level, old, time_ns)
        for level, old, time_ns in zip(
            levels.tolist(), before.tolist(), times.tolist(), strict=True
        )
        if level != old
    ]
    started = slots["kind"] == SlotKind.INPUT_START
    lines += [
        b'processes,process=execution state="started" %d' % time_ns
        for time_ns in times[started].tolist()
    ]
    return Lines(Bucket.LOGS, lines, int(times.max())) if lines else None


def marker_lines(venue: str, slots: np.ndarray, tags: Tags) -> Lines | None:
    """Markers of a tape, but for the beginnings and ends of snapshots."""
    places = np.flatnonzero(slots["kind"] == Kind.MARKER)
    if not len(places):
        return None
    markers = slots[places].view(tape.MARKER)
    markers = markers[~np.isin(markers["marker"], SNAPSHOTS)]
    if not len(markers):
        return None
    times = unique_ns(markers["recv_ns"], markers["sequence"])
    connection = b"venue=%b,symbol=_,pair=_" % escape_tag(venue)
    lines = []
    for slot, time_ns in zip(markers, times.tolist(), strict=True):
        instrument = int(slot["instrument"])
        fields = b",".join(
            b"%b=%di" % (name.encode(), min(int(slot[name]), I64_MAX)) for name in _MARKER_FIELDS
        )
        lines.append(
            b"markers,%b,channel=%b,marker=%b,reason=%b %b %d"
            % (
                connection if instrument == WHOLE_CONNECTION else tags.of(instrument),
                tags.channel(int(slot["stream"])),
                Marker(int(slot["marker"])).name.lower().encode(),
                MarkerReason(int(slot["reason"])).name.lower().encode(), fields, time_ns,
            )
        )  # fmt: skip
    return Lines(Bucket.LOGS, lines, int(times.max()))


def fact_line(fact: Fact) -> Lines | None:
    """What the bus tells that stands in no ring: processes, rungs, settings."""
    if isinstance(fact, ProcessChanged):
        line = b"processes,process=%b state=%b,text=%b %d" % (
            escape_tag(fact.process), quote(fact.state), quote(fact.text), fact.time_ns,
        )  # fmt: skip
    elif isinstance(fact, RungChanged):
        line = b"model_chain,rung=%b rung_code=%di,text=%b %d" % (
            Rung(fact.rung).name.lower().encode(), fact.rung, quote(fact.text), fact.time_ns,
        )  # fmt: skip
    elif isinstance(fact, ConfigChanged):
        line = b"settings generation=%di,keys=%b %d" % (
            fact.generation, quote(", ".join(fact.keys)), fact.time_ns,
        )  # fmt: skip
    else:
        return None
    return Lines(Bucket.LOGS, [line], fact.time_ns)


assert predictions.SLOT["outputs"].shape[1] == decisions.INPUT_PREDICTION["outputs"].shape[1]
