"""The words of an account: what is asked for, what an order is, what happened.

Neutral between the venues, which render these in their own language. Prices are ticks, amounts are
units of 10^-8, money is atoms (balances.py). Events are copies: what happens later changes none.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

from processes.simulator.balances import UNIT_ATOMS, atoms_text, cost_atoms
from processes.simulator.market import BookSide, Market
from processes.simulator.numbers import UNIT_DECIMALS, plain_amount_text, plain_price_text

Kind = Literal["market", "limit"]
TimeInForce = Literal["gtc", "ioc", "fok"]
SelfTrade = Literal["cancel_newest", "cancel_oldest", "cancel_both"]
Status = Literal["open", "filled", "canceled", "expired", "rejected"]
End = Literal["filled", "canceled", "expired"]
What = Literal["new", "amended", "filled", "canceled", "expired", "rejected"]
PositionWhat = Literal["opened", "changed", "closed"]
Cause = Literal[
    "",
    "user",  # the client asked for it
    "ioc",  # what an immediate order could not fill
    "fok",  # not all of it could be filled
    "market",  # a market order found nothing more
    "self_trade",
    "post_only",
    "dead_man",
    "hold_released",
]
Why = Literal[
    "symbol", "quantity", "quantity_step", "quantity_min", "cost_min", "price", "price_step",
    "time_in_force", "client_id", "post_only", "reduce_only", "insufficient_funds",
    "unknown_order", "amend_below_filled", "no_position", "rejected",
]  # fmt: skip
"""Why an order, an amend or a cancel is refused: each venue has a text for each."""


class RefusedError(Exception):
    """A command that was not taken; nothing has changed."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why: Why = why


class Listing(Struct, frozen=True):
    """What a venue says of a symbol, as far as orders go."""

    symbol: str
    base: str
    quote: str
    taker_parts: int
    """The fee, in parts of a million; negative: the venue pays."""
    maker_parts: int
    step_units: int = 1
    min_units: int = 1
    min_cost: int = 0
    leverage: int = 0
    """0 = spot; otherwise positions are opened with a margin of 1 / leverage."""


class Rules(Struct, frozen=True):
    """What a venue does with all of its accounts."""

    listing: Callable[[str], Listing]
    fee_in: Literal["quote", "received"] = "quote"
    fee_decimals: int = 8
    refuses_post_only: bool = True
    """A post-only order that would match is refused; otherwise it is taken and canceled."""


class OrderRequest(Struct, kw_only=True):
    """An order as the client wants it, in whole ticks and units."""

    symbol: str
    side: BookSide
    kind: Kind
    units: int
    ticks: int | None = None
    """None for market orders."""
    client_id: str = ""
    time_in_force: TimeInForce = "gtc"
    post_only: bool = False
    reduce_only: bool = False
    self_trade: SelfTrade = "cancel_newest"
    expires_ns: int = 0
    """When it ends by itself; 0 = never."""
    closes: tuple[tuple[int, int], ...] = ()
    """(position id, units) that it closes; empty: it opens, or the symbol is spot."""
    extra: dict[str, Any] = {}
    """What the venue itself wants to remember of it."""


class AccountOrder(Struct, kw_only=True):
    """An order of an account, open or not."""

    id: int
    """Of the venue: in no two markets the same."""
    request: OrderRequest
    tick: Decimal
    ticks: int | None
    units: int
    """As ordered, or last amended."""
    created_ns: int
    updated_ns: int
    number: int = 0
    """In the market's book."""
    filled_units: int = 0
    cost: int = 0
    """Atoms of the quote currency, all fills together."""
    fee: int = 0
    fee_asset: str = ""
    fills: tuple[int, ...] = ()
    status: Status = "open"
    cause: Cause = ""
    parked_units: int = 0
    """Kept out of the book by the fault `hold_fills`."""
    guard_ticks: int | None = None
    """A market order matches no worse than this; None: a limit order."""
    held_asset: str = ""
    held: int = 0
    closed_ns: int = 0

    @property
    def symbol(self) -> str:
        """The venue's name of the market."""
        return self.request.symbol

    @property
    def side(self) -> BookSide:
        """1 buys, -1 sells."""
        return self.request.side

    @property
    def left(self) -> int:
        """Units that are not filled."""
        return self.units - self.filled_units

    @property
    def is_open(self) -> bool:
        """Something can still happen to it."""
        return self.status == "open"

    @property
    def average(self) -> Decimal:
        """Mean price of its fills; 0 before the first."""
        if not self.filled_units:
            return Decimal(0)
        return Decimal(self.cost) / Decimal(self.filled_units * UNIT_ATOMS)

    def facts(self) -> dict[str, Any]:
        """For whoever compares: plain texts."""
        return {
            "id": str(self.id),
            "client_id": self.request.client_id,
            "symbol": self.symbol,
            "side": "buy" if self.side == 1 else "sell",
            "kind": self.request.kind,
            "price": "" if self.ticks is None else plain_price_text(self.tick, self.ticks),
            "quantity": plain_amount_text(self.units),
            "filled": plain_amount_text(self.filled_units),
            "cost": atoms_text(self.cost),
            "fee": atoms_text(self.fee),
            "fee_asset": self.fee_asset,
            "held_asset": self.held_asset,
            "held": atoms_text(self.held),
            "status": self.status,
            "cause": self.cause,
            "fills": [str(number) for number in self.fills],
            "created_ns": self.created_ns,
            "updated_ns": self.updated_ns,
        }


