"""What venues say of an account, in one form: orders, fills, balances, positions, answers.

A venue's `account.py` makes these of its private frames; trading reads them and never a frame.
Quantities, prices and money are plain decimal text without an exponent (`"0.00008528"`), never a
float; empty text means that the venue did not say. Quantities and prices are never negative where
a `side` stands beside them. Times are int64 ns UTC, 0 where the venue gave none. Our own words for
a state stand beside the venue's text, which is kept as it came.

Events are facts as the venue reports them, not a ledger: what happens to an intent of ours is in
`schemas/trading.py`.
"""

import re
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from schemas.errors import DecodeError
from schemas.trading import OrderSide

OrderStatus = Literal[
    "pending", "open", "partially_filled", "filled", "canceled", "expired", "rejected", "unknown"
]
"""`pending`: the venue has it, and the market does not yet (a stop that waits is pending too).
`unknown`: the venue's word is none of its documented ones; see `status_text`."""

FINAL_STATUSES: frozenset[OrderStatus] = frozenset({"filled", "canceled", "expired", "rejected"})
"""After these nothing can happen to the order any more."""

Liquidity = Literal["maker", "taker", ""]
PositionStatus = Literal["open", "closed"]
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
_ABOVE_NOTHING = re.compile(r"(?=[0-9.]*[1-9])\d+(\.\d+)?", re.ASCII)
_MOST_DECIMALS = 64


class Fee(Struct, frozen=True, kw_only=True):
    """What a fill cost; `amount` is negative where the venue paid it to us."""

    asset: str
    """Empty where the venue means the quote currency and does not say it."""
    amount: str


class OrderUpdate(Struct, frozen=True, kw_only=True, tag="order"):
    """An order as the venue now has it, whole: what a sparse message left out is filled in."""

    venue: str
    order_id: str
    symbol: str
    """The venue's own; `instruments.json` has the common form."""
    status: OrderStatus
    status_text: str
    """The venue's own word."""
    client_order_id: str = ""
    side: OrderSide | Literal[""] = ""
    order_type: str = ""
    """The venue's own word: limit, EXCHANGE LIMIT, MARKET ..."""
    quantity: str = ""
    """As ordered (or last amended)."""
    filled_quantity: str = ""
    """Filled so far, all fills together."""
    limit_price: str = ""
    stop_price: str = ""
    average_price: str = ""
    """Mean price of the fills so far."""
    time_in_force: str = ""
    post_only: bool = False
    reduce_only: bool = False
    event: str = ""
    """What happened to it, in the venue's word: new, amended, canceled ..."""
    reason: str = ""
    """Why, in the venue's words."""
    time_ns: int = 0
    created_ns: int = 0
    is_snapshot: bool = False
    """Part of the state at the time of subscribing: nothing happened now."""

    @property
    def is_final(self) -> bool:
        """Nothing can happen to the order any more."""
        return self.status in FINAL_STATUSES


class Fill(Struct, frozen=True, kw_only=True, tag="fill"):
    """Part of an order was traded. `fill_id` is unique at the venue, and told once.

    Raises:
        DecodeError: price or quantity are not above nothing. No book is kept of such a fill.
    """

    venue: str
    fill_id: str
    order_id: str
    symbol: str
    side: OrderSide | Literal[""]
    price: str
    quantity: str
    client_order_id: str = ""
    trade_id: str = ""
    """The public trade's id, where it differs from the fill's."""
    position_id: str = ""
    fees: tuple[Fee, ...] = ()
    liquidity: Liquidity = ""
    profit: str = ""
    """What closing a position with it brought, in quote currency."""
    time_ns: int = 0
    is_snapshot: bool = False

    def __post_init__(self) -> None:
        """Refuse what no trade can be."""
        for name, amount in (("price", self.price), ("quantity", self.quantity)):
            if not _ABOVE_NOTHING.fullmatch(amount):
                raise DecodeError(
                    f"{self.venue}: fill {self.fill_id} of order {self.order_id} has the {name} "
                    f"{amount!r:.40}"
                )


