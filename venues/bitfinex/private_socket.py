"""One connection to Bitfinex's account channel: authenticated, watched, and known to be heard.

Rules (docs.bitfinex.com, "Authenticated Channels"): the connection is asked for sequence numbers
before it authenticates; `dms: 4` has the venue cancel all orders of the account when the socket is
gone. A ping goes out every few seconds, and its pong proves that the venue has read everything sent
before it: so what is sent on a connection has been read a little later, or the connection is reset,
which throws away what the system had not sent yet.

Fails with OSError or TimeoutError when the connection is lost or silent. Never sends anything
twice, and no error of it shows a frame that is sent: one of them is signed.
"""

import asyncio
import socket as sockets
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import aiohttp
import msgspec

from schemas.errors import (
    AnswerError,
    MaintenanceError,
    RateLimitedError,
    UnavailableError,
)
from venues.bitfinex.signing import auth_payload, sign
from venues.bitfinex.subscriptions import FLAG_SEQUENCE
from venues.handed_over import handed_over
from venues.trading import NotSentError

CONNECT_S: Final = 10.0
STEP_S: Final = 10.0
"""For each of greeting, flags, auth and snapshot."""
SEND_S: Final = 10.0
"""A frame that the system does not take for so long is thrown away with its connection."""
PING_S: Final = 8.0
PONG_S: Final = 8.0
HEARD_S: Final = PING_S + PONG_S
"""What was sent so long ago has been read by the venue, or never will be."""
CLOSE_S: Final = 2.0
FRAME_BYTES_MAX: Final = 16 << 20
"""A snapshot has all open orders in one frame."""
VERSION: Final = 2
DEAD_MAN_FLAG: Final = 4
TOO_MANY: Final = 429
LIVE: Final = "live"
"""What is waited for after auth: the orders' snapshot, which comes even if there are none."""
_SNAPSHOT: Final = '[0,"os",'

Event = dict[str, Any]


