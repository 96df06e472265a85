"""What GMO Coin does with an account's commands: tokens, rules of orders, limits, refusals.

Codes are those of the venue's pages; which one a refusal gets where the pages leave it open is
marked. There is no client order id: whoever loses an answer has to find the order by its looks.
Stop orders, losscut prices and `cancelBefore` are not served (ERR-5106). Knows no socket.
"""

import hashlib
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from msgspec import Struct

from processes.simulator.account import Account
from processes.simulator.accounts import Accounts
from processes.simulator.gmo_private_rows import Row, is_leverage
from processes.simulator.market import BookSide
from processes.simulator.numbers import plain_amount_text
from processes.simulator.orders import (
    AccountOrder,
    OrderRequest,
    RefusedError,
    TimeInForce,
    Why,
    price_ticks,
    quantity_units,
)

TOKEN_NS = 3600 * 10**9
TOKENS_MAX = 5
IDS_MAX = 10
CHANGES_MAX = 20
"""Changes of an order; that there is a limit is documented, its number is not."""
SIDES: dict[str, BookSide] = {"BUY": 1, "SELL": -1}
TERMS: dict[str, TimeInForce] = {"FAS": "gtc", "FAK": "ioc", "FOK": "fok", "SOK": "gtc"}
NO_POST_ONLY = frozenset({"ETH_JPY", "BCH_JPY", "LTC_JPY", "XRP_JPY"})
"""Leverage symbols that take no SOK."""
UNSERVED = ("losscutPrice", "cancelBefore")
PARAMETER = "Invalid request parameter."


class Refusal(Exception):  # noqa: N818 (no error of ours: an answer)
    """A code, and what is said with it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"ERR-{code} {text}")
        self.code = f"ERR-{code}"
        self.text = text


REASONS: dict[Why, tuple[int, str]] = {
    "symbol": (5106, f"{PARAMETER} symbol"),
    "quantity": (5106, f"{PARAMETER} size"),
    "quantity_step": (5114, "The number of decimals exceeds the maximum precision."),
    "quantity_min": (5126, "The amount is less than the minimum order amount."),
    "cost_min": (5126, "The amount is less than the minimum order amount."),
    "price": (5106, f"{PARAMETER} price"),
    "price_step": (5114, "The number of decimals exceeds the maximum precision."),
    "time_in_force": (5111, "Invalid timeInForce."),
    "client_id": (5106, PARAMETER),
    "post_only": (5111, "Invalid timeInForce."),
    "reduce_only": (5106, PARAMETER),
    "insufficient_funds": (201, "Trading margin is insufficient."),
    "unknown_order": (5122, "The order can not be changed or canceled in its status."),
    "amend_below_filled": (5106, PARAMETER),
    "no_position": (254, "The specified position does not exist."),
    "rejected": (5125, "The API is restricted."),  # what a fault asks for; any code would do
}


def refusal_of(why: Why) -> Refusal:
    """The venue's words for a refusal of the exchange."""
    return Refusal(*REASONS[why])


class Tokens:
    """Access tokens: 60 minutes each, five an account; a sixth removes the one that ends first."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._issued = 0
        self._rows: dict[str, tuple[Account, int]] = {}

    def issue(self, account: Account, now_ns: int) -> str:
        """A new one."""
        self._rows = {t: row for t, row in self._rows.items() if row[1] > now_ns}
        own = {t: end_ns for t, (owner, end_ns) in self._rows.items() if owner is account}
        if len(own) >= TOKENS_MAX:
            del self._rows[min(own, key=own.__getitem__)]
        self._issued += 1
        text = f"{self._seed} {account.key} {self._issued}"
        token = hashlib.sha256(text.encode()).hexdigest()[:40]
        self._rows[token] = (account, now_ns + TOKEN_NS)
        return token

    def account_of(self, token: str, now_ns: int) -> Account | None:
        """Whose it is; None if it is nobody's any more."""
        row = self._rows.get(token)
        return row[0] if row is not None and row[1] > now_ns else None

    def extend(self, account: Account, token: object, now_ns: int) -> None:
        """60 minutes from now.

        Raises:
            Refusal: it is not the account's.
        """
        self._check(account, token, now_ns)
        self._rows[str(token)] = (account, now_ns + TOKEN_NS)

    def delete(self, account: Account, token: object, now_ns: int) -> None:
        """End it.

        Raises:
            Refusal: it is not the account's.
        """
        self._check(account, token, now_ns)
        del self._rows[str(token)]

    def _check(self, account: Account, token: object, now_ns: int) -> None:
        if not isinstance(token, str) or self.account_of(token, now_ns) is not account:
            raise Refusal(5106, f"{PARAMETER} token")


