"""The client's end of a WebSocket (RFC 6455): socket reads into tables of frames, by a kernel.

A Python call a frame costs more than all of a frame's decoding (docs/performance.md, sockets). So
the operating system writes into one buffer, a kernel finds the text messages in it, and the decoder
gets the buffer and their bounds: no copy and no Python for a message. What is rare (fragments,
pings, closes) is handled here, one by one. No extension is offered, so no frame is compressed.

What it never does: reconnect, or wait. That is the session's.
"""

import asyncio
import base64
import hashlib
import os
import ssl
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import urlsplit

import numpy as np
from numba import carray, njit

from processes.clock import monotonic_s
from schemas.errors import FeedError
from shm.atomics import memory
from venues.wire import BATCH_FRAMES, FrameBatch

READ_BYTES: Final = 256 * 1024
"""Most that one read takes: more would make the first frame of it wait for the last."""
FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
HANDSHAKE_BYTES_MAX: Final = 65_536
CONNECT_S: Final = 10.0
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

_CONTINUATION, _TEXT, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x8, 0x9, 0xA
_FINAL, _MASKED, _OPCODE, _RESERVED = 0x80, 0x80, 0x0F, 0x70
_NORMAL_CLOSURE: Final = 1000

INCOMPLETE, FULL, OTHER = 0, 1, 2
"""Why `find_messages` stopped: the rest has not come, the table is full, a frame of another
kind."""

Feed = Callable[[FrameBatch, int], None]
"""Takes the messages of a read and when it was read."""
Opened = Callable[["WebSocket"], None]
"""Called when the handshake is done, before the first message is handed on."""


class WebSocketError(FeedError):
    """The other side does not speak WebSocket as it should, or refused."""


class UpgradeRefusedError(WebSocketError):
    """The other side answered the request for an upgrade with an HTTP status of its own."""

    def __init__(self, answer: str, status: int) -> None:
        super().__init__(f"refused: {answer}")
        self.status = status
        """The HTTP status, 0 if the answer has none."""


@njit(cache=True, nogil=True)
def frame_bounds(text: int, begin: int, end: int) -> tuple[int, int]:
    """Where the payload of the frame at `begin` begins and ends; (-1, -1) if it has not come."""
    data = carray(memory(text), (end,), np.uint8)
    if end - begin < 2:
        return -1, -1
    short = int(data[begin + 1]) & 0x7F
    head = 2 if short < 126 else (4 if short == 126 else 10)
    if end - begin < head:
        return -1, -1
    size = short if short < 126 else 0
    for index in range(2, head):
        size = size << 8 | int(data[begin + index])
    # A length with its highest bit set is negative here, which no frame's may be.
    if size < 0 or size > FRAME_BYTES_MAX:
        return begin + head, begin + head + FRAME_BYTES_MAX + 1
    if begin + head + size > end:
        return -1, -1
    return begin + head, begin + head + size


@njit(cache=True, nogil=True)
def find_messages(text: int, begin: int, end: int, bounds: int) -> tuple[int, int, int]:
    """Find whole text messages in `text[begin:end]`, one after another.

    Args:
        bounds: address of (BATCH_FRAMES, 2) int64 that takes where each begins and ends.

    Returns how many, where to go on, and why it stopped there.
    """
    data = carray(memory(text), (end,), np.uint8)
    table = carray(memory(bounds), (BATCH_FRAMES, 2), np.int64)
    count = 0
    at = begin
    while at < end:
        if data[at] != _FINAL | _TEXT or (at + 1 < end and data[at + 1] & _MASKED):
            return count, at, OTHER
        if count == BATCH_FRAMES:
            return count, at, FULL
        first, last = frame_bounds(text, at, end)
        if first < 0:
            return count, at, INCOMPLETE
        if last - first > FRAME_BYTES_MAX:
            return count, at, OTHER
        table[count, 0] = first
        table[count, 1] = last
        count += 1
        at = last
    return count, at, INCOMPLETE


def _compile() -> None:
    """Compile now, and not with the first read waiting: the silence would be ours."""
    nothing = FrameBatch()
    find_messages(nothing.text_address, 0, 0, nothing.bounds_address)
    frame_bounds(nothing.text_address, 0, 0)


