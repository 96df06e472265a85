"""ingest: recorded frames through the real decoder, book, tape, journal and lake.

A recording cannot be asked again, so a gap or a failed checksum is counted, marked in the lake, and
the stream goes on. Several files are one stream. The connections of a recording are kept apart, as
the collector keeps them: each has its own channels, numbers and epochs; books and trades are
shared.
"""

import secrets
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from processes.cli.frames import Frame, read_frames
from processes.cli.screen import say, say_json, table
from processes.files import write_whole
from processes.rings import ring_layout
from processes.storage.store import Store, TableView
from processes.supervisor.tables import Allotment
from schemas import tape
from schemas.errors import DecodeError, OperatorError, UsageError
from schemas.instruments import Channel, Instrument, Stream
from schemas.settings import StorageSettings
from shm.readers import READERS_BYTES, RingReader, format_readers
from shm.ring import RingWriter, format_ring, ring_bytes
from shm.segment import Segment, segment_name
from venues import decoding
from venues.book import ASK, BID, wire_levels
from venues.codec import ConnectionCodec
from venues.registry import NAMES, open_recording
from venues.wire import BadFrame, FrameBatch, Refused, SlotBlock

CAPACITY = 1 << 16
TAKE_EVERY = 1 << 14
BOOK_LEVELS = 25
ERRORS_SHOWN = 1000
CONNECTIONS_MAX = 256
KINDS = {
    tape.Kind.TRADE: "trade",
    tape.Kind.BOOK_LEVEL: "book_level",
    tape.Kind.L3_ORDER: "l3_order",
    tape.Kind.TICKER: "ticker",
    tape.Kind.CANDLE: "candle",
    tape.Kind.STATUS: "status",
    tape.Kind.MARKER: "marker",
}


class Connection:
    """One connection of a recording: its decoder, and frames since it was opened."""

    def __init__(self, codec: ConnectionCodec) -> None:
        self.codec = codec
        self.frames = 0


