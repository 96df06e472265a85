"""Kraken as a venue: its sockets, its REST calls, its truth.

Public calls and GetWebSocketsToken, whose signature and nonce are checked with one fixed key pair:
a simulator keeps no secrets. Errors come with HTTP 200 in `error`, as at the venue. Source: REST
pages of docs.kraken.com.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from processes.simulator.conversation import seeded
from processes.simulator.history import KRAKEN_FRAMES, History
from processes.simulator.kraken import CANDLES_SHOWN, KrakenConnection
from processes.simulator.kraken_books import BookWindow, Level3Window, PairText
from processes.simulator.kraken_listing import asset_pair, known_names, listing_of, rest_name
from processes.simulator.market import BookSide
from processes.simulator.numbers import time_text
from processes.simulator.orders import Rules
from processes.simulator.venue import Level, Venue, handler, json_reply, whole_number
from schemas.settings import SimulatorAccount

PREFIX = "/kraken"
API_KEY = "simulator-key"
API_SECRET = base64.b64encode(b"simulator-secret").decode()
TEST_TOKEN = "simulator-token"  # noqa: S105 (opens nothing but this simulator)
"""Always good for level3, without a REST call."""
TOKEN_S = 900
TRADES_MAX = 1000
DEPTH_MAX = 500


class KrakenVenue(Venue):
    """Kraken."""

    name = "kraken"
    sockets = ("/kraken/v2", "/kraken/l3")
    frames = KRAKEN_FRAMES

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tokens: dict[str, int] = {}
        self._nonce = 0

    def open(
        self, path: str, send: Callable[[str], None], now_ns: int, number: int
    ) -> KrakenConnection:
        """A socket in front of the markets."""
        return KrakenConnection(self.histories, send, now_ns, **self.socket_options(path, number))

    def socket_options(self, path: str, number: int) -> dict[str, Any]:
        """A public socket, or one for level3."""
        return {
            "number": number,
            "conduct": self.conduct,
            "knows_token": self.knows_token,
            "level3": path.endswith("/l3"),
        }

    def knows_token(self, token: str, now_ns: int) -> bool:
        """True for the test token and for issued ones of the last 15 minutes."""
        return token == TEST_TOKEN or self._tokens.get(token, 0) > now_ns

    def routes(self) -> list[web.RouteDef]:
        """Public calls and the token."""
        calls = {
            "AssetPairs": self._asset_pairs,
            "SystemStatus": self._system_status,
            "Time": self._time,
            "OHLC": self._ohlc,
            "Trades": self._trades,
            "Depth": self._depth,
        }
        public = [
            web.get(f"{PREFIX}/0/public/{name}", handler(call)) for name, call in calls.items()
        ]
        return [*public, web.post(f"{PREFIX}/0/private/GetWebSocketsToken", self._issue_token)]

    def named_accounts(self) -> list[SimulatorAccount]:
        """The settings' accounts, and one without money for whoever only needs a token."""
        return [
            *super().named_accounts(),
            SimulatorAccount(venue="kraken", key=API_KEY, secret=API_SECRET),
        ]

    def rules(self) -> Rules:
        """Fees in the quote currency; a post-only order that would match is refused."""
        return Rules(listing=listing_of)

    # ---- truth

    def true_book(self, symbol: str, options: dict[str, Any]) -> dict[BookSide, list[Level]]:
        """(price, quantity); with `level3` (order id, price, quantity). Option `depth` (10)."""
        market, depth = self.history(symbol).market, int(options.get("depth", 10))
        draw = seeded("truth")
        if options.get("level3"):
            orders = Level3Window(market, depth, draw)
            orders.snapshot()
            return {1: list(orders.orders(1)), -1: list(orders.orders(-1))}
        levels = BookWindow(market, depth, draw)
        levels.snapshot()
        return {1: list(levels.levels(1)), -1: list(levels.levels(-1))}

    def true_trades(self, symbol: str) -> list[Level]:
        """Trade id, side, price, quantity, timestamp."""
        history = self.history(symbol)
        text = PairText(history.market)
        return [
            (
                str(t.id), "buy" if t.side == 1 else "sell", text.price(t.ticks),
                text.quantity(t.units), time_text(t.time_ns, 6),
            )
            for t in history.trades
        ]  # fmt: skip

    def true_candles(self, symbol: str, timeframe: str) -> list[Level]:
        """Begin in seconds, open, high, low, close, vwap, volume, trades."""
        return [tuple(map(str, row)) for row in _candle_rows(self.history(symbol), timeframe)]

    # ---- REST

    def _history_of(self, request: web.Request) -> History | None:
        name = request.query.get("pair", "")
        found = (h for symbol, h in self.histories.items() if name in known_names(symbol))
        return next(found, None)

    def _asset_pairs(self, request: web.Request) -> web.Response:
        asked = [name for name in request.query.get("pair", "").split(",") if name]
        found = {
            rest_name(symbol): asset_pair(history.market)
            for symbol, history in self.histories.items()
            if not asked or known_names(symbol) & set(asked)
        }
        unknown = len(found) < len(asked)
        return _failure("EQuery:Unknown asset pair") if unknown else _success(found)

    def _system_status(self, _: web.Request) -> web.Response:
        status = "online" if self.conduct.operative else "maintenance"
        return _success({"status": status, "timestamp": time_text(self.now_ns(), 0)})

    def _time(self, _: web.Request) -> web.Response:
        return _success({"unixtime": self.now_ns() // 10**9})

    def _ohlc(self, request: web.Request) -> web.Response:
        history = self._history_of(request)
        if history is None:
            return _failure("EQuery:Unknown asset pair")
        interval = request.query.get("interval", "1")
        if interval not in KRAKEN_FRAMES:
            return _failure("EGeneral:Invalid arguments")
        since = whole_number(request, "since", 0)
        rows = [row for row in _candle_rows(history, interval) if row[0] >= since]
        rows = rows[-CANDLES_SHOWN:]
        # `last` is the newest candle that is over: to be given as `since`.
        last = rows[-2][0] if len(rows) > 1 else since
        return _success({rest_name(history.market.symbol): rows, "last": last})

    def _trades(self, request: web.Request) -> web.Response:
        history = self._history_of(request)
        if history is None:
            return _failure("EQuery:Unknown asset pair")
        count = min(whole_number(request, "count", TRADES_MAX), TRADES_MAX)
        since = request.query.get("since", "")
        trades = list(history.trades)
        if since.isdigit():
            # Nanoseconds; a shorter number is seconds.
            since_ns = int(since) if len(since) > 12 else int(since) * 10**9
            trades = [trade for trade in trades if trade.time_ns > since_ns][:count]
        else:
            trades = trades[-count:]
        text = PairText(history.market)
        rows = ",".join(
            f'["{text.price(t.ticks)}","{text.quantity(t.units)}",'
            f"{t.time_ns // 10**9}.{t.time_ns % 10**9:09d},"
            f'"{"b" if t.side == 1 else "s"}","{"l" if t.limit else "m"}","",{t.id}]'
            for t in trades
        )
        last = trades[-1].time_ns if trades else self.now_ns()
        name = rest_name(history.market.symbol)
        return json_reply(f'{{"error":[],"result":{{"{name}":[{rows}],"last":"{last}"}}}}')

    def _depth(self, request: web.Request) -> web.Response:
        history = self._history_of(request)
        if history is None:
            return _failure("EQuery:Unknown asset pair")
        count = min(whole_number(request, "count", 100), DEPTH_MAX)
        book = self.true_book(history.market.symbol, {"depth": count})
        stamp = self.now_ns() // 10**9
        asks, bids = ([[*level, stamp] for level in book[side]] for side in (-1, 1))
        return _success({rest_name(history.market.symbol): {"asks": asks, "bids": bids}})

    async def _issue_token(self, request: web.Request) -> web.Response:
        body = await request.text()
        refusal = self._judge(request, body)
        if refusal:
            return _failure(refusal)
        now_ns = self.now_ns()
        self._tokens = {t: end_ns for t, end_ns in self._tokens.items() if end_ns > now_ns}
        token = hashlib.sha256(f"{self.settings.seed} {self._nonce}".encode()).hexdigest()[:43]
        self._tokens[token] = now_ns + TOKEN_S * 10**9
        return _success({"token": token, "expires": TOKEN_S})

    def _judge(self, request: web.Request, body: str) -> str:
        """Why a private call is refused, or nothing; a good one uses up its nonce."""
        if not self.conduct.operative:
            return "EService:Unavailable"
        if request.headers.get("API-Key") != API_KEY:
            return "EAPI:Invalid key"
        nonce = parse_qs(body).get("nonce", [""])[0]
        path = request.path.removeprefix(PREFIX)
        expected = sign(API_SECRET, path, nonce, body)
        if not hmac.compare_digest(expected, request.headers.get("API-Sign", "")):
            return "EAPI:Invalid signature"
        if not nonce.isdigit() or int(nonce) <= self._nonce:
            return "EAPI:Invalid nonce"
        self._nonce = int(nonce)
        return ""


def sign(secret: str, path: str, nonce: str, body: str) -> str:
    """API-Sign: HMAC-SHA512 over the path and the SHA-256 of nonce and body, base64 both ways."""
    inner = hashlib.sha256((nonce + body).encode()).digest()
    mac = hmac.new(base64.b64decode(secret), path.encode() + inner, hashlib.sha512)
    return base64.b64encode(mac.digest()).decode()


def _candle_rows(history: History, interval: str) -> list[list[Any]]:
    text = PairText(history.market)
    return [
        [
            c.start_ms // 1000, *map(text.price, (c.open, c.high, c.low, c.close)),
            text.average(c.turnover, c.units), text.quantity(c.units), c.count,
        ]
        for c in history.candles[interval]
    ]  # fmt: skip


def _success(result: Any) -> web.Response:
    return json_reply(json.dumps({"error": [], "result": result}))


def _failure(text: str) -> web.Response:
    return json_reply(json.dumps({"error": [text]}))
