"""One connection to Kraken's private WebSocket: requests with their answers, frames, and its end.

Rules (docs.kraken.com/api/docs/websocket-v2, "Authentication" and each method's page): every
private request carries the connection's token; an answer repeats the request's number; the venue
sends a heartbeat a second once something is subscribed, and hangs up on who says nothing for a
minute.

Fails with OSError or TimeoutError when the connection is lost or silent. Never sends anything
twice, and no error of it shows a frame: they hold the token.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import msgspec

from schemas.errors import AnswerError, DecodeError
from venues.handed_over import handed_over
from venues.numbers import as_integer, parse_exact
from venues.trading import NotSentError

CONNECT_S: Final = 10.0
ANSWER_S: Final = 10.0
"""A request that is not answered by then has an outcome that nobody knows."""
SILENCE_S: Final = 10.0
"""Heartbeats come every second."""
PING_S: Final = 25.0
CLOSE_S: Final = 2.0
FRAME_BYTES_MAX: Final = 16 << 20
"""A snapshot has all open orders in one frame."""

Message = dict[str, Any]


class PrivateSocket:
    """An open connection.

    Args:
        take: is given every frame that answers no request of `ask`; what it raises ends the
            connection.
    """

    def __init__(self, url: str, token: str, take: Callable[[Message], None]) -> None:
        self._url = url
        self._token = token
        self._take = take
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._number = 0
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect.

        Raises:
            OSError, TimeoutError: the venue was not reached.
        """
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with asyncio.timeout(CONNECT_S):
                self._socket = await self._session.ws_connect(
                    self._url, max_msg_size=FRAME_BYTES_MAX
                )
        except aiohttp.ClientError as error:
            await self._session.close()
            kind = type(error).__name__
            raise ConnectionError(f"Kraken's private socket was not reached: {kind}") from None
        except BaseException:
            await self._session.close()
            raise
        self._tasks = [
            asyncio.create_task(self._read(self._socket)),
            asyncio.create_task(self._ping(self._socket)),
        ]

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

    async def until(self, event: asyncio.Event, within_s: float) -> None:
        """Until something has happened on it; raises what `serve` does if it is lost before.

        Raises:
            TimeoutError: it did not happen in time.
        """
        both = [asyncio.create_task(event.wait()), asyncio.create_task(self.serve())]
        try:
            async with asyncio.timeout(within_s):
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if both[1].done():
                both[1].result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    def end(self, why: str) -> None:
        """Have `serve` end: nothing good can come of the connection any more."""
        if not self._ended.done():
            self._ended.set_exception(ConnectionError(why))

    async def close(self) -> None:
        """Close it. Never raises."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._ended.done():
            self._ended.exception()  # seen, if `serve` has not
        self._give_up("the connection was closed")
        try:
            async with asyncio.timeout(CLOSE_S):
                if self._socket is not None:
                    await self._socket.close()
        except (OSError, TimeoutError, aiohttp.ClientError):
            pass
        if self._session is not None:
            await self._session.close()

    # ---- requests

    async def ask(
        self, method: str, params: Message, written: Callable[[], None] = lambda: None
    ) -> Message:
        """Send a request and wait for its answer, good or bad.

        Args:
            params: without the token; exact numbers are `msgspec.Raw`. written: called when the
            frame has left.

        Raises:
            NotSentError: it did not leave. OSError, TimeoutError: nobody can say what came of it.
        """
        socket = self._socket
        if socket is None or not self.is_open:
            raise NotSentError("the private socket is not open")
        transport = socket._writer.transport  # noqa: SLF001 (aiohttp shows it nowhere else)
        if transport.is_closing():
            raise NotSentError("the private socket is closing")
        self._number += 1
        number = self._number
        frame = msgspec.json.encode(
            {"method": method, "params": {**params, "token": self._token}, "req_id": number}
        )
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(ANSWER_S):
                try:
                    await socket.send_str(frame.decode())
                except aiohttp.ClientError as error:
                    raise ConnectionError(f"{method}: {type(error).__name__}") from None
                if await handed_over(transport):
                    written()
                return await answer
        except TimeoutError:
            raise TimeoutError(f"{method}: no answer within {ANSWER_S:.0f} s") from None
        finally:
            del self._waiting[number]
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen, if the wait ended before it came

    def _answered(self, message: Message) -> bool:
        """Whether this answers a request that is waited for."""
        number = message.get("req_id")
        answer = None if number is None else self._waiting.get(as_integer(number))
        if answer is None:
            return False
        if not answer.done():
            answer.set_result(message)
        return True

    def _give_up(self, why: str) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError(why))

    # ---- frames

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            while True:
                frame = await socket.receive(SILENCE_S)
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    raise ConnectionError(f"Kraken's private socket has ended: {frame.type.name}")
                self._read_one(frame.data)
        except TimeoutError:
            raise TimeoutError(f"nothing from Kraken for {SILENCE_S:.0f} s") from None
        finally:
            self._give_up("the connection was lost before an answer came")

    def _read_one(self, frame: str) -> None:
        try:
            message = parse_exact(frame.encode())
            answered = isinstance(message, dict) and self._answered(message)
        except (ValueError, DecodeError, RecursionError) as error:
            raise AnswerError(f"a private frame cannot be read: {type(error).__name__}") from None
        if not isinstance(message, dict):
            raise AnswerError("a private frame is no object")
        if not answered:
            self._take(message)

    async def _ping(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """The venue hears of us, whatever else there is to say."""
        while True:
            await asyncio.sleep(PING_S)
            try:
                await socket.send_str('{"method":"ping"}')
            except aiohttp.ClientError as error:
                raise ConnectionError(f"ping: {type(error).__name__}") from None
