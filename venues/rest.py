"""The HTTP client of all venues: pooled, timed, paced, repeated only where that is harmless.

It owns the sockets and the retries; what an answer means is the venue's affair, given as `read`: a
function that returns the decoded value or raises a `VenueError`. A transient one is tried again, up
to `retries` times with exponential waits and full jitter, if the request changes nothing at the
venue. A venue's wish to be left alone (`Retry-After`, its rate error) holds for every process
that shares the pace.

It never logs or repeats headers or bodies of requests: they may be signed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self, TypeVar, cast
from urllib.parse import urlencode

import aiohttp
import msgspec
from aiohttp import ClientTimeout, TCPConnector
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload
from msgspec import Struct

from schemas.errors import AnswerError, RateLimitedError, RefusedError, UnavailableError, VenueError
from schemas.rest import BitfinexRestSettings, GmoRestSettings, KrakenRestSettings
from venues.handed_over import handed_over
from venues.pace import Pace

Settings = BitfinexRestSettings | KrakenRestSettings | GmoRestSettings
T = TypeVar("T")
AGENT: Final = "data-controller"
CHUNK_BYTES: Final = 65_536
TOO_MANY: Final = 429
UNREADABLE: Final = frozenset({408, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""Statuses that are the venue's trouble where the body says nothing better."""


class Signed(Struct, frozen=True):
    """What a signature adds to one attempt."""

    headers: Mapping[str, str]
    body: bytes


class Sending(Struct, frozen=True):
    """Who wants to know how far a request's body has come on its way out.

    The venue can do nothing with a request whose body has not come: one that never began was not
    sent.
    """

    begun: Callable[[], None]
    """Called before its first byte can leave."""
    written: Callable[[], None]
    """Called when all of it has been handed to the system, unless the answer was here before."""


class Request(Struct, frozen=True, kw_only=True):
    """One call."""

    endpoint: str
    """Its name in the venue's rate table."""
    path: str
    """Below the venue's address, already percent-encoded."""
    params: Sequence[tuple[str, str]] = ()
    method: str = "GET"
    body: bytes = b""
    headers: Mapping[str, str] = {}
    harmless: bool = True
    """Whether it may be sent twice."""
    private: bool = False
    sign: Callable[[], Signed] | None = None
    """Called for every attempt anew, since a nonce is good once."""
    sending: Sending | None = None
    """For a request with a body."""


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes
    what: str
    """The call, for error texts."""


