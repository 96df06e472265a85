"""Slots and log lines as the rows of history. Pure: reads nothing but what it is given.

Bars are the venues' own candles as the tape has them; a candle that still runs is one row that
changes. A signal is a decision in which a strategy wanted something, sent or denied. Profit is the
last decision of each minute.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from math import isfinite
from typing import Any, Final

import msgspec
import numpy as np

from processes.databases.base import Statement
from processes.storage.history_sources import Hole, Place
from schemas import tape
from schemas.decisions import NUMBERS, STRATEGIES, SlotKind
from schemas.instruments import Instrument, Stream, Tables
from schemas.tape import WHOLE_CONNECTION, Kind
from schemas.trading import Action, KillLevel, Reason

MINUTE_NS: Final = 60_000_000_000
NOT_WANTED: Final = frozenset(
    {
        Reason.NO_SIGNAL, Reason.ALREADY_IN_POSITION, Reason.STRATEGY_DISABLED, Reason.STALE_DATA,
        Reason.INVALID_FEATURES, Reason.NO_MODEL,
    }
)  # fmt: skip
"""Reasons of plain holds: nothing was wanted, or nothing was looked at."""
AUDIT_LEVELS: Final = frozenset({"warning", "error", "critical"})
AUDITED_WHOLE: Final = frozenset({"supervisor", "console"})
"""Processes of which every line is kept: starts, stops, restarts, settings."""
_BAR: Final = (
    "INSERT INTO bars (venue, symbol, timeframe, variant, source, start_ns, open, high, low, "
    "close, volume, average_price, trades, recv_ns, last_session, last_number) "
    "VALUES (?,?,?,?,'candle',?,?,?,?,?,?,?,?,?,?,?) "
    "ON CONFLICT (venue, symbol, timeframe, variant, source, start_ns) DO UPDATE SET "
    "open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, "
    "volume = excluded.volume, average_price = excluded.average_price, trades = excluded.trades, "
    "recv_ns = excluded.recv_ns, last_session = excluded.last_session, "
    "last_number = excluded.last_number WHERE (coalesce(bars.last_session, 0), "
    "coalesce(bars.last_number, 0)) <= (excluded.last_session, excluded.last_number)"
)
_SIGNAL: Final = (
    "INSERT INTO signals VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
)
_PROFIT_ROW: Final = (
    "INSERT INTO profit VALUES (?,?,?,?,?,?,?,?,?) "
    "ON CONFLICT (minute_ns, strategy, venue, symbol) DO UPDATE SET position = excluded.position, "
    "reference_price = excluded.reference_price, "
    "realized_day_all = excluded.realized_day_all, unrealized = excluded.unrealized, decisions = "
)
_PROFIT: Final = _PROFIT_ROW + "profit.decisions + excluded.decisions"
WHOLE_PROFIT: Final = _PROFIT_ROW + (
    "CASE WHEN profit.decisions > excluded.decisions THEN profit.decisions "
    "ELSE excluded.decisions END"
)
"""The same of a minute that was read whole: what is there is not added to. What was removed from
the lake does not lower a count."""
DECISIONS_AT: Final = 4
"""Place of the count among a row's values; its key stands before it."""
_AUDIT: Final = "INSERT INTO audit VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
_HOLE: Final = "INSERT INTO holes VALUES (?,?,?,?) ON CONFLICT DO NOTHING"
_PROGRESS: Final = (
    "INSERT INTO progress VALUES (?,?,?) "
    "ON CONFLICT (source) DO UPDATE SET mark = excluded.mark, place = excluded.place"
)
_CONFIDENCE, _MOVE, _COST, _VALUE, _POSITION, _QUANTITY, _REALIZED, _UNREALIZED = (
    NUMBERS.index(name)
    for name in (
        "confidence", "expected_move_bps", "cost_bps", "expected_value_bps", "position", "quantity",
        "realized_pnl", "unrealized_pnl",
    )
)  # fmt: skip
_MESSAGES: Final = {
    SlotKind.INPUT_BROKER: "broker",
    SlotKind.INPUT_COMMAND: "kill switch",
    SlotKind.INPUT_SIGNAL: "outside signal",
    SlotKind.INPUT_CONFIG: "settings",
    SlotKind.INPUT_START: "start",
}


class Names:
    """Instruments and streams by index; read again when an index is new."""

    def __init__(self, read: Callable[[], Tables]) -> None:
        self._read = read
        self._tables = read()

    def instrument(self, index: int) -> Instrument:
        """The instrument of an index."""
        if index >= len(self._tables.instruments):
            self._tables = self._read()
        return self._tables.instruments[index]

    def stream(self, index: int) -> Stream:
        """The stream of an index."""
        if index >= len(self._tables.streams):
            self._tables = self._read()
        return self._tables.streams[index]


def _number(value: Any) -> float | None:
    """A float as a database takes it: not-a-number is nothing."""
    number = float(value)
    return number if isfinite(number) else None


def progress(source: str, place: Place) -> Statement:
    """How far a source is read once these rows are there."""
    return (_PROGRESS, (source, place.mark, place.place))


