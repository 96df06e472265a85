"""Histories for tests: journals and logs that grow, and writers of what becomes of them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from processes.replay.history import Made, Rebuild, Report, Wanted
from processes.rings import ring_layout
from processes.storage.history_database import ROOM
from processes.storage.history_writer import Writer
from processes.storage.journal import Journal
from processes.storage.store import Lake, Split, TableView
from schemas import decisions, tape
from schemas.decisions import SlotKind
from schemas.instruments import Instrument, Stream, Tables
from schemas.settings import HistorySettings, Settings, StorageSettings
from schemas.tape import Flag, Kind, Marker, MarkerReason
from schemas.trading import Reason
from tests.unit.databases.bodies import Body
from tests.unit.storage.history_child import RINGS

T0 = 1_760_000_040_000_000_000
MINUTE = 60 * 10**9
TABLES = Tables(
    instruments=[
        Instrument(index=0, venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD"),
        Instrument(index=1, venue="bitfinex", symbol="tETHUSD", pair="ETH/USD"),
        Instrument(index=2, venue="gmo", symbol="BTC_JPY", pair="BTC/JPY"),
        Instrument(index=3, venue="bitfinex", symbol="fUSD", pair="USD:FUNDING"),
    ],
    streams=[
        Stream(index=0, channel="books"),
        Stream(index=1, channel="candles", timeframe="1m"),
        Stream(index=2, channel="trades"),
        Stream(index=3, channel="trades", precision="BOTH_SIDES"),
    ],
)
BAR_TABLES = ("bars", "bar_trades", "trade_streams", "trade_gaps")
ALL = (*BAR_TABLES, "signals", "profit", "audit", "holes")
BTC, ETH, GMO, FUNDING = range(4)


class Place:
    """Journals and logs that grow, and writers of their history."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.folder = body.folder
        self.logs = body.folder / "logs"
        self.logs.mkdir()
        self.session = 5
        self.sequences = dict.fromkeys(RINGS, 0)
        (body.folder / "tables.json").write_bytes(msgspec.json.encode(TABLES))

        self.known = TABLES
        (body.folder / "lake").mkdir()

    @classmethod
    def beside(cls, other: "Place", folder: Path) -> "Place":
        """The same journals, and an empty SQLite history of its own."""
        folder.mkdir()
        made = cls(Body("sqlite", folder, None))
        (folder / "lake").rmdir()
        for name in ("journal", "lake"):
            (other.folder / name).mkdir(exist_ok=True)
            (folder / name).symlink_to(other.folder / name)
        made.known = other.known
        return made

    def tables(self, told: Any) -> None:
        """Instruments and streams as somebody else has allotted them."""
        self.known = Tables(
            instruments=list(told.instruments.values()), streams=list(told.streams.values())
        )

    def writer(self, timeout_s: float = 30.0) -> Writer:
        settings = Settings(history=HistorySettings(url=self.body.url, timeout_s=timeout_s))
        return Writer(settings, self.folder, self.logs, RINGS, lambda: self.known)

    def write(self, writer: Writer | None = None) -> Writer:
        """Everything there is, by this writer or a new one, which is closed."""
        mine = writer or self.writer()
        while mine.pass_once():
            pass
        if writer is None:
            mine.close()
        return mine

    def journal(self, ring: str) -> Journal:
        dtype, layout = ring_layout(ring)
        return Journal(self.folder / "journal" / ring, layout, dtype, self.session, 100_000)

    def append(self, ring: str, slots: np.ndarray, skip: int = 0) -> None:
        first = self.sequences[ring] + 1 + skip
        slots["sequence"] = np.arange(first, first + len(slots))
        self.sequences[ring] = first + len(slots) - 1
        self.record(ring, slots)
        journal = self.journal(ring)
        journal.append(slots)
        journal.close()

    def record(self, ring: str, slots: np.ndarray) -> None:
        """Put slots into the lake as storage does, each block as sealed files of its own."""
        split = Split(ring, TableView(self.known))
        lake = Lake(self.folder / "lake", split, self.session, StorageSettings())
        lake.write(slots)
        lake.seal_all()

    def rebuild(self, report: Report = lambda *_: None, **wanted: Any) -> Made:
        """Make the history again from the lake."""
        state = self.folder / "state"
        state.mkdir(exist_ok=True)
        (state / "instruments.json").write_bytes(msgspec.json.encode(self.known))
        settings = Settings(history=HistorySettings(url=self.body.url, timeout_s=30.0))
        chosen = Wanted(**wanted)
        return Rebuild(settings, self.folder, chosen, report, beside=False).run()

    def log(self, process: str, *lines: dict) -> None:
        with (self.logs / f"{process}.jsonl").open("a") as file:
            for line in lines:
                file.write(json.dumps({"time": "2025-10-09T08:54:00.000000Z", **line}) + "\n")

    def rows(self, table: str, columns: str = "*") -> list[tuple]:
        return sorted(self.body.ask(f"SELECT {columns} FROM {table}", ROOM), key=repr)

    def everything(self) -> dict[str, list[tuple]]:
        return {table: self.rows(table) for table in ALL}


