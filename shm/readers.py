"""Readers of a ring: their rows in the shared page, and the class that a reading process uses.

A row is claimed by name. A process that comes back under its name finds its position and goes on
where it was; a row of a tap (`TAP`) is given to the next comer once its owner is dead. Rows are
what `dcctl status` shows as lag and loss. A reader never writes into the ring itself.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numba import njit

from shm.atomics import (
    clear_bits,
    fence_full,
    fetch_and,
    fetch_or,
    load_acquire,
    read_word,
    store_release,
    swap_word,
    write_word,
)
from shm.errors import LayoutMismatchError, NoRoomError, SharedMemoryError, TornReadError
from shm.identity import is_alive, own_identity, pid_of
from shm.ring import (
    ARMED,
    CAPACITY,
    COMMITTED,
    FIRST_ROW,
    GENERATION,
    LAYOUT_VERSION,
    NAME_BYTES,
    READERS_BYTES,
    RESERVE,
    ROW_BYTES,
    ROW_FLAGS,
    ROW_LOST,
    ROW_NAME,
    ROW_OWNER,
    ROW_POSITION,
    ROWS,
    TORN,
    check_ring,
    spin,
    take,
)
from shm.segment import Segment

PAGE_MAGIC: Final = 0x3152_5352_4443  # "DCRSR1"
TAP: Final = 1

__all__ = ["READERS_BYTES", "Onlooker", "ReaderRow", "ReadersPage", "RingReader", "format_readers"]

Start = Literal["resume", "oldest", "newest"]


@njit(cache=True, nogil=True)
def arm(page: int, bit: int, ring: int, position: int) -> bool:
    """Ask to be rung, unless the ring has passed `position`: then False, and nothing is asked."""
    if load_acquire(ring + COMMITTED) > position:
        return False
    fetch_or(page + ARMED, bit)
    fence_full()
    if load_acquire(ring + COMMITTED) > position:
        fetch_and(page + ARMED, ~bit)
        return False
    return True


@njit(cache=True, nogil=True)
def store(row: int, position: int, lost: int) -> None:
    """Say how far a reader has come."""
    store_release(row + ROW_LOST, lost)
    store_release(row + ROW_POSITION, position)


class ReaderRow(NamedTuple):
    """One claimed row as anyone may see it."""

    place: int
    name: str
    pid: int
    alive: bool
    tap: bool
    position: int
    lost: int


def format_readers(segment: Segment) -> None:
    """Make a page of free rows of a new segment of zeros."""
    write_word(segment.address + 8, LAYOUT_VERSION)
    write_word(segment.address + 16, ROWS)
    write_word(segment.address, PAGE_MAGIC)


class ReadersPage:
    """The rows of one ring's readers."""

    def __init__(self, segment: Segment) -> None:
        found = (read_word(segment.address), read_word(segment.address + 8))
        if found != (PAGE_MAGIC, LAYOUT_VERSION):
            raise LayoutMismatchError(f"shared memory /{segment.name} is no page of readers")
        self._segment = segment

    def _row(self, index: int) -> int:
        return self._segment.address + FIRST_ROW + index * ROW_BYTES

    def _name(self, index: int) -> str:
        at = FIRST_ROW + index * ROW_BYTES + ROW_NAME
        return bytes(self._segment.buffer[at : at + NAME_BYTES]).rstrip(b"\0").decode()

    def rows(self) -> Iterator[ReaderRow]:
        """All rows that have an owner, dead or alive."""
        for index in range(ROWS):
            row = self._row(index)
            owner = read_word(row + ROW_OWNER)
            if owner:
                yield ReaderRow(
                    index,
                    self._name(index),
                    pid_of(owner),
                    is_alive(owner),
                    bool(read_word(row + ROW_FLAGS) & TAP),
                    read_word(row + ROW_POSITION),
                    read_word(row + ROW_LOST),
                )

    def claim(self, name: str, *, tap: bool = False) -> tuple[int, bool]:
        """The row of this name, and whether it was there before.

        Raises:
            SharedMemoryError: a living process reads under this name already.
            NoRoomError: all rows are taken by living or lasting readers.
        """
        encoded = name.encode()
        assert 0 < len(encoded) <= NAME_BYTES, name
        me = own_identity()
        for row in self.rows():
            if row.name != name:
                continue
            at = self._row(row.place) + ROW_OWNER
            owner = read_word(at)
            if owner != me and is_alive(owner):
                raise SharedMemoryError(f"reader {name} is taken by process {row.pid}")
            if swap_word(at, owner, me) == owner:
                return row.place, True
        for index in range(ROWS):
            at = self._row(index)
            owner = read_word(at + ROW_OWNER)
            dead_tap = owner and read_word(at + ROW_FLAGS) & TAP and not is_alive(owner)
            if (owner == 0 or dead_tap) and swap_word(at + ROW_OWNER, owner, me) == owner:
                clear_bits(self._segment.address + ARMED, 1 << index)
                start = FIRST_ROW + index * ROW_BYTES + ROW_NAME
                self._segment.buffer[start : start + NAME_BYTES] = encoded.ljust(NAME_BYTES, b"\0")
                write_word(at + ROW_POSITION, 0)
                write_word(at + ROW_LOST, 0)
                write_word(at + ROW_FLAGS, TAP if tap else 0)
                return index, False
        raise NoRoomError(f"/{self._segment.name} has no free reader row ({ROWS} are taken)")

    def release(self, index: int) -> None:
        """Give a row up, so that the next comer may have it."""
        clear_bits(self._segment.address + ARMED, 1 << index)
        write_word(self._row(index) + ROW_OWNER, 0)

    def load(self, index: int) -> tuple[int, int]:
        """Position and loss of a row."""
        row = self._row(index)
        return read_word(row + ROW_POSITION), read_word(row + ROW_LOST)

    def row_address(self, index: int) -> int:
        """Where a row stands."""
        return self._row(index)

    @property
    def address(self) -> int:
        """Where the page stands."""
        return self._segment.address


