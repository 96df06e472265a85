"""A bot's trades: which is ours, and what its orders say.

A trade's number names it only for a moment: an entry that is cancelled without a fill is erased,
and the next trade gets its number. What names a trade is its entry tag, which is our command id,
with the time it was opened. How much is filled stands in its orders alone: a partly filled entry
has an `amount` of 0. What the bot says of prices and profit now is up to 300 s old and is not read
at all.
"""

import re
from decimal import Decimal
from typing import Final, NamedTuple

from msgspec import Struct

DRY_RUN_PREFIX: Final = "dry_run_"
TICK_SIZE: Final = 4
"""`precision_mode`: the precision is the step itself; otherwise it counts decimals (2)."""
_COMMAND_ID: Final = re.compile(r"[0-9a-f]{32}")


class TradeKey(NamedTuple):
    """What names a trade for ever."""

    tag: str
    opened_ms: int


class BotOrder(Struct, frozen=True):
    """One order of a trade. Only open ones and those with a fill are shown."""

    order_id: str
    status: str
    amount: Decimal
    safe_price: Decimal
    """Average of its fills; its limit before there is one."""
    ft_order_side: str
    order_type: str
    is_open: bool
    filled: Decimal | None = None
    order_timestamp: int | None = None
    order_filled_timestamp: int | None = None
    ft_order_tag: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no order can have; raises ValueError, which makes the answer unreadable."""
        if not (self.done.is_finite() and self.done >= 0):
            raise ValueError(f"order {self.order_id} has filled {self.filled}")
        if self.done and not (self.safe_price.is_finite() and self.safe_price > 0):
            raise ValueError(f"order {self.order_id} was filled at {self.safe_price}")

    @property
    def done(self) -> Decimal:
        """How much of it is filled."""
        return self.filled or Decimal(0)


class BotTrade(Struct, frozen=True):
    """One trade, open or closed."""

    trade_id: int
    pair: str
    base_currency: str
    quote_currency: str
    is_open: bool
    is_short: bool
    amount: Decimal
    amount_requested: Decimal
    strategy: str
    open_timestamp: int
    has_open_orders: bool
    orders: list[BotOrder]
    enter_tag: str | None = None
    fee_open: Decimal | None = None
    """Rate; the venue's once the entry is over."""
    fee_open_cost: Decimal | None = None
    """What the entry cost, once it is over."""
    fee_close: Decimal | None = None
    fee_close_cost: Decimal | None = None
    """What the first exit cost, and that alone."""
    close_timestamp: int | None = None
    exit_reason: str | None = None
    exit_order_status: str | None = None
    amount_precision: Decimal | None = None
    precision_mode: int | None = None

    @property
    def key(self) -> TradeKey:
        """What names it."""
        return TradeKey(self.enter_tag or "", self.open_timestamp)

    @property
    def tagged_by_us(self) -> bool:
        """Its tag has the form of a command id, which a person's has not."""
        return _COMMAND_ID.fullmatch(self.enter_tag or "") is not None

    @property
    def entries(self) -> list[BotOrder]:
        """Its orders that enter, oldest first."""
        return self._of("sell" if self.is_short else "buy")

    @property
    def exits(self) -> list[BotOrder]:
        """Its orders that exit, oldest first."""
        return self._of("buy" if self.is_short else "sell")

    def _of(self, side: str) -> list[BotOrder]:
        found = [order for order in self.orders if order.ft_order_side == side]
        return sorted(found, key=lambda order: order.order_timestamp or 0)

    @property
    def held(self) -> Decimal:
        """What its fills have left of it. Its `amount` says 0 until an entry is over."""
        bought = sum((order.done for order in self.entries), Decimal(0))
        return bought - sum((order.done for order in self.exits), Decimal(0))

    @property
    def amount_step(self) -> Decimal:
        """The smallest amount by which two of its orders can differ; 0 where it is not told."""
        if self.amount_precision is None:
            return Decimal(0)
        if self.precision_mode == TICK_SIZE:
            return self.amount_precision
        return Decimal(1).scaleb(-int(self.amount_precision))

    @property
    def is_dry(self) -> bool:
        """All its orders are simulated by the bot; one real order makes it False."""
        return all(order.order_id.startswith(DRY_RUN_PREFIX) for order in self.orders)


class ClosedTrades(Struct, frozen=True):
    """A page of `/trades`."""

    trades: list[BotTrade]
    total_trades: int
    offset: int = 0


def by_tag(trades: list[BotTrade], tag: str, opened_ms: int = 0) -> BotTrade | None:
    """The trade of a tag, and of a time if that is known already."""
    for trade in trades:
        if trade.enter_tag == tag and opened_ms in {0, trade.open_timestamp}:
            return trade
    return None
