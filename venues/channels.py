"""One connection's channels: what each is, where the kernel finds it, and the markers it leaves.

Owns the arrays that a compiled decoder is handed by address, the table of acknowledged channels and
the block in which slots wait for `Publish`. Knows no frame of any venue.
"""

from typing import Any, Final

import numpy as np

from schemas import tape
from schemas.errors import DecodeError
from schemas.instruments import Channel
from schemas.tape import Flag, Kind, Marker, MarkerReason
from venues import decoding
from venues.book import ENTRY
from venues.markets import Markets
from venues.wire import Acknowledged, Allot, Interruption, Publish, SlotBlock, Subscription

BLOCK_SLOTS: Final = 8192
_TALLIES: Final = {
    "ingest_frames": decoding.N_FRAMES,
    "frames_unknown": decoding.N_UNKNOWN,
    "checksums_verified": decoding.N_VERIFIED,
    "checksums_failed": decoding.N_FAILED,
    "ingest_events trades": decoding.N_TRADES,
    "ingest_events books": decoding.N_BOOK,
    "ingest_events raw_books": decoding.N_RAW,
    "ingest_events ticker": decoding.N_TICKERS,
    "ingest_events candles": decoding.N_CANDLES,
    "ingest_events status": decoding.N_STATUS,
}


