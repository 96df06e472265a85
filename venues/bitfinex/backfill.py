"""Trades of a gap at Bitfinex: pages of `trades/SYMBOL/hist`, oldest first.

A row is the stream's own, with the id that `te` and `tu` carried (docs.bitfinex.com, "Trades").
Times are milliseconds and inclusive, so the next page repeats the last millisecond of the one
before.
"""

from typing import Final

from schemas.instruments import Instrument
from venues.bitfinex.rest import BitfinexRest
from venues.holes import MissedTrade, TradesFrom, missed_trade

PAGE_ROWS: Final = 1000
"""The venue gives ten times as many; to read those would hold the sockets up."""
_MS: Final = 1_000_000


def trades_from(rest: BitfinexRest) -> TradesFrom:
    """The venue's pages."""

    async def fetch(instrument: Instrument, from_ns: int) -> list[MissedTrade]:
        symbol, start_ms = instrument.symbol, from_ns // _MS
        if instrument.pair.endswith(":FUNDING"):
            loans = await rest.funding_trades(symbol, start_ms=start_ms, limit=PAGE_ROWS, sort=1)
            return [missed_trade(r.id, r.mts * _MS, r.rate, r.amount, r.period) for r in loans]
        trades = await rest.trades(symbol, start_ms=start_ms, limit=PAGE_ROWS, sort=1)
        return [missed_trade(r.id, r.mts * _MS, r.price, r.amount) for r in trades]

    return fetch
