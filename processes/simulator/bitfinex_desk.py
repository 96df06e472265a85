"""What Bitfinex does with orders: keys and nonces, rules, texts of refusals.

The socket stands before this desk, and REST with its questions. Texts are those of published
frames; what no page or frame holds is marked. Nothing here knows a socket.
"""

import hashlib
import hmac
from collections.abc import Sequence
from decimal import ROUND_DOWN, Context, Decimal, InvalidOperation
from typing import Any

from processes.simulator.account import Account
from processes.simulator.accounts import Accounts
from processes.simulator.bitfinex_private_rows import POST_ONLY, REDUCE_ONLY, kind_of, utc_day
from processes.simulator.numbers import plain_amount_text
from processes.simulator.orders import (
    AccountOrder,
    Kind,
    OrderRequest,
    RefusedError,
    TimeInForce,
    Why,
    price_ticks,
    quantity_units,
)

KEY_REFUSED = 10100
NONCE_REFUSED = 10114
NONCE_MOST = 9_007_199_254_740_991
CLIENT_ID_MOST = 1 << 45
"""A `cid` is an int45."""
PRICE_DIGITS = 5
"""Further ones of a price are cut off."""
NOT_FOUND = "Order not found."
KEY_TEXT, SIGNATURE_TEXT, NONCE_TEXT = "apikey: invalid", "apikey: digest invalid", "nonce: small"
TEXTS: dict[Why, str] = {
    "symbol": "symbol: invalid",
    "quantity": "amount: invalid",  # not published
    "quantity_step": "amount: invalid",
    "price": "Invalid price.",
    "price_step": "Invalid price.",
    "time_in_force": "flags: invalid",  # not published
    "client_id": "cid: dup",  # not published
    "reduce_only": "Invalid order: there is no position to reduce",  # not published
    "unknown_order": NOT_FOUND,
    "rejected": "Invalid order.",
}
KINDS: dict[str, tuple[Kind, TimeInForce]] = {
    "EXCHANGE LIMIT": ("limit", "gtc"),
    "EXCHANGE MARKET": ("market", "gtc"),
    "EXCHANGE IOC": ("limit", "ioc"),
    "EXCHANGE FOK": ("limit", "fok"),
}
NOT_SERVED = ("lev", "tif", "price_trailing", "price_aux_limit", "price_oco_stop")


class RefusalError(Exception):
    """A command or a signature is refused; the text is the venue's."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class BitfinexDesk:
    """All accounts of the venue."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts

    # ---- keys

    def admit(self, key: object, nonce: object, message: str, signature: object) -> Account:
        """Whose signature it is; a good one uses up its nonce, over REST and WebSocket alike.

        Raises:
            RefusalError: it is nobody's, signed wrongly, or was there before.
        """
        account = self.accounts.of(key) if isinstance(key, str) else None
        if account is None:
            raise RefusalError(KEY_TEXT, KEY_REFUSED)
        expected = sign(account.secret, message)
        if not isinstance(signature, str) or not hmac.compare_digest(expected, signature):
            raise RefusalError(SIGNATURE_TEXT, KEY_REFUSED)
        text = str(nonce)
        good = text.isdigit() and len(text) < 20 and account.nonce < int(text) <= NONCE_MOST
        if not good or account.faults.takes("nonce"):
            raise RefusalError(NONCE_TEXT, NONCE_REFUSED)
        account.nonce = int(text)
        return account

    # ---- orders

    def place(self, account: Account, wanted: dict[str, Any], now_ns: int) -> AccountOrder:
        """Take an order.

        Raises:
            RefusalError: it is not taken.
        """
        request = self._request(wanted)
        taken = _client_ids(account, now_ns)
        if request.client_id in taken:
            raise RefusalError(TEXTS["client_id"])
        try:
            order = account.place(request, now_ns)
        except RefusedError as error:
            raise RefusalError(_text(account, error.why, request)) from error
        if request.client_id:
            taken.add(request.client_id)
        return order

    def update(self, account: Account, wanted: dict[str, Any], now_ns: int) -> AccountOrder:
        """Change an order in place: `amount` is what shall remain, `delta` what is added to it.

        Raises:
            RefusalError: it is as before.
        """
        order = self._named(account, wanted)
        left = order.side * order.left
        if "amount" in wanted:
            left = _units(wanted["amount"])
        elif "delta" in wanted:
            left += _units(wanted["delta"])
        if left * order.side <= 0:
            raise RefusalError(TEXTS["quantity"])
        ticks = _ticks(order.tick, wanted["price"]) if "price" in wanted else None
        post_only = bool(_flags(wanted) & POST_ONLY)
        units = order.filled_units + abs(left)
        try:
            account.amend(order, now_ns, units=units, ticks=ticks, post_only=post_only)
        except RefusedError as error:
            raise RefusalError(_text(account, error.why, order.request)) from error
        return order

    def cancel(self, account: Account, wanted: dict[str, Any], now_ns: int) -> AccountOrder:
        """Cancel an order, by `id` or by `cid` with `cid_date`.

        Raises:
            RefusalError: there is no such open order.
        """
        order = self._named(account, wanted)
        account.cancel(order, now_ns)
        return order

    def cancel_many(
        self, account: Account, wanted: dict[str, Any], now_ns: int
    ) -> list[AccountOrder]:
        """Cancel those of a list that are there, or `all`."""
        numbers, groups = _list(wanted, "id"), _list(wanted, "gid")
        pairs = [tuple(pair) for pair in _list(wanted, "cid") if isinstance(pair, list)]

        def is_meant(order: AccountOrder) -> bool:
            client_id = order.request.client_id
            return (
                bool(wanted.get("all"))
                or order.id in numbers
                or order.request.extra.get("gid") in groups
                or (client_id != "" and (int(client_id), utc_day(order.created_ns)) in pairs)
            )

        return account.cancel_all(now_ns, only=is_meant)

    # ---- what is wanted

    def _named(self, account: Account, wanted: dict[str, Any]) -> AccountOrder:
        number, client_id = wanted.get("id"), wanted.get("cid")
        order = None
        if isinstance(number, int):
            order = account.open.get(number)
        elif isinstance(client_id, int):
            order = account.by_client_id(str(client_id))
            if order is not None and utc_day(order.created_ns) != wanted.get("cid_date"):
                order = None
        if order is None:
            raise RefusalError(NOT_FOUND)
        return order

    def _request(self, wanted: dict[str, Any]) -> OrderRequest:
        """An order in whole ticks and units.

        Raises:
            RefusalError: it is not as the venue takes it.
        """
        word = wanted.get("type")
        if word not in KINDS:
            margin = isinstance(word, str) and f"EXCHANGE {word}" in KINDS
            raise RefusalError(
                "This pair cannot be traded on margin." if margin else "type: invalid"
            )
        symbol = wanted.get("symbol")
        market = self.accounts.markets.get(symbol) if isinstance(symbol, str) else None
        if market is None:
            raise RefusalError(TEXTS["symbol"])
        for name in NOT_SERVED:
            if wanted.get(name) is not None:
                raise RefusalError(f"{name}: invalid")  # not published
        kind, force = KINDS[word]
        units = _units(wanted.get("amount"))
        flags = _flags(wanted)
        return OrderRequest(
            symbol=market.symbol,
            side=1 if units > 0 else -1,
            kind=kind,
            units=abs(units),
            ticks=_ticks(market.tick, wanted.get("price")) if kind == "limit" else None,
            client_id=_client_id(wanted.get("cid")),
            time_in_force=force,
            post_only=bool(flags & POST_ONLY),
            reduce_only=bool(flags & REDUCE_ONLY),
            extra={"gid": wanted.get("gid")},
        )