class RingReader:
    """One reader of one ring.

    Args:
        ring: the ring's segment, a read-only map will do. readers: its page, writable.
        dtype, layout: the slots' layout and its fingerprint.
        name: the row to claim. start: where a *new* row begins; a row that is there already
            always goes on where it was, and `resume` is `oldest` for a new one.
        limit: most slots a `read` returns.

    Raises:
        LayoutMismatchError, SharedMemoryError, NoRoomError: as `check_ring` and `claim` say.
    """

    def __init__(
        self,
        ring: Segment,
        readers: Segment,
        dtype: np.dtype[Any],
        layout: int,
        name: str,
        *,
        start: Start = "resume",
        tap: bool = False,
        limit: int = 4096,
    ) -> None:
        check_ring(ring, layout)
        self.name = name
        self.ring_name = ring.name
        self.generation = read_word(ring.address + GENERATION)
        self.lost_before = 0
        """Slots lost right before the first slot of the last `read`."""
        self._ring = ring
        self._page = ReadersPage(readers)
        self.row, known = self._page.claim(name, tap=tap)
        self.known = known
        """Whether a reader of this name has been here before."""
        self._bit = 1 << self.row
        self._page_address = self._page.address
        self._row_address = self._page.row_address(self.row)
        self._ring_address = ring.address
        self.position, self.lost = self._page.load(self.row)
        if not known or start == "newest":
            self.position = self.committed if start == "newest" else self.oldest
            self.acknowledge()
        self._block = np.zeros(limit, dtype)
        self.block_address = int(self._block.ctypes.data)
        """Where the slots that `read` returns stand, always."""
        self.limit = limit
        """Most slots that a `read` returns."""

    @property
    def committed(self) -> int:
        """Sequence of the newest slot in the ring."""
        return read_word(self._ring.address + COMMITTED)

    @property
    def oldest(self) -> int:
        """Position from which the oldest slot that can still be read comes next."""
        capacity = read_word(self._ring.address + CAPACITY)
        return max(read_word(self._ring.address + RESERVE) - capacity, 0)

    @property
    def capacity(self) -> int:
        """Slots in the ring."""
        return read_word(self._ring.address + CAPACITY)

    @property
    def ring_address(self) -> int:
        """Where the ring stands in memory."""
        return self._ring_address

    def seek(self, position: int) -> None:
        """Read on after this sequence."""
        self.position = position

    def read(self) -> np.ndarray:
        """The next slots, a view that the next `read` overwrites; empty if there is nothing new.

        `position` moves behind them; `lost_before` and `lost` say exactly what was missed.

        Raises:
            TornReadError: never, or the ring's protocol is broken.
        """
        count, lost = take(self._ring_address, self.position, self.block_address, self.limit)
        if count == TORN:
            raise TornReadError(f"{self.name} read a torn slot of {self.ring_name}")
        self.lost_before = lost
        self.lost += lost
        self.position += lost + count
        return self._block[:count]

    def acknowledge(self) -> None:
        """Make the position the one a restart goes on from: everything before it is done with."""
        store(self._row_address, self.position, self.lost)

    def arm(self) -> bool:
        """Ask to be rung. False if there is something to read already (and nothing was asked)."""
        return arm(self._page_address, self._bit, self._ring_address, self.position)

    def disarm(self) -> None:
        """Take the wish to be rung back."""
        clear_bits(self._page_address + ARMED, self._bit)

    def release(self) -> None:
        """Give the row up: this reader will not come back."""
        self._page.release(self.row)


