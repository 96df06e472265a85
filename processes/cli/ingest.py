"""ingest: recorded frames through the real decoder, book, tape, journal and lake.

A recording cannot be asked again, so a gap or a failed checksum is counted, marked in the lake, and
the stream goes on. Lines are bare frames, or wrapped as {"t": seconds, "frame": ...}, with a
"dir" of rx, tx or open where both directions were recorded; several files are one stream.
"""

import secrets
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from processes.cli.screen import say, say_json, table
from processes.files import write_whole
from processes.rings import ring_layout
from processes.storage.store import Store, TableView
from processes.supervisor.tables import Allotment
from schemas import tape
from schemas.errors import OperatorError
from schemas.instruments import Channel, Instrument, Stream
from schemas.settings import StorageSettings
from shm.readers import READERS_BYTES, RingReader, format_readers
from shm.ring import RingWriter, format_ring, ring_bytes
from shm.segment import Segment, segment_name
from venues import decoding
from venues.book import ASK, BID, wire_levels
from venues.registry import NAMES, open_recording
from venues.wire import BadFrame, FrameBatch, Refused, SlotBlock

CAPACITY = 1 << 16
TAKE_EVERY = 1 << 14
BOOK_LEVELS = 25
ERRORS_SHOWN = 1000
TIME_MAX_S = 9e9
"""Nanoseconds of later times do not fit 64 bits."""
WHOLE_MAX_BYTES = 64 << 20
"""The largest file that is looked at as one JSON value."""
KINDS = {
    tape.Kind.TRADE: "trade",
    tape.Kind.BOOK_LEVEL: "book_level",
    tape.Kind.L3_ORDER: "l3_order",
    tape.Kind.TICKER: "ticker",
    tape.Kind.CANDLE: "candle",
    tape.Kind.STATUS: "status",
    tape.Kind.MARKER: "marker",
}


class Line(msgspec.Struct):
    """A recorder's envelope; the frame keeps its own text."""

    frame: msgspec.Raw = msgspec.Raw()
    t: float = 0.0
    dir: str = ""


class Frame(msgspec.Struct, frozen=True):
    """One received frame, or (empty) the word that a connection was opened."""

    text: bytes
    recv_ns: int


_line_decoder = msgspec.json.Decoder(Line)


def read_frames(files: list[Path]) -> Iterator[Frame]:
    """The received frames of a recording, in order: a line each, or one JSON value a file."""
    for path in files:
        with path.open("rb") as file:
            whole = _whole_value(file)
            lines = [whole] if whole else (raw.strip() for raw in file)
            for line in lines:
                frame = _unwrap(line) if line else None
                if frame is not None:
                    yield frame


def _whole_value(file: BinaryIO) -> bytes:
    """A file that is one JSON value over several lines, on one line; empty if it is not that."""
    first = file.readline()
    file.seek(0)
    if not first.endswith(b"\n") or _is_json(first):
        return b""
    text = file.read(WHOLE_MAX_BYTES)
    file.seek(0)
    return msgspec.json.format(text, indent=-1) if _is_json(text) else b""


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


def _unwrap(line: bytes) -> Frame | None:
    if line.startswith(b"{"):
        try:
            envelope = _line_decoder.decode(line)
        except msgspec.DecodeError:
            return Frame(line, 0)
        # A time that is none (another unit, a broken recorder) is no reason to lose the frame.
        recv_ns = round(envelope.t * 1e6) * 1000 if 0 < envelope.t < TIME_MAX_S else 0
        if envelope.dir == "open":
            return Frame(b"", recv_ns)
        if envelope.dir not in {"", "rx"}:
            return None
        if bytes(envelope.frame):
            return Frame(bytes(envelope.frame), recv_ns)
    return Frame(line, 0)


