"""Risk: one function a check, each with its code. All are asked before an order exists.

Checks of entries stop what adds risk; an order that only takes a position back passes all but those
without which it cannot be sent: an account, a comparison with its venue, the ledger, and a size
that the venue takes. A check says no with a `Reason`, or nothing.

Limits stand in scopes: the whole, a venue, an account, an instrument. A limit of one order or one
position is the one of the narrowest scope that has it; a limit of a sum (all positions, the day's
loss, orders a minute) holds in every scope that has it, over what is in it. Amounts are in one
currency: what is quoted in another is multiplied by its `risk.rates`.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from processes.execution.positions import Book
from processes.execution.routes import Route
from processes.execution.scopes import Scope
from processes.execution.sizes import Size
from schemas.trading import KillLevel, Reason, Step

MINUTE_NS: Final = 60_000_000_000


class Limits(NamedTuple):
    """Of one order or one position, for its instrument; and of the whole account."""

    max_order: Decimal
    max_position: Decimal
    price_band_bps: Decimal
    max_drawdown: Decimal
    max_losing_streak: int
    stale_ns: int


class Proposal(NamedTuple):
    """An order that is not one yet."""

    instrument: int
    signed_quantity: Decimal
    price: Decimal
    reference_price: Decimal
    reduces: bool
    now_ns: int
    seen_ns: int
    """When the market was as the proposal takes it to be."""


class Situation(NamedTuple):
    """What checks may know besides the proposal."""

    book: Book
    limits: Limits
    scopes: Sequence[Scope]
    """Those that the instrument is in, the whole first."""
    size: Size
    rate: Decimal
    """What one unit of the quote currency is worth in the currency of the limits."""
    kill_level: int
    step: Step
    """How far trading has fallen."""
    route: Route
    reconciled: bool
    """The route's account."""
    ledger_away: bool
    under_way: dict[int, Decimal]
    """Value of open orders that add to a position, as far as they are not filled, by instrument."""
    order_times: Sequence[tuple[int, int]]
    """Time and instrument of the last orders."""
    funds: Decimal | None
    """What the account has to pay with, orders under way taken off; None where nothing is."""


Check = Callable[[Proposal, Situation], bool]
"""True if the proposal must not become an order."""


def killed(_: Proposal, situation: Situation) -> bool:
    """The kill switch is on."""
    return situation.kill_level >= KillLevel.PAUSE


def taken_over(_: Proposal, situation: Situation) -> bool:
    """The kill switch is beyond pause, where exits are its own affair.

    The gate lets none of a strategy pass then: each prediction would make an order that is
    written, synced and refused.
    """
    return situation.kill_level >= KillLevel.CANCEL


def degraded(_: Proposal, situation: Situation) -> bool:
    """Trading has fallen to its last step."""
    return situation.step is Step.FLAT


def no_account(_: Proposal, situation: Situation) -> bool:
    """The instrument's orders go nowhere."""
    return not situation.route.account


def short_not_allowed(proposal: Proposal, situation: Situation) -> bool:
    """The account cannot sell what it does not hold."""
    held = situation.book.position(proposal.instrument).quantity
    return held + proposal.signed_quantity < 0 and not situation.route.may_short


def not_reconciled(_: Proposal, situation: Situation) -> bool:
    """Ledger and the account's venue have not been compared."""
    return not situation.reconciled


def ledger_away(_: Proposal, situation: Situation) -> bool:
    """An intent could not be made durable before the send."""
    return situation.ledger_away


def stale_data(proposal: Proposal, situation: Situation) -> bool:
    """The market was last seen too long ago, or is dated later than now."""
    return abs(proposal.now_ns - proposal.seen_ns) > situation.limits.stale_ns


def min_size(proposal: Proposal, situation: Situation) -> bool:
    """Smaller than the venue takes."""
    quantity = abs(proposal.signed_quantity)
    return quantity < situation.size.smallest or not quantity


def min_notional(proposal: Proposal, situation: Situation) -> bool:
    """Worth less than the venue takes."""
    return abs(proposal.signed_quantity) * proposal.price < situation.size.min_notional


def max_order(proposal: Proposal, situation: Situation) -> bool:
    """A single order too large."""
    return _worth(proposal, situation) > situation.limits.max_order


