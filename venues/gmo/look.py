"""What became of orders at GMO Coin, asked over REST, and which of its orders is one that was lost.

There is no client order id. An order whose answer was never seen is looked for by its looks:
symbol, side, size, kind, price, what it settles, and its time; among the active orders, the
executions of the last day, and what the private stream told. Exactly one that fits, and fits no
other lost order, is it; more than one is ambiguous, and never guessed. None at all proves that
nothing of it is left: neither open nor filled.

What is read is complete or an error. The order of the readings matters: first the active orders,
then the executions, then the orders by id; so an order that is filled meanwhile is seen at least
once.
"""

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct

from schemas.errors import AnswerError, RefusedError, UnavailableError
from venues.gmo.private_rest import IDS_MAX, MS_NS, PAGE_ROWS, Execution, GmoPrivateRest, Order
from venues.gmo.symbols import LEVERAGE
from venues.gmo.updates import SIDES, fill_of, order_update
from venues.trading import NewOrder, OrderRef, Sight

NO_SUCH_ORDER: Final = "ERR-5123"
PAGES_MAX: Final = 50
READINGS_MAX: Final = 4
"""Of a list of several pages, until two readings in a row are alike."""
LEFT_NS: Final = 120_000_000_000
"""An order of an earlier life has left so long after its decision at the latest, or never."""
CLOCKS_NS: Final = 10_000_000_000
"""How far the venue's clock and ours may be apart; beyond some seconds it refuses every call."""
TOLD_NS: Final = 23 * 3600 * 1_000_000_000
"""Executions are listed by symbol for a day; what is older may be hidden."""


class Window(Struct, frozen=True):
    """When an order was on its way to the venue, in ns UTC of our clock."""

    begin_ns: int
    end_ns: int


class Question(Struct, kw_only=True):
    """What is asked, and what is known already."""

    refs: Sequence[OrderRef]
    since_ns: int
    now_ns: int
    symbols: Collection[str]
    """All whose active orders are asked for."""
    windows: dict[str, Window] = {}
    """By command id, of orders that this process sent."""
    own: Collection[str] = ()
    """Ids of orders that are known to be of other command ids."""
    seen: dict[str, int] = {}
    """Ids that the venue told of by itself, and when first."""
    strange: Sequence[str] = ()
    """Ids that the stream told, of orders that nobody here gave, as far as it is known."""
    under_way: Sequence[NewOrder] = ()
    """Orders that are being sent: they may be there, are not foreign, and are not answered for."""
    settle_ns: int = 0
    """An order that was accepted so shortly ago may not be listed yet."""


def looks_like(found: Order, order: NewOrder) -> bool:
    """Whether an order of the venue's may be one of ours, but for its time."""
    closes = order.reduce_only and order.symbol.endswith(LEVERAGE)
    price = Decimal(order.limit_price) if order.kind == "limit" else Decimal(0)
    return (
        found.symbol == order.symbol
        and SIDES.get(found.side) == order.side
        and found.execution_type == order.kind.upper()
        and found.size == Decimal(order.quantity)
        and (found.price or Decimal(0)) == price
        and found.settle_type == ("CLOSE" if closes else "OPEN")
        and found.order_type in {"NORMAL", ""}
    )


