"""Orders that the ledger has and the bot's account must answer for, brought together with memory.

Memory knows how far each order came. Where it knows nothing of an order, it was never handed over;
unless the bot shows it nevertheless, because the memory was lost: then it is taken up as it is
found, with the fills that the ledger has of it counted as told.
"""

from decimal import Decimal

from processes.execution.brokers.base import Outstanding
from processes.execution.brokers.freqtrade.command import Command, Told, fill_name
from processes.execution.brokers.freqtrade.entries import CLOCK_MS
from processes.execution.brokers.freqtrade.memory import Memory
from processes.execution.brokers.freqtrade.reading import Reading
from schemas.trading import Intent, OrderAccepted, OrderFilled
from venues.freqtrade.trades import BotOrder, BotTrade


def command_of(intent: Intent, pair: str) -> Command:
    """An order as the bot will know it; an exit's trade is not known yet."""
    exits = intent.reduce_only
    return Command(
        intent=intent,
        pair=pair,
        role="exit" if exits else "entry",
        tag="" if exits else intent.command_id,
    )


def adopt(one: Outstanding, pair: str, memory: Memory, reading: Reading) -> Command:
    """The command of an outstanding order: remembered, found at the bot, or never sent."""
    known = memory.commands.get(one.intent.command_id)
    if known is not None:
        return known
    command = command_of(one.intent, pair)
    found = _find(command, one, memory, reading)
    if found is None:
        return command
    trade, order = found
    command.tag, command.opened_ms = trade.key
    command.sent_ns = one.intent.decided_ns
    command.answered = True
    command.order_id = order.order_id
    command.told = _told(command, one, order)
    return command


def _find(
    command: Command, one: Outstanding, memory: Memory, reading: Reading
) -> tuple[BotTrade, BotOrder] | None:
    if command.role == "entry":
        trade = reading.find(command.tag)
        return (trade, trade.entries[0]) if trade is not None and trade.entries else None
    taken = {other.order_id for other in memory.commands.values()}
    fitting = []
    for trade in reading.trades:
        for order in trade.exits:
            if one.venue_order_id and order.order_id == one.venue_order_id:
                return trade, order
            known = order.order_id in taken or trade.pair != command.pair
            if not known and _fits(command, trade, order):
                fitting.append((trade, order))
    return fitting[0] if len(fitting) == 1 and not one.venue_order_id else None


def _fits(command: Command, trade: BotTrade, order: BotOrder) -> bool:
    """An exit that nobody knows, of the amount and after the time of one that was noted."""
    decided_ms = command.intent.decided_ns // 10**6
    return (
        trade.tagged_by_us
        and abs(order.amount - command.quantity) <= trade.amount_step
        and (order.order_timestamp or 0) >= decided_ms - CLOCK_MS
    )


def _told(command: Command, one: Outstanding, order: BotOrder) -> list[Told]:
    """What the ledger has of it already."""
    told: list[Told] = [OrderAccepted(command.id, order.order_id, command.sent_ns)]
    filled = Decimal(one.filled)
    if filled:
        told.append(
            OrderFilled(
                command.id, fill_name(order.order_id, filled), f"{order.safe_price:f}",
                f"{filled:f}", "0", "", command.sent_ns,
            )
        )  # fmt: skip
    return told


def tell_again(command: Command, one: Outstanding) -> list[Told]:
    """What was told before and the ledger does not have: it may not have arrived."""
    lacking: list[Told] = []
    for event in command.told:
        if isinstance(event, OrderFilled):
            known = event.fill_id in one.fill_ids
        elif isinstance(event, OrderAccepted):
            known = one.venue_order_id == event.venue_order_id or not one.open
        else:
            known = not one.open
        if not known:
            lacking.append(event)
    return lacking