class PrivateSocket:
    """A connection.

    Args:
        take: is given every frame but pongs; what it raises ends the connection.
    """

    def __init__(self, url: str, take: Callable[[bytes], None]) -> None:
        self._url = url
        self._take = take
        self._expected: dict[str, asyncio.Future[Event]] = {}
        self._pongs: dict[int, asyncio.Event] = {}
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # ---- opening

    async def open(self, key: str, secret: str, next_nonce: Callable[[], int]) -> None:
        """Connect, authenticate, and wait for the account's snapshot.

        Raises:
            VenueError: the venue is not as it should be, or what `take` raises: a refused key.
            OSError, TimeoutError: it was not reached.
        """
        greeting, configured = self._expect("info"), self._expect("conf")
        answered, live = self._expect("auth"), self._expect(LIVE)
        await self._connect()
        info = await self._step(greeting, "a greeting")
        if info.get("version") != VERSION:
            raise AnswerError(f"Bitfinex speaks version {info.get('version')!r:.20}, not 2")
        platform = info.get("platform")
        if isinstance(platform, dict) and platform.get("status") == 0:
            raise MaintenanceError("Bitfinex is being maintained")
        await self.send(msgspec.json.encode({"event": "conf", "flags": FLAG_SEQUENCE}))
        if (await self._step(configured, "its flags")).get("status") != "OK":
            raise AnswerError("Bitfinex gives no sequence numbers")
        # Nothing waits between the nonce and its use: the next question's would be larger.
        await self.send(_auth(key, secret, next_nonce()))
        await self._step(answered, "an answer to auth")
        await self._step(live, "the snapshot of orders")
        self._tasks.append(asyncio.create_task(self._ping()))

    async def _connect(self) -> None:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with asyncio.timeout(CONNECT_S):
                self._socket = await self._session.ws_connect(
                    self._url, max_msg_size=FRAME_BYTES_MAX
                )
        except aiohttp.WSServerHandshakeError as error:
            text = f"Bitfinex's socket was not opened: HTTP {error.status}"
            if error.status == TOO_MANY:
                raise RateLimitedError(text) from None
            raise UnavailableError(text) from None
        except aiohttp.ClientError as error:
            kind = type(error).__name__
            raise ConnectionError(f"Bitfinex's socket was not reached: {kind}") from None
        self._tasks = [asyncio.create_task(self._read(self._socket))]

    def _expect(self, name: str) -> asyncio.Future[Event]:
        self._expected[name] = asyncio.get_running_loop().create_future()
        return self._expected[name]

    async def _step(self, event: asyncio.Future[Event], what: str) -> Event:
        """Wait for an event, or for the end of the connection."""
        reader = self._tasks[0]
        ends: list[asyncio.Future[Any]] = [event, reader]
        await asyncio.wait(ends, timeout=STEP_S, return_when=asyncio.FIRST_COMPLETED)
        if event.done():
            return event.result()
        if reader.done():
            reader.result()
        raise TimeoutError(f"Bitfinex did not send {what} within {STEP_S:.0f} s")

    # ---- while it is open

    @property
    def is_open(self) -> bool:
        """Something can be sent."""
        socket = self._socket
        return socket is not None and not socket.closed and not self._tasks[0].done()

    async def serve(self) -> None:
        """Until the connection is lost; raises why.

        Raises:
            OSError, TimeoutError, AnswerError: what ended it. Whatever `take` raises.
        """
        ends = [*self._tasks, self._ended]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in done:
            end.result()

    def end(self, error: Exception) -> None:
        """Have `serve` end: nothing good can come of the connection any more."""
        if not self._ended.done():
            self._ended.set_exception(error)

    async def send(self, frame: bytes, written: Callable[[], None] = lambda: None) -> None:
        """Send a frame.

        Args:
            written: called when it has left this process, or never will.

        Raises:
            NotSentError: it did not leave. OSError, TimeoutError: the connection was lost.
        """
        socket = self._socket
        if socket is None or not self.is_open:
            raise NotSentError("Bitfinex's socket is not open")
        transport = socket._writer.transport  # noqa: SLF001 (aiohttp shows it nowhere else)
        if transport is None or transport.is_closing():
            raise NotSentError("Bitfinex's socket is closing")
        try:
            async with asyncio.timeout(SEND_S):
                await socket.send_str(frame.decode())
                await handed_over(transport)
        except aiohttp.ClientError as error:
            raise ConnectionError(f"Bitfinex's socket: {type(error).__name__}") from None
        except TimeoutError:
            _reset(transport)
            raise TimeoutError(f"Bitfinex's socket took nothing for {SEND_S:.0f} s") from None
        written()

    # ---- closing

    async def close(self) -> None:
        """Close it. Never raises.

        A connection that has ended badly is reset: what the system has not sent must not come to
        the venue when nobody waits for it any more.
        """
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        bad = any(not isinstance(end, asyncio.CancelledError) for end in ends)
        if self._ended.done():
            bad = self._ended.exception() is not None
        socket = self._socket
        transport = None if socket is None else socket._writer.transport  # noqa: SLF001
        if bad and transport is not None:
            _reset(transport)
        try:
            async with asyncio.timeout(CLOSE_S):
                if socket is not None:
                    await socket.close()
        except (OSError, TimeoutError, aiohttp.ClientError):
            if transport is not None:
                _reset(transport)
        for event in self._expected.values():
            event.cancel()
        if self._session is not None:
            await self._session.close()

    # ---- frames

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            frame = await socket.receive()
            if frame.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError(f"Bitfinex's socket has ended: {frame.type.name}")
            if frame.data.startswith("["):
                self._take(frame.data.encode())
                if frame.data.startswith(_SNAPSHOT):
                    self._happened(LIVE, {})
            else:
                self._read_event(frame.data)

    def _read_event(self, frame: str) -> None:
        try:
            event = msgspec.json.decode(frame, type=dict[str, Any])
        except msgspec.DecodeError:
            raise AnswerError("an event of Bitfinex's socket cannot be read") from None
        name = event.get("event")
        if name == "pong":
            pong = self._pongs.pop(event.get("cid", 0), None)
            if pong is not None:
                pong.set()
            return
        self._take(frame.encode())
        if isinstance(name, str) and "code" not in event:
            self._happened(name, event)

    def _happened(self, name: str, event: Event) -> None:
        waiting = self._expected.get(name)
        if waiting is not None and not waiting.done():
            waiting.set_result(event)

    async def _ping(self) -> None:
        """Ask now and then whether everything sent has been read."""
        number = 0
        while True:
            await asyncio.sleep(PING_S)
            number += 1
            # Held here too: a pong may come, and be taken out, before the send has ended.
            pong = self._pongs[number] = asyncio.Event()
            try:
                async with asyncio.timeout(PONG_S):
                    await self.send(msgspec.json.encode({"event": "ping", "cid": number}))
                    await pong.wait()
            except TimeoutError:
                raise TimeoutError(f"no pong from Bitfinex within {PONG_S:.0f} s") from None


def _auth(key: str, secret: str, nonce: int) -> bytes:
    payload = auth_payload(nonce)
    return msgspec.json.encode(
        {
            "event": "auth",
            "apiKey": key,
            "authSig": sign(secret, payload),
            "authNonce": nonce,
            "authPayload": payload,
            "dms": DEAD_MAN_FLAG,
        }
    )


def _reset(transport: asyncio.Transport) -> None:
    """End a connection at once, and throw away what the system has not sent."""
    socket = transport.get_extra_info("socket")
    if socket is not None and socket.fileno() >= 0:
        with suppress(OSError):  # the other end was faster
            socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
