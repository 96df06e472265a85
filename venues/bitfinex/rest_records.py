"""What Bitfinex's public REST calls answer, as records; and how a row becomes one.

Fields by position, as docs.bitfinex.com gives them on each call's page. Prices and amounts are
exact decimals; times are milliseconds UTC. None stands where the venue sends null or nothing.
"""

from decimal import Decimal
from typing import Any

from msgspec import Struct

from schemas.errors import AnswerError
from venues.exact import integer, integer_or_none, number, number_or_none, part, show, text


class Ticker(Struct, frozen=True, kw_only=True):
    """A trading pair now. Sizes are sums over the best 25 orders."""

    symbol: str
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    daily_change: Decimal
    daily_change_relative: Decimal
    last: Decimal
    volume: Decimal
    high: Decimal
    low: Decimal


class FundingTicker(Struct, frozen=True, kw_only=True):
    """A funding currency now; rates are per day."""

    symbol: str
    flash_return_rate: Decimal
    bid: Decimal
    bid_period: int
    bid_size: Decimal
    ask: Decimal
    ask_period: int
    ask_size: Decimal
    daily_change: Decimal
    daily_change_relative: Decimal
    last: Decimal
    volume: Decimal
    high: Decimal
    low: Decimal
    flash_return_rate_available: Decimal | None


class PastTicker(Struct, frozen=True, kw_only=True):
    """Best prices of one hour."""

    symbol: str
    bid: Decimal | None
    ask: Decimal | None
    mts: int


class Trade(Struct, frozen=True, kw_only=True):
    """A trade; amount below 0 is a taker's sale."""

    id: int
    mts: int
    amount: Decimal
    price: Decimal


class FundingTrade(Struct, frozen=True, kw_only=True):
    """A funding trade; the rate is per day, the period in days."""

    id: int
    mts: int
    amount: Decimal
    rate: Decimal
    period: int


class Level(Struct, frozen=True, kw_only=True):
    """A level of a book; amount below 0 is an ask."""

    price: Decimal
    count: int
    amount: Decimal


class RawOrder(Struct, frozen=True, kw_only=True):
    """An order of a raw book; amount below 0 is an ask."""

    order_id: int
    price: Decimal
    amount: Decimal


class FundingLevel(Struct, frozen=True, kw_only=True):
    """A level of a funding book; amount **above** 0 is an offer."""

    rate: Decimal
    period: int
    count: int
    amount: Decimal


class FundingOrder(Struct, frozen=True, kw_only=True):
    """An offer of a raw funding book; amount above 0 is an offer."""

    offer_id: int
    period: int
    rate: Decimal
    amount: Decimal


class Stat(Struct, frozen=True, kw_only=True):
    """One value of a statistic."""

    mts: int
    value: Decimal


class Candle(Struct, frozen=True, kw_only=True):
    """A candle; `mts` is its beginning."""

    mts: int
    open: Decimal
    close: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal


class DerivativeStatus(Struct, frozen=True, kw_only=True):
    """A derivative's state; older rows are shorter."""

    key: str
    mts: int
    price: Decimal | None
    spot_price: Decimal | None
    insurance_fund: Decimal | None
    next_funding_mts: int | None
    next_funding_accrued: Decimal | None
    next_funding_step: int | None
    current_funding: Decimal | None
    mark_price: Decimal | None
    open_interest: Decimal | None
    clamp_min: Decimal | None
    clamp_max: Decimal | None


class Liquidation(Struct, frozen=True, kw_only=True):
    """A liquidation: its trigger (`is_match` false) or its execution in the market."""

    position_id: int
    mts: int
    symbol: str
    amount: Decimal
    base_price: Decimal
    is_match: bool
    is_market_sold: bool
    acquired_price: Decimal | None


class FundingStat(Struct, frozen=True, kw_only=True):
    """Funding at a time; the flash return rate is 1/365th of the yearly rate."""

    mts: int
    flash_return_rate: Decimal
    average_period: Decimal | None
    amount: Decimal | None
    amount_used: Decimal | None
    below_threshold: Decimal | None


class AveragePrice(Struct, frozen=True, kw_only=True):
    """What an amount would cost on average, or which rate it would get."""

    price_average: Decimal
    amount: Decimal


class PairInfo(Struct, frozen=True, kw_only=True):
    """A pair's limits; margins are shares."""

    pair: str
    min_size: Decimal | None
    max_size: Decimal | None
    initial_margin: Decimal | None
    min_margin: Decimal | None


