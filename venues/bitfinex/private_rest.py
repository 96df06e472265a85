"""Bitfinex over REST: what an account holds and has ordered, read only.

Source: docs.bitfinex.com, "Authenticated Endpoints".

Nothing here sends or changes an order. Nonces come from the caller, since they must rise over all
processes and sockets of a key; each attempt takes a new one.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from venues.bitfinex.rest import read
from venues.bitfinex.signing import rest_headers
from venues.exact import (
    each,
    integer,
    integer_or_none,
    number,
    number_or_none,
    text,
    text_or_empty,
)
from venues.rest import Request, RestClient, Signed

T = TypeVar("T")


class Wallet(Struct, frozen=True, kw_only=True):
    """A wallet; `available` is None until the venue has computed it."""

    kind: str
    """`exchange`, `margin` or `funding`."""
    currency: str
    balance: Decimal
    unsettled_interest: Decimal
    available: Decimal | None


class Order(Struct, frozen=True, kw_only=True):
    """An order; `amount` is what remains, below 0 for a sale. `status` may carry details."""

    id: int
    group_id: int | None
    client_id: int | None
    symbol: str
    created_mts: int
    updated_mts: int
    amount: Decimal
    amount_original: Decimal
    kind: str
    flags: int
    status: str
    price: Decimal | None
    price_average: Decimal | None
    price_trailing: Decimal | None
    price_auxiliary: Decimal | None


class BitfinexPrivateRest:
    """The read-only private calls of one key. The secret is kept in memory only."""

    def __init__(
        self, client: RestClient, key: str, secret: str, next_nonce: Callable[[], int]
    ) -> None:
        self.client = client
        self._key = key
        self._secret = secret
        self._next_nonce = next_nonce

    async def _read(
        self, call: str, make: Callable[[Any], T], wanted: Mapping[str, Any] | None = None
    ) -> list[T]:
        path = f"v2/auth/r/{call}"
        named = {name: value for name, value in (wanted or {}).items() if value is not None}
        body = msgspec.json.encode(named)

        def sign() -> Signed:
            nonce = self._next_nonce()
            return Signed(rest_headers(self._key, self._secret, path, nonce, body), body)

        request = Request(
            endpoint="private", path=f"/{path}", method="POST", private=True, sign=sign
        )
        return await self.client.call(request, lambda answer: each(make)(read(answer)))

    async def wallets(self) -> list[Wallet]:
        """What is held."""
        return await self._read("wallets", _wallet)

    async def open_orders(self, symbol: str = "") -> list[Order]:
        """Orders that rest, of one symbol or all."""
        return await self._read(f"orders/{quote(symbol, safe=':')}".rstrip("/"), _order)

    async def order_history(
        self,
        symbol: str = "",
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int | None = None,
    ) -> list[Order]:
        """Orders that are closed or cancelled, newest first; at most 2,500."""
        call = f"orders/{quote(symbol, safe=':')}/hist" if symbol else "orders/hist"
        return await self._read(call, _order, {"start": start_ms, "end": end_ms, "limit": limit})


def _wallet(row: Any) -> Wallet:
    return Wallet(
        kind=text(row, 0),
        currency=text(row, 1),
        balance=number(row, 2),
        unsettled_interest=number(row, 3),
        available=number_or_none(row, 4),
    )


def _order(row: Any) -> Order:
    return Order(
        id=integer(row, 0),
        group_id=integer_or_none(row, 1),
        client_id=integer_or_none(row, 2),
        symbol=text(row, 3),
        created_mts=integer(row, 4),
        updated_mts=integer(row, 5),
        amount=number(row, 6),
        amount_original=number(row, 7),
        kind=text(row, 8),
        flags=integer_or_none(row, 12) or 0,
        status=text_or_empty(row, 13),
        price=number_or_none(row, 16),
        price_average=number_or_none(row, 17),
        price_trailing=number_or_none(row, 18),
        price_auxiliary=number_or_none(row, 19),
    )
