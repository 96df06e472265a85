"""What can go wrong with shared memory.

SharedMemoryError
├── LayoutMismatchError   the segment was made with another layout
├── TornReadError         a slot that the protocol called good was not: a bug, never expected
├── DisplacedWriterError  another writer has taken this ring over
└── NoRoomError           a table of rows (readers, processes, counters) is full
"""


class SharedMemoryError(Exception):
    """Anything wrong with shared memory."""


class LayoutMismatchError(SharedMemoryError):
    """The segment holds another layout than this code reads."""


class TornReadError(SharedMemoryError):
    """A slot passed the protocol's checks and still carries the wrong sequence."""


class DisplacedWriterError(SharedMemoryError):
    """This writer is no longer the ring's writer and must not write."""


class NoRoomError(SharedMemoryError):
    """All rows of a table are taken."""
