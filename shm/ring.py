"""The ring: fixed slots in shared memory, one writer, any number of readers, nobody waits.

Segment layout. Words two processes write or poll stand alone on 128-byte lines (Apple Silicon's).

    offset size field
    ------ ---- ----------------------------------------------------------------------------------
         0    8 magic            written last: a segment without it is not a ring yet
         8    8 layout version   of this table
        16    8 slot layout      fingerprint of the slots' layout
        24    8 generation       a new ring is a new generation; a slot is (generation, sequence)
        32    8 slot bytes
        40    8 capacity         slots, a power of two
       128    8 writer           identity of the writing process (`shm/identity.py`)
       136    8 writer epoch     raised by each writer that takes the ring
       256    8 reserve          last sequence the writer has claimed to write
       384    8 committed        last sequence a reader may read
      4096      slots            sequence s stands in slot (s - 1) mod capacity; word 0 is s itself

The page of the readers is a segment of its own (`<ring>.r`), so that rings can be mapped read-only:

         0    8 magic, 8 layout version, 8 rows
       128    8 armed            bit i: reader row i sleeps and wants to be rung
       256      rows of 128 bytes:  0 owner identity, 0 = free · 8 flags · 16 position · 24 lost
                                   32 name, 32 bytes    (flag 1 = tap: freed when its owner is dead)

Why a torn slot cannot be taken for a good one, on weakly ordered processors too
-------------------------------------------------------------------------------
Writer, for a block of n slots:             Reader, for a block after its position:
  W1  reserve   <- committed + n  relaxed     R1  c <- committed      acquire
  W2  fence release                           R2  copy the slots <= c, plain
  W3  write the slots, plain                  R3  fence acquire
  W4  committed <- committed + n  release     R4  r <- reserve        relaxed
                                              R5  keep the copied slots with sequence > r - capacity

*Complete:* R1 sees a value that W4 stored, acquire pairs with release, so every slot <= c had been
written whole before it. *Not overwritten:* suppose a copy in R2 saw one byte of a later lap, slot
s + capacity, written in some W3. That write is after W2's release fence and the copy is before
R3's acquire fence, so the two fences synchronise and R4 must see the reserve of that block or a
later one: r >= s + capacity, and R5 drops s. It counts as lost, exactly, never as data. The fences
are what makes this true where stores pass stores (`dmb ish` in W2, `dmb ishld` in R3); on x86 they
only hold the compiler. `reserve` never goes down, not even for a new writer: slots that a killed
writer had begun to overwrite stay lost for readers. Each copied slot's own sequence is compared as
well; a mismatch there is a bug and raises `TornReadError`.

The doorbell (`shm/doorbell.py`) needs store-load order: writer W4, full fence, load `armed`; reader
store `armed`, full fence, load `committed`. One of the two sees the other.
"""

from typing import Any, Final

import numpy as np
from numba import carray, njit

from shm.atomics import (
    exchange,
    fence_acquire,
    fence_full,
    fence_release,
    load_acquire,
    load_relaxed,
    memory,
    read_word,
    store_relaxed,
    store_release,
    write_word,
)
from shm.errors import DisplacedWriterError, LayoutMismatchError
from shm.identity import own_identity
from shm.segment import Segment

MAGIC: Final = 0x31474E4952_4344  # "DCRING1"
LAYOUT_VERSION: Final = 1

SLOT_FINGERPRINT: Final = 16
GENERATION: Final = 24
SLOT_BYTES: Final = 32
CAPACITY: Final = 40
WRITER: Final = 128
WRITER_EPOCH: Final = 136
RESERVE: Final = 256
COMMITTED: Final = 384
SLOTS: Final = 4096

ROWS: Final = 32
ARMED: Final = 128
FIRST_ROW: Final = 256
ROW_BYTES: Final = 128
ROW_OWNER: Final = 0
ROW_FLAGS: Final = 8
ROW_POSITION: Final = 16
ROW_LOST: Final = 24
ROW_NAME: Final = 32
NAME_BYTES: Final = 32
READERS_BYTES: Final = FIRST_ROW + ROWS * ROW_BYTES

BLOCK_MAX: Final = 4096
"""Most slots written under one reserve, and never more than a quarter of the ring."""

DISPLACED: Final = -1
TORN: Final = -1


def ring_bytes(slot_bytes: int, capacity: int) -> int:
    """Size of a ring's segment."""
    return SLOTS + slot_bytes * capacity