def max_position(proposal: Proposal, situation: Situation) -> bool:
    """The position after it too large."""
    held = situation.book.position(proposal.instrument).quantity
    after = abs(held + proposal.signed_quantity) * proposal.price * situation.rate
    return after > situation.limits.max_position


def max_total_position(proposal: Proposal, situation: Situation) -> bool:
    """All positions of a scope after it, and after the orders under way, too large."""
    added = _worth(proposal, situation)
    for scope in situation.scopes:
        if scope.max_total is None:
            continue
        there = situation.book.exposure(scope.members) + sum(
            value for n, value in situation.under_way.items() if scope.has(n)
        )
        if there + added > scope.max_total:
            return True
    return False


def daily_loss(_: Proposal, situation: Situation) -> bool:
    """Today's loss of a scope, open positions included, has reached the limit."""
    return any(
        scope.max_daily_loss is not None
        and situation.book.result_today(scope.members) <= -scope.max_daily_loss
        for scope in situation.scopes
    )


def max_drawdown(_: Proposal, situation: Situation) -> bool:
    """So much was lost since the highest equity."""
    limit = situation.limits.max_drawdown
    return limit > 0 and situation.book.drawdown() >= limit


def losing_streak(_: Proposal, situation: Situation) -> bool:
    """Too many trades in a row ended with a loss."""
    limit = situation.limits.max_losing_streak
    return 0 < limit <= situation.book.losses.streak


def order_rate(proposal: Proposal, situation: Situation) -> bool:
    """Too many orders of a scope in the last minute."""
    recent = [n for t, n in situation.order_times if proposal.now_ns - t < MINUTE_NS]
    return any(
        scope.max_per_minute is not None
        and sum(scope.has(n) for n in recent) >= scope.max_per_minute
        for scope in situation.scopes
    )


def price_band(proposal: Proposal, situation: Situation) -> bool:
    """A price too far from the reference."""
    distance = abs(proposal.price - proposal.reference_price) / proposal.reference_price
    return distance * 10_000 > situation.limits.price_band_bps


def balance(proposal: Proposal, situation: Situation) -> bool:
    """The account has not what the order costs."""
    if situation.funds is None:
        return False
    cost = abs(proposal.signed_quantity) * proposal.price * (1 + situation.route.taker)
    return cost > situation.funds


def _worth(proposal: Proposal, situation: Situation) -> Decimal:
    return abs(proposal.signed_quantity) * proposal.price * situation.rate


ENTRY_CHECKS: Final[tuple[tuple[Reason, Check], ...]] = (
    (Reason.KILLED, killed),
    (Reason.DEGRADED, degraded),
    (Reason.NO_ACCOUNT, no_account),
    (Reason.SHORT_NOT_ALLOWED, short_not_allowed),
    (Reason.NOT_RECONCILED, not_reconciled),
    (Reason.LEDGER_AWAY, ledger_away),
    (Reason.STALE_DATA, stale_data),
    (Reason.MIN_SIZE, min_size),
    (Reason.MIN_NOTIONAL, min_notional),
    (Reason.PRICE_BAND, price_band),
    (Reason.MAX_ORDER, max_order),
    (Reason.MAX_POSITION, max_position),
    (Reason.MAX_TOTAL_POSITION, max_total_position),
    (Reason.DAILY_LOSS, daily_loss),
    (Reason.MAX_DRAWDOWN, max_drawdown),
    (Reason.LOSING_STREAK, losing_streak),
    (Reason.ORDER_RATE, order_rate),
    (Reason.BALANCE, balance),
)
EXIT_CHECKS: Final[tuple[tuple[Reason, Check], ...]] = (
    (Reason.KILLED, taken_over),
    (Reason.NO_ACCOUNT, no_account),
    (Reason.NOT_RECONCILED, not_reconciled),
    (Reason.LEDGER_AWAY, ledger_away),
    (Reason.MIN_SIZE, min_size),
    (Reason.MIN_NOTIONAL, min_notional),
)


def denial(proposal: Proposal, situation: Situation) -> Reason | None:
    """The first check that says no."""
    checks = EXIT_CHECKS if proposal.reduces else ENTRY_CHECKS
    for reason, denies in checks:
        if denies(proposal, situation):
            return reason
    return None
