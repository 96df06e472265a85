"""Reference data: what each venue lists, in one form; cached as JSON below `data/reference/`."""

from typing import Literal

from msgspec import Struct

FORMAT = 1


class Listing(Struct, frozen=True, kw_only=True):
    """One instrument as its venue lists it. Numbers are decimal text; empty = no such limit."""

    venue: str
    symbol: str
    """The venue's own name, as its streams use it: `tBTCUSD`, `BTC/USD`, `BTC_JPY`."""
    pair: str
    """The common form: `BTC/USD`, `BTC/USD:PERP`."""
    base: str
    quote: str
    kind: Literal["spot", "perpetual"]
    rest_symbol: str
    """The name that the venue's REST calls take."""
    price_rule: Literal["tick", "significant_digits"]
    """A price is a multiple of `tick_size`, or has at most `price_digits` significant digits."""
    tick_size: str = ""
    price_digits: int = 0
    size_step: str = ""
    min_size: str = ""
    max_size: str = ""
    min_cost: str = ""
    """Smallest price times size, in the quote currency."""
    margin: bool = False
    status: str = "listed"
    """The venue's own word; `listed` where it has none."""


class ReferenceData(Struct, frozen=True, kw_only=True):
    """One venue's file."""

    venue: str
    fetched_ns: int
    """UTC."""
    instruments: list[Listing]
    format: int = FORMAT
