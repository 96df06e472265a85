"""Kraken's instruments in the common form, from `AssetPairs`.

Dark-pool pairs (`XXBTZUSD.d`) have no v1 name and no stream; they are left out.
"""

from decimal import Decimal

from schemas.reference import Listing
from venues.exact import plain
from venues.kraken.rest import KrakenRest, Pair
from venues.kraken.symbols import common_pair


async def listings(rest: KrakenRest) -> list[Listing]:
    """What can be traded now."""
    return from_pairs(await rest.asset_pairs())


def from_pairs(pairs: list[Pair]) -> list[Listing]:
    """Listings of what `AssetPairs` says."""
    return sorted((_listing(pair) for pair in pairs if pair.wsname), key=lambda one: one.symbol)


def _listing(pair: Pair) -> Listing:
    symbol = common_pair(pair.wsname)
    base, _, quote = symbol.partition("/")
    return Listing(
        venue="kraken",
        symbol=symbol,
        pair=symbol,
        base=base,
        quote=quote,
        kind="spot",
        rest_symbol=pair.altname,
        price_rule="tick",
        tick_size=plain(pair.tick_size or Decimal(1).scaleb(-pair.price_decimals)),
        size_step=plain(Decimal(1).scaleb(-pair.lot_decimals)),
        min_size="" if pair.min_size is None else plain(pair.min_size),
        min_cost="" if pair.min_cost is None else plain(pair.min_cost),
        margin=bool(pair.leverage_buy or pair.leverage_sell),
        status=pair.status or "listed",
    )