class AccountFill(Struct, frozen=True, kw_only=True):
    """Part of an order was traded."""

    id: int
    trade_id: int
    order_id: int
    symbol: str
    side: BookSide
    tick: Decimal
    ticks: int
    units: int
    fee: int
    fee_asset: str
    maker: bool
    time_ns: int
    position_id: int = 0
    profit: int = 0
    """What closing a position brought, in atoms of the quote currency."""

    @property
    def cost(self) -> int:
        """Price times amount."""
        return cost_atoms(self.tick, self.ticks, self.units)

    def facts(self) -> dict[str, Any]:
        """For whoever compares: plain texts."""
        return {
            "id": str(self.id),
            "trade_id": str(self.trade_id),
            "order_id": str(self.order_id),
            "symbol": self.symbol,
            "side": "buy" if self.side == 1 else "sell",
            "price": plain_price_text(self.tick, self.ticks),
            "quantity": plain_amount_text(self.units),
            "cost": atoms_text(self.cost),
            "fee": atoms_text(self.fee),
            "fee_asset": self.fee_asset,
            "liquidity": "maker" if self.maker else "taker",
            "position_id": str(self.position_id or ""),
            "profit": atoms_text(self.profit),
            "time_ns": self.time_ns,
        }


class Position(Struct, kw_only=True):
    """A margin position."""

    id: int
    symbol: str
    side: BookSide
    tick: Decimal
    ticks: int
    units: int
    ordered_units: int = 0
    """Units that open orders are to close."""
    margin: int = 0
    opened_ns: int = 0

    def facts(self) -> dict[str, Any]:
        """For whoever compares: plain texts."""
        return {
            "id": str(self.id),
            "symbol": self.symbol,
            "side": "buy" if self.side == 1 else "sell",
            "price": plain_price_text(self.tick, self.ticks),
            "quantity": plain_amount_text(self.units),
            "ordered": plain_amount_text(self.ordered_units),
            "margin": atoms_text(self.margin),
        }

    def profit(self, ticks: int, units: int) -> int:
        """What closing units at a price brings, in atoms of the quote currency."""
        return self.side * cost_atoms(self.tick, ticks - self.ticks, units)


def quantity_units(value: Decimal) -> int | None:
    """An amount as units; None if it has digits below 10^-8 or is out of all bounds."""
    if not value.is_finite() or value.adjusted() > 12:
        return None
    units = int(value.scaleb(UNIT_DECIMALS))
    return units if Decimal(units).scaleb(-UNIT_DECIMALS) == value else None


def price_ticks(tick: Decimal, value: Decimal) -> int | None:
    """A price as ticks; None if it lies between two or is out of all bounds."""
    if not value.is_finite() or value.adjusted() > 12:
        return None
    ticks = int(value / tick)
    return ticks if tick * ticks == value else None


def check_size(units: int, ticks: int | None, listing: Listing, market: Market) -> None:
    """Hold an order against the venue's steps and smallest sizes.

    Raises:
        RefusedError: it is off a step or too small.
    """
    if units <= 0:
        raise RefusedError("quantity")
    if units % listing.step_units:
        raise RefusedError("quantity_step")
    if units < listing.min_units:
        raise RefusedError("quantity_min")
    if ticks is not None and ticks <= 0:
        raise RefusedError("price")
    price = ticks or market.best(1) or market.best(-1)
    if price and cost_atoms(market.tick, price, units) < listing.min_cost:
        raise RefusedError("cost_min")