class Ingestion:
    """One stream of recorded frames on its way into a lake."""

    def __init__(self, venue: str, out: Path) -> None:
        self.frames = 0
        self.errors: list[str] = []
        self.refused: list[str] = []
        self.frames_lost = 0
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
        self._connections: dict[int, Connection] = {}
        # Who comes first has the first decoder; without any, the report is of this one.
        self._now = self._first = Connection(open_recording(venue, self._publish, self._allot))
        self._open(self._first, 0)

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
        self._store.recover()

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

    def _open(self, connection: Connection, recv_ns: int) -> None:
        codec = connection.codec
        if codec.epoch:
            codec.interrupt(tape.MarkerReason.CONNECTION_LOST)
        self.unknown_frames += codec.unknown_frames
        self._epoch += 1
        codec.open(self._epoch, recv_ns, from_first=False)
        connection.frames = 0

    def _connection(self, number: int) -> Connection:
        """The connection of a line, made if it is new.

        Raises:
            DecodeError: there are too many.
        """
        found = self._connections.get(number)
        if found is None:
            if len(self._connections) == CONNECTIONS_MAX:
                raise DecodeError(f"more than {CONNECTIONS_MAX} connections: {number}")
            found = self._first
            if self._connections:
                found = Connection(self._first.codec.beside(number))
                self._open(found, 0)
            self._connections[number] = found
        return found

    def add(self, frame: Frame) -> None:
        """Take one frame."""
        try:
            here = self._connection(frame.connection)
        except DecodeError as error:
            self.errors.append(str(error))
            return
        if here is not self._now:
            self._feed()
            self._now = here
        if frame.lost:
            self._note_lost(frame)
        elif not frame.text or here.codec.begins_connection(frame.text):
            # A greeting begins a new connection: its channels and numbers are its own.
            self._feed()
            if here.frames:
                self._open(here, frame.recv_ns)
        if frame.text:
            self._take(frame, here)

    def _take(self, frame: Frame, here: Connection) -> None:
        if frame.recv_ns != self._recv_ns:
            self._feed()
            self._recv_ns = frame.recv_ns
        self.frames += 1
        here.frames += 1
        if not self._batch.add(frame.text):
            self._feed()
            if not self._batch.add(frame.text):
                self.errors.append(f"a frame of {len(frame.text)} bytes")

    def _note_lost(self, frame: Frame) -> None:
        """The recorder dropped frames here: nothing of the connection is sure behind them."""
        self._feed()
        self.frames_lost += frame.lost
        codec = self._now.codec
        codec.mark(tape.Marker.GAP, tape.MarkerReason.SEQUENCE, lost=frame.lost)
        codec.flush()

    def _feed(self) -> None:
        if not self._batch.count:
            return
        codec = self._now.codec
        # Without a recorder's time the newest time that the venue gave stands for it.
        recv_ns = self._recv_ns or codec.newest_event_ns
        for notice in codec.feed(self._batch, recv_ns):
            if isinstance(notice, BadFrame):
                self.errors.append(f"{notice.why}: {notice.text}")
            elif isinstance(notice, Refused):
                self.refused.append(f"{notice.code or ''} {notice.text}".strip())
        self.sequence_first = self.sequence_first or codec.sequence_first
        self._batch.clear()

    def finish(self) -> dict[str, Any]:
        """Seal the lake; the report."""
        self._feed()
        self._store.finish()
        tables = msgspec.json.format(msgspec.json.encode(self._allotment.tables), indent=1)
        write_whole(self._out / "instruments.json", tables)
        codecs = [each.codec for each in self._connections.values()] or [self._first.codec]
        tallies = np.sum([codec.tallies for codec in codecs], axis=0)
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
                "last": self._now.codec.sequence_last or None,
                "gaps": sum(codec.gaps for codec in codecs),
            },
            "checksums": {
                "verified": int(tallies[decoding.N_VERIFIED]),
                "failed": int(tallies[decoding.N_FAILED]),
            },
            "unknown_frames": self.unknown_frames + sum(c.unknown_frames for c in codecs),
            "frames_lost": self.frames_lost,
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
            **_joined(codec.report() for codec in codecs),
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
        for (instrument, stream), book in self._first.codec.markets.indices().items():
            symbol, what = tables.instruments[instrument].symbol, tables.streams[stream]
            raw = what.channel == "raw_books"
            funding = tables.instruments[instrument].pair.endswith(":FUNDING")
            sides: dict[str, list[list[Any]]] = {}
            for name, side in (("bids", BID), ("asks", ASK)):
                levels = wire_levels(self._first.codec.markets.books, book, side, BOOK_LEVELS)
                sides[name] = [_level(*level, raw=raw, funding=funding) for level in levels]
            if not any(sides.values()):
                continue  # acknowledged, and no snapshot came
            if raw:
                raw_books[symbol] = sides
            else:
                books[symbol if what.precision in {"", "P0"} else f"{symbol}:{what.precision}"] = (
                    sides
                )
        return books, raw_books


def _level(key: int, price: str, amount: str, *, raw: bool, funding: bool) -> list[Any]:
    """A level as the venue lists it, without counts; of a raw book the order, else the level."""
    if raw:
        return [key, price, amount]
    return [price, key, amount] if funding else [price, amount]


def _joined(reports: Iterable[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """What several connections have to tell: counts added up, all else side by side."""
    found: dict[str, dict[str, Any]] = {}
    for report in reports:
        for name, told in report.items():
            mine = found.setdefault(name, {})
            for key, value in told.items():
                mine[key] = mine.get(key, 0) + value if isinstance(value, int) else value
    return found


def _counts_of(channel: str, symbols: dict[str, dict[str, int]]) -> dict[str, int]:
    return {name: found[channel] for name, found in symbols.items() if channel in found}


def ingest_files(files: list[Path], venue: str, out: Path, *, as_json: bool) -> None:
    """Ingest, and say what came of it.

    Raises:
        OperatorError: the venue is unknown, a file is missing, the folder holds another lake, or
            cannot be written.
    """
    if venue not in NAMES:
        raise UsageError(f"no venue {venue}; there are {', '.join(NAMES)}")
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
    if report["frames_lost"]:
        say(f"{report['frames_lost']:,} frames the recorder had to drop; their gaps are marked")
    for error in report["errors"][:10]:
        say(f"  bad: {error[:150]}")
    say(f"{report['lake_rows']:,} rows in {out / 'lake'}")
