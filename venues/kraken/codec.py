"""Kraken frames to tape slots and notices: one codec a connection.

The compiled kernel takes books, trades, tickers, candles and heartbeats; what it stops at comes
here: answers, status, instruments, level3, private channels, and frames it found irregular, whose
rows are handed to the same compiled `apply_row`. A row that cannot be decoded costs itself, and of
a live book that channel; the other rows of its frame are taken.
"""

from typing import Any, Final

import numpy as np

from schemas.account import AccountEvent, plain_decimal
from schemas.errors import DecodeError
from schemas.instruments import Channel
from schemas.tape import Flag, Marker, MarkerReason, Side
from venues import decoding
from venues.book import TEXT_BYTES
from venues.channels import BLOCK_SLOTS
from venues.codec import BAD_FRAME_ERRORS
from venues.kraken import kernel, rows
from venues.kraken.account import CHANNELS as PRIVATE_CHANNELS
from venues.kraken.account import KrakenAccount
from venues.kraken.answers import AnsweringCodec
from venues.kraken.instruments import read_instruments
from venues.kraken.level3 import Level3Book, read_entries
from venues.kraken.subscriptions import (
    BOOK_DEPTHS,
    CHANNELS,
    LEVEL3_DEPTHS,
    TIMEFRAMES,
    name_of,
    smallest_depth,
)
from venues.markets import Markets
from venues.names import channel_number, time_ns
from venues.numbers import as_integer, as_number, number_or_nan, parse_exact
from venues.wire import (
    Acknowledged,
    Allot,
    FrameBatch,
    InstrumentsChanged,
    Notice,
    Publish,
    Subscription,
)

_SIGNS: Final = {"buy": 1.0, "sell": -1.0}