class BalanceChange(Struct, frozen=True, kw_only=True, tag="balance"):
    """An asset's balance after a change, or as a snapshot has it."""

    venue: str
    asset: str
    balance: str
    """All of it; what orders hold included."""
    wallet: str = ""
    """Which of the venue's wallets, in its own word: spot, exchange, margin ..."""
    available: str = ""
    change: str = ""
    """Signed: what was added or taken; empty where only the balance is told."""
    fee: str = ""
    cause: str = ""
    """The venue's word for why: trade, deposit, withdrawal ..."""
    change_id: str = ""
    """The venue's ledger id."""
    reference: str = ""
    """What caused it: the id of a trade, transfer ..."""
    time_ns: int = 0
    is_snapshot: bool = False


class PositionChange(Struct, frozen=True, kw_only=True, tag="position"):
    """A margin or derivatives position after a change, or as a snapshot has it."""

    venue: str
    symbol: str
    status: PositionStatus
    status_text: str
    side: OrderSide | Literal[""]
    """buy: long. Empty where it is flat."""
    quantity: str
    position_id: str = ""
    """Empty where the venue has one position an instrument, or tells their sum."""
    average_price: str = ""
    profit: str = ""
    """Not yet realised, in quote currency; signed."""
    liquidation_price: str = ""
    leverage: str = ""
    time_ns: int = 0
    is_snapshot: bool = False


class FundingChange(Struct, frozen=True, kw_only=True, tag="funding"):
    """Money lent or borrowed at a funding market."""

    venue: str
    kind: Literal["offer", "credit", "loan"]
    """credit: taken for a position of ours; loan: taken, and not used."""
    funding_id: str
    symbol: str
    status: OrderStatus
    status_text: str
    side: Literal["lend", "borrow", ""] = ""
    amount: str = ""
    """What remains of it."""
    original_amount: str = ""
    rate: str = ""
    """A day's, as a share."""
    period_days: int = 0
    time_ns: int = 0
    created_ns: int = 0
    is_snapshot: bool = False


class AccountFigures(Struct, frozen=True, kw_only=True, tag="figures"):
    """Sums that the venue has made of the account: margin, equity, limits."""

    venue: str
    scope: str
    """What they are of: `balance`, `margin`, `margin:tBTCUSD`, `orders` ..."""
    figures: dict[str, str]
    """Decimal text by name, signed."""
    time_ns: int = 0


class CommandAnswer(Struct, frozen=True, kw_only=True, tag="answer"):
    """The venue's gateway took or refused a command; what became of it is told by the orders."""

    venue: str
    command: str
    """The venue's word: add_order, on-req ..."""
    accepted: bool
    request_id: str = ""
    """Ours, as the venue repeated it."""
    order_id: str = ""
    client_order_id: str = ""
    code: str = ""
    text: str = ""
    warnings: tuple[str, ...] = ()
    time_ns: int = 0


class AccountState(Struct, frozen=True, kw_only=True, tag="state"):
    """Whether a private channel is being told: what came before `live` is not complete."""

    venue: str
    channel: str
    """The venue's; empty for all of the connection."""
    live: bool
    permanent: bool = False
    """Trying again is useless: the key is refused."""
    text: str = ""


class AccountGap(Struct, frozen=True, kw_only=True, tag="gap"):
    """Events of a private channel are missing: subscribe it anew, and reconcile."""

    venue: str
    channel: str
    """The venue's; empty for all of the connection."""
    expected: int
    found: int


AccountEvent = (
    OrderUpdate
    | Fill
    | BalanceChange
    | PositionChange
    | FundingChange
    | AccountFigures
    | CommandAnswer
    | AccountState
    | AccountGap
)


def plain_decimal(number: str) -> str:
    """A number's text without an exponent, every digit kept: `8.528e-05` is `0.00008528`.

    Raises:
        DecodeError: it is no number, or larger or smaller than any amount of money.
    """
    if not _NUMBER.fullmatch(number):
        raise DecodeError(f"{number[:40]!r} is no decimal number")
    value = Decimal(number)
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _MOST_DECIMALS:
        raise DecodeError(f"{number[:40]} is no amount")
    return f"{value:f}"
