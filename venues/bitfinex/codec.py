"""Bitfinex frames to tape slots and notices: one codec a connection.

The compiled kernel takes nearly all frames; what it stops at comes here: events, snapshots of
trades, tickers, candles, status, funding markets, and whatever is irregular. Numbers keep their
wire text on the way (`NumberText`). A frame that cannot be decoded is skipped whole and told as
`BadFrame`.
"""

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from schemas import tape
from schemas.errors import DecodeError
from schemas.instruments import Instrument
from schemas.tape import Flag, Kind, Marker, MarkerReason
from venues.bitfinex import kernel
from venues.bitfinex.markets import Interruption, Markets
from venues.bitfinex.subscriptions import Allot, describe, sub_id
from venues.bitfinex.symbols import common_pair
from venues.book import TEXT_BYTES
from venues.wire import (
    Acknowledged,
    BadFrame,
    ChannelBroken,
    Ended,
    FrameBatch,
    Notice,
    Opened,
    Publish,
    Refused,
    SequenceGap,
    ServerNotice,
    SlotBlock,
    Subscription,
)

BLOCK_SLOTS: Final = 8192
PERMANENT_ERRORS: Final = frozenset({10001, 10020, 10300, 10302})
CHANNEL_LIMIT: Final = 10305
DUPLICATE: Final = 10301
_FORMS = {
    "books": kernel.BOOK,
    "raw_books": kernel.RAW_BOOK,
    "trades": kernel.TRADES,
    "ticker": kernel.TICKER,
    "candles": kernel.CANDLES,
    "status": kernel.STATUS,
}
_TRADE_TAGS = frozenset({"te", "tu", "fte", "ftu"})


