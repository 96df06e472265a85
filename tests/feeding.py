"""Feeding frames to a codec as a socket read would, for tests and nothing else."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from schemas import tape
from schemas.instruments import Instrument, Stream
from schemas.layout import join
from venues.bitfinex.codec import BitfinexCodec
from venues.codec import ConnectionCodec
from venues.markets import Markets
from venues.wire import FrameBatch, Notice


class Tables:
    """Places for whatever comes, in the order it comes."""

    def __init__(self, venue: str = "bitfinex") -> None:
        self.venue = venue
        self.instruments: dict[str, Instrument] = {}
        self.streams: dict[tuple, Stream] = {}

    def allot(self, symbol: str, pair: str, channel: Any, parameters: dict[str, Any]):
        index = len(self.instruments)
        instrument = self.instruments.setdefault(
            symbol, Instrument(index=index, venue=self.venue, symbol=symbol, pair=pair)
        )
        key = (channel, *sorted(parameters.items()))
        stream = self.streams.setdefault(
            key, Stream(index=len(self.streams), channel=channel, **parameters)
        )
        return instrument, stream


class Feed:
    """A codec, what it published and what it noticed."""

    def __init__(
        self,
        codec: type[ConnectionCodec] = BitfinexCodec,
        *,
        tolerant: bool = True,
        **options: Any,
    ) -> None:
        self.tables = Tables(codec.__module__.split(".")[1])
        self.markets = Markets()
        self.published: list[np.ndarray] = []
        self.notices: list[Notice] = []
        self.codec = codec(
            self.markets,
            lambda block, count: self.published.append(block.slots[:count].copy()),
            allot=self.tables.allot,
            tolerant=tolerant,
            **options,
        )
        self.codec.open(1, 1, from_first=False)

    def frames(self, frames: Iterable[bytes | str], recv_ns: int = 10, batch: int = 64) -> "Feed":
        pending = [frame.encode() if isinstance(frame, str) else frame for frame in frames]
        for start in range(0, len(pending), batch):
            frames_of_read = FrameBatch()
            for frame in pending[start : start + batch]:
                assert frames_of_read.add(frame)
            self.notices += self.codec.feed(frames_of_read, recv_ns)
        return self

    @property
    def slots(self) -> np.ndarray:
        return join(self.published, tape.SLOT)

    def kinds(self) -> dict[str, int]:
        names, counts = np.unique(self.slots["kind"], return_counts=True)
        return {tape.Kind(kind).name.lower(): int(n) for kind, n in zip(names, counts, strict=True)}

    def markers(self) -> list[str]:
        found = tape.view_as(self.slots, tape.MARKER)
        return [
            tape.Marker(int(slot["marker"])).name
            for slot in found[found["kind"] == tape.Kind.MARKER]
        ]

    def book(self, symbol: str, precision: str = "P0") -> int:
        for subscription in self.codec._wanted:
            stream = subscription.stream
            if subscription.instrument.symbol == symbol and stream.precision == precision:
                return self.markets.book(subscription)
        raise KeyError(symbol)


def recorded_frames(path: Path) -> list[bytes]:
    """The received frames of a recording, the wire's own text."""
    out = []
    for line in path.read_bytes().splitlines():
        if not line.startswith(b'{"dir"') and not line.startswith(b'{"t"'):
            out.append(line)
        elif json.loads(line).get("dir", "rx") == "rx":
            body = line[line.index(b'"frame":') + 8 :].rstrip()
            out.append(body[:-1])
    return out
