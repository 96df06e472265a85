"""Bitfinex over REST: what an account holds, has ordered and has traded, read only.

Source: docs.bitfinex.com, "Authenticated Endpoints".

Nothing here sends or changes an order. Nonces come from the caller, since they must rise over all
processes and sockets of a key; each attempt takes a new one.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from schemas.account import Fill, OrderUpdate
from schemas.errors import AnswerError, DecodeError
from venues.bitfinex.account import Row, fill_of, order_update
from venues.bitfinex.rest import read
from venues.bitfinex.signing import rest_headers
from venues.exact import each, number, number_or_none, text
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
        return await self.client.call(
            request, lambda answer: each(lambda row: _made(call, make, row))(read(answer))
        )

    async def wallets(self) -> list[Wallet]:
        """What is held."""
        return await self._read("wallets", _wallet)

    async def open_orders(self) -> list[OrderUpdate]:
        """Orders that rest, all of them."""
        return await self._read("orders", lambda row: order_update(Row(row), "os"))

    async def closed_orders(
        self, start_ms: int | None = None, end_ms: int | None = None, limit: int | None = None
    ) -> list[OrderUpdate]:
        """Orders that are over, newest first; at most 2,500, of the last two weeks or so."""
        wanted = {"start": start_ms, "end": end_ms, "limit": limit}
        return await self._read("orders/hist", lambda row: order_update(Row(row), "oc"), wanted)

    async def fills(
        self, start_ms: int | None = None, end_ms: int | None = None, limit: int | None = None
    ) -> list[Fill]:
        """Executions with their fees, newest first; at most 2,500."""
        wanted = {"start": start_ms, "end": end_ms, "limit": limit}
        return await self._read("trades/hist", lambda row: fill_of(Row(row)), wanted)


def _made(call: str, make: Callable[[Any], T], row: Any) -> T:
    """A row's record.

    Raises:
        AnswerError: it is none.
    """
    try:
        return make(row)
    except (DecodeError, ArithmeticError) as error:
        raise AnswerError(f"{call}: {error}") from None


def _wallet(row: Any) -> Wallet:
    return Wallet(
        kind=text(row, 0),
        currency=text(row, 1),
        balance=number(row, 2),
        unsettled_interest=number(row, 3),
        available=number_or_none(row, 4),
    )
