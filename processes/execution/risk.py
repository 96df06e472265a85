"""Risk: one function a check, each with its code. All are asked before an order exists.

Checks of entries stop what adds risk; an order that only takes a position back passes all but the
kill switch's own and the smallest size. A check says no with a `Reason`, or nothing.
"""

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Final, NamedTuple

from processes.execution.positions import Book
from processes.execution.routes import Route
from schemas.settings import RiskSettings
from schemas.trading import KillLevel, Reason

MINUTE_NS: Final = 60_000_000_000


class Limits(NamedTuple):
    """The settings as numbers to compute with."""

    max_order: Decimal
    max_position: Decimal
    max_total: Decimal
    max_daily_loss: Decimal
    max_per_minute: int
    price_band_bps: Decimal
    min_quantity: Decimal


class Proposal(NamedTuple):
    """An order that is not one yet."""

    instrument: int
    signed_quantity: Decimal
    price: Decimal
    reference_price: Decimal
    reduces: bool
    now_ns: int


class Situation(NamedTuple):
    """What checks may know besides the proposal."""

    book: Book
    limits: Limits
    kill_level: int
    route: Route
    reconciled: bool
    """The route's account."""
    ledger_away: bool
    under_way: Decimal
    """Value of open orders that add to a position, as far as they are not filled."""
    order_times: "deque[int]"


Check = Callable[[Proposal, Situation], bool]
"""True if the proposal must not become an order."""


def killed(_: Proposal, situation: Situation) -> bool:
    """The kill switch is on."""
    return situation.kill_level >= KillLevel.PAUSE


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


def min_size(proposal: Proposal, situation: Situation) -> bool:
    """Smaller than the venue takes."""
    return abs(proposal.signed_quantity) < situation.limits.min_quantity


def max_order(proposal: Proposal, situation: Situation) -> bool:
    """A single order too large."""
    return abs(proposal.signed_quantity) * proposal.price > situation.limits.max_order


def max_position(proposal: Proposal, situation: Situation) -> bool:
    """The position after it too large."""
    held = situation.book.position(proposal.instrument).quantity
    return abs(held + proposal.signed_quantity) * proposal.price > situation.limits.max_position


def max_total_position(proposal: Proposal, situation: Situation) -> bool:
    """All positions after it, and after the orders under way, too large."""
    added = abs(proposal.signed_quantity) * proposal.price
    return situation.book.exposure() + situation.under_way + added > situation.limits.max_total


def daily_loss(_: Proposal, situation: Situation) -> bool:
    """Today's loss, open positions included, has reached the limit."""
    result = situation.book.realized_today + situation.book.unrealized()
    return result <= -situation.limits.max_daily_loss


def order_rate(proposal: Proposal, situation: Situation) -> bool:
    """Too many orders in the last minute."""
    recent = [t for t in situation.order_times if proposal.now_ns - t < MINUTE_NS]
    return len(recent) >= situation.limits.max_per_minute


def price_band(proposal: Proposal, situation: Situation) -> bool:
    """A price too far from the reference."""
    distance = abs(proposal.price - proposal.reference_price) / proposal.reference_price
    return distance * 10_000 > situation.limits.price_band_bps


ENTRY_CHECKS: Final[tuple[tuple[Reason, Check], ...]] = (
    (Reason.KILLED, killed),
    (Reason.NO_ACCOUNT, no_account),
    (Reason.SHORT_NOT_ALLOWED, short_not_allowed),
    (Reason.NOT_RECONCILED, not_reconciled),
    (Reason.LEDGER_AWAY, ledger_away),
    (Reason.MIN_SIZE, min_size),
    (Reason.PRICE_BAND, price_band),
    (Reason.MAX_ORDER, max_order),
    (Reason.MAX_POSITION, max_position),
    (Reason.MAX_TOTAL_POSITION, max_total_position),
    (Reason.DAILY_LOSS, daily_loss),
    (Reason.ORDER_RATE, order_rate),
)
EXIT_CHECKS: Final[tuple[tuple[Reason, Check], ...]] = (
    (Reason.NO_ACCOUNT, no_account),
    (Reason.NOT_RECONCILED, not_reconciled),
    (Reason.LEDGER_AWAY, ledger_away),
    (Reason.MIN_SIZE, min_size),
)


def limits_of(settings: RiskSettings) -> Limits:
    """Limits to compute with."""
    return Limits(
        max_order=Decimal(settings.max_order_notional),
        max_position=Decimal(settings.max_position_notional),
        max_total=Decimal(settings.max_total_notional),
        max_daily_loss=Decimal(settings.max_daily_loss),
        max_per_minute=settings.max_orders_per_minute,
        price_band_bps=Decimal(str(settings.price_band_bps)),
        min_quantity=Decimal(settings.min_quantity),
    )


def denial(proposal: Proposal, situation: Situation) -> Reason | None:
    """The first check that says no."""
    checks = EXIT_CHECKS if proposal.reduces else ENTRY_CHECKS
    for reason, denies in checks:
        if denies(proposal, situation):
            return reason
    return None