@njit(cache=True, nogil=True)
def append(ring: int, readers: int, epoch: int, slots: int, count: int) -> int:
    """Write `count` slots from private memory at address `slots`; stamp and commit them.

    Returns the bits of the readers that slept and are to be rung, or DISPLACED.
    """
    if load_relaxed(ring + WRITER_EPOCH) != epoch:
        return DISPLACED
    capacity = load_relaxed(ring + CAPACITY)
    words = load_relaxed(ring + SLOT_BYTES) // 8
    mask = capacity - 1
    block_max = min(BLOCK_MAX, max(1, capacity // 4))
    committed = load_relaxed(ring + COMMITTED)
    source = carray(memory(slots), (count, words), np.int64)
    target = carray(memory(ring + SLOTS), (capacity, words), np.int64)
    done = 0
    while done < count:
        block = min(count - done, block_max)
        if committed + block > load_relaxed(ring + RESERVE):
            store_relaxed(ring + RESERVE, committed + block)
        fence_release()
        for index in range(block):
            place = (committed + index) & mask
            target[place, 0] = committed + index + 1
            for word in range(1, words):
                target[place, word] = source[done + index, word]
        committed += block
        store_release(ring + COMMITTED, committed)
        done += block
    fence_full()
    armed = load_relaxed(readers + ARMED)
    if armed != 0:
        armed = exchange(readers + ARMED, 0)
    return armed  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def take(ring: int, position: int, out: int, limit: int) -> tuple[int, int]:
    """Copy the slots after `position` to private memory at `out`, at most `limit` of them.

    Returns how many good slots stand at `out` and how many were lost before the first of them; the
    first one's sequence is position + lost + 1. A count of TORN means that the protocol failed.
    """
    committed = load_acquire(ring + COMMITTED)
    if committed <= position:
        return 0, 0
    capacity = load_relaxed(ring + CAPACITY)
    words = load_relaxed(ring + SLOT_BYTES) // 8
    mask = capacity - 1
    first = max(position, load_relaxed(ring + RESERVE) - capacity)
    if first >= committed:
        return 0, committed - position
    count = min(committed - first, limit)
    source = carray(memory(ring + SLOTS), (capacity, words), np.int64)
    target = carray(memory(out), (limit, words), np.int64)
    for index in range(count):
        place = (first + index) & mask
        for word in range(words):
            target[index, word] = source[place, word]
    fence_acquire()
    oldest = load_relaxed(ring + RESERVE) - capacity
    overwritten = min(max(oldest - first, 0), count)
    if overwritten > 0:
        for index in range(count - overwritten):
            for word in range(words):
                target[index, word] = target[index + overwritten, word]
        first += overwritten
        count -= overwritten
    for index in range(count):
        if target[index, 0] != first + index + 1:
            return TORN, 0
    return count, first - position


def format_ring(
    segment: Segment, slot_bytes: int, capacity: int, layout: int, generation: int
) -> None:
    """Make a ring of a new segment of zeros. Done by the supervisor, once a generation."""
    assert capacity & (capacity - 1) == 0
    assert slot_bytes % 8 == 0
    base = segment.address
    write_word(base + 8, LAYOUT_VERSION)
    write_word(base + SLOT_FINGERPRINT, layout)
    write_word(base + GENERATION, generation)
    write_word(base + SLOT_BYTES, slot_bytes)
    write_word(base + CAPACITY, capacity)
    write_word(base, MAGIC)


def check_ring(segment: Segment, layout: int) -> None:
    """Compare a ring with what this code reads.

    Raises:
        LayoutMismatchError: it is no ring, or one of another layout.
    """
    base = segment.address
    found = (read_word(base), read_word(base + 8), read_word(base + SLOT_FINGERPRINT))
    if found != (MAGIC, LAYOUT_VERSION, layout):
        raise LayoutMismatchError(
            f"shared memory /{segment.name} holds (magic, version, layout) = {found}, "
            f"this code reads {(MAGIC, LAYOUT_VERSION, layout)}"
        )


class RingWriter:
    """The one writer of a ring. Taking a ring raises its epoch and displaces the writer before.

    Args:
        ring: the ring's segment. readers: the segment of its readers' page.
        dtype: layout of a slot; its first word is the sequence, stamped by `append`.
        layout: the layout's fingerprint.

    Raises:
        LayoutMismatchError: the ring holds other slots.
    """

    def __init__(self, ring: Segment, readers: Segment, dtype: np.dtype[Any], layout: int) -> None:
        check_ring(ring, layout)
        self.name = ring.name
        self.dtype = dtype
        self.generation = read_word(ring.address + GENERATION)
        self.epoch = read_word(ring.address + WRITER_EPOCH) + 1
        self._ring = ring
        self._readers = readers
        write_word(ring.address + WRITER, own_identity())
        write_word(ring.address + WRITER_EPOCH, self.epoch)

    @property
    def committed(self) -> int:
        """Sequence of the newest slot."""
        return read_word(self._ring.address + COMMITTED)

    @property
    def capacity(self) -> int:
        """Slots in the ring."""
        return read_word(self._ring.address + CAPACITY)

    def append(self, slots: np.ndarray, count: int | None = None) -> int:
        """Write the first `count` slots of a contiguous array, all of it by default.

        Returns the bits of the readers to be rung: give them to the doorbell.

        Raises:
            DisplacedWriterError: another process has taken the ring.
        """
        assert slots.dtype.itemsize == self.dtype.itemsize
        assert slots.flags.c_contiguous
        number = len(slots) if count is None else count
        return self.append_at(slots.ctypes.data, number)

    def append_at(self, address: int, count: int) -> int:
        """As `append`, for a caller that keeps the address of its slots."""
        armed = append(self._ring.address, self._readers.address, self.epoch, address, count)
        if armed == DISPLACED:
            raise DisplacedWriterError(f"{self.name} has another writer now")
        return armed

    def recent(self, count: int) -> np.ndarray:
        """The newest slots, at most `count`, oldest first: what a restarted writer knows."""
        committed = self.committed
        oldest = max(read_word(self._ring.address + RESERVE) - self.capacity, 0)
        first = max(committed - count, oldest)
        out = np.zeros(max(committed - first, 0), self.dtype)
        if len(out):
            taken, lost = take(self._ring.address, first, out.ctypes.data, len(out))
            assert (taken, lost) == (len(out), 0)
        return out


@njit(cache=True, nogil=True)
def spin(rings: int, positions: int, count: int, turns: int) -> bool:
    """Look at the committed words of `count` rings until one has passed its position."""
    addresses = carray(memory(rings), (count,), np.int64)
    known = carray(memory(positions), (count,), np.int64)
    for _ in range(turns):
        for index in range(count):
            if load_acquire(addresses[index] + COMMITTED) > known[index]:
                return True
    return False
