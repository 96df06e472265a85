"""GMO Coin frames to tape slots and notices: one codec a connection.

The venue acknowledges nothing, numbers nothing and sums nothing up. So a subscription is taken as
accepted when its first frame comes (where a channel may be silent for long: when no error came in
time), an error belongs to the command that was sent last, and a frame that cannot be decoded is a
hole of its stream, marked as one, since nothing that follows would show it. A book heals with its
next frame, which is whole.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from msgspec import Struct, structs

from schemas.errors import DecodeError
from schemas.tape import Marker, MarkerReason
from venues import decoding
from venues.book import ASK, BID, DEPTH, ENTRY, TEXT_BYTES
from venues.channels import BLOCK_SLOTS
from venues.codec import BAD_FRAME_ERRORS, ConnectionCodec
from venues.gmo import kernel
from venues.gmo.parser import TICKER_KEYS
from venues.gmo.subscriptions import CHANNELS, WIRE_NAMES
from venues.gmo.symbols import common_pair
from venues.gmo.values import error_of, number, text
from venues.markets import Markets
from venues.names import channel_number, time_ns
from venues.numbers import NumberText, parse_exact
from venues.wire import Acknowledged, Allot, FrameBatch, Notice, Publish, Refused, Subscription

SETTLE_S: Final = 2.2
TOO_FAST: Final = 5003
MAINTENANCE: Final = frozenset({5201, 5202, 5203})
"""Regular maintenance, emergency maintenance, and the minutes before the market opens."""
_PASSING: Final = MAINTENANCE | {TOO_FAST}
_SYMBOL: Final = re.compile(r"[A-Z0-9]{1,20}(_JPY)?")

Level = tuple[NumberText, NumberText]


class Asked(Struct):
    """A subscription that was sent and is not yet live on this connection."""

    subscription: Subscription
    since_ns: int = 0
    """When the first `tick` after it was; 0 until then."""
    refused: bool = False


def number_of(subscription: Subscription) -> int:
    """The number that stands for what a subscription asks for, in the venue's words."""
    return channel_number(WIRE_NAMES[subscription.stream.channel], subscription.instrument.symbol)


