"""GMO Coin's private calls that change something: orders, changes, cancels, access tokens.

Source: api.coin.z.com/docs, "Private API". Each is sent once: no call here is ever repeated. What
the venue answers to a cancel or a change is that it took the request, and not that it is done.
Raises VenueError with the venue's code where it refuses.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from schemas.errors import AnswerError, RefusedError
from venues.exact import integer, part, rows, show, text
from venues.gmo.private_rest import IDS_MAX, MS_NS
from venues.gmo.rest import read
from venues.gmo.signing import PREFIX, rest_headers
from venues.rest import Request, RestClient, Sending, Signed

T = TypeVar("T")
CANCELED_MAX: Final = 10
"""So many orders one cancelBulkOrder cancels at most."""
KEY_CODES: Final = frozenset(
    {"ERR-5010", "ERR-5011", "ERR-5012", "ERR-5014", "ERR-5125", "ERR-5127"}
)
"""The key, its rights or its signature are wrong; a wrong timestamp is not among them."""


class CancelFailure(Struct, frozen=True, kw_only=True):
    """An order that could not be canceled with others."""

    order_id: int
    code: str
    text: str


class GmoOrderRest:
    """The changing calls of one key. The secret is kept in memory only."""

    def __init__(self, client: RestClient, key: str, secret: str) -> None:
        self.client = client
        self._key = key
        self._secret = secret

    async def _call(
        self,
        call: str,
        content: Mapping[str, Any],
        make: Callable[[Any], T],
        *,
        method: str = "POST",
        sending: Sending | None = None,
    ) -> T:
        path, body = f"{PREFIX}/v1/{call}", msgspec.json.encode(content)

        def sign() -> Signed:
            now_ms = self.client.tools.utc_ns() // MS_NS
            headers = rest_headers(self._key, self._secret, now_ms, method, path, body)
            return Signed(headers, body)

        request = Request(
            endpoint="orders", path=path, method=method, body=body, harmless=False, private=True,
            sign=sign, sending=sending,
        )  # fmt: skip
        return await self.client.call(request, lambda answer: make(read(answer)))

    # ---- orders

    async def order(self, body: Mapping[str, Any], sending: Sending | None = None) -> str:
        """A new order (`order_body`); its id."""
        return await self._call("order", body, _id, sending=sending)

    async def close_bulk(self, body: Mapping[str, Any], sending: Sending | None = None) -> str:
        """An order that closes the oldest positions of the other side, and opens none; its id."""
        return await self._call("closeBulkOrder", body, _id, sending=sending)

    async def close(
        self, body: Mapping[str, Any], positions: Mapping[int, str], sending: Sending | None = None
    ) -> str:
        """An order that closes the positions that are named, each with its size; its id."""
        named = [{"positionId": number, "size": size} for number, size in positions.items()]
        content = {key: value for key, value in body.items() if key != "size"}
        return await self._call(
            "closeOrder", {**content, "settlePosition": named}, _id, sending=sending
        )

    async def change(self, order_id: int, price: str) -> None:
        """Another price for an open order; the venue limits how often."""
        await self._call("changeOrder", {"orderId": order_id, "price": price}, _nothing)

    async def cancel(self, order_id: int) -> None:
        """Ask for the cancel of one order."""
        await self._call("cancelOrder", {"orderId": order_id}, _nothing)

    async def cancel_several(self, order_ids: Sequence[int]) -> list[CancelFailure]:
        """Ask for the cancel of up to ten; those that it was not taken for."""
        assert 0 < len(order_ids) <= IDS_MAX, "the venue takes 1 to 10 ids"
        content = {"orderIds": list(order_ids)}
        return await self._call("cancelOrders", content, _failures)

    async def cancel_bulk(
        self, symbols: Sequence[str], *, side: str = "", settle_type: str = ""
    ) -> list[int]:
        """Ask for the cancel of the ten oldest of these symbols; which ones they are."""
        content: dict[str, Any] = {"symbols": list(symbols)}
        content |= {"side": side} if side else {}
        content |= {"settleType": settle_type} if settle_type else {}
        return await self._call("cancelBulkOrder", content, _numbers)

    # ---- access tokens

    async def create(self) -> str:
        """A token for the private socket's address."""
        try:
            return await self._call("ws-auth", {}, _token)
        except AnswerError:
            # Its text shows what came, and that may be a token.
            raise AnswerError("POST ws-auth: an answer that cannot be read") from None

    async def extend(self, token: str) -> None:
        """60 minutes from now."""
        await self._call("ws-auth", {"token": token}, _nothing, method="PUT")

    async def delete(self, token: str) -> None:
        """Give a token back."""
        await self._call("ws-auth", {"token": token}, _nothing, method="DELETE")


def is_key_refusal(error: Exception) -> bool:
    """Whether a refusal is of the key itself, so that trying again soon is of no use."""
    return isinstance(error, RefusedError) and error.code in KEY_CODES


def _nothing(value: Any) -> None:
    del value


def _id(value: Any) -> str:
    if not (isinstance(value, str) and value.isascii() and value.isdigit()):
        raise AnswerError(f"an order's id is {show(value)}")
    return value


def _token(value: Any) -> str:
    if not (isinstance(value, str) and value.isascii() and value.isalnum()):
        raise AnswerError("ws-auth answers with no token")
    return value


def _numbers(value: Any) -> list[int]:
    listed = rows(value if value is not None else [])
    return [integer(listed, place) for place in range(len(listed))]


def _failures(value: Any) -> list[CancelFailure]:
    return [
        CancelFailure(
            order_id=integer(row, "orderId"),
            code=text(row, "message_code"),
            text=text(row, "message_string"),
        )
        for row in rows(part(value, "failed") or [])
    ]
