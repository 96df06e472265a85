"""Exits of our trades that no order of ours has made.

The bot's stop-loss, its return on investment, its strategy, or a person at it have sold. They are
taken over as they stand at the bot, so that the ledger's position is the bot's: each gets a command
of its own, whose id is made of the account and the bot's name of the order, and so is the same in
every life.
"""

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from processes.execution.brokers.freqtrade.command import Command
from processes.execution.brokers.freqtrade.memory import Memory
from processes.execution.brokers.freqtrade.outcomes import TRADE_LOST, Alarm
from processes.execution.brokers.freqtrade.reading import BACK_MS, Reading
from processes.execution.brokers.network import Emit
from schemas.trading import Intent, OrderAccepted
from venues.freqtrade.client import FreqtradeClient
from venues.freqtrade.trades import BotOrder, BotTrade

MADE_THERE: Final = "MADE_THERE"
"""The alarm that tells of it."""
TOLD_AGAIN: Final = 50
"""So many of the last ones are told again to a ledger that does not answer for them."""


def exits_made_there(reading: Reading, commands: list[Command]) -> list[tuple[BotTrade, BotOrder]]:
    """Exits of our trades that no order of ours has made: the bot's stop-loss, a person at it.

    Trades with an order of ours that is not over are left out: an exit there may be its own.
    """
    known = {one.order_id for one in commands}
    found = []
    for trade in reading.trades:
        ours = [one for one in commands if one.tag == trade.enter_tag]
        if ours and all(one.over for one in ours):
            found += [(trade, one) for one in trade.exits if one.order_id not in known]
    return found


def held_nowhere(reading: Reading, commands: list[Command]) -> list[Command]:
    """Entries of ours that hold something as far as was told, and whose trade is not shown."""
    shown = {trade.enter_tag for trade in reading.trades}
    held: dict[str, Decimal] = {}
    for one in commands:
        held[one.tag] = held.get(one.tag, Decimal(0)) + one.side * one.filled
    return [
        one
        for one in commands
        if one.role == "entry" and one.tag not in shown and held[one.tag] > 0
    ]


def command_of_theirs(account: str, instrument: int, trade: BotTrade, order: BotOrder) -> Command:
    """The command that stands for an exit which the bot itself has made, or a person at it."""
    intent = Intent(
        command_id=hashlib.blake2b(
            f"{account} {order.order_id}".encode(), digest_size=16
        ).hexdigest(),
        instrument=instrument,
        symbol=trade.pair,
        account=account,
        side="sell",
        quantity=f"{order.amount or order.done:f}",
        kind="market",
        reduce_only=True,
        decided_ns=(order.order_timestamp or 0) * 10**6,
    )
    return Command(
        intent=intent,
        pair=trade.pair,
        role="exit",
        tag=trade.key.tag,
        opened_ms=trade.key.opened_ms,
        sent_ns=intent.decided_ns,
        answered=True,
        made_there=True,
        order_id=order.order_id,
        told=[OrderAccepted(intent.command_id, order.order_id, intent.decided_ns)],
    )


class MadeThere:
    """Takes over what others have sold, into memory and then the ledger.

    Args:
        tell: tells what a reading says of a command.
    """

    def __init__(
        self,
        account: str,
        pairs: dict[int, str],
        memory: Memory,
        emit: Emit,
        alarm: Callable[[Alarm], None],
        tell: Callable[[Command, Reading], bool],
    ) -> None:
        self._account = account
        self._instruments = {pair: instrument for instrument, pair in pairs.items()}
        self._memory = memory
        self._emit = emit
        self._alarm = alarm
        self._tell = tell
        self._closed_tags: set[str] = set()
        """Of trades that were found closed, and compared: nothing of them can change."""

    def take(self, reading: Reading) -> None:
        """Take over what is new: on disk before it is told."""
        for trade, order in exits_made_there(reading, list(self._memory.commands.values())):
            instrument = self._instruments.get(trade.pair)
            if instrument is None:
                continue
            command = command_of_theirs(self._account, instrument, trade, order)
            self._memory.save(command)
            self._tell_of(command)
            self._tell(command, reading)
            why = trade.exit_reason or "no reason told"
            text = f"{order.amount:f} of {trade.pair} sold by the bot itself ({why}): booked"
            self._alarm(Alarm(MADE_THERE, text))

    def _tell_of(self, command: Command) -> None:
        self._emit(command.adopted)
        for event in command.told:
            self._emit(event)

    def tell_again(self, known: set[str]) -> None:
        """A ledger that died before it had them is told again; one that has them knows it."""
        taken = [one for one in self._memory.commands.values() if one.made_there]
        for command in taken[-TOLD_AGAIN:]:
            if command.id not in known:
                self._tell_of(command)

    async def look_further(self, client: FreqtradeClient, reading: Reading) -> Reading:
        """With the trades of ours that were closed while nobody looked, however long ago.

        Raises:
            BotError: the bot does not say.
        """
        commands = list(self._memory.commands.values())
        missing = [
            one for one in held_nowhere(reading, commands) if one.tag not in self._closed_tags
        ]
        if not missing:
            return reading
        oldest_ms = min(one.opened_ms or one.sent_ns // 10**6 for one in missing)
        reading = replace(reading, closed=await client.closed_since(oldest_ms - BACK_MS))
        closed = {trade.enter_tag for trade in reading.closed}
        for one in missing:
            if one.tag in closed:
                self._closed_tags.add(one.tag)
            else:
                text = f"the bot has no trade {one.tag} of {one.pair} any more"
                self._alarm(Alarm(TRADE_LOST, text))
        return reading
