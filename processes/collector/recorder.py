"""Raw frames on their way to disk: a line each, handed to a thread that compresses and writes.

A compiled call writes the lines of a socket read into a buffer; the thread gets whole buffers, and
what it does needs the interpreter for some microseconds a buffer. There is a fixed number of
buffers: when the disk is so slow that none is free, frames are dropped, counted, and told by a line
`{"dir":"lost",...}` of each connection that lost some. Nothing here ever waits for the disk.

A line is `{"dir":"rx","t":1790000000.123456789,"connection":0,"frame":...}`: `rx` received, `tx`
sent (without keys, tokens and signatures), `open` a new connection, `lost`. The frame is the wire's
own text; control characters, which in JSON stand only between values, become spaces.
"""

import threading
from collections import deque
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import msgspec
import numpy as np
from numba import carray, njit

from processes.clock import monotonic_s
from processes.collector.frame_files import FrameFiles
from shm.atomics import memory
from venues.wire import BATCH_BYTES, FrameBatch

BUFFERS: Final = 16
BUFFER_BYTES: Final = BATCH_BYTES + (1 << 20)
"""Room for the largest read; pages that no line reaches are never taken from the system."""
HAND_OVER_BYTES: Final = 1 << 18
HAND_OVER_S: Final = 1.0
"""What a killed process loses at most, but for what its thread has not written yet."""
CLOSE_S: Final = 10.0
_LINE_BYTES: Final = 160
"""More than a line has around its frame."""
_SPACE: Final = 32
_SECRETS: Final = frozenset(
    {"token", "apikey", "api_key", "api-key", "authsig", "authpayload", "authnonce", "signature",
     "sign", "secret", "nonce", "otp", "passphrase", "password"}
)  # fmt: skip


@njit(cache=True, nogil=True)
def write_lines(
    text: int, bounds: int, count: int, head: int, head_bytes: int, out: int, at: int
) -> int:
    """Write a line for each frame of a batch; where the next goes.

    Args:
        text, bounds: addresses of the batch's. head: address of what each line begins with.
        out: address of the buffer, which has room. at: where to begin.
    """
    table = carray(memory(bounds), (count, 2), np.int64)
    first = carray(memory(head), (head_bytes,), np.uint8)
    for index in range(count):
        begin, size = table[index, 0], table[index, 1] - table[index, 0]
        frame = carray(memory(text + begin), (size,), np.uint8)
        line = carray(memory(out + at), (head_bytes + size + 2,), np.uint8)
        for offset in range(head_bytes):
            line[offset] = first[offset]
        for offset in range(size):
            line[head_bytes + offset] = max(frame[offset], np.uint8(_SPACE))
        line[head_bytes + size] = 125  # }
        line[head_bytes + size + 1] = 10
        at += head_bytes + size + 2
    return at


def without_secrets(text: str) -> bytes:
    """A request as it may be kept: secret values are three stars."""

    def veiled(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: "***" if name.lower() in _SECRETS else veiled(each)
                for name, each in value.items()
            }
        return [veiled(each) for each in value] if isinstance(value, list) else value

    try:
        request = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return b'"***"'
    return msgspec.json.encode(veiled(request))


class _Block(msgspec.Struct):
    """A buffer on its way to the thread."""

    buffer: int
    used: int
    frames: dict[int, int]
    """Received frames in it, by connection."""
    time_ns: int