def ticker(symbol: str, row: Any) -> Ticker | FundingTicker:
    """`row` is the ticker without its symbol."""
    if symbol.startswith("f"):
        return FundingTicker(
            symbol=symbol,
            flash_return_rate=number(row, 0),
            bid=number(row, 1),
            bid_period=integer(row, 2),
            bid_size=number(row, 3),
            ask=number(row, 4),
            ask_period=integer(row, 5),
            ask_size=number(row, 6),
            daily_change=number(row, 7),
            daily_change_relative=number(row, 8),
            last=number(row, 9),
            volume=number(row, 10),
            high=number(row, 11),
            low=number(row, 12),
            flash_return_rate_available=number_or_none(row, 15),
        )
    return Ticker(
        symbol=symbol,
        bid=number(row, 0),
        bid_size=number(row, 1),
        ask=number(row, 2),
        ask_size=number(row, 3),
        daily_change=number(row, 4),
        daily_change_relative=number(row, 5),
        last=number(row, 6),
        volume=number(row, 7),
        high=number(row, 8),
        low=number(row, 9),
    )


def named_ticker(row: Any) -> Ticker | FundingTicker:
    """A row of `tickers`: the symbol stands first."""
    return ticker(text(row, 0), row[1:])


def past_ticker(row: Any) -> PastTicker:
    """A row of `tickers/hist`."""
    return PastTicker(
        symbol=text(row, 0),
        bid=number_or_none(row, 1),
        ask=number_or_none(row, 3),
        mts=integer(row, 12),
    )


def trade(row: Any) -> Trade:
    """A row of a pair's trades."""
    return Trade(
        id=integer(row, 0), mts=integer(row, 1), amount=number(row, 2), price=number(row, 3)
    )


def funding_trade(row: Any) -> FundingTrade:
    """A row of a currency's trades."""
    return FundingTrade(
        id=integer(row, 0),
        mts=integer(row, 1),
        amount=number(row, 2),
        rate=number(row, 3),
        period=integer(row, 4),
    )


def level(row: Any) -> Level:
    """A row of a pair's book P0 to P4."""
    return Level(price=number(row, 0), count=integer(row, 1), amount=number(row, 2))


def raw_order(row: Any) -> RawOrder:
    """A row of a pair's book R0."""
    return RawOrder(order_id=integer(row, 0), price=number(row, 1), amount=number(row, 2))


def funding_level(row: Any) -> FundingLevel:
    """A row of a currency's book P0 to P4."""
    return FundingLevel(
        rate=number(row, 0), period=integer(row, 1), count=integer(row, 2), amount=number(row, 3)
    )


def funding_order(row: Any) -> FundingOrder:
    """A row of a currency's book R0."""
    return FundingOrder(
        offer_id=integer(row, 0), period=integer(row, 1), rate=number(row, 2), amount=number(row, 3)
    )


def stat(row: Any) -> Stat:
    """A row of `stats1`."""
    return Stat(mts=integer(row, 0), value=number(row, 1))


def candle(row: Any) -> Candle:
    """A row of `candles`: CLOSE stands before HIGH."""
    return Candle(
        mts=integer(row, 0),
        open=number(row, 1),
        close=number(row, 2),
        high=number(row, 3),
        low=number(row, 4),
        volume=number(row, 5),
    )


def derivative(key: str, row: Any) -> DerivativeStatus:
    """`row` is the status without its key."""
    return DerivativeStatus(
        key=key,
        mts=integer(row, 0),
        price=number_or_none(row, 2),
        spot_price=number_or_none(row, 3),
        insurance_fund=number_or_none(row, 5),
        next_funding_mts=integer_or_none(row, 7),
        next_funding_accrued=number_or_none(row, 8),
        next_funding_step=integer_or_none(row, 9),
        current_funding=number_or_none(row, 11),
        mark_price=number_or_none(row, 14),
        open_interest=number_or_none(row, 17),
        clamp_min=number_or_none(row, 21),
        clamp_max=number_or_none(row, 22),
    )


def named_derivative(row: Any) -> DerivativeStatus:
    """A row of `status/deriv`: the key stands first."""
    return derivative(text(row, 0), row[1:])


def liquidation(row: Any) -> Liquidation:
    """A row of `liquidations/hist`, nested once more than others."""
    inner = part(row, 0)
    if part(inner, 0) != "pos":
        raise AnswerError(f"no liquidation: {show(row)}")
    return Liquidation(
        position_id=integer(inner, 1),
        mts=integer(inner, 2),
        symbol=text(inner, 4),
        amount=number(inner, 5),
        base_price=number(inner, 6),
        is_match=integer(inner, 8) == 1,
        is_market_sold=integer(inner, 9) == 1,
        acquired_price=number_or_none(inner, 11),
    )


def funding_stat(row: Any) -> FundingStat:
    """A row of `funding/stats`."""
    return FundingStat(
        mts=integer(row, 0),
        flash_return_rate=number(row, 3),
        average_period=number_or_none(row, 4),
        amount=number_or_none(row, 7),
        amount_used=number_or_none(row, 8),
        below_threshold=number_or_none(row, 11),
    )


def pair_info(row: Any) -> PairInfo:
    """A row of `pub:info:pair` or `pub:info:pair:futures`."""
    values = part(row, 1)
    return PairInfo(
        pair=text(row, 0),
        min_size=number_or_none(values, 3),
        max_size=number_or_none(values, 4),
        initial_margin=number_or_none(values, 8),
        min_margin=number_or_none(values, 9),
    )
