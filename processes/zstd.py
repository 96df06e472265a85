"""Files of independent zstd frames: each can be read without the others, so a torn end costs one.

Owns the compression and the walk from frame to frame (RFC 8878, section 3.1); pyarrow brings the
codec, which gives the interpreter free while it works. Read with any tool: `zstd -dc FILE`.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

_LEVEL: Final = 3
_MAGIC: Final = 0xFD2FB528
_MAGIC_BYTES: Final = _MAGIC.to_bytes(4, "little")
_SKIPPABLE: Final = 0x184D2A50
_CHUNK: Final = 1 << 18


class Compressor:
    """Makes frames."""

    def __init__(self) -> None:
        self._codec: Any = pa.Codec("zstd", compression_level=_LEVEL)

    def compress(self, content: memoryview) -> bytes:
        """One frame that holds all of `content`."""
        made: bytes = self._codec.compress(pa.py_buffer(content), asbytes=True)
        return made


def frame_end(data: Any, begin: int) -> int:
    """Where the frame that begins at `begin` ends; -1 if it is cut off, or none begins there."""
    end = len(data)
    if end - begin < 5:
        return -1
    magic = int.from_bytes(data[begin : begin + 4], "little")
    if magic & ~0xF == _SKIPPABLE:
        at = begin + 8 + int.from_bytes(data[begin + 4 : begin + 8], "little")
        return at if end - begin >= 8 and at <= end else -1
    if magic != _MAGIC:
        return -1
    descriptor = data[begin + 4]
    single = descriptor & 0x20
    size_field = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    at = begin + 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + size_field
    last = False
    while not last:
        if at + 3 > end:
            return -1
        block = int.from_bytes(data[at : at + 3], "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        if kind == 3:
            return -1
        at += 3 + (1 if kind == 1 else size)
    at += 4 if descriptor & 4 else 0
    return at if at <= end else -1


def whole_bytes(path: Path) -> int:
    """How much of a file is whole frames, from its beginning."""
    if path.stat().st_size == 0:
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while at < len(data):
            after = frame_end(data, at)
            if after < 0:
                break
            at = after
        return at


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a compressed file, without their ends; what a torn end still holds is given.

    A frame that is damaged is told by a line that says so and is nothing else.
    """
    if path.stat().st_size == 0:
        return
    rest = b""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        while at < len(data):
            after = frame_end(data, at)
            torn = after < 0 and _is_torn(data, at)
            if after < 0:
                after = _next_frame(data, at + 1)
            for chunk in _content(data[at:after]):
                if chunk is None:
                    if not torn:
                        yield b"damaged: no zstd at byte %d of %s" % (at, path.name.encode())
                    rest = b""  # of a line that has no end
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
            at = after
    if rest:
        yield rest


def _is_torn(data: Any, at: int) -> bool:
    """Whether what begins here is a frame, and nothing comes behind what there is of it."""
    return _MAGIC_BYTES.startswith(data[at : at + 4]) and _next_frame(data, at + 1) == len(data)


def _next_frame(data: Any, at: int) -> int:
    """Where the next whole frame begins; the end of the data if there is none."""
    while True:
        at = data.find(_MAGIC_BYTES, at)
        if at < 0:
            return len(data)
        if frame_end(data, at) >= 0:
            return at
        at += 1


def _content(frame: bytes) -> Iterator[bytes | None]:
    """What a frame holds, piece by piece; None where it ends before its time."""
    stream = pa.CompressedInputStream(pa.BufferReader(frame), "zstd")
    while True:
        try:
            chunk: bytes = stream.read(_CHUNK)
        except OSError:
            yield None
            return
        if not chunk:
            return
        yield chunk
