"""Asking an ASGI application without a socket, as a browser or a script would."""

import asyncio
import json
from typing import Any, NamedTuple


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(app, method: str, path: str, *, body: bytes | list[bytes] = b"", **headers: str) -> Answer:
    """One request. Header names with underscores; `host` is 127.0.0.1:9600 unless it is given."""
    path, _, query = path.partition("?")
    sent = {"host": "127.0.0.1:9600", **{k.replace("_", "-"): v for k, v in headers.items()}}
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "scheme": "http",
        "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 9600),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in sent.items()],
    }  # fmt: skip
    parts = body if isinstance(body, list) else [body]
    coming = [
        {"type": "http.request", "body": part, "more_body": at < len(parts) - 1}
        for at, part in enumerate(parts)
    ]
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    asyncio.run(app(scope, receive, send))
    if not said:
        return Answer(0, {}, b"")
    found = {k.decode(): v.decode() for k, v in said[0].get("headers", [])}
    return Answer(said[0]["status"], found, b"".join(m.get("body", b"") for m in said[1:]))


def open_socket(app, path: str = "/live", **headers: str) -> list[dict[str, Any]]:
    """Try to open a socket; what the application said, until it waits or ends."""
    sent = {"host": "127.0.0.1:9600", **{k.replace("_", "-"): v for k, v in headers.items()}}
    scope = {
        "type": "websocket", "path": path, "query_string": b"", "subprotocols": [],
        "headers": [(k.encode(), v.encode()) for k, v in sent.items()],
    }  # fmt: skip
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"} if not said else {"type": "websocket.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    asyncio.run(app(scope, receive, send))
    return said
