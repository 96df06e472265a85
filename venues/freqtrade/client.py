"""A bot's REST interface: typed calls, each refusal sorted by what it means.

Reads share connections and are tried once more when one breaks: after an error of its own the bot
drops the connection. What changes something is sent once, on a connection of its own, so that a
connection that was not made proves that nothing was sent. A gate is asked after the connection
stands and before the first byte of such a request leaves.

It talks to this machine only. It never waits for a turn (the session sees to one call at a time),
never repeats what changes something, and never shows a password, a token or a request's body.
"""

import base64
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import ClientTimeout, TCPConnector
from msgspec import Struct

from schemas.errors import ConfigError
from venues.freqtrade.answers import (
    Balances,
    Count,
    Health,
    Pairs,
    Said,
    ShowConfig,
)
from venues.freqtrade.refusals import BotError, Call, Verdict, judge
from venues.freqtrade.trades import BotTrade, ClosedTrades

T = TypeVar("T")
Sending = Callable[[], AbstractContextManager[str]]
"""Around the write of a call: why it must not leave, or nothing."""
PAGE: Final = 50
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECT_S: Final = 1.0
READ_S: Final = 5.0
ACT_S: Final = 20.0
"""The bot itself asks its venue up to five times; reads go on meanwhile."""
PATH: Final = "/api/v1/"


class Access(Struct, frozen=True):
    """Where a bot is and how to get in. Never printed whole."""

    url: str
    username: str
    password: str
    ws_token: str

    def __repr__(self) -> str:
        return f"Access({self.url})"


def check_loopback(url: str) -> str:
    """The address as a number, without a slash at its end.

    Raises:
        ConfigError: it is not an address of this machine, written as a number.
    """
    # Whatever the machine thinks that its own name means.
    parts = urlsplit(url.replace("http://localhost:", "http://127.0.0.1:", 1))
    here = False
    with contextlib.suppress(ValueError):
        here = ipaddress.ip_address(parts.hostname or "").is_loopback and parts.port is not None
    plain = parts.scheme == "http" and parts.path in {"", "/"} and "@" not in parts.netloc
    if not here or not plain or parts.query:
        raise ConfigError(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} is no address for a bot: only one "
            "on this machine may be driven, since its interface has no encryption; write "
            "http://127.0.0.1:PORT, or bring a far one here with: ssh -L PORT:127.0.0.1:PORT HOST"
        )
    return f"http://{parts.netloc}"


class GateShutError(Exception):
    """The gate has refused a call in its last moment; the text says why."""


