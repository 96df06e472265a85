"""Slots of a block by series: whose each is, and what is in the headers as columns, compiled.

Owns the kernels and the memory they write to. A block of 65,536 slots has 16 MB with the headers
spread all over it: what is slow is fetching them. So a block is gone through twice, from its
beginning to its end, and whatever tables make of a header is made while it is at hand.
Nothing here fails, and slots are never written to.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numba import carray, njit

from schemas.tape import SLOT, SLOT_BYTES, Flag, Kind, Side
from shm.atomics import memory, prefetch

COLUMNS: Final[dict[str, Any]] = {
    "tape_seq": np.uint64,
    "venue_seq": np.uint64,
    "event_ns": np.int64,
    "recv_ns": np.int64,
    "price": np.float64,
    "amount": np.float64,  # with the venue's sign: below 0 is an ask, or a seller
    "id": np.uint64,  # the lower half
    "epoch": np.uint32,
    "count": np.uint32,
    "period": np.uint32,  # days of a funding market's rows, 0 of others
    "flags": np.uint16,
    "kind": np.uint8,
    "side": np.int8,
    "is_snapshot": np.bool_,
}
"""What a tape's headers say, in the lake's words."""
_AHEAD: Final = 16
"""Slots between the one whose header is copied and the one that is fetched."""
_STAGGER: Final = 320
"""Bytes. Columns that begin at like addresses would drive each other out of the cache."""
_MIX: Final = 0x9E3779B97F4A7C1

_MARKER, _BOOK_LEVEL, _ASK = int(Kind.MARKER), int(Kind.BOOK_LEVEL), int(Side.ASK)
_SNAPSHOT, _DELETE, _FUNDING = int(Flag.SNAPSHOT), int(Flag.DELETE), int(Flag.FUNDING)


class Sorted(NamedTuple):
    """Which slots of a block are whose."""

    keys: np.ndarray
    """(series) int64: instrument << 16 | stream, in the order in which they came first."""
    ends: np.ndarray
    """(series) int64: where a series ends in `order`; it begins where the one before ends."""
    order: np.ndarray
    """(slots) int64: where the slots of the first series stand, then those of the second ..."""
    series: np.ndarray
    """(slots) int32: the place of each slot's series in `keys`."""