class Recorder:
    """Keeps the frames of one process's connections.

    Args:
        folder: the venue's, below data/frames. file_bytes, keep_bytes: as `FrameFiles`.
        buffers: as many as may wait for the disk.
    """

    def __init__(
        self, folder: Path, file_bytes: int, keep_bytes: int, *, buffers: int = BUFFERS
    ) -> None:
        self.recorded = 0
        self.lost = 0
        """Received frames that were not kept."""
        self.error = ""
        """What the disk said last; empty while it does its work."""
        self._files = FrameFiles(folder, file_bytes, keep_bytes)
        self._buffers = [np.empty(BUFFER_BYTES, np.uint8) for _ in range(buffers)]
        self._addresses = [int(buffer.ctypes.data) for buffer in self._buffers]
        # Last in, first out: what the others have not touched the system need not give.
        self._free: deque[int] = deque(range(buffers))
        self._failed: deque[dict[int, int]] = deque()
        self._blocks: SimpleQueue[_Block | None] = SimpleQueue()
        self._block: _Block | None = None
        self._began_s = 0.0
        self._newest_ns = 0
        self._missing: dict[int, int] = {}
        head = np.zeros(_LINE_BYTES, np.uint8)
        self._head = head.data  # a memoryview takes bytes in a tenth of the time that numpy does
        self._head_address = int(head.ctypes.data)
        write_lines(self._addresses[0], self._head_address, 0, 0, 0, self._addresses[0], 0)
        self._thread = threading.Thread(target=self._write, name="frames", daemon=True)
        self._thread.start()

    @property
    def written(self) -> int:
        """Bytes on disk, compressed."""
        return self._files.written

    # ---- what the event loop calls

    def received(self, connection: int, batch: FrameBatch, recv_ns: int) -> None:
        """Keep the frames of one socket read."""
        head = _head("rx", connection, recv_ns)
        room = batch.size + batch.count * (len(head) + 2)
        block = self._with_room(room, recv_ns)
        if block is None:
            self._drop({connection: batch.count})
            return
        self._head[: len(head)] = head
        block.used = write_lines(
            batch.text_address, batch.bounds_address, batch.count, self._head_address,
            len(head), self._addresses[block.buffer], block.used,
        )  # fmt: skip
        block.frames[connection] = block.frames.get(connection, 0) + batch.count
        if block.used >= HAND_OVER_BYTES:
            self._hand_over()

    def sent(self, connection: int, text: str, time_ns: int) -> None:
        """Keep a request, without what is secret."""
        self._line("tx", connection, time_ns, without_secrets(text))

    def opened(self, connection: int, time_ns: int) -> None:
        """Note that a connection stands: its channels and numbers begin anew."""
        self._line("open", connection, time_ns, b"null")

    def service(self) -> None:
        """Call this often: hands over what has waited long enough."""
        while self._failed:
            self._drop(self._failed.popleft())
        if not self._thread.is_alive():
            self.error = "the thread that writes them has ended"
        if self._block is not None and monotonic_s() - self._began_s >= HAND_OVER_S:
            self._hand_over()

    def close(self) -> None:
        """Write what there is, and end the thread; a disk that hangs is not waited for long."""
        self.service()
        if self._missing:
            self._with_room(0, self._newest_ns)
        self._hand_over()
        self._blocks.put(None)
        self._thread.join(CLOSE_S)

    def _line(self, direction: str, connection: int, time_ns: int, frame: bytes) -> None:
        block = self._with_room(len(frame) + _LINE_BYTES, time_ns)
        if block is not None:
            self._append(block, _head(direction, connection, time_ns) + frame + b"}\n")

    def _append(self, block: _Block, line: bytes) -> None:
        memory_of = self._buffers[block.buffer]
        memory_of[block.used : block.used + len(line)] = np.frombuffer(line, np.uint8)
        block.used += len(line)

    def _with_room(self, room: int, time_ns: int) -> _Block | None:
        """The buffer to write into; None if it would have to wait for the disk."""
        self._newest_ns = time_ns
        lost_lines = len(self._missing) * 2 * _LINE_BYTES
        block = self._block
        if block is not None and block.used + room + lost_lines > BUFFER_BYTES:
            self._hand_over()
            block = None
        if block is None:
            if not self._free or room + lost_lines > BUFFER_BYTES:
                return None
            block = _Block(self._free.pop(), 0, {}, time_ns)
            self._block = block
            self._began_s = monotonic_s()
        if self._missing:
            missing, self._missing = self._missing, {}
            for connection, frames in missing.items():
                body = b'{"frames":%d}}\n' % frames
                self._append(block, _head("lost", connection, time_ns) + body)
        return block

    def _drop(self, frames: dict[int, int]) -> None:
        for connection, count in frames.items():
            self.lost += count
            self._missing[connection] = self._missing.get(connection, 0) + count

    def _hand_over(self) -> None:
        if self._block is not None:
            self._blocks.put(self._block)
            self._block = None

    # ---- the thread

    def _write(self) -> None:
        try:
            self._files.salvage()
        except OSError as error:
            self.error = str(error)
        while True:
            try:
                block = self._blocks.get(timeout=60.0)
            except Empty:
                continue
            if block is None:
                self._close_files()
                return
            try:
                lines = self._buffers[block.buffer][: block.used].data
                self._files.write(lines, block.time_ns)
                self.recorded += sum(block.frames.values())
                self.error = ""
            except OSError as error:
                self.error = str(error)
                self._failed.append(block.frames)
            self._free.append(block.buffer)

    def _close_files(self) -> None:
        try:
            self._files.close()
        except OSError as error:
            self.error = str(error)


def _head(direction: str, connection: int, time_ns: int) -> bytes:
    seconds, rest = divmod(time_ns, 10**9)
    return b'{"dir":"%s","t":%d.%09d,"connection":%d,"frame":' % (
        direction.encode(), seconds, rest, connection,
    )  # fmt: skip