def submitted_text(request: OrderRequest) -> str:
    """`Submitting exchange limit buy order for 0.2001 LTC.`"""
    side = "buy" if request.side == 1 else "sell"
    amount = plain_amount_text(request.side * request.units)
    pair = request.symbol[1:]
    base = pair.split(":")[0] if ":" in pair else pair[:3]
    return f"Submitting {kind_of(request).lower()} {side} order for {amount} {base}."


def sign(secret: str, message: str) -> str:
    """HMAC-SHA384, in hex."""
    return hmac.new(secret.encode(), message.encode(), hashlib.sha384).hexdigest()


def _client_ids(account: Account, now_ns: int) -> set[str]:
    """Client ids of the account's orders of the day."""
    today = utc_day(now_ns)
    known: set[str]
    day, known = account.memory.get("client_ids", ("", set()))
    if day != today:
        known = set()
        account.memory["client_ids"] = (today, known)
    return known


def _client_id(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < CLIENT_ID_MOST:
        raise RefusalError("cid: invalid")
    return str(value)


def _decimal(value: object, refusal: str) -> Decimal:
    """Decimal text; a bare number is none here."""
    try:
        found = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        found = None
    if found is None or not found.is_finite():
        raise RefusalError(refusal)
    return found


def _units(value: object) -> int:
    """A signed amount."""
    amount = _decimal(value, TEXTS["quantity"])
    units = quantity_units(abs(amount))
    if not units:
        raise RefusalError(TEXTS["quantity"])
    return units if amount > 0 else -units


def _ticks(tick: Decimal, value: object) -> int:
    price = _decimal(value, TEXTS["price"])
    cut = Context(prec=PRICE_DIGITS, rounding=ROUND_DOWN).plus(price)
    ticks = price_ticks(tick, cut)
    if ticks is None or ticks <= 0:
        raise RefusalError(TEXTS["price"])
    return ticks


def _flags(wanted: dict[str, Any]) -> int:
    flags = wanted.get("flags", 0)
    if not isinstance(flags, int) or flags & ~(POST_ONLY | REDUCE_ONLY):
        raise RefusalError("flags: invalid")  # not published
    return flags


def _list(wanted: dict[str, Any], name: str) -> Sequence[Any]:
    found = wanted.get(name, [])
    if not isinstance(found, list):
        raise RefusalError(f"{name}: invalid")  # not published
    return found


def _text(account: Account, why: Why, request: OrderRequest) -> str:
    """A refusal in the venue's words."""
    listing = account.rules.listing(request.symbol)
    if why == "quantity_min":
        least = plain_amount_text(listing.min_units)
        return f"Invalid order: minimum size for {listing.base}/{listing.quote} is {least}"
    if why == "insufficient_funds":
        amount = plain_amount_text(request.side * request.units)
        return f"Invalid order: not enough exchange balance for {amount} {request.symbol[1:]}"
    return TEXTS.get(why, TEXTS["rejected"])
