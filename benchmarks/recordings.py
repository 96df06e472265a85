"""Streams of Bitfinex frames to measure with: recorded ones, or generated where there is none.

A stream is kept without sequence numbers. `numbered` puts them in as the venue does with flag
65536, for readers that check them; `with_checksums` puts in `cs` frames that the project's own
checksum function computed, for readers that verify them.
"""

import os
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.load import Book, Sender
from processes.cli.frames import read_frames
from processes.supervisor.tables import Allotment
from venues.bitfinex.applying import book_checksum
from venues.bitfinex.codec import BitfinexCodec
from venues.bitfinex.subscriptions import FLAG_SEQUENCE
from venues.markets import Markets
from venues.wire import Acknowledged, FrameBatch

READ_BYTES = 65_536
CHECKSUM_FLAG = 131_072
BOOK_TRADES_2018 = "ws_book_p0_len100_trades_btcusd_2018_conn1_first20000.jsonl"
SEVEN_PAIRS_2021 = "ws_seqall_7pairs_2021.part1.jsonl"
SYMBOLS = tuple(
    f"t{base}USD"
    for base in (
        "BTC", "ETH", "SOL", "XRP", "LTC", "ADA", "DOT", "EOS",
        "NEO", "XMR", "ZEC", "ETC", "XLM", "UNI", "FIL", "TRX",
    )
)  # fmt: skip


class FrameStream(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of one connection, in order, and where they come from."""

    source: str
    frames: list[bytes]
    checksums: int = 0

    def numbered(self) -> list[bytes]:
        """The frames as a connection with sequence numbers has them."""
        flags = FLAG_SEQUENCE | (CHECKSUM_FLAG if self.checksums else 0)
        found, sequence = [], 0
        for frame in self.frames:
            if frame.startswith(b"["):
                sequence += 1
                found.append(b"%s,%d]" % (frame[:-1], sequence))
            else:
                found.append(frame)
                if b'"version"' in frame:
                    found.append(b'{"event":"conf","status":"OK","flags":%d}' % flags)
        return found


def recorded(name: str) -> FrameStream | None:
    """A recording in the folder that DC_FIXTURES names; None without it."""
    path = Path(os.environ.get("DC_FIXTURES", "")) / "bitfinex" / name
    if not path.is_file():
        return None
    frames, has_numbers = [], False
    for item in read_frames([path]):
        text = item.text
        if b'"conf"' in text:
            has_numbers = bool(msgspec.json.decode(text)["flags"] & FLAG_SEQUENCE)
        elif text.startswith(b"[") and has_numbers:
            frames.append(text[: text.rindex(b",")] + b"]")
        elif text:
            frames.append(text)
    return FrameStream(source=f"recording {name}", frames=frames)


def generated(updates: int, symbols: int = 8) -> FrameStream:
    """Valid updates of thin books, as `benchmarks/load.py` sends them."""
    sender = Sender()
    sender.tail = (False, False)
    frames = [b'{"event":"info","version":2,"platform":{"status":1}}']
    for number, symbol in enumerate(SYMBOLS[:symbols]):
        book = Book(1000 + number, number)
        sender.books.append(book)
        what = {
            "event": "subscribed", "channel": "book", "chanId": book.channel, "symbol": symbol,
            "prec": "P0", "freq": "F0", "len": "25", "pair": symbol[1:],
        }  # fmt: skip
        frames.append(msgspec.json.encode(what))
        frames.append(sender.frame(book.channel, book.snapshot()))
    # `make` gives WebSocket frames with a header of two bytes.
    frames += [frame[2:] for frame in sender.make(updates)]
    return FrameStream(source=f"generated, {symbols} books", frames=frames)


def with_checksums(stream: FrameStream, every: int = 1) -> FrameStream:
    """The stream with a `cs` frame after every so many frames of a book."""
    markets = Markets()
    codec = BitfinexCodec(markets, lambda *_: None, allot=partial(Allotment().place, "bitfinex"))
    codec.open(1, 1, from_first=False)
    scratch = np.zeros(8192, np.uint8)
    books: dict[bytes, int] = {}
    seen: dict[bytes, int] = {}
    frames, checksums = [], 0
    batch = FrameBatch()
    for frame in stream.frames:
        frames.append(frame)
        assert batch.add(frame)
        for notice in codec.feed(batch, 1):
            if isinstance(notice, Acknowledged) and notice.subscription.stream.channel == "books":
                books[b"%d" % notice.channel_id] = markets.book(notice.subscription)
        batch.clear()
        channel, _, payload = frame[1:].partition(b",")
        if channel in books and payload.startswith(b"["):
            seen[channel] = seen.get(channel, 0) + 1
            if seen[channel] % every == 0:
                value = book_checksum(
                    markets.books.ctypes.data, books[channel], scratch.ctypes.data
                )
                frames.append(b'[%s,"cs",%d]' % (channel, value))
                checksums += 1
    often = "every book frame" if every == 1 else f"every {every} book frames"
    source = f"{stream.source}, a checksum after {often}"
    return FrameStream(source=source, frames=frames, checksums=checksums)


def websocket_frame(payload: bytes) -> bytes:
    """A server's text frame, header and all (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def socket_reads(frames: list[bytes], *, one_by_one: bool = False) -> list[bytes]:
    """The bytes as reads of a socket bring them: 64 KB at a time, or each frame alone."""
    wire = [websocket_frame(frame) for frame in frames]
    if one_by_one:
        return wire
    whole = b"".join(wire)
    return [whole[at : at + READ_BYTES] for at in range(0, len(whole), READ_BYTES)]
