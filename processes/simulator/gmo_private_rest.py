"""GMO Coin's private REST calls: signed with a timestamp, counted a second, refused by code.

A signature is over timestamp, method, path from /v1 on without its query, and the body; but PUT and
DELETE of ws-auth, which send one, are signed without it. There is no nonce, so a request may be
seen twice. The window of the timestamp is not published: five seconds here. Source:
api.coin.z.com/docs.
"""

import hashlib
import hmac
import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web

from processes.simulator.account import Account
from processes.simulator.balances import atoms_text
from processes.simulator.delivery import Command
from processes.simulator.gmo_private_desk import IDS_MAX, PARAMETER, GmoDesk, Refusal
from processes.simulator.gmo_private_rows import (
    Row,
    execution_row,
    is_leverage,
    order_row,
    position_row,
    sum_row,
    unrealised,
)
from processes.simulator.numbers import plain_price_text, time_text
from processes.simulator.orders import AccountFill
from processes.simulator.venue import Venue, json_reply

PREFIX = "/gmo/private"
WINDOW_MS = 5000
PER_SECOND = 20
"""Of GET, and of everything else; tier 1."""
SECOND_NS = 10**9
PAGE_ROWS = 100
LATEST_NS = 24 * 3600 * SECOND_NS
TOO_MANY = Refusal(5003, "Requests are too many.")
Call = Callable[[Account, Row, int], Any]
"""Takes whose call it is, what was sent with it, and the time; returns `data`."""


