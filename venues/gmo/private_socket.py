"""One connection to GMO Coin's private WebSocket: channels asked for, events, and its end.

Rules (api.coin.z.com/docs): the address holds the access token; one command a second from an
address; nothing is acknowledged, and an error names no channel, so that it is of the command sent
last. The server pings once a minute, which is answered; we ping as well, since nothing else shows
that a quiet connection is alive.

Fails with OSError, TimeoutError or VenueError when the connection is lost, useless or refused. No
error of it shows its address or a frame.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from schemas.account import AccountState
from schemas.errors import (
    AnswerError,
    DecodeError,
    MaintenanceError,
    RefusedError,
    UnavailableError,
    VenueError,
)
from venues.gmo.account import account_events, subscribe_command
from venues.trading import Tell

CONNECT_S: Final = 10.0
CLOSE_S: Final = 2.0
PING_S: Final = 20.0
"""Without a pong for half as long the connection is lost."""
ERROR_S: Final = 0.5
"""A command that is not refused by then has been taken."""
TRIES: Final = 3
"""Of a command that came too fast for the venue."""
REFUSALS_MAX: Final = 16
"""Errors that wait to be looked at; what comes beyond them says nothing new."""
FRAME_BYTES_MAX: Final = 1 << 20
TOKEN_STATUSES: Final = frozenset({400, 401, 403, 404})
MAINTENANCE_STATUS: Final = 503


class TokenRefusedError(VenueError):
    """The venue opens no socket with this token."""


class PrivateSocket:
    """An open connection.

    Args:
        tell: is given every event, in the loop. turn: waits until a command may be sent.
    """

    def __init__(self, tell: Tell, turn: Callable[[], Awaitable[None]]) -> None:
        self._tell = tell
        self._turn = turn
        self._asked = ""
        self._refused: asyncio.Queue[AccountState] = asyncio.Queue(REFUSALS_MAX)
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None

    async def open(self, address: str) -> None:
        """Connect.

        Raises:
            TokenRefusedError: the token in the address is none. VenueError, OSError, TimeoutError:
                the venue was not reached, or takes nobody.
        """
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with asyncio.timeout(CONNECT_S):
                self._socket = await self._session.ws_connect(
                    address, heartbeat=PING_S, max_msg_size=FRAME_BYTES_MAX
                )
        except aiohttp.WSServerHandshakeError as error:
            raise _refusal(error.status) from None
        except (aiohttp.ClientError, ValueError) as error:
            # Their texts show the address.
            kind = type(error).__name__
            raise ConnectionError(f"GMO Coin's private socket was not reached: {kind}") from None
        self._reader = asyncio.create_task(self._read(self._socket))

    async def subscribe(self, channel: str) -> None:
        """Ask for a channel, and wait a little for a refusal: nothing else is answered.

        Raises:
            RefusedError: the venue will not have it. VenueError, OSError: another end.
        """
        assert self._socket is not None, "open it first"
        for _ in range(TRIES):
            await self._turn()
            self._asked = channel
            try:
                await self._socket.send_str(subscribe_command(channel))
            except aiohttp.ClientError as error:
                raise ConnectionError(f"{channel}: {type(error).__name__}") from None
            refused = await self._refusal_within(ERROR_S)
            if refused is None:
                return
            if refused.permanent:
                raise RefusedError(f"{channel}: ERR-{refused.text}", code=_code(refused))
        raise UnavailableError(f"{channel}: {TRIES} times too fast for the venue")

    async def serve(self) -> None:
        """Until the connection is lost; raises why.

        Raises:
            VenueError, OSError, TimeoutError: what ended it.
        """
        assert self._reader is not None, "open it first"
        refused = await self._refusal_within(None)
        if refused is not None:
            raise AnswerError(f"the private socket says ERR-{refused.text}")

    async def close(self) -> None:
        """Close it. Never raises."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_S):
                if self._socket is not None:
                    await self._socket.close()
        except (OSError, TimeoutError, aiohttp.ClientError):
            pass
        if self._session is not None:
            await self._session.close()

    async def _refusal_within(self, seconds: float | None) -> AccountState | None:
        """The next error that the venue sends, if one comes in time; raises what ends it all."""
        assert self._reader is not None
        waiting = asyncio.create_task(self._refused.get())
        try:
            await asyncio.wait(
                {waiting, self._reader}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if waiting.done():
                return waiting.result()
            if self._reader.done():
                self._reader.result()
            return None
        finally:
            waiting.cancel()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            frame = await socket.receive()
            if frame.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError(f"the private socket has ended: {frame.type.name}")
            try:
                events = account_events(frame.data.encode(), asked=self._asked)
            except (DecodeError, ValueError) as error:
                raise AnswerError(f"a private frame cannot be read: {error}") from None
            for event in events:
                if isinstance(event, AccountState) and not self._refused.full():
                    self._refused.put_nowait(event)
                self._tell(event)


def _code(state: AccountState) -> str:
    return f"ERR-{state.text.partition(' ')[0]}"


def _refusal(status: int) -> VenueError:
    said = f"GMO Coin's private socket answers HTTP {status}"
    if status in TOKEN_STATUSES:
        return TokenRefusedError(said)
    return MaintenanceError(said) if status == MAINTENANCE_STATUS else UnavailableError(said)
