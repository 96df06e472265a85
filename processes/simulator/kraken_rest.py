"""Kraken's private REST calls: signed, with a nonce that must grow, errors in `error` at HTTP 200.

Orders go to the same desk as those of the WebSocket. Amounts of money have at least the venue's
five decimals, and more where there are more: nothing is rounded away that a ledger is held against.
Asset and pair names are the old ones (XXBT, XXBTZUSD, altname XBTUSD). Sources: guide
spot-rest-auth, REST pages of account data and spot trading.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from processes.simulator.account import Account
from processes.simulator.delivery import Command
from processes.simulator.kraken_books import order_number, order_text
from processes.simulator.kraken_commands import check_deadline
from processes.simulator.kraken_desk import (
    ARGUMENTS,
    RATE_REFUSED,
    UNAVAILABLE,
    UNKNOWN_ORDER,
    KrakenDesk,
    Wanted,
)
from processes.simulator.kraken_forms import Form, decimal, seconds, selected, whole
from processes.simulator.kraken_listing import known_names, rest_asset
from processes.simulator.kraken_rest_rows import RestText, money_text
from processes.simulator.kraken_session import RefusalError
from processes.simulator.kraken_tokens import TOKEN_S
from processes.simulator.numbers import time_text
from processes.simulator.orders import AccountFill, AccountOrder
from processes.simulator.venue import Venue, json_reply

PREFIX = "/kraken"
CLOSED_SHOWN = 50
TRADES_SHOWN = 50
Call = Callable[[Account, Form, int], Any]


class KrakenRest:
    """The private calls, in front of the desk.

    Args:
        venue: carries commands out, and has the clock and the venue's conduct.
    """

    def __init__(self, venue: Venue, desk: KrakenDesk) -> None:
        self._venue = venue
        self._desk = desk
        self._rows = RestText(venue.accounts.markets)
        self._calls: dict[str, tuple[Call, Command | None]] = {
            "GetWebSocketsToken": (self._token, None),
            "Balance": (self._balance, None),
            "BalanceEx": (self._balance_ex, None),
            "OpenOrders": (self._open_orders, None),
            "ClosedOrders": (self._closed_orders, None),
            "QueryOrders": (self._query_orders, None),
            "TradesHistory": (self._trades_history, None),
            "QueryTrades": (self._query_trades, None),
            "AddOrder": (self._add_order, "order"),
            "AmendOrder": (self._amend_order, "amend"),
            "CancelOrder": (self._cancel_order, "cancel"),
            "CancelAll": (self._cancel_all, "cancel"),
            "CancelAllOrdersAfter": (self._cancel_after, None),
        }

    def routes(self) -> list[web.RouteDef]:
        """One for each call."""
        return [web.post(f"{PREFIX}/0/private/{name}", self._handler(name)) for name in self._calls]

    def _handler(self, name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        call, command = self._calls[name]

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.text()
            form = {key: values[-1] for key, values in parse_qs(body).items()}
            try:
                account = self._judge(request, body, form)
            except RefusalError as refusal:
                return failure(str(refusal))
            if account.faults.takes("rate_limit"):
                return failure(RATE_REFUSED if command else "EAPI:Rate limit exceeded")

            def take() -> web.Response:
                try:
                    return success(call(account, form, self._venue.now_ns()))
                except RefusalError as refusal:
                    return failure(str(refusal))

            if command is None:
                return take()
            return await self._venue.carry_out(request, account, command, take)

        return handle

    def _judge(self, request: web.Request, body: str, form: Form) -> Account:
        """Whose call it is; a good one uses up its nonce.

        Raises:
            RefusalError: it is nobody's, signed wrongly, or was there before.
        """
        if not self._venue.conduct.operative:
            raise RefusalError(UNAVAILABLE)
        account = self._venue.accounts.of(request.headers.get("API-Key", ""))
        if account is None:
            raise RefusalError("EAPI:Invalid key")
        nonce = form.get("nonce", "")
        expected = sign(account.secret, request.path.removeprefix(PREFIX), nonce, body)
        if not hmac.compare_digest(expected, request.headers.get("API-Sign", "")):
            raise RefusalError("EAPI:Invalid signature")
        known = nonce.isdecimal() and len(nonce) < 20 and int(nonce) > account.nonce
        if not known or account.faults.takes("nonce"):
            raise RefusalError("EAPI:Invalid nonce")
        account.nonce = int(nonce)
        return account

    # ---- what is so

    def _token(self, account: Account, form: Form, now_ns: int) -> Any:  # noqa: ARG002
        return {"token": self._desk.tokens.issue(account, now_ns), "expires": TOKEN_S}

    def _balance(self, account: Account, form: Form, now_ns: int) -> Any:  # noqa: ARG002
        balances = account.balances
        return {rest_asset(name): money_text(balances.total(name)) for name in balances.assets}

    def _balance_ex(self, account: Account, form: Form, now_ns: int) -> Any:  # noqa: ARG002
        balances = account.balances
        return {
            rest_asset(name): {
                "balance": money_text(balances.total(name)),
                "hold_trade": money_text(balances.held(name)),
            }
            for name in balances.assets
        }

    def _open_orders(self, account: Account, form: Form, now_ns: int) -> Any:  # noqa: ARG002
        orders = selected(account.open.values(), form)
        return {"open": {order_text(o.id): self._order(o, form) for o in reversed(orders)}}

    def _closed_orders(self, account: Account, form: Form, now_ns: int) -> Any:  # noqa: ARG002
        found = selected(account.closed.values(), form)
        begin_s, end_s = seconds(form, "start", 0), seconds(form, "end", 1 << 40)
        orders = [o for o in reversed(found) if begin_s < o.closed_ns / 1e9 <= end_s]
        first = seconds(form, "ofs", 0)
        shown = orders[first : first + CLOSED_SHOWN]
        return {
            "closed": {order_text(o.id): self._order(o, form) for o in shown},
            "count": len(orders),
        }

    def _query_orders(self, account: Account, form: Form, now_ns: int) -> Any:  # noqa: ARG002
        found = {}
        for text in form.get("txid", "").split(","):
            order = account.order(order_number(text))
            if order is None:
                raise RefusalError(UNKNOWN_ORDER)
            found[text] = self._order(order, form)
        return found

    def _trades_history(self, account: Account, form: Form, now_ns: int) -> Any:  # noqa: ARG002
        begin_s, end_s = seconds(form, "start", 0), seconds(form, "end", 1 << 40)
        fills = [
            fill
            for fill in reversed(account.fills.values())
            if begin_s < fill.time_ns / 1e9 <= end_s
        ]
        first = seconds(form, "ofs", 0)
        shown = fills[first : first + TRADES_SHOWN]
        return {
            "trades": {order_text(fill.id, "T"): self._fill(account, fill) for fill in shown},
            "count": len(fills),
        }

    def _query_trades(self, account: Account, form: Form, now_ns: int) -> Any:  # noqa: ARG002
        found = {}
        for text in form.get("txid", "").split(","):
            fill = account.fills.get(order_number(text))
            if fill is None:
                raise RefusalError("EQuery:Unknown trade")  # not documented
            found[text] = self._fill(account, fill)
        return found

    def _order(self, order: AccountOrder, form: Form) -> dict[str, Any]:
        return self._rows.order(order, trades=form.get("trades", "").lower() == "true")

    def _fill(self, account: Account, fill: AccountFill) -> dict[str, Any]:
        order = account.order(fill.order_id)
        return self._rows.fill(fill, "limit" if order is None else order.request.kind)

    # ---- commands

    def _add_order(self, account: Account, form: Form, now_ns: int) -> Any:
        check_deadline(form, now_ns)
        wanted = self._wanted(form)
        validate = form.get("validate") == "true"
        order = self._desk.place(account, wanted, now_ns, validate=validate)
        request = self._desk.request_of(wanted)
        text = self._rows.description(request.symbol, request.side, request.units, request.ticks)
        answer: dict[str, Any] = {"descr": {"order": text}}
        if order is not None:
            answer["txid"] = [order_text(order.id)]
            if wanted.client_id:
                answer["cl_ord_id"] = wanted.client_id
        return answer

    def _amend_order(self, account: Account, form: Form, now_ns: int) -> Any:
        check_deadline(form, now_ns)
        order = self._named(account, form)[0]
        amend_id = self._desk.amend(
            account, order, now_ns, quantity=decimal(form, "order_qty"),
            price=decimal(form, "limit_price"), post_only=form.get("post_only") == "true",
        )  # fmt: skip
        return {"amend_id": amend_id}

    def _cancel_order(self, account: Account, form: Form, now_ns: int) -> Any:
        orders = self._named(account, form)
        for order in orders:
            self._desk.cancel(account, order, now_ns)
        return {"count": len(orders)}

    def _cancel_all(self, account: Account, form: Form, now_ns: int) -> Any:  # noqa: ARG002
        return {"count": self._desk.cancel_all(account, now_ns)}

    def _cancel_after(self, account: Account, form: Form, now_ns: int) -> Any:
        timeout = form.get("timeout", "")
        seconds = int(timeout) if timeout.isdecimal() and len(timeout) < 10 else None
        due_ns = self._desk.cancel_after(account, seconds, now_ns)
        trigger = time_text(due_ns, 0) if due_ns else "0"
        return {"currentTime": time_text(now_ns, 0), "triggerTime": trigger}

    def _named(self, account: Account, form: Form) -> list[AccountOrder]:
        """By txid (an order's or a user reference) or cl_ord_id."""
        if form.get("cl_ord_id"):
            return self._desk.find(account, client_id=form["cl_ord_id"])
        text = form.get("txid", "")
        userref = whole(text)
        if userref is not None:
            return self._desk.find(account, userref=userref)
        if not text:
            raise RefusalError(ARGUMENTS)
        return self._desk.find(account, order_id=text)

    def _expiry(self, form: Form) -> int | None:
        """Seconds since 1970, or `+` and seconds from now."""
        text = form.get("expiretm", "0")
        seconds = text.removeprefix("+")
        if not seconds.isdecimal() or len(seconds) > 10:
            raise RefusalError(f"{ARGUMENTS}:expiretm")
        if not int(seconds):
            return None
        return int(seconds) * 10**9 + (self._venue.now_ns() if text.startswith("+") else 0)

    def _wanted(self, form: Form) -> Wanted:
        flags = [flag for flag in form.get("oflags", "").split(",") if flag]
        for name in ("leverage", "price2", "close[ordertype]", "displayvol"):
            if form.get(name, "none") not in {"none", "0", ""}:
                raise RefusalError(f"{ARGUMENTS}:{name}")
        if set(flags) - {"post", "fciq", "nompp"}:
            raise RefusalError(f"{ARGUMENTS}:oflags")
        pair = form.get("pair", "")
        symbols = (s for s in self._venue.accounts.markets if pair in known_names(s))
        return Wanted(
            symbol=next(symbols, ""),
            side=form.get("type", ""),
            order_type=form.get("ordertype", ""),
            quantity=decimal(form, "volume"),
            price=decimal(form, "price"),
            time_in_force=form.get("timeinforce", "GTC"),
            post_only="post" in flags,
            reduce_only=form.get("reduce_only") == "true",
            client_id=form.get("cl_ord_id"),
            userref=whole(form.get("userref", "")),
            expires_ns=self._expiry(form),
            self_trade=form.get("stptype", "cancel-newest").replace("-", "_"),
        )


def sign(secret: str, path: str, nonce: str, body: str) -> str:
    """API-Sign: HMAC-SHA512 over the path and the SHA-256 of nonce and body, base64 both ways."""
    inner = hashlib.sha256((nonce + body).encode()).digest()
    mac = hmac.new(base64.b64decode(secret), path.encode() + inner, hashlib.sha512)
    return base64.b64encode(mac.digest()).decode()


def success(result: Any) -> web.Response:
    """An answer."""
    return json_reply(json.dumps({"error": [], "result": result}))


def failure(text: str) -> web.Response:
    """A refusal."""
    return json_reply(json.dumps({"error": [text]}))
