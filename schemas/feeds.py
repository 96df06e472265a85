"""Which feeds there are: each venue's channels, symbols, books, and how its connections behave."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from schemas.instruments import Channel
from schemas.units import Positive, Seconds

BitfinexSymbol = Annotated[str, Meta(pattern=r"^[tf][A-Za-z0-9]+(:[A-Za-z0-9]+)?$")]
BitfinexTimeframe = Literal[
    "1m", "5m", "15m", "30m", "1h", "3h", "6h", "12h", "1D", "1W", "14D", "1M"
]
FundingPeriods = Annotated[str, Meta(pattern=r"^(p\d{1,3}|a\d{1,3}:p\d{1,3}:p\d{1,3})$")]
"""Which loans a funding candle is of: of 30 days `p30`, all from 2 to 30 days together
`a30:p2:p30`."""
KrakenSymbol = Annotated[str, Meta(pattern=r"^[A-Z0-9.]+x?/[A-Z0-9.]+$")]
"""Upper case, but for the x of a tokenised share: AAPLx/USD."""
KrakenTimeframe = Literal["1m", "5m", "15m", "30m", "1h", "4h", "1D", "1W", "15D"]
GmoSymbol = Annotated[str, Meta(pattern=r"^[A-Z0-9]+(_JPY)?$")]
SIMULATOR: Final = "simulator"
"""A venue's `url` that says: the local exchange of this instance."""


