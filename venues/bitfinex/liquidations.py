"""Liquidations: the rows of `liq:global`, and the slots that hold them.

Source (docs.bitfinex.com/reference/ws-public-status): one nesting more than other channels have,
    [CHANNEL, [["pos", POS_ID, MTS, null, SYMBOL, AMOUNT, BASE_PRICE, null, IS_MATCH,
                IS_MARKET_SOLD, null, LIQUIDATION_ACQUIRED_PRICE]]]
The last price is null while the liquidation is only a trigger. There is no snapshot.
"""

from math import isnan
from typing import Any, Final

from msgspec import Struct

from schemas.errors import DecodeError
from schemas.tape import Flag, Side
from venues.numbers import as_integer, as_number, number_or_nan

_FIELDS_MIN: Final = 7
_SYMBOL_BYTES: Final = 32
_TIME_MAX_MS: Final = 9_000_000_000_000


class Liquidation(Struct, frozen=True, kw_only=True):
    """One row; NaN where the venue gave nothing."""

    position_id: int
    time_ns: int
    symbol: str
    amount: float
    base_price: float
    is_match: float
    is_market_sold: float
    acquired_price: float


def read_liquidations(payload: list[Any]) -> list[Liquidation]:
    """A frame's rows.

    Args:
        payload: as `venues.numbers.parse_exact` gives it.

    Raises:
        DecodeError: a row is none.
    """
    rows = [payload] if payload and payload[0] == "pos" else payload
    return [_read_row(row) for row in rows]


def _read_row(row: Any) -> Liquidation:
    if not isinstance(row, list) or len(row) < _FIELDS_MIN or row[0] != "pos":
        raise DecodeError(f"{str(row)[:100]} is no liquidation")

    def number(at: int) -> float:
        return float(number_or_nan(row[at])) if at < len(row) else float("nan")

    symbol, position_id, time_ms = row[4], as_integer(row[1]), as_integer(row[2])
    if not isinstance(symbol, str) or not symbol.isascii() or not 0 < len(symbol) <= _SYMBOL_BYTES:
        raise DecodeError(f"a liquidation of {symbol!r}")
    if position_id <= 0 or not 0 <= time_ms <= _TIME_MAX_MS or not as_number(row[5]):
        raise DecodeError(f"{str(row)[:100]}: no position, time or amount")
    return Liquidation(
        position_id=position_id,
        time_ns=time_ms * 1_000_000,
        symbol=symbol,
        amount=number(5),
        base_price=number(6),
        is_match=number(8),
        is_market_sold=number(9),
        acquired_price=number(11),
    )


def write_liquidation(slot: Any, what: Liquidation) -> None:
    """Fill a slot of zeros, seen as `schemas.tape.LIQUIDATION`, whose head is written."""
    slot["flags"] |= Flag.LIQUIDATION
    slot["id_low"] = what.position_id
    slot["event_ns"] = what.time_ns
    slot["price"] = 0.0 if isnan(what.base_price) else what.base_price
    slot["size"] = abs(what.amount)
    slot["side"] = Side.BID if what.amount > 0 else Side.ASK
    for name in ("amount", "base_price", "acquired_price", "is_match", "is_market_sold"):
        slot[name] = getattr(what, name)
    slot["symbol"] = what.symbol.encode()
