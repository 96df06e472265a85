"""Kraken over REST: what an account holds and has ordered, read only; and tokens of its sockets.

Source: docs.kraken.com/api, "Account Data" and "Get Websockets Token".

Nothing here sends or changes an order. Nonces come from the caller, since they must rise over all
processes of a key; each attempt takes a new one, and one call is under way at a time, since nonces
that overtake each other are refused.
"""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from msgspec import Struct

from venues.exact import (
    each_named,
    integer,
    integer_or_none,
    number,
    number_or_none,
    part,
    table,
    text,
    text_or_empty,
)
from venues.kraken.rest import NS, read
from venues.kraken.signing import rest_headers
from venues.rest import Request, RestClient, Signed

T = TypeVar("T")
_UNMERGED: Final = (("trades", "true"), ("consolidate_taker", "false"))
"""Ids of fills, each as it was made: by default the venue merges those of a taker."""


class Balance(Struct, frozen=True, kw_only=True):
    """What is held of one asset, by REST's name of it (`XXBT`); `hold` is in open orders."""

    asset: str
    balance: Decimal
    hold: Decimal


class Order(Struct, frozen=True, kw_only=True):
    """An order."""

    id: str
    client_id: str
    user_reference: int | None
    status: str
    pair: str
    side: str
    kind: str
    price: Decimal
    """Limit, or trigger."""
    price_2: Decimal
    """Limit of a triggered order."""
    volume: Decimal
    executed: Decimal
    cost: Decimal
    fee: Decimal
    price_average: Decimal
    opened_ns: int
    closed_ns: int | None
    reason: str
    flags: tuple[str, ...] = ()
    """`fciq`: the fee is in quote currency; `fcib`: in base currency; `post` ..."""
    trade_ids: tuple[str, ...] = ()
    """Of its fills, where they were asked for."""


class Trade(Struct, frozen=True, kw_only=True):
    """A fill of an order of the account. REST does not say which asset the fee is in."""

    id: str
    order_id: str
    pair: str
    """By its key, as `XXBTZUSD`."""
    side: str
    price: Decimal
    volume: Decimal
    fee: Decimal
    time_ns: int
    number: int | None
    """The public trade's."""
    maker: bool | None


class ClosedOrders(Struct, frozen=True, kw_only=True):
    """A page of closed orders, newest first, and how many there are in all."""

    count: int
    orders: list[Order]


class KrakenPrivateRest:
    """The read-only private calls of one key. The secret is kept in memory only."""

    def __init__(
        self, client: RestClient, key: str, secret: str, next_nonce: Callable[[], int]
    ) -> None:
        self.client = client
        self._key = key
        self._secret = secret
        self._next_nonce = next_nonce
        self._one_at_a_time = asyncio.Lock()

    async def _post(
        self, call: str, make: Callable[[Any], T], wanted: Sequence[tuple[str, str]] = ()
    ) -> T:
        path = f"/0/private/{call}"

        def sign() -> Signed:
            nonce = self._next_nonce()
            form = urlencode([("nonce", str(nonce)), *wanted])
            headers = rest_headers(self._key, self._secret, path, nonce, form)
            return Signed(headers, form.encode())

        request = Request(endpoint="private", path=path, method="POST", private=True, sign=sign)
        async with self._one_at_a_time:
            return await self.client.call(request, lambda answer: make(read(answer)))

    async def websocket_token(self) -> str:
        """A token that opens a private socket within 15 minutes. It is a secret."""
        return await self._post("GetWebSocketsToken", lambda value: text(value, "token"))

    async def balances(self) -> list[Balance]:
        """What is held, all assets."""

        def make(value: Any) -> list[Balance]:
            return [
                Balance(
                    asset=asset,
                    balance=number(row, "balance"),
                    hold=number_or_none(row, "hold_trade") or Decimal(0),
                )
                for asset, row in table(value).items()
            ]

        return await self._post("BalanceEx", make)

    async def open_orders(self) -> list[Order]:
        """Orders that wait or rest, all of them, with the ids of their fills."""
        return await self._post(
            "OpenOrders",
            lambda value: each_named(_order)(part(value, "open")),
            [("trades", "true")],
        )

    async def orders(self, order_ids: Sequence[str]) -> list[Order]:
        """Orders by the venue's id, open or not, with the ids of their fills; at most 50.

        Raises:
            RefusedError: one of them is not known; none is told then.
        """
        wanted = [("txid", ",".join(order_ids)), *_UNMERGED]
        return await self._post("QueryOrders", each_named(_order), wanted)

    async def trades(self, trade_ids: Sequence[str]) -> list[Trade]:
        """Fills by the venue's id; at most 20."""
        wanted = [("txid", ",".join(trade_ids))]
        return await self._post("QueryTrades", each_named(_trade), wanted)

    async def closed_orders(
        self, *, start_s: int | None = None, end_s: int | None = None, offset: int = 0
    ) -> ClosedOrders:
        """Orders that are closed or cancelled; 50 a page, from `offset` on."""
        named = (("start", start_s), ("end", end_s), ("ofs", offset))
        wanted = [(name, str(value)) for name, value in named if value is not None]
        wanted += _UNMERGED

        def make(value: Any) -> ClosedOrders:
            return ClosedOrders(
                count=integer(value, "count"), orders=each_named(_order)(part(value, "closed"))
            )

        return await self._post("ClosedOrders", make, wanted)


def _order(name: str, row: Any) -> Order:
    description = table(part(row, "descr"))
    closed = number_or_none(row, "closetm")
    return Order(
        id=name,
        client_id=text_or_empty(row, "cl_ord_id"),
        user_reference=integer_or_none(row, "userref"),
        status=text(row, "status"),
        pair=text(description, "pair"),
        side=text(description, "type"),
        kind=text(description, "ordertype"),
        price=number(description, "price"),
        price_2=number(description, "price2"),
        volume=number(row, "vol"),
        executed=number(row, "vol_exec"),
        cost=number(row, "cost"),
        fee=number(row, "fee"),
        price_average=number(row, "price"),
        opened_ns=int(number(row, "opentm") * NS),
        closed_ns=None if closed is None else int(closed * NS),
        reason=text_or_empty(row, "reason"),
        flags=tuple(text_or_empty(row, "oflags").split(",")),
        trade_ids=tuple(map(str, part(row, "trades") or ())),
    )


def _trade(name: str, row: Any) -> Trade:
    maker = part(row, "maker")
    return Trade(
        id=name,
        order_id=text(row, "ordertxid"),
        pair=text(row, "pair"),
        side=text(row, "type"),
        price=number(row, "price"),
        volume=number(row, "vol"),
        fee=number(row, "fee"),
        time_ns=int(number(row, "time") * NS),
        number=integer_or_none(row, "trade_id"),
        maker=maker if isinstance(maker, bool) else None,
    )