async def connect(
    url: str, feed: Feed, now_ns: Callable[[], int], on_open: Opened = lambda _: None
) -> "WebSocket":
    """Open a WebSocket.

    Args:
        url: ws:// or wss://. feed: called with the messages of each read. now_ns: stamps reads.

    Raises:
        OSError: no connection. TimeoutError: not within CONNECT_S. WebSocketError: refused.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise WebSocketError(f"{url} is no WebSocket address: write ws://host/path or wss://...")
    _compile()
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    async with asyncio.timeout(CONNECT_S):
        _, socket = await asyncio.get_running_loop().create_connection(
            lambda: WebSocket(parts.netloc.rpartition("@")[2], path, feed, now_ns, on_open),
            parts.hostname,
            parts.port or (443 if secure else 80),
            ssl=ssl.create_default_context() if secure else None,
        )
        try:
            await socket.opened
        except BaseException:
            socket.abort()
            raise
    return socket


class WebSocket(asyncio.BufferedProtocol):
    """One connection. Made by `connect`; `opened` is done when the handshake is."""

    def __init__(
        self, host: str, path: str, feed: Feed, now_ns: Callable[[], int], on_open: Opened
    ) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()
        self.error: BaseException | None = None
        """What `feed` raised, or a WebSocketError: to be raised where the process can end."""
        self.heard_s = monotonic_s()
        self._key = base64.b64encode(os.urandom(16))
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {self._key.decode()}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        )
        self._feed = feed
        self._now_ns = now_ns
        self._on_open = on_open
        self._batch = FrameBatch()
        self._filled = 0
        self._whole = FrameBatch()
        self._parts = bytearray()
        self._in_parts = False
        self._transport: asyncio.Transport | None = None

    # ---- what the session calls

    @property
    def is_open(self) -> bool:
        """Whether anything can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, text: str) -> None:
        """Send a text message; nothing happens on a connection that is closed."""
        self._send(_TEXT, text.encode())

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # ---- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._transport.write(self._request.encode())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes: behind what has come of an unfinished frame."""
        del sizehint
        return self._batch.memory[self._filled : self._filled + READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """A read has come."""
        recv_ns = self._now_ns()
        self.heard_s = monotonic_s()
        self._filled += nbytes
        try:
            begin = 0 if self.opened.done() else self._shake_hands()
            if self.opened.done():
                self._take(begin, recv_ns)
        except Exception as error:  # noqa: BLE001  (kept, and raised where the process can end)
            self.error = error
            self._filled = 0
            if not self.opened.done():
                self.opened.set_exception(error)
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        if not self.opened.done():
            self.opened.set_exception(error or WebSocketError("closed during the handshake"))
        self.closed.set()

    # ---- reading

    def _shake_hands(self) -> int:
        """Look for the whole answer to the request; where the first frame begins."""
        text = bytes(self._batch.memory[: min(self._filled, HANDSHAKE_BYTES_MAX)])
        head, separator, _ = text.partition(b"\r\n\r\n")
        if not separator:
            if len(text) == HANDSHAKE_BYTES_MAX:
                raise WebSocketError("the handshake's answer has no end")
            return 0
        status, *lines = head.split(b"\r\n")
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines)
        }
        wanted = base64.b64encode(hashlib.sha1(self._key + _GUID).digest())  # noqa: S324 (RFC 6455)
        code = status.partition(b" ")[2].partition(b" ")[0]
        if code != b"101":
            number = int(code) if code.isdigit() and len(code) == 3 else 0
            raise UpgradeRefusedError(status.decode(errors="replace"), number)
        if fields.get(b"sec-websocket-accept") != wanted:
            raise WebSocketError("the handshake's answer is not to our question")
        self.opened.set_result(None)
        self._on_open(self)
        return len(head) + len(separator)

    def _take(self, begin: int, recv_ns: int) -> None:
        """Hand on what has come whole; keep the rest for the next read."""
        batch, at = self._batch, begin
        while True:
            count, after, why = find_messages(
                batch.text_address, at, self._filled, batch.bounds_address
            )
            if count:
                batch.count, batch.size = count, after - at
                self._feed(batch, recv_ns)
            at = after
            if why == OTHER:
                after = self._take_other(at, recv_ns)
                if after == at:
                    break
                at = after
            elif why == INCOMPLETE:
                break
        rest = self._filled - at
        if at and rest:
            batch.memory[:rest] = bytes(batch.memory[at : self._filled])
        self._filled = rest

    def _take_other(self, at: int, recv_ns: int) -> int:
        """A frame that is no whole text message; where the next begins, `at` if it must wait."""
        text, filled = self._batch.memory, self._filled
        if filled - at < 2:
            return at
        first, second = text[at], text[at + 1]
        if first & _RESERVED or second & _MASKED:
            raise WebSocketError(f"a frame begins with {first:#04x} {second:#04x}")
        begin, end = frame_bounds(self._batch.text_address, at, filled)
        if begin < 0:
            return at
        if end - begin > FRAME_BYTES_MAX:
            raise WebSocketError(f"a frame is larger than {FRAME_BYTES_MAX} bytes")
        payload = bytes(text[begin:end])
        opcode = first & _OPCODE
        if opcode == _PING:
            self._send(_PONG, payload)
        elif opcode == _CLOSE:
            self._send(_CLOSE, payload[:2] or _NORMAL_CLOSURE.to_bytes(2, "big"))
            if self._transport is not None:
                self._transport.close()
        elif opcode in {_TEXT, _CONTINUATION}:
            if (opcode == _CONTINUATION) != self._in_parts:
                raise WebSocketError("a fragment does not belong to the message before it")
            self._take_part(payload, final=bool(first & _FINAL), recv_ns=recv_ns)
        elif opcode != _PONG:
            raise WebSocketError(f"a frame of kind {opcode:#x}, which nobody has asked for")
        return end

    def _take_part(self, payload: bytes, *, final: bool, recv_ns: int) -> None:
        """A fragment; the last one makes the message whole."""
        self._in_parts = not final
        self._parts += payload
        if len(self._parts) > FRAME_BYTES_MAX:
            raise WebSocketError(f"a message is larger than {FRAME_BYTES_MAX} bytes")
        if final:
            self._whole.clear()
            self._whole.add(bytes(self._parts))
            self._parts.clear()
            self._feed(self._whole, recv_ns)

    # ---- writing

    def _send(self, opcode: int, payload: bytes) -> None:
        """One masked frame, as a client must send it."""
        if self._transport is None or self._transport.is_closing():
            return
        size = len(payload)
        if size < 126:
            head = bytes((_FINAL | opcode, _MASKED | size))
        elif size < 1 << 16:
            head = bytes((_FINAL | opcode, _MASKED | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((_FINAL | opcode, _MASKED | 127)) + size.to_bytes(8, "big")
        mask = os.urandom(4)
        key = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
        self._transport.write(head + mask + masked)
