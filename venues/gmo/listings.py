"""GMO Coin's instruments in the common form, from `symbols`."""

from schemas.reference import Listing
from venues.exact import plain
from venues.gmo.rest import GmoRest, SymbolRules
from venues.gmo.symbols import QUOTE, common_pair


async def listings(rest: GmoRest) -> list[Listing]:
    """What can be traded now."""
    return from_symbols(await rest.symbols())


def from_symbols(symbols: list[SymbolRules]) -> list[Listing]:
    """Listings of what `symbols` says."""
    return sorted((_listing(rules) for rules in symbols), key=lambda one: one.symbol)


def _listing(rules: SymbolRules) -> Listing:
    pair = common_pair(rules.symbol)
    leverage = pair.endswith(":PERP")
    return Listing(
        venue="gmo",
        symbol=rules.symbol,
        pair=pair,
        base=pair.partition("/")[0],
        quote=QUOTE,
        kind="perpetual" if leverage else "spot",
        rest_symbol=rules.symbol,
        price_rule="tick",
        tick_size=plain(rules.tick_size),
        size_step=plain(rules.size_step),
        min_size=plain(rules.min_size),
        max_size=plain(rules.max_size),
        margin=leverage,
    )
