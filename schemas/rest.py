"""How the venues' REST interfaces are asked: addresses, timeouts, retries, rates; and history.

Rates are what the venue allows, in requests per minute and endpoint; `share_of_rate` of them is
used. Where sources disagree the smaller number stands here. Sources: docs.bitfinex.com (each
call's page) and its clients' tables; support.kraken.com "API rate limits"; api.coin.z.com/docs.
"""

from typing import Annotated

from msgspec import Meta, Struct

Url = Annotated[str, Meta(pattern=r"^https?://[^/\s]+(/[^\s]*)?[^/\s]$")]
PerMinute = Annotated[float, Meta(gt=0, le=6000)]
Wait = Annotated[float, Meta(gt=0, le=600)]


class BitfinexRates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests per minute that Bitfinex allows; a breach blocks the address for a minute."""

    platform_status: PerMinute = 15.0
    ticker: PerMinute = 30.0
    """ticker and tickers."""
    tickers_history: PerMinute = 30.0
    trades: PerMinute = 15.0
    book: PerMinute = 30.0
    stats: PerMinute = 90.0
    candles: PerMinute = 30.0
    conf: PerMinute = 15.0
    derivatives: PerMinute = 90.0
    """status/deriv and its history."""
    liquidations: PerMinute = 3.0
    funding_stats: PerMinute = 30.0
    calc: PerMinute = 20.0
    """Market average price and foreign exchange rate."""
    private: PerMinute = 45.0
    """Account calls, all of them together."""


class KrakenRates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests per minute that Kraken allows: about one a second for public calls."""

    public: PerMinute = 60.0
    private: PerMinute = 20.0
    """The slowest tier's counter decays by 0.33 a second."""


class GmoRates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests per minute at GMO Coin, which publishes a number for private calls only."""

    public: PerMinute = 60.0
    """The venue makes a new answer every half second and caches it for one."""
    private: PerMinute = 1200.0
    """Calls that read; tier 1."""
    orders: PerMinute = 1200.0
    """Private calls that change something, which the venue counts apart."""
    private_socket: PerMinute = 60.0
    """Commands on private WebSockets, all of an address together."""


class RestSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One venue's REST interface."""

    connect_timeout_s: Wait = 5.0
    read_timeout_s: Wait = 10.0
    """Longest silence in the middle of an answer."""
    total_timeout_s: Wait = 30.0
    """One attempt, from the first byte sent to the last received."""
    connections: Annotated[int, Meta(ge=1, le=64)] = 4
    retries: Annotated[int, Meta(ge=0, le=10)] = 5
    """Further attempts, only of requests that change nothing."""
    backoff_first_s: Wait = 0.5
    backoff_longest_s: Wait = 30.0
    retry_after_longest_s: Wait = 120.0
    """A venue that asks to be left alone for longer than this is not waited for."""
    answer_bytes_max: Annotated[int, Meta(ge=1024, le=1 << 30)] = 32_000_000
    share_of_rate: Annotated[float, Meta(gt=0, le=1)] = 0.8


class BitfinexRestSettings(RestSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bitfinex over REST."""

    url: Url = "https://api-pub.bitfinex.com"
    private_url: Url = "https://api.bitfinex.com"
    blocked_s: Wait = 60.0
    """How long nothing is asked after a breach of which the venue does not say how long."""
    page_rows: Annotated[int, Meta(ge=2, le=10_000)] = 10_000
    """Rows asked for at once in downloads of candles and trades."""
    rates: BitfinexRates = BitfinexRates()


class KrakenRestSettings(RestSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kraken over REST."""

    url: Url = "https://api.kraken.com"
    blocked_s: Wait = 15.0
    """How long nothing is asked after a breach of which the venue does not say how long."""
    page_rows: Annotated[int, Meta(ge=2, le=1000)] = 1000
    """Rows asked for at once in downloads of trades."""
    rates: KrakenRates = KrakenRates()


class GmoRestSettings(RestSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """GMO Coin over REST."""

    url: Url = "https://api.coin.z.com"
    blocked_s: Wait = 10.0
    """How long nothing is asked after a breach of which the venue does not say how long."""
    rates: GmoRates = GmoRates()


class RestSections(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """REST of all venues; commands use it whether or not a collector runs."""

    rates: str = ""
    """Folder of the files in which processes share the venues' rates; empty = one of the user's in
    the system's temporary folder, for all instances of this machine."""

    reference_age_h: Annotated[float, Meta(gt=0)] = 24.0
    """Instruments that are older than this are fetched anew when they are asked for."""
    bitfinex: BitfinexRestSettings = BitfinexRestSettings()
    kraken: KrakenRestSettings = KrakenRestSettings()
    gmo: GmoRestSettings = GmoRestSettings()
