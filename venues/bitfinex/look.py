"""What Bitfinex's REST interface has of orders: the answer to "what became of these?".

Open orders come in one answer, and are asked for first: an order that closes in between is in the
second one. Closed orders and executions come newest first, in pages that are turned to the end; the
venue does not say whether closed orders are filed by the time of their making or of their end, so
pages are turned in a way that is right for both. An order without an answer is known by its client
id and the UTC day of its making. Executions over REST have their fees.

The venue forgets closed orders after two weeks: nothing is said of an older one that is not there
and of which no id was ever seen. Never sends or changes anything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from msgspec.structs import replace

from schemas.account import BalanceChange, Fee, Fill, OrderUpdate
from schemas.errors import AnswerError
from venues.bitfinex.account import VENUE
from venues.bitfinex.orders import client_id_of, days_of, utc_day
from venues.bitfinex.private_rest import BitfinexPrivateRest
from venues.bitfinex.symbols import CURRENCIES
from venues.exact import plain
from venues.trading import OrderRef, Sight

T = TypeVar("T")
WALLET: Final = "exchange"
PAGE_ROWS: Final = 2500
PAGES_MAX: Final = 40
"""100,000 rows; who has more since is told so, and nothing is called missing."""
HISTORY_NS: Final = 13 * 86_400 * 1_000_000_000
"""Closed orders are kept for two weeks, "circa"."""
ABSENT_S: Final = 20.0
"""An order that the venue had, and is neither open nor closed, may be on its way between the
two."""
ABSENT_KEPT: Final = 5000


class Look:
    """Asks about orders; remembers only since when one was not to be seen."""

    def __init__(self, private: BitfinexPrivateRest, now_ns: Callable[[], int]) -> None:
        self._private = private
        self._now_ns = now_ns
        self._absent: dict[str, float] = {}

    async def look(self, refs: Sequence[OrderRef], since_ns: int) -> Sight:
        """As `Trading.look`.

        Raises:
            VenueError: an answer did not come, or is not complete.
        """
        opened = await self._private.open_orders()
        found = _of(refs, opened)
        ours = {order.order_id for orders in found.values() for order in orders.values()}
        since_ms = max(since_ns // 1_000_000, 0)
        if not all(found.values()):
            closed = await _pages(self._private.closed_orders, since_ms, _order_times)
            for command_id, orders in _of(refs, closed).items():
                # What has closed since it was seen open is closed.
                found[command_id] |= orders
        sight = Sight(foreign=[order for order in opened if order.order_id not in ours])
        for ref in refs:
            self._tell(sight, ref, list(found[ref.order.command_id].values()))
        if any(order.filled_quantity.strip("0.") for order in sight.orders.values()):
            self._tell_fills(sight, await _pages(self._private.fills, since_ms, _fill_times))
        return sight

    async def holdings(self) -> list[BalanceChange]:
        """As `Trading.holdings`: the exchange wallet."""
        return [
            BalanceChange(
                venue=VENUE,
                asset=common_asset(wallet.currency),
                balance=plain(wallet.balance),
                wallet=wallet.kind,
                available="" if wallet.available is None else plain(wallet.available),
            )
            for wallet in await self._private.wallets()
            if wallet.kind == WALLET
        ]

    # ---- what is told

    def _tell(self, sight: Sight, ref: OrderRef, orders: list[OrderUpdate]) -> None:
        command_id = ref.order.command_id
        if len(orders) == 1:
            self._absent.pop(command_id, None)
            sight.orders[command_id] = orders[0]
        elif orders:
            sight.ambiguous[command_id] = "orders " + ", ".join(o.order_id for o in orders)
        elif ref.venue_order_id:
            if self._is_long_absent(command_id):
                sight.missing.add(command_id)
        elif self._now_ns() - ref.order.decided_ns < HISTORY_NS:
            sight.missing.add(command_id)

    def _is_long_absent(self, command_id: str) -> bool:
        now_s = asyncio.get_running_loop().time()
        since_s = self._absent.setdefault(command_id, now_s)
        if len(self._absent) > ABSENT_KEPT:
            del self._absent[next(iter(self._absent))]
        return now_s - since_s >= ABSENT_S

    def _tell_fills(self, sight: Sight, fills: Sequence[Fill]) -> None:
        names = {order.order_id: command_id for command_id, order in sight.orders.items()}
        own = [fill for fill in fills if fill.order_id in names]
        own.sort(key=lambda fill: fill.time_ns)
        sight.fills = [(names[fill.order_id], with_common_fees(fill)) for fill in own]


async def _pages(
    turn: Callable[[int | None, int | None, int | None], Awaitable[list[T]]],
    since_ms: int,
    times: Callable[[T], tuple[str, int, int]],
) -> list[T]:
    """All records since a time.

    Args:
        turn: start, end, limit. times: a record's id, and the later and the sooner of the two
            times by which the venue may have filed it, ns.

    Raises:
        AnswerError: there are too many.
    """
    found: dict[str, T] = {}
    end_ms: int | None = None
    by_later = True
    for _ in range(PAGES_MAX):
        page = await turn(since_ms, end_ms, PAGE_ROWS)
        known = len(found)
        found |= {times(record)[0]: record for record in page}
        if len(page) < PAGE_ROWS:
            return list(found.values())
        # To go on from a row's later time passes over nothing, whichever it is filed by. Where that
        # is not how rows are sorted, or brings nothing new, they are filed by the sooner one.
        laters = [times(record)[1] for record in page]
        if len(found) == known and by_later and laters[0] == laters[-1]:
            raise AnswerError(f"{len(page)} orders or fills of the same moment")
        by_later &= laters == sorted(laters, reverse=True) and len(found) > known
        _, later_ns, sooner_ns = times(page[-1])
        end_ms = -(
            -(later_ns if by_later else sooner_ns) // 1_000_000
        )  # a time may have a fraction of a millisecond
    raise AnswerError(f"more than {len(found)} orders or fills since then")


def _order_times(order: OrderUpdate) -> tuple[str, int, int]:
    return order.order_id, order.time_ns, order.created_ns


def _fill_times(fill: Fill) -> tuple[str, int, int]:
    return fill.fill_id, fill.time_ns, fill.time_ns


def common_asset(code: str) -> str:
    """The venue's code in the common form: `UST` is `USDT`."""
    return CURRENCIES.get(code, code)


def with_common_fees(fill: Fill) -> Fill:
    """A fill whose fees are in assets by their common names."""
    fees = tuple(Fee(asset=common_asset(fee.asset), amount=fee.amount) for fee in fill.fees)
    return replace(fill, fees=fees)


def _of(
    refs: Sequence[OrderRef], orders: Sequence[OrderUpdate]
) -> dict[str, dict[str, OrderUpdate]]:
    """The orders that each ref may be, by command id and the venue's id."""
    by_id = {order.order_id: order for order in orders}
    by_client: dict[tuple[str, str], list[OrderUpdate]] = {}
    for order in orders:
        name = (order.client_order_id, utc_day(order.created_ns))
        by_client.setdefault(name, []).append(order)
    found: dict[str, dict[str, OrderUpdate]] = {}
    for ref in refs:
        client_id = str(client_id_of(ref.order.command_id))
        if ref.venue_order_id:
            own = [by_id[ref.venue_order_id]] if ref.venue_order_id in by_id else []
        else:
            own = [o for day in days_of(ref.order) for o in by_client.get((client_id, day), [])]
        found[ref.order.command_id] = {order.order_id: order for order in own}
    return found
