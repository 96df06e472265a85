"""An account whose orders go to a Freqtrade bot: the session on the loop of brokers.

It does one thing after another, so that at most one call that changes something is under way at the
bot: the bot's own limits do not hold for two. The gate is asked inside that call, when nothing is
left but to write. After each call the bot is read, and what it shows is told; the call's answer
only says when to look. Between calls it looks whenever a message says that something has happened,
and once a second while an order is under way.

It never touches a trade that is not ours, but when the kill switch cancels everything. It never
sends an order twice: what memory knows was handed over, and is asked for.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Final

from processes.execution.brokers.base import Outstanding
from processes.execution.brokers.freqtrade.adoption import adopt, command_of, tell_again
from processes.execution.brokers.freqtrade.command import Command
from processes.execution.brokers.freqtrade.entries import (
    bot_fault,
    entry_fault,
    mismatch,
    numbers_of,
)
from processes.execution.brokers.freqtrade.made_there import MADE_THERE, MadeThere
from processes.execution.brokers.freqtrade.memory import Memory
from processes.execution.brokers.freqtrade.messages import (
    Closed,
    Exit,
    ExitFill,
    Failed,
    Message,
    MessageSocket,
    Warned,
    Whitelist,
)
from processes.execution.brokers.freqtrade.outcomes import (
    FOREIGN_TRADE,
    Alarm,
    differences,
    exit_amount,
    news_of,
    strangers,
    trade_to_exit,
)
from processes.execution.brokers.freqtrade.reading import BACK_MS, Reading, take_reading
from processes.execution.brokers.network import (
    Cancel,
    CancelAll,
    Commands,
    Emit,
    Reconcile,
    Submit,
)
from processes.execution.brokers.network import Command as Asked
from processes.execution.gate import SendGate
from schemas.trading import (
    AccountAlarm,
    AccountAway,
    AccountConnected,
    AssetHeld,
    CancelNotSent,
    Intent,
    OrderExpired,
    OrderUnknown,
    Reconciled,
)
from venues.freqtrade.answers import Balances, CurrencyBalance
from venues.freqtrade.client import Access, FreqtradeClient, GateShutError
from venues.freqtrade.refusals import BotError, Verdict
from venues.freqtrade.trades import BotTrade

LOOK_S: Final = 1.0
"""Between two looks while an order is under way; the bot itself notices fills once a turn."""
AGAIN_S: Final = 0.5
"""Between two tries of a bot whose socket stands and whose REST does not answer yet."""
ALARMS_KEPT: Final = 1000
BOT_FAILED: Final = "BOT_FAILED"
MISMATCH: Final = "MISMATCH"
BOT_STOPPED: Final = "BOT_STOPPED"
_NO_PAUSE: Final = frozenset({FOREIGN_TRADE, MADE_THERE, BOT_FAILED, BOT_STOPPED})
"""Alarms that do not pause: they are somebody else's doing, or end what they warn of."""


