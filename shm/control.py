"""The control block: numbered words that all processes read, and a heartbeat row a process.

    offset size field
    ------ ---- ----------------------------------------------------------------------------------
         0    8 magic, written last
         8    8 layout version
        16    8 generation
       256  512 64 words of 8 bytes (`schemas/control.py` names them)
      1024      32 rows of 256 bytes:
                  0 owner identity · 8 state · 16 beat ns · 24 beats · 32 text version
                 40 name, 32 bytes · 72 text, 176 bytes

A row belongs to the process whose name the supervisor wrote there; only that process writes its
state, beat and text. The text is guarded by its version (odd while it is being written), read with
the same fences as a ring's slot.
"""

from typing import Final, NamedTuple

from numba import njit

from shm.atomics import (
    fence_acquire,
    fence_release,
    load_acquire,
    load_relaxed,
    read_word,
    store_relaxed,
    store_release,
    swap_word,
    write_word,
)
from shm.errors import LayoutMismatchError, NoRoomError
from shm.identity import own_identity
from shm.segment import Segment

MAGIC: Final = 0x314C5443_4344  # "DCCTL1"
LAYOUT_VERSION: Final = 1
WORDS: Final = 256
WORD_COUNT: Final = 64
ROWS_AT: Final = 1024
ROWS: Final = 32
ROW_BYTES: Final = 256
OWNER: Final = 0
STATE: Final = 8
BEAT: Final = 16
BEATS: Final = 24
TEXT_VERSION: Final = 32
NAME: Final = 40
NAME_BYTES: Final = 32
TEXT: Final = 72
TEXT_BYTES: Final = 176
CONTROL_BYTES: Final = ROWS_AT + ROWS * ROW_BYTES


class ProcessRow(NamedTuple):
    """One process as its row shows it."""

    name: str
    owner: int
    state: int
    beat_ns: int
    beats: int
    text: str


@njit(cache=True, nogil=True)
def _begin_text(version: int) -> None:
    store_relaxed(version, load_relaxed(version) | 1)
    fence_release()


@njit(cache=True, nogil=True)
def _end_text(version: int) -> None:
    store_release(version, (load_relaxed(version) | 1) + 1)


@njit(cache=True, nogil=True)
def _text_version(version: int, again: bool) -> int:
    if again:
        fence_acquire()
        return load_relaxed(version)  # type: ignore[no-any-return]
    return load_acquire(version)  # type: ignore[no-any-return]


def format_control(segment: Segment, generation: int) -> None:
    """Make a control block of a new segment of zeros."""
    write_word(segment.address + 8, LAYOUT_VERSION)
    write_word(segment.address + 16, generation)
    write_word(segment.address, MAGIC)


class ControlBlock:
    """Access to the words and rows.

    Raises:
        LayoutMismatchError: the segment is no control block of this layout.
    """

    def __init__(self, segment: Segment) -> None:
        found = (read_word(segment.address), read_word(segment.address + 8))
        if found != (MAGIC, LAYOUT_VERSION):
            raise LayoutMismatchError(f"shared memory /{segment.name} is no control block")
        self._segment = segment
        self.generation = read_word(segment.address + 16)

    def word_address(self, index: int) -> int:
        """Where a word stands, for a kernel that reads it."""
        assert 0 <= index < WORD_COUNT
        return int(self._segment.address + WORDS + 8 * index)

    def get(self, index: int) -> int:
        """A word, acquire."""
        return read_word(self.word_address(index))

    def set(self, index: int, value: int) -> None:
        """A word, release."""
        write_word(self.word_address(index), int(value))

    def raise_to(self, index: int, value: int) -> bool:
        """Make a word at least `value`, whoever else writes it; True if it was lower."""
        at = self.word_address(index)
        while (found := read_word(at)) < value:
            if swap_word(at, found, value) == found:
                return True
        return False

    def _row(self, index: int) -> int:
        return self._segment.address + ROWS_AT + index * ROW_BYTES

    def _bytes(self, index: int, field: int, size: int) -> bytes:
        start = ROWS_AT + index * ROW_BYTES + field
        return bytes(self._segment.buffer[start : start + size]).rstrip(b"\0")

    def _put_bytes(self, index: int, field: int, size: int, text: str) -> None:
        start = ROWS_AT + index * ROW_BYTES + field
        # Cut at a character, not inside one.
        cut = text.encode()[:size].decode(errors="ignore").encode()
        self._segment.buffer[start : start + size] = cut.ljust(size, b"\0")

    def allot(self, name: str) -> int:
        """The row of this name, made if it is new. Only the supervisor does this.

        Raises:
            NoRoomError: all rows are named.
        """
        assert 0 < len(name.encode()) <= NAME_BYTES
        for index in range(ROWS):
            found = self._bytes(index, NAME, NAME_BYTES)
            if not found:
                self._put_bytes(index, NAME, NAME_BYTES, name)
            if not found or found == name.encode():
                return index
        raise NoRoomError(f"the control block has no room for {name}")

    def find(self, name: str) -> int:
        """Index of a named row.

        Raises:
            NoRoomError: the supervisor has given this name no row.
        """
        for index in range(ROWS):
            if self._bytes(index, NAME, NAME_BYTES) == name.encode():
                return index
        raise NoRoomError(f"the control block has no row {name}")

    def take_row(self, index: int) -> None:
        """Make a row this process's own, with no beat yet."""
        row = self._row(index)
        write_word(row + STATE, 0)
        write_word(row + BEAT, 0)
        write_word(row + BEATS, 0)
        write_word(row + OWNER, own_identity())

    def beat(self, index: int, now_ns: int, state: int) -> None:
        """Say that this process is alive."""
        row = self._row(index)
        write_word(row + STATE, int(state))
        write_word(row + BEATS, read_word(row + BEATS) + 1)
        write_word(row + BEAT, now_ns)

    def say(self, index: int, text: str) -> None:
        """Put a short text into this process's row."""
        version = self._row(index) + TEXT_VERSION
        _begin_text(version)
        self._put_bytes(index, TEXT, TEXT_BYTES, text)
        _end_text(version)

    def row(self, index: int) -> ProcessRow:
        """One row as it is now."""
        at = self._row(index)
        text = b""
        for _ in range(100):
            before = _text_version(at + TEXT_VERSION, again=False)
            text = self._bytes(index, TEXT, TEXT_BYTES)
            if before % 2 == 0 and _text_version(at + TEXT_VERSION, again=True) == before:
                break
        else:
            text = b""  # its writer died in the middle
        return ProcessRow(
            self._bytes(index, NAME, NAME_BYTES).decode(errors="replace"),
            read_word(at + OWNER),
            read_word(at + STATE),
            read_word(at + BEAT),
            read_word(at + BEATS),
            text.decode(errors="replace"),
        )
