"""The instance at one moment, as pages draw it and the API tells it: plain data, made once for all.

A `View` is replaced whole several times a second and never changed afterwards, so a page, an API
call and twenty browsers can hold the same one. Money is decimal text; prices of our own books are
floats, as they stand in the rings. All times are ns UTC.
"""

from typing import Any

from msgspec import Struct, field

from processes.execution.reading import Entry, FillRow
from schemas.messages import Status


class Level(Struct, frozen=True):
    """One price level of a book."""

    price: float
    size: float


class Trade(Struct, frozen=True):
    """A trade on the tape."""

    time_ns: int
    side: str
    price: float
    size: float


class Bar(Struct):
    """Trades of a span, made by us, or a candle as its venue sends it."""

    start_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Forecast(Struct, frozen=True):
    """What one model, or the blend, expects."""

    model: str
    up: float
    flat: float
    down: float
    move_bps: float


class Point(Struct, frozen=True):
    """One prediction of the blend, as the pictures show it."""

    cut_ns: int
    middle: float
    up: float
    flat: float
    down: float
    move_bps: float


class Market(Struct, kw_only=True):
    """One instrument: its book, trades, features and predictions."""

    index: int
    venue: str
    symbol: str
    pair: str
    bids: list[Level] = []
    asks: list[Level] = []
    middle: float = 0.0
    spread_bps: float = 0.0
    book_ns: int = 0
    last: float = 0.0
    last_side: str = ""
    change_bps: float = 0.0
    """Of the middle, over the pictures' span."""
    trades: list[Trade] = []
    """Newest first."""
    bars: list[Bar] = []
    candles: list[Bar] = []
    ticker: dict[str, float] = {}
    status: dict[str, float] = {}
    features: dict[str, float] = {}
    feature_past: dict[str, list[float]] = {}
    invalid: list[str] = []
    cut_ns: int = 0
    forecasts: list[Forecast] = []
    past: list[Point] = []
    late: bool = False


class Decision(Struct, frozen=True, kw_only=True):
    """A decision and why."""

    sequence: int
    time_ns: int
    instrument: int
    symbol: str
    action: str
    reason: str
    reason_text: str
    strategy: str
    rung: str
    kill_level: str
    command_id: str
    latency_us: float
    numbers: dict[str, float]


class Ring(Struct, frozen=True, kw_only=True):
    """A ring as it moves."""

    name: str
    committed: int
    per_s: float
    readers: list[tuple[str, int, int]]
    """(name, lag, lost)."""


class Hop(Struct, frozen=True, kw_only=True):
    """A latency over the last ten seconds, in microseconds."""

    name: str
    p50: float
    p99: float
    count: int


class Equity(Struct, frozen=True):
    """What today's trading has come to at a moment."""

    time_ns: int
    realized: float
    unrealized: float


class Limit(Struct, frozen=True, kw_only=True):
    """A limit of risk and how much of it is used, 0 to 1 and more."""

    name: str
    used: str
    limit: str
    share: float


class AlertLine(Struct, frozen=True, kw_only=True):
    """Something that needs attention."""

    name: str
    severity: str
    means: str
    text: str
    todo: str
    since: str = ""
    acknowledged: str = ""
    can_acknowledge: bool = False


class Trading(Struct, frozen=True, kw_only=True):
    """Orders and money, from the ledger, marked to our own books."""

    positions: list[dict[str, Any]] = []
    orders: list[Entry] = []
    fills: list[FillRow] = []
    days: dict[str, str] = {}
    limits: list[Limit] = []
    error: str = ""


class View(Struct, kw_only=True):
    """All of it."""

    at_ns: int = 0
    session: int = 0
    generation: int = 0
    mode: str = "paper"
    rung: str = "mlx"
    kill_level: str = "none"
    kill_since_ns: int = 0
    kill_by: str = ""
    kill_acknowledged: bool = True
    status: Status | None = None
    rings: list[Ring] = []
    hops: list[Hop] = []
    markets: list[Market] = []
    decisions: list[Decision] = []
    """Newest first."""
    reasons: dict[str, int] = {}
    equity: list[Equity] = []
    realized: float = 0.0
    unrealized: float = 0.0
    drawdown: float = 0.0
    open_orders: int = 0
    losing_streak: int = 0
    trading: Trading = field(default_factory=Trading)
    feeds: list[dict[str, Any]] = []
    """Each collector's connections, as `connections` of its bus tells them."""
    alerts: list[AlertLine] = []
    drift: dict[str, int] = {}
    """Population stability index of features against the training, thousandths."""
    models: dict[str, dict[str, int]] = {}
    """Of each place: standing, time spent, deadlines missed."""
    own: dict[str, float] = {}
    """The console's own figures: browsers, memory, what a look costs."""
