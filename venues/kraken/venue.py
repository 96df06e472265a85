"""Kraken as the collector sees it: settings, requests, codecs.

Level3 has an address of its own and needs a token, which only a trading key can fetch. The
collector never holds such a key: who has one gives `KrakenVenue` a function that fetches a token
(docs/decisions/0008-level3-token.md).
"""

from collections.abc import Awaitable, Callable

import numpy as np

from schemas.errors import ConfigError
from schemas.feeds import KrakenSettings
from venues.kraken import subscriptions
from venues.kraken.codec import KrakenCodec
from venues.markets import Markets
from venues.wire import Allot, Publish, Request, Subscription

TokenSource = Callable[[], Awaitable[str]]
"""Fetches a WebSocket token, a new one each time; OSError or TimeoutError where it cannot now."""

LONELY = frozenset({"instruments", "raw_books"})
"""Channels that open no connection to the public address."""
LEVEL3_INTERVAL_S = 1.05
"""A level3 request is made as large as the venue takes in a second."""


class KrakenVenue:
    """One process's view of the venue; its markets are shared by all connections.

    Args:
        token: for level3.

    Raises:
        ConfigError: level3 is wanted and there is no token, or instruments and nothing public.
    """

    name = "kraken"
    ends_are_confirmed = True

    def __init__(
        self, settings: KrakenSettings, url: str, token: TokenSource | None = None
    ) -> None:
        wants_level3 = "raw_books" in settings.channels
        if wants_level3 and token is None:
            raise ConfigError("venues.kraken.channels has raw_books, and there is no token for it")
        if "instruments" in settings.channels and set(settings.channels) <= LONELY:
            raise ConfigError(
                "venues.kraken.channels has instruments, and no channel whose connection could "
                "carry it: add ticker, trades, books or candles"
            )
        self.command_interval_s = LEVEL3_INTERVAL_S if wants_level3 else 0.0
        self.markets = Markets()
        self._url = url
        self._settings = settings
        self._token = token
        self._tokens: dict[tuple[int, int], str] = {}
        """The token of a level3 stream's connection, by (instrument, stream)."""

    def recover(self, slots: np.ndarray, wanted: list[Subscription]) -> None:
        """Trade ids and ends of knowledge from the tape's newest slots."""
        self.markets.recover(slots, wanted)

    def plan(self, wanted: list[Subscription]) -> list[list[Subscription]]:
        """Spread subscriptions over connections, level3 on its own."""
        return subscriptions.plan(wanted, self._settings.symbols_per_connection)

    async def address(self, wanted: list[Subscription]) -> str:
        """One address for the public channels; another and a new token for level3."""
        if not subscriptions.is_level3(wanted):
            return self._url
        assert self._token is not None
        token = await self._token()
        for each in wanted:
            self._tokens[each.instrument.index, each.stream.index] = token
        return self._settings.level3_url

    def codec(self, wanted: list[Subscription], publish: Publish, connection: int) -> KrakenCodec:
        """A decoder for one connection."""
        return KrakenCodec(self.markets, publish, subscriptions=wanted, connection=connection)

    def opening(self, connection: int) -> list[str]:
        """The instrument channel, which is of all symbols, once: on the first public connection."""
        wanted = "instruments" in self._settings.channels and connection == 0
        return [subscriptions.instruments_request()] if wanted else []

    def subscribe(self, wanted: list[Subscription]) -> list[Request]:
        """One request for all symbols of a stream."""
        token = self._token_of(wanted[0]) if wanted else ""
        return subscriptions.subscribe_requests(wanted, self._settings, token)

    def unsubscribe(self, subscription: Subscription, channel_id: int) -> str:
        """The request to end one; the venue knows it by its parameters."""
        del channel_id
        token = self._token_of(subscription)
        return subscriptions.unsubscribe_request(subscription, self._settings, token)

    def ping(self) -> str:
        """Keeps a connection open on which nothing is asked."""
        return subscriptions.ping_request()

    def _token_of(self, subscription: Subscription) -> str:
        return self._tokens.get((subscription.instrument.index, subscription.stream.index), "")


def open_venue(settings: KrakenSettings, url: str) -> KrakenVenue:
    """The venue as the collector sees it."""
    return KrakenVenue(settings, url)


def open_recording(publish: Publish, allot: Allot) -> KrakenCodec:
    """A decoder for recorded frames, of streams that nobody here asked for."""
    return KrakenCodec(Markets(), publish, allot=allot, tolerant=True)
