"""What an instrument is bought with and what is bought, under every name its venue may use.

Fees and balances name assets in the venue's own codes (Bitfinex says UST where the pair says USDT),
so each side is a set of names. Made of the instrument table alone; knows no amounts.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from schemas.instruments import Instrument
from venues.bitfinex.symbols import split_pair
from venues.kraken.symbols import LEGACY


class Assets(NamedTuple):
    """Both sides of an instrument; empty where the pair has none."""

    bases: frozenset[str]
    quotes: frozenset[str]


UNKNOWN: Final = Assets(frozenset(), frozenset())
"""Of an instrument that is not in the table: every fee is taken to be in its quote currency."""


def assets_of(item: Instrument) -> Assets:
    """Names of an instrument's base and quote."""
    base, slash, quote = item.pair.partition(":")[0].partition("/")
    if not slash:
        return UNKNOWN
    bases, quotes = {base}, {quote}
    if item.venue == "bitfinex" and item.symbol.startswith("t"):
        own_base, own_quote = split_pair(item.symbol)
        bases.add(own_base)
        quotes.add(own_quote)
    if item.venue == "kraken":
        bases |= {old for old, new in LEGACY.items() if new == base}
        quotes |= {old for old, new in LEGACY.items() if new == quote}
    return Assets(frozenset(bases), frozenset(quotes))


def assets_by_instrument(instruments: Iterable[Instrument]) -> dict[int, Assets]:
    """Of a whole table."""
    return {item.index: assets_of(item) for item in instruments}
