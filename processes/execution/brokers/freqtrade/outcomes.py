"""What a reading of the bot says of an order: the one place where outcomes are decided.

Everything is decided from trades and orders as the bot has them now, never from the answer of a
call: that may say no of what was done, and yes of what was not. An order that the bot does not show
is one of these:

    never handed over                     EXPIRED
    the bot had said no                   REJECTED
    it was accepted before                CANCELED: what is cancelled without a fill is erased
    not answered, less than WINDOW ago    the call may still run in the bot: asked again
    else, dry-run                         EXPIRED: nothing but the bot could have it
    else, live                            UNKNOWN for good: the venue may have it without the bot

A trade of which fills were told cannot vanish; if it does, that is an alarm and no outcome.
"""

from decimal import Context, Decimal
from typing import Final

from msgspec import Struct

from processes.execution.brokers.freqtrade.command import Command, Told, fill_name
from processes.execution.brokers.freqtrade.reading import Reading
from schemas.trading import (
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
)
from venues.freqtrade.trades import BotOrder, BotTrade

WINDOW_NS: Final = 60_000_000_000
"""Longest that a call goes on in the bot after we have given up: its venue's time-outs and
tries."""
_PRICE_DIGITS: Final = Context(prec=16)
"""An average price comes as a binary number of that many digits."""
VENUE_CHECK: Final = "VENUE_CHECK"
TRADE_LOST: Final = "TRADE_LOST"
AMBIGUOUS: Final = "AMBIGUOUS"
POSITION_DIFFERS: Final = "POSITION_DIFFERS"
FOREIGN_TRADE: Final = "FOREIGN_TRADE"


class Alarm(Struct, frozen=True):
    """Something that a person must look at."""

    code: str
    text: str


class News(Struct):
    """What a reading has told of an order."""

    events: list[Told] = []
    alarms: list[Alarm] = []
    open: bool = False
    """The bot has an open order of it, which can be cancelled."""


def news_of(command: Command, reading: Reading, now_ns: int) -> News:
    """What is new of an order; the command is brought up to date.

    The reading must have been begun after the last call about this order had ended or was given up.
    Of an order that is over, only fills that came late are news, and that it is open nevertheless:
    then it is to be cancelled.
    """
    trade = reading.find(command.tag, command.opened_ms)
    if command.over:
        news = _late(command, trade, now_ns)
    elif trade is None:
        news = _without_trade(command, reading, now_ns)
    else:
        command.opened_ms = trade.open_timestamp
        news = News(events=[], alarms=[])
        order = _order_of(command, trade, news)
        if order is None:
            _without_order(command, reading, now_ns, news)
        else:
            _progress(command, trade, order, now_ns, news)
    command.told += news.events
    return news


def _late(command: Command, trade: BotTrade | None, now_ns: int) -> News:
    """What was over has come to life: a call that took longer than anybody could expect."""
    news = News(events=[], alarms=[])
    # An exit without an order has no name: what is new in its trade may be another one's.
    if trade is not None and (command.order_id or command.role == "entry"):
        order = _order_of(command, trade, news)
        if order is not None and (order.is_open or order.done > command.filled):
            _progress(command, trade, order, now_ns, news)
            command.cancel_wanted = news.open
    return news


def _order_of(command: Command, trade: BotTrade, news: News) -> BotOrder | None:
    """The order of a command among its trade's."""
    orders = trade.entries if command.role == "entry" else trade.exits
    if command.order_id:
        return next((one for one in orders if one.order_id == command.order_id), None)
    fresh = [one for one in orders if one.order_id not in command.before]
    if len(fresh) > 1:
        # More than this order came about: by a person, or by the bot's own rules.
        exact = [one for one in fresh if abs(one.amount - command.quantity) <= trade.amount_step]
        if len(exact) != 1:
            text = f"{len(fresh)} orders of {trade.pair} could be {command.id}"
            news.alarms.append(Alarm(AMBIGUOUS, text))
            return None
        fresh = exact
    return fresh[0] if fresh else None


def _progress(command: Command, trade: BotTrade, order: BotOrder, now_ns: int, news: News) -> None:
    if not command.order_id:
        command.order_id = order.order_id
        news.events.append(OrderAccepted(command.id, order.order_id, now_ns))
    before = command.filled
    if order.done > before:
        news.events.append(_fill(command, trade, order, now_ns))
    elif order.done < before:
        text = f"{order.order_id} had {before:f} filled and now has {order.done:f}"
        news.alarms.append(Alarm(TRADE_LOST, text))
    news.open = order.is_open
    if not order.is_open and order.done < command.quantity and not command.over:
        ended = order.status if order.status != "closed" else "the bot ordered less"
        news.events.append(OrderCanceled(command.id, now_ns, ended))


