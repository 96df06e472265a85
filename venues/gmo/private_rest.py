"""GMO Coin over REST: what an account holds and has ordered, read only.

Source: api.coin.z.com/docs, "Private API".

Nothing here sends or changes an order. The venue keeps no list of past orders: finished ones are
asked for by id, and what was traded in the last 24 hours by symbol.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

from msgspec import Struct

from venues.exact import (
    each,
    integer,
    integer_or_none,
    iso_ms,
    number,
    number_or_none,
    part,
    rows,
    text,
    text_or_empty,
)
from venues.gmo.rest import read
from venues.gmo.signing import PREFIX, rest_headers
from venues.rest import Request, RestClient, Signed

T = TypeVar("T")
PAGE_ROWS: Final = 100
IDS_MAX: Final = 10
MS_NS: Final = 1_000_000


class Asset(Struct, frozen=True, kw_only=True):
    """What is held of one currency; the rate is yen per unit."""

    symbol: str
    amount: Decimal
    available: Decimal
    conversion_rate: Decimal


class Margin(Struct, frozen=True, kw_only=True):
    """The margin account in yen; fields that a version of the interface lacks are None."""

    actual_profit_loss: Decimal
    available_amount: Decimal
    margin: Decimal
    profit_loss: Decimal
    margin_ratio: Decimal | None
    margin_call_status: str
    transferable_amount: Decimal | None


class Order(Struct, frozen=True, kw_only=True):
    """An order; `price` is None for market orders."""

    root_order_id: int
    order_id: int
    symbol: str
    side: str
    order_type: str
    execution_type: str
    settle_type: str
    size: Decimal
    executed_size: Decimal
    price: Decimal | None
    losscut_price: Decimal | None
    status: str
    cancel_type: str
    time_in_force: str
    mts: int


class Execution(Struct, frozen=True, kw_only=True):
    """One trade of an order; a fee below 0 was paid to us."""

    execution_id: int
    order_id: int
    position_id: int | None
    symbol: str
    side: str
    settle_type: str
    size: Decimal
    price: Decimal
    loss_gain: Decimal
    fee: Decimal
    mts: int


class OpenPosition(Struct, frozen=True, kw_only=True):
    """A leverage position; `ordered_size` is on its way out already."""

    position_id: int
    symbol: str
    side: str
    size: Decimal
    ordered_size: Decimal
    price: Decimal
    loss_gain: Decimal
    leverage: Decimal
    mts: int


class PositionSum(Struct, frozen=True, kw_only=True):
    """All positions of a symbol and side together."""

    symbol: str
    side: str
    average_rate: Decimal
    loss_gain: Decimal
    ordered_size: Decimal
    size: Decimal


class GmoPrivateRest:
    """The read-only private calls of one key. The secret is kept in memory only."""

    def __init__(self, client: RestClient, key: str, secret: str) -> None:
        self.client = client
        self._key = key
        self._secret = secret

    async def _get(
        self, call: str, make: Callable[[Any], T], params: Sequence[tuple[str, str]] = ()
    ) -> T:
        path = f"{PREFIX}/v1/{call}"

        def sign() -> Signed:
            now_ms = self.client.tools.utc_ns() // MS_NS
            return Signed(rest_headers(self._key, self._secret, now_ms, "GET", path), b"")

        request = Request(endpoint="private", path=path, params=params, private=True, sign=sign)
        return await self.client.call(request, lambda answer: make(read(answer)))

    async def assets(self) -> list[Asset]:
        """What is held, all currencies."""
        return await self._get("account/assets", lambda value: [_asset(row) for row in rows(value)])

    async def margin(self) -> Margin:
        """The margin account."""
        return await self._get("account/margin", _margin)

    async def open_orders(self, symbol: str, *, page: int = 1) -> list[Order]:
        """Orders of a symbol that wait or rest; 100 a page."""
        return await self._get("activeOrders", _listed(_order), _page(symbol, page))

    async def orders(self, ids: Sequence[int]) -> list[Order]:
        """Orders by id, finished ones as well; at most 10."""
        assert 0 < len(ids) <= IDS_MAX, "the venue takes 1 to 10 ids"
        params = [("orderId", ",".join(map(str, ids)))]
        return await self._get("orders", _listed(_order), params)

    async def executions(self, order_id: int) -> list[Execution]:
        """All trades of an order, however old."""
        params = [("orderId", str(order_id))]
        return await self._get("executions", _listed(_execution), params)

    async def open_positions(self, symbol: str, *, page: int = 1) -> list[OpenPosition]:
        """Positions of a leverage symbol; 100 a page."""
        return await self._get("openPositions", _listed(_position), _page(symbol, page))

    async def position_sums(self) -> list[PositionSum]:
        """All positions, a row for each symbol and side."""
        return await self._get("positionSummary", _listed(_sum))

    async def latest_executions(self, symbol: str, *, page: int = 1) -> list[Execution]:
        """Trades of a symbol in the last 24 hours, newest first; 100 a page."""
        return await self._get("latestExecutions", _listed(_execution), _page(symbol, page))


def _page(symbol: str, page: int) -> list[tuple[str, str]]:
    return [("symbol", symbol), ("page", str(page)), ("count", str(PAGE_ROWS))]


def _listed(make: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    """The list inside; the venue leaves it out where there is nothing."""
    return lambda value: each(make)(part(value, "list") or [])


def _asset(row: Any) -> Asset:
    return Asset(
        symbol=text(row, "symbol"),
        amount=number(row, "amount"),
        available=number(row, "available"),
        conversion_rate=number(row, "conversionRate"),
    )


def _margin(value: Any) -> Margin:
    ratio = "marginRatio" if part(value, "marginRatio") is not None else "marginRate"
    return Margin(
        actual_profit_loss=number(value, "actualProfitLoss"),
        available_amount=number(value, "availableAmount"),
        margin=number(value, "margin"),
        profit_loss=number(value, "profitLoss"),
        margin_ratio=number_or_none(value, ratio),
        margin_call_status=text_or_empty(value, "marginCallStatus"),
        transferable_amount=number_or_none(value, "transferableAmount"),
    )


def _order(row: Mapping[str, Any]) -> Order:
    return Order(
        root_order_id=integer(row, "rootOrderId"),
        order_id=integer(row, "orderId"),
        symbol=text(row, "symbol"),
        side=text(row, "side"),
        order_type=text_or_empty(row, "orderType"),
        execution_type=text(row, "executionType"),
        settle_type=text_or_empty(row, "settleType"),
        size=number(row, "size"),
        executed_size=number(row, "executedSize"),
        price=number_or_none(row, "price"),
        losscut_price=number_or_none(row, "losscutPrice"),
        status=text(row, "status"),
        cancel_type=text_or_empty(row, "cancelType"),
        time_in_force=text_or_empty(row, "timeInForce"),
        mts=iso_ms(row, "timestamp"),
    )


def _execution(row: Mapping[str, Any]) -> Execution:
    return Execution(
        execution_id=integer(row, "executionId"),
        order_id=integer(row, "orderId"),
        position_id=integer_or_none(row, "positionId"),
        symbol=text(row, "symbol"),
        side=text(row, "side"),
        settle_type=text_or_empty(row, "settleType"),
        size=number(row, "size"),
        price=number(row, "price"),
        loss_gain=number(row, "lossGain"),
        fee=number(row, "fee"),
        mts=iso_ms(row, "timestamp"),
    )


def _position(row: Mapping[str, Any]) -> OpenPosition:
    return OpenPosition(
        position_id=integer(row, "positionId"),
        symbol=text(row, "symbol"),
        side=text(row, "side"),
        size=number(row, "size"),
        ordered_size=number(row, "orderdSize"),  # so the venue spells it
        price=number(row, "price"),
        loss_gain=number(row, "lossGain"),
        leverage=number(row, "leverage"),
        mts=iso_ms(row, "timestamp"),
    )


def _sum(row: Mapping[str, Any]) -> PositionSum:
    return PositionSum(
        symbol=text(row, "symbol"),
        side=text(row, "side"),
        average_rate=number(row, "averagePositionRate"),
        loss_gain=number(row, "positionLossGain"),
        ordered_size=number(row, "sumOrderQuantity"),
        size=number(row, "sumPositionQuantity"),
    )