class FreqtradeSession:
    """One account's way to its bot.

    Args:
        pairs: the bot's names of the instruments it trades. path: of its memory.
        live: whether its orders may go where money is; one in dry-run is used in any case.
    """

    def __init__(
        self,
        account: str,
        access: Access,
        pairs: dict[int, str],
        path: Path,
        emit: Emit,
        gate: SendGate,
        now_ns: Callable[[], int],
        *,
        live: bool = False,
    ) -> None:
        self._account = account
        self._client = FreqtradeClient(access)
        self._pairs = pairs
        self._path = path
        self._emit = emit
        self._gate = gate
        self._now_ns = now_ns
        self._live = live
        draw = random.Random(account)  # noqa: S311 (spreads attempts, keeps no secret)
        self._socket = MessageSocket(access, self._on_open, self._on_message, self._on_closed, draw)
        self._wake = asyncio.Event()
        self._linked = False
        self._connected = False
        """Told, and since then not told to be away."""
        self._agreed = False
        """Reconciled since it was connected."""
        self._away_text = ""
        self._started_ts = 0
        """The bot's start for which it was let run; a later start begins paused again."""
        self._alarms: dict[Alarm, None] = {}
        self._held: dict[str, CurrencyBalance] = {}
        """Balances as they were told."""
        self._exit_heard = False
        """A message has told of an exit since the bot was read for such as nobody here has made."""

    async def run(self, commands: Commands) -> None:
        """Live until cancelled."""
        self._memory = Memory(self._path)
        self._taken_over = MadeThere(
            self._account, self._pairs, self._memory, self._emit, self._alarm, self._tell
        )
        try:
            async with self._client:
                link = asyncio.create_task(self._socket.run())
                try:
                    await self._live_on(commands, link)
                finally:
                    link.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await link
        finally:
            self._memory.close()

    async def _live_on(self, commands: Commands, link: "asyncio.Task[None]") -> None:
        """One thing after another: a command when there is one, else a look when it is due."""
        asked = asyncio.create_task(commands.get())
        woken = asyncio.create_task(self._wake.wait())
        try:
            while True:
                done, _ = await asyncio.wait(
                    {asked, woken, link},
                    timeout=self._patience_s(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if link in done:
                    link.result()  # it never ends by itself but with an error
                if asked in done:
                    command = asked.result()
                    asked = asyncio.create_task(commands.get())
                    await self._obey(command)
                    continue
                if woken in done:
                    self._wake.clear()
                    woken = asyncio.create_task(self._wake.wait())
                await self._look()
        finally:
            asked.cancel()
            woken.cancel()

    def _patience_s(self) -> float | None:
        if self._linked and not self._connected:
            return AGAIN_S
        return LOOK_S if self._connected and self._memory.awaited else None

    # ---- the link

    async def _on_open(self) -> None:
        self._linked = True
        self._wake.set()

    def _on_message(self, message: Message) -> None:
        if isinstance(message, Failed):
            self._alarm(Alarm(BOT_FAILED, (message.data or message.status)[-100:]))
        if isinstance(message, Exit | ExitFill):
            self._exit_heard = True
        if not isinstance(message, Whitelist | Warned):
            self._wake.set()

    def _on_closed(self, closed: Closed) -> None:
        self._linked = False
        self._lose("the bot stops or reloads" if closed.restarting else closed.text)

    def _lose(self, text: str) -> None:
        """The bot is lost sight of."""
        self._agreed = False
        if self._connected or text != self._away_text:
            self._emit(AccountAway(self._account, self._now_ns(), text))
        self._connected = False
        self._away_text = text

    async def _connect(self) -> None:
        """The socket stands: does the bot answer, and is it the one we may use?"""
        reading = await self._read()
        if reading is None:
            return
        fault = bot_fault(reading.config, live=self._live)
        if reading.health.bot_startup_ts is None:
            fault = "the bot has not begun yet"
        if fault:
            self._lose(fault)
            return
        self._connected = True
        self._away_text = ""
        self._held.clear()
        self._emit(AccountConnected(self._account, self._now_ns()))

    # ---- looking

    async def _look(self) -> None:
        """Read the bot, and tell what is new of orders that are not over."""
        if not self._linked:
            return
        if not self._connected:
            await self._connect()
            return
        if self._memory.pending or (self._exit_heard and self._agreed):
            self._exit_heard = False
            reading = await self._read()
            if reading is not None:
                await self._digest(reading)

    async def _read(self) -> Reading | None:
        """A reading; None if the bot does not give one: it is away then."""
        now_ns = self._now_ns()
        oldest_ns = min((c.sent_ns or now_ns for c in self._memory.awaited), default=now_ns)
        try:
            return await take_reading(self._client, now_ns, oldest_ns // 10**6 - BACK_MS)
        except BotError as error:
            self._lose(str(error))
            return None

    async def _digest(self, reading: Reading) -> None:
        for command in self._memory.pending:
            await self._settle(command, reading)
        if self._agreed:
            self._taken_over.take(reading)

    async def _settle(self, command: Command, reading: Reading) -> None:
        """Tell what a reading says of an order; cancel it if that is still wanted."""
        if self._tell(command, reading) and command.cancel_wanted:
            await self._cancel_at_bot(command, reading)

    def _tell(self, command: Command, reading: Reading) -> bool:
        """Tell what is new; whether the bot has an open order of it. On disk before it is told."""
        checked = command.checked
        news = news_of(command, reading, self._now_ns())
        if news.events or command.checked != checked:
            self._memory.save(command)
        for event in news.events:
            self._emit(event)
        for alarm in news.alarms:
            self._alarm(alarm)
        return news.open

    def _alarm(self, alarm: Alarm) -> None:
        """Tell it once."""
        if alarm in self._alarms:
            return
        while len(self._alarms) >= ALARMS_KEPT:
            del self._alarms[next(iter(self._alarms))]
        self._alarms[alarm] = None
        pause = alarm.code not in _NO_PAUSE
        self._emit(AccountAlarm(self._account, self._now_ns(), alarm.code, alarm.text, pause=pause))

    # ---- obeying

    async def _obey(self, command: Asked) -> None:
        match command:
            case Submit():
                await self._submit(command.intent)
            case Cancel():
                await self._cancel(command.command_id)
            case CancelAll():
                await self._cancel_all()
            case Reconcile():
                await self._reconcile(command.outstanding)

    async def _submit(self, intent: Intent) -> None:
        if intent.command_id in self._memory.commands:
            return  # handed over before: it is asked for, never sent again
        pair = self._pairs.get(intent.instrument)
        if pair is None:
            self._expire(intent.command_id, f"the bot does not trade {intent.symbol}")
            return
        reading = await self._read() if self._agreed else None
        if reading is None:
            self._expire(intent.command_id, "the bot is away")
            return
        command = command_of(intent, pair)
        if command.role == "entry":
            await self._enter(command, reading)
        else:
            await self._exit(command, reading)

    def _expire(self, number: str, text: str) -> None:
        self._emit(OrderExpired(number, self._now_ns(), text))

    async def _enter(self, command: Command, reading: Reading) -> None:
        intent = command.intent
        price = Decimal(intent.limit_price or intent.reference_price or "0")
        fault = entry_fault(command, price, reading, live=self._live)
        if any(one.role == "entry" and not one.order_id for one in self._memory.pending):
            fault = "what became of the entry before it is not known yet"
        if fault:
            self._expire(command.id, fault)
            return
        rate, stake = numbers_of(command.quantity, price)

        async def call() -> None:
            trade = await self._client.force_enter(
                command.pair, rate, intent.kind, stake, command.tag,
                lambda: self._gate.sending(intent),
            )  # fmt: skip
            if fault := mismatch(command, price, trade, dry_run=reading.config.dry_run):
                command.cancel_wanted = True
                self._alarm(Alarm(MISMATCH, fault))

        await self._send(command, call)

    async def _exit(self, command: Command, reading: Reading) -> None:
        intent = command.intent
        trade = trade_to_exit(reading, command.pair, self._memory.tags)
        if trade is None:
            self._expire(command.id, f"the bot holds nothing of ours in {command.pair}")
            return
        if reading.config.state == "stopped" and not await self._revive():
            self._expire(command.id, "the bot is stopped and cannot be brought to life")
            return
        command.tag, command.opened_ms = trade.key
        command.before = [order.order_id for order in trade.exits]
        amount = exit_amount(command.quantity, trade)
        # Both names of a trade were read a moment ago; nobody but us makes one at this bot.
        await self._send(
            command,
            lambda: self._client.force_exit(
                trade.trade_id,
                intent.kind,
                float(intent.limit_price) if intent.limit_price else None,
                None if amount is None else float(amount),
                lambda: self._gate.sending(intent),
            ),
        )

    async def _send(self, command: Command, call: Callable[[], Awaitable[None]]) -> None:
        """Put down, hand over once, see what the bot makes of it."""
        command.sent_ns = self._now_ns()
        self._memory.save(command)
        try:
            await call()
            command.answered = True
        except GateShutError as error:
            self._memory.remove(command)
            self._expire(command.id, str(error))
            return
        except BotError as error:
            if error.verdict is Verdict.NOT_SENT:
                self._memory.remove(command)
                self._expire(command.id, str(error))
                return
            command.answered = error.status > 0
            if error.verdict is not Verdict.UNKNOWN:
                command.refusal = str(error)
            self._emit(OrderUnknown(command.id, self._now_ns(), str(error)))
        self._memory.save(command)
        reading = await self._read()
        if reading is not None:
            # An exit may have ended an entry of its trade, so all are looked at.
            await self._digest(reading)

    # ---- cancelling

    async def _cancel(self, number: str) -> None:
        command = self._memory.commands.get(number)
        if command is None or command.over:
            return
        command.cancel_wanted = True
        reading = await self._read() if self._connected else None
        if reading is None:
            self._emit(CancelNotSent(number, self._now_ns()))
            return
        await self._settle(command, reading)

    async def _cancel_at_bot(self, command: Command, reading: Reading) -> None:
        trade = reading.find(command.tag, command.opened_ms)
        assert trade is not None, "an open order stands in a trade"
        command.cancel_wanted = False
        if not await self._cancel_trade(trade, reading):
            self._emit(CancelNotSent(command.id, self._now_ns()))
            return
        after = await self._read()
        if after is not None and self._tell(command, after):
            # What is left was too little to be cancelled, or the venue would not.
            self._emit(CancelNotSent(command.id, self._now_ns()))

    async def _cancel_trade(self, trade: BotTrade, reading: Reading) -> bool:
        """Cancel a trade's open orders; False if that was provably not asked for."""
        if reading.config.state == "stopped" and not await self._revive():
            return False
        try:
            await self._client.cancel_open_orders(trade.trade_id)
        except BotError as error:
            # Of what was carried out it says no, too: the next reading tells.
            return error.verdict is not Verdict.NOT_SENT
        return True

    async def _cancel_all(self) -> None:
        """Every open order of the bot, those of strangers too: the kill switch asks for it."""
        reading = await self._read() if self._connected else None
        if reading is None:
            return
        for trade in reading.open:
            if trade.has_open_orders:
                await self._cancel_trade(trade, reading)
        after = await self._read()
        if after is not None:
            await self._digest(after)

    # ---- agreeing

    async def _reconcile(self, outstanding: tuple[Outstanding, ...]) -> None:
        """Answer for the ledger's orders, and look for what it does not know of."""
        if not self._connected:
            return  # told as away; it is asked again when that has changed
        reading = await self._read()
        if reading is None:
            return
        for one in outstanding:
            await self._answer_for(one, reading)
        for command in self._memory.pending:
            if command.checked and self._memory.found_absent(command):
                command.refusal = "a person has looked: the venue has no such order"
                await self._settle(command, reading)
        for stranger in strangers(reading, self._memory.tags):
            text = f"trade {stranger.enter_tag or ''} of {stranger.pair} is not ours: left alone"
            self._alarm(Alarm(FOREIGN_TRADE, text))
        try:
            reading = await self._taken_over.look_further(self._client, reading)
        except BotError as error:
            self._lose(str(error))
            return
        self._taken_over.tell_again({one.intent.command_id for one in outstanding})
        self._taken_over.take(reading)
        for alarm in differences(reading, list(self._memory.commands.values())):
            self._alarm(alarm)
        self._memory.forget({trade.enter_tag or "" for trade in reading.open})
        self._tell_balances(reading.balances)
        if await self._see_to_state(reading):
            self._agreed = True
            self._emit(Reconciled(self._account, self._now_ns()))

    def _tell_balances(self, balances: Balances) -> None:
        """What the account has of each currency, where that has changed."""
        for one in balances.currencies:
            if self._held.get(one.currency) != one:
                self._held[one.currency] = one
                self._emit(
                    AssetHeld(
                        self._account, self._now_ns(), one.currency, f"{one.balance:f}",
                        f"{one.free:f}",
                    )
                )  # fmt: skip

    async def _answer_for(self, one: Outstanding, reading: Reading) -> None:
        intent = one.intent
        pair = self._pairs.get(intent.instrument, intent.symbol)
        command = adopt(one, pair, self._memory, reading)
        if command.sent_ns == 0:
            if one.open:
                self._expire(command.id, "never handed over to the bot")
            return
        for event in tell_again(command, one):
            self._emit(event)
        if one.intent.command_id not in self._memory.commands:
            self._memory.save(command)
        await self._settle(command, reading)
        if one.open and not command.order_id and not command.over:
            self._emit(OrderUnknown(command.id, self._now_ns(), "the bot is asked for it"))

    # ---- the bot's own state

    async def _see_to_state(self, reading: Reading) -> bool:
        """Entries are stopped while the switch is on; a bot that has started anew is let run.

        A bot forgets its state when it starts or reloads. One that a person has stopped stays so.
        False if it has not answered, and is away.
        """
        state, started_ts = reading.config.state, reading.health.bot_startup_ts or 0
        try:
            if state == "running" and not self._gate.open:
                await self._client.stop_entries()
                self._started_ts = 0
            elif state == "paused" and self._gate.open and self._started_ts != started_ts:
                await self._client.start()
            if state != "stopped" and self._gate.open:
                self._started_ts = started_ts
        except BotError as error:
            self._lose(str(error))
            return False
        if state == "stopped":
            text = "the bot is stopped: it takes no entries and watches no orders"
            self._alarm(Alarm(BOT_STOPPED, f"{text} (dcctl freqtrade start)"))
        return True

    async def _revive(self) -> bool:
        """A stopped bot refuses exits and cancels too; paused it takes them, and no entries."""
        try:
            await self._client.stop_entries()
        except BotError:
            return False
        return True
