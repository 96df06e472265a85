"""How the venues write numbers and times.

Bitfinex prints what JavaScript prints, Kraken a fixed number of decimals for each pair, GMO Coin
plain decimals in quotes. All take exact integers (ticks, units) or decimals, never floats.
"""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from processes.simulator.market import UNITS

UNIT_DECIMALS = 8
"""An amount of the engine is a number of units of 10^-8."""


def number_text(value: Decimal) -> str:
    """What JavaScript prints for the number: no trailing zeros, exponents below 1e-6."""
    value = value.normalize()
    exponent = value.adjusted()
    if value != 0 and (exponent < -6 or exponent >= 21):
        digits = "".join(map(str, value.as_tuple().digits))
        sign = "-" if value < 0 else ""
        mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
        return f"{sign}{mantissa}e{exponent:+d}"
    return f"{value:f}"


@lru_cache(65_536)
def amount_text(units: int) -> str:
    """Units as JavaScript prints the amount."""
    return number_text(Decimal(units) / UNITS)


@lru_cache(65_536)
def price_text(tick: Decimal, ticks: int) -> str:
    """Ticks as JavaScript prints the price."""
    return number_text(tick * ticks)


@lru_cache(65_536)
def plain_price_text(tick: Decimal, ticks: int) -> str:
    """Ticks as a plain decimal without trailing zeros or exponents."""
    return plain_text(tick * ticks)


@lru_cache(65_536)
def plain_amount_text(units: int) -> str:
    """Units as a plain decimal without trailing zeros or exponents."""
    return plain_text(Decimal(units) / UNITS)


def plain_text(value: Decimal) -> str:
    """A decimal without trailing zeros and without an exponent."""
    return f"{value.normalize():f}"


@lru_cache(131_072)
def fixed_text(value: int, decimals: int) -> str:
    """A count of 10^-decimals with all of its decimals: (62627, 3) -> 62.627, (5, 2) -> 0.05."""
    if decimals == 0:
        return str(value)
    sign = "-" if value < 0 else ""
    whole, part = divmod(abs(value), 10**decimals)
    return f"{sign}{whole}.{part:0{decimals}d}"


@lru_cache(64)
def _second_text(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def time_text(time_ns: int, digits: int) -> str:
    """RFC 3339 UTC with so many digits of the second's fraction: 2026-11-21T10:00:00.123456Z."""
    second, fraction_ns = divmod(time_ns, 10**9)
    if not digits:
        return f"{_second_text(second)}Z"
    return f"{_second_text(second)}.{fraction_ns // 10 ** (9 - digits):0{digits}d}Z"
