"""A bot's message socket: typed messages while it stands, and the news of its standing and falling.

Messages are hints: they carry no number, nothing is kept for who was away, no order id is in them,
and they come before the answer of the call that caused them. So nothing is booked from a message:
one says that it is time to read. A subscription is not acknowledged, and one unknown topic makes
the bot ignore it whole; a question is therefore sent behind it, which is answered when the link
works. The bot never pings, so this side does.

Its address holds the token: errors are told by their kind alone.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
import msgspec
from msgspec import Struct

from processes.backoff import Backoff
from venues.freqtrade.client import Access, check_loopback

PATH: Final = "/api/v1/message/ws"
CONFIRM_S: Final = 5.0
PING_S: Final = 10.0
MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
FORBIDDEN: Final = 403
RESTARTING: Final = 1012
"""Close code of a stop in good order and of a reload; a crash has 1006."""


class Status(Struct, frozen=True, tag_field="type", tag="status"):
    """The bot's state: running, paused, stopped, process died."""

    status: str


class Warned(Struct, frozen=True, tag_field="type", tag="warning"):
    """Words for people."""

    status: str


class Startup(Struct, frozen=True, tag_field="type", tag="startup"):
    """Words for people, at its start."""

    status: str


class Failed(Struct, frozen=True, tag_field="type", tag="exception"):
    """An error of the bot, after which it has stopped itself; or an answer to a bad request."""

    status: str = ""
    data: str = ""


class Whitelist(Struct, frozen=True, tag_field="type", tag="whitelist"):
    """The answer that proves the link; also sent when the list changes."""

    data: list[str]


class Entry(Struct, frozen=True, tag_field="type", tag="entry"):
    """An entry was ordered."""

    trade_id: int
    pair: str
    enter_tag: str | None = None


class EntryFill(Entry, frozen=True, tag_field="type", tag="entry_fill"):
    """It is filled, whole; of parts nothing is told."""


class EntryCancel(Entry, frozen=True, tag_field="type", tag="entry_cancel"):
    """It is cancelled; without a fill the trade is erased, and this is all that tells of it."""

    reason: str = ""


class Exit(Entry, frozen=True, tag_field="type", tag="exit"):
    """An exit was ordered."""


class ExitFill(Entry, frozen=True, tag_field="type", tag="exit_fill"):
    """It is filled."""

    is_final_exit: bool = False


class ExitCancel(Entry, frozen=True, tag_field="type", tag="exit_cancel"):
    """It is cancelled. The profit in this message (-100 %) means nothing and is not read."""

    reason: str = ""


Message = (
    Status | Warned | Startup | Failed | Whitelist
    | Entry | EntryFill | EntryCancel | Exit | ExitFill | ExitCancel
)  # fmt: skip
TOPICS: Final = (
    "status", "warning", "startup", "exception", "entry", "entry_fill", "entry_cancel", "exit",
    "exit_fill", "exit_cancel",
)  # fmt: skip
"""All of them are topics of every version from 2026.1 on: an unknown one silences all."""
_SUBSCRIBE: Final = msgspec.json.encode({"type": "subscribe", "data": TOPICS}).decode()
_QUESTION: Final = '{"type":"whitelist","data":null}'
_decoder: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


class Closed(Struct, frozen=True):
    """The link has gone, or did not come about."""

    text: str
    code: int = 0
    """The socket's close code; 0 where there was no link."""

    @property
    def restarting(self) -> bool:
        """The bot has stopped in good order or reloads its settings."""
        return self.code == RESTARTING


def read_message(text: str | bytes) -> Message | None:
    """A message; None of a kind that this broker has no use for, or that cannot be read."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class MessageSocket:
    """Keeps a link to a bot's messages, for as long as `run` runs.

    Args:
        on_open: awaited each time the link is proved. on_message: each message, in order.
        on_closed: each time it is lost or could not be made.

    Raises:
        ConfigError: the bot's address is not on this machine.
    """

    def __init__(
        self,
        access: Access,
        on_open: Callable[[], Awaitable[None]],
        on_message: Callable[[Message], None],
        on_closed: Callable[[Closed], None],
        draw: random.Random,
        longest_s: float = 5.0,
    ) -> None:
        self._url = check_loopback(access.url) + PATH
        self._token = access.ws_token
        self._on_open = on_open
        self._on_message = on_message
        self._on_closed = on_closed
        self._backoff = Backoff(0.1, longest_s, draw)
        self.unread = 0
        """Messages that could not be read; their kinds may have changed."""

    async def run(self) -> None:
        """Connect, listen, connect again; until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                closed = await self._live(session)
                self._on_closed(closed)
                await asyncio.sleep(self._backoff.next_s())

    async def _live(self, session: aiohttp.ClientSession) -> Closed:
        """One link from its beginning to its end."""
        try:
            async with asyncio.timeout(CONFIRM_S):
                socket = await session.ws_connect(
                    self._url,
                    params={"token": self._token},
                    heartbeat=PING_S,
                    max_msg_size=MESSAGE_BYTES_MAX,
                )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == FORBIDDEN:
                return Closed("the bot refuses the account's ws_token")
            return Closed(f"the bot refuses the link: HTTP {error.status}")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Closed(f"no link: {type(error).__name__}")
        async with socket:
            try:
                await socket.send_str(_SUBSCRIBE)
                await socket.send_str(_QUESTION)
                async with asyncio.timeout(CONFIRM_S):
                    if not await self._confirmed(socket):
                        return Closed("the link was closed before it was proved", _code(socket))
                self._backoff.succeeded()
                await self._on_open()
                while (text := await _next(socket)) is not None:
                    self._hand_on(text)
            except TimeoutError:
                return Closed("the bot did not answer on its link")
            except (aiohttp.ClientError, OSError) as error:
                return Closed(f"the link broke: {type(error).__name__}", _code(socket))
            return Closed("the link was closed", _code(socket))

    async def _confirmed(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Wait for the answer to the question; messages may come before it."""
        while (text := await _next(socket)) is not None:
            message = self._hand_on(text)
            if isinstance(message, Whitelist):
                return True
        return False

    def _hand_on(self, text: str) -> Message | None:
        message = read_message(text)
        if message is None:
            self.unread += 1
        else:
            self._on_message(message)
        return message


async def _next(socket: aiohttp.ClientWebSocketResponse) -> str | None:
    """The next text; None when the link has ended."""
    while True:
        message = await socket.receive()
        if message.type == aiohttp.WSMsgType.TEXT:
            return str(message.data)
        if message.type in {
            aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED,
            aiohttp.WSMsgType.ERROR,
        }:  # fmt: skip
            return None


def _code(socket: aiohttp.ClientWebSocketResponse) -> int:
    return socket.close_code or 1006
