"""Requests that never end are ended, and connections are counted."""

import asyncio
import contextlib
import socket
import time

import pytest

from processes.console.server import make_server
from tests.helpers import wait_until

WAIT_S = 0.4


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(3 * WAIT_S)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def serving(most=50, wait_s=WAIT_S):
    listener = socket.create_server(("127.0.0.1", 0))
    server = make_server(app, wait_s, most)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await asyncio.to_thread(wait_until, lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


async def talk(port, *parts, pause_s=0.0):
    """Send parts; what came back, and how long it took until the end or the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
    try:
        told = await asyncio.wait_for(reader.read(4096), 10)
    except ConnectionError:
        told = b""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return told, time.monotonic() - began


WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"GET / HTTP/1.1\r\nHost: x\r\n",),
        (b"G", b"E", b"T", b" ", b"/", b" ", b"H", b"T", b"T", b"P"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", b"abc"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ],
)
def test_a_request_that_does_not_come_whole_is_cut_off(parts):
    async def story():
        async with serving() as port:
            told, took_s = await talk(port, *parts, pause_s=WAIT_S / 4)
            assert told == b""
            assert took_s < 10

    asyncio.run(story())


def test_a_whole_request_has_all_the_time_its_answer_takes():
    async def story():
        async with serving() as port:
            assert (await talk(port, WHOLE))[0].endswith(b"ok")
            slow, took_s = await talk(port, WHOLE.replace(b"/ ", b"/slow ", 1))
            assert slow.endswith(b"ok")
            assert took_s > 2 * WAIT_S

    asyncio.run(story())


def test_a_second_request_in_pieces_is_cut_off_too():
    async def story():
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(WHOLE)
            assert (await asyncio.wait_for(reader.readuntil(b"ok"), 10)).startswith(b"HTTP/1.1 200")
            writer.write(b"GET / HT")
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    asyncio.run(story())


def test_connections_are_bounded():
    async def story():
        async with serving(most=3, wait_s=30.0) as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            told, took_s = await talk(port, WHOLE)
            assert told == b""
            assert took_s < 15, "it was let wait as those before it"
            for _, writer in held:
                writer.close()

    asyncio.run(story())
