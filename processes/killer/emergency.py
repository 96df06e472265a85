"""One account, brought to what a level of the kill switch asks, by its venue's own calls.

First everything is cancelled and what was open is looked at, since a fill may have come that
execution never saw; then what is held is closed with market orders, each put down before it is
sent. An order whose outcome nobody can say is asked for and never followed by another. Gives up at
its deadline and says what is left; never raises for what a venue does.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Final, TypeVar

from msgspec import Struct

from processes.clock import monotonic_s
from processes.standing import Held, StandingOrder, Traded
from schemas.account import Fill
from schemas.errors import RefusedError, VenueError
from schemas.trading import Intent, KillLevel, OrderSide, Reason
from venues.trading import NewOrder, NotSentError, OrderRef, Sight, Trading

T = TypeVar("T")
FAULTS: Final = (VenueError, OSError, TimeoutError)
PAUSE_S: Final = 0.5
PAUSE_MAX_S: Final = 4.0
LOOK_BACK_NS: Final = 60_000_000_000
GATE_S: Final = 2.0
"""An order decided longer ago was not sent any more, by the gate's bound."""
STRATEGY: Final = "kill_switch"


class Ended(Struct, kw_only=True):
    """What became of an account."""

    account: str
    connected_ms: float | None = None
    cancelled_ms: float | None = None
    """Until the venue had taken the cancel of everything, and no order was open."""
    flat_ms: float | None = None
    open_orders: int | None = None
    """Before anything was done; in a drill what would be cancelled."""
    sent: int = 0
    closed: dict[str, str] = {}
    left: dict[str, str] = {}
    """Positions that could not be closed; in a drill what would be closed."""
    doubts: list[str] = []
    """Orders that the venue's answer may be of several of: what they came to is not known."""
    texts: list[str] = []

    @property
    def is_done(self) -> bool:
        """Nothing is left of what was asked."""
        return self.cancelled_ms is not None and not self.left and not self.doubts


