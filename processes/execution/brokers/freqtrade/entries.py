"""Before and after an entry: may it be sent, with which numbers, and is the trade what was asked.

The bot clamps a stake in silence, takes pairs that it should not, and takes a second entry of the
same tag when the first is over. So what it would do wrong is refused here before the send, and what
it has made of the order is looked at afterwards.
"""

import math
from decimal import Decimal
from typing import Final, NamedTuple

from processes.execution.brokers.freqtrade.command import Command
from processes.execution.brokers.freqtrade.reading import Reading
from venues.freqtrade.answers import ShowConfig
from venues.freqtrade.trades import BotTrade

TRADABLE: Final = Decimal("0.99")
"""The bot keeps a hundredth of its money back (`tradable_balance_ratio`), unless told otherwise."""
PRICE_SHARE_MAX: Final = Decimal("0.001")
"""A limit is rounded to the venue's step and not further than this."""
CLOCK_MS: Final = 1000


class Order(NamedTuple):
    """An entry's numbers as the bot's interface takes them: JSON numbers, binary."""

    price: float
    stake: float


def bot_fault(config: ShowConfig, *, live: bool) -> str:
    """Why this bot must not be used at all, as it is set up; empty if it may.

    Args:
        live: whether its orders may go where money is; a bot in dry-run may always be used.
    """
    if not live and not config.dry_run:
        return "the bot is live, and nobody has armed it: dcctl arm --live, or dry_run: true"
    if config.runmode != ("dry_run" if config.dry_run else "live"):
        return f"the bot's run mode is {config.runmode}"
    if not config.recent:
        return f"the bot is of version {config.version}: 2026.1 is the oldest that will do"
    if not config.force_entry_enable:
        return "force_entry_enable is false in the bot's settings"
    if config.position_adjustment_enable:
        return "position_adjustment_enable is true: a doubled entry would add to the position"
    if config.trading_mode != "spot":
        return f"the bot trades {config.trading_mode}: only spot is driven"
    return ""


def numbers_of(quantity: Decimal, price: Decimal) -> Order:
    """Price and stake of which the bot makes this very amount: it divides them, in binary."""
    rate, wanted = float(price), float(quantity)
    stake = float(quantity * price)
    while stake / rate < wanted:
        stake = math.nextafter(stake, math.inf)
    return Order(rate, stake)


def entry_fault(command: Command, price: Decimal, reading: Reading, *, live: bool) -> str:
    """Why an entry must not be sent now; empty if it may."""
    config, quantity = reading.config, command.quantity
    if command.intent.side != "buy":
        return "a bot on a spot market cannot sell short"
    if not (price.is_finite() and quantity.is_finite() and price > 0 and quantity > 0):
        return "price and quantity must be above zero"
    if fault := bot_fault(config, live=live):
        return fault
    if config.state != "running":
        return f"the bot is {config.state}: it takes no entries"
    if not command.pair.endswith(f"/{config.stake_currency}"):
        return f"the bot's stakes are in {config.stake_currency}, not for {command.pair}"
    if reading.find(command.tag) is not None:
        return "the bot has a trade of this command id already"
    if any(trade.pair == command.pair for trade in reading.open):
        return f"the bot has an open trade of {command.pair}"
    if reading.full:
        return f"the bot has its {config.max_open_trades.normalize():f} open trades"
    free = reading.balances.free(config.stake_currency) * TRADABLE
    if quantity * price > free:
        return f"the bot has {free:.2f} {config.stake_currency} to spend: it would buy less"
    return ""


def mismatch(command: Command, price: Decimal, trade: BotTrade, *, dry_run: bool) -> str:
    """In what the trade that an entry has made is not what was asked for; empty if it is.

    Args:
        dry_run: whether the bot has said that its orders are simulated.
    """
    if trade.enter_tag != command.tag or trade.pair != command.pair:
        return f"the bot answered with the trade {trade.enter_tag} of {trade.pair}"
    if trade.open_timestamp < command.sent_ns // 10**6 - CLOCK_MS:
        return "the bot's trade is older than the order"
    if trade.is_short:
        return "the bot went short"
    if trade.is_dry != dry_run:
        return f"the bot's order is {'simulated' if trade.is_dry else 'real'}"
    if not trade.entries:
        return "the bot's trade has no entry order"
    order = trade.entries[-1]
    if abs(order.amount - command.quantity) > trade.amount_step:
        return f"the bot ordered {order.amount:f}, not {command.quantity:f}"
    off = abs(order.safe_price - price)
    if order.order_type == "limit" and order.is_open and off > price * PRICE_SHARE_MAX:
        return f"the bot's limit is {order.safe_price:f}, not {price:f}"
    return ""