class GmoPrivateRest:
    """The private calls, in front of the desk.

    Args:
        venue: carries commands out, and has the clock and the venue's conduct.
    """

    def __init__(self, venue: Venue, desk: GmoDesk, leverage: int) -> None:
        self._venue = venue
        self._desk = desk
        self._leverage = leverage
        self._counts: dict[tuple[str, bool], deque[int]] = {}
        tokens = desk.tokens
        self._calls: dict[tuple[str, str], tuple[Call, Command | None]] = {
            ("GET", "account/assets"): (self._assets, None),
            ("GET", "account/margin"): (self._margin, None),
            ("GET", "orders"): (self._orders, None),
            ("GET", "activeOrders"): (self._active_orders, None),
            ("GET", "executions"): (self._executions, None),
            ("GET", "latestExecutions"): (self._latest_executions, None),
            ("GET", "openPositions"): (self._open_positions, None),
            ("GET", "positionSummary"): (self._position_summary, None),
            ("POST", "order"): (desk.order, "order"),
            ("POST", "closeOrder"): (desk.close, "order"),
            ("POST", "closeBulkOrder"): (desk.close_bulk, "order"),
            ("POST", "changeOrder"): (desk.change, "amend"),
            ("POST", "cancelOrder"): (desk.cancel, "cancel"),
            ("POST", "cancelOrders"): (desk.cancel_several, "cancel"),
            ("POST", "cancelBulkOrder"): (desk.cancel_bulk, "cancel"),
            ("POST", "ws-auth"): (lambda owner, _, now_ns: tokens.issue(owner, now_ns), None),
            ("PUT", "ws-auth"): (lambda o, b, t: tokens.extend(o, b.get("token"), t), None),
            ("DELETE", "ws-auth"): (lambda o, b, t: tokens.delete(o, b.get("token"), t), None),
        }

    def routes(self) -> list[web.RouteDef]:
        """One for each call; what is beside them has no path."""
        return [
            web.route(method, f"{PREFIX}/v1/{name}", self._handler(method, name))
            for method, name in self._calls
        ]

    def _handler(
        self, method: str, name: str
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        call, command = self._calls[method, name]

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.text()
            try:
                account = self._judge(request, body)
                sent = dict(request.query) if method == "GET" else _as_object(body)
            except Refusal as refusal:
                return self._failure(refusal)

            def take() -> web.Response:
                try:
                    return self._success(call(account, sent, self._venue.now_ns()))
                except Refusal as refusal:
                    return self._failure(refusal)

            if command is None:
                return take()
            return await self._venue.carry_out(request, account, command, take)

        return handle

    # ---- who asks

    def _judge(self, request: web.Request, body: str) -> Account:
        """Whose call it is.

        Raises:
            Refusal: nobody's, signed wrongly, at a wrong time, or one too many.
        """
        if not self._venue.conduct.operative:
            raise Refusal(5201, "MAINTENANCE. Please wait for a while")
        key, stamp = request.headers.get("API-KEY", ""), request.headers.get("API-TIMESTAMP", "")
        if not key:
            raise Refusal(5011, "The API-KEY is empty.")
        if not stamp.isdecimal() or len(stamp) > 15:
            raise Refusal(5007, "The API-TIMESTAMP is not set, or is no number.")
        account = self._venue.accounts.of(key)
        if account is None:
            raise Refusal(5012, "The API authentication is invalid.")
        signed = "" if request.method in {"GET", "PUT", "DELETE"} else body
        path = request.path.removeprefix(PREFIX)
        expected = sign(account.secret, f"{stamp}{request.method}{path}{signed}")
        if not hmac.compare_digest(expected, request.headers.get("API-SIGN", "")):
            raise Refusal(5010, "The API-SIGN is invalid.")
        self._check_time(account, int(stamp))
        self._count(account, reads=request.method == "GET")
        return account

    def _check_time(self, account: Account, stamp_ms: int) -> None:
        ahead_ms = stamp_ms - self._venue.now_ns() // 10**6
        if ahead_ms > WINDOW_MS:
            raise Refusal(5008, "The API-TIMESTAMP is later than the system time.")
        if ahead_ms < -WINDOW_MS or account.faults.takes("nonce"):
            raise Refusal(5009, "The API-TIMESTAMP is earlier than the system time.")

    def _count(self, account: Account, *, reads: bool) -> None:
        times = self._counts.setdefault((account.key, reads), deque(maxlen=PER_SECOND))
        now_ns = self._venue.now_ns()
        full = len(times) == PER_SECOND and now_ns - times[0] < SECOND_NS
        if full or account.faults.takes("rate_limit"):
            raise TOO_MANY
        times.append(now_ns)

    # ---- answers

    def _success(self, data: Any) -> web.Response:
        stamp = time_text(self._venue.now_ns(), 3)
        answer = {"status": 0, "data": data, "responsetime": stamp}
        if data is None:
            del answer["data"]
        return json_reply(json.dumps(answer))

    def _failure(self, refusal: Refusal) -> web.Response:
        said = {"message_code": refusal.code, "message_string": refusal.text}
        stamp = time_text(self._venue.now_ns(), 3)
        answer = {"status": 5, "messages": [said], "responsetime": stamp}
        return json_reply(json.dumps(answer), 401 if refusal.code == "ERR-5012" else 200)

    # ---- what is so

    def _assets(self, account: Account, sent: Row, now_ns: int) -> Any:  # noqa: ARG002
        balances = account.balances
        return [
            {
                "amount": atoms_text(balances.total(name)),
                "available": atoms_text(balances.available(name)),
                "conversionRate": self._rate(name),
                "symbol": name,
            }
            for name in balances.assets
        ]

    def _rate(self, asset: str) -> str:
        """Yen for one."""
        for symbol in (asset, f"{asset}_JPY"):
            if symbol in self._venue.histories:
                history = self._venue.histories[symbol]
                return plain_price_text(history.market.tick, history.last)
        return "1" if asset == "JPY" else "0"

    def _margin(self, account: Account, sent: Row, now_ns: int) -> Any:  # noqa: ARG002
        positions = account.positions.open.values()
        markets, balances = self._venue.accounts.markets, account.balances
        open_profit = sum(unrealised(p, markets[p.symbol]) for p in positions)
        held = sum(position.margin for position in positions)
        equity = balances.total("JPY") + open_profit
        ratio = {"marginRatio": str(equity * 100 // held)} if held else {}
        return {
            "actualProfitLoss": atoms_text(equity),
            "availableAmount": atoms_text(balances.available("JPY")),
            "margin": atoms_text(held),
            "marginCallStatus": "NORMAL",
            **ratio,
            "profitLoss": atoms_text(open_profit),
            "transferableAmount": atoms_text(balances.available("JPY")),
        }

    def _orders(self, account: Account, sent: Row, now_ns: int) -> Any:  # noqa: ARG002
        numbers = _ids(sent, "orderId")
        found = [account.order(number) for number in numbers]
        return _listed([order_row(order) for order in found if order is not None])

    def _active_orders(self, account: Account, sent: Row, now_ns: int) -> Any:  # noqa: ARG002
        symbol = self._symbol(sent)
        orders = [o for o in reversed(account.open.values()) if o.symbol == symbol]
        return _paged(sent, [order_row(order) for order in orders])

    def _executions(self, account: Account, sent: Row, now_ns: int) -> Any:  # noqa: ARG002
        if "orderId" in sent and "executionId" in sent:
            raise Refusal(5208, "OrderId and executionId cannot be used at the same time.")
        if "executionId" in sent:
            numbers = _ids(sent, "executionId")
            fills = [fill for fill in map(account.fills.get, numbers) if fill is not None]
        else:
            order = account.order(_ids(sent, "orderId")[0])
            known = () if order is None else reversed(order.fills)
            fills = [account.fills[number] for number in known if number in account.fills]
        return _listed(self._fill_rows(account, fills))

    def _latest_executions(self, account: Account, sent: Row, now_ns: int) -> Any:
        symbol = self._symbol(sent)
        fills = [
            fill
            for fill in reversed(account.fills.values())
            if fill.symbol == symbol and fill.time_ns > now_ns - LATEST_NS
        ]
        return _paged(sent, self._fill_rows(account, fills))

    def _fill_rows(self, account: Account, fills: Iterable[AccountFill]) -> list[Row]:
        rows = []
        for fill in fills:
            order = account.order(fill.order_id)
            closes = order is not None and order.request.closes
            rows.append(execution_row(fill, "CLOSE" if closes else "OPEN"))
        return rows

    def _open_positions(self, account: Account, sent: Row, now_ns: int) -> Any:  # noqa: ARG002
        symbol = self._symbol(sent, leverage=True)
        market = self._venue.accounts.markets[symbol]
        held = [p for p in reversed(account.positions.open.values()) if p.symbol == symbol]
        return _paged(sent, [position_row(p, market, self._leverage) for p in held])

    def _position_summary(self, account: Account, sent: Row, now_ns: int) -> Any:  # noqa: ARG002
        wanted = self._symbol(sent, leverage=True) if "symbol" in sent else None
        sides = {(p.symbol, p.side) for p in account.positions.open.values()}
        return _listed(
            [
                sum_row(account, symbol, side)
                for symbol, side in sorted(sides)
                if wanted in {None, symbol}
            ]
        )

    def _symbol(self, sent: Row, *, leverage: bool = False) -> str:
        symbol = str(sent.get("symbol", ""))
        if symbol not in self._venue.accounts.markets or (leverage and not is_leverage(symbol)):
            raise Refusal(5106, f"{PARAMETER} symbol")
        return symbol


def sign(secret: str, text: str) -> str:
    """API-SIGN: hex HMAC-SHA256."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def _as_object(body: str) -> Row:
    try:
        value = json.loads(body or "{}")
    except (ValueError, RecursionError) as error:
        raise Refusal(5106, PARAMETER) from error
    if not isinstance(value, dict):
        raise Refusal(5106, PARAMETER)
    return value


def _ids(sent: Row, name: str) -> list[int]:
    """Up to ten numbers with commas between them."""
    texts = str(sent.get(name, "")).split(",")
    if len(texts) > IDS_MAX or not all(text.isdecimal() and len(text) < 20 for text in texts):
        raise Refusal(5106, f"{PARAMETER} {name}")
    return [int(text) for text in texts]


def _listed(rows: list[Row]) -> Row:
    """Nothing has no list."""
    return {"list": rows} if rows else {}


def _paged(sent: Row, rows: list[Row]) -> Row:
    """One page; a page with nothing has no list."""
    numbers = [str(sent.get("page", 1)), str(sent.get("count", PAGE_ROWS))]
    if not all(text.isdecimal() and 0 < len(text) < 9 for text in numbers):
        raise Refusal(5106, f"{PARAMETER} page")
    page, count = max(int(numbers[0]), 1), min(max(int(numbers[1]), 1), PAGE_ROWS)
    shown = rows[(page - 1) * count : page * count]
    return {"pagination": {"currentPage": page, "count": len(shown)}, **_listed(shown)}
