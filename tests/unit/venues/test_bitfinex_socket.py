"""A connection that is given up takes with it what was not sent, on either kind of loop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from venues.bitfinex.private_socket import _reset

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request) -> Run:
    return request.param


def test_what_was_not_sent_never_arrives(run):
    async def story() -> None:
        ended: asyncio.Future[int | BaseException] = asyncio.get_running_loop().create_future()
        may_read = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await may_read.wait()
            try:
                ended.set_result(len(await reader.read(-1)))
            except ConnectionError as error:
                ended.set_result(error)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x" * (64 << 20))  # more than both systems take
        await asyncio.sleep(0)
        _reset(writer.transport)
        _reset(writer.transport)
        await asyncio.sleep(0)
        _reset(writer.transport)  # closed by now
        may_read.set()
        assert isinstance(await asyncio.wait_for(ended, 10), ConnectionResetError)
        server.close()
        await server.wait_closed()

    run(story())
