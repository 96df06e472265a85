"""One named piece of POSIX shared memory.

Built on `multiprocessing.shared_memory`, never tracked: the resource tracker of CPython removes a
segment when any process that attached it ends (gh-82300), which would pull the ring from under
everybody when a tap is closed. From Python 3.13 there is `track=False`; before it the tracker is
kept out by hand for create, attach and unlink alike.

Names are at most 30 bytes with the slash, because macOS allows 31. Only the supervisor creates and
unlinks. A read-only attachment cannot harm the ring: a write to it ends the writer, not the data.
"""

import _posixshmem
import hashlib
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker, shared_memory
from types import TracebackType
from typing import Any, Self

from shm.atomics import address_of
from shm.errors import SharedMemoryError

NAME_BYTES_MAX = 30
PAGE_BYTES = 16384
"""Apple Silicon's page; sizes are multiples of it everywhere."""


def instance_id(run_directory: str) -> str:
    """Six hex digits that stand for one run directory in all segment names."""
    return hashlib.blake2b(run_directory.encode(), digest_size=3).hexdigest()


def segment_name(instance: str, channel: str) -> str:
    """The system-wide name of an instance's segment: `dc.<instance>.<channel>`.

    Raises:
        SharedMemoryError: the name would be longer than macOS allows.
    """
    name = f"dc.{instance}.{channel}"
    if len(name.encode()) + 1 > NAME_BYTES_MAX:
        raise SharedMemoryError(f"segment name /{name} is longer than {NAME_BYTES_MAX} bytes")
    return name


@contextmanager
def _untracked() -> Iterator[None]:
    """Keep the resource tracker from hearing of what is done inside (Python 3.11 and 3.12)."""
    register, unregister = resource_tracker.register, resource_tracker.unregister

    def silent(name: str, rtype: str) -> None:
        del name, rtype

    resource_tracker.register = silent  # type: ignore[assignment]
    resource_tracker.unregister = silent  # type: ignore[assignment]
    try:
        yield
    finally:
        resource_tracker.register = register
        resource_tracker.unregister = unregister


def _open(name: str, create: bool, size: int) -> shared_memory.SharedMemory:
    if sys.version_info >= (3, 13):
        return shared_memory.SharedMemory(name, create=create, size=size, track=False)
    with _untracked():
        return shared_memory.SharedMemory(name, create=create, size=size)


class Segment:
    """A mapped segment. `address` is where it begins, `size` the bytes that were asked for."""

    def __init__(self, name: str, size: int, memory: Any, buffer: Any) -> None:
        self.name = name
        self.size = size
        self.buffer: Any = buffer
        self.address = address_of(buffer)
        self._memory = memory

    @classmethod
    def create(cls, name: str, size: int) -> Self:
        """Make a new segment of zeros with every page touched.

        Raises:
            SharedMemoryError: a segment of this name is there already, or memory is short.
        """
        rounded = -(-size // PAGE_BYTES) * PAGE_BYTES
        try:
            memory = _open(name, create=True, size=rounded)
        except FileExistsError:
            raise SharedMemoryError(f"shared memory /{name} is there already") from None
        except OSError as error:
            raise SharedMemoryError(f"shared memory /{name} cannot be made: {error}") from error
        view: Any = memory.buf
        try:
            zeros = bytes(1 << 20)
            for start in range(0, rounded, len(zeros)):
                end = min(start + len(zeros), rounded)
                view[start:end] = zeros[: end - start]
        except BaseException:
            memory.close()
            raise
        return cls(name, size, memory, view)

    @classmethod
    def attach(cls, name: str, *, writable: bool = True) -> Self:
        """Map a segment that another process made.

        Raises:
            SharedMemoryError: there is none of this name.
        """
        try:
            if writable:
                memory: Any = _open(name, create=False, size=0)
                return cls(name, memory.size, memory, memory.buf)
            memory = _map_read_only(name)
            return cls(name, len(memory), memory, memory)
        except FileNotFoundError:
            raise SharedMemoryError(f"there is no shared memory /{name}") from None

    @staticmethod
    def unlink(name: str) -> bool:
        """Remove the name; maps that exist stay good. False if there was none."""
        try:
            _posixshmem.shm_unlink(f"/{name}")
        except FileNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Unmap. Every numpy array made from `buffer` must be gone before."""
        self.buffer = None
        self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _map_read_only(name: str) -> mmap.mmap:
    descriptor = _posixshmem.shm_open(f"/{name}", os.O_RDONLY, mode=0o600)
    try:
        size = os.fstat(descriptor).st_size
        return mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