@njit(cache=True, nogil=True)
def number_series(
    slots_address: int, slots_count: int, slot_bytes: int, instrument_at: int, stream_at: int,
    keys: Any, ends: Any, order: Any, series: Any, table: Any,
) -> int:  # fmt: skip
    """Fill what `Sorted` holds; how many series there are.

    Args:
        slots_address: of (slots_count) slots of `slot_bytes` each.
        instrument_at, stream_at: where a slot has its uint16; -1: nowhere, all have the same.
        table: (2^n) int32 zeros, more than there are slots.
    """
    step = slot_bytes // 2
    halves = carray(memory(slots_address), (slots_count * step,), np.uint16)
    # First the keys alone: no branch waits for memory, so many slots are fetched at a time.
    for index in range(slots_count):
        key = np.int64(0)
        if instrument_at >= 0:
            key = np.int64(halves[index * step + instrument_at // 2]) << 16
        if stream_at >= 0:
            key |= np.int64(halves[index * step + stream_at // 2])
        order[index] = key
    mask = len(table) - 1
    found = 0
    for index in range(slots_count):
        key = order[index]
        at = (key * _MIX >> 20) & mask
        while table[at] != 0 and keys[table[at] - 1] != key:
            at = (at + 1) & mask
        if table[at] == 0:
            keys[found], ends[found] = key, 0
            found += 1
            table[at] = found
        number = table[at] - 1
        series[index] = number
        ends[number] += 1
    begin = 0
    for number in range(found):
        count = ends[number]
        ends[number] = begin
        begin += count
    for index in range(slots_count):
        number = series[index]
        order[ends[number]] = index
        ends[number] += 1
    return found


@njit(cache=True, nogil=True)
def copy_headers(
    slots_address: int, slots_count: int, series: Any, begins: Any, columns: Any
) -> None:
    """Make columns of a tape's headers, series by series.

    Args:
        slots_address: of (slots_count) tape slots. series: as `Sorted` has them.
        begins: (series) int64: where a series begins in each column; where it ends, afterwards.
        columns: int64 addresses of (slots_count) columns, in the order of COLUMNS.
    """
    slots = carray(memory(slots_address), (slots_count,), SLOT)
    tape_seq = carray(memory(columns[0]), (slots_count,), np.uint64)
    venue_seq = carray(memory(columns[1]), (slots_count,), np.uint64)
    event_ns = carray(memory(columns[2]), (slots_count,), np.int64)
    recv_ns = carray(memory(columns[3]), (slots_count,), np.int64)
    price = carray(memory(columns[4]), (slots_count,), np.float64)
    amount = carray(memory(columns[5]), (slots_count,), np.float64)
    id_low = carray(memory(columns[6]), (slots_count,), np.uint64)
    epoch = carray(memory(columns[7]), (slots_count,), np.uint32)
    count = carray(memory(columns[8]), (slots_count,), np.uint32)
    period = carray(memory(columns[9]), (slots_count,), np.uint32)
    flags = carray(memory(columns[10]), (slots_count,), np.uint16)
    kind = carray(memory(columns[11]), (slots_count,), np.uint8)
    side = carray(memory(columns[12]), (slots_count,), np.uint8)
    is_snapshot = carray(memory(columns[13]), (slots_count,), np.uint8)
    for index in range(slots_count):
        ahead = slots_address + SLOT_BYTES * (index + _AHEAD)
        prefetch(ahead)
        prefetch(ahead + 64)
        slot = slots[index]
        number = series[index]
        at = begins[number]
        begins[number] = at + 1
        tape_seq[at] = slot.sequence
        venue_seq[at] = slot.venue_sequence
        event_ns[at] = slot.event_ns
        recv_ns[at] = slot.recv_ns
        price[at] = slot.price
        # As the wire has it: a deleted level has count 0 and amount 1 or -1.
        size = 1.0 if slot.flags & _DELETE and slot.kind == _BOOK_LEVEL else slot.size
        amount[at] = -size if slot.side == _ASK else size
        id_low[at] = slot.id_low
        epoch[at] = slot.epoch
        is_funding = slot.flags & _FUNDING != 0
        count[at] = np.uint32(slot.id_low) if is_funding else slot.count
        period[at] = slot.count if is_funding else np.uint32(0)
        flags[at] = slot.flags
        kind[at] = slot.kind
        side[at] = slot.side
        is_snapshot[at] = slot.flags & _SNAPSHOT != 0 and slot.kind != _MARKER


def sort(slots: np.ndarray, by: tuple[str, ...]) -> Sorted:
    """Whose the slots of a block are.

    Args:
        by: the fields that tell series apart, of "instrument" and "stream".
    """
    fields = slots.dtype.fields
    assert fields is not None
    instrument_at = fields["instrument"][1] if "instrument" in by else -1
    stream_at = fields["stream"][1] if "stream" in by else -1
    assert slots.flags.c_contiguous
    total = len(slots)
    keys, ends, order = (np.empty(total, np.int64) for _ in range(3))
    series = np.empty(total, np.int32)
    found = number_series(
        int(slots.ctypes.data), total, slots.itemsize, instrument_at, stream_at,
        keys, ends, order, series, np.zeros(1 << (2 * total).bit_length(), np.int32),
    )  # fmt: skip
    return Sorted(keys[:found], ends[:found], order, series)


def headers(slots: np.ndarray, by: Sorted) -> dict[str, np.ndarray]:
    """COLUMNS of tape slots, series after series as in `by.order`."""
    assert slots.dtype == SLOT
    assert slots.flags.c_contiguous
    total = len(slots)
    forms = {name: np.dtype(form) for name, form in COLUMNS.items()}
    sizes = [(form.itemsize * total + 4095 & -4096) + _STAGGER for form in forms.values()]
    room = np.empty(sum(sizes), np.uint8)
    begins = np.cumsum([0, *sizes[:-1]])
    columns = {
        name: room[begin : begin + form.itemsize * total].view(form)
        for (name, form), begin in zip(forms.items(), begins.tolist(), strict=True)
    }
    firsts = np.concatenate([[0], by.ends[:-1]])
    addresses = begins + room.ctypes.data
    copy_headers(int(slots.ctypes.data), total, by.series, firsts, addresses)
    return columns
