"""What every venue's codec has in common: the notices it gives its session, and its slot block.

A codec turns frames into tape slots and notices. Slots are data and go to the ring; notices are
what the session reacts to (an ack, a refusal, a fault). Neither knows the other's venue.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from msgspec import Struct

from schemas import tape
from schemas.instruments import Channel, Instrument, Stream
from schemas.tape import Marker, MarkerReason

if TYPE_CHECKING:
    from venues.markets import Markets


class Subscription(Struct, frozen=True, kw_only=True):
    """One stream of one instrument as the configuration wants it."""

    instrument: Instrument
    stream: Stream
    primary: bool = False
    """The book that fills every slot's payload and feeds features."""


class Interruption(Struct, frozen=True, kw_only=True):
    """Since when a stream is unknown: after this frame of that connection."""

    epoch: int
    venue_sequence: int
    event_ns: int
    recv_ns: int
    reason: int


class Opened(Struct, frozen=True, kw_only=True):
    """The venue greeted a new connection."""

    operative: bool
    text: str = ""


class Acknowledged(Struct, frozen=True, kw_only=True):
    """The venue accepted a subscription; frames with this channel id will follow."""

    channel_id: int
    subscription: Subscription


class Ended(Struct, frozen=True, kw_only=True):
    """The venue confirmed an unsubscription."""

    channel_id: int


class Refused(Struct, frozen=True, kw_only=True):
    """The venue refused a subscription. `full` means: put it on another connection."""

    code: int
    text: str
    subscription: Subscription | None
    full: bool = False
    permanent: bool = True


class SequenceGap(Struct, frozen=True, kw_only=True):
    """Frames of this connection are missing; which channels they were of nobody can know."""

    expected: int
    found: int


class ChannelBroken(Struct, frozen=True, kw_only=True):
    """One channel cannot be trusted any more and must be subscribed anew."""

    channel_id: int
    subscription: Subscription
    reason: int
    """A `schemas.tape.MarkerReason`."""
    text: str


class BadFrame(Struct, frozen=True, kw_only=True):
    """A frame that could not be decoded; it was skipped."""

    text: str
    why: str


class ServerNotice(Struct, frozen=True, kw_only=True):
    """The venue announces something about itself."""

    reconnect: bool = False
    pause: bool = False
    resubscribe: bool = False
    text: str = ""


class PairRules(Struct, frozen=True, kw_only=True):
    """What a venue says of one pair. Sizes are plain decimal text, empty where it says nothing."""

    symbol: str
    base: str
    quote: str
    status: str
    """The venue's word: online, cancel_only ..."""
    price_decimals: int
    price_step: str
    quantity_decimals: int
    quantity_step: str
    minimum_quantity: str
    minimum_cost: str = ""


class AssetRules(Struct, frozen=True, kw_only=True):
    """What a venue says of one asset."""

    asset: str
    status: str
    decimals: int


class InstrumentsChanged(Struct, frozen=True, kw_only=True):
    """The venue tells its pairs and assets: all of them, or those that changed."""

    is_snapshot: bool
    pairs: tuple[PairRules, ...]
    assets: tuple[AssetRules, ...]


Notice = (
    Opened
    | Acknowledged
    | Ended
    | Refused
    | SequenceGap
    | ChannelBroken
    | BadFrame
    | ServerNotice
    | InstrumentsChanged
)

BATCH_BYTES = 5 << 20
"""Room for the largest frame that is taken, 4 MiB, and a read behind it."""
BATCH_FRAMES = 8192


class FrameBatch:
    """The frames of one socket read: memory that is used again and again, and where each stands.

    A socket reads into `memory` and fills the table of bounds itself; anybody else uses `add`.
    """

    def __init__(self) -> None:
        # Not zeroed: pages that no frame reaches are never taken from the system.
        text = np.empty(BATCH_BYTES, np.uint8)
        bounds = np.zeros(2 * BATCH_FRAMES, np.int64)
        self.memory = text.data
        self.size = 0
        """Bytes of all frames together."""
        self.count = 0
        self.text_address = int(text.ctypes.data)
        self.bounds_address = int(bounds.ctypes.data)
        # A memoryview stores one number in half the time that numpy takes.
        self._bounds = bounds.data

    def add(self, payload: bytes | memoryview) -> bool:
        """Copy one frame in. False if the batch is full: empty it first."""
        begin, count = self.size, self.count
        end = begin + len(payload)
        if end > BATCH_BYTES or count == BATCH_FRAMES:
            return False
        self.memory[begin:end] = payload
        self._bounds[2 * count] = begin
        self._bounds[2 * count + 1] = self.size = end
        self.count = count + 1
        return True

    def frame(self, index: int) -> bytes:
        """One frame's bytes."""
        return self.memory[self._bounds[2 * index] : self._bounds[2 * index + 1]].tobytes()

    def clear(self) -> None:
        """Forget all frames."""
        self.size = 0
        self.count = 0


