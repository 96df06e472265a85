"""Tape slots made again out of the lake's columns: `storage/columns.py` backwards, compiled.

A slot has 256 bytes, and slots of a series lie far apart. So they are made a few thousand at a
time, from all series, and get their books' levels while they are still at hand. Status and
liquidations, which features are made of too and which are few, get their payloads at the end; those
of tickers and candles, and ids of orders, are left empty.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import carray, njit

from processes.recordings.books import Books, fill_payloads
from processes.recordings.rows import Part
from processes.recordings.slots import Indices, numbers, places_of
from schemas.lake import SCHEMAS
from schemas.tape import (
    LIQUIDATION,
    LIQUIDATION_COLUMNS,
    SLOT,
    SLOT_BYTES,
    STATUS,
    STATUS_COLUMNS,
    Flag,
    Kind,
    Marker,
    Side,
)
from venues.text import memory

KINDS: Final = {
    "ticker": Kind.TICKER,
    "trades": Kind.TRADE,
    "books": Kind.BOOK_LEVEL,
    "raw_books": Kind.L3_ORDER,
    "candles": Kind.CANDLE,
    "status": Kind.STATUS,
    "liquidations": Kind.STATUS,
    "connection": Kind.MARKER,
}
COLUMNS: Final = {
    "tape_seq": "uint64",
    "venue_seq": "uint64",
    "event_ns": "int64",
    "recv_ns": "int64",
    "epoch": "uint32",
    "flags": "uint16",
    "price": "double",
    "amount": "double",
    "count": "uint32",
    "period": "uint32",
    "trade_id": "uint64",
}
"""What slots are made of, by the lake's name, in the order of SOURCE."""
_NAMES: Final = list(COLUMNS)
_READ: Final = {"trades": 11, "books": 10, "raw_books": 8}
"""So many of them are read of a table, if it has them; of others the first six."""
SOURCE: Final = np.dtype(
    [
        ("rows", "i8"),
        ("next", "i8"),
        ("instrument", "i8"),
        ("stream", "i8"),
        ("kind", "i8"),
        ("columns", "i8", (len(COLUMNS),)),  # addresses of (rows) columns, 0: there is none
        ("places", "i8"),  # address of (rows) int64: where among the slots each row is
        ("markers", "i8"),  # address of (rows) uint32, 0 where there is none; 0: none anywhere
    ]
)
"""A part, as the kernel needs it."""
_CHUNK: Final = 2048
_WORDS: Final = SLOT_BYTES // 8
_BOOK_LEVEL, _MARKER, _DELETE = int(Kind.BOOK_LEVEL), int(Kind.MARKER), int(Flag.DELETE)
_BID, _ASK = int(Side.BID), int(Side.ASK)
_MARKERS: Final = {marker.name.lower(): int(marker) for marker in Marker}


@njit(cache=True, nogil=True)
def _fill(source: Any, slots_address: int, end: int) -> None:
    """Fill the slots of a part's next rows, those before the slot `end`."""
    slots = carray(memory(slots_address), (end,), SLOT)
    halves = carray(memory(slots_address), (end, 2 * _WORDS), np.uint32)
    rows, row = source.rows, source.next
    columns = source.columns
    places = carray(memory(source.places), (rows,), np.int64)
    tape_seq = carray(memory(columns[0]), (rows,), np.uint64)
    venue_seq = carray(memory(columns[1]), (rows,), np.uint64)
    event_ns = carray(memory(columns[2]), (rows,), np.int64)
    recv_ns = carray(memory(columns[3]), (rows,), np.int64)
    epoch = carray(memory(columns[4]), (rows,), np.uint32)
    flags = carray(memory(columns[5]), (rows,), np.uint16)
    price = carray(memory(columns[6]), (rows,), np.float64)
    amount = carray(memory(columns[7]), (rows,), np.float64)
    count = carray(memory(columns[8]), (rows,), np.uint32)
    period = carray(memory(columns[9]), (rows,), np.uint32)
    trade_id = carray(memory(columns[10]), (rows,), np.uint64)
    marker = carray(memory(source.markers), (rows,), np.uint32)
    while row < rows and places[row] < end:
        place = places[row]
        slot = slots[place]
        slot.sequence = tape_seq[row]
        slot.venue_sequence = venue_seq[row]
        slot.event_ns = event_ns[row]
        slot.recv_ns = recv_ns[row]
        slot.epoch = epoch[row]
        slot.flags = flags[row]
        slot.instrument = source.instrument
        slot.stream = source.stream
        slot.kind = source.kind
        if columns[6] != 0:
            slot.price = price[row]
            slot.side = _ASK if np.signbit(amount[row]) else _BID
            deleted = flags[row] & _DELETE != 0 and source.kind == _BOOK_LEVEL
            slot.size = 0.0 if deleted else abs(amount[row])
        if columns[9] != 0:
            slot.count = period[row]
        if columns[8] != 0:
            # A funding level has its period there, and its offers in place of an id.
            if period[row] == 0:
                slot.count = count[row]
            else:
                slot.id_low = count[row]
        elif columns[10] != 0:
            slot.id_low = trade_id[row]
        if source.markers != 0 and marker[row] != 0:
            slot.kind = _MARKER
            slot.side = 0
            halves[place, 24] = marker[row]
        row += 1
    source.next = row


