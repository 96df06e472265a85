"""Bitfinex as the collector sees it: settings, requests, codecs, and what a restart recovers."""

import json
from typing import Final

import numpy as np

from schemas import tape
from schemas.settings import BitfinexSettings
from schemas.tape import Kind, MarkerReason
from venues.bitfinex import kernel, subscriptions
from venues.bitfinex.codec import BitfinexCodec
from venues.bitfinex.markets import Interruption, Markets
from venues.wire import Codec, Publish, Subscription

_TALLIES: Final = {
    "ingest_frames": kernel.N_FRAMES,
    "frames_unknown": kernel.N_UNKNOWN,
    "checksums_verified": kernel.N_VERIFIED,
    "checksums_failed": kernel.N_FAILED,
    "ingest_events trades": kernel.N_TRADES,
    "ingest_events books": kernel.N_BOOK,
    "ingest_events raw_books": kernel.N_RAW,
    "ingest_events ticker": kernel.N_TICKERS,
    "ingest_events candles": kernel.N_CANDLES,
    "ingest_events status": kernel.N_STATUS,
}


class BitfinexVenue:
    """One process's view of the venue; its markets are shared by all connections."""

    name = "bitfinex"

    def __init__(self, settings: BitfinexSettings, url: str) -> None:
        self.url = url
        self.markets = Markets()
        self._settings = settings

    def plan(self, wanted: list[Subscription]) -> list[list[Subscription]]:
        """Spread subscriptions over connections within the venue's limit."""
        return subscriptions.plan(wanted, self._settings.subscriptions_per_connection)

    def codec(self, wanted: list[Subscription], publish: Publish, connection: int) -> BitfinexCodec:
        """A decoder for one connection."""
        return BitfinexCodec(self.markets, publish, subscriptions=wanted, connection=connection)

    def opening(self) -> list[str]:
        """The connection's flags; they hold for channels subscribed after them."""
        flags = subscriptions.flags_of(self._settings)
        return [json.dumps({"event": "conf", "flags": flags})]

    def subscribe(self, subscription: Subscription) -> str:
        """The request for a stream."""
        return json.dumps(subscriptions.subscribe_request(subscription))

    def unsubscribe(self, channel_id: int) -> str:
        """The request to end one."""
        return json.dumps({"event": "unsubscribe", "chanId": channel_id})

    def tally(self, codec: Codec) -> dict[str, int]:
        """The codec's counts by metric."""
        return {name: int(codec.tallies[at]) for name, at in _TALLIES.items()} | {
            "frames_bad": codec.bad_frames
        }

    def recover(self, slots: np.ndarray, wanted: list[Subscription]) -> None:
        """Trade ids, and for each stream since when it is unknown, from the tape's newest slots."""
        if not len(slots):
            return
        trades = slots[slots["kind"] == Kind.TRADE]
        for instrument in np.unique(trades["instrument"]):
            ids = trades["id_low"][trades["instrument"] == instrument]
            self.markets.recall_trades(int(instrument), ids.astype(np.int64))
        ends = {int(epoch): _end_of(slots, epoch) for epoch in np.unique(slots["epoch"])}
        for subscription in wanted:
            mine = slots[
                (slots["instrument"] == subscription.instrument.index)
                & (slots["stream"] == subscription.stream.index)
            ]
            epoch = int((mine if len(mine) else slots)["epoch"][-1])
            self.markets.interrupt(subscription, ends[epoch])


def _end_of(slots: np.ndarray, epoch: int) -> Interruption:
    """The last that the tape knows of a connection."""
    mine = slots[slots["epoch"] == epoch]
    told = mine[(mine["kind"] != Kind.MARKER) & (mine["flags"] & tape.Flag.BACKFILLED == 0)]
    times = told["event_ns"][told["kind"] != Kind.TRADE]  # a trade's time is older than its frame
    return Interruption(
        epoch=epoch,
        venue_sequence=int(mine["venue_sequence"].max()),
        event_ns=int(times.max()) if len(times) else 0,
        recv_ns=int(mine["recv_ns"].max()),
        reason=MarkerReason.COLLECTOR_RESTART,
    )