class KrakenCodec(AnsweringCodec):
    """Decoder of one connection; arguments as `ConnectionCodec`."""

    def __init__(
        self,
        markets: Markets,
        publish: Publish,
        *,
        subscriptions: list[Subscription] | None = None,
        allot: Allot | None = None,
        tolerant: bool = False,
        connection: int = 0,
    ) -> None:
        super().__init__(
            markets,
            publish,
            subscriptions=subscriptions,
            allot=allot,
            tolerant=tolerant,
            connection=connection,
        )
        self.account = KrakenAccount()
        self.account_events: dict[str, int] = {}
        """Events of private channels by kind; a connection of the market has none."""
        self.level3: dict[str, Level3Book] = {}
        """Order books by symbol."""
        self._recorded_connection = ""
        self._instruments = {"pairs": 0, "assets": 0, "updates": 0}
        self._whole = self._rows.view(np.int64)
        decoding.compile_kernels(kernel.ENTRY_POINTS)

    def open(self, epoch: int, recv_ns: int, *, from_first: bool = True) -> None:
        """Begin a connection: no channels, nothing known of the venue's state."""
        super().open(epoch, recv_ns, from_first=from_first)
        self.system = ""
        self.account.open()

    def decode(self, batch: FrameBatch, first: int, recv_ns: int) -> int:
        """Take the frames of a batch from `first` on, compiled."""
        return kernel.decode_frames(
            self._address, batch.text_address, batch.bounds_address, first, batch.count, recv_ns,
            BLOCK_SLOTS,
        )  # fmt: skip

    def begins_connection(self, frame: bytes) -> bool:
        """A status of another connection than the last: each connection begins with one."""
        if b'"status"' not in frame or b'"connection_id"' not in frame:
            return False
        try:
            found = parse_exact(frame)["data"][0]["connection_id"].text
        except (*BAD_FRAME_ERRORS, AttributeError):
            return False
        before, self._recorded_connection = self._recorded_connection, found
        return bool(found != before)

    def report(self) -> dict[str, dict[str, Any]]:
        """Level3 books by symbol, instruments told, and events of private channels."""
        return {
            "level3": {symbol: book.report() for symbol, book in sorted(self.level3.items())},
            "instruments": self._instruments,
            "account": self.account_events,
        }

    # ---- channels

    def enter(self, subscription: Subscription) -> Acknowledged:
        """Give a subscription the channel of its name.

        Raises:
            DecodeError: another name has that number, or there are too many channels.
        """
        number = channel_number(*name_of(subscription))
        depth = subscription.stream.length
        acknowledged = self.register_name(number, subscription, depth=depth)
        if subscription.stream.channel == "raw_books":
            self.level3[subscription.instrument.symbol] = Level3Book(depth)
        return acknowledged

    # ---- frames

    def take_frame(self, frame: bytes) -> list[Notice]:
        """Take one frame that the kernel left, or the rest of its rows."""
        done = int(self._state[decoding.ROW])
        self._state[decoding.ROW] = 0
        try:
            message = parse_exact(frame)
            if not isinstance(message, dict):
                raise DecodeError("a frame that is no object")
            return self._take_message(message, frame, done)
        except BAD_FRAME_ERRORS as error:
            return self._unreadable(frame, error)

    def _take_message(self, message: dict[str, Any], frame: bytes, done: int) -> list[Notice]:
        if "method" in message:
            return self.take_answer(message)
        name = message.get("channel")
        if name == "heartbeat":
            self.tallies[decoding.N_FRAMES] += 1
            self.tallies[decoding.N_HEARTBEATS] += 1
            return []
        if name == "status":
            return self.take_status(message)
        if name == "instrument":
            return [self._take_instruments(message)]
        if name in PRIVATE_CHANNELS:
            for event in self.account.take(message):
                self.count_account(event)
            return []
        if name in CHANNELS:
            return self._take_data(name, message, frame, done)
        if "error" in message:
            return self.take_error(message)
        raise DecodeError(f"{name!r} is no channel of the venue")

    def count_account(self, event: AccountEvent) -> None:
        """Note an event of a private channel."""
        kind = type(event).__name__
        self.account_events[kind] = self.account_events.get(kind, 0) + 1

    def _take_instruments(self, message: dict[str, Any]) -> InstrumentsChanged:
        notice = read_instruments(message)
        counts = self._instruments
        if notice.is_snapshot:
            counts["pairs"], counts["assets"] = len(notice.pairs), len(notice.assets)
        else:
            counts["updates"] += len(notice.pairs) + len(notice.assets)
        return notice

    def _take_data(
        self, name: str, message: dict[str, Any], frame: bytes, done: int
    ) -> list[Notice]:
        """The rows of a market channel's frame, but for the first so many, which are taken."""
        kind, data = message.get("type"), message.get("data")
        if kind not in {"snapshot", "update"} or not isinstance(data, list):
            raise DecodeError(f"a {name} frame of type {kind!r}")
        sent_ns = time_ns(message["timestamp"]) if "timestamp" in message else 0
        self.tallies[decoding.N_FRAMES] += 1
        known: dict[int, int] = {}
        notices: list[Notice] = []
        for row in data[done:]:
            place = -1
            try:
                place = self._place_of(name, row, is_snapshot=kind == "snapshot")
                if place < 0:
                    self.tallies[decoding.N_UNKNOWN] += 1
                    continue
                if name == "level3":
                    broken = self._take_orders(place, row, is_snapshot=kind == "snapshot")
                else:
                    self._fill_row(name, row, sent_ns)
                    newest = known.setdefault(place, self._newest_trade(place))
                    broken = self._apply(name, kind == "snapshot", newest)
            except BAD_FRAME_ERRORS as error:
                broken = self._bad_row(place, frame, error)
            if broken is not None:
                notices.append(broken)
        return notices

    def _place_of(self, name: str, row: dict[str, Any], *, is_snapshot: bool) -> int:
        """Place of a row's channel; a recording's is made on the spot; -1 where there is none."""
        symbol = row["symbol"]
        if not isinstance(symbol, str) or not symbol:
            raise DecodeError(f"{symbol!r} is no symbol")
        minutes = as_integer(row["interval"]) if name == "ohlc" else 0
        number = channel_number(name, symbol, minutes)
        place = decoding.channel_place_of(self._address, number)
        if self._channels[place]["id"] != 0:
            return place
        if self._allot is None or not self._adopt(name, symbol, minutes, row, is_snapshot):
            self._unknown[number] = self._unknown.get(number, 0) + 1
            return -1
        return decoding.channel_place_of(self._address, number)

    def _adopt(
        self, name: str, symbol: str, minutes: int, row: dict[str, Any], is_snapshot: bool
    ) -> bool:
        """Enter a stream that a recording has and never acknowledged; False if that must wait.

        A book begins with its snapshot; its depth is the smallest that holds that.
        """
        channel: Channel = CHANNELS[name]
        parameters: dict[str, Any] = {}
        if name in {"book", "level3"}:
            if not is_snapshot:
                return False
            depths = BOOK_DEPTHS if name == "book" else LEVEL3_DEPTHS
            key = None if name == "book" else "limit_price"
            sides = [row["bids"], row["asks"]]
            levels = max(len({level[key] for level in s} if key else s) for s in sides)
            parameters["length"] = smallest_depth(levels, depths)
            if not parameters["length"]:
                raise DecodeError(f"a snapshot of {levels} levels: deeper than any book")
        elif name == "ohlc":
            parameters["timeframe"] = TIMEFRAMES[minutes]
        subscription = self.find(symbol, symbol, channel, parameters)
        if subscription is None:
            return False
        self.enter(subscription)
        return True

    def _newest_trade(self, place: int) -> int:
        channel = self._channels[place]
        if channel["trades"] < 0:
            return 0
        return self.markets.newest_trade(int(channel["instrument"]))

    # ---- rows that Python parses

    def _fill_row(self, name: str, row: dict[str, Any], sent_ns: int) -> None:
        """A row into the first place of the tables, as the kernel would have parsed it."""
        whole, numbers = self._whole[0], self._rows[0]
        minutes = as_integer(row["interval"]) if name == "ohlc" else 0
        whole[rows.ROW_ID] = channel_number(name, row["symbol"], minutes)
        # A candle's own timestamp is the end of its interval, and no time of an event.
        own_ns = time_ns(row["timestamp"]) if "timestamp" in row and name != "ohlc" else 0
        whole[rows.ROW_TIME] = sent_ns if name == "ohlc" else own_ns
        first = rows.ROW_NUMBERS
        self._letters = bytearray()
        if name == "book":
            self._fill_levels(row)
        elif name == "trade":
            price, quantity = as_number(row["price"]), as_number(row["qty"])
            whole[rows.ROW_TRADE] = as_integer(row["trade_id"])
            if not (price > 0 and quantity > 0 and whole[rows.ROW_TRADE] > 0):
                raise DecodeError("a trade without price, quantity or id")
            if not whole[rows.ROW_TIME]:
                raise DecodeError("a trade without a time")
            numbers[first], numbers[first + 1] = _SIGNS[row["side"]] * quantity, price
        elif name == "ticker":
            values = [number_or_nan(row.get(field)) for field in rows.TICKER_FIELDS]
            if not {"bid", "ask", "last"} <= row.keys():
                raise DecodeError("a ticker without bid, ask or last price")
            numbers[first : first + len(values)] = values
        else:
            values = [number_or_nan(row.get(field)) for field in rows.CANDLE_FIELDS]
            if not all(value >= 0 for value in values[: rows.NEEDED]):
                raise DecodeError("a candle without prices or volume")
            numbers[first : first + len(values)] = values
            whole[rows.ROW_START] = time_ns(row["interval_begin"])

    def _fill_levels(self, row: dict[str, Any]) -> None:
        sides = {side: row[side] for side in row if side in {"bids", "asks"}}
        bids, asks = row["bids"], row["asks"]
        if not isinstance(bids, list) or not isinstance(asks, list):
            raise DecodeError("bids and asks must be lists")
        if len(bids) + len(asks) > decoding.ENTRIES:
            raise DecodeError(f"{len(bids) + len(asks)} levels in one message")
        at = 0
        for side, levels in sides.items():
            for level in levels:
                self._fill_entry(self._entries[at], level, is_bid=side == "bids")
                at += 1
        checksum = row.get("checksum")
        crc = -1 if checksum is None else as_integer(checksum)
        if checksum is not None and not 0 <= crc < 1 << 32:
            raise DecodeError(f"checksum {crc}")
        whole = self._whole[0]
        whole[rows.ROW_FIRST], whole[rows.ROW_COUNT] = 0, at
        whole[rows.ROW_CHECKSUM], whole[rows.ROW_BIDS] = crc, len(bids)

    def _fill_entry(self, entry: Any, level: dict[str, Any], *, is_bid: bool) -> None:
        price, quantity = as_number(level["price"]), as_number(level["qty"])
        if not (price > 0 and quantity >= 0):
            raise DecodeError("a level without price or quantity")
        entry["price"], entry["key"], entry["count"] = price, 0, int(quantity > 0)
        amount = quantity if quantity > 0 else 1.0
        entry["amount"] = amount if is_bid else -amount
        length = 0
        for name, value in (("price", price), ("amount", quantity)):
            # Exponents were never seen in a book; the checksum can only be of written-out digits.
            text = plain_decimal(value.text)
            entry[f"{name}_at"] = len(self._letters)
            self._letters += text.encode()
            entry[f"{name}_end"] = len(self._letters)
            length += len(text)
        if length + 1 > TEXT_BYTES:
            raise DecodeError("a level's numbers are longer than any venue's")

    def _apply(self, name: str, is_snapshot: bool, known: int) -> Notice | None:
        """Apply the row in the first place of the tables.

        Raises:
            DecodeError: the book cannot take it.
        """
        self.room(2 * int(self._whole[0, rows.ROW_COUNT]) + 2 if name == "book" else 1)
        letters = np.frombuffer(bytes(self._letters) or b" ", np.uint8)
        status = kernel.apply_row(
            self._address, decoding.FORMS[CHANNELS[name]], letters.ctypes.data, len(letters),
            self._recv_ns, int(is_snapshot), known if is_snapshot else 0,
        )  # fmt: skip
        if status == decoding.SLOW:
            raise DecodeError("an update before the snapshot, or of more levels than there can be")
        return self._on_bad_checksum() if status == decoding.BAD_CHECKSUM else None

    # ---- level3

    def _take_orders(self, place: int, row: dict[str, Any], *, is_snapshot: bool) -> Notice | None:
        """A level3 row into the book of its orders and into slots."""
        channel = self._channels[place]
        if channel["muted"]:
            self.tallies[decoding.N_MUTED] += 1
            return None
        if channel["awaits_snapshot"] and not is_snapshot:
            raise DecodeError("an update came before the snapshot")
        checksum = as_integer(row["checksum"]) if "checksum" in row else None
        entries = [
            entry
            for name, side in (("bids", Side.BID), ("asks", Side.ASK))
            for entry in read_entries(row[name], side, is_snapshot=is_snapshot)
        ]
        event_ns = time_ns(row["timestamp"]) if "timestamp" in row else 0
        book = self.level3[row["symbol"]]
        missed = book.missed
        changes = book.apply_snapshot(entries, checksum) if is_snapshot else book.apply(entries)
        self.tallies[decoding.N_MISSED] += book.missed - missed
        self.tallies[decoding.N_RAW] += len(entries)
        kernel.note_time(self._state, event_ns)
        if is_snapshot:
            self.mark(Marker.SNAPSHOT_BEGIN, MarkerReason.NONE, place=place)
        for index, change in enumerate(changes):
            flags = Flag.SNAPSHOT if is_snapshot else Flag(0)
            flags |= Flag.DELETE if change.is_delete else Flag(0)
            flags |= Flag.DERIVED if change.is_derived else Flag(0)
            flags |= Flag.FRAME_END if index == len(changes) - 1 else Flag(0)
            order = change.order
            low, high = order.packed
            signed_low = low - (1 << 64) if low >> 63 else low  # compiled calls take int64
            self.room(1)
            kernel.write_order(
                self._address, place, self._recv_ns,
                event_ns if change.is_derived else order.time_ns, order.price,
                0.0 if change.is_delete else order.quantity, signed_low, high,
                int(order.side), int(flags),
            )  # fmt: skip
        if is_snapshot:
            self.mark(Marker.SNAPSHOT_END, MarkerReason.NONE, place=place)
        channel["awaits_snapshot"] = 0
        channel["data_ns"] = self._recv_ns
        channel["data_frames"] += 1
        return self._check_orders(place, book, checksum)

    def _check_orders(self, place: int, book: Level3Book, checksum: int | None) -> Notice | None:
        if checksum is None:
            return None
        ours = book.checksum()
        if ours != checksum:
            self.tallies[decoding.N_FAILED] += 1
            text = f"checksum is {ours}, the venue says {checksum}"
            return self._break_channel(place, MarkerReason.CHECKSUM, text)
        self.tallies[decoding.N_VERIFIED] += 1
        channel = self._channels[place]
        channel["good_sequence"] = 0
        channel["good_event_ns"] = self._state[decoding.FRAME_NS]
        channel["good_ns"] = self._recv_ns
        return None

    # ---- faults

    def _bad_row(self, place: int, frame: bytes, error: Exception) -> Notice:
        """A row that could not be taken: of a live book it costs the channel."""
        bad = self._bad_frame(frame, error)
        if place < 0 or self._channels[place]["book"] < 0 or self._tolerant:
            return bad
        return self._break_channel(place, MarkerReason.BAD_FRAME, bad.why)

    def _unreadable(self, frame: bytes, error: Exception) -> list[Notice]:
        """A frame that could not be taken at all costs the live books whose symbols stand in it.

        It may have been an update of theirs, and levels below the tenth are in no checksum.
        """
        bad = self._bad_frame(frame, error)
        notices: list[Notice] = [bad]
        if self._tolerant:
            return notices
        for place, what in list(self._by_place.items()):
            channel, symbol, _ = name_of(what)
            live = self._channels[place]["book"] >= 0 and not self._channels[place]["muted"]
            told = [name for name in CHANNELS if f'"{name}"'.encode() in frame]
            if live and f'"{symbol}"'.encode() in frame and (channel in told or not told):
                notices.append(self._break_channel(place, MarkerReason.BAD_FRAME, bad.why))
        return notices
