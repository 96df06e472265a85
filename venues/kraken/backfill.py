"""Trades of a gap at Kraken: pages of `Trades`, oldest first.

`since` is exclusive and in nanoseconds, REST times have nine digits and the stream's have six, cut:
a page is asked for from a microsecond earlier. `trade_id` is one number, counted per book, in both
(docs.kraken.com, "trade" and "Get Recent Trades"); whoever joins them proves it anew each time.
"""

from typing import Final

from schemas.instruments import Instrument
from venues.holes import MissedTrade, TradesFrom, missed_trade
from venues.kraken.rest import KrakenRest
from venues.kraken.symbols import rest_name

PAGE_ROWS: Final = 1000
_MICROSECOND_NS: Final = 1000


def trades_from(rest: KrakenRest) -> TradesFrom:
    """The venue's pages."""

    async def fetch(instrument: Instrument, from_ns: int) -> list[MissedTrade]:
        since_ns = from_ns - _MICROSECOND_NS
        name = rest_name(instrument.symbol)
        page = await rest.trades(name, since_ns=since_ns, count=PAGE_ROWS)
        return [
            missed_trade(
                row.id, row.time_ns, row.price, row.volume if row.side == "buy" else -row.volume
            )
            for row in page.rows
        ]

    return fetch
