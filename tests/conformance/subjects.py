"""The venues that the conformance suite is run against: what differs between them, and only
that."""

from typing import Any

from msgspec import Struct

from processes.simulator.server import Exchange
from schemas.feeds import BitfinexSettings, BookSettings, FeedSettings, GmoSettings, KrakenSettings
from schemas.instruments import Channel

QUICK: dict[str, Any] = {
    "subscribe_timeout_s": 3.0,
    "silence_s": 8.0,
    "backoff_first_s": 0.05,
    "backoff_longest_s": 0.4,
    "connects_per_minute": 60,
}


class Subject(Struct, frozen=True, kw_only=True):
    """One venue."""

    name: str
    symbols: tuple[str, ...]
    unknown: str
    """A symbol that the venue refuses."""
    path: str
    settings: FeedSettings
    channels: tuple[Channel, ...]
    served: str
    """Key of the simulator's settings that lists the symbols."""
    book: dict[str, Any]
    """What the simulator's truth must be asked for."""
    numbered: bool = False
    """Frames carry a sequence."""
    checked: bool = True
    """Books carry checksums."""
    trade_ids: bool = True
    greets: bool = True
    """The venue says by itself whether it is operative; otherwise the upgrade is refused."""

    def true_book(self, exchange: Exchange, symbol: str) -> tuple[list[Any], list[Any]]:
        """Bids and asks as (price text, amount text)."""
        told = exchange.truth({"venue": self.name, "symbol": symbol, "kind": "book", **self.book})
        bids, asks = ([(level[0], level[-1]) for level in told[s]] for s in ("bids", "asks"))
        return bids, asks

    def true_trades(self, exchange: Exchange, symbol: str) -> list[tuple[str, ...]]:
        """All trades that were made, oldest first, in the venue's own form."""
        told = exchange.truth({"venue": self.name, "symbol": symbol, "kind": "trades"})
        return [tuple(row) for row in told["rows"]]


BITFINEX = Subject(
    name="bitfinex",
    symbols=("tBTCUSD", "tETHUSD", "tXRPUSD"),
    unknown="tNOPE",
    path="/ws/2",
    settings=BitfinexSettings(books=(BookSettings(length=25),), stale_s={"books": 5.0}, **QUICK),
    channels=("books", "trades", "ticker", "candles"),
    served="symbols",
    book={"prec": "P0", "len": "25"},
    numbered=True,
)
KRAKEN = Subject(
    name="kraken",
    symbols=("BTC/USD", "ETH/USD", "XRP/USD"),
    unknown="NOPE/USD",
    path="/kraken/v2",
    settings=KrakenSettings(book_depth=10, stale_s={"books": 5.0}, **QUICK),
    channels=("books", "trades", "ticker", "candles"),
    served="kraken_symbols",
    book={"depth": 10},
)
GMO = Subject(
    name="gmo",
    symbols=("BTC_JPY", "ETH_JPY", "XRP_JPY"),
    unknown="NOPE_JPY",
    path="/gmo/ws/public/v1",
    settings=GmoSettings(stale_s={"books": 12.0}, **{**QUICK, "silence_s": 20.0}),
    channels=("books", "trades", "ticker"),
    served="gmo_symbols",
    book={"depth": 30},
    checked=False,
    trade_ids=False,
    greets=False,
)
SUBJECTS = (BITFINEX, KRAKEN, GMO)
