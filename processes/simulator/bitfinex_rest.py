"""Bitfinex's signed REST questions: wallets, orders that are open or closed, executions.

All are POST with a JSON body; times in it are milliseconds. Refusals are ["error", CODE, "text"]
with HTTP 500, one request too many {"error":"ERR_RATE_LIMIT"}. Closed orders are told newest change
first, and not before they have ended. Sources: rest-auth-wallets, rest-auth-retrieve-orders,
rest-auth-orders-history, rest-auth-trades.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from processes.simulator.account import Account
from processes.simulator.bitfinex_desk import BitfinexDesk, RefusalError
from processes.simulator.bitfinex_private_rows import joined, order_row, trade_row, wallets
from processes.simulator.venue import Venue, json_reply

PREFIXES = ("/v2", "/bitfinex/v2")
ROWS = 25
ROWS_MOST = 2500
FAR_MS = 1 << 62
MS = 10**6
Query = dict[str, Any]
Call = Callable[[Account, str, Query], str]
"""Account, symbol or nothing, what the body says; JSON."""
Row = tuple[int, str, str]
"""Time in ms, symbol, JSON."""


class BitfinexRest:
    """The signed questions, in front of the desk.

    Args:
        venue: has the venue's conduct.
    """

    def __init__(self, venue: Venue, desk: BitfinexDesk) -> None:
        self._venue = venue
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """One for each question, and for each of a symbol."""
        calls: dict[str, Call] = {
            "wallets": _wallets,
            "orders": _orders,
            "orders/hist": _closed_orders,
            "orders/{symbol}": _orders,
            "orders/{symbol}/hist": _closed_orders,
            "trades/hist": _trades,
            "trades/{symbol}/hist": _trades,
        }
        return [
            web.post(f"{prefix}/auth/r/{name}", self._handler(call))
            for prefix in PREFIXES
            for name, call in calls.items()
        ]

    def _handler(self, call: Call) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.text()
            try:
                account = self._judge(request, body)
                if account.faults.takes("rate_limit"):
                    return json_reply('{"error":"ERR_RATE_LIMIT"}', status=500)
                return json_reply(call(account, request.match_info.get("symbol", ""), _read(body)))
            except RefusalError as refusal:
                return json_reply(json.dumps(["error", refusal.code, str(refusal)]), status=500)

        return handle

    def _judge(self, request: web.Request, body: str) -> Account:
        """Whose question it is.

        Raises:
            RefusalError: it is not answered.
        """
        if not self._venue.conduct.operative:
            raise RefusalError("maintenance", 20060)
        headers = request.headers
        path = request.path.removeprefix("/bitfinex")
        nonce = headers.get("bfx-nonce", "")
        message = f"/api{path}{nonce}{body}"
        key, signature = headers.get("bfx-apikey"), headers.get("bfx-signature")
        return self._desk.admit(key, nonce, message, signature)


def _wallets(account: Account, _: str, __: Query) -> str:
    return wallets(account, reckoned=True)


def _orders(account: Account, symbol: str, query: Query) -> str:
    numbers = query.get("id")
    return joined(
        order_row(order)
        for order in account.open.values()
        if symbol in {"", order.symbol} and (numbers is None or order.id in numbers)
    )


def _closed_orders(account: Account, symbol: str, query: Query) -> str:
    numbers = query.get("id")
    found = [
        (order.updated_ns // MS, order.symbol, order_row(order))
        for order in account.closed.values()
        if numbers is None or order.id in numbers
    ]
    return _page(found, symbol, query)


def _trades(account: Account, symbol: str, query: Query) -> str:
    found = []
    for fill in account.fills.values():
        order = account.order(fill.order_id)
        if order is not None:
            row = trade_row(fill, order, confirmed=True)
            found.append((fill.time_ns // MS, fill.symbol, row))
    return _page(found, symbol, query)


def _page(rows: list[Row], symbol: str, query: Query) -> str:
    """Rows of a time span, newest first unless `sort` is 1, at most `limit`."""
    start_ms, end_ms = _number(query, "start", 0), _number(query, "end", FAR_MS)
    limit = _number(query, "limit", ROWS)
    if not 0 < limit <= ROWS_MOST:
        raise RefusalError("limit: invalid", 10020)
    found = [row for row in rows if start_ms <= row[0] <= end_ms and symbol in {"", row[1]}]
    found.sort(key=lambda row: row[0], reverse=query.get("sort") != 1)
    return joined(text for _, _, text in found[:limit])


def _number(query: Query, name: str, default: int) -> int:
    value = query.get(name, default)
    if not isinstance(value, int):
        raise RefusalError(f"{name}: invalid", 10020)
    return value


def _read(body: str) -> Query:
    try:
        value = json.loads(body or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RefusalError("body: invalid", 10020)
    return value