class NumberText(float):
    """A float that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> "NumberText":
        """From JSON's number text.

        Raises:
            DecodeError: too large for a double.
        """
        number = super().__new__(cls, text)
        number.text = text
        if number in {float("inf"), float("-inf")}:
            raise DecodeError(f"{text[:40]} is no finite number")
        return number


def _refuse_constant(text: str) -> None:
    raise DecodeError(f"{text} is no number")


def _number(value: Any) -> float:
    if isinstance(value, NumberText):
        return value
    raise DecodeError(f"{value!r} is no number")


def _optional(value: Any) -> float:
    return float("nan") if value is None else _number(value)


def _integer(value: Any) -> int:
    number = _number(value)
    if not number.is_integer() or abs(number) > 1 << 62:
        raise DecodeError(f"{number!r} is no integer")
    return int(value.text) if value.text.lstrip("-").isdigit() else int(number)


def _rows(payload: list[Any]) -> list[list[Any]]:
    """One row or a list of rows, as a list of rows."""
    if payload and not isinstance(payload[0], list):
        return [payload]
    if not all(isinstance(row, list) for row in payload):
        raise DecodeError("rows and values are mixed")
    return payload


class BitfinexCodec:
    """Decoder of one connection.

    Args:
        markets: books and trade memories, shared by the process's connections.
        publish: takes finished slots.
        subscriptions: what was or will be asked for on this connection.
        allot: places for streams nobody asked for, as a recording has them; None refuses them.
        tolerant: go on after a gap or a failed checksum, as a recording must; a live connection
            stops decoding at a gap, and mutes the channel of a failed checksum.
    """

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
        self.markets = markets
        self.tallies = np.zeros(kernel.TALLIES, np.int64)
        self.bad_frames = 0
        self.epoch = 0
        self.connection = connection
        self.broken = False
        """A sequence gap was found: nothing more of this connection is decoded."""
        self.gaps = 0
        self._publish = publish
        self._allot = allot
        self._tolerant = tolerant
        self._wanted = {sub_id(subscription): subscription for subscription in subscriptions or []}
        self._by_place: dict[int, Subscription] = {}
        self._unknown: dict[int, int] = {}
        self._block = SlotBlock(BLOCK_SLOTS)
        self._slots = self._block.slots
        self._state = np.zeros(kernel.STATE_WORDS, np.int64)
        self._channels = np.zeros(kernel.CHANNELS, kernel.CHANNEL)
        self._entries = np.zeros(kernel.ENTRIES, kernel.ENTRY)
        self._rows = np.zeros((kernel.ROWS, kernel.COLUMNS))
        self._widths = np.zeros(kernel.ROWS, np.int64)
        self._scratch = np.zeros(8192, np.uint8)
        self._result = np.zeros(kernel.RESULTS, np.int64)
        self._addresses = np.zeros(16, np.int64)
        self._address = int(self._addresses.ctypes.data)
        self._recv_ns = 0
        self._last_recv_ns = 0
        self._recordings: dict[str, Callable[[dict[str, Any]], Notice | None]] = {
            "info": self._on_info,
            "conf": self._on_conf,
            "subscribed": self._on_subscribed,
            "unsubscribed": self._on_unsubscribed,
            "error": self._on_error,
        }
        self._bind()
        kernel.compile_kernels()

    # ---- the connection's life

    def open(self, epoch: int, recv_ns: int, *, from_first: bool = True) -> None:
        """Begin a connection: no channels, flags unknown; `from_first` wants sequence 1 first."""
        self.epoch = epoch
        self.broken = False
        self.close_channels()
        self._state[:] = 0
        self._state[kernel.FLAGS] = -1
        self._state[kernel.EPOCH] = epoch
        self._state[kernel.FROM_FIRST] = from_first
        self._recv_ns = self._last_recv_ns = recv_ns

    def close_channels(self) -> None:
        """Forget all channels of the connection."""
        self._channels[:] = np.zeros(1, kernel.CHANNEL)
        self._by_place.clear()
        self._unknown.clear()

    @property
    def sequence_last(self) -> int:
        """The venue's number of the newest frame of this connection."""
        return int(self._state[kernel.LAST_SEQUENCE])

    @property
    def sequence_first(self) -> int:
        """The venue's number of the first numbered frame of this connection."""
        return int(self._state[kernel.FIRST_SEQUENCE])

    @property
    def newest_event_ns(self) -> int:
        """The newest time that the venue has given on this connection, 0 if none."""
        return int(self._state[kernel.NEWEST_EVENT])

    @property
    def unknown_frames(self) -> int:
        """Frames of this connection on channels that were never acknowledged."""
        return sum(self._unknown.values())

    @property
    def flags(self) -> int:
        """The connection's `conf` flags, -1 while the venue has not confirmed any."""
        return int(self._state[kernel.FLAGS])

    def data_ns(self) -> list[tuple[Subscription, int, int]]:
        """Per acknowledged channel: what it is, its id, when it last had data (or its ack)."""
        return [
            (what, int(self._channels[place]["id"]), int(self._channels[place]["data_ns"]))
            for place, what in self._by_place.items()
        ]

    def mute(self, channel_id: int) -> None:
        """Drop the frames of a channel from here on."""
        place = kernel.channel_place_of(self._address, channel_id)
        if self._channels[place]["id"]:
            self._channels[place]["muted"] = 1

    def interruption(self, reason: int) -> Interruption:
        """Where this connection was when it ended or broke."""
        return Interruption(
            epoch=self.epoch,
            venue_sequence=self.sequence_last,
            event_ns=int(self._state[kernel.CONNECTION_TIME]),
            recv_ns=self._last_recv_ns,
            reason=reason,
        )

    def interrupt(self, reason: MarkerReason, subscription: Subscription | None = None) -> None:
        """Note that a stream, or every acknowledged one, is unknown from the last frame on."""
        interruption = self.interruption(reason)
        for what in [subscription] if subscription is not None else self._by_place.values():
            self.markets.interrupt(what, interruption)

    # ---- frames

    def feed(self, batch: FrameBatch, recv_ns: int) -> list[Notice]:
        """Decode the frames of one socket read, received at `recv_ns`."""
        notices: list[Notice] = []
        self._recv_ns = recv_ns
        done, frames = 0, batch.count
        result = self._result
        while done < frames and not self.broken:
            stop = kernel.decode_frames(
                self._address, batch.text_address, batch.bounds_address, done, frames, recv_ns,
                BLOCK_SLOTS,
            )  # fmt: skip
            if stop == kernel.DONE:
                break
            done = int(result[kernel.R_FRAMES])
            if stop in {kernel.EVENT, kernel.SLOW}:
                notice = self._take_frame(batch.frame(done))
                done += 1
                if notice is not None:
                    notices.append(notice)
            elif stop == kernel.GAP:
                notices.append(self._on_gap(result[kernel.R_EXPECTED], result[kernel.R_FOUND]))
            elif stop == kernel.BAD_CHECKSUM:
                notices.append(self._on_bad_checksum())
            elif stop == kernel.FULL:
                self._flush()
        self._last_recv_ns = recv_ns
        self._flush()
        return notices

    def _flush(self) -> None:
        count = int(self._result[kernel.R_SLOTS])
        if count:
            self._result[kernel.R_SLOTS] = 0
            self._publish(self._block, count)

    def _bind(self) -> None:
        """Tell the kernel where everything stands; again after the markets have grown."""
        arrays = (
            self._state, self._channels, self.markets.books, self.markets.trades, self._entries,
            self._rows, self._widths, self.tallies, self._result, self._slots, self._scratch,
        )  # fmt: skip
        self._addresses[: len(arrays)] = [array.ctypes.data for array in arrays]

    def _on_gap(self, expected: int, found: int) -> SequenceGap:
        self.gaps += 1
        if self._tolerant:
            self._state[kernel.LAST_SEQUENCE] = int(found) - 1
            self.mark(Marker.GAP, MarkerReason.SEQUENCE, lost=max(int(found) - int(expected), 0))
        else:
            self.broken = True
        return SequenceGap(expected=int(expected), found=int(found))

    def _on_bad_checksum(self) -> ChannelBroken:
        place = int(self._result[kernel.R_CHANNEL])
        return self._break_channel(
            place,
            MarkerReason.CHECKSUM,
            f"checksum is {self._result[kernel.R_EXPECTED]}, the venue says "
            f"{self._result[kernel.R_FOUND]}",
        )

    def _break_channel(self, place: int, reason: MarkerReason, text: str) -> ChannelBroken:
        channel = self._channels[place]
        subscription = self._by_place[place]
        self.mark(Marker.RESYNC, reason, place=place)
        if not self._tolerant:
            channel["muted"] = 1
            interruption = self.interruption(reason)
            if channel["good_ns"]:
                interruption = msgspec.structs.replace(
                    interruption,
                    venue_sequence=int(channel["good_sequence"]),
                    event_ns=int(channel["good_event_ns"]),
                    recv_ns=int(channel["good_ns"]),
                )
            self.markets.interrupt(subscription, interruption)
        return ChannelBroken(
            channel_id=int(channel["id"]), subscription=subscription, reason=reason, text=text
        )

    def _take_frame(self, frame: bytes) -> Notice | None:
        try:
            if frame[:1] == b"[":
                return self._take_array(frame)
            return self._take_event(msgspec.json.decode(frame, type=dict[str, Any]))
        except (
            DecodeError,
            ValueError,
            KeyError,
            TypeError,
            OverflowError,
            RecursionError,
        ) as error:
            self.bad_frames += 1
            return BadFrame(
                text=frame[:200].decode(errors="replace"), why=str(error) or repr(error)
            )

    def _take_array(self, frame: bytes) -> Notice | None:
        values = json.loads(
            frame,
            parse_float=NumberText,
            parse_int=NumberText,
            parse_constant=_refuse_constant,
        )
        if len(values) < 2:
            raise DecodeError("a frame has a channel and a payload")
        number = _integer(values[0])
        tag = values[1] if isinstance(values[1], str) else ""
        payload_end = 3 if tag and tag != "hb" else 2
        if len(values) < payload_end:
            raise DecodeError(f"{tag} without a payload")
        gap = self._advance([_integer(value) for value in values[payload_end:]])
        if gap is not None and self.broken:
            return gap
        place = kernel.channel_place_of(self._address, number)
        channel = self._channels[place]
        if channel["id"] == 0:
            self._unknown[number] = self._unknown.get(number, 0) + 1
            self.tallies[kernel.N_UNKNOWN] += 1
            return gap
        if channel["muted"]:
            self.tallies[kernel.N_MUTED] += 1
            return gap
        if tag == "hb":
            self.tallies[kernel.N_HEARTBEATS] += 1
            return gap
        try:
            self._take_payload(place, tag, values[1] if not tag else values[2])
        except (DecodeError, ValueError, TypeError, IndexError) as error:
            self.bad_frames += 1
            if channel["book"] < 0 or self._tolerant:
                text = frame[:200].decode(errors="replace")
                return BadFrame(text=text, why=str(error) or repr(error))
            # A book that misses one update is wrong until its next snapshot.
            return self._break_channel(place, MarkerReason.BAD_FRAME, str(error))
        channel["data_ns"] = self._recv_ns
        channel["data_frames"] += 1
        return gap

    def _advance(self, tail: list[int]) -> SequenceGap | None:
        """Take a frame's trailing numbers as the kernel does: sequence check, server time."""
        flags = self.flags
        sequence = time_ms = 0
        if flags < 0:
            if len(tail) == 1 and tail[0] >= 1_000_000_000_000:
                time_ms = tail[0]
            elif tail:
                sequence, time_ms = tail[0], tail[1] if len(tail) > 1 else 0
        else:
            wants = [bool(flags & kernel.SEQUENCE_FLAG), bool(flags & kernel.TIMESTAMP_FLAG)]
            if len(tail) == sum(wants):
                sequence = tail[0] if wants[0] else 0
                time_ms = tail[-1] if wants[1] else 0
            else:
                self.tallies[kernel.N_TAIL_MISMATCH] += 1
        self.tallies[kernel.N_FRAMES] += 1
        gap = None
        if sequence > 0:
            last = self.sequence_last
            if sequence != last + 1 and (last or self._state[kernel.FROM_FIRST]):
                gap = self._on_gap(last + 1, sequence)
                if self.broken:
                    return gap
        kernel.take_tail(self._state, sequence, time_ms)
        return gap

    # ---- events

    def _take_event(self, event: dict[str, Any]) -> Notice | None:
        name = event.get("event")
        if not isinstance(name, str):
            raise DecodeError("an object that is no event")
        take = self._recordings.get(name)
        return take(event) if take is not None else None

    def _on_info(self, event: dict[str, Any]) -> Notice | None:
        code = event.get("code")
        if code is not None:
            text = f"{code} {event.get('msg', '')}".strip()
            return {
                20051: ServerNotice(reconnect=True, text=text),
                20060: ServerNotice(pause=True, text=text),
                20061: ServerNotice(resubscribe=True, text=text),
            }.get(int(code))
        if "version" in event:
            if event["version"] != 2:
                raise DecodeError(f"the venue speaks version {event['version']}, this is for 2")
            status = event.get("platform", {}).get("status", 1)
            return Opened(operative=status == 1, text=str(event.get("serverId", "")))
        return None

    def _on_conf(self, event: dict[str, Any]) -> Notice | None:
        if event.get("status") == "OK":
            self._state[kernel.FLAGS] = int(event.get("flags", 0))
        return None

    def _on_subscribed(self, event: dict[str, Any]) -> Notice | None:
        subscription = self._subscription_of(event)
        if subscription is None:
            raise DecodeError("an ack of a stream that was not asked for")
        number = int(event["chanId"])
        if number <= 0:
            raise DecodeError(f"channel id {number}")
        return self._register(number, subscription)

    def _register(self, number: int, subscription: Subscription) -> Acknowledged:
        stream, instrument = subscription.stream, subscription.instrument
        for place in [p for p, what in self._by_place.items() if what is subscription]:
            self._drop_place(place)
        if len(self._by_place) >= kernel.CHANNELS // 2:
            raise DecodeError("more channels on one connection than a venue allows")
        is_book = stream.channel in {"books", "raw_books"}
        book = self.markets.book(subscription) if is_book else -1
        trades = self.markets.trade_memory(instrument.index) if stream.channel == "trades" else -1
        self._bind()
        place = kernel.channel_place_of(self._address, number)
        channel = self._channels[place]
        values = {
            "id": number,
            "form": _FORMS[stream.channel],
            "instrument": instrument.index,
            "stream": stream.index,
            "book": book,
            "trades": trades,
            "awaits_snapshot": is_book,
            "muted": 0,
            "funding": instrument.symbol.startswith("f"),
            "data_ns": self._recv_ns,
            "good_ns": 0,
            "data_frames": 0,
        }
        self._unknown.pop(number, None)
        for name, value in values.items():
            channel[name] = value
        self._by_place[place] = subscription
        # A primary book that came after the trades of its instrument is theirs from now on.
        for other, what in self._by_place.items():
            primary = self.markets.primary_book(what.instrument.index)
            self._channels[other]["primary_book"] = primary
        self.mark(Marker.SUBSCRIBED, MarkerReason.NONE, place=place)
        key = (instrument.index, stream.index)
        interruption = self.markets.interrupted.pop(key, None)
        if interruption is not None:
            self.mark(
                Marker.GAP, MarkerReason(interruption.reason), place=place, since=interruption
            )
        return Acknowledged(channel_id=number, subscription=subscription)

    def _on_unsubscribed(self, event: dict[str, Any]) -> Notice | None:
        number = int(event["chanId"])
        place = kernel.channel_place_of(self._address, number)
        if self._channels[place]["id"] == 0:
            return None
        self.mark(Marker.UNSUBSCRIBED, MarkerReason.NONE, place=place)
        self._drop_place(place)
        return Ended(channel_id=number)

    def _drop_place(self, place: int) -> None:
        """Take a channel out; the table is laid anew, since a probe must not meet a hole."""
        del self._by_place[place]
        kept = [(self._channels[p].copy(), what) for p, what in self._by_place.items()]
        self._channels[:] = np.zeros(1, kernel.CHANNEL)
        self._by_place.clear()
        for channel, what in kept:
            at = kernel.channel_place_of(self._address, int(channel["id"]))
            self._channels[at] = channel
            self._by_place[at] = what

    def _on_error(self, event: dict[str, Any]) -> Notice | None:
        code = int(event.get("code", 0))
        subscription = self._subscription_of(event)
        text = str(event.get("msg", ""))
        if code == DUPLICATE and subscription is not None and event.get("chanId"):
            # Somebody asked twice; the stream that exists is what was wanted.
            return self._register(int(event["chanId"]), subscription)
        if subscription is not None:
            self.mark(Marker.REFUSED, MarkerReason.VENUE_REFUSED, subscription=subscription)
        return Refused(
            code=code,
            text=text,
            subscription=subscription,
            full=code == CHANNEL_LIMIT,
            permanent=code in PERMANENT_ERRORS,
        )

    def _subscription_of(self, event: dict[str, Any]) -> Subscription | None:
        name = event.get("subId")
        if name is not None and str(name) in self._wanted:
            return self._wanted[str(name)]
        described = describe(event)
        if described is None:
            return None
        symbol, channel, parameters = described
        for subscription in self._wanted.values():
            stream = subscription.stream
            if (subscription.instrument.symbol, stream.channel) == (symbol, channel) and all(
                getattr(stream, name) == value for name, value in parameters.items()
            ):
                return subscription
        if self._allot is None or not symbol:
            return None
        instrument, stream = self._allot(symbol, common_pair(symbol), channel, parameters)
        primary = channel == "books" and self._is_primary(instrument, parameters)
        made = Subscription(instrument=instrument, stream=stream, primary=primary)
        self._wanted[sub_id(made)] = made
        return made

    def _is_primary(self, instrument: Instrument, parameters: dict[str, Any]) -> bool:
        has_one = self.markets.primary_book(instrument.index) >= 0
        return parameters["precision"] == "P0" and not has_one

    # ---- payloads that Python parses

    def _take_payload(self, place: int, tag: str, payload: Any) -> None:
        channel = self._channels[place]
        name = self._by_place[place].stream.channel
        if tag == "cs" and channel["book"] >= 0:
            raise DecodeError(f"checksum {payload!r}")
        if tag and not (tag in _TRADE_TAGS and name == "trades"):
            raise DecodeError(f"{name} cannot hold {tag}")
        if not isinstance(payload, list):
            raise DecodeError(f"{name} cannot hold {payload!r}")
        if channel["book"] >= 0:
            self._take_book(place, payload)
        elif tag:
            self._take_rows(place, [payload], Flag.CONFIRMED if tag.endswith("u") else Flag(0))
        else:
            first = name == "trades" or (name == "candles" and channel["data_frames"] == 0)
            self._take_rows(place, _rows(payload), Flag.SNAPSHOT if first else Flag(0))

    def _room(self, wanted: int) -> None:
        if int(self._result[kernel.R_SLOTS]) + wanted > BLOCK_SLOTS:
            self._flush()

    def _take_rows(self, place: int, rows: list[Any], flags: Flag) -> None:
        """Rows of numbers that the kernel could not read itself."""
        if any(row and row[0] == "pos" for row in rows):
            raise DecodeError("liquidations are not decoded")
        if len(rows) > kernel.ROWS or any(len(row) > kernel.COLUMNS for row in rows):
            raise DecodeError("more numbers than any frame of the venue has")
        for index, row in enumerate(rows):
            self._widths[index] = len(row)
            self._rows[index, : len(row)] = [_optional(value) for value in row]
            if any(abs(value) > 1 << 62 for value in row[:2] if value is not None):
                raise DecodeError(f"{row[0]!r}, {row[1]!r} are no id and time")
        self._room(len(rows))
        used = kernel.apply_rows(
            self._address, place, len(rows), self._recv_ns,
            int(self._result[kernel.R_SLOTS]), int(flags),
        )  # fmt: skip
        if used < 0:
            name = self._by_place[place].stream.channel
            raise DecodeError(f"{name} cannot hold such rows: {str(rows)[:100]}")
        self._result[kernel.R_SLOTS] = used

    def _take_book(self, place: int, payload: list[Any]) -> None:
        """A book frame that the kernel found irregular: long numbers, or a funding market."""
        channel = self._channels[place]
        if channel["awaits_snapshot"] and payload and not isinstance(payload[0], list):
            raise DecodeError("an update came before the snapshot")
        raw, funding = channel["form"] == kernel.RAW_BOOK, bool(channel["funding"])
        rows = _rows(payload)
        if len(rows) > kernel.ENTRIES:
            raise DecodeError(f"{len(rows)} levels in one frame")
        text = bytearray()
        entries = np.zeros(max(len(rows), 1), kernel.ENTRY)
        for entry, row in zip(entries, rows, strict=False):
            self._fill_entry(entry, row, text, raw=raw, funding=funding)
        self._entries[: len(rows)] = entries[: len(rows)]
        self._room(len(rows) + 2)
        letters = np.frombuffer(bytes(text) or b" ", np.uint8)
        self._result[kernel.R_SLOTS] = kernel.apply_parsed(
            self._address, place, len(rows), letters.ctypes.data, len(letters),
            self._recv_ns, int(self._result[kernel.R_SLOTS]),
        )  # fmt: skip

    @staticmethod
    def _fill_entry(
        entry: Any, row: list[Any], text: bytearray, *, raw: bool, funding: bool
    ) -> None:
        """One row into a parsed entry whose texts are appended to `text`."""
        if len(row) < 3 + funding:
            raise DecodeError(f"a level of {len(row)} fields")
        count = 1
        if raw:
            key, price, amount = row[0], row[2 if funding else 1], row[3 if funding else 2]
            entry["key"] = _integer(key)
        else:
            price, amount = row[0], row[3 if funding else 2]
            count = _integer(row[2 if funding else 1])
            key = price
            entry["key"] = _integer(row[1]) if funding else 0
        if _number(amount) == 0 or _number(price) < 0 or (price == 0 and not raw) or count < 0:
            raise DecodeError("a level without price or amount")
        entry["price"], entry["count"] = price, count
        # Funding offers are positive and stand on the ask side: the sign is the other way round.
        entry["amount"] = -amount if funding else amount
        for name, value in (("price", price), ("amount", amount), ("key", key)):
            entry[f"{name}_at"] = len(text)
            text += value.text.encode()
            entry[f"{name}_end"] = len(text)
        if sum(len(value.text) for value in (key, price, amount)) + 1 > TEXT_BYTES:
            raise DecodeError("a level's numbers are longer than any venue's")

    # ---- markers

    def mark(
        self,
        marker: Marker,
        reason: MarkerReason,
        *,
        place: int = -1,
        subscription: Subscription | None = None,
        since: Interruption | None = None,
        lost: int = 0,
    ) -> None:
        """Put a marker on the tape: of a channel, of a subscription, or of the whole connection."""
        self._room(1)
        at = int(self._result[kernel.R_SLOTS])
        self._result[kernel.R_SLOTS] = at + 1
        self._slots[at] = np.zeros((), tape.SLOT)
        slot = self._slots.view(tape.MARKER)[at]
        what = subscription or self._by_place.get(place)
        slot["recv_ns"] = self._recv_ns
        slot["event_ns"] = self._state[kernel.FRAME_NS]
        slot["venue_sequence"] = self._state[kernel.FRAME_SEQUENCE]
        slot["epoch"] = self.epoch
        slot["kind"] = Kind.MARKER
        slot["instrument"] = what.instrument.index if what else tape.WHOLE_CONNECTION
        slot["stream"] = what.stream.index if what else tape.WHOLE_CONNECTION
        slot["flags"] = Flag.PRIMARY if what and what.primary else 0
        slot["marker"], slot["reason"] = marker, reason
        slot["connection"] = self.connection
        slot["channel_id"] = int(self._channels[place]["id"]) if place >= 0 else 0
        slot["lost"] = lost
        if since is not None:
            slot["from_epoch"] = since.epoch
            slot["from_venue_sequence"] = since.venue_sequence
            slot["from_event_ns"], slot["from_recv_ns"] = since.event_ns, since.recv_ns
            slot["to_recv_ns"] = self._recv_ns
            slot["to_event_ns"] = self._state[kernel.CONNECTION_TIME]
            slot["to_venue_sequence"] = self.sequence_last

    def flush(self) -> None:
        """Publish markers that were put on the tape outside of `feed`."""
        self._flush()