def candles(*told: tuple[int, int, float]) -> np.ndarray:
    """(instrument, minute, close) each, among levels of a book."""
    slots = np.zeros(2 * len(told), tape.SLOT)
    slots["kind"] = Kind.BOOK_LEVEL
    mine = slots.view(tape.CANDLE)
    for number, (instrument, minute, close) in enumerate(told):
        slot = mine[2 * number + 1]
        slot["kind"], slot["instrument"], slot["stream"] = Kind.CANDLE, instrument, 1
        slot["start_ns"], slot["close"], slot["open"] = T0 + minute * MINUTE, close, 100
        slot["high"], slot["low"], slot["volume"] = close + 1, close - 1, 7
        slot["average_price"] = slot["trade_count"] = np.nan
        slot["recv_ns"] = T0 + number
    return slots


def decided(count: int, seed: int = 1) -> np.ndarray:
    """Decisions of two instruments, three a minute, with any reason; and their inputs."""
    draw = np.random.default_rng(seed)
    slots = np.zeros(count, decisions.SLOT)
    slots["kind"] = SlotKind.INPUT_PREDICTION
    slots["kind"][1::2] = SlotKind.DECISION
    slots["time_ns"] = T0 + np.arange(count) * (MINUTE // 6)
    slots["instrument"] = draw.integers(0, 2, count)
    slots["strategy"] = 1
    slots["reason"] = draw.choice([int(reason) for reason in Reason], count)
    slots["action"] = draw.integers(0, 4, count)
    slots["numbers"] = draw.normal(0, 1, (count, 16))
    slots["command_low"] = draw.integers(0, 2, count) * 77
    return slots


def message(kind: SlotKind, body: object) -> np.ndarray:
    raw = msgspec.msgpack.encode(body)
    slots = np.zeros(1, decisions.SLOT)
    slots["kind"], slots["time_ns"], slots["message_length"] = kind, T0, len(raw)
    slots["message"] = np.frombuffer(raw.ljust(decisions.MESSAGE_BYTES, b"\0"), np.uint8)
    return slots


def trades(
    *told: tuple[int, int, float, float],
    instrument: int = BTC,
    recv_ns: int = T0,
    flags: int = 0,
    stream: int = 2,
) -> np.ndarray:
    """(id, event_ns, price, size) each; received one nanosecond after the other."""
    slots = np.zeros(len(told), tape.SLOT)
    slots["kind"], slots["instrument"], slots["stream"] = Kind.TRADE, instrument, stream
    slots["flags"] = flags | Flag.FRAME_END
    for number, (name, event_ns, price, size) in enumerate(told):
        slot = slots[number]
        slot["id_low"], slot["event_ns"], slot["price"], slot["size"] = name, event_ns, price, size
        slot["recv_ns"], slot["side"], slot["count"] = recv_ns + number, 1, 1
    return slots


def marker(
    what: Marker,
    recv_ns: int,
    *,
    instrument: int = BTC,
    reason: MarkerReason = MarkerReason.NONE,
    event: tuple[int, int] = (0, 0),
    recv: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """A marker of a trades stream; `event` and `recv` say from when to when."""
    slots = np.zeros(1, tape.MARKER)
    slots["kind"], slots["instrument"], slots["stream"] = Kind.MARKER, instrument, 2
    slots["marker"], slots["reason"], slots["recv_ns"] = what, reason, recv_ns
    slots["from_event_ns"], slots["to_event_ns"] = event
    slots["from_recv_ns"], slots["to_recv_ns"] = recv
    return slots.view(tape.SLOT)


def minutes_of_trades(lake: Path, tables: Tables, venue: str, count: int) -> None:
    """A lake of one trade a minute of instrument and stream 0, received when it was made."""
    told = [(0, T0 + number * MINUTE, 100.0 + number, 0.5) for number in range(count)]
    slots = trades(*told, instrument=0, stream=0)
    slots["recv_ns"], slots["sequence"] = slots["event_ns"], np.arange(1, count + 1)
    made = Lake(lake, Split(f"tape.{venue}", TableView(tables)), 5, StorageSettings())
    made.write(slots)
    made.seal_all()
