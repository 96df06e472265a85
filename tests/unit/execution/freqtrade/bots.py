"""A bot's faults on demand: an HTTP server that answers as it is told, or not at all.

The real bot cannot be brought to half an answer or to silence at a chosen moment.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from venues.freqtrade.client import Access, FreqtradeClient

Reply = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class FaultyBot:
    """What came, and how it is answered."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.connections = 0
        self.reply: Reply = answer(200, b"{}")
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await _request(reader):
                self.heard.append(request)
                await self.reply(request, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = await reader.readline()
        if not line:
            return b""
        head += line
    size = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            size = int(line.split(b":")[1])
    return head + await reader.readexactly(size)


def answer(status: int, body: bytes, *, length: int | None = None) -> Reply:
    """One answer for everything; with another `length` than it has it is a torn one."""

    async def reply(_: bytes, writer: asyncio.StreamWriter) -> None:
        size = len(body) if length is None else length
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {size}\r\n\r\n".encode() + body)
        if size != len(body):
            writer.close()

    return reply


async def hang_up(_: bytes, writer: asyncio.StreamWriter) -> None:
    """No answer: the connection is cut."""
    writer.transport.abort()


@asynccontextmanager
async def faulty_bot() -> AsyncIterator[tuple[FaultyBot, FreqtradeClient]]:
    """A faulty bot and a client of it."""
    bot = FaultyBot()
    server = await asyncio.start_server(bot.serve, "127.0.0.1", 0)
    bot.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with FreqtradeClient(
            Access(bot.url, "exec", "hidden-word", "hidden-token")
        ) as client:
            yield bot, client
    finally:
        server.close()
        await server.wait_closed()
