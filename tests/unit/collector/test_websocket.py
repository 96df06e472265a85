"""The WebSocket client against RFC 6455: every way in which frames can come, and go wrong."""

import asyncio
import base64
import hashlib
import os
import random
import shutil
import ssl
import subprocess
from collections.abc import Callable

import pytest
import uvloop
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from processes.collector.websocket import (
    FRAME_BYTES_MAX,
    READ_BYTES,
    WebSocket,
    WebSocketError,
    connect,
)

TEXT, CONTINUATION, CLOSE, PING, PONG, BINARY = 1, 0, 8, 9, 10, 2


class Wire:
    """The other end of the connection, in memory: strict about what a client may send."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closing = False
        self.aborted = False

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written += data

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def is_closing(self) -> bool:
        return self.closing

    def request(self) -> dict[str, str]:
        """The handshake's request, taken from what was written."""
        head, _, rest = bytes(self.written).partition(b"\r\n\r\n")
        self.written = bytearray(rest)
        first, *lines = head.decode().split("\r\n")
        assert first == "GET /ws/2 HTTP/1.1"
        return {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}

    def sent(self) -> list[tuple[int, bytes]]:
        """Frames that the client wrote; each must be masked."""
        found, data = [], bytes(self.written)
        self.written.clear()
        while data:
            assert data[0] & 0xF0 == 0x80
            assert data[1] & 0x80, "a client must mask"
            size, at = data[1] & 0x7F, 2
            if size > 125:
                width = 2 if size == 126 else 8
                size, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
            mask, body = data[at : at + 4], data[at + 4 : at + 4 + size]
            assert len(body) == size
            found.append((data[0] & 15, bytes(b ^ mask[i % 4] for i, b in enumerate(body))))
            data = data[at + 4 + size :]
        return found


class Client:
    """A WebSocket on such a wire, and the messages that it handed on."""

    def __init__(self, feed: Callable[[list[bytes]], None] | None = None) -> None:
        self.messages: list[bytes] = []
        self.reads: list[int] = []
        self.now = 100
        self.wire = Wire()
        self._also = feed
        self.socket = WebSocket("example.org", "/ws/2", self._take, lambda: self.now, self._open)
        self.opened_after = -1
        self.socket.connection_made(self.wire)  # type: ignore[arg-type]

    def _open(self, socket: WebSocket) -> None:
        self.opened_after = len(self.messages)
        socket.send("hello")

    def _take(self, batch, recv_ns: int) -> None:
        found = [batch.frame(index) for index in range(batch.count)]
        self.messages += found
        self.reads.append(recv_ns)
        if self._also is not None:
            self._also(found)

    def answer(self, after: bytes = b"", accept: bytes | None = None) -> "Client":
        key = self.wire.request()["sec-websocket-key"].encode()
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        accept = base64.b64encode(digest) if accept is None else accept
        self.receive(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
            b"SEC-WebSocket-Accept:  " + accept + b" \r\n\r\n" + after
        )
        return self

    def receive(self, data: bytes, step: int = READ_BYTES) -> None:
        for start in range(0, len(data), step):
            part = data[start : start + step]
            buffer = self.socket.get_buffer(-1)
            assert len(buffer) >= len(part)
            buffer[: len(part)] = part
            self.socket.buffer_updated(len(part))


def frame(payload: bytes, opcode: int = TEXT, *, final: bool = True) -> bytes:
    size = len(payload)
    head = bytes(((0x80 if final else 0) | opcode,))
    if size < 126:
        return head + bytes((size,)) + payload
    if size < 1 << 16:
        return head + b"\x7e" + size.to_bytes(2, "big") + payload
    return head + b"\x7f" + size.to_bytes(8, "big") + payload


def alive(test):
    """Run a test inside a loop."""

    def run(*arguments, **options):
        async def inside():
            test(*arguments, **options)

        asyncio.run(inside())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@alive
