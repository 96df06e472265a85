"""Tape slots to bodies of `md:trade`, `md:orderbook` and `md:ticker`.

An order book is sent at the end of each frame of the instrument's primary stream: the slot's own
payload. While the bridge is behind, only the newest book in each interval is: an old book is of no
use to anybody, a trade is.
"""

import zlib
from typing import Final

import msgspec
import numpy as np

from processes.bridge.entries import Entry, Names, body, head
from schemas import tape
from schemas.settings import BridgeSettings
from schemas.streams import MARKET_STREAMS, TickerData, TradeData
from schemas.tape import LEVELS, Flag, Kind, Side

_SIDES: Final = {Side.NONE: "", Side.BID: "buy", Side.ASK: "sell"}
_TICKER: Final = TickerData.__struct_fields__
_TOLD: Final = int(Flag.SNAPSHOT | Flag.BACKFILLED | Flag.SAMPLED | Flag.CONFIRMED | Flag.FUNDING)
_BOOK_END: Final = int(Flag.PRIMARY | Flag.FRAME_END)
_POWERS: Final = np.array([float(f"1e{power}") for power in range(-22, 23)])
_PRICE_DIGITS: Final = 9
_SIZE_DIGITS: Final = 7
"""What a float32 offset from a float64 price, and a float32 size, are good for."""


def rounded(values: np.ndarray, like: np.ndarray, digits: int) -> np.ndarray:
    """Values to the decimals that `digits` significant ones of `like` come to; float64."""
    with np.errstate(divide="ignore"):
        whole = np.floor(np.log10(np.abs(like)))
    places = np.clip(digits - 1 - np.where(np.isfinite(whole), whole, 0), 0, 22).astype(np.int64)
    scale = _POWERS[places + 22]
    out: np.ndarray = np.round(values * scale) / scale
    return out


