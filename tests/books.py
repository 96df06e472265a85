"""Books for tests of what a lake keeps of them: random markets as slots, and books out of slots."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from processes.recordings.books import Books, fill_payloads
from schemas import tape
from schemas.tape import Flag, Kind, Marker, Side
from tests.lakes import NOW

Level = tuple[Any, ...]
BOOKS, TRADES, COARSE, RAW = 0, 1, 2, 4
"""Streams; only the first is of primary books."""


class Market:
    """Frames of two instruments with a primary, a coarse and a raw book each, and trades."""

    def __init__(self, seed: int, levels: int = 12) -> None:
        self.sequence = 0
        self._draw = np.random.default_rng(seed)
        self._levels = levels
        self._books = Books(2)
        self._orders: dict[int, list[int]] = {0: [], 1: []}
        self._next_order = 1
        self.now_ns = NOW

    def slots(self, frames: int) -> np.ndarray:
        """The next frames as slots; each instrument's first one is a snapshot."""
        made = []
        for _ in range(frames):
            self.now_ns += int(self._draw.integers(1, 40)) * 1_000_000
            instrument = int(self._draw.integers(0, 2))
            stream = int(self._draw.choice([BOOKS, BOOKS, BOOKS, TRADES, COARSE, RAW]))
            begins = stream != TRADES and self._draw.random() < 0.01
            frame = self._frame(instrument, stream, begins=begins)
            frame[-1]["flags"] |= Flag.FRAME_END
            made += frame
        slots = np.array([tuple(slot.values()) for slot in made], list_dtype(made[0]))
        out = np.zeros(len(slots), tape.SLOT)
        for name in slots.dtype.names or ():
            if name != "marker":
                out[name] = slots[name]
        out.view(tape.MARKER)["marker"] = slots["marker"]
        out["sequence"] = np.arange(self.sequence + 1, self.sequence + 1 + len(out))
        self.sequence += len(out)
        fill_payloads(self._books.address, 2, out.ctypes.data, len(out))
        return out

    def _frame(self, instrument: int, stream: int, *, begins: bool) -> list[dict[str, Any]]:
        head = {
            "recv_ns": self.now_ns, "instrument": instrument, "stream": stream, "epoch": 1,
            "flags": int(Flag.PRIMARY) if stream == BOOKS else 0, "kind": int(Kind.BOOK_LEVEL),
            "side": 0, "price": 0.0, "size": 0.0, "count": 0, "id_low": 0, "marker": 0,
        }  # fmt: skip
        if stream == TRADES:
            return [head | {"kind": int(Kind.TRADE), "price": 100.0, "size": 1.0, "side": 1}]
        if begins:
            begin = head | {"kind": int(Kind.MARKER), "marker": int(Marker.SNAPSHOT_BEGIN)}
            return [begin, *[self._level(head, stream) for _ in range(20)]]
        return [self._level(head, stream) for _ in range(int(self._draw.integers(1, 4)))]

    def _level(self, head: dict[str, Any], stream: int) -> dict[str, Any]:
        draw = self._draw
        side = int(draw.integers(1, 3))
        away = int(draw.integers(0, self._levels))
        level = head | {
            "side": side, "size": float(draw.integers(1, 9)), "count": int(draw.integers(1, 5)),
            "price": 100.0 - away if side == Side.BID else 101.0 + away,
        }  # fmt: skip
        if stream == RAW:
            level |= {"kind": int(Kind.L3_ORDER), "id_low": int(draw.integers(1, 30))}
        if draw.random() < 0.4:
            level["flags"] = head["flags"] | int(Flag.DELETE)
        return level


def list_dtype(slot: dict[str, Any]) -> list[tuple[str, str]]:
    """Fields of a slot as it is made here."""
    return [(name, "f8" if isinstance(value, float) else "i8") for name, value in slot.items()]


class Rebuilt:
    """Books as a reader of rows has them: by instrument and stream, level or order to its state."""

    def __init__(self) -> None:
        self.books: dict[tuple[int, int], dict[Level, Level]] = {}

    def apply(self, slots: Iterable[np.void]) -> None:
        """Take rows, in order."""
        for slot in slots:
            key = int(slot["instrument"]), int(slot["stream"])
            kind, flags = int(slot["kind"]), int(slot["flags"])
            book = self.books.setdefault(key, {})
            if kind == Kind.MARKER:
                if int(slot.view(tape.MARKER)["marker"]) == Marker.SNAPSHOT_BEGIN:
                    book.clear()
                continue
            if kind not in {Kind.BOOK_LEVEL, Kind.L3_ORDER}:
                continue
            level = int(slot["side"]), float(slot["price"])
            name: Level = (int(slot["id_low"]),) if kind == Kind.L3_ORDER else level
            if flags & Flag.DELETE:
                book.pop(name, None)
            else:
                book[name] = (*level, float(slot["size"]), int(slot["count"]))

    def best(self, key: tuple[int, int], count: int) -> list[list[Level]]:
        """The best levels of both sides."""
        levels = list(self.books.get(key, {}).values())
        bids = sorted((one for one in levels if one[0] == Side.BID), key=lambda one: (-one[1], one))
        asks = sorted((one for one in levels if one[0] == Side.ASK), key=lambda one: (one[1], one))
        return [bids[:count], asks[:count]]


def check_kept(sent: np.ndarray, kept: np.ndarray, tops: list[tuple[int, int]], levels: int) -> int:
    """Nothing but book rows is missing, and books are right at every end of a frame; how many.

    Args:
        sent: all slots from sequence 1 on. kept: those of the lake.
        tops: spans in which so many levels of primary books are right.
    """
    assert (np.diff(kept["sequence"].astype(np.int64)) > 0).all()
    always = ~np.isin(sent["kind"], [Kind.BOOK_LEVEL, Kind.L3_ORDER])
    assert np.isin(sent["sequence"][always], kept["sequence"]).all()
    truth, told, at, checked, everything = Rebuilt(), Rebuilt(), 0, 0, 1 << 30
    for row in kept:
        told.apply([row])
        if not row["flags"] & Flag.FRAME_END or row["kind"] != Kind.BOOK_LEVEL:
            continue
        number, key = int(row["sequence"]), (int(row["instrument"]), int(row["stream"]))
        truth.apply(sent[at:number])
        at = number
        best = row["flags"] & Flag.PRIMARY and any(low <= number <= high for low, high in tops)
        count = levels if best else everything
        assert told.best(key, count) == truth.best(key, count), number
        checked += 1
    truth.apply(sent[at:])
    for key in {(int(one["instrument"]), int(one["stream"])) for one in levels_of(sent)}:
        assert told.best(key, everything) == truth.best(key, everything)
    return checked


def levels_of(slots: np.ndarray) -> np.ndarray:
    """Rows of books of levels: orders have no id in slots that come out of the lake."""
    found: np.ndarray = slots[slots["kind"] == Kind.BOOK_LEVEL]
    return found
