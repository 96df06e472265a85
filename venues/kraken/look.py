"""What Kraken's REST interface has of orders: the answer to "what became of these?".

Open orders come in one answer. An order that is not among them is asked for by the venue's id, or,
where that was never seen, looked for by its client id among the orders that were closed since, page
after page to the end. Open ones are asked for first: an order that closes in between is seen in
the second answer, and one that is in neither was in neither. Fills are asked for by the ids that
the order itself names, so that none is missed and none is another order's.

Fills that an order names and REST does not show yet are simply not there: the order's
`filled_quantity` says that they are to come. Never sends or changes anything.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from schemas.account import BalanceChange, Fee, Fill, Liquidity, OrderStatus, OrderUpdate
from schemas.errors import AnswerError, DecodeError, RefusedError
from schemas.trading import OrderSide
from venues.exact import plain
from venues.kraken.private_rest import KrakenPrivateRest, Order, Trade
from venues.kraken.rest import KrakenRest
from venues.kraken.symbols import common_currency, common_pair
from venues.trading import OrderRef, Sight

VENUE: Final = "kraken"
ORDERS_A_CALL: Final = 50
FILLS_A_CALL: Final = 20
PAGES_MAX: Final = 100
"""5,000 closed orders; who has closed more since is told so, and nothing is called missing."""
FILLS_KEPT: Final = 20_000
_SIDES: Final[dict[str, OrderSide]] = {"buy": "buy", "sell": "sell"}
_STATUSES: Final[dict[str, OrderStatus]] = {
    "pending": "pending",
    "open": "open",
    "canceled": "canceled",
    "expired": "expired",
}


class Look:
    """Asks about orders; keeps the fills it has seen, since those never change."""

    def __init__(self, private: KrakenPrivateRest, public: KrakenRest) -> None:
        self._private = private
        self._public = public
        self._symbols: dict[str, str] = {}
        self._fills: OrderedDict[str, Fill] = OrderedDict()

    def keep(self, fill: Fill) -> None:
        """A fill that was told elsewhere, with the asset of its fee: it need not be asked for."""
        self._fills[fill.fill_id] = fill
        if len(self._fills) > FILLS_KEPT:
            self._fills.popitem(last=False)

    async def look(self, refs: Sequence[OrderRef], since_ns: int) -> Sight:
        """As `Trading.look`.

        Raises:
            VenueError: an answer did not come, or is not complete.
        """
        opened = await self._private.open_orders()
        found = _of(refs, opened)
        ours = {order.id for orders in found.values() for order in orders.values()}
        named = [
            ref.venue_order_id
            for ref in refs
            if ref.venue_order_id and not found[ref.order.command_id]
        ]
        closed = await self._named(named)
        if any(not ref.venue_order_id and not found[ref.order.command_id] for ref in refs):
            closed += await self._closed_since(since_ns)
        for command_id, orders in _of(refs, closed).items():
            found[command_id] |= orders
        await self._learn_symbols(opened)
        sight = Sight(foreign=[self._update(order) for order in opened if order.id not in ours])
        for ref in refs:
            await self._tell(sight, ref, list(found[ref.order.command_id].values()))
        sight.fills.sort(key=lambda told: told[1].time_ns)
        return sight

    async def holdings(self) -> list[BalanceChange]:
        """As `Trading.holdings`."""
        return [
            BalanceChange(
                venue=VENUE,
                asset=common_currency(row.asset),
                balance=plain(row.balance),
                available=plain(row.balance - row.hold),
            )
            for row in await self._private.balances()
        ]

    async def _tell(self, sight: Sight, ref: OrderRef, orders: list[Order]) -> None:
        command_id = ref.order.command_id
        if not orders:
            sight.missing.add(command_id)
        elif len(orders) > 1:
            sight.ambiguous[command_id] = "orders " + ", ".join(order.id for order in orders)
        else:
            (order,) = orders
            sight.fills += [(command_id, fill) for fill in await self._fills_of(ref, order)]
            sight.orders[command_id] = self._update(order, ref)

    # ---- orders

    async def _named(self, order_ids: Sequence[str]) -> list[Order]:
        found: list[Order] = []
        for first in range(0, len(order_ids), ORDERS_A_CALL):
            chunk = order_ids[first : first + ORDERS_A_CALL]
            try:
                found += await self._private.orders(chunk)
            except RefusedError as error:
                if not error.code.startswith("EOrder:"):
                    raise
                found += await self._one_by_one(chunk)
        return found

    async def _one_by_one(self, order_ids: Sequence[str]) -> list[Order]:
        """Those that the venue knows, of some among which there is one that it does not."""
        found: list[Order] = []
        for order_id in order_ids:
            try:
                found += await self._private.orders([order_id])
            except RefusedError as error:
                if not error.code.startswith("EOrder:"):
                    raise
        return found

    async def _closed_since(self, since_ns: int) -> list[Order]:
        """All orders that were closed since, newest first.

        Orders that close while pages are turned move the others back: one may be seen twice, and
        none is passed over.
        """
        found: dict[str, Order] = {}
        offset = 0
        for _ in range(PAGES_MAX):
            page = await self._private.closed_orders(
                start_s=max(since_ns // 10**9, 0), offset=offset
            )
            found |= {order.id: order for order in page.orders}
            offset += len(page.orders)
            if offset >= page.count:
                return list(found.values())
            if not page.orders:
                raise AnswerError(f"ClosedOrders: {page.count} orders, and none from {offset} on")
        raise AnswerError(f"ClosedOrders: more than {offset} orders since then")

    # ---- fills

    async def _fills_of(self, ref: OrderRef, order: Order) -> list[Fill]:
        unknown = [number for number in order.trade_ids if number not in self._fills]
        for first in range(0, len(unknown), FILLS_A_CALL):
            for trade in await self._private.trades(unknown[first : first + FILLS_A_CALL]):
                if trade.order_id != order.id:
                    raise AnswerError(f"QueryTrades: {trade.id} is none of {order.id}")
                self.keep(_fill(trade, ref, order))
        return [self._fills[number] for number in order.trade_ids if number in self._fills]

    # ---- in our words

    async def _learn_symbols(self, orders: Iterable[Order]) -> None:
        """REST calls pairs by other names."""
        if all(order.pair in self._symbols for order in orders):
            return
        for pair in await self._public.asset_pairs():
            if pair.wsname:
                self._symbols[pair.altname] = common_pair(pair.wsname)

    def _update(self, order: Order, ref: OrderRef | None = None) -> OrderUpdate:
        symbol = self._symbols.get(order.pair, order.pair) if ref is None else ref.order.symbol
        return OrderUpdate(
            venue=VENUE,
            order_id=order.id,
            symbol=symbol,
            status=_status(order),
            status_text=order.status,
            client_order_id=order.client_id,
            side=_SIDES.get(order.side, ""),
            order_type=order.kind,
            quantity=plain(order.volume),
            filled_quantity=plain(order.executed),
            limit_price=plain(order.price) if order.kind == "limit" else "",
            average_price=plain(order.price_average) if order.executed else "",
            post_only="post" in order.flags,
            reason=order.reason,
            time_ns=order.closed_ns or 0,
            created_ns=order.opened_ns,
        )


def _of(refs: Sequence[OrderRef], orders: Iterable[Order]) -> dict[str, dict[str, Order]]:
    """The orders that each ref may be, by command id and the venue's id."""
    by_client: dict[str, list[Order]] = {}
    by_id = {}
    for order in orders:
        by_id[order.id] = order
        by_client.setdefault(order.client_id, []).append(order)
    found: dict[str, dict[str, Order]] = {}
    for ref in refs:
        if ref.venue_order_id:
            exact = by_id.get(ref.venue_order_id)
            own = [] if exact is None else [exact]
        else:
            own = by_client.get(ref.order.command_id, [])
        found[ref.order.command_id] = {order.id: order for order in own}
    return found


def _status(order: Order) -> OrderStatus:
    if order.status == "closed":
        return "filled" if order.executed >= order.volume else "canceled"
    if order.status == "open" and order.executed:
        return "partially_filled"
    return _STATUSES.get(order.status, "unknown")


def _fill(trade: Trade, ref: OrderRef, order: Order) -> Fill:
    base, _, quote = ref.order.symbol.partition("/")
    liquidity: dict[bool | None, Liquidity] = {True: "maker", False: "taker", None: ""}
    try:
        return Fill(
            venue=VENUE,
            fill_id=trade.id,
            order_id=trade.order_id,
            symbol=ref.order.symbol,
            side=_SIDES.get(trade.side, ""),
            price=plain(trade.price),
            quantity=plain(trade.volume),
            client_order_id=order.client_id,
            trade_id="" if trade.number is None else str(trade.number),
            # REST names no asset; which one it is was the order's choice, and ours is the quote.
            fees=(Fee(asset=base if "fcib" in order.flags else quote, amount=plain(trade.fee)),),
            liquidity=liquidity[trade.maker],
            time_ns=trade.time_ns,
        )
    except DecodeError as error:
        raise AnswerError(str(error)) from None
