"""Lengths of candles by their names: `1m`, `6h`, `1D`, `14D`, `1W`, `1M`."""

from datetime import UTC, datetime
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
_UNITS: Final = {"m": MINUTE_MS, "h": HOUR_MS, "D": DAY_MS, "W": 7 * DAY_MS}


def candle_end_ms(timeframe: str, mts: int) -> int:
    """When a candle that begins at `mts` (ms UTC) is over."""
    count, unit = int(timeframe[:-1]), timeframe[-1]
    if unit != "M":
        return mts + count * _UNITS[unit]
    # A venue's month may begin in its own time zone: the day of the month and the hour stay.
    moment = datetime.fromtimestamp(mts // 1000, UTC)
    months = moment.year * 12 + moment.month - 1 + count
    later = moment.replace(day=1, year=months // 12, month=months % 12 + 1)
    return round(later.timestamp() * 1000) + (moment.day - 1) * DAY_MS


def spell(timeframe: str) -> str:
    """`1d` and `1w` as venues write them, `1D` and `1W`; `1m` and `1M` differ and stay."""
    return timeframe[:-1] + timeframe[-1:].replace("d", "D").replace("w", "W")
