"""Bitfinex's instruments in the common form, from one `conf` request.

Prices have 5 significant digits (docs.bitfinex.com, "Requirements and limitations"), amounts 8
decimals; there is no tick size. A pair without a row of limits is listed without them.
"""

from decimal import Decimal
from typing import Any, Final

from schemas.reference import Listing
from venues.bitfinex import rest_records as records
from venues.bitfinex.rest import BitfinexRest, conf_map
from venues.bitfinex.symbols import common_pair, currency_names
from venues.exact import plain, rows

KEYS: Final = (
    "pub:list:pair:exchange",
    "pub:list:pair:futures",
    "pub:list:pair:margin",
    "pub:info:pair",
    "pub:info:pair:futures",
    "pub:map:currency:sym",
)
PRICE_DIGITS: Final = 5
SIZE_STEP: Final = "0.00000001"


async def listings(rest: BitfinexRest) -> list[Listing]:
    """What can be traded now."""
    return from_conf(await rest.conf(*KEYS))


def from_conf(tables: list[Any]) -> list[Listing]:
    """Listings of the answers to `KEYS`."""
    exchange, futures, margin, info, futures_info, names = tables[: len(KEYS)]
    told = [records.pair_info(row) for row in [*rows(info), *rows(futures_info)]]
    limits = {one.pair: one for one in told}
    with_margin = {*rows(margin), *rows(futures)}
    common = currency_names(conf_map(names))
    codes = sorted({*rows(exchange), *rows(futures)})
    return [_listing(code, common, limits.get(code), margin=code in with_margin) for code in codes]


def _listing(
    code: str, names: dict[str, str], limits: records.PairInfo | None, *, margin: bool
) -> Listing:
    symbol = f"t{code}"
    pair = common_pair(symbol, names)
    base, _, quote = pair.removesuffix(":PERP").partition("/")
    return Listing(
        venue="bitfinex",
        symbol=symbol,
        pair=pair,
        base=base,
        quote=quote,
        kind="perpetual" if pair.endswith(":PERP") else "spot",
        rest_symbol=symbol,
        price_rule="significant_digits",
        price_digits=PRICE_DIGITS,
        size_step=SIZE_STEP,
        min_size=_plain(limits.min_size if limits else None),
        max_size=_plain(limits.max_size if limits else None),
        margin=margin,
    )


def _plain(value: Decimal | None) -> str:
    return "" if value is None else plain(value)