class SlotBlock:
    """Tape slots in memory that is used again and again, with its address at hand."""

    def __init__(self, slots: int) -> None:
        self.slots = np.zeros(slots, tape.SLOT)
        self.address = int(self.slots.ctypes.data)


Publish = Callable[[SlotBlock, int], None]
"""Takes the first so many slots of a block; the block is free again when it returns."""

Allot = Callable[[str, str, Channel, dict[str, Any]], tuple[Instrument, Stream]]
"""Gives (symbol, pair, channel, the stream's parameters) their places in the tables."""

WantedStream = tuple[str, str, Channel, dict[str, Any], bool]
"""(symbol, pair, channel, the stream's parameters, is the primary book)."""


class Codec(Protocol):
    """One connection's decoder, as its session sees it."""

    gaps: int
    epoch: int

    def open(self, epoch: int, recv_ns: int) -> None:
        """Begin a connection: no channels, sequence from the start."""

    def feed(self, batch: FrameBatch, recv_ns: int) -> list[Notice]:
        """Decode the frames of one socket read; slots go to `Publish`, notices are returned."""

    def want(self, subscription: Subscription) -> None:
        """One more subscription that will be asked for on this connection."""

    def sent(self, subscription: Subscription) -> None:
        """A subscription was just asked for."""

    def tick(self, recv_ns: int) -> list[Notice]:
        """What follows from time alone."""

    def data_ns(self) -> list[tuple[Subscription, int, int]]:
        """Per acknowledged channel: what it is, its id, when it last had data."""

    def mute(self, channel_id: int) -> None:
        """Drop the frames of a channel from here on."""

    def end_channel(self, number: int) -> bool:
        """Take a channel as ended, for a venue that never says so; False if there was none."""

    def interrupt(self, reason: MarkerReason, subscription: Subscription | None = None) -> None:
        """Note that a stream, or all of them, are unknown from the last frame on."""

    def mark(
        self,
        marker: Marker,
        reason: MarkerReason,
        *,
        subscription: Subscription | None = None,
    ) -> None:
        """Put a marker on the tape: of a subscription, or of the whole connection."""

    def flush(self) -> None:
        """Publish markers that were put on the tape outside of `feed`."""

    def tally(self) -> dict[str, int]:
        """What was counted, by metric name, or by `ingest_events` and channel."""


class Request(Struct, frozen=True, kw_only=True):
    """A text to send, and the subscriptions that it asks for."""

    text: str
    subscriptions: list[Subscription]


class Venue(Protocol):
    """What the collector must know of a venue; everything else is the venue's own affair."""

    name: str
    command_interval_s: float
    """Least time between two requests of this machine to the venue; 0 where it sets none."""
    ends_are_confirmed: bool
    """Whether an unsubscription is answered; where not, it is taken as done once it is sent."""
    markets: "Markets"
    """Books and trade memories, of all its connections."""

    def recover(self, slots: np.ndarray, subscriptions: list[Subscription]) -> None:
        """Take what an earlier life wrote on the tape: trade ids, and where knowledge ended."""

    def plan(self, subscriptions: list[Subscription]) -> list[list[Subscription]]:
        """Spread subscriptions over connections."""

    async def address(self, subscriptions: list[Subscription]) -> str:
        """Where to connect for these; asked anew before each connection.

        Raises:
            OSError, TimeoutError: it cannot be said now (a token could not be fetched).
        """

    def codec(self, subscriptions: list[Subscription], publish: Publish, connection: int) -> Codec:
        """A decoder for one connection."""

    def opening(self, connection: int) -> list[str]:
        """What to send on a new connection, of this number, before anything else."""

    def subscribe(self, subscriptions: list[Subscription]) -> list[Request]:
        """The requests for these streams, as few as the venue allows."""

    def unsubscribe(self, subscription: Subscription, channel_id: int) -> str:
        """The request to end one."""

    def ping(self) -> str:
        """What keeps a connection alive, sent every `ping_s` of the settings; empty for nothing."""