class Ingestion:
    """One stream of recorded frames on its way into a lake."""

    def __init__(self, venue: str, out: Path) -> None:
        self.frames = 0
        self.errors: list[str] = []
        self.refused: list[str] = []
        self.unknown_frames = 0
        self.sequence_first = 0
        self._venue = venue
        self._ring = f"tape.{venue}"
        self._allotment = Allotment()
        self._out = out
        self._kinds = np.zeros(16, np.int64)
        self._by_stream: dict[tuple[int, int], int] = {}
        self._batch = FrameBatch()
        self._recv_ns = 0
        self._epoch = 0
        self._untaken = 0
        self._trades: dict[int, dict[str, Decimal]] = {}
        self._segments: list[Segment] = []
        try:
            self._open_ring()
        except BaseException:
            self.close()
            raise
        self._codec = open_recording(venue, self._publish, self._allot)
        self._open_connection(0)

    def _open_ring(self) -> None:
        """A ring of our own: the slots take the way that live ones take."""
        dtype, layout = ring_layout(self._ring)
        instance = secrets.token_hex(3)
        sizes = {"ingest": ring_bytes(dtype.itemsize, CAPACITY), "ingest.r": READERS_BYTES}
        for name, size in sizes.items():
            self._segments.append(Segment.create(segment_name(instance, name), size))
        ring, page = self._segments
        format_ring(ring, dtype.itemsize, CAPACITY, layout, 1)
        format_readers(page)
        self._writer = RingWriter(ring, page, dtype, layout)
        self._store = Store(
            self._ring,
            RingReader(ring, page, dtype, layout, "storage", limit=8192),
            self._out / "journal",
            self._out / "lake",
            TableView(self._allotment.tables),
            1,
            StorageSettings(),
        )

    def _allot(
        self, symbol: str, pair: str, channel: Channel, parameters: dict[str, Any]
    ) -> tuple[Instrument, Stream]:
        return self._allotment.place(self._venue, symbol, pair, channel, parameters)

    def _publish(self, block: SlotBlock, count: int) -> None:
        slots = block.slots[:count]
        self._kinds += np.bincount(
            slots["kind"][slots["flags"] & tape.Flag.DERIVED == 0], minlength=16
        )
        # What follows from the venue's rules was not sent, and is no event of the recording.
        sent = (slots["kind"] != tape.Kind.MARKER) & (slots["flags"] & tape.Flag.DERIVED == 0)
        data = slots[sent]
        self._sum_trades(data[data["kind"] == tape.Kind.TRADE])
        keys, counts = np.unique(
            data["instrument"].astype(np.uint32) << 16 | data["stream"], return_counts=True
        )
        for key, number in zip(keys.tolist(), counts.tolist(), strict=True):
            place = (key >> 16, key & 0xFFFF)
            self._by_stream[place] = self._by_stream.get(place, 0) + number
        self._writer.append_at(block.address, count)
        self._untaken += count
        if self._untaken >= TAKE_EVERY:
            self._store.take()
            self._untaken = 0

    def _sum_trades(self, trades: np.ndarray) -> None:
        for instrument, side, size in zip(
            trades["instrument"].tolist(), trades["side"].tolist(), trades["size"].tolist(),
            strict=True,
        ):  # fmt: skip
            sums = self._trades.setdefault(instrument, {"bought": Decimal(0), "sold": Decimal(0)})
            sums["bought" if side == tape.Side.BID else "sold"] += Decimal(repr(size))

    def _open_connection(self, recv_ns: int) -> None:
        if self._epoch:
            self._codec.interrupt(tape.MarkerReason.CONNECTION_LOST)
        self.unknown_frames += self._codec.unknown_frames
        self._epoch += 1
        self._codec.open(self._epoch, recv_ns, from_first=False)

    def add(self, frame: Frame) -> None:
        """Take one frame."""
        if not frame.text or self._codec.begins_connection(frame.text):
            # A greeting begins a new connection: its channels and numbers are its own.
            self._feed()
            if self.frames:
                self._open_connection(frame.recv_ns)
            if not frame.text:
                return
        if frame.recv_ns != self._recv_ns:
            self._feed()
            self._recv_ns = frame.recv_ns
        self.frames += 1
        if not self._batch.add(frame.text):
            self._feed()
            if not self._batch.add(frame.text):
                self.errors.append(f"a frame of {len(frame.text)} bytes")

    def _feed(self) -> None:
        if not self._batch.count:
            return
        # Without a recorder's time the newest time that the venue gave stands for it.
        recv_ns = self._recv_ns or self._codec.newest_event_ns
        for notice in self._codec.feed(self._batch, recv_ns):
            if isinstance(notice, BadFrame):
                self.errors.append(f"{notice.why}: {notice.text}")
            elif isinstance(notice, Refused):
                self.refused.append(f"{notice.code} {notice.text}")
        self.sequence_first = self.sequence_first or self._codec.sequence_first
        self._batch.clear()

    def finish(self) -> dict[str, Any]:
        """Seal the lake; the report."""
        self._feed()
        self._store.finish()
        tables = msgspec.json.format(msgspec.json.encode(self._allotment.tables), indent=1)
        write_whole(self._out / "instruments.json", tables)
        tallies, codec = self._codec.tallies, self._codec
        books, raw_books = self._books()
        symbols = self._symbols()
        return {
            "frames": self.frames,
            "events": {
                name: int(self._kinds[kind]) for kind, name in KINDS.items() if self._kinds[kind]
            },
            "symbols": symbols,
            "trades": self._trade_sums(symbols),
            "candles": _counts_of("candles", symbols),
            "status": _counts_of("status", symbols),
            "sequence": {
                "first": self.sequence_first or None,
                "last": codec.sequence_last or None,
                "gaps": codec.gaps,
            },
            "checksums": {
                "verified": int(tallies[decoding.N_VERIFIED]),
                "failed": int(tallies[decoding.N_FAILED]),
            },
            "unknown_frames": self.unknown_frames + codec.unknown_frames,
            "heartbeats": int(tallies[decoding.N_HEARTBEATS]),
            "trades_repeated": int(tallies[decoding.N_REPEATED]),
            "deletes_of_nothing": int(tallies[decoding.N_MISSED]),
            "connections": self._epoch,
            "refused": self.refused,
            "errors": self.errors[:ERRORS_SHOWN],
            "errors_total": len(self.errors),
            "books": books,
            "raw_books": raw_books,
            "lake_rows": self._store.lake.rows,
            **codec.report(),
        }

    def close(self) -> None:
        """Remove the ring, whatever happened."""
        for segment in self._segments:
            segment.close()
            Segment.unlink(segment.name)
        self._segments.clear()

    def _symbols(self) -> dict[str, dict[str, int]]:
        tables = self._allotment.tables
        found: dict[str, dict[str, int]] = {}
        for (instrument, stream), number in sorted(self._by_stream.items()):
            channels = found.setdefault(tables.instruments[instrument].symbol, {})
            channel = tables.streams[stream].channel
            channels[channel] = channels.get(channel, 0) + number
        return found

    def _trade_sums(self, symbols: dict[str, dict[str, int]]) -> dict[str, dict[str, Any]]:
        """Trades of each symbol: how many, and how much the takers bought and sold."""
        found = {}
        for instrument, sums in sorted(self._trades.items()):
            symbol = self._allotment.tables.instruments[instrument].symbol
            found[symbol] = {
                "count": symbols[symbol]["trades"],
                "amount": f"{sums['bought'] + sums['sold']:f}",
                **{name: f"{amount:f}" for name, amount in sums.items()},
            }
        return found

    def _books(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The best levels of every book as the wire wrote them; raw books with their order ids."""
        tables = self._allotment.tables
        books: dict[str, Any] = {}
        raw_books: dict[str, Any] = {}
        for (instrument, stream), book in self._codec.markets.indices().items():
            symbol, what = tables.instruments[instrument].symbol, tables.streams[stream]
            raw = what.channel == "raw_books"
            sides: dict[str, list[list[Any]]] = {}
            for name, side in (("bids", BID), ("asks", ASK)):
                levels = wire_levels(self._codec.markets.books, book, side, BOOK_LEVELS)
                sides[name] = [[key, p, a] if raw else [p, a] for key, p, a in levels]
            if not any(sides.values()):
                continue  # acknowledged, and no snapshot came
            if raw:
                raw_books[symbol] = sides
            else:
                books[symbol if what.precision in {"", "P0"} else f"{symbol}:{what.precision}"] = (
                    sides
                )
        return books, raw_books


def _counts_of(channel: str, symbols: dict[str, dict[str, int]]) -> dict[str, int]:
    return {name: found[channel] for name, found in symbols.items() if channel in found}


def ingest_files(files: list[Path], venue: str, out: Path, *, as_json: bool) -> None:
    """Ingest, and say what came of it.

    Raises:
        OperatorError: the venue is unknown, a file is missing, the folder holds another lake, or
            cannot be written.
    """
    if venue not in NAMES:
        raise OperatorError(f"no venue {venue}; there are {', '.join(NAMES)}")
    for path in files:
        if not path.is_file():
            raise OperatorError(f"{path} is no file")
    if (out / "lake").exists():
        raise OperatorError(f"{out} holds a lake already; name an empty or new folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(f"--out {out} cannot be made: {error.strerror}") from None
    try:
        report = _ingest(files, venue, out)
    except OSError as error:
        raise OperatorError(f"{error.filename or out}: {error.strerror}") from None
    if as_json:
        say_json(report)
    else:
        _show(report, out)


def _ingest(files: list[Path], venue: str, out: Path) -> dict[str, Any]:
    ingestion = Ingestion(venue, out)
    try:
        for frame in read_frames(files):
            ingestion.add(frame)
        return ingestion.finish()
    finally:
        ingestion.close()


def _show(report: dict[str, Any], out: Path) -> None:
    rows = [
        [symbol, channel, f"{number:,}"]
        for symbol, channels in report["symbols"].items()
        for channel, number in channels.items()
    ]
    say(table(["symbol", "channel", "events"], rows, right=(2,)))
    sums, sequence = report["checksums"], report["sequence"]
    unknown, bad = report["unknown_frames"], report["errors_total"]
    say(f"\n{report['frames']:,} frames in {report['connections']} connections, "
        f"{unknown} on unknown channels, {bad} bad")  # fmt: skip
    say(f"sequence {sequence['first']} to {sequence['last']}, {sequence['gaps']} gaps; "
        f"checksums {sums['verified']} verified, {sums['failed']} failed")  # fmt: skip
    for error in report["errors"][:10]:
        say(f"  bad: {error[:150]}")
    say(f"{report['lake_rows']:,} rows in {out / 'lake'}")
