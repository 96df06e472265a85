"""What Kraken says of its assets and pairs: names old and new, precisions, smallest orders.

REST names are the old ones (XXBTZUSD, wsname XBT/USD), Spot WebSocket v2 has BTC/USD. Sources:
page instrument of Spot WebSocket v2, REST page get-tradable-asset-pairs; a pair without margin
leaves the margin keys out.
"""

from typing import Any

from processes.simulator.balances import atoms
from processes.simulator.kraken_books import PairText
from processes.simulator.market import UNITS, Market
from processes.simulator.orders import Listing

OLD_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
PREFIXED = {"XBT": "X", "ETH": "X", "XRP": "X", "LTC": "X", "XDG": "X"}
FIAT = ("USD", "EUR", "JPY", "GBP", "CAD")
MARGINABLE = ("BTC", "ETH")
QTY_PRECISION = 8
QTY_MIN = 0.00005
COST_MIN = 0.5
FEES = [[0, 0.4], [10_000, 0.35], [50_000, 0.24]]
FEES_MAKER = [[0, 0.25], [10_000, 0.2], [50_000, 0.14]]


def old_asset(name: str) -> str:
    """An asset's v1 name: XBT for BTC."""
    return OLD_NAMES.get(name, name)


def rest_asset(name: str) -> str:
    """An asset's REST name: XXBT for BTC, ZUSD for USD."""
    old = old_asset(name)
    return f"Z{old}" if old in FIAT else PREFIXED.get(old, "") + old


def rest_name(symbol: str) -> str:
    """A pair's REST name: XXBTZUSD for BTC/USD, SOLUSD for SOL/USD."""
    base, quote = symbol.split("/")
    if rest_asset(base) != old_asset(base) and rest_asset(quote) != old_asset(quote):
        return rest_asset(base) + rest_asset(quote)
    return old_asset(base) + old_asset(quote)


def known_names(symbol: str) -> set[str]:
    """All names by which REST takes a pair."""
    base, quote = map(old_asset, symbol.split("/"))
    return {rest_name(symbol), base + quote, f"{base}/{quote}", symbol, symbol.replace("/", "")}


def listing_of(symbol: str) -> Listing:
    """What orders of a pair are held against; fees are those of the first volume tier."""
    base, quote = symbol.split("/")
    return Listing(
        symbol=symbol,
        base=base,
        quote=quote,
        taker_parts=round(FEES[0][1] * 10_000),
        maker_parts=round(FEES_MAKER[0][1] * 10_000),
        min_units=round(QTY_MIN * UNITS),
        min_cost=atoms(str(COST_MIN)),
    )


def instrument_data(markets: list[Market], system: str) -> dict[str, Any]:
    """The `data` of the instrument channel; pairs carry the system's status."""
    names = sorted({name for market in markets for name in market.symbol.split("/")})
    return {
        "assets": [_asset(name) for name in names],
        "pairs": [_pair(market, system) for market in markets],
    }


def _asset(name: str) -> dict[str, Any]:
    fiat = name in FIAT
    return {
        "id": name,
        "status": "enabled",
        "precision": 4 if fiat else 10,
        "precision_display": 2 if fiat else 5,
        "borrowable": fiat or name in MARGINABLE,
        "collateral_value": 1.0 if fiat or name in MARGINABLE else 0.0,
        **({"margin_rate": 0.025} if fiat or name in MARGINABLE else {}),
    }


def _pair(market: Market, system: str) -> dict[str, Any]:
    base, quote = market.symbol.split("/")
    decimals = PairText(market).decimals
    marginable = base in MARGINABLE
    margin = {"margin_initial": 0.2, "position_limit_long": 300, "position_limit_short": 240}
    return {
        "symbol": market.symbol,
        "base": base,
        "quote": quote,
        "status": system,
        "qty_precision": QTY_PRECISION,
        "qty_increment": float(f"1e-{QTY_PRECISION}"),
        "qty_min": QTY_MIN,
        "price_precision": decimals,
        "price_increment": float(market.tick),
        "cost_precision": 5,
        "cost_min": COST_MIN,
        "marginable": marginable,
        "has_index": True,
        "tick_size": float(market.tick),
        **(margin if marginable else {}),
    }


def asset(name: str) -> dict[str, Any]:
    """One asset of REST Assets."""
    fiat = name in FIAT
    return {
        "aclass": "currency",
        "altname": old_asset(name),
        "decimals": 4 if fiat else 10,
        "display_decimals": 2 if fiat else 5,
        "status": "enabled",
    }


def asset_pair(market: Market) -> dict[str, Any]:
    """One pair of REST AssetPairs."""
    base, quote = market.symbol.split("/")
    leverage = [2, 3, 4, 5] if base in MARGINABLE else []
    return {
        "altname": old_asset(base) + old_asset(quote),
        "wsname": f"{old_asset(base)}/{old_asset(quote)}",
        "aclass_base": "currency",
        "base": rest_asset(base),
        "aclass_quote": "currency",
        "quote": rest_asset(quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": PairText(market).decimals,
        "lot_decimals": QTY_PRECISION,
        "lot_multiplier": 1,
        "leverage_buy": leverage,
        "leverage_sell": leverage,
        "fees": FEES,
        "fees_maker": FEES_MAKER,
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": f"{QTY_MIN:.5f}",
        "costmin": str(COST_MIN),
        "tick_size": str(market.tick),
        "status": "online",
        **({"long_position_limit": 300, "short_position_limit": 240} if leverage else {}),
    }