def test_the_handshake_opens_before_the_first_message_is_handed_on():
    client = Client()
    client.answer(frame(b"first") + frame(b"second"))
    assert client.opened_after == 0
    assert client.messages == [b"first", b"second"]
    assert client.wire.sent() == [(TEXT, b"hello")]


@alive
def test_the_handshake_may_come_byte_by_byte():
    client = Client()
    key = client.wire.request()["sec-websocket-key"].encode()
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    text = b"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    client.receive(text + frame(b"x"), step=1)
    assert client.messages == [b"x"]


@alive
def test_every_split_of_a_stream_gives_the_same_messages():
    """One byte at a time: every header and payload is cut at every place."""
    sizes = [0, 1, 125, 126, 127, 300, 65_535, 65_536]
    wanted = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    client = Client().answer()
    client.receive(b"".join(frame(message) for message in wanted), step=1)
    assert client.messages == wanted


@given(st.lists(st.binary(max_size=400), max_size=40), st.randoms(use_true_random=False))
def test_any_messages_in_any_reads(messages, draw):
    async def inside():
        client = Client().answer()
        stream = b""
        for message in messages:
            if draw.random() < 0.2:
                stream += frame(b"are you there", PING)
            if draw.random() < 0.3 and len(message) > 1:
                cut = draw.randrange(1, len(message))
                stream += frame(message[:cut], final=False)
                if draw.random() < 0.5:
                    stream += frame(b"between", PING)
                stream += frame(message[cut:], CONTINUATION)
            else:
                stream += frame(message)
        at = 0
        while at < len(stream):
            size = draw.choice((1, 2, 3, 7, 50, 1000))
            client.receive(stream[at : at + size])
            at += size
        assert client.messages == messages
        assert client.socket.error is None
        pings = stream.count(b"are you there") + stream.count(b"between")
        assert sum(opcode == PONG for opcode, _ in client.wire.sent()) == pings

    asyncio.run(inside())


@alive
def test_all_messages_of_a_read_bear_its_time():
    client = Client().answer()
    client.now = 777
    client.receive(frame(b"a") + frame(b"b") + frame(b"c")[:2])
    client.now = 888
    client.receive(frame(b"c")[2:])
    assert client.reads == [777, 888]
    assert client.messages == [b"a", b"b", b"c"]


@alive
def test_more_messages_than_the_table_holds():
    client = Client().answer()
    client.receive(frame(b"") * 100_000)
    assert len(client.messages) == 100_000


@alive
def test_the_largest_message_that_is_taken():
    whole = random.Random(1).randbytes(FRAME_BYTES_MAX)
    client = Client().answer()
    client.receive(frame(b"x") + frame(whole) + frame(b"y"), step=100_000)
    assert client.messages == [b"x", whole, b"y"]


@alive
def test_a_ping_is_answered_with_its_own_bytes():
    client = Client().answer()
    client.wire.sent()
    client.receive(frame(b"abc", PING) + frame(b"", PONG))
    assert client.wire.sent() == [(PONG, b"abc")]


