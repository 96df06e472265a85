"""Trading calls by the venue's name: the one list of venues that can be traded at."""

from collections.abc import Callable
from typing import Final

from venues.bitfinex.trading import BitfinexTrading
from venues.gmo.trading import GmoTrading
from venues.kraken.trading import KrakenTrading
from venues.trading import Access, Trading

TRADINGS: Final[dict[str, Callable[[Access], Trading]]] = {
    "bitfinex": BitfinexTrading,
    "gmo": GmoTrading,
    "kraken": KrakenTrading,
}