class Channels:
    """The channels of one connection.

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
        self.tallies = np.zeros(decoding.TALLIES, np.int64)
        self.bad_frames = 0
        self.epoch = 0
        self.connection = connection
        self.broken = False
        """A sequence gap was found: nothing more of this connection is decoded."""
        self.gaps = 0
        self._publish = publish
        self._allot = allot
        self._tolerant = tolerant
        self._wanted = list(subscriptions or [])
        self._by_place: dict[int, Subscription] = {}
        self._unknown: dict[int, int] = {}
        self._block = SlotBlock(BLOCK_SLOTS)
        self._slots = self._block.slots
        self._state = np.zeros(decoding.STATE_WORDS, np.int64)
        self._channels = np.zeros(decoding.CHANNELS, decoding.CHANNEL)
        self._entries = np.zeros(decoding.ENTRIES, ENTRY)
        self._rows = np.zeros((decoding.ROWS, decoding.COLUMNS))
        self._widths = np.zeros(decoding.ROWS, np.int64)
        self._scratch = np.zeros(8192, np.uint8)
        self._result = np.zeros(decoding.RESULTS, np.int64)
        self._markets_version = -1
        self._addresses = np.zeros(16, np.int64)
        self._address = int(self._addresses.ctypes.data)
        self._recv_ns = 0
        self._last_recv_ns = 0
        for subscription in self._wanted:
            if subscription.primary:
                # Known from now on to an instrument's streams on other connections as well.
                markets.book(subscription)
        self._bind()

    def open(self, epoch: int, recv_ns: int, *, from_first: bool = True) -> None:
        """Begin a connection: no channels, flags unknown; `from_first` wants sequence 1 first."""
        self.epoch = epoch
        self.broken = False
        self.close_channels()
        self._state[:] = 0
        self._state[decoding.FLAGS] = -1
        self._state[decoding.EPOCH] = epoch
        self._state[decoding.FROM_FIRST] = from_first
        self._recv_ns = self._last_recv_ns = recv_ns

    def close_channels(self) -> None:
        """Forget all channels of the connection."""
        self._channels[:] = np.zeros(1, decoding.CHANNEL)
        self._by_place.clear()
        self._unknown.clear()

    @property
    def sequence_last(self) -> int:
        """The venue's number of the newest frame of this connection."""
        return int(self._state[decoding.LAST_SEQUENCE])

    @property
    def sequence_first(self) -> int:
        """The venue's number of the first numbered frame of this connection."""
        return int(self._state[decoding.FIRST_SEQUENCE])

    @property
    def newest_event_ns(self) -> int:
        """The newest time that the venue has given on this connection, 0 if none."""
        return int(self._state[decoding.NEWEST_EVENT])

    @property
    def unknown_frames(self) -> int:
        """Frames of this connection on channels that were never acknowledged."""
        return sum(self._unknown.values())

    def tally(self) -> dict[str, int]:
        """What was counted, by metric name, or by `ingest_events` and channel."""
        return {name: int(self.tallies[at]) for name, at in _TALLIES.items()} | {
            "frames_bad": self.bad_frames
        }

    def data_ns(self) -> list[tuple[Subscription, int, int]]:
        """Per acknowledged channel: what it is, its id, when it last had data (or its ack)."""
        return [
            (what, int(self._channels[place]["id"]), int(self._channels[place]["data_ns"]))
            for place, what in self._by_place.items()
        ]

    def mute(self, channel_id: int) -> None:
        """Drop the frames of a channel from here on."""
        place = decoding.channel_place_of(self._address, channel_id)
        if self._channels[place]["id"]:
            self._channels[place]["muted"] = 1

    def want(self, subscription: Subscription) -> None:
        """One more subscription that will be asked for on this connection."""
        self._wanted.append(subscription)

    def share(self, wanted: list[Subscription]) -> None:
        """Have one list of streams with another connection of the same recording."""
        self._wanted = wanted

    def note_unknown(self, number: int) -> None:
        """Count a frame on a channel that was never acknowledged."""
        if number in self._unknown or len(self._unknown) < decoding.CHANNELS:
            self._unknown[number] = self._unknown.get(number, 0) + 1
        self.tallies[decoding.N_UNKNOWN] += 1

    def interruption(self, reason: int) -> Interruption:
        """Where this connection was when it ended or broke."""
        return Interruption(
            epoch=self.epoch,
            venue_sequence=self.sequence_last,
            event_ns=int(self._state[decoding.CONNECTION_TIME]),
            recv_ns=self._last_recv_ns,
            reason=reason,
        )

    def interrupt(self, reason: MarkerReason, subscription: Subscription | None = None) -> None:
        """Note that a stream, or every acknowledged one, is unknown from the last frame on."""
        interruption = self.interruption(reason)
        for what in [subscription] if subscription is not None else self._by_place.values():
            self.markets.interrupt(what, interruption)

    def room(self, wanted: int) -> None:
        """Make room for so many slots in the block."""
        if int(self._result[decoding.R_SLOTS]) + wanted > BLOCK_SLOTS:
            self.flush()

    def flush(self) -> None:
        """Publish what stands in the block; also for markers put there outside of `feed`."""
        count = int(self._result[decoding.R_SLOTS])
        if count:
            self._result[decoding.R_SLOTS] = 0
            if self.markets.holes is not None:
                self.markets.holes.note(self._slots[:count])
            self._publish(self._block, count)

    def _bind(self) -> None:
        """Tell the kernel where everything stands.

        Again whenever the markets have grown, be it by another connection: they stand elsewhere.
        And when a primary book has come.
        """
        self._markets_version = self.markets.version
        arrays = (
            self._state, self._channels, self.markets.books, self.markets.trades, self._entries,
            self._rows, self._widths, self.tallies, self._result, self._slots, self._scratch,
        )  # fmt: skip
        self._addresses[: len(arrays)] = [array.ctypes.data for array in arrays]
        # A primary book that came after the trades of its instrument is theirs from now on.
        for place, what in self._by_place.items():
            primary = self.markets.primary_book(what.instrument.index)
            self._channels[place]["primary_book"] = primary

    def find(
        self, symbol: str, pair: str, channel: Channel, parameters: dict[str, Any]
    ) -> Subscription | None:
        """The subscription that an answer speaks of; a recording's is made on the spot."""
        for subscription in self._wanted:
            stream = subscription.stream
            if (subscription.instrument.symbol, stream.channel) == (symbol, channel) and all(
                getattr(stream, name) == value for name, value in parameters.items()
            ):
                return subscription
        if self._allot is None or not symbol:
            return None
        instrument, stream = self._allot(symbol, pair, channel, parameters)
        primary = (
            channel == "books"
            and stream.precision in {"", "P0"}
            and self.markets.primary_book(instrument.index) < 0
        )
        made = Subscription(instrument=instrument, stream=stream, primary=primary)
        self._wanted.append(made)
        return made

    def register(self, number: int, subscription: Subscription, *, depth: int = 0) -> Acknowledged:
        """Give a subscription its channel; what was interrupted ends here, as a GAP on the tape.

        Raises:
            DecodeError: more channels than a connection may have.
        """
        stream, instrument = subscription.stream, subscription.instrument
        for place in [p for p, what in self._by_place.items() if what is subscription]:
            self._drop_place(place)
        if len(self._by_place) >= decoding.CHANNELS // 2:
            raise DecodeError("more channels on one connection than a venue allows")
        is_book = stream.channel in {"books", "raw_books"}
        book = self.markets.book(subscription) if is_book else -1
        trades = self.markets.trade_memory(instrument.index) if stream.channel == "trades" else -1
        place = decoding.channel_place_of(self._address, number)
        values = {
            "id": number,
            "form": decoding.FORMS[stream.table],
            "instrument": instrument.index,
            "stream": stream.index,
            "book": book,
            "trades": trades,
            "primary_book": self.markets.primary_book(instrument.index),
            "awaits_snapshot": is_book,
            "muted": 0,
            "funding": instrument.pair.endswith(":FUNDING"),
            "depth": depth,
            "data_ns": self._recv_ns,
            "good_ns": 0,
            "data_frames": 0,
        }
        self._unknown.pop(number, None)
        for name, value in values.items():
            self._channels[place][name] = value
        self._by_place[place] = subscription
        if self._markets_version != self.markets.version:
            self._bind()
        self.mark(Marker.SUBSCRIBED, MarkerReason.NONE, place=place)
        key = (instrument.index, stream.index)
        interruption = self.markets.interrupted.pop(key, None)
        if interruption is not None:
            self.mark(
                Marker.GAP, MarkerReason(interruption.reason), place=place, since=interruption
            )
            if stream.channel == "trades":
                self.markets.open_hole(
                    subscription,
                    interruption,
                    epoch=self.epoch,
                    to_recv_ns=self._recv_ns,
                )
        return Acknowledged(channel_id=number, subscription=subscription)

    def register_name(
        self, number: int, subscription: Subscription, *, depth: int = 0
    ) -> Acknowledged:
        """`register` under a number that is made of a name (`venues.names.channel_number`).

        Raises:
            DecodeError: another name has that number, or there are too many channels.
        """
        holder = self._by_place.get(decoding.channel_place_of(self._address, number))
        if holder is not None and _name(holder) != _name(subscription):
            raise DecodeError(f"{_name(subscription)} and {_name(holder)} have one number")
        return self.register(number, subscription, depth=depth)

    def end_channel(self, number: int) -> bool:
        """The venue has stopped sending a channel; False if there was none of this number."""
        place = decoding.channel_place_of(self._address, number)
        if self._channels[place]["id"] == 0:
            return False
        self.mark(Marker.UNSUBSCRIBED, MarkerReason.NONE, place=place)
        self._drop_place(place)
        return True

    def _drop_place(self, place: int) -> None:
        """Take a channel out; the table is laid anew, since a probe must not meet a hole."""
        del self._by_place[place]
        kept = [(self._channels[p].copy(), what) for p, what in self._by_place.items()]
        self._channels[:] = np.zeros(1, decoding.CHANNEL)
        self._by_place.clear()
        for channel, what in kept:
            at = decoding.channel_place_of(self._address, int(channel["id"]))
            self._channels[at] = channel
            self._by_place[at] = what

    def head(self, slot: Any, place: int, kind: Kind) -> None:
        """Fill the header of a slot of zeros with what its channel and frame say."""
        what = self._by_place[place]
        slot["recv_ns"] = self._recv_ns
        slot["event_ns"] = self._state[decoding.FRAME_NS]
        slot["venue_sequence"] = self._state[decoding.FRAME_SEQUENCE]
        slot["epoch"] = self.epoch
        slot["kind"] = kind
        slot["instrument"], slot["stream"] = what.instrument.index, what.stream.index

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
        self.room(1)
        at = int(self._result[decoding.R_SLOTS])
        self._result[decoding.R_SLOTS] = at + 1
        self._slots[at] = np.zeros((), tape.SLOT)
        slot = self._slots.view(tape.MARKER)[at]
        what = subscription or self._by_place.get(place)
        slot["recv_ns"] = self._recv_ns
        slot["event_ns"] = self._state[decoding.FRAME_NS]
        slot["venue_sequence"] = self._state[decoding.FRAME_SEQUENCE]
        slot["epoch"] = self.epoch
        slot["kind"] = Kind.MARKER
        slot["instrument"] = what.instrument.index if what else tape.WHOLE_CONNECTION
        slot["stream"] = what.stream.index if what else tape.WHOLE_CONNECTION
        slot["flags"] = Flag.PRIMARY if what and what.primary else 0
        slot["marker"], slot["reason"] = marker, reason
        slot["connection"] = self.connection
        channel_id = int(self._channels[place]["id"]) if place >= 0 else 0
        slot["channel_id"] = channel_id & 0xFFFFFFFFFFFFFFFF
        slot["lost"] = lost
        if since is not None:
            slot["from_epoch"] = since.epoch
            slot["from_venue_sequence"] = since.venue_sequence
            slot["from_event_ns"], slot["from_recv_ns"] = since.event_ns, since.recv_ns
            slot["to_recv_ns"] = self._recv_ns
            slot["to_event_ns"] = self._state[decoding.CONNECTION_TIME]
            slot["to_venue_sequence"] = self.sequence_last


def _name(subscription: Subscription) -> tuple[str, str, str]:
    """What tells the channels of one connection apart."""
    stream = subscription.stream
    return stream.channel, subscription.instrument.symbol, stream.timeframe
