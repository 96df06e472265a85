"""A broker at a venue: one session for every venue's trading calls.

Owns the way from an intent to an order that is known, or known not to be: what was sent is tracked
by command id, by the client id that events name it by, and by the venue's id once that is seen.
Whatever cannot be said is `OrderUnknown`, and asked for until it can; it is never sent again. The
session is away until every open order of the ledger is answered for, and sends nothing before.

What it never does: decide, write the ledger, or raise for a fault of the venue.
"""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any, Final

from processes.backoff import Backoff, ConnectLimit
from processes.clock import monotonic_s
from processes.execution.brokers.holdings import Holdings
from processes.execution.brokers.network import (
    Cancel,
    CancelAll,
    Command,
    Commands,
    Emit,
    Reconcile,
    Settle,
    Submit,
)
from processes.execution.brokers.tracked import FAULTS, Tracked, refusal
from processes.execution.gate import SendGate
from processes.wake import end_after_sleep
from schemas.account import AccountEvent, BalanceChange, Fill, OrderUpdate
from schemas.errors import RefusedError
from schemas.trading import (
    AccountAlarm,
    AccountAway,
    AccountConnected,
    CancelNotSent,
    Intent,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderUnknown,
    Reconciled,
)
from venues.trading import NewOrder, NotSentError, OrderRef, Sight, Trading

BACKOFF_FIRST_S: Final = 1.0
BACKOFF_LONGEST_S: Final = 30.0
CONNECTS_PER_MINUTE: Final = 10
"""Kraken bans an address for some time after about 150 in ten minutes."""
REFUSED_KEY_S: Final = 300.0
TEND_S: Final = 0.25
LOOK_FIRST_S: Final = 0.5
LOOK_LONGEST_S: Final = 10.0
LOOK_BACK_NS: Final = 60_000_000_000
"""Clocks differ: a venue is asked from so long before the oldest order."""
EARLY_MAX: Final = 1000
"""Events of orders that are not known yet; their venue's answer may come after them."""
TRACKED_MAX: Final = 5000