class FreqtradeClient:
    """One bot's REST interface; use it in `async with`.

    Raises:
        ConfigError: its address is not on this machine.
    """

    def __init__(self, access: Access) -> None:
        self._base = check_loopback(access.url) + PATH
        login = f"{access.username}:{access.password}".encode()
        self._headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
        self._reads: aiohttp.ClientSession | None = None
        self._acts: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._reads = self._session(TCPConnector(limit=4), READ_S)
        self._acts = self._session(TCPConnector(force_close=True), ACT_S)
        return self

    def _session(self, connector: TCPConnector, total_s: float) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=ClientTimeout(total=total_s, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # The library would send a DELETE once more by itself when a connection breaks. It offers
        # no other way to forbid it.
        session._retry_connection = False  # noqa: SLF001
        return session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in (self._reads, self._acts):
            if session is not None:
                await session.close()

    # ---- reads

    async def ping(self) -> bool:
        """Whether its HTTP thread lives, which is all that it says."""
        try:
            await self._read("ping", dict[str, str])
        except BotError:
            return False
        return True

    async def show_config(self) -> ShowConfig:
        """What it is and what it does."""
        return await self._read("show_config", ShowConfig)

    async def health(self) -> Health:
        """When it did its last round. Says nothing of its venue."""
        return await self._read("health", Health)

    async def count(self) -> Count:
        """Open trades, and how many there may be."""
        return await self._read("count", Count)

    async def status(self) -> list[BotTrade]:
        """Open trades."""
        return await self._read("status", list[BotTrade])

    async def trade(self, trade_id: int) -> BotTrade | None:
        """One trade, open or closed, under a number that may have another one tomorrow."""
        try:
            return await self._read(f"trade/{trade_id}", BotTrade)
        except BotError as error:
            if error.absent:
                return None
            raise

    async def trades(self, limit: int = PAGE, offset: int = 0) -> ClosedTrades:
        """A page of closed trades, the last one closed first."""
        return await self._read(
            f"trades?limit={limit}&offset={offset}&order_by_id=false", ClosedTrades
        )

    async def closed_since(self, closed_ms: int, pages_most: int = 40) -> list[BotTrade]:
        """Trades that were closed at or after a time, the last one first; `PAGE` a page at most."""
        found: list[BotTrade] = []
        for _ in range(pages_most):
            page = await self.trades(PAGE, len(found))
            found += page.trades
            oldest_ms = min((one.close_timestamp or 0 for one in page.trades), default=0)
            if len(page.trades) < PAGE or oldest_ms < closed_ms:
                break
        return [one for one in found if (one.close_timestamp or 0) >= closed_ms]

    async def balance(self) -> Balances:
        """What it has of each currency."""
        return await self._read("balance", Balances)

    async def whitelist(self) -> list[str]:
        """Pairs that its strategy looks at; forced entries may be of others."""
        return (await self._read("whitelist", Pairs)).whitelist

    # ---- acts

    async def force_enter(
        self, pair: str, price: float, kind: str, stake: float, tag: str, sending: Sending
    ) -> BotTrade:
        """Open a trade.

        Args:
            price: limit, and what the stake is divided by for the amount. kind: limit or market.
            stake: quote currency. tag: what the trade will be known by.

        Raises:
            GateShutError: the gate was shut; nothing was sent. BotError: by its verdict.
        """
        body = {
            "pair": pair, "side": "long", "price": price, "ordertype": kind, "stakeamount": stake,
            "entry_tag": tag,
        }  # fmt: skip
        return await self._act(Call.ENTER, "POST", "forceenter", BotTrade, body, sending)

    async def force_exit(
        self,
        trade_id: int,
        kind: str,
        price: float | None,
        amount: float | None,
        sending: Sending,
    ) -> None:
        """Close a trade or part of it. An exit of it that rests is cancelled and replaced.

        Args:
            price: of a limit. amount: base currency; None = all of it.

        Raises:
            GateShutError: the gate was shut; nothing was sent. BotError: by its verdict.
        """
        body: dict[str, Any] = {"tradeid": str(trade_id), "ordertype": kind}
        if price is not None:
            body["price"] = price
        if amount is not None:
            body["amount"] = amount
        await self._act(Call.EXIT, "POST", "forceexit", dict[str, str], body, sending)

    async def cancel_open_orders(self, trade_id: int) -> None:
        """Cancel all open orders of a trade. Only a re-read says whether it was done.

        Raises:
            BotError: by its verdict.
        """
        await self._act(Call.CANCEL, "DELETE", f"trades/{trade_id}/open-order", msgspec.Raw)

    async def start(self) -> str:
        """Let it run: entries are taken."""
        return await self._control("start")

    async def stop_entries(self) -> str:
        """Pause it: no entries; exits, cancels and the watch over open orders go on."""
        return await self._control("stopentry")

    async def stop(self) -> str:
        """Stop its loop. Nothing can be exited or cancelled then, and open orders go unwatched."""
        return await self._control("stop")

    async def reload_config(self) -> str:
        """Make it read its settings again: away for half a second, then in its initial state."""
        return await self._control("reload_config")

    async def _control(self, what: str) -> str:
        return (await self._act(Call.CONTROL, "POST", what, Said, {})).status

    # ---- transport

    async def _read(self, path: str, kind: type[T]) -> T:
        assert self._reads is not None, "use it in `async with`"
        what = f"GET {path.partition('?')[0]}"
        try:
            status, body = await _exchange(self._reads, "GET", self._base + path)
        except aiohttp.ServerDisconnectedError:
            try:
                status, body = await _exchange(self._reads, "GET", self._base + path)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise _lost(what, error) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _lost(what, error) from None
        if status != 200:
            raise judge(Call.READ, what, status, body)
        return _decoded(what, body, kind)

    async def _act(
        self,
        call: Call,
        method: str,
        path: str,
        kind: type[T],
        body: object = None,
        sending: Sending | None = None,
    ) -> T:
        """Send once; the gate is asked when the connection stands."""
        assert self._acts is not None, "use it in `async with`"
        what = f"{method} {path.partition('?')[0]}"
        headers: dict[str, str] = {}
        data: AsyncIterator[bytes] | None = None
        shut: list[str] = []
        with ExitStack() as stack:  # a send is over when its answer is there, whatever happened
            if body is not None:
                text = msgspec.json.encode(body)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(text))}
                data = _gated(text, sending, stack, shut)
            try:
                status, answer = await _exchange(
                    self._acts, method, self._base + path, headers, data
                )
            except aiohttp.ClientConnectorError as error:
                raise BotError(
                    f"{what}: no connection: {error.strerror}", Verdict.NOT_SENT
                ) from None
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if shut:
                    raise GateShutError(shut[0]) from None
                raise _lost(what, error) from None
        if status != 200:
            raise judge(call, what, status, answer)
        return _decoded(what, answer, kind)


async def _gated(
    text: bytes, sending: Sending | None, stack: ExitStack, shut: list[str]
) -> AsyncIterator[bytes]:
    """A request's body, asked for when the connection stands and before the first byte leaves.

    The head waits for the body's first part, so a shut gate lets nothing through.
    """
    if sending is not None:
        refused = stack.enter_context(sending())
        if refused:
            shut.append(refused)
            raise ConnectionAbortedError("the gate is shut")
    yield text
    stack.close()


async def _exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    data: AsyncIterator[bytes] | None = None,
) -> tuple[int, bytes]:
    """Status and whole body of one request."""
    async with session.request(
        method, url, headers=headers, data=data, allow_redirects=False
    ) as response:
        body = await response.content.read(ANSWER_BYTES_MAX)
        while not response.content.at_eof() and len(body) < ANSWER_BYTES_MAX:
            body += await response.content.read(ANSWER_BYTES_MAX - len(body))
        if not response.content.at_eof():
            response.close()
            raise aiohttp.ClientPayloadError("the answer is too long")
        return response.status, body


def _lost(what: str, error: BaseException) -> BotError:
    """An exchange that has no whole answer."""
    if isinstance(error, TimeoutError):
        return BotError(f"{what}: no answer in time", Verdict.UNKNOWN)
    return BotError(f"{what}: {type(error).__name__}", Verdict.UNKNOWN)


def _decoded(what: str, body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BotError(f"{what}: its answer cannot be read: {error}", Verdict.UNKNOWN) from None