class Fields(Struct, frozen=True):
    """An order's fields, checked."""

    symbol: str
    side: BookSide
    is_limit: bool
    term: str
    ticks: int | None
    units: int


class GmoDesk:
    """Commands of all accounts."""

    def __init__(self, accounts: Accounts, seed: int) -> None:
        self.accounts = accounts
        self.tokens = Tokens(seed)

    # ---- orders

    def order(self, account: Account, body: Row, now_ns: int) -> str:
        """A new order: on spot, or one that opens a position."""
        fields = self._fields(body)
        return self._place(account, fields, (), now_ns)

    def close(self, account: Account, body: Row, now_ns: int) -> str:
        """An order that closes the positions it names; its size is theirs."""
        named = body.get("settlePosition")
        if not isinstance(named, list) or not named:
            raise Refusal(5106, f"{PARAMETER} settlePosition")
        wanted: dict[int, int] = {}
        for row in named:
            number = row.get("positionId") if isinstance(row, dict) else None
            if not isinstance(number, int) or number in wanted:
                raise Refusal(5106, f"{PARAMETER} settlePosition")
            wanted[number] = self._fields({**body, "size": row.get("size")}, leverage=True).units
        size = plain_amount_text(sum(wanted.values()))
        fields = self._fields({**body, "size": size}, leverage=True)
        for number, units in wanted.items():
            position = account.positions.open.get(number)
            if position is None or position.symbol != fields.symbol:
                raise Refusal(254, "The specified position does not exist.")
            if position.side == fields.side:
                raise Refusal(70, "The side of the specified position is incorrect.")
            if units > position.units - position.ordered_units:
                raise Refusal(189, "The quantity of your close order exceeds your open position.")
        return self._place(account, fields, tuple(wanted.items()), now_ns)

    def close_bulk(self, account: Account, body: Row, now_ns: int) -> str:
        """An order that closes the oldest positions of the other side."""
        fields = self._fields(body, leverage=True)
        held = account.positions.of(fields.symbol, -fields.side)
        if not held:
            raise Refusal(422, "The specified position does not exist.")
        if fields.units > sum(p.units - p.ordered_units for p in held):
            raise Refusal(200, "Your order exceeds the maximum quantity that can be ordered.")
        closes = account.positions.oldest(fields.symbol, -fields.side, fields.units)
        return self._place(account, fields, closes, now_ns)

    def _place(
        self, account: Account, fields: Fields, closes: tuple[tuple[int, int], ...], now_ns: int
    ) -> str:
        request = OrderRequest(
            symbol=fields.symbol,
            side=fields.side,
            kind="limit" if fields.is_limit else "market",
            units=fields.units,
            ticks=fields.ticks,
            time_in_force=TERMS[fields.term],
            post_only=fields.term == "SOK",
            closes=closes,
            extra={"timeInForce": fields.term},
        )
        try:
            return str(account.place(request, now_ns).id)
        except RefusedError as error:
            coins = fields.side == -1 and not is_leverage(fields.symbol)
            if error.why == "insufficient_funds" and coins:
                raise Refusal(208, "The quantity of your order exceeds your balance.") from error
            raise refusal_of(error.why) from error

    def _fields(self, body: Row, *, leverage: bool = False) -> Fields:
        market = self.accounts.markets.get(str(body.get("symbol")))
        if market is None or (leverage and not is_leverage(market.symbol)):
            raise refusal_of("symbol")
        if any(name in body for name in UNSERVED):
            raise Refusal(5106, f"{PARAMETER} {next(n for n in UNSERVED if n in body)}")
        side, kind = body.get("side"), body.get("executionType")
        if side not in SIDES:
            raise Refusal(5106, f"{PARAMETER} side")
        if kind not in {"MARKET", "LIMIT"}:
            raise Refusal(5106, f"{PARAMETER} executionType")
        is_limit = kind == "LIMIT"
        term = body.get("timeInForce", "FAS" if is_limit else "FAK")
        if term not in (TERMS if is_limit else {"FAK", "FOK"}):
            raise refusal_of("time_in_force")
        if term == "SOK" and market.symbol in NO_POST_ONLY:
            raise refusal_of("time_in_force")
        ticks = None
        if is_limit:
            ticks = self._ticks(market.tick, body.get("price"))
        elif "price" in body:
            raise refusal_of("price")
        size = _decimal(body.get("size"), "size")
        units = quantity_units(size)
        if units is None:
            raise refusal_of("quantity_step")
        if units <= 0:
            raise refusal_of("quantity")
        return Fields(market.symbol, SIDES[side], is_limit, term, ticks, units)

    def _ticks(self, tick: Decimal, price: object) -> int:
        value = _decimal(price, "price")
        if value <= 0:
            raise Refusal(5121, "The order price is too low.")
        ticks = price_ticks(tick, value)
        if ticks is None:
            raise refusal_of("price_step")
        return ticks

    # ---- orders that are there

    def change(self, account: Account, body: Row, now_ns: int) -> None:
        """Another price for an open order."""
        if "losscutPrice" in body:
            raise Refusal(5106, f"{PARAMETER} losscutPrice")
        order = self._open_order(account, body.get("orderId"))
        ticks = self._ticks(order.tick, body.get("price"))
        changes = order.request.extra.get("changes", 0)
        if changes >= CHANGES_MAX:
            raise Refusal(5206, "The limit of changes of the order is exceeded.")
        try:
            account.amend(order, now_ns, ticks=ticks)
        except RefusedError as error:
            raise refusal_of(error.why) from error
        order.request.extra["changes"] = changes + 1

    def cancel(self, account: Account, body: Row, now_ns: int) -> None:
        """Cancel one order."""
        account.cancel(self._open_order(account, body.get("orderId")), now_ns)

    def cancel_several(self, account: Account, body: Row, now_ns: int) -> Row:
        """Cancel up to ten by id: which were, and which could not be."""
        numbers = body.get("orderIds")
        if not isinstance(numbers, list) or not 0 < len(numbers) <= IDS_MAX:
            raise Refusal(5106, f"{PARAMETER} orderIds")
        success, failed = [], []
        for number in numbers:
            try:
                account.cancel(self._open_order(account, number), now_ns)
            except Refusal as refusal:
                said = {"message_code": refusal.code, "message_string": refusal.text}
                failed.append({**said, "orderId": number})
            else:
                success.append(number)
        return {"success": success, "failed": failed}

    def cancel_bulk(self, account: Account, body: Row, now_ns: int) -> list[int]:
        """Cancel the ten oldest (or newest) of some symbols: which ones."""
        symbols, side, settles = body.get("symbols"), body.get("side"), body.get("settleType")
        if not isinstance(symbols, list) or not symbols:
            raise Refusal(5106, f"{PARAMETER} symbols")
        if any(symbol not in self.accounts.markets for symbol in symbols):
            raise Refusal(5106, f"{PARAMETER} symbols")
        if side not in {None, *SIDES}:
            raise Refusal(5106, f"{PARAMETER} side")
        if settles not in {None, "OPEN", "CLOSE"}:
            raise Refusal(5106, f"{PARAMETER} settleType")
        orders = [
            order
            for order in account.open.values()
            if order.symbol in symbols
            and (side is None or order.side == SIDES[side])
            and (settles is None or bool(order.request.closes) == (settles == "CLOSE"))
        ]
        if body.get("desc") is True:
            orders.reverse()
        return self._cancel_all(account, orders[:IDS_MAX], now_ns)

    def _cancel_all(
        self, account: Account, orders: Iterable[AccountOrder], now_ns: int
    ) -> list[int]:
        numbers = []
        for order in orders:
            account.cancel(order, now_ns)
            numbers.append(order.id)
        return numbers

    def _open_order(self, account: Account, number: Any) -> AccountOrder:
        if not isinstance(number, int) or isinstance(number, bool):
            raise Refusal(5106, f"{PARAMETER} orderId")
        order = account.order(number)
        if order is None:
            raise Refusal(5123, "The specified order does not exist.")
        if not order.is_open:
            raise refusal_of("unknown_order")
        return order


def _decimal(value: object, name: str) -> Decimal:
    """A number that was sent as text, as all of them are."""
    if not isinstance(value, str):
        raise Refusal(5106, f"{PARAMETER} {name}")
    try:
        number = Decimal(value)
    except InvalidOperation as error:
        raise Refusal(5106, f"{PARAMETER} {name}") from error
    if not number.is_finite():
        raise Refusal(5106, f"{PARAMETER} {name}")
    return number