class Emergency:
    """One account.

    Args:
        orders: of execution, and of killers before this one.
        note: puts an intent down, synced, before it is sent; then with the venue's id of it.
    """

    def __init__(
        self,
        account: str,
        trading: Trading,
        orders: list[StandingOrder],
        positions: list[Held],
        note: Callable[[Intent, str], None],
        now_ns: Callable[[], int],
        traded: Sequence[Traded] = (),
    ) -> None:
        self._trading = trading
        self._traded = {one.symbol: one for one in traded}
        # What is over and has no name may look like the one that is under way: it is left.
        self._orders = [
            one
            for one in orders
            if one.open or one.venue_order_id or trading.client_id(NewOrder.of(one.intent))
        ]
        self._held = {held.symbol: Decimal(held.quantity) for held in positions}
        self._instruments = {held.symbol: held.instrument for held in positions}
        self._instruments |= {one.intent.symbol: one.intent.instrument for one in orders}
        self._note = note
        self._now_ns = now_ns
        self._began_s = monotonic_s()
        self._unsure: set[str] = set()
        """Symbols that an order of which nobody can say what became may have closed."""
        self._watching: asyncio.Task[None] | None = None
        """Serves the connection; done when that is lost."""
        self.ended = Ended(account=account)

    async def run(self, level: KillLevel, deadline_s: float, *, drill: bool = False) -> Ended:
        """Do what the level asks within `deadline_s` from now; a drill sends nothing."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._retried("connect", self._connect)
                sight = await self._retried("look", self._look)
                self._count_fills(sight)
                self.ended.open_orders = len(sight.foreign) + len(_open(sight))
                if not drill:
                    await self._cancel()
                    if level >= KillLevel.FLATTEN:
                        await self._flatten()
        except TimeoutError:
            self._say(f"not done within {deadline_s:g} s")
        finally:
            if self._watching is not None:
                self._watching.cancel()
                await asyncio.gather(self._watching, return_exceptions=True)
            await self._trading.close()
        if level >= KillLevel.FLATTEN:
            left = {symbol: self._closable(symbol) for symbol in self._held}
            self.ended.left = {symbol: f"{held:f}" for symbol, held in left.items() if held}
        return self.ended

    def _ms(self) -> float:
        return round((monotonic_s() - self._began_s) * 1e3, 1)

    def _say(self, text: str) -> None:
        if text not in self.ended.texts:
            self.ended.texts.append(text)

    async def _retried(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        pause_s = PAUSE_S
        while True:
            try:
                await self._stay_connected()
                return await call()
            except FAULTS as error:
                self._say(f"{what}: {str(error) or type(error).__name__}")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    # ---- what was there

    async def _connect(self) -> None:
        await self._trading.connect(lambda _: None)
        self._watching = asyncio.create_task(self._trading.watch())
        self.ended.connected_ms = self.ended.connected_ms or self._ms()

    async def _stay_connected(self) -> None:
        """Connect again if the connection was lost."""
        if self._watching is not None and self._watching.done():
            error = None if self._watching.cancelled() else self._watching.exception()
            self._say(f"connection lost: {str(error) or type(error).__name__}")
            await self._trading.close()
            await self._connect()

    def _refs(self) -> list[OrderRef]:
        return [
            OrderRef(order=NewOrder.of(one.intent), venue_order_id=one.venue_order_id)
            for one in self._orders
        ]

    async def _look(self) -> Sight:
        refs = self._refs()
        oldest_ns = min((ref.order.decided_ns for ref in refs), default=self._now_ns())
        return await self._trading.look(refs, oldest_ns - LOOK_BACK_NS)

    def _count_fills(self, sight: Sight) -> None:
        """Fills that execution did not see change what is held."""
        known = {one.intent.command_id: set(one.fill_ids) for one in self._orders}
        intents = {one.intent.command_id: one.intent for one in self._orders}
        for number, fill in sight.fills:
            if fill.fill_id not in known[number]:
                self._book(intents[number], fill)
                known[number].add(fill.fill_id)
        self._orders = [
            StandingOrder(
                intent=one.intent,
                venue_order_id=one.venue_order_id,
                fill_ids=sorted(known[one.intent.command_id]),
                open=one.open,
            )
            for one in self._orders
        ]

    def _unsettled(self, sight: Sight) -> bool:
        """Whether an order may still arrive that left just before execution died."""
        return any(
            one.open
            and one.intent.command_id in sight.missing
            and self._now_ns() - one.intent.decided_ns < (self._trading.settle_s + GATE_S) * 1e9
            for one in self._orders
        )

    def _doubt(self, sight: Sight) -> None:
        """What fits several orders is not guessed: a person must look."""
        intents = {one.intent.command_id: one.intent for one in self._orders}
        for number, which in sorted(sight.ambiguous.items()):
            self.ended.doubts.append(number)
            self._say(f"{number}: {which}: look at the venue")
            if intents[number].reduce_only:
                self._unsure.add(intents[number].symbol)

    def _book(self, intent: Intent, fill: Fill) -> None:
        """A fill, less the fees that were taken of what was bought."""
        signed = Decimal(fill.quantity) if intent.side == "buy" else -Decimal(fill.quantity)
        bases = self._traded.get(intent.symbol, Traded(symbol="")).bases
        signed -= sum((Decimal(fee.amount) for fee in fill.fees if fee.asset in bases), Decimal(0))
        self._held[intent.symbol] = self._held.get(intent.symbol, Decimal(0)) + signed

    def _closable(self, symbol: str) -> Decimal:
        """What is held in whole steps; nothing if the venue takes no so small quantity."""
        traded = self._traded.get(symbol, Traded(symbol=symbol))
        step = Decimal(traded.step)
        whole = (self._held[symbol] / step).to_integral_value(ROUND_DOWN) * step
        return Decimal(0) if abs(whole) < Decimal(traded.smallest) else whole

    # ---- cancelling

    async def _cancel(self) -> None:
        """Until no order is open any more, as the venue says."""
        pause_s = PAUSE_S
        while True:
            await self._retried("cancel all", self._trading.cancel_all)
            sight = await self._retried("look", self._look)
            self._count_fills(sight)
            open_ids = _open(sight)
            if not open_ids and not sight.foreign and not self._unsettled(sight):
                self._doubt(sight)
                break
            if open_ids:
                refs = [ref for ref in self._refs() if ref.order.command_id in open_ids]
                await self._retried("cancel", lambda refs=refs: self._trading.cancel(refs))  # type: ignore[misc]
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        self.ended.cancelled_ms = self._ms()

    # ---- closing

    async def _flatten(self) -> None:
        for symbol in sorted(set(self._held) - self._unsure):
            attempt = 0
            while self._closable(symbol):
                attempt += 1
                if not await self._close_one(symbol, attempt):
                    break
                if self._closable(symbol):
                    await asyncio.sleep(min(PAUSE_S * 2**attempt, PAUSE_MAX_S))
        if not any(map(self._closable, self._held)):
            self.ended.flat_ms = self._ms()

    async def _close_one(self, symbol: str, attempt: int) -> bool:
        """One order for all that is held of a symbol; False if the venue will not have it."""
        held = self._closable(symbol)
        await self._retried("connect", self._stay_connected)
        intent = self._intent(symbol, held, attempt)
        self._note(intent, "")
        order = NewOrder.of(intent)
        venue_order_id = ""
        try:
            self.ended.sent += 1
            venue_order_id = await self._trading.place(order, lambda: None)
            # Where orders have no names of ours, who comes next tells it apart by this alone.
            self._note(intent, venue_order_id)
        except NotSentError:
            self.ended.sent -= 1
            return True
        except RefusedError as error:
            self._say(f"{symbol}: {error}")
            return False
        except FAULTS as error:
            self._say(f"{symbol}: {str(error) or type(error).__name__}: asked for")
        fills = await self._outcome(OrderRef(order=order, venue_order_id=venue_order_id))
        for fill in fills:
            self._book(intent, fill)
        if fills:
            filled = sum(Decimal(fill.quantity) for fill in fills)
            before = Decimal(self.ended.closed.get(symbol, "0"))
            self.ended.closed[symbol] = f"{before + filled:f}"
        return True

    async def _outcome(self, ref: OrderRef) -> list[Fill]:
        """The fills that an order came to; waits until nothing can happen to it any more."""
        number = ref.order.command_id
        pause_s = PAUSE_S / 4
        while True:
            sight = await self._retried(
                "look",
                lambda: self._trading.look(
                    [*self._refs(), ref], ref.order.decided_ns - LOOK_BACK_NS
                ),
            )
            own = [fill for name, fill in sight.fills if name == number]
            filled = sum((Decimal(fill.quantity) for fill in own), Decimal(0))
            update = sight.orders.get(number)
            if update is not None and update.is_final:
                told = Decimal(update.filled_quantity or "0")
                if filled >= told:
                    return own
            waited_s = (self._now_ns() - ref.order.decided_ns) / 1e9
            if number in sight.missing and waited_s > self._trading.settle_s:
                return []
            if number in sight.ambiguous:
                self._say(f"{ref.order.symbol}: {sight.ambiguous[number]}: look at the venue")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _intent(self, symbol: str, held: Decimal, attempt: int) -> Intent:
        now_ns = self._now_ns()
        text = f"killer {self.ended.account} {symbol} {now_ns} {attempt}"
        side: OrderSide = "sell" if held > 0 else "buy"
        return Intent(
            command_id=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
            instrument=self._instruments[symbol],
            symbol=symbol,
            account=self.ended.account,
            side=side,
            quantity=f"{abs(held):f}",
            kind="market",
            reduce_only=True,
            strategy=STRATEGY,
            reason=Reason.KILL_FLATTEN,
            decided_ns=now_ns,
        )


def _open(sight: Sight) -> set[str]:
    return {number for number, update in sight.orders.items() if not update.is_final}
