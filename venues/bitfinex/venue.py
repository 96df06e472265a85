"""Bitfinex as the collector sees it: settings, requests, codecs."""

import json

import numpy as np

from schemas.feeds import BitfinexSettings
from venues.bitfinex import subscriptions
from venues.bitfinex.codec import BitfinexCodec
from venues.markets import Markets
from venues.planning import spread
from venues.wire import Allot, Publish, Request, Subscription


class BitfinexVenue:
    """One process's view of the venue; its markets are shared by all connections."""

    name = "bitfinex"
    command_interval_s = 0.0
    ends_are_confirmed = True

    def __init__(self, settings: BitfinexSettings, url: str) -> None:
        self.markets = Markets()
        self._url = url
        self._settings = settings

    def recover(self, slots: np.ndarray, wanted: list[Subscription]) -> None:
        """Trade ids and ends of knowledge from the tape's newest slots."""
        self.markets.recover(slots, wanted)

    def plan(self, wanted: list[Subscription]) -> list[list[Subscription]]:
        """Spread subscriptions over connections within the venue's limit."""
        return spread(wanted, self._settings.subscriptions_per_connection)

    async def address(self, wanted: list[Subscription]) -> str:
        """One address for all public channels."""
        del wanted
        return self._url

    def codec(self, wanted: list[Subscription], publish: Publish, connection: int) -> BitfinexCodec:
        """A decoder for one connection."""
        return BitfinexCodec(self.markets, publish, subscriptions=wanted, connection=connection)

    def opening(self, connection: int) -> list[str]:
        """The connection's flags; they hold for channels subscribed after them."""
        del connection
        flags = subscriptions.flags_of(self._settings)
        return [json.dumps({"event": "conf", "flags": flags})]

    def subscribe(self, wanted: list[Subscription]) -> list[Request]:
        """A request a stream."""
        return [
            Request(text=json.dumps(subscriptions.subscribe_request(each)), subscriptions=[each])
            for each in wanted
        ]

    def unsubscribe(self, subscription: Subscription, channel_id: int) -> str:
        """The request to end one."""
        del subscription
        return json.dumps({"event": "unsubscribe", "chanId": channel_id})

    def ping(self) -> str:
        """Any frame keeps a connection without subscriptions open."""
        return json.dumps({"event": "ping"})


def open_venue(settings: BitfinexSettings, url: str) -> BitfinexVenue:
    """The venue as the collector sees it."""
    return BitfinexVenue(settings, url)


def open_recording(publish: Publish, allot: Allot) -> BitfinexCodec:
    """A decoder for recorded frames, of streams that nobody here asked for."""
    return BitfinexCodec(Markets(), publish, allot=allot, tolerant=True)
