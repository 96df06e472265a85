"""What a backtest says: plain data, the same to the byte whenever it is run on the same input.

Amounts are decimal text in the quote currency of their instrument, added up as they are, as the
risk limits add them; times are ns UTC. Nothing here is of the machine or the moment it ran on.
"""

from typing import Any

from msgspec import Struct

Money = str
"""Decimal text with eight digits behind the point; prices and quantities have their own."""


class Fill(Struct, frozen=True, kw_only=True):
    """One fill and what it cost beside its fee, signed: above zero is a loss to us."""

    time_ns: int
    instrument: int
    symbol: str
    side: str
    price: Money
    quantity: Money
    fee: Money
    maker: bool
    command_id: str
    spread: Money
    """From the middle to the best price, times the quantity."""
    depth: Money
    """From the best price to ours: the book had no more there."""
    delay: Money
    """What the middle moved between the decision and the fill."""


class Trade(Struct, frozen=True, kw_only=True):
    """From the first fill of a position to the one that closed or turned it."""

    instrument: int
    symbol: str
    side: str
    opened_ns: int
    closed_ns: int
    quantity: Money
    entry_price: Money
    """Means over the fills."""
    exit_price: Money
    gross: Money
    fees: Money
    net: Money
    strategy: str
    exit_reason: str


class Hour(Struct, frozen=True, kw_only=True):
    """What happened within an hour, UTC."""

    hour: str
    decisions: int
    orders: int
    fills: int
    turnover: Money
    fees: Money
    realized: Money
    equity: Money
    """At its end."""


class Point(Struct, frozen=True, array_like=True):
    """The account at a moment."""

    time_ns: int
    equity: Money
    """Realized and unrealized result, fees included; it begins at zero."""
    exposure: Money
    """Absolute value of all positions."""


class Held(Struct, frozen=True, kw_only=True):
    """A position that is open at the end, valued at the middle price."""

    instrument: int
    symbol: str
    quantity: Money
    average_price: Money
    mark: Money
    unrealized: Money


class Gap(Struct, frozen=True, kw_only=True):
    """A span in which the tape does not know an instrument's book."""

    instrument: int
    symbol: str
    from_ns: int
    to_ns: int
    why: str


class Pulled(Struct, frozen=True, kw_only=True):
    """A trigger of risk that fired; nobody arms again in a backtest."""

    time_ns: int
    code: str
    level: str
    text: str


class Count(Struct, frozen=True, kw_only=True):
    """How many decisions came out so."""

    action: str
    reason: str
    decisions: int


class Summary(Struct, frozen=True, kw_only=True):
    """The figures that one looks at first."""

    net: Money
    """Equity at the end."""
    realized: Money
    unrealized: Money
    gross: Money
    """Net without fees."""
    fees: Money
    spread: Money
    depth: Money
    delay: Money
    slippage: Money
    """Depth and delay."""
    turnover: Money
    net_bps: float
    """Of the turnover."""
    orders: int
    fills: int
    maker_fills: int
    trades: int
    won: int
    hit_rate: float
    """Share of trades with a net above zero."""
    mean_trade: Money
    mean_held_s: float
    max_drawdown: Money
    """Deepest fall of the equity below its highest point before."""
    drawdown_from_ns: int
    drawdown_to_ns: int
    mean_exposure: Money
    """Over time."""
    max_exposure: Money
    time_in_market: float
    """Share of the time in which something was held."""


class Result(Struct, frozen=True, kw_only=True):
    """All of it."""

    profile: str
    from_ns: int
    to_ns: int
    sessions: list[int]
    currencies: list[str]
    """Quote currencies of what was traded; amounts of several are added as they are."""
    model: str
    """The rung and device that predictions were made on."""
    events: int
    rows: int
    predictions: int
    decisions: int
    digest: str
    """Of every input and decision of the machine, to the bit."""
    summary: Summary
    pulled: list[Pulled]
    reasons: list[Count]
    hours: list[Hour]
    positions: list[Held]
    gaps: list[Gap]
    trades: list[Trade]
    fills: list[Fill]
    equity: list[Point]
    """Thinned out evenly if the span is long."""
    settings: dict[str, Any]
    """In force, by dotted key."""
