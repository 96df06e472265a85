"""One Freqtrade bot, brought to what a level of the kill switch asks, over its REST.

First its entries are stopped, which also brings a stopped bot to life: it would refuse what
follows. Then all its open orders are cancelled, and the trades that are ours are closed one by one,
each with a market order that is put down before it is sent. A person's trades are left. A live
bot's exit of which nobody can say what became is not followed by another: the venue may have it.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import TypeVar

from processes.clock import monotonic_s
from processes.killer.emergency import PAUSE_MAX_S, PAUSE_S, STRATEGY, Ended
from schemas.instruments import Instrument
from schemas.trading import Intent, KillLevel, Reason
from venues.freqtrade.client import FreqtradeClient
from venues.freqtrade.refusals import BotError, Verdict
from venues.freqtrade.trades import BotTrade, TradeKey

T = TypeVar("T")


class BotEmergency:
    """One bot.

    Args:
        instruments: of the bot's venue, by pair.
        note: puts an intent down, synced, before it is sent.
        may_be_live: a live bot that nobody armed was never ours, and is left alone.
    """

    def __init__(
        self,
        account: str,
        client: FreqtradeClient,
        instruments: dict[str, Instrument],
        note: Callable[[Intent], None],
        now_ns: Callable[[], int],
        *,
        may_be_live: bool,
    ) -> None:
        self._client = client
        self._instruments = instruments
        self._note = note
        self._now_ns = now_ns
        self._may_be_live = may_be_live
        self._began_s = monotonic_s()
        self._doubtful: set[TradeKey] = set()
        self._dry = True
        self.ended = Ended(account=account)

    async def run(self, level: KillLevel, deadline_s: float, *, drill: bool = False) -> Ended:
        """Do what the level asks within `deadline_s` from now; a drill changes nothing."""
        try:
            async with asyncio.timeout(deadline_s), self._client:
                await self._act(level, drill=drill)
        except TimeoutError:
            self._say(f"not done within {deadline_s:g} s")
        return self.ended

    async def _act(self, level: KillLevel, *, drill: bool) -> None:
        config = await self._retried("connect", self._client.show_config)
        self.ended.connected_ms = self._ms()
        self._dry = config.dry_run
        if not self._dry and not self._may_be_live:
            self._say("the bot is live and was not armed: it is left alone")
            self.ended.cancelled_ms = self.ended.connected_ms
            return
        trades = await self._look()
        self.ended.open_orders = sum(trade.has_open_orders for trade in trades)
        self._count(trades, level)
        if drill:
            return
        await self._retried("stop entries", self._client.stop_entries)
        if level >= KillLevel.CANCEL:
            await self._cancel()
        if level >= KillLevel.FLATTEN:
            await self._flatten()

    def _ms(self) -> float:
        return round((monotonic_s() - self._began_s) * 1e3, 1)

    def _say(self, text: str) -> None:
        if text not in self.ended.texts:
            self.ended.texts.append(text)

    async def _retried(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        pause_s = PAUSE_S
        while True:
            try:
                return await call()
            except BotError as error:
                self._say(f"{what}: {error}")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _look(self) -> list[BotTrade]:
        return await self._retried("look", self._client.status)

    def _count(self, trades: list[BotTrade], level: KillLevel) -> None:
        """What is held of ours, where it is to be closed."""
        if level >= KillLevel.FLATTEN:
            self.ended.left = {
                f"{trade.pair} {trade.enter_tag}": f"{trade.held:f}" for trade in _held(trades)
            }

    # ---- cancelling

    async def _cancel(self) -> None:
        """Until no trade has an open order, as the bot says."""
        pause_s = PAUSE_S / 4
        while waiting := [trade for trade in await self._look() if trade.has_open_orders]:
            for trade in waiting:
                try:
                    await self._client.cancel_open_orders(trade.trade_id)
                except BotError as error:
                    self._say(f"cancel {trade.pair}: {error}")  # said of what was done, too
            if not any(trade.has_open_orders for trade in await self._look()):
                break
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        self.ended.cancelled_ms = self._ms()

    # ---- closing

    async def _flatten(self) -> None:
        pause_s = PAUSE_S / 4
        while True:
            trades = await self._look()
            self._count(trades, KillLevel.FLATTEN)
            waiting = [trade for trade in _held(trades) if trade.key not in self._doubtful]
            if not waiting:
                break
            for trade in waiting:
                if not trade.has_open_orders:
                    await self._close_one(trade)
            if _held(await self._look()):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
        if not self.ended.left:
            self.ended.flat_ms = self._ms()

    async def _close_one(self, trade: BotTrade) -> None:
        """An exit of all that a trade holds; the next look says what became of it."""
        instrument = self._instruments.get(trade.pair)
        if instrument is None:
            self._doubtful.add(trade.key)
            self._say(f"{trade.pair} is no instrument of ours: close it by hand")
            return
        self._note(self._intent(trade, instrument))
        try:
            self.ended.sent += 1
            await self._client.force_exit(
                trade.trade_id, "market", None, None, lambda: nullcontext("")
            )
        except BotError as error:
            self._say(f"close {trade.pair}: {error}")
            if error.verdict is Verdict.NOT_SENT:
                self.ended.sent -= 1
            elif error.verdict is Verdict.UNKNOWN and not self._dry:
                self._doubtful.add(trade.key)
                self._say(f"{trade.pair}: look at the venue for an order that the bot lost")
            return
        self.ended.closed[f"{trade.pair} {trade.enter_tag}"] = f"{trade.held:f}"

    def _intent(self, trade: BotTrade, instrument: Instrument) -> Intent:
        now_ns = self._now_ns()
        text = f"killer {self.ended.account} {trade.enter_tag} {now_ns}"
        return Intent(
            command_id=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
            instrument=instrument.index,
            symbol=instrument.symbol,
            account=self.ended.account,
            side="sell",
            quantity=f"{trade.held:f}",
            kind="market",
            reduce_only=True,
            strategy=STRATEGY,
            reason=Reason.KILL_FLATTEN,
            decided_ns=now_ns,
        )


def _held(trades: list[BotTrade]) -> list[BotTrade]:
    return [trade for trade in trades if trade.tagged_by_us and trade.held > 0]
