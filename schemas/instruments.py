"""Instruments and streams: the tables behind the two indices that every tape slot carries.

Both tables are append-only: an index, once given, means the same for as long as `data/` lives, so a
recording can be read years later with the table that was copied beside it.
"""

from typing import Final, Literal

from msgspec import Struct

Channel = Literal["ticker", "trades", "books", "raw_books", "candles", "status", "connection"]
"""Names as in the lake's folders; `connection` holds the markers of whole connections."""

CHANNELS: tuple[Channel, ...] = (
    "ticker",
    "trades",
    "books",
    "raw_books",
    "candles",
    "status",
    "connection",
)


LIQUIDATIONS: Final = "liquidations"
"""`Stream.variant` of a status stream that tells of liquidations."""


class Instrument(Struct, frozen=True, kw_only=True):
    """One tradable thing at one venue. `symbol` is the venue's own, `pair` the common form."""

    index: int
    venue: str
    symbol: str
    pair: str
    tick_size: float = 0.0
    """Smallest price step; 0 where it follows from the price (Bitfinex: 5 significant digits)."""
    quantity_step: str = ""
    """Decimal text, as its venue lists it; empty where that is not known. So are the next two."""
    min_quantity: str = ""
    min_notional: str = ""
    """Least that price times quantity must be, in the quote currency."""


class Stream(Struct, frozen=True, kw_only=True):
    """One way a venue sends an instrument's data."""

    index: int
    channel: Channel
    precision: str = ""
    frequency: str = ""
    length: int = 0
    timeframe: str = ""
    variant: str = ""
    """What else the venue's name of it says: a funding candle's periods (`p30`, `a30:p2:p30`), or
    LIQUIDATIONS."""

    @property
    def suffix(self) -> str:
        """What tells this stream's files from the channel's usual ones: `P1`, `1m`, or nothing."""
        if self.channel == "books" and self.precision in {"", "P0"}:
            return ""
        if self.timeframe and self.variant:
            return f"{self.timeframe}-{self.variant.replace(':', '-')}"
        return self.timeframe or ("" if self.precision == "R0" else self.precision)

    @property
    def table(self) -> str:
        """Its table in the lake: the channel's, but for liquidations."""
        return LIQUIDATIONS if self.variant == LIQUIDATIONS else self.channel


class Tables(Struct, kw_only=True):
    """Both tables, as `data/state/instruments.json` and every recording hold them."""

    instruments: list[Instrument] = []
    streams: list[Stream] = []
