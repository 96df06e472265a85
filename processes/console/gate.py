"""The gate before every page, call and socket: who asks, from where, how much, how often.

    host      the name under which a browser came must be ours: else any page whose name was made
              to mean this machine (DNS rebinding) could talk to us
    origin    a browser that changes something, or opens a socket, must come from a page of ours;
              a cookie is SameSite=Strict besides
    who       the token as `Authorization: Bearer`, or a session in a cookie; a page asked for
              without either shows how to log in
    how much  a body is counted while it comes; more than the limit ends the request
    how often a bucket of tokens a caller, one for all who are nobody; the kill switch and
              the way in are free, since nobody may be kept from them by the haste of others, and
              neither code nor token can be guessed

It never looks into a body and keeps nothing of a request but counts.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from processes.clock import monotonic_s
from processes.console.secrets import Doorman

COOKIE: Final = "dc_console"
OPEN_PATHS: Final = frozenset({"/login", "/static/console.css", "/static/mark.svg"})
FREE_PATHS: Final = frozenset({"/kill", "/login"})
UNCOUNTED: Final = ("/_nicegui", "/static/", "/view/", "/live")
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
NOBODY_PER_S: Final = 5.0
NOBODY_BURST: Final = 20
CALLERS_MAX: Final = 256
_POLICY: Final = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    b"frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
)
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", _POLICY),
)


class Bucket:
    """So many at once, and so many a second."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._at_s = monotonic_s()

    def take(self, now_s: float) -> bool:
        """Whether one more is allowed now."""
        self._left = min(self._left + (now_s - self._at_s) * self._per_s, self._burst)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Gate:
    """Middleware around the whole application.

    Args:
        hosts: names, without ports, under which a browser may come.
        count: told the name of each reason for which somebody was turned away.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        doorman: Doorman,
        hosts: frozenset[str],
        now_s: Callable[[], float],
        body_bytes: int,
        per_s: float,
        burst: int,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._doorman = doorman
        self._hosts = hosts
        self._now_s = now_s
        self._body_bytes = body_bytes
        self._rate = (per_s, float(burst))
        self._buckets: dict[str, Bucket] = {}
        self._nobody = Bucket(NOBODY_PER_S, NOBODY_BURST)
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it through, or say why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        refused = self._refuse(scope, headers)
        if refused is not None:
            self._count(refused[1])
            await _turn_away(scope, receive, send, *refused)
            return
        await self._app(scope, self._counted(scope, receive), _with_headers(send))

    def _refuse(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, str] | None:
        """(status, reason, words) if it is turned away."""
        host = headers.get("host", "")
        if _name_of(host) not in self._hosts:
            return 421, "host", f"no console is called {host[:80]!r} here; see console.hosts"
        path, method = scope["path"], scope.get("method", "GET")
        who = self._who(headers)
        scope["caller"] = who
        origin = headers.get("origin")
        is_foreign = (
            urlsplit(origin).netloc != host
            if origin is not None
            else headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}
        )
        changes = scope["type"] == "websocket" or method not in SAFE
        if changes and (is_foreign or (origin is None and who.startswith("browser"))):
            return 403, "origin", "this came from a page that is not ours"
        if not who and path not in OPEN_PATHS:
            if not self._nobody.take(monotonic_s()):
                return 429, "rate", "too many requests without a token"
            return 401, "token", "a token is needed: Authorization: Bearer, or dcctl console"
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._body_bytes:
            return 413, "body", f"at most {self._body_bytes} bytes"
        if path in FREE_PATHS or path.startswith(UNCOUNTED):
            return None
        bucket = self._bucket(who)
        if not bucket.take(monotonic_s()):
            return 429, "rate", "too many requests; see console.requests_per_s"
        return None

    def _who(self, headers: dict[str, str]) -> str:
        """A name of the caller, empty of nobody."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._doorman.knows_token(token.strip()):
            return "token"
        try:
            jar: MutableMapping[str, Any] = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        name = self._doorman.session(jar[COOKIE].value, self._now_s()) if COOKIE in jar else ""
        return f"browser {name}" if name else ""

    def _bucket(self, who: str) -> Bucket:
        if not who:
            return self._nobody
        if who not in self._buckets:
            while len(self._buckets) >= CALLERS_MAX:
                del self._buckets[next(iter(self._buckets))]
            self._buckets[who] = Bucket(*self._rate)
        return self._buckets[who]

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        """Count the body while it comes: its length may not have been told, or be a lie."""
        if scope["type"] != "http":
            return receive
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._body_bytes:
                self._count("body")
                return {"type": "http.disconnect"}
            return message

        return counted


def _name_of(host: str) -> str:
    """A host without its port, `[::1]:80` too."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        await send(message)

    return sending


async def _turn_away(
    scope: Scope, receive: Receive, send: Send, status: int, reason: str, text: str
) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    wants_page = any(n == b"accept" and b"text/html" in v for n, v in scope["headers"])
    if status == 401 and wants_page:
        headers = [(b"location", b"/login")]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    body = msgspec.json.encode({"error": text, "reason": reason})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *([(b"www-authenticate", b"Bearer")] if status == 401 else []),
        *([(b"retry-after", b"1")] if status == 429 else []),
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
