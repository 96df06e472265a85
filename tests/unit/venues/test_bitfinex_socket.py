"""A connection that is given up takes with it what was not sent, on either kind of loop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from venues.bitfinex import private_socket
from venues.bitfinex.private_socket import PrivateSocket, _reset

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


class Hasty(PrivateSocket):
    """A venue whose pong is read while the ping's send still waits for the wire."""

    pings = 0

    async def send(self, frame: bytes, written: Callable[[], None] = lambda: None) -> None:
        self.pings += 1
        self._read_event(frame.decode().replace("ping", "pong"))


def test_a_pong_that_overtakes_the_end_of_its_ping_is_heard(monkeypatch):
    monkeypatch.setattr(private_socket, "PING_S", 0.0)

    async def scenario() -> None:
        socket = Hasty("", lambda _: None)
        pinging = asyncio.create_task(socket._ping())
        while socket.pings < 3 and not pinging.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert not pinging.done()
        pinging.cancel()
        await asyncio.gather(pinging, return_exceptions=True)

    asyncio.run(scenario())
