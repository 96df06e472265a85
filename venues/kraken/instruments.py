"""Kraken's `instrument` channel: pairs and assets with their steps, digits exact.

Rules (docs.kraken.com/api/docs/websocket-v2/instrument): `data` is one object, not a list; numbers
may have exponents (`1e-08`); keys that do not apply to a pair are absent.
"""

from typing import Any

from schemas.errors import DecodeError
from venues.numbers import as_integer, as_text, decimal_or_empty
from venues.wire import AssetRules, InstrumentsChanged, PairRules


def read_instruments(message: dict[str, Any]) -> InstrumentsChanged:
    """A frame parsed with `venues.numbers.parse_exact`.

    Raises:
        DecodeError, KeyError, TypeError: it is not as it must be.
    """
    data = message["data"]
    if not isinstance(data, dict) or message.get("type") not in {"snapshot", "update"}:
        raise DecodeError("an instrument frame without its object")
    return InstrumentsChanged(
        is_snapshot=message["type"] == "snapshot",
        pairs=tuple(_pair(row) for row in data.get("pairs", [])),
        assets=tuple(_asset(row) for row in data.get("assets", [])),
    )


def _pair(row: dict[str, Any]) -> PairRules:
    return PairRules(
        symbol=as_text(row["symbol"]),
        base=as_text(row["base"]),
        quote=as_text(row["quote"]),
        status=as_text(row["status"]),
        price_decimals=as_integer(row["price_precision"]),
        price_step=decimal_or_empty(row.get("price_increment", row.get("tick_size"))),
        quantity_decimals=as_integer(row["qty_precision"]),
        quantity_step=decimal_or_empty(row.get("qty_increment")),
        minimum_quantity=decimal_or_empty(row.get("qty_min")),
        minimum_cost=decimal_or_empty(row.get("cost_min")),
    )


def _asset(row: dict[str, Any]) -> AssetRules:
    return AssetRules(
        asset=as_text(row["id"]),
        status=as_text(row["status"]),
        decimals=as_integer(row["precision"]),
    )
