"""The bodies of the bridge's streams in Redis: JSON in the field `body` of an entry.

    md:trade, md:orderbook, md:ticker   {type, exchange, symbol, ts, data}
    signal:out, signal:in               {type, exchange, symbol, ts, strategy, action, confidence,
                                         price_ref, meta}
    order:events                        {type, exchange, symbol, ts, data}
    signal:refused                      no JSON of ours: fields entry, reason, body (what was sent)

`ts` is in milliseconds UTC: of the event at the venue, or of its receipt where the venue says none.
Prices and sizes of market data are numbers; amounts of orders are decimal text.

The field `source` of an entry, `session/ring/sequence`, says what it was made of: within a stream
no two entries have the same one, and those of a session and ring come in the order of their
sequences. The field `flags`, where there is one, holds names of `schemas.tape.Flag` (`backfilled`,
...).
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

MARKET_STREAMS = {"trade": "md:trade", "orderbook": "md:orderbook", "ticker": "md:ticker"}
SIGNAL_OUT = "signal:out"
SIGNAL_IN = "signal:in"
SIGNAL_REFUSED = "signal:refused"
ORDER_EVENTS = "order:events"
POSITIONS = "bridge:positions"
"""A hash: what of each ring Redis has, `session:sequence`; written with the entries themselves."""
SIGNAL_GROUP = "data-controller"
"""The bridge's consumer group of `signal:in`."""

ActionName = Literal["hold", "enter_long", "enter_short", "exit"]


class TradeData(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`data` of a trade. `side` is the taker's; empty where the venue does not say."""

    price: float
    size: float
    side: Literal["buy", "sell", ""]


class BookData(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`data` of an order book: the best ten levels a side, (price, size), best first."""

    is_snapshot: bool
    """Always true: every body is the whole of what it shows, none is a change."""
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    checksum: int
    """CRC-32 of the body's text from `"bids"` up to the comma before `"checksum"`."""


class TickerData(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`data` of a ticker; null where the venue gives nothing."""

    bid: float | None
    bid_size: float | None
    ask: float | None
    ask_size: float | None
    last: float | None
    volume: float | None
    high: float | None
    low: float | None


class GapData(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`data` of a gap: what the bridge could not bring. `symbol` of the body is empty."""

    reason: Literal["lapped", "emptied"]
    """lapped: Redis was away for longer than the ring remembers. emptied: Redis has lost what it
    had, and whatever was not read from it is gone."""
    ring: str
    from_sequence: int
    """First slot that is missing; of `emptied`, 0: nobody knows."""
    to_sequence: int


class OrderData(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`data` of an order's new state.

    `side`, `quantity` and `strategy` are empty where the order is older than what the decisions
    ring remembers.
    """

    command_id: str
    state: Literal["new", "accepted", "canceled", "rejected", "expired", "unknown"]
    """new: it is in the ledger, and about to be sent."""
    side: str
    quantity: str
    strategy: str
    venue_order_id: str = ""
    text: str = ""


class FillData(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`data` of a fill. A venue may tell a fill twice: `fill_id` is one fill's own."""

    command_id: str
    fill_id: str
    side: str
    price: str
    quantity: str
    fee: str
    fee_currency: str


class MarketBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `md:*` and `order:events` hold."""

    type: Literal["trade", "orderbook", "ticker", "gap", "order", "fill"]
    exchange: str
    symbol: str
    ts: int
    data: Any


DATA: dict[str, type[Struct]] = {
    "trade": TradeData,
    "orderbook": BookData,
    "ticker": TickerData,
    "gap": GapData,
    "order": OrderData,
    "fill": FillData,
}
"""The form of `data` by the body's type."""


class SignalBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `signal:out` holds, and what a strategy elsewhere writes to `signal:in`."""

    type: Literal["signal"]
    exchange: str
    symbol: str
    ts: int
    strategy: Annotated[str, Meta(pattern=r"^[\w.-]{1,32}$")]
    action: ActionName
    confidence: Annotated[float, Meta(ge=0, le=1)]
    price_ref: Annotated[float, Meta(gt=0)] | None = None
    """The price that the signal was made at; an entry too far from the market's is denied."""
    meta: dict[str, Any] = {}
    """Of `signal:out`: see `SignalMeta`. Of `signal:in`: the writer's own, not looked at."""


class SignalMeta(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`meta` of `signal:out`."""

    reason: str
    """`schemas.trading.Reason`, in small letters: why it came out as it did."""
    quantity: float
    command_id: str = ""
    signal_id: str = ""
    """Of an outside signal: `strategy/id`. Its `action` is `hold` if it was denied."""