class GmoCodec(ConnectionCodec):
    """Decoder of one connection; arguments as `ConnectionCodec`.

    Args:
        settle_s: how long a command of a channel that may stay silent waits for an error before
            it is taken as accepted; longer than the time to the next command.
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
        settle_s: float = SETTLE_S,
    ) -> None:
        super().__init__(
            markets,
            publish,
            subscriptions=subscriptions,
            allot=allot,
            tolerant=tolerant,
            connection=connection,
        )
        self._settle_ns = round(settle_s * 1e9)
        self._asked: dict[int, Asked] = {}
        self._last_was_an_end = False
        self._untimed = False
        self._in_maintenance = False
        self._readers: dict[str, Callable[[dict[str, Any]], Callable[[int], None]]] = {
            "orderbooks": self._read_book,
            "trades": self._read_trade,
            "ticker": self._read_ticker,
        }
        decoding.compile_kernels(kernel.ENTRY_POINTS)

    def open(self, epoch: int, recv_ns: int, *, from_first: bool = True) -> None:
        """Begin a connection: nothing was asked for on it."""
        super().open(epoch, recv_ns, from_first=from_first)
        self._asked.clear()
        self._last_was_an_end = False

    # ---- commands, and what becomes of them

    def sent(self, subscription: Subscription) -> None:
        """A subscription was just asked for; the newest is the last."""
        which = number_of(subscription)
        self._asked.pop(which, None)
        self._asked[which] = Asked(subscription)
        self._last_was_an_end = False

    def end_channel(self, number: int) -> bool:
        """An unsubscription was just sent, which the venue will not confirm."""
        self._asked.pop(number, None)
        self._last_was_an_end = True
        return super().end_channel(number)

    def tick(self, recv_ns: int) -> list[Notice]:
        """Take silent subscriptions as accepted once an error would have come."""
        self._recv_ns = recv_ns
        notices: list[Notice] = []
        for which, asked in list(self._asked.items()):
            asked.since_ns = asked.since_ns or recv_ns
            # A book comes within seconds; without one the command was lost, and is sent again.
            may_be_silent = asked.subscription.stream.channel != "books" and not asked.refused
            if may_be_silent and recv_ns - asked.since_ns >= self._settle_ns:
                notices.append(self._accept_or_refuse(which, asked.subscription))
        return notices

    def _accept(self, which: int, subscription: Subscription) -> Acknowledged:
        self._asked.pop(which, None)
        return self.register_name(which, subscription)

    def _accept_or_refuse(self, which: int, subscription: Subscription) -> Notice:
        """Accept what no frame has come of: no frame costs what cannot be registered."""
        try:
            return self._accept(which, subscription)
        except DecodeError as error:
            return Refused(code=0, text=str(error), subscription=subscription)

    def _take_error(self, said: Any) -> Refused:
        """An error names no symbol: it is of the last command, unless that was answered."""
        code, words = error_of(said)
        waiting = [asked for asked in self._asked.values() if not asked.refused]
        last = waiting[-1] if waiting and not self._last_was_an_end else None
        subscription = last.subscription if last is not None else None
        if last is not None:
            last.refused = True
            if code not in _PASSING:
                self.mark(
                    Marker.REFUSED, MarkerReason.VENUE_REFUSED, subscription=last.subscription
                )
        if code in MAINTENANCE and not self._in_maintenance:
            self._in_maintenance = True
            self.mark(Marker.MAINTENANCE_BEGIN, MarkerReason.MAINTENANCE)
        return Refused(
            code=code, text=words, subscription=subscription, permanent=code not in _PASSING
        )

    # ---- frames

    def decode(self, batch: FrameBatch, first: int, recv_ns: int) -> int:
        """Take the frames of a batch from `first` on, compiled."""
        self._untimed = not recv_ns
        return kernel.decode_frames(
            self._address, batch.text_address, batch.bounds_address, first, batch.count, recv_ns,
            BLOCK_SLOTS,
        )  # fmt: skip

    def take_frame(self, frame: bytes) -> Notice | None:
        """Take one frame that the kernel left."""
        try:
            values = parse_exact(frame)
            if not isinstance(values, dict):
                raise DecodeError("a frame is an object")
            whose = () if "error" in values else (values.get("channel"), values.get("symbol"))
            names = [text(name) for name in whose]
        except BAD_FRAME_ERRORS:
            # Whose frame this was cannot be known: it may be missing in each stream.
            self._note_holes(list(self._by_place))
            raise
        if not names:
            return self._take_error(values["error"])
        channel, symbol = names
        if channel not in CHANNELS:
            raise DecodeError(f"no channel {channel[:40]}")
        return self._take_data(values, channel, symbol)

    def _take_data(self, values: dict[str, Any], channel: str, symbol: str) -> Notice | None:
        which = channel_number(channel, symbol)
        place = decoding.channel_place_of(self._address, which)
        known = self._channels[place]["id"] != 0
        subscription = self._by_place[place] if known else self._expected(which, channel, symbol)
        if subscription is None:
            if which not in self._unknown and len(self._unknown) >= decoding.CHANNELS:
                which = 0  # names without end are counted together
            self._unknown[which] = self._unknown.get(which, 0) + 1
            self.tallies[decoding.N_UNKNOWN] += 1
            return None
        if known and self._channels[place]["muted"]:
            self.tallies[decoding.N_MUTED] += 1
            return None
        try:
            event_ns = time_ns(values.get("timestamp"))
            apply = self._readers[channel](values)
        except BAD_FRAME_ERRORS:
            self._note_holes([place] if known else [], lost=1)
            raise
        kernel.take_time(self._state, event_ns)
        if self._untimed:
            self._recv_ns = self.newest_event_ns  # as the kernel does
        notice = None
        if not known:
            self._end_maintenance()
            notice = self._accept(which, subscription)
            place = decoding.channel_place_of(self._address, which)
        self._end_hole(place)
        apply(place)
        self._channels[place]["data_ns"] = self._recv_ns
        self._channels[place]["data_frames"] += 1
        self.tallies[decoding.N_FRAMES] += 1
        return notice

    def _expected(self, which: int, channel: str, symbol: str) -> Subscription | None:
        """The subscription whose first frame this is; a recording's is made on the spot."""
        asked = self._asked.get(which)
        if asked is not None:
            return asked.subscription
        if self._allot is None:
            return None
        if not _SYMBOL.fullmatch(symbol):
            raise DecodeError(f"{symbol[:40]!r} is no symbol of this venue")
        return self.find(symbol, common_pair(symbol), CHANNELS[channel], {})

    def _end_maintenance(self) -> None:
        if self._in_maintenance:
            self._in_maintenance = False
            self.mark(Marker.MAINTENANCE_END, MarkerReason.MAINTENANCE)

    # ---- holes

    def _note_holes(self, places: list[int], lost: int = 0) -> None:
        """A frame of these channels, or of one of them, was not understood."""
        for place in places:
            channel = self._channels[place]
            if channel["muted"]:
                continue
            since = self.interruption(MarkerReason.BAD_FRAME)
            if channel["good_ns"]:
                since = structs.replace(
                    since,
                    event_ns=int(channel["good_event_ns"]),
                    recv_ns=int(channel["good_ns"]),
                )
            if channel["book"] < 0:
                self.mark(Marker.GAP, MarkerReason.BAD_FRAME, place=place, since=since, lost=lost)
            elif not channel["awaits_snapshot"]:
                # Unknown until its next frame, before which the gap is written.
                channel["awaits_snapshot"] = kernel.UNSURE
                self.mark(Marker.RESYNC, MarkerReason.BAD_FRAME, place=place)
                self.markets.interrupt(self._by_place[place], since)

    def _end_hole(self, place: int) -> None:
        """The book comes whole again: the gap ends, and a snapshot begins."""
        channel = self._channels[place]
        if channel["awaits_snapshot"] != kernel.UNSURE:
            return
        channel["awaits_snapshot"] = 1
        what = self._by_place[place]
        key = (what.instrument.index, what.stream.index)
        since = self.markets.interrupted.pop(key, None)
        if since is not None:
            self.mark(Marker.GAP, MarkerReason(since.reason), place=place, since=since)

    # ---- payloads that Python parses; each gives what applies it, which cannot fail

    def _read_book(self, values: dict[str, Any]) -> Callable[[int], None]:
        asks = _read_levels(values.get("asks"), ASK)
        bids = _read_levels(values.get("bids"), BID)

        def apply(place: int) -> None:
            letters = self._fill_entries(asks, bids)
            book = self.markets.books[self._channels[place]["book"]]
            self.room(int(book["count"].sum()) + len(asks) + len(bids) + 2)
            self._result[decoding.R_SLOTS] = kernel.apply_book(
                self._address, place, len(asks), len(bids), letters.ctypes.data, len(letters),
                self._recv_ns, int(self._result[decoding.R_SLOTS]),
            )  # fmt: skip

        return apply

    def _fill_entries(self, asks: list[Level], bids: list[Level]) -> np.ndarray:
        """Parsed levels into the kernel's entries; the text that these point into."""
        letters = bytearray()
        entries = np.zeros(len(asks) + len(bids), ENTRY)
        for index, (price, size) in enumerate([*asks, *bids]):
            entry = entries[index]
            entry["price"], entry["count"] = price, 1
            entry["amount"] = -size if index < len(asks) else size
            for name, value in (("price", price), ("amount", size)):
                entry[f"{name}_at"] = len(letters)
                letters += value.text.encode()
                entry[f"{name}_end"] = len(letters)
        self._entries[: len(entries)] = entries
        return np.frombuffer(bytes(letters) or b" ", np.uint8)

    def _read_trade(self, values: dict[str, Any]) -> Callable[[int], None]:
        price, size = number(values.get("price")), number(values.get("size"))
        side = values.get("side")
        if not (price > 0 and size > 0) or side not in {"BUY", "SELL"}:
            raise DecodeError("a trade without price, size or side")
        amount = float(size) if side == "BUY" else -float(size)

        def apply(place: int) -> None:
            self.room(1)
            self._result[decoding.R_SLOTS] = kernel.apply_trade(
                self._address, place, float(price), amount, self._recv_ns,
                int(self._result[decoding.R_SLOTS]),
            )  # fmt: skip

        return apply

    def _read_ticker(self, values: dict[str, Any]) -> Callable[[int], None]:
        found = [values.get(key) for key in TICKER_KEYS]
        numbers = [float("nan") if value is None else float(number(value)) for value in found]

        def apply(place: int) -> None:
            self.room(1)
            self._rows[0, : len(numbers)] = numbers
            self._result[decoding.R_SLOTS] = kernel.apply_ticker(
                self._address, place, self._recv_ns, int(self._result[decoding.R_SLOTS])
            )

        return apply


def _read_levels(levels: Any, side: int) -> list[Level]:
    """A side of a book, best first.

    Raises:
        DecodeError: it is none, or names a price twice.
    """
    if not isinstance(levels, list) or len(levels) > DEPTH:
        raise DecodeError("a side of a book is a list of levels, and not longer than any book")
    found = [_read_level(level) for level in levels]
    if len({float(price) for price, _ in found}) < len(found):
        raise DecodeError("a price stands twice on one side")
    return sorted(found, key=lambda level: level[0], reverse=side == BID)


def _read_level(level: Any) -> Level:
    if not isinstance(level, dict):
        raise DecodeError(f"{str(level)[:40]} is no level")
    price, size = number(level.get("price")), number(level.get("size"))
    if not (price > 0 and size > 0):
        raise DecodeError("a level without price or size")
    if len(price.text) + 1 + len(size.text) > TEXT_BYTES:
        raise DecodeError("a level's numbers are longer than any venue's")
    return price, size
