"""Past market data on disk: what a download is, how far it has come, and the files' columns.

CSV holds the venue's exact decimal text; Arrow holds float64, as the lake's live tables do
(`processes/history/files.py`). Loads nothing heavy: commands that only look read it too.
"""

from typing import Final, Literal

from msgspec import Struct

HistoryChannel = Literal["candles", "trades", "tickers"]
FileFormat = Literal["arrow", "csv"]
Order = Literal["asc", "desc"]
State = Literal["recorded", "done", "cancelled", "failed"]
"""`recorded` and not held by a process means: interrupted, to be resumed."""

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "candles": ("mts", "open", "close", "high", "low", "volume"),
    "trades": ("id", "mts", "amount", "price"),
    "tickers": ("symbol", "bid", "ask", "mts"),
}
"""Times are milliseconds UTC; a trade's amount below 0 is a taker's sale."""


class Job(Struct, frozen=True, kw_only=True):
    """One download as it was asked for; never changed."""

    id: str
    venue: str
    channel: HistoryChannel
    symbol: str
    """The venue's own name, as in the lake."""
    rest_symbol: str
    timeframe: str
    """Of candles; empty otherwise."""
    start_ms: int
    """First time that belongs to it."""
    end_ms: int
    """First time that does not any more."""
    limit: int
    """Most rows; 0 = all."""
    sort: Order
    format: FileFormat
    created_ns: int
    file: str
    """Where the finished file is, below the lake."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far a download has come; replaced whole after each page."""

    state: State = "recorded"
    rows: int = 0
    pages: int = 0
    longest_page: int = 0
    """Most rows that one page had."""
    bytes: int = 0
    """Of the unfinished file; what is behind them was not committed."""
    cursor: int | None = None
    """Where the source goes on; None = at the beginning."""
    edge_key: int | None = None
    """The last time held, in the source's own unit ..."""
    edge_ids: tuple[int, ...] = ()
    """... and what is held of it: the next page shows these rows again."""
    first_mts: int = 0
    last_mts: int = 0
    complete: bool = False
    """Every row is in the unfinished file; only sealing is left."""
    note: str = ""
    """What the venue cannot give of what was asked for."""
    error: str = ""
