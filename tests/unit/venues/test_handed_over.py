"""When bytes have left this process: not while a buffer holds them, on either loop, with TLS."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from venues.handed_over import handed_over

LARGE = b"x" * (64 << 20)
"""More than the buffers of both ends take while nothing is read."""
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate that signs itself, and its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
               "-subj", "/CN=localhost", "-keyout", str(path), "-out", f"{path}.crt"]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("openssl is not here")
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def run(loop: str, story: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(story, 30))


async def with_pair(certificate: Path | None, story: Callable[..., Any]) -> None:
    """The other end is a blocking socket, which no loop reads."""
    client_side = None
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def accept() -> socket.socket:
        end, _ = listener.accept()
        end.settimeout(10)
        if certificate is None:
            return end
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(certificate)
        return server_side.wrap_socket(end, server_side=True)

    if certificate is not None:
        client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_side.check_hostname, client_side.verify_mode = False, ssl.CERT_NONE
    loop = asyncio.get_running_loop()
    accepted = loop.run_in_executor(None, accept)
    transport, _ = await loop.create_connection(
        asyncio.Protocol, *listener.getsockname(), ssl=client_side
    )
    end = await accepted
    try:
        await story(transport, end)
    finally:
        transport.abort()
        end.close()
        listener.close()


def receive(end: socket.socket, size: int) -> None:
    while size:
        size -= len(end.recv(min(size, 1 << 20)))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("tls", [False, True])
def test_what_was_handed_over_comes_although_the_loop_does_nothing_more(loop, tls, certificate):
    async def story(transport, end):
        for size in range(1, 50):
            transport.write(b"o" * size)
            assert await handed_over(transport)
            receive(end, size)  # the loop stands still meanwhile

    run(loop, with_pair(certificate if tls else None, story))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("tls", [False, True])
def test_what_waits_in_a_buffer_is_not_said_to_have_left(loop, tls, certificate):
    async def story(transport, end):
        transport.write(LARGE)
        waiting = asyncio.create_task(handed_over(transport))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "the other end reads nothing"
        reading = asyncio.get_running_loop().run_in_executor(None, receive, end, len(LARGE))
        assert await waiting
        await reading

    run(loop, with_pair(certificate if tls else None, story))


@pytest.mark.parametrize("loop", LOOPS)
def test_what_had_not_left_when_the_connection_ended_never_will(loop):
    async def story(transport, end):
        transport.write(LARGE)
        waiting = asyncio.create_task(handed_over(transport))
        await asyncio.sleep(0.02)
        transport.abort()
        assert await waiting is False

    run(loop, with_pair(None, story))