class Looker:
    """One question, answered once."""

    def __init__(self, rest: GmoPrivateRest, question: Question) -> None:
        self._rest = rest
        self._asked = question
        self._known = {ref.venue_order_id: ref for ref in question.refs if ref.venue_order_id}
        sending = {order.command_id for order in question.under_way}
        self._lost = [
            ref.order
            for ref in question.refs
            if not ref.venue_order_id and ref.order.command_id not in sending
        ]
        self._active: dict[str, Order] = {}
        self._executions: dict[str, list[Execution]] = {}
        self._orders: dict[str, Order] = {}
        self._sight = Sight(orders={}, fills=[], missing=set(), ambiguous={}, foreign=[])

    async def look(self) -> Sight:
        """The answer.

        Raises:
            VenueError: it could not be had whole.
        """
        for symbol in sorted(self._asked.symbols):
            self._active |= {str(order.order_id): order for order in await self._all_active(symbol)}
        for symbol in sorted({ref.order.symbol for ref in self._asked.refs}):
            await self._read_executions(symbol)
        names = {name: ref.order.command_id for name, ref in self._known.items()}
        candidates = await self._candidates()
        names |= self._settle(candidates)
        self._orders |= {str(o.order_id): o for o in await self._by_id(names)}
        for name, command_id in names.items():
            if name in self._orders:
                await self._tell(self._orders[name], command_id)
            elif not self._is_fresh(self._known[name].order):
                self._sight.missing.add(command_id)
        self._sight.fills.sort(key=lambda row: (row[1].time_ns, int(row[1].fill_id)))
        taken = {*names, *(name for names_ in candidates.values() for name in names_)}
        await self._tell_foreign(taken)
        return self._sight

    # ---- reading

    async def _all_active(self, symbol: str) -> list[Order]:
        """All pages; several are read until nothing moves, since an order that ends moves rows."""
        before: list[Order] = []
        for reading in range(READINGS_MAX):
            found, pages = await self._active_once(symbol)
            alike = {o.order_id for o in found} == {o.order_id for o in before}
            if pages == 1 or (reading and alike):
                return found
            before = found
        raise UnavailableError(f"the active orders of {symbol} do not stand still")

    async def _active_once(self, symbol: str) -> tuple[list[Order], int]:
        found: list[Order] = []
        for page in range(1, PAGES_MAX + 1):
            rows = await self._rest.open_orders(symbol, page=page)
            found += rows
            if len(rows) < PAGE_ROWS:
                return found, page
        raise AnswerError(f"more than {PAGES_MAX} pages of active orders of {symbol}")

    async def _read_executions(self, symbol: str) -> None:
        """Newest first, as far back as the question goes; rows that move down are seen twice."""
        seen: set[int] = set()
        for page in range(1, PAGES_MAX + 1):
            rows = await self._rest.latest_executions(symbol, page=page)
            for row in rows:
                if row.execution_id not in seen:
                    seen.add(row.execution_id)
                    self._executions.setdefault(str(row.order_id), []).append(row)
            if len(rows) < PAGE_ROWS or rows[-1].mts * MS_NS < self._asked.since_ns - CLOCKS_NS:
                return
        if any(order.symbol == symbol for order in self._lost):
            raise AnswerError(f"more than {PAGES_MAX} pages of executions of {symbol}")

    async def _by_id(self, names: Iterable[str]) -> list[Order]:
        numbers = sorted(map(int, names))
        found: list[Order] = []
        for begin in range(0, len(numbers), IDS_MAX):
            found += await self._some_by_id(numbers[begin : begin + IDS_MAX])
        return found

    async def _some_by_id(self, numbers: list[int]) -> list[Order]:
        """Whether one that is not there spoils the answer about others is not documented."""
        try:
            return await self._rest.orders(numbers)
        except RefusedError as error:
            if error.code != NO_SUCH_ORDER:
                raise
        if len(numbers) == 1:
            return []
        return [order for number in numbers for order in await self._some_by_id([number])]

    # ---- orders whose answer was lost

    async def _candidates(self) -> dict[str, list[str]]:
        """The venue's orders that each lost one may be, by command id."""
        if not self._lost:
            return {}
        strangers = self._strangers()
        self._orders |= {str(order.order_id): order for order in await self._by_id(strangers)}
        names = sorted(strangers & set(self._orders), key=int)
        return {
            order.command_id: [
                name
                for name in names
                if looks_like(self._orders[name], order) and self._in_time(name, order)
            ]
            for order in self._lost
        }

    def _strangers(self) -> set[str]:
        """Orders of whom nobody knows what they are, as far back as the oldest lost one."""
        symbols = {order.symbol for order in self._lost}
        begin_ns = min(self._window(order).begin_ns for order in self._lost)
        begin_ms = (begin_ns - CLOCKS_NS) // MS_NS
        found = {name for name, order in self._active.items() if order.symbol in symbols}
        found |= {
            name
            for name, rows in self._executions.items()
            if rows[0].symbol in symbols and max(row.mts for row in rows) >= begin_ms
        }
        found |= {name for name, seen_ns in self._asked.seen.items() if seen_ns >= begin_ns}
        return found - {*self._known, *self._asked.own}

    def _window(self, order: NewOrder) -> Window:
        whole = Window(order.decided_ns, order.decided_ns + LEFT_NS)
        return self._asked.windows.get(order.command_id, whole)

    def _in_time(self, name: str, order: NewOrder) -> bool:
        window = self._window(order)
        if self._asked.seen.get(name, window.begin_ns) < window.begin_ns:
            return False  # it was there before ours was sent
        made_ns = self._orders[name].mts * MS_NS
        return window.begin_ns - CLOCKS_NS <= made_ns <= window.end_ns + CLOCKS_NS

    def _settle(self, candidates: dict[str, list[str]]) -> dict[str, str]:
        """Command ids by the order that each provably is; the rest is told as what it is."""
        claims = [name for names in candidates.values() for name in names]
        settled: dict[str, str] = {}
        for order in self._lost:
            names = candidates[order.command_id]
            if len(names) == 1 and claims.count(names[0]) == 1:
                settled[names[0]] = order.command_id
            elif names:
                text = f"{', '.join(names)} may be it"
                self._sight.ambiguous[order.command_id] = text
            elif self._asked.now_ns - order.decided_ns > TOLD_NS:
                text = "it is older than what the venue lists of executions"
                self._sight.ambiguous[order.command_id] = text
            else:
                self._sight.missing.add(order.command_id)
        return settled

    # ---- telling

    async def _tell(self, order: Order, command_id: str) -> None:
        self._sight.orders[command_id] = order_update(order)
        known = self._executions.get(str(order.order_id), [])
        if sum(row.size for row in known) < order.executed_size:
            known = await self._rest.executions(order.order_id)
        if sum(row.size for row in known) < order.executed_size:
            raise UnavailableError(f"not all executions of order {order.order_id} are listed yet")
        self._sight.fills += [(command_id, fill_of(row)) for row in known]

    def _is_fresh(self, order: NewOrder) -> bool:
        window = self._asked.windows.get(order.command_id)
        return window is not None and self._asked.now_ns - window.end_ns < self._asked.settle_ns

    async def _tell_foreign(self, taken: Collection[str]) -> None:
        """Orders of others: all open ones, and those that the stream told of.

        The venue's own are among them: what it closes for want of margin is never open for long.
        """
        told = set(self._asked.strange) - set(self._active)
        others = {**self._active, **{str(o.order_id): o for o in await self._by_id(told)}}
        for name, order in others.items():
            is_ours = name in taken or name in self._asked.own or name in self._known
            if not is_ours and not any(looks_like(order, o) for o in self._asked.under_way):
                self._sight.foreign.append(order_update(order))