class Market:
    """One tape's slots as entries.

    Args:
        venue: whose tape. source: what stands before the sequence in every entry's source.
    """

    def __init__(self, settings: BridgeSettings, venue: str, source: str, names: Names) -> None:
        self.conflated = 0
        """Books left out so far."""
        self._venue = venue
        self._source = source
        self._names = names
        self._symbols = set(settings.symbols)
        self._channels: set[str] = set(settings.channels)
        self._interval_ns = settings.conflate_ms * 1_000_000
        self.streams: dict[str, tuple[str, int]] = {
            kind: (settings.prefix + MARKET_STREAMS[kind], getattr(settings.lengths, kind))
            for kind in settings.channels
        }
        """Name and length of each stream that this tape feeds."""
        self._heads: dict[tuple[str, int], bytes] = {}
        self._encoder = msgspec.json.Encoder()

    def entries(self, slots: np.ndarray, *, behind: bool) -> list[Entry]:
        """The entries of these slots, in their order."""
        kinds, flags = slots["kind"], slots["flags"]
        found: dict[int, tuple[str, bytes]] = {}
        if "trade" in self._channels:
            self._trades(slots, np.flatnonzero(kinds == Kind.TRADE), found)
        if "ticker" in self._channels:
            self._tickers(slots, np.flatnonzero(kinds == Kind.TICKER), found)
        if "orderbook" in self._channels:
            ends = (kinds == Kind.BOOK_LEVEL) & (flags & _BOOK_END == _BOOK_END)
            self._books(slots, self._newest(slots, np.flatnonzero(ends), behind=behind), found)
        sequences = slots["sequence"]
        made = []
        for place in sorted(found):
            kind, text = found[place]
            stream, length = self.streams[kind]
            source = f"{self._source}/{sequences[place]}"
            made.append(Entry(stream, length, source, text, _names_of(int(flags[place]))))
        return made

    def _head(self, kind: str, index: int) -> bytes:
        """Empty for an instrument that is not wanted."""
        known = self._heads.get((kind, index))
        if known is None:
            item = self._names.of(index)
            wanted = item.venue and (not self._symbols or item.symbol in self._symbols)
            known = head(kind, item.venue, item.symbol) if wanted else b""
            self._heads[kind, index] = known
        return known

    def _newest(self, slots: np.ndarray, places: np.ndarray, *, behind: bool) -> np.ndarray:
        """All of these books, or while behind the last of each instrument and interval."""
        if not behind or len(places) < 2:
            return places
        interval = slots["recv_ns"][places] // self._interval_ns
        keys = np.stack([slots["instrument"][places].astype(np.int64), interval], axis=1)
        _, last = np.unique(keys[::-1], axis=0, return_index=True)
        kept: np.ndarray = places[np.sort(len(places) - 1 - last)]
        self.conflated += len(places) - len(kept)
        return kept

    def _trades(
        self, slots: np.ndarray, places: np.ndarray, found: dict[int, tuple[str, bytes]]
    ) -> None:
        chosen = slots[places]
        columns = (
            places.tolist(), chosen["instrument"].tolist(), _times(chosen).tolist(),
            chosen["price"].tolist(), chosen["size"].tolist(), chosen["side"].tolist(),
        )  # fmt: skip
        for place, index, time_ns, price, size, side in zip(*columns, strict=True):
            begin = self._head("trade", index)
            if begin:
                data = TradeData(price=price, size=size, side=_SIDES[side])  # type: ignore[arg-type]
                found[place] = "trade", body(begin, time_ns, self._encoder.encode(data))

    def _tickers(
        self, slots: np.ndarray, places: np.ndarray, found: dict[int, tuple[str, bytes]]
    ) -> None:
        chosen = tape.view_as(slots[places], tape.TICKER)
        columns = np.stack([chosen[name] for name in _TICKER], axis=1).tolist()
        heads = zip(
            places.tolist(), chosen["instrument"].tolist(), _times(chosen).tolist(), columns,
            strict=True,
        )  # fmt: skip
        for place, index, time_ns, numbers in heads:
            begin = self._head("ticker", index)
            if begin:
                # The encoder writes what is not finite as null.
                data = self._encoder.encode(dict(zip(_TICKER, numbers, strict=True)))
                found[place] = "ticker", body(begin, time_ns, data)

    def _books(
        self, slots: np.ndarray, places: np.ndarray, found: dict[int, tuple[str, bytes]]
    ) -> None:
        chosen = slots[places]
        levels = chosen["book"].reshape(-1, 4, LEVELS).astype(np.float64)
        reference = np.broadcast_to(chosen["reference_price"][:, None], (len(places), LEVELS))
        encode = self._encoder.encode
        sides: list[list[bytes]] = []
        for offsets, amounts in ((0, 1), (2, 3)):
            prices = rounded(levels[:, offsets] + reference, reference, _PRICE_DIGITS)
            sizes = rounded(levels[:, amounts], levels[:, amounts], _SIZE_DIGITS)
            pairs = np.stack([prices, sizes], axis=2).tolist()
            counts = (levels[:, amounts] != 0).sum(axis=1).tolist()
            sides.append([encode(rows[:count]) for rows, count in zip(pairs, counts, strict=True)])
        columns = (
            places.tolist(), chosen["instrument"].tolist(), _times(chosen).tolist(), *sides,
        )  # fmt: skip
        for place, index, time_ns, bids, asks in zip(*columns, strict=True):
            begin = self._head("orderbook", index)
            if begin:
                text = b'"bids":%b,"asks":%b' % (bids, asks)
                data = b'{"is_snapshot":true,%b,"checksum":%d}' % (text, zlib.crc32(text))
                found[place] = "orderbook", body(begin, time_ns, data)


def _times(slots: np.ndarray) -> np.ndarray:
    """The venue's time, or of receipt where it gives none; (n) int64 ns."""
    times: np.ndarray = np.where(slots["event_ns"] != 0, slots["event_ns"], slots["recv_ns"])
    return times


def _names_of(flags: int) -> str:
    """Names of the flags that tell a reader something."""
    told = flags & _TOLD
    if not told:
        return ""
    return ",".join(flag.name.lower() for flag in Flag if flag & told and flag.name)