@alive
def test_a_close_is_answered_and_ends_the_connection():
    client = Client().answer()
    client.wire.sent()
    client.receive(frame(b"last") + frame((1001).to_bytes(2, "big") + b"going", CLOSE))
    assert client.messages == [b"last"]
    assert client.wire.sent() == [(CLOSE, (1001).to_bytes(2, "big"))]
    assert client.wire.closing
    assert not client.wire.aborted
    client.socket.send("too late")
    assert client.wire.sent() == []


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (b"\xc1\x01x", "begins with 0xc1"),  # a reserved bit: compression nobody agreed to
        (b"\x81\x81\0\0\0\0x", "begins with 0x81 0x81"),  # a server must not mask
        (frame(b"x", BINARY), "of kind 0x2"),
        (b"\x81\x7f" + (FRAME_BYTES_MAX + 1).to_bytes(8, "big"), "larger than"),
        (b"\x81\x7f" + b"\xff" * 8, "larger than"),
        (frame(b"x", CONTINUATION), "does not belong"),
        (frame(b"x", final=False) + frame(b"y", final=False), "does not belong"),
        (frame(b"x" * FRAME_BYTES_MAX, final=False) + frame(b"y", CONTINUATION), "larger than"),
    ],
)
def test_what_breaks_the_protocol_ends_the_connection(stream, says):
    async def inside():
        client = Client().answer()
        client.receive(frame(b"good") + stream, step=60_000)
        assert client.messages == [b"good"]
        assert isinstance(client.socket.error, WebSocketError)
        assert says in str(client.socket.error)
        assert client.wire.aborted

    asyncio.run(inside())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 429 Too Many Requests\r\n\r\n", "429"),
        (b"HTTP/1.1 101 Fine\r\nSec-WebSocket-Accept: wrong\r\n\r\n", "not to our question"),
        (b"no http at all\r\n\r\n", "refused"),
        (b"x" * 70_000, "no end"),
    ],
)
def test_a_handshake_that_fails_says_why(answer, says):
    async def inside():
        client = Client()
        client.receive(answer)
        with pytest.raises(WebSocketError, match=says):
            await client.socket.opened
        assert client.wire.aborted
        assert client.messages == []

    asyncio.run(inside())


@alive
def test_what_the_decoder_raises_is_kept():
    def explode(_: list[bytes]) -> None:
        raise RuntimeError("a bug")

    client = Client(explode).answer()
    client.receive(frame(b"x") + frame(b"y"))
    assert isinstance(client.socket.error, RuntimeError)
    assert client.wire.aborted


def test_addresses_that_are_none():
    async def inside(url):
        with pytest.raises(WebSocketError, match="write ws://"):
            await connect(url, lambda *_: None, lambda: 0)

    for url in ("http://example.org", "ws://", "example.org"):
        asyncio.run(inside(url))


def test_a_server_that_closes_during_the_handshake():
    async def inside():
        async def hang_up(_, writer):
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises((WebSocketError, OSError)):
            await connect(f"ws://127.0.0.1:{port}/", lambda *_: None, lambda: 0)
        server.close()
        await server.wait_closed()

    asyncio.run(inside())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that nobody but this test trusts: (certificate, key)."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if shutil.which("openssl") is None:
        assert "CI" not in os.environ, "openssl is missing"
        pytest.skip("openssl is not installed: no certificate can be made")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def over_tls(certificate, runner, count: int) -> tuple[list[bytes], list[str]]:
    """What comes over wss:// of a server that sends `count` messages, and what the server heard."""

    async def inside() -> tuple[list[bytes], list[str]]:
        heard: list[str] = []

        async def handler(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse(compress=False)
            await socket.prepare(request)
            heard.append(await socket.receive_str(timeout=20))
            for number in range(count):
                await socket.send_str(f"{number}:" + "x" * (number * 37 % 70_000))
            await socket.close()
            return socket

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        application = web.Application()
        application.router.add_get("/ws/2", handler)
        server = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await server.setup()
        site = web.TCPSite(server, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        messages: list[bytes] = []

        def take(batch, _: int) -> None:
            messages.extend(batch.frame(index) for index in range(batch.count))

        try:
            socket = await connect(
                f"wss://127.0.0.1:{port}/ws/2", take, lambda: 0, lambda made: made.send("subscribe")
            )
            await asyncio.wait_for(socket.closed.wait(), 60)
            assert socket.error is None
        finally:
            await server.cleanup()
        return messages, heard

    return runner(inside())


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_the_same_over_tls_on_both_event_loops(certificate, monkeypatch, runner):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    messages, heard = over_tls(certificate, runner, 300)
    assert heard == ["subscribe"]
    assert [len(message) for message in messages] == [
        len(f"{number}:") + number * 37 % 70_000 for number in range(300)
    ]


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_a_certificate_that_nobody_vouches_for_is_refused(certificate, monkeypatch, runner):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        over_tls(certificate, runner, 1)
