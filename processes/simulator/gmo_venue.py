"""GMO Coin as a venue: its sockets, its public REST calls, its truth.

In maintenance sockets are refused with HTTP 503 and REST answers ERR-5201, but for `status`. An
unknown symbol, path or interval is ERR-5207 with HTTP 404. Source: api.coin.z.com/docs.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiohttp import web

from processes.simulator.conversation import Conversation
from processes.simulator.flow import LOTS
from processes.simulator.gmo import (
    CommandLimit,
    GmoConnection,
    levels_text,
    ticker_fields,
    trade_fields,
    trade_sides,
)
from processes.simulator.gmo_private import GmoPrivateConnection
from processes.simulator.gmo_private_desk import GmoDesk
from processes.simulator.gmo_private_rest import GmoPrivateRest
from processes.simulator.history import DAY, GMO_FRAMES, JST_DAY_S, History
from processes.simulator.market import UNITS, BookSide
from processes.simulator.numbers import (
    plain_amount_text,
    plain_price_text,
    plain_text,
    time_text,
)
from processes.simulator.orders import Listing, Rules
from processes.simulator.venue import (
    Level,
    Venue,
    handler,
    json_reply,
    whole_number,
)

PREFIX = "/gmo/public/v1"
PRIVATE_SOCKET = "/gmo/ws/private/v1/"
BOOK_LEVELS = 500
PAGE_ROWS = 100
LEVERAGE = 2
BY_DAY = ("1min", "5min", "10min", "15min", "30min", "1hour")
"""Candles that are asked for by the day; longer ones by the year."""
MAINTENANCE = ("ERR-5201", "MAINTENANCE. Please wait for a while")
UNKNOWN = ("ERR-5207", "The setting value of symbol, interval or date is invalid.")


class GmoVenue(Venue):
    """GMO Coin."""

    name = "gmo"
    sockets = ("/gmo/ws/public/v1", f"{PRIVATE_SOCKET}{{token}}")
    frames = GMO_FRAMES

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.limit = CommandLimit(self.settings.gmo_too_fast)
        self._private_limit = CommandLimit(self.settings.gmo_too_fast)
        self.desk = GmoDesk(self.accounts, self.settings.seed)
        self._rest = GmoPrivateRest(self, self.desk, LEVERAGE)

    def open(
        self, path: str, send: Callable[[str], None], now_ns: int, number: int
    ) -> Conversation:
        """A socket in front of the markets, or of the account whose token is in its path."""
        if path.startswith(PRIVATE_SOCKET):
            token = path.removeprefix(PRIVATE_SOCKET)
            account = self.desk.tokens.account_of(token, now_ns)
            assert account is not None, "such a socket is refused"
            options = {**self.socket_options(path, number), "limit": self._private_limit}
            return GmoPrivateConnection(
                self.desk.tokens, token, account, LEVERAGE, send, now_ns, **options
            )
        return GmoConnection(self.histories, send, now_ns, **self.socket_options(path, number))

    def socket_options(self, path: str, number: int) -> dict[str, Any]:  # noqa: ARG002
        """The command limit is that of all sockets."""
        return {
            "limit": self.limit,
            "conduct": self.conduct,
            "ping_ns": int(self.settings.gmo_ping_s * 1e9),
        }

    @property
    def refuses_sockets(self) -> bool:
        """True in maintenance."""
        return not self.conduct.operative

    def refusal_of(self, path: str, now_ns: int) -> int:
        """401 for a token that is none (not documented)."""
        token = path.removeprefix(PRIVATE_SOCKET)
        private = path.startswith(PRIVATE_SOCKET)
        return 401 if private and self.desk.tokens.account_of(token, now_ns) is None else 0

    def routes(self) -> list[web.RouteDef]:
        """The public calls, and the signed ones."""
        calls = {
            "ticker": self._ticker,
            "orderbooks": self._orderbooks,
            "trades": self._trades,
            "klines": self._klines,
            "symbols": self._symbols,
        }
        routes = [web.get(f"{PREFIX}/{n}", handler(self._open_only(c))) for n, c in calls.items()]
        routes.append(web.get(f"{PREFIX}/status", handler(self._status)))
        return [*routes, *self._rest.routes()]

    def rules(self) -> Rules:
        """Fees in yen, fractions of a yen dropped; a post-only order that would match expires."""
        return Rules(listing=listing_of, fee_decimals=0, refuses_post_only=False)

    # ---- truth

    def true_book(self, symbol: str, options: dict[str, Any]) -> dict[BookSide, list[Level]]:
        """(price, size). Option `depth` (30)."""
        market, depth = self.history(symbol).market, int(options.get("depth", 30))
        sides: tuple[BookSide, BookSide] = (1, -1)
        return {
            side: [
                (plain_price_text(market.tick, ticks), plain_amount_text(units))
                for ticks, _, units in market.levels(side, depth)
            ]
            for side in sides
        }

    def true_trades(self, symbol: str) -> list[Level]:
        """Price, side of the taker, size, timestamp."""
        history = self.history(symbol)
        tick = history.market.tick
        return [
            (
                plain_price_text(tick, t.ticks), "BUY" if t.side == 1 else "SELL",
                plain_amount_text(t.units), time_text(t.time_ns, 3),
            )
            for t in history.trades
        ]  # fmt: skip

    def true_candles(self, symbol: str, timeframe: str) -> list[Level]:
        """openTime, open, high, low, close, volume."""
        return [
            tuple(json.loads(text).values()) for _, text in _klines(self.history(symbol), timeframe)
        ]

    # ---- REST

    def _open_only(
        self, call: Callable[[web.Request], web.Response]
    ) -> Callable[[web.Request], web.Response]:
        def answer(request: web.Request) -> web.Response:
            return call(request) if self.conduct.operative else self._failure(5, *MAINTENANCE)

        return answer

    def _success(self, data: str) -> web.Response:
        stamp = time_text(self.now_ns(), 3)
        return json_reply(f'{{"status":0,"data":{data},"responsetime":"{stamp}"}}')

    def _failure(self, status: int, code: str, text: str, http: int = 200) -> web.Response:
        body = {
            "status": status,
            "messages": [{"message_code": code, "message_string": text}],
            "responsetime": time_text(self.now_ns(), 3),
        }
        return json_reply(json.dumps(body), http)

    def _unknown(self) -> web.Response:
        return self._failure(4, *UNKNOWN, http=404)

    def _status(self, _: web.Request) -> web.Response:
        return self._success(
            f'{{"status":"{"OPEN" if self.conduct.operative else "MAINTENANCE"}"}}'
        )

    def _ticker(self, request: web.Request) -> web.Response:
        symbol = request.query.get("symbol")
        if symbol is not None and symbol not in self.histories:
            return self._unknown()
        stamp = time_text(self.now_ns(), 3)
        rows = [
            f'{{{ticker_fields(history)},"timestamp":"{stamp}"}}'
            for name, history in self.histories.items()
            if symbol in {None, name}
        ]
        return self._success(f"[{','.join(rows)}]")

    def _asked(self, request: web.Request) -> History | None:
        return self.histories.get(request.query.get("symbol", ""))

    def _orderbooks(self, request: web.Request) -> web.Response:
        history = self._asked(request)
        if history is None:
            return self._unknown()
        asks, bids = levels_text(history, -1, BOOK_LEVELS), levels_text(history, 1, BOOK_LEVELS)
        symbol = history.market.symbol
        return self._success(f'{{"asks":[{asks}],"bids":[{bids}],"symbol":"{symbol}"}}')

    def _trades(self, request: web.Request) -> web.Response:
        """Both sides of each match, newest first."""
        history = self._asked(request)
        if history is None:
            return self._unknown()
        page = max(whole_number(request, "page", 1), 1)
        count = min(max(whole_number(request, "count", PAGE_ROWS), 1), PAGE_ROWS)
        rows = [
            f"{{{trade_fields(history, trade, side)}}}"
            for trade in reversed(history.since(max(history.total - page * count, 0)))
            for side in reversed(trade_sides(trade, taker_only=False))
        ][(page - 1) * count : page * count]
        pages = f'{{"currentPage":{page},"count":{count}}}'
        return self._success(f'{{"pagination":{pages},"list":[{",".join(rows)}]}}')

    def _klines(self, request: web.Request) -> web.Response:
        history, interval = self._asked(request), request.query.get("interval", "")
        span_ms = _date_span_ms(request.query.get("date", ""), interval)
        if history is None or span_ms is None:
            return self._unknown()
        rows = [
            text
            for start_ms, text in _klines(history, interval)
            if span_ms[0] <= start_ms < span_ms[1]
        ]
        return self._success(f"[{','.join(rows)}]")

    def _symbols(self, _: web.Request) -> web.Response:
        rows = []
        for symbol, history in self.histories.items():
            step = LOTS.get(symbol, "0.00000001")
            rows.append(
                {
                    "symbol": symbol,
                    "minCloseOrderSize": step if "_" in symbol else None,
                    "maxOrderSize": "100000",
                    "sizeStep": step,
                    "tickSize": plain_text(history.market.tick),
                    "minOrderSize": step,
                    "takerFee": "0" if "_" in symbol else "0.0005",
                    "makerFee": "0" if "_" in symbol else "-0.0001",
                }
            )
        return self._success(json.dumps(rows))


def listing_of(symbol: str) -> Listing:
    """What orders of a symbol are held against: spot with fees, leverage symbols without."""
    step = round(Decimal(LOTS.get(symbol, "0.00000001")) * UNITS)
    if symbol.endswith("_JPY"):
        return Listing(
            symbol=symbol, base=symbol.removesuffix("_JPY"), quote="JPY", taker_parts=0,
            maker_parts=0, step_units=step, min_units=step, leverage=LEVERAGE,
        )  # fmt: skip
    return Listing(
        symbol=symbol, base=symbol, quote="JPY", taker_parts=500, maker_parts=-100,
        step_units=step, min_units=step,
    )  # fmt: skip


def _klines(history: History, interval: str) -> list[tuple[int, str]]:
    """(begin in ms, the candle's JSON), oldest first."""
    tick = history.market.tick
    found = []
    for c in history.candles[interval]:
        prices = {"open": c.open, "high": c.high, "low": c.low, "close": c.close}
        texts = ",".join(f'"{k}":"{plain_price_text(tick, v)}"' for k, v in prices.items())
        text = f'{{"openTime":"{c.start_ms}",{texts},"volume":"{plain_amount_text(c.units)}"}}'
        found.append((c.start_ms, text))
    return found


def _date_span_ms(date: str, interval: str) -> tuple[int, int] | None:
    """Begin and end of a day that starts at 06:00 in Japan, or of a year; None if there is none."""
    if interval not in GMO_FRAMES or not date.isdigit():
        return None
    try:
        if interval in BY_DAY and len(date) == 8:
            begin = datetime(int(date[:4]), int(date[4:6]), int(date[6:]), tzinfo=UTC)
            end_s = begin.timestamp() + DAY
        elif interval not in BY_DAY and len(date) == 4:
            begin = datetime(int(date), 1, 1, tzinfo=UTC)
            end_s = datetime(int(date) + 1, 1, 1, tzinfo=UTC).timestamp()
        else:
            return None
    except ValueError:
        return None
    shift_s = JST_DAY_S - DAY
    return (int(begin.timestamp()) + shift_s) * 1000, (int(end_s) + shift_s) * 1000