class BitfinexFlags(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `conf` flags of a connection."""

    timestamp: bool = True
    sequence: bool = True
    checksum: bool = True
    bulk_updates: bool = True


class BookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One book stream."""

    precision: Literal["P0", "P1", "P2", "P3", "P4", "R0"] = "P0"
    frequency: Literal["F0", "F1"] = "F0"
    length: Literal[1, 25, 100, 250] = 100


class FeedSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every venue's collector has."""

    enabled: bool = False
    url: str = ""
    symbols: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    subscribe_timeout_s: Seconds = 20.0
    """A request that is not answered for this long is sent again."""
    subscribe_tries: Positive = 3
    """After so many tries without an answer a stream counts as refused."""
    refused_retry_s: Seconds = 600.0
    """How often a stream that was never answered is quietly asked for again."""
    silence_s: Seconds = 30.0
    """No byte at all for this long: the connection is dead."""
    stale_s: dict[Channel, Seconds] = {}
    """No data for this long on a channel whose heartbeats go on: the channel is subscribed anew."""
    ping_s: Annotated[float, Meta(ge=0)] = 0.0
    """How often the venue is pinged; 0 = never."""
    connects_per_minute: Annotated[int, Meta(ge=1, le=60)] = 12
    backoff_first_s: Seconds = 1.0
    backoff_longest_s: Seconds = 30.0
    backfill: bool = True
    """Fetch trades that a gap has swallowed over the venue's REST; not at GMO Coin, whose trades
    have no ids."""
    backfill_longest_s: Seconds = 86_400.0
    """Trades that are older than this are not fetched."""
    backfill_timeout_s: Seconds = 900.0
    """Longest time that is spent on one hole."""
    backfill_pages: Positive = 200
    """Most requests for one hole, a thousand trades each."""
    record_frames: bool = False
    """Keep every received and sent frame below data/frames/; `dcctl ingest` reads them back."""
    frames_file_bytes: Annotated[int, Meta(ge=65_536)] = 256_000_000
    """A file of frames is ended at this size, and every hour."""
    frames_keep_bytes: Annotated[int, Meta(ge=1_000_000)] = 20_000_000_000
    """When a venue's files together are larger than this, the oldest go."""


class BitfinexSettings(FeedSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Bitfinex collector. The first book stream is the primary one."""

    url: str = "wss://api-pub.bitfinex.com/ws/2"
    symbols: tuple[BitfinexSymbol, ...] = ()
    channels: tuple[
        Literal["ticker", "trades", "books", "candles", "status", "liquidations"], ...
    ] = (
        "ticker",
        "trades",
        "books",
        "candles",
    )
    """status is of the perpetuals among the symbols, liquidations of the whole venue."""
    books: tuple[BookSettings, ...] = (BookSettings(),)
    candles: tuple[BitfinexTimeframe, ...] = ("1m",)
    funding_candles: tuple[FundingPeriods, ...] = ("p30",)
    """Candles of funding symbols, each in every timeframe of `candles`."""
    flags: BitfinexFlags = BitfinexFlags()
    subscriptions_per_connection: Annotated[int, Meta(ge=1, le=100)] = 30
    connects_per_minute: Annotated[int, Meta(ge=1, le=60)] = 15
    """The venue blocks an address for a minute after 20."""
    silence_s: Seconds = 40.0
    """No byte at all for this long: the connection is dead (heartbeats come every 15 s)."""
    stale_s: dict[Channel, Seconds] = field(
        default_factory=lambda: {"ticker": 120.0, "books": 60.0}
    )
    """No data for this long on a channel whose heartbeats go on: the channel is subscribed anew."""


class KrakenSettings(FeedSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Kraken collector. Symbols are those of WebSocket version 2, like BTC/USD."""

    url: str = "wss://ws.kraken.com/v2"
    level3_url: str = "wss://ws-l3.kraken.com/v2"
    symbols: tuple[KrakenSymbol, ...] = ()
    channels: tuple[
        Literal["ticker", "trades", "books", "raw_books", "candles", "instruments"], ...
    ] = (
        "ticker",
        "trades",
        "books",
        "candles",
        "instruments",
    )
    """raw_books is level3, order by order; it needs a token. instruments is of all pairs: changed
    steps and states are logged and kept in the reference data."""
    book_depth: Literal[10, 25, 100, 500, 1000] = 25
    level3_depth: Literal[10, 100, 1000] = 10
    candles: tuple[KrakenTimeframe, ...] = ("1m",)
    ticker_trigger: Literal["trades", "bbo"] = "trades"
    symbols_per_connection: Annotated[int, Meta(ge=1, le=200)] = 100
    """The venue takes 200 on a level3 connection, and has published no limit for others."""
    connects_per_minute: Annotated[int, Meta(ge=1, le=60)] = 12
    """The venue bans an address for a while after some 150 in ten minutes, and wants five seconds
    between two in maintenance."""
    silence_s: Seconds = 10.0
    """No byte at all for this long: the connection is dead (heartbeats come every second)."""
    stale_s: dict[Channel, Seconds] = field(default_factory=lambda: {"books": 300.0})
    """No data for this long on a channel whose heartbeats go on: the channel is subscribed anew. A
    quiet pair's book is silent for long, so this is only against a stream that froze."""
    ping_s: Annotated[float, Meta(ge=0)] = 20.0


class GmoSettings(FeedSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The GMO Coin collector. Spot symbols are bare (BTC), leveraged ones end in _JPY."""

    url: str = "wss://api.coin.z.com/ws/public/v1"
    symbols: tuple[GmoSymbol, ...] = ()
    channels: tuple[Literal["ticker", "trades", "books"], ...] = ("ticker", "trades", "books")
    taker_only: bool = True
    """One trade for each match, the taker's; false: the venue sends both sides, volumes double, and
    the lake's files of them are named BOTH_SIDES."""
    command_interval_s: Seconds = 1.1
    """The venue takes one command a second from an address, over all its connections."""
    connects_per_minute: Annotated[int, Meta(ge=1, le=60)] = 12
    silence_s: Seconds = 15.0
    """No byte at all for this long: the connection is dead (unchanged books are repeated at least
    every 5.2 s)."""
    stale_s: dict[Channel, Seconds] = field(default_factory=lambda: {"books": 15.0})
    ping_s: Annotated[float, Meta(ge=0)] = 0.0


class VenueSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One section a venue; a section that is absent means that the venue is not used."""

    bitfinex: BitfinexSettings | None = None
    kraken: KrakenSettings | None = None
    gmo: GmoSettings | None = None

    def enabled(self) -> dict[str, FeedSettings]:
        """The venues that are used, by name, in the order of their tapes."""
        sections = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: section for name, section in sections.items() if section and section.enabled}

    def is_made_up(self) -> bool:
        """Whether the market is the simulator's, or some of it."""
        return any(section.url == SIMULATOR for section in self.enabled().values())