@njit(cache=True, nogil=True)
def make_slots(
    sources_address: int, sources_count: int, slots_address: int, slots_count: int, books: int,
    books_count: int,
) -> None:  # fmt: skip
    """Make slots of columns, in order, those that end a book's frame with its ten levels.

    Args:
        sources_address: of (sources_count) SOURCE. slots_address: of (slots_count) tape slots,
            which may hold anything. books: as `fill_payloads` has them.
    """
    sources = carray(memory(sources_address), (sources_count,), SOURCE)
    words = carray(memory(slots_address), (slots_count, _WORDS), np.int64)
    for begin in range(0, slots_count, _CHUNK):
        end = min(begin + _CHUNK, slots_count)
        for index in range(begin, end):
            for word in range(_WORDS):
                words[index, word] = 0
        for number in range(sources_count):
            _fill(sources[number], slots_address, end)
        fill_payloads(books, books_count, slots_address + begin * SLOT_BYTES, end - begin)


def _read(table: str) -> list[str]:
    names = SCHEMAS[table].names
    return [name for name in _NAMES[: _READ.get(table, 6)] if name in names]


_PAYLOADS: Final = {"status": STATUS_COLUMNS, "liquidations": ("symbol", *LIQUIDATION_COLUMNS)}


def tape_columns(table: str) -> list[str]:
    """The columns of a table that tape slots are made of."""
    return [*_read(table), *_PAYLOADS.get(table, ()), "marker"]


def tape_slots(parts: Sequence[Part], indices: Indices, books: Books) -> np.ndarray:
    """Tape slots of a stretch of a tape, in order, those that end a book's frame with its levels.

    Args:
        parts: with the columns of `tape_columns` at least.
        books: as the stretch before has left them.
    """
    places, total = places_of(parts)
    sources = np.zeros(len(parts), SOURCE)
    held: list[np.ndarray] = []  # what addresses are of

    def address(column: np.ndarray) -> int:
        held.append(column)
        return int(column.ctypes.data)

    for source, part, at in zip(sources, parts, places, strict=True):
        table = part.metadata["table"]
        source["rows"], source["kind"] = len(at), KINDS[table]
        source["instrument"] = indices.instrument(part.metadata)
        source["stream"] = indices.stream(part.metadata)
        for name in _read(table):
            assert str(SCHEMAS[table].field(name).type) == COLUMNS[name]
            source["columns"][_NAMES.index(name)] = address(numbers(part, name))
        source["places"] = address(at)
        if (codes := _marker_codes(part)) is not None:
            source["markers"] = address(codes)
    slots = np.empty(total, SLOT)
    make_slots(
        int(sources.ctypes.data), len(sources), int(slots.ctypes.data), total, books.address,
        books.count,
    )  # fmt: skip
    for part, at in zip(parts, places, strict=True):
        _fill_status(part, slots, at)
    return slots


def _fill_status(part: Part, slots: np.ndarray, at: np.ndarray) -> None:
    """Fill the payload of a part's status slots or liquidations, if it has any."""
    table = part.metadata["table"]
    if table not in _PAYLOADS:
        return
    told = part.batch.column("marker").is_null().to_numpy(zero_copy_only=False)
    at = at[told]
    if table == "status":
        view = slots.view(STATUS)
        for name in STATUS_COLUMNS:
            view[name][at] = numbers(part, name)[told]
        return
    view = slots.view(LIQUIDATION)
    for name in LIQUIDATION_COLUMNS:
        view[name][at] = numbers(part, name)[told]
    symbols = part.batch.column("symbol").to_pylist()
    view["symbol"][at] = [
        text.encode() for text, is_told in zip(symbols, told, strict=True) if is_told
    ]
    amount = view["amount"][at]
    view["size"][at] = np.abs(amount)
    view["side"][at] = np.where(amount > 0, _BID, _ASK)
    view["price"][at] = np.nan_to_num(view["base_price"][at])


def _marker_codes(part: Part) -> np.ndarray | None:
    """(rows) uint32: `Marker`, 0 of rows that are none; None if there is none."""
    marker = part.batch.column("marker")
    if marker.null_count == len(marker):
        return None
    codes = np.zeros(len(marker), np.uint32)
    for row in np.flatnonzero(marker.is_valid().to_numpy(zero_copy_only=False)):
        codes[row] = _MARKERS[marker[int(row)].as_py()]
    return codes
