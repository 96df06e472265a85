"""Recorded frames as `ingest` reads them: plain files, and those that the collector records.

Lines are bare frames, or wrapped as {"t": seconds, "frame": ...}, with a "dir" of rx, tx or open
where both directions were recorded, and a "connection" where lines of several stand in one file; a
file named .zst is compressed. A frame keeps its own text: a checksum is over the venue's digits.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from processes.zstd import read_lines

TIME_MAX_S: Final = 9_000_000_000
"""Nanoseconds of later times do not fit 64 bits."""
WHOLE_MAX_BYTES: Final = 64 << 20
"""The largest file that is looked at as one JSON value."""


class Line(msgspec.Struct):
    """A recorder's envelope; the frame keeps its own text."""

    frame: msgspec.Raw = msgspec.Raw()
    t: Decimal = Decimal(0)
    dir: str = ""
    connection: int = 0


class Frame(msgspec.Struct, frozen=True):
    """One received frame, or (empty) the word that a connection was opened, or lost frames."""

    text: bytes
    recv_ns: int
    connection: int = 0
    lost: int = 0
    """Frames of the connection that the recorder could not keep."""


class Lost(msgspec.Struct):
    """What stands where frames are missing."""

    frames: int = 1


_RECORDED = re.compile(rb'\{"dir":"rx","t":(\d{1,10}\.\d{9}),"connection":(\d{1,6}),"frame":(.*)\}')
_line_decoder = msgspec.json.Decoder(Line)


def read_frames(files: list[Path]) -> Iterator[Frame]:
    """The received frames of a recording, in order: a line each, or one JSON value a file."""
    for path in files:
        for line in _lines(path):
            frame = _unwrap(line) if line else None
            if frame is not None:
                yield frame


def _lines(path: Path) -> Iterator[bytes]:
    if path.suffix == ".zst":
        for raw in read_lines(path):
            yield raw.strip()
        return
    with path.open("rb") as file:
        whole = _whole_value(file)
        yield from [whole] if whole else (raw.strip() for raw in file)


def _whole_value(file: BinaryIO) -> bytes:
    """A file that is one JSON value over several lines, on one line; empty if it is not that."""
    first = file.readline()
    file.seek(0)
    if not first.endswith(b"\n") or _is_json(first):
        return b""
    text = file.read(WHOLE_MAX_BYTES)
    file.seek(0)
    return msgspec.json.format(text, indent=-1) if _is_json(text) else b""


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


def _unwrap(line: bytes) -> Frame | None:
    if not line.startswith(b"{"):
        return Frame(line, 0)
    try:
        envelope = _line_decoder.decode(line)
    except msgspec.DecodeError:
        return _unwrap_text(line)
    recv_ns = _time_ns(envelope.t)
    if envelope.dir == "open":
        return Frame(b"", recv_ns, envelope.connection)
    if envelope.dir == "lost":
        return Frame(b"", recv_ns, envelope.connection, _lost_frames(envelope.frame))
    if envelope.dir not in {"", "rx"}:
        return None
    if bytes(envelope.frame):
        return Frame(bytes(envelope.frame), recv_ns, envelope.connection)
    return Frame(line, 0)


def _time_ns(seconds: Decimal) -> int:
    """A recorder's time; one that is none (another unit, a broken recorder) loses no frame."""
    if not seconds.is_finite() or not 0 < seconds < TIME_MAX_S:
        return 0
    return int(seconds * 10**9)


def _lost_frames(frame: msgspec.Raw) -> int:
    try:
        return max(msgspec.json.decode(frame, type=Lost).frames, 1)
    except msgspec.DecodeError:
        return 1


def _unwrap_text(line: bytes) -> Frame:
    """A line that is no JSON, because what the venue sent was none: our recorder's, or bare."""
    found = _RECORDED.fullmatch(line)
    if found is None:
        return Frame(line, 0)
    seconds, connection, text = found.groups()
    return Frame(text, _time_ns(Decimal(seconds.decode())), int(connection))