class Onlooker:
    """Looks at a ring without a row: it writes nowhere, is never rung, and nobody sees its lag.

    Args:
        ring: the ring's segment, mapped read-only. dtype, layout: as of `RingReader`.
        limit: most slots that a `read` returns.

    Raises:
        LayoutMismatchError: the ring holds other slots.
    """

    def __init__(self, ring: Segment, dtype: np.dtype[Any], layout: int, *, limit: int) -> None:
        check_ring(ring, layout)
        self._ring = ring
        self._address = ring.address
        self._block = np.zeros(limit, dtype)
        self.limit = limit
        """Most slots that a `read` returns."""
        self.lost = 0
        """Slots that were gone before they could be read."""
        self.position = max(self.committed - limit, 0)
        """The last slot that was read: at first so that a `read` brings the newest there are."""

    @property
    def committed(self) -> int:
        """Sequence of the newest slot in the ring."""
        return read_word(self._address + COMMITTED)

    def read(self) -> np.ndarray:
        """The next slots, a view that the next `read` overwrites.

        Of more than `limit` only the newest: who looks on does not catch up.

        Raises:
            TornReadError: never, or the ring's protocol is broken.
        """
        oldest = self.committed - self.limit
        if oldest > self.position:
            self.lost += oldest - self.position
            self.position = oldest
        count, lost = take(self._address, self.position, int(self._block.ctypes.data), self.limit)
        if count == TORN:
            raise TornReadError(f"a torn slot was read of {self._ring.name}")
        self.lost += lost
        self.position += lost + count
        return self._block[:count]


class Spinner:
    """Busy-waits on several rings before a reader goes to sleep: quick, at the price of a core."""

    def __init__(self, readers: Sequence[RingReader], spin_us: int) -> None:
        self._readers = list(readers)
        self._rings = np.array([reader.ring_address for reader in readers], np.int64)
        self._positions = np.zeros(len(readers), np.int64)
        # One look at a line that nobody writes costs about 2 ns.
        self._turns = max(spin_us * 500 // max(len(readers), 1), 1)

    def __call__(self) -> bool:
        """True as soon as a ring has something new, False when the time is over."""
        for index, reader in enumerate(self._readers):
            self._positions[index] = reader.position
        return spin(
            self._rings.ctypes.data, self._positions.ctypes.data, len(self._rings), self._turns
        )