def _fill(command: Command, trade: BotTrade, order: BotOrder, now_ns: int) -> OrderFilled:
    """What was filled since it was told last, at the price that makes the whole come right."""
    before, cost_before = command.filled, command.cost
    quantity = order.done - before
    price = order.safe_price
    if before:
        price = _PRICE_DIGITS.divide(order.safe_price * order.done - cost_before, quantity)
    fee = _fee(command, trade, order, quantity * price)
    filled_ms = order.order_filled_timestamp
    return OrderFilled(
        command.id,
        fill_name(order.order_id, order.done),
        f"{price:f}",
        f"{quantity:f}",
        f"{_PRICE_DIGITS.plus(fee).normalize():f}",
        trade.quote_currency,
        now_ns if filled_ms is None else filled_ms * 10**6,
    )


def _fee(command: Command, trade: BotTrade, order: BotOrder, cost: Decimal) -> Decimal:
    """The fee of a fill: what the order cost and was not told yet, if the bot knows; or its rate.

    It knows of one entry and of one exit a trade, when they are over.
    """
    entry = command.role == "entry"
    known = trade.fee_open_cost if entry else trade.fee_close_cost
    alone = len(trade.entries if entry else trade.exits) == 1
    if known is not None and alone and not order.is_open:
        return known - command.fees
    rate = trade.fee_open if entry else trade.fee_close
    return (rate or Decimal(0)) * cost


def _without_trade(command: Command, reading: Reading, now_ns: int) -> News:
    news = News(events=[], alarms=[])
    if command.filled or (command.role == "exit" and command.sent_ns):
        text = f"the bot has no trade {command.tag} of {command.pair} any more"
        news.alarms.append(Alarm(TRADE_LOST, text))
        return news
    _without_order(command, reading, now_ns, news)
    return news


def _without_order(command: Command, reading: Reading, now_ns: int, news: News) -> None:
    """The bot shows no order of this command."""
    if news.alarms:
        return
    number = command.id
    if command.filled:
        text = f"the bot does not show {command.order_id} any more"
        news.alarms.append(Alarm(TRADE_LOST, text))
    elif command.order_id:
        news.events.append(OrderCanceled(number, now_ns, "cancelled without a fill"))
    elif not command.sent_ns:
        news.events.append(OrderExpired(number, now_ns, "never handed over to the bot"))
    elif command.refusal:
        news.events.append(OrderRejected(number, now_ns, command.refusal))
    elif not command.answered and reading.begun_ns - command.sent_ns < WINDOW_NS:
        pass  # the call may still be under way in the bot
    elif reading.config.dry_run:
        news.events.append(OrderExpired(number, now_ns, "the bot does not know it"))
    elif not command.checked:
        command.checked = True
        text = f"has the venue {number} of {command.pair}? The bot has not: dcctl freqtrade absent"
        news.alarms.append(Alarm(VENUE_CHECK, text))


def strangers(reading: Reading, tags: set[str]) -> list[BotTrade]:
    """Open trades that no order of ours has made."""
    return [trade for trade in reading.open if (trade.enter_tag or "") not in tags]


def differences(reading: Reading, commands: list[Command]) -> list[Alarm]:
    """Trades that hold another amount than our orders of them come to.

    Trades with an order that is not over are left out: its fills are just being told.
    """
    found = []
    for trade in reading.trades:
        ours = [one for one in commands if one.tag == trade.enter_tag]
        if not ours or not all(one.over for one in ours):
            continue
        told = sum((one.side * one.filled for one in ours), Decimal(0))
        if abs(told - trade.held) > trade.amount_step:
            text = (
                f"the bot holds {trade.held:f} of {trade.pair}, our orders of it come to {told:f}"
            )
            found.append(Alarm(POSITION_DIFFERS, text))
    return found


def trade_to_exit(reading: Reading, pair: str, tags: set[str]) -> BotTrade | None:
    """The open trade of ours that an exit of a pair goes to: the oldest that holds something."""
    ours = [
        trade
        for trade in reading.open
        if trade.pair == pair and trade.enter_tag in tags and trade.held > 0
    ]
    return min(ours, key=lambda trade: trade.open_timestamp, default=None)


def exit_amount(quantity: Decimal, trade: BotTrade) -> Decimal | None:
    """How much of a trade to exit; None = all, as also when only less than a step would be left."""
    return None if quantity + trade.amount_step >= trade.held else quantity