def holes(found: list[Hole]) -> Iterator[Statement]:
    """What could not be read."""
    for hole in found:
        yield (_HOLE, (hole.source, hole.mark, hole.first, hole.last))


def bars(slots: np.ndarray, session: int, names: Names) -> Iterator[Statement]:
    """Candles of a tape: the last state of each, if no later one is there."""
    candles = slots[(slots["kind"] == Kind.CANDLE) & (slots["instrument"] != WHOLE_CONNECTION)]
    newest: dict[tuple[int, int, int], int] = {}
    candles = np.ascontiguousarray(candles).view(tape.CANDLE)
    for number, candle in enumerate(candles):
        newest[int(candle["instrument"]), int(candle["stream"]), int(candle["start_ns"])] = number
    for (instrument, stream, start_ns), number in newest.items():
        item, way, candle = names.instrument(instrument), names.stream(stream), candles[number]
        prices = [
            _number(candle[name])
            for name in ("open", "high", "low", "close", "volume", "average_price", "trade_count")
        ]
        key = (item.venue, item.symbol, way.timeframe, way.variant, start_ns)
        place = (session, int(candle["sequence"]))
        yield (_BAR, (*key, *prices, int(candle["recv_ns"]), *place))


def signals(slots: np.ndarray, session: int, names: Names) -> Iterator[Statement]:
    """Decisions that were not plain holds."""
    decided = slots[slots["kind"] == SlotKind.DECISION]
    plain = np.isin(decided["reason"], [int(reason) for reason in NOT_WANTED])
    for slot in decided[~plain]:
        item, numbers = names.instrument(int(slot["instrument"])), slot["numbers"]
        yield (
            _SIGNAL,
            (
                int(slot["time_ns"]), session, int(slot["sequence"]), item.venue, item.symbol,
                STRATEGIES[int(slot["strategy"])], Action(int(slot["action"])).name.lower(),
                Reason(int(slot["reason"])).name.lower(), _command(slot),
                *(_number(numbers[column]) for column in (_CONFIDENCE, _MOVE, _COST, _VALUE)),
                _number(numbers[_POSITION]), _number(numbers[_QUANTITY]),
                _number(slot["reference_price"]),
            ),
        )  # fmt: skip


def _command(slot: np.void) -> str:
    high, low = int(slot["command_high"]), int(slot["command_low"])
    return f"{high:016x}{low:016x}" if high or low else ""


def profit(slots: np.ndarray, names: Names) -> Iterator[Statement]:
    """The last decision of each minute, strategy and instrument, and how many there were."""
    decided = slots[slots["kind"] == SlotKind.DECISION]
    minutes = decided["time_ns"] // MINUTE_NS
    keys = minutes << 24 | decided["strategy"].astype(np.int64) << 16 | decided["instrument"]
    _, from_end, counts = np.unique(keys[::-1], return_index=True, return_counts=True)
    for place, count in zip(len(decided) - 1 - from_end, counts, strict=True):
        slot = decided[place]
        item, numbers = names.instrument(int(slot["instrument"])), slot["numbers"]
        yield (
            _PROFIT,
            (
                int(slot["time_ns"]) // MINUTE_NS * MINUTE_NS, STRATEGIES[int(slot["strategy"])],
                item.venue, item.symbol, int(count), _number(numbers[_POSITION]),
                _number(slot["reference_price"]), _number(numbers[_REALIZED]),
                _number(numbers[_UNREALIZED]),
            ),
        )  # fmt: skip


def audit_of_inputs(slots: np.ndarray, session: int) -> Iterator[Statement]:
    """Kills, settings, starts, and all that brokers told, from execution's journal."""
    for slot in slots[np.isin(slots["kind"], [int(kind) for kind in _MESSAGES])]:
        kind = SlotKind(int(slot["kind"]))
        raw = slot["message"].tobytes()[: int(slot["message_length"])]
        told = msgspec.msgpack.decode(raw) if raw else {}
        if kind == SlotKind.INPUT_COMMAND and isinstance(told, dict) and "kill_level" in told:
            level = KillLevel(int(told["kill_level"]))
            told = {"level": level.name.lower(), "kill_level": int(level)}
        detail = msgspec.json.encode(told).decode()
        key = ("decisions", str(session), int(slot["sequence"]))
        yield (_AUDIT, (*key, int(slot["time_ns"]), "execution", _MESSAGES[kind], detail))


def audit_of_logs(
    source: str, process: str, mark: str, lines: list[tuple[int, bytes]]
) -> Iterator[Statement]:
    """Warnings and errors of a process's log; all of the supervisor's."""
    for place, line in lines:
        try:
            told = msgspec.json.decode(line)
            moment = datetime.fromisoformat(told["time"])
            level = told["level"]
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            continue  # a line that a crash has torn
        if level in AUDIT_LEVELS or process in AUDITED_WHOLE:
            time_ns = int(moment.timestamp() * 1_000_000) * 1000
            text = line.decode("utf-8", "replace").strip()
            yield (_AUDIT, (source, mark, place, time_ns, process, str(level), text))