class VenueSession:
    """One account.

    Args:
        healthy: whether execution itself lives; the venue's dead-man timer is refreshed only then.
    """

    def __init__(
        self,
        account: str,
        trading: Trading,
        gate: SendGate,
        emit: Emit,
        now_ns: Callable[[], int],
        healthy: Callable[[], bool],
        dead_man_s: float,
    ) -> None:
        self._account = account
        self._trading = trading
        self._gate = gate
        self._emit = emit
        self._now_ns = now_ns
        self._healthy = healthy
        self._dead_man_s = dead_man_s
        self._is_connected = False
        self._is_ready = False
        """Every open order was answered for since the connection was made."""
        self._is_away = False
        """`AccountAway` was told of this loss."""
        self._slots = asyncio.Semaphore(trading.parallel)
        self._orders: OrderedDict[str, Tracked] = OrderedDict()
        self._by_client: dict[str, str] = {}
        self._by_venue: dict[str, str] = {}
        self._early: deque[OrderUpdate | Fill] = deque(maxlen=EARLY_MAX)
        self._foreign: set[str] = set()
        self._alarmed: set[str] = set()
        self._holdings = Holdings(account, trading, emit, now_ns)
        self._tasks: set[asyncio.Task[None]] = set()
        self._placing: dict[str, asyncio.Task[None]] = {}
        self._waiting: set[str] = set()
        """Orders whose turn to be sent has not come: no venue can have them."""
        self._limit = ConnectLimit(CONNECTS_PER_MINUTE)
        self._broken: asyncio.Future[None]
        self._looked_s = 0.0
        self._looks = 0
        self._reconciliation = 0
        self._backoff = Backoff(BACKOFF_FIRST_S, BACKOFF_LONGEST_S, random.Random())  # noqa: S311

    async def run(self, commands: Commands) -> None:
        """Connect, connect again, and take commands."""
        self._broken = asyncio.get_running_loop().create_future()
        both = [
            asyncio.create_task(self._stay_connected()),
            asyncio.create_task(self._take(commands)),
        ]
        try:
            await asyncio.gather(*both, self._broken)
        finally:
            for task in [*both, *self._tasks]:
                task.cancel()
            await asyncio.gather(*both, *self._tasks, return_exceptions=True)
            await self._trading.close()

    # ---- the connection

    async def _stay_connected(self) -> None:
        while True:
            wait_s = 0.0
            try:
                await self._trading.connect(self._hear)
                self._is_connected, self._is_away = True, False
                self._backoff.succeeded()
                self._emit(AccountConnected(self._account, self._now_ns()))
                await self._attend()
            except FAULTS as error:
                if isinstance(error, RefusedError) and not self._is_connected:
                    wait_s = REFUSED_KEY_S
                self._leave(str(error) or type(error).__name__)
            finally:
                self._is_connected = self._is_ready = False
                self._reconciliation += 1  # what was asked before is asked anew
                await self._trading.close()
            await asyncio.sleep(max(wait_s, self._backoff.next_s(), self._limit.delay_s()))

    def _leave(self, why: str) -> None:
        if not self._is_away:
            self._is_away = True
            self._emit(AccountAway(self._account, self._now_ns(), why))

    async def _attend(self) -> None:
        """Until the connection is lost."""
        works = (self._trading.watch(), self._stay_alive(), self._tend(), end_after_sleep(TEND_S))
        tasks = {asyncio.create_task(work) for work in works}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stay_alive(self) -> None:
        """The venue's dead-man timer, which waits for no question."""
        refreshed_s = float("-inf")
        while True:
            if self._healthy() and monotonic_s() - refreshed_s > self._dead_man_s / 3:
                refreshed_s = monotonic_s()
                await self._trading.dead_man(self._dead_man_s)
            await asyncio.sleep(TEND_S)

    async def _tend(self) -> None:
        """Orders that nobody can say anything of."""
        while True:
            if self._is_ready:
                await self._ask_for_unknown()
            await asyncio.sleep(TEND_S)

    # ---- commands

    async def _take(self, commands: Commands) -> None:
        while True:
            command = await commands.get()
            task = asyncio.create_task(self._obey(command))
            if isinstance(command, Submit):
                self._placing[command.intent.command_id] = task
                self._waiting.add(command.intent.command_id)
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._broken.done():
            self._broken.set_exception(error)
        for number in [name for name, other in self._placing.items() if other is task]:
            del self._placing[number]

    def _obey(self, command: Command) -> Coroutine[Any, Any, None]:
        match command:
            case Submit(intent):
                return self._place(intent)
            case Cancel(number):
                return self._cancel(number)
            case CancelAll():
                return self._cancel_all()
            case Reconcile():
                return self._reconcile(command)
            case Settle(number, venue_order_id):
                return self._settle(number, venue_order_id)

    async def _place(self, intent: Intent) -> None:
        async with self._slots:
            number = intent.command_id
            self._gate.begin()
            under_way = [True]

            def written() -> None:
                if under_way:
                    under_way.clear()
                    self._gate.end()

            try:
                self._waiting.discard(number)
                refused = self._gate.refusal(intent)
                tracked = self._track(intent)
                if refused or not self._is_ready:
                    why = refused or "its venue is away"
                    self._tell(number, self._expired(number, why), final=True)
                    return
                tracked.sent_ns, tracked.is_under_way = self._now_ns(), True
                try:
                    venue_order_id = await self._trading.place(tracked.ref.order, written)
                finally:
                    tracked.is_under_way = False
                self._accepted(number, venue_order_id)
                tracked.is_asked |= not tracked.accepted or (
                    tracked.must_end and not tracked.is_final
                )
            except RefusedError as error:
                self._tell(number, OrderRejected(number, self._now_ns(), str(error)), final=True)
            except NotSentError as error:
                self._tell(number, self._expired(number, str(error)), final=True)
            except FAULTS as error:
                self._wonder(number, str(error) or type(error).__name__)
            finally:
                written()
            if self._trading.parallel == 1:
                await self._settled(number)

    async def _settled(self, number: str) -> None:
        """Have the next order wait for an unknown one, unless only a person can settle that."""
        tracked = self._orders[number]
        while tracked.is_asked and not (tracked.accepted or tracked.is_ambiguous):  # noqa: ASYNC110
            await asyncio.sleep(TEND_S)

    async def _cancel(self, number: str) -> None:
        placing = self._placing.get(number)
        if placing is not None:
            await asyncio.wait({placing})
        tracked = self._orders.get(number)
        if tracked is None or not self._is_connected:
            self._emit(CancelNotSent(number, self._now_ns()))
            return
        try:
            await self._trading.cancel([tracked.ref])
        except FAULTS:
            self._emit(CancelNotSent(number, self._now_ns()))
            return
        tracked.must_end = tracked.is_asked = True

    async def _cancel_all(self) -> None:
        """Until the venue has taken it: the kill switch asks once."""
        backoff = Backoff(BACKOFF_FIRST_S, BACKOFF_LONGEST_S, random.Random())  # noqa: S311
        while True:
            try:
                if self._is_connected:
                    await self._trading.cancel_all()
                    return
            except FAULTS as error:
                self._alarm("cancel_all", str(error) or type(error).__name__)
            await asyncio.sleep(backoff.next_s())

    # ---- asking

    async def _reconcile(self, command: Reconcile) -> None:
        names = []
        for known in command.outstanding:
            if known.intent.command_id in self._waiting:
                continue
            tracked = self._track(known.intent, known.venue_order_id)
            tracked.fill_ids |= known.fill_ids
            tracked.filled = max(tracked.filled, Decimal(known.filled))
            tracked.is_final |= not known.open
            if known.venue_order_id:
                self._by_venue[known.venue_order_id] = known.intent.command_id
            # What is over and has no name may look like another order, of tomorrow: it is left.
            ref = tracked.ref
            if not tracked.is_final or ref.venue_order_id or self._trading.client_id(ref.order):
                names.append(ref.order.command_id)
        mine = self._reconciliation = self._reconciliation + 1
        delay_s = LOOK_FIRST_S
        # The next question, which knows more orders, takes the place of one without an answer.
        while self._is_connected and mine == self._reconciliation:
            try:
                sight = await self._look(names)
                await self._holdings.ask()
            except FAULTS:
                sight = None
            if sight is not None:
                for order in sight.foreign:
                    self._tell_foreign(order)
                if not self._questions(names, sight):
                    self._is_ready = self._is_connected
                    if self._is_ready:
                        self._emit(Reconciled(self._account, self._now_ns()))
                    return
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LOOK_LONGEST_S)

    def _questions(self, names: list[str], sight: Sight) -> list[str]:
        """Orders of which the venue has not said all that it must."""
        return [
            name
            for name in names
            if (tracked := self._orders[name]).is_asked
            and not (
                name in sight.orders and tracked.must_end and not tracked.lacks(sight.orders[name])
            )
        ]

    async def _ask_for_unknown(self) -> None:
        names = [name for name, tracked in self._orders.items() if tracked.is_asked]
        if not names:
            self._looks = 0
            return
        wait_s = min(LOOK_FIRST_S * 2 ** min(self._looks, 10), LOOK_LONGEST_S)
        if monotonic_s() - self._looked_s < wait_s:
            return
        self._looks += 1
        try:
            await self._look(names)
        except FAULTS as error:
            self._alarm("look", str(error) or type(error).__name__)

    async def _look(self, names: list[str]) -> Sight:
        """Ask the venue about orders, and tell what it says."""
        self._looked_s = monotonic_s()
        asked = [self._orders[name] for name in names]
        before = [(one.is_under_way, one.accepted) for one in asked]
        oldest_ns = min((one.ref.order.decided_ns for one in asked), default=self._now_ns())
        sight = await self._trading.look([one.ref for one in asked], oldest_ns - LOOK_BACK_NS)
        # A look may have begun before an order like it was sent, and taken that for it.
        sight.fills = [row for row in sight.fills if self._may_be(row[0], row[1].order_id)]
        sight.orders = {n: o for n, o in sight.orders.items() if self._may_be(n, o.order_id)}
        for name, tracked, (was_under_way, was_accepted) in zip(names, asked, before, strict=True):
            tracked.is_asked = tracked.must_end and not tracked.is_final
            tracked.is_ambiguous = name in sight.ambiguous and not (
                tracked.accepted or tracked.is_final
            )
            if tracked.is_ambiguous:
                tracked.is_asked = True
                self._alarm("ambiguous", f"{name}: {sight.ambiguous[name]}", pause=True)
            elif name in sight.missing and (was_under_way or tracked.accepted != was_accepted):
                tracked.is_asked = not tracked.is_final  # it may have come after the question
            elif name in sight.missing:
                self._miss(name, tracked)
            elif name not in sight.orders:
                tracked.is_asked = not tracked.is_final
        for name, fill in sight.fills:
            self._tell_fill(self._orders[name], fill)
        for name, update in sight.orders.items():
            self._tell_update(self._orders[name], update)
        return sight

    def _may_be(self, name: str, venue_order_id: str) -> bool:
        """Not known to be another order of ours."""
        return self._by_venue.get(venue_order_id, name) == name

    def _miss(self, name: str, tracked: Tracked) -> None:
        """The venue does not know an order."""
        if tracked.is_final:
            return
        if tracked.accepted:
            # It was there: nothing that we could think of is certain.
            tracked.is_asked = True
            self._alarm("vanished", f"{name}: the venue had it, and knows it no more", pause=True)
        elif self._now_ns() - tracked.sent_ns < self._trading.settle_s * 1e9:
            self._wonder(name, "not at the venue yet")
        else:
            self._tell(name, self._expired(name, "never reached the venue"), final=True)

    # ---- a person's word

    async def _settle(self, number: str, venue_order_id: str) -> None:
        """Take it for an order in doubt, and for no other; an id must be of an order like ours."""
        tracked = self._orders.get(number)
        since_ns = tracked.ref.order.decided_ns - LOOK_BACK_NS if tracked is not None else 0
        why = await refusal(tracked, venue_order_id, self._by_venue, self._trading, since_ns)
        if tracked is None or why:
            self._alarm("settle", f"{number}: {why}")
            return
        tracked.is_ambiguous = False
        if venue_order_id:
            self._accepted(number, venue_order_id)  # what became of it is asked for by its id
        else:
            tracked.is_asked = False
            self._tell(number, self._expired(number, "a person says: it is not there"), final=True)

    # ---- what the venue tells

    def _hear(self, event: AccountEvent) -> None:
        if isinstance(event, BalanceChange):
            self._holdings.tell(event)
        if not isinstance(event, OrderUpdate | Fill):
            return
        tracked = self._find(event)
        if tracked is None:
            self._early.append(event)
        elif isinstance(event, Fill):
            self._tell_fill(tracked, event)
        else:
            self._tell_update(tracked, event)

    def _find(self, event: OrderUpdate | Fill) -> Tracked | None:
        number = self._by_venue.get(event.order_id) or self._by_client.get(event.client_order_id)
        return self._orders[number] if number is not None else None

    def _accepted(self, number: str, venue_order_id: str) -> None:
        """The venue has an order of ours, under this id; events may have come before."""
        tracked = self._orders[number]
        if not venue_order_id:
            return
        if not tracked.accepted:
            tracked.accepted = True
            tracked.ref = OrderRef(order=tracked.ref.order, venue_order_id=venue_order_id)
            self._by_venue[venue_order_id] = number
            self._emit(OrderAccepted(number, venue_order_id, self._now_ns()))
        early = list(self._early)
        self._early.clear()
        for event in early:
            self._hear(event)

    def _tell_update(self, tracked: Tracked, update: OrderUpdate) -> None:
        number = tracked.ref.order.command_id
        time_ns = update.time_ns or self._now_ns()
        if update.status != "rejected":
            self._accepted(number, update.order_id)
        lacks = tracked.lacks(update)
        tracked.is_asked = lacks or (tracked.is_asked and not update.is_final)
        if not update.is_final or tracked.is_final:
            return
        text = update.reason or update.status_text
        match update.status:
            case "canceled":
                self._tell(number, OrderCanceled(number, time_ns, text), final=True)
            case "expired":
                self._tell(number, OrderExpired(number, time_ns, text), final=True)
            case "rejected":
                self._tell(number, OrderRejected(number, time_ns, text), final=True)
            case _:
                tracked.is_final = tracked.filled >= Decimal(tracked.ref.order.quantity)

    def _tell_fill(self, tracked: Tracked, fill: Fill) -> None:
        number = tracked.ref.order.command_id
        self._accepted(number, fill.order_id)
        if fill.fill_id in tracked.fill_ids:
            return
        tracked.fill_ids.add(fill.fill_id)
        tracked.filled += Decimal(fill.quantity)
        paid = [fee for fee in fill.fees if Decimal(fee.amount)]
        if len(paid) > 1:
            self._alarm("fees", f"{number}: fill {fill.fill_id} has fees in several assets")
        fee, asset = (paid[0].amount, paid[0].asset) if paid else ("0", "")
        time_ns = fill.time_ns or self._now_ns()
        self._emit(
            OrderFilled(number, fill.fill_id, fill.price, fill.quantity, fee, asset, time_ns)
        )

    def _tell_foreign(self, order: OrderUpdate) -> None:
        # One of ours may have come to the venue between the question and its answer.
        if order.order_id not in self._foreign and self._find(order) is None:
            self._foreign.add(order.order_id)
            self._alarm("foreign_order", f"{order.symbol} {order.side} {order.order_id}: not ours")

    # ---- telling

    def _track(self, intent: Intent, venue_order_id: str = "") -> Tracked:
        number = intent.command_id
        known = self._orders.get(number)
        if known is not None:
            self._orders.move_to_end(number)  # who is asked about is not the next to be forgotten
            return known
        order = NewOrder.of(intent)
        tracked = self._orders[number] = Tracked.of(order, venue_order_id, self._gate.within_ns)
        client_id = self._trading.client_id(order)
        if client_id:
            self._by_client[client_id] = number
        self._forget()
        return tracked

    def _forget(self) -> None:
        """The oldest orders that are over, when there are many."""
        if len(self._orders) <= TRACKED_MAX:
            return
        over = [name for name, tracked in self._orders.items() if tracked.is_final]
        for name in over[: TRACKED_MAX // 2]:
            ref = self._orders.pop(name).ref
            self._by_venue.pop(ref.venue_order_id, None)
            self._by_client.pop(self._trading.client_id(ref.order), None)

    def _expired(self, number: str, why: str) -> OrderExpired:
        return OrderExpired(number, self._now_ns(), why)

    def _wonder(self, number: str, why: str) -> None:
        tracked = self._orders[number]
        tracked.is_asked = True
        if not tracked.is_unknown:
            tracked.is_unknown = True
            self._emit(OrderUnknown(number, self._now_ns(), why))

    def _tell(self, number: str, event: OrderEvent, *, final: bool) -> None:
        self._orders[number].is_final |= final
        self._emit(event)

    def _alarm(self, code: str, text: str, *, pause: bool = False) -> None:
        """Once for each code and text."""
        if f"{code} {text}" in self._alarmed:
            return
        self._alarmed.add(f"{code} {text}")
        if len(self._alarmed) > EARLY_MAX:
            self._alarmed.clear()
        self._emit(AccountAlarm(self._account, self._now_ns(), code, text, pause))
