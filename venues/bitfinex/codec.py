"""Bitfinex frames to tape slots and notices: one codec a connection.

The compiled kernel takes nearly all frames; what it stops at comes here: events, liquidations, and
whatever is irregular. Numbers keep their wire text on the way (`NumberText`). A frame that cannot
be decoded is skipped whole and told as `BadFrame`.

Codes of errors and announcements (docs.bitfinex.com/docs/ws-general) and what they lead to stand in
`_take_error` and `_on_info`.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np

from schemas import tape
from schemas.errors import DecodeError
from schemas.tape import Flag, Marker, MarkerReason
from venues import decoding
from venues.bitfinex import kernel
from venues.bitfinex.applying import apply_parsed, apply_rows
from venues.bitfinex.liquidations import read_liquidations, write_liquidation
from venues.bitfinex.parsing import PERIOD_MAX
from venues.bitfinex.subscriptions import FLAG_SEQUENCE, FLAG_TIMESTAMP, describe, sub_id
from venues.bitfinex.symbols import common_pair
from venues.book import ENTRY, TEXT_BYTES
from venues.channels import BLOCK_SLOTS
from venues.codec import ConnectionCodec
from venues.markets import Markets
from venues.numbers import as_integer, as_number, number_or_nan, parse_exact
from venues.wire import (
    Acknowledged,
    Allot,
    Ended,
    FrameBatch,
    Notice,
    Opened,
    Publish,
    Refused,
    SequenceGap,
    ServerNotice,
    Subscription,
)

PERMANENT_ERRORS: Final = frozenset({10001, 10020, 10300, 10302})
"""Unknown pair, faulty request, refused for good, unknown channel: the same answer every time."""
CHANNEL_LIMIT: Final = 10305
DUPLICATE: Final = 10301
NOT_SUBSCRIBED: Final = frozenset({10400, 10401})
_REMEMBERED_MAX: Final = 1024
_TRADE_TAGS = frozenset({"te", "tu", "fte", "ftu"})


def _rows(payload: list[Any]) -> list[list[Any]]:
    """One row or a list of rows, as a list of rows."""
    if payload and not isinstance(payload[0], list):
        return [payload]
    if not all(isinstance(row, list) for row in payload):
        raise DecodeError("rows and values are mixed")
    return payload


class BitfinexCodec(ConnectionCodec):
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
        self._by_id = {sub_id(subscription): subscription for subscription in subscriptions or []}
        self._early: set[int] = set()
        """Channels that had data before they were acknowledged."""
        self._gone: set[int] = set()
        """Channels of this connection that have ended."""
        self._events: dict[str, Callable[[dict[str, Any]], Notice | None]] = {
            "info": self._on_info,
            "conf": self._on_conf,
            "subscribed": self._on_subscribed,
            "unsubscribed": self._on_unsubscribed,
            "error": self._on_error,
        }
        decoding.compile_kernels(kernel.ENTRY_POINTS)

    def open(self, epoch: int, recv_ns: int, *, from_first: bool = True) -> None:
        """Begin a connection: no channels, flags unknown; `from_first` wants sequence 1 first."""
        super().open(epoch, recv_ns, from_first=from_first)
        self._early.clear()
        self._gone.clear()

    def want(self, subscription: Subscription) -> None:
        """One more subscription that will be asked for on this connection."""
        super().want(subscription)
        self._by_id[sub_id(subscription)] = subscription

    @property
    def flags(self) -> int:
        """The connection's `conf` flags, -1 while the venue has not confirmed any."""
        return int(self._state[decoding.FLAGS])

    def decode(self, batch: FrameBatch, first: int, recv_ns: int) -> int:
        """Take the frames of a batch from `first` on, compiled."""
        return kernel.decode_frames(
            self._address, batch.text_address, batch.bounds_address, first, batch.count, recv_ns,
            BLOCK_SLOTS,
        )  # fmt: skip

    def take_frame(self, frame: bytes) -> Notice | None:
        """Take one frame that the kernel left."""
        if frame[:1] == b"[":
            return self._take_array(frame)
        return self._take_event(msgspec.json.decode(frame, type=dict[str, Any]))

    def begins_connection(self, frame: bytes) -> bool:
        """The greeting alone has a version."""
        return frame.startswith(b"{") and b'"version"' in frame

    def _take_array(self, frame: bytes) -> Notice | None:
        values = parse_exact(frame)
        if len(values) < 2:
            raise DecodeError("a frame has a channel and a payload")
        number = as_integer(values[0])
        tag = values[1] if isinstance(values[1], str) else ""
        payload_end = 3 if tag and tag != "hb" else 2
        if len(values) < payload_end:
            raise DecodeError(f"{tag} without a payload")
        gap = self._advance([as_integer(value) for value in values[payload_end:]])
        if gap is not None and self.broken:
            return gap
        place = decoding.channel_place_of(self._address, number)
        channel = self._channels[place]
        if channel["id"] == 0:
            self.note_unknown(number)
            if tag != "hb" and len(self._early) < _REMEMBERED_MAX:
                self._early.add(number)
            return gap
        if channel["muted"]:
            self.tallies[decoding.N_MUTED] += 1
            return gap
        if tag == "hb":
            self.tallies[decoding.N_HEARTBEATS] += 1
            return gap
        payload = values[1] if not tag else values[2]
        broken = self._try_payload(place, frame, lambda: self._take_payload(place, tag, payload))
        return gap if broken is None else broken

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
            wants = [bool(flags & FLAG_SEQUENCE), bool(flags & FLAG_TIMESTAMP)]
            if len(tail) == sum(wants):
                sequence = tail[0] if wants[0] else 0
                time_ms = tail[-1] if wants[1] else 0
            else:
                self.tallies[decoding.N_TAIL_MISMATCH] += 1
        self.tallies[decoding.N_FRAMES] += 1
        gap = None
        if sequence > 0:
            last = self.sequence_last
            if sequence != last + 1 and (last or self._state[decoding.FROM_FIRST]):
                gap = self.on_gap(last + 1, sequence)
                if self.broken:
                    return gap
        kernel.take_tail(self._state, sequence, time_ms)
        return gap

    # ---- events

    def _take_event(self, event: dict[str, Any]) -> Notice | None:
        name = event.get("event")
        if not isinstance(name, str):
            raise DecodeError("an object that is no event")
        take = self._events.get(name)
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
            self._state[decoding.FLAGS] = int(event.get("flags", 0))
            return None
        # What the flags are now nobody has said; a tail is then read as what its numbers look like.
        self._state[decoding.FLAGS] = -1
        text = f"conf {event.get('status')}: frames may come without numbers, times and checksums"
        return ServerNotice(text=f"{text} {event.get('msg', '')}".strip())

    def _on_subscribed(self, event: dict[str, Any]) -> Notice | None:
        subscription = self._subscription_of(event)
        if subscription is None:
            raise DecodeError("an ack of a stream that was not asked for")
        number = int(event["chanId"])
        again = self._runs(number, subscription) and not self._tolerant
        return self._begin(number, subscription, again=again)

    def _runs(self, number: int, subscription: Subscription) -> bool:
        place = decoding.channel_place_of(self._address, number)
        return self._by_place.get(place) is subscription

    def _begin(self, number: int, subscription: Subscription, *, again: bool) -> Notice | None:
        """A stream runs under this channel id; `again` says that we know of it already.

        Then its book must not be emptied: its snapshot has come, and will not come twice.
        """
        if number <= 0:
            raise DecodeError(f"channel id {number}")
        if again:
            muted = self._channels[decoding.channel_place_of(self._address, number)]["muted"]
            return None if muted else Acknowledged(channel_id=number, subscription=subscription)
        if number in self._early and not self._tolerant:
            # Its snapshot may have gone by; in bulk updates nothing tells it from an update.
            text = f"channel {number} had data before its acknowledgement"
            return ServerNotice(reconnect=True, text=text)
        return self.register(number, subscription)

    def _on_unsubscribed(self, event: dict[str, Any]) -> Notice | None:
        number = int(event["chanId"])
        return self._take_end(number) if event.get("status", "OK") == "OK" else None

    def _take_end(self, number: int) -> Ended:
        self.end_channel(number)
        self._early.discard(number)
        if len(self._gone) < _REMEMBERED_MAX:
            self._gone.add(number)
        return Ended(channel_id=number)

    def _on_error(self, event: dict[str, Any]) -> Notice | None:
        code = int(event.get("code", 0))
        subscription = self._subscription_of(event)
        text = str(event.get("msg", ""))
        number = int(event.get("chanId") or 0)
        if code == DUPLICATE and subscription is not None and number:
            # Somebody asked twice; the stream that exists is what was wanted.
            if number in self._gone:
                return None
            return self._begin(number, subscription, again=self._runs(number, subscription))
        if code in NOT_SUBSCRIBED and number:
            return self._take_end(number)  # what was to end has ended
        if subscription is not None and code != CHANNEL_LIMIT:
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
        if name is not None and str(name) in self._by_id:
            return self._by_id[str(name)]
        described = describe(event)
        if described is None:
            return None
        symbol, channel, parameters = described
        return self.find(symbol, common_pair(symbol) if symbol else "", channel, parameters)

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
        elif channel["form"] == decoding.LIQUIDATIONS:
            self._take_liquidations(place, payload)
        elif tag:
            self._take_rows(place, [payload], Flag.CONFIRMED if tag.endswith("u") else Flag(0))
        else:
            first = name == "trades" or (name == "candles" and channel["data_frames"] == 0)
            self._take_rows(place, _rows(payload), Flag.SNAPSHOT if first else Flag(0))

    def _take_rows(self, place: int, rows: list[Any], flags: Flag) -> None:
        """Rows of numbers that the kernel could not read itself."""
        if len(rows) > decoding.ROWS or any(len(row) > decoding.COLUMNS for row in rows):
            raise DecodeError("more numbers than any frame of the venue has")
        for index, row in enumerate(rows):
            self._widths[index] = len(row)
            self._rows[index, : len(row)] = [number_or_nan(value) for value in row]
            if any(abs(value) > 1 << 62 for value in row[:2] if value is not None):
                raise DecodeError(f"{row[0]!r}, {row[1]!r} are no id and time")
        self.room(len(rows))
        used = apply_rows(
            self._address, place, len(rows), self._recv_ns,
            int(self._result[decoding.R_SLOTS]), int(flags),
        )  # fmt: skip
        if used < 0:
            name = self._by_place[place].stream.channel
            raise DecodeError(f"{name} cannot hold such rows: {str(rows)[:100]}")
        self._result[decoding.R_SLOTS] = used

    def _take_liquidations(self, place: int, payload: list[Any]) -> None:
        found = read_liquidations(payload)
        self.room(len(found))
        for each in found:
            at = int(self._result[decoding.R_SLOTS])
            self._result[decoding.R_SLOTS] = at + 1
            self._slots[at] = np.zeros((), tape.SLOT)
            slot = self._slots.view(tape.LIQUIDATION)[at]
            self.head(slot, place, tape.Kind.STATUS)
            write_liquidation(slot, each)
            if each is found[-1]:
                slot["flags"] |= Flag.FRAME_END
        self.tallies[decoding.N_STATUS] += len(found)

    def _take_book(self, place: int, payload: list[Any]) -> None:
        """A book frame that the kernel found irregular, by numbers longer than a double's, say."""
        channel = self._channels[place]
        if channel["awaits_snapshot"] and payload and not isinstance(payload[0], list):
            raise DecodeError("an update came before the snapshot")
        raw, funding = channel["form"] == decoding.RAW_BOOK, bool(channel["funding"])
        rows = _rows(payload)
        if len(rows) > decoding.ENTRIES:
            raise DecodeError(f"{len(rows)} levels in one frame")
        text = bytearray()
        entries = np.zeros(max(len(rows), 1), ENTRY)
        for entry, row in zip(entries, rows, strict=False):
            self._fill_entry(entry, row, text, raw=raw, funding=funding)
        self._entries[: len(rows)] = entries[: len(rows)]
        self.room(len(rows) + 2)
        letters = np.frombuffer(bytes(text) or b" ", np.uint8)
        self._result[decoding.R_SLOTS] = apply_parsed(
            self._address, place, len(rows), letters.ctypes.data, len(letters),
            self._recv_ns, int(self._result[decoding.R_SLOTS]),
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
            entry["key"] = as_integer(key)
            count = as_integer(row[1]) if funding else 1
        else:
            price, amount = row[0], row[3 if funding else 2]
            count = as_integer(row[2 if funding else 1])
            key = price
            entry["key"] = as_integer(row[1]) if funding else 0
        no_price = not price and not raw and not funding
        if not as_number(amount) or as_number(price) < 0 or no_price or count < 0:
            raise DecodeError("a level without price or amount")
        if funding and not 0 <= as_integer(row[1]) <= PERIOD_MAX:
            raise DecodeError(f"a period of {row[1]!r} days")
        entry["price"], entry["count"] = price, count
        # Funding offers are positive and stand on the ask side: the sign is the other way round.
        entry["amount"] = -amount if funding else amount
        for name, value in (("price", price), ("amount", amount), ("key", key)):
            entry[f"{name}_at"] = len(text)
            text += value.text.encode()
            entry[f"{name}_end"] = len(text)
        if sum(len(value.text) for value in (key, price, amount)) + 1 > TEXT_BYTES:
            raise DecodeError("a level's numbers are longer than any venue's")
