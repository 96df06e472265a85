"""A venue that only sends: Bitfinex frames made beforehand, paced or as fast as they are taken.

It answers the handshake, `conf` and `subscribe` as the venue does, sends a snapshot a book, and
waits for a line on standard input: `paced RATE SECONDS` or `burst FRAMES`. Then it prints when it
was done. Every frame is valid: sequence numbers without a gap, updates that change a level's
amount, delete a level or bring one back.
"""

import asyncio
import json
import os
import random
import select
import socket
import sys
import time
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

LEVELS = 25
BURST_BYTES = 65_536


class Book:
    """One symbol's levels, and updates of them."""

    def __init__(self, channel: int, seed: int) -> None:
        self.channel = channel
        self._draw = random.Random(seed)
        base = 50_000 + 1_000 * seed
        self._prices = (
            [base - n for n in range(1, LEVELS + 1)],
            [base + n for n in range(1, LEVELS + 1)],
        )
        self._gone: tuple[int, int] | None = None

    def snapshot(self) -> str:
        """All levels."""
        rows = [f"[{p},2,{self._amount()}]" for p in self._prices[0]]
        rows += [f"[{p},2,-{self._amount()}]" for p in self._prices[1]]
        return f"[{','.join(rows)}]"

    def _amount(self) -> str:
        return f"{self._draw.randrange(1, 10**8) / 10**7:.7f}".rstrip("0").rstrip(".")

    def update(self) -> str:
        """One entry: now and then a level goes and the next entry brings it back."""
        if self._gone is not None:
            side, price = self._gone
            self._gone = None
        else:
            side = self._draw.randrange(2)
            price = self._prices[side][min(int(self._draw.expovariate(0.25)), LEVELS - 1)]
            if self._draw.random() < 0.3:
                self._gone = (side, price)
                return f"[{price},0,{'-' if side else ''}1]"
        sign = "-" if side else ""
        return f"[{price},{self._draw.randrange(1, 9)},{sign}{self._amount()}]"


class Venue(WSListener):
    """The server's end of the collector's connection."""

    def __init__(self, sender: "Sender") -> None:
        self._sender = sender
        self._flags = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Greet."""
        self._sender.transport = transport
        self._sender.sequence = 0
        self._sender.books.clear()
        transport.send(WSMsgType.TEXT, b'{"event":"info","version":2,"platform":{"status":1}}')

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer requests."""
        if frame.msg_type != WSMsgType.TEXT:
            return
        request = json.loads(frame.get_payload_as_bytes())
        if request["event"] == "conf":
            self._flags = request["flags"]
            self._sender.tail = bool(self._flags & 65536), bool(self._flags & 32768)
            answer = {"event": "conf", "status": "OK", "flags": self._flags}
            transport.send(WSMsgType.TEXT, json.dumps(answer).encode())
        elif request["event"] == "subscribe":
            channel = 1000 + len(self._sender.books)
            answer = {**request, "event": "subscribed", "chanId": channel}
            transport.send(WSMsgType.TEXT, json.dumps(answer).encode())
            book = Book(channel, len(self._sender.books))
            self._sender.books.append(book)
            transport.send(WSMsgType.TEXT, self._sender.frame(channel, book.snapshot()))


class Sender:
    """Makes frames and sends them."""

    def __init__(self) -> None:
        self.transport: WSTransport | None = None
        self.books: list[Book] = []
        self.sequence = 0
        self.tail = (True, True)
        self._draw = random.Random(1)

    def frame(self, channel: int, body: str) -> bytes:
        """One frame's text."""
        self.sequence += 1
        tail = f",{self.sequence}" if self.tail[0] else ""
        tail += ",1760000000000" if self.tail[1] else ""
        return f"[{channel},{body}{tail}]".encode()

    def make(self, count: int) -> list[bytes]:
        """WebSocket frames, header and all, of updates spread over the books."""
        made = []
        for _ in range(count):
            book = self._draw.choice(self.books)
            text = self.frame(book.channel, book.update())
            assert len(text) < 126
            made.append(bytes((0x81, len(text))) + text)
        return made

    def paced(self, rate: float, seconds: float) -> int:
        """Frames at an even pace, by plain sends and sleeps: what costs this machine least."""
        frames = self.make(int(rate * seconds))
        send = self._plain_socket().send
        print("go", flush=True)
        began = time.perf_counter()
        sent = 0
        while sent < len(frames):
            due = min(int((time.perf_counter() - began) * rate) + 1, len(frames))
            while sent < due:
                send(frames[sent])
                sent += 1
            wait = began + sent / rate - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
        return sent

    def burst(self, count: int) -> int:
        """Frames in 64 KB sends, as fast as the other side reads, asleep while it does not."""
        frames = self.make(count)
        blocks, block = [], bytearray()
        for frame in frames:
            block += frame
            if len(block) >= BURST_BYTES:
                blocks.append(bytes(block))
                block = bytearray()
        blocks.append(bytes(block))
        plain = self._plain_socket()
        writable = select.poll()
        writable.register(plain, select.POLLOUT)
        print("go", flush=True)
        for part in blocks:
            rest = memoryview(part)
            while rest:
                writable.poll()
                rest = rest[plain.send(rest) :]
        return count

    def _plain_socket(self) -> socket.socket:
        """The connection's socket, without the event loop around it."""
        assert self.transport is not None
        wrapped = self.transport.underlying_transport.get_extra_info("socket")
        return socket.socket(fileno=os.dup(wrapped.fileno()))


async def serve() -> None:
    """Serve one client, obey standard input."""
    sender = Sender()

    def accept(_: WSUpgradeRequest) -> WSListener:
        return Venue(sender)

    server = await ws_create_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    async with server:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command, *numbers = line.split()
            if command == "paced":
                sent = sender.paced(float(numbers[0]), float(numbers[1]))
            else:
                sent = sender.burst(int(numbers[0]))
            print(json.dumps({"sent": sent, "sequence": sender.sequence}), flush=True)


class Load:
    """The sender as a child process."""

    def __init__(self, *, uvloop: bool = True) -> None:
        import subprocess

        from processes.places import ROOT

        flag = ["uvloop"] if uvloop else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load", *flag],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def begin(self, command: str) -> None:
        """Give a command; returns when the frames are made and the sending begins."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "go\n"

    def finish(self) -> dict[str, Any]:
        """Wait until all is sent."""
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the sender."""
        self._process.kill()
        self._process.communicate()


if __name__ == "__main__":
    if "uvloop" in sys.argv:
        import uvloop

        uvloop.run(serve())
    else:
        asyncio.run(serve())