class Tools(Struct, frozen=True, kw_only=True):
    """The world as the client sees it; a test gives it another."""

    utc_ns: Callable[[], int]
    uniform: Callable[[], float]
    """0 to 1."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class _Told(BytesPayload):
    """A body that says when it leaves."""

    def __init__(self, body: bytes, sending: Sending) -> None:
        super().__init__(body)
        self._sending = sending

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        self._sending.begun()
        await super().write_with_length(writer, content_length)
        # Not every loop's transports are subclasses of asyncio's.
        transport = cast("asyncio.Transport | None", writer.transport)
        if transport is not None and await handed_over(transport):
            self._sending.written()


class RestClient:
    """One venue's connections; use it in `async with`."""

    def __init__(self, settings: Settings, pace: Pace, tools: Tools) -> None:
        self.settings = settings
        self._pace = pace
        self._tools = tools
        self._session: aiohttp.ClientSession | None = None
        self._rates: dict[str, float] = msgspec.structs.asdict(settings.rates)

    async def __aenter__(self) -> Self:
        wait = self.settings
        self._session = aiohttp.ClientSession(
            connector=TCPConnector(limit=wait.connections),
            timeout=ClientTimeout(
                total=wait.total_timeout_s,
                connect=wait.connect_timeout_s,
                sock_connect=wait.connect_timeout_s,
                sock_read=wait.read_timeout_s,
            ),
            headers={"User-Agent": AGENT, "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # The library would send a GET once more by itself when a connection breaks: past the pace,
        # and twice as often as the settings say. It offers no other way to forbid it.
        self._session._retry_connection = False  # noqa: SLF001
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def tools(self) -> Tools:
        """Clock, chance and sleep."""
        return self._tools

    def interval_s(self, endpoint: str) -> float:
        """Shortest time between two requests of an endpoint: its share of the venue's rate."""
        return 60.0 / (self._rates[endpoint] * self.settings.share_of_rate)

    async def call(self, request: Request, read: Callable[[Answer], T]) -> T:
        """Send a request, read its answer, try again where that helps and harms nobody.

        Raises:
            VenueError: one of its kinds, after the last attempt.
        """
        attempts = 1 + (self.settings.retries if request.harmless else 0)
        for attempt in range(attempts):
            await self._pace.turn(request.endpoint, self.interval_s(request.endpoint))
            try:
                return read(await self._attempt(request))
            except VenueError as error:
                last = attempt == attempts - 1
                if isinstance(error, RateLimitedError) or error.wait_s:
                    await self._leave_alone(error)
                if last or not error.transient:
                    raise
                await self._back_off(attempt)
        raise AssertionError("no attempt was made")

    async def turn(self, endpoint: str) -> None:
        """Wait for a turn at something that is paced and is no request: a socket's command."""
        await self._pace.turn(endpoint, self.interval_s(endpoint))

    async def _leave_alone(self, error: VenueError) -> None:
        asked = error.wait_s or self.settings.blocked_s
        if asked > self.settings.retry_after_longest_s:
            raise RateLimitedError(
                f"{error}; the venue asks for {asked:.0f} s without requests: try again then",
                code=error.code,
                wait_s=asked,
            ) from error
        await self._pace.block(asked)

    async def _back_off(self, attempt: int) -> None:
        first, longest = self.settings.backoff_first_s, self.settings.backoff_longest_s
        await self._tools.sleep(min(first * 2**attempt, longest) * self._tools.uniform())

    async def _attempt(self, request: Request) -> Answer:
        """One exchange with the venue; its troubles as typed errors."""
        if self._session is None or self._session.closed:
            raise UnavailableError(f"{request.method} {request.path}: the client is closed")
        base = self.settings.url
        if request.private and isinstance(self.settings, BitfinexRestSettings):
            base = self.settings.private_url
        query = f"?{urlencode(request.params, safe=':,')}" if request.params else ""
        signed = request.sign() if request.sign is not None else Signed({}, request.body)
        what = f"{request.method} {request.path}"
        sent: bytes | _Told | None = signed.body or None
        if signed.body and request.sending is not None:
            sent = _Told(signed.body, request.sending)
        try:
            async with self._session.request(
                request.method,
                base + request.path + query,
                data=sent,
                headers={**request.headers, **signed.headers},
                allow_redirects=False,
            ) as response:
                body = await self._body(response, what)
                answer = Answer(response.status, body, what)
                if response.status in {TOO_MANY, 503}:
                    self._check_wish(answer, response.headers.get("Retry-After"))
                return answer
        except TimeoutError:
            raise UnavailableError(f"{what}: no answer in time") from None
        except aiohttp.ClientError as error:
            kind = type(error).__name__
            raise UnavailableError(f"{what}: {kind}: {error}") from None
        except OSError as error:
            raise UnavailableError(f"{what}: {error}") from None

    async def _body(self, response: aiohttp.ClientResponse, what: str) -> bytes:
        """The whole body, as long as it is not longer than allowed.

        A body that ends before its announced length is aiohttp's ClientPayloadError.
        """
        most = self.settings.answer_bytes_max
        parts: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            size += len(chunk)
            if size > most:
                response.close()
                raise AnswerError(f"{what}: the answer is longer than {most} bytes")
            parts.append(chunk)
        return b"".join(parts)

    def _check_wish(self, answer: Answer, retry_after: str | None) -> None:
        """Raise what `Retry-After`, or status 429 without it, means."""
        wait_s = retry_after_s(retry_after, self._tools.utc_ns())
        if answer.status == TOO_MANY:
            raise RateLimitedError(f"{answer.what}: HTTP 429, too many requests", wait_s=wait_s)
        if wait_s:
            raise UnavailableError(f"{answer.what}: HTTP 503, not now", wait_s=wait_s)


def retry_after_s(header: str | None, utc_ns: int) -> float:
    """Seconds that a `Retry-After` header asks for: a number of them or an HTTP date (RFC 9110).

    0 where there is none, it lies in the past, or it cannot be read.
    """
    if header is None:
        return 0.0
    header = header.strip()
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return max(when.timestamp() - utc_ns / 1e9, 0.0)


def check_status(answer: Answer) -> None:
    """Raise for a status that is not 200, where the body has not said it better.

    Raises:
        UnavailableError: the venue's trouble. RefusedError: the request's, as an unknown path.
        AnswerError: anything else, a redirection for example.
    """
    if answer.status == 200:
        return
    shown = answer.body[:120].decode("utf-8", "replace").strip()
    text = f"{answer.what}: HTTP {answer.status}: {shown!r}"
    if answer.status in UNREADABLE:
        raise UnavailableError(text)
    raise RefusedError(text) if 400 <= answer.status < 500 else AnswerError(text)
