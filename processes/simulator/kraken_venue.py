"""Kraken as a venue: its sockets, its public REST calls, its truth.

The signed calls are in kraken_rest.py. Errors come with HTTP 200 in `error`, as at the venue.
Source: REST pages of docs.kraken.com.
"""

import base64
from collections.abc import Callable
from typing import Any

from aiohttp import web

from processes.simulator.conversation import seeded
from processes.simulator.history import KRAKEN_FRAMES, History
from processes.simulator.kraken import CANDLES_SHOWN, KrakenConnection
from processes.simulator.kraken_books import BookWindow, Level3Window, PairText
from processes.simulator.kraken_desk import KrakenDesk
from processes.simulator.kraken_listing import (
    asset,
    asset_pair,
    known_names,
    listing_of,
    rest_asset,
    rest_name,
)
from processes.simulator.kraken_private import KrakenPrivateConnection
from processes.simulator.kraken_rest import PREFIX, KrakenRest, failure, success
from processes.simulator.kraken_session import PUBLIC_CHANNELS, KrakenSession
from processes.simulator.market import UNITS, BookSide
from processes.simulator.numbers import time_text
from processes.simulator.orders import Rules
from processes.simulator.venue import Level, Venue, handler, json_reply, whole_number
from schemas.settings import SimulatorAccount

PRIVATE_SOCKET = "/kraken/v2-auth"
API_KEY = "simulator-key"
API_SECRET = base64.b64encode(b"simulator-secret").decode()
TRADES_MAX = 1000
DEPTH_MAX = 500


class KrakenVenue(Venue):
    """Kraken."""

    name = "kraken"
    sockets = ("/kraken/v2", PRIVATE_SOCKET, "/kraken/l3")
    frames = KRAKEN_FRAMES

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.desk = KrakenDesk(self.accounts, self.settings.kraken_tier, self.settings.seed)
        self._rest = KrakenRest(self, self.desk)

    def open(
        self, path: str, send: Callable[[str], None], now_ns: int, number: int
    ) -> KrakenSession:
        """A socket in front of the markets, or in front of the desk."""
        if path == PRIVATE_SOCKET:
            return KrakenPrivateConnection(
                self.desk, send, now_ns, number=number, conduct=self.conduct
            )
        return KrakenConnection(self.histories, send, now_ns, **self.socket_options(path, number))

    def socket_options(self, path: str, number: int) -> dict[str, Any]:
        """A public socket, or one for level3."""
        return {
            "number": number,
            "conduct": self.conduct,
            "knows_token": self.desk.tokens.knows,
            "channels": ("level3",) if path.endswith("/l3") else PUBLIC_CHANNELS,
        }

    def routes(self) -> list[web.RouteDef]:
        """Public calls, and the signed ones."""
        calls = {
            "Assets": self._assets,
            "Ticker": self._ticker,
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
        return [*public, *self._rest.routes()]

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
        return failure("EQuery:Unknown asset pair") if unknown else success(found)

    def _assets(self, _: web.Request) -> web.Response:
        names = {name for symbol in self.histories for name in symbol.split("/")}
        return success({rest_asset(name): asset(name) for name in sorted(names)})

    def _ticker(self, request: web.Request) -> web.Response:
        """Of the pairs named, or of all; keyed by REST name."""
        asked = [name for name in request.query.get("pair", "").split(",") if name]
        found = {
            rest_name(symbol): _ticker_row(history)
            for symbol, history in self.histories.items()
            if not asked or known_names(symbol) & set(asked)
        }
        unknown = len(found) < len(asked)
        return failure("EQuery:Unknown asset pair") if unknown else success(found)

    def _system_status(self, _: web.Request) -> web.Response:
        status = "online" if self.conduct.operative else "maintenance"
        return success({"status": status, "timestamp": time_text(self.now_ns(), 0)})

    def _time(self, _: web.Request) -> web.Response:
        return success({"unixtime": self.now_ns() // 10**9})

    def _ohlc(self, request: web.Request) -> web.Response:
        history = self._history_of(request)
        if history is None:
            return failure("EQuery:Unknown asset pair")
        interval = request.query.get("interval", "1")
        if interval not in KRAKEN_FRAMES:
            return failure("EGeneral:Invalid arguments")
        since = whole_number(request, "since", 0)
        rows = [row for row in _candle_rows(history, interval) if row[0] >= since]
        rows = rows[-CANDLES_SHOWN:]
        # `last` is the newest candle that is over: to be given as `since`.
        last = rows[-2][0] if len(rows) > 1 else since
        return success({rest_name(history.market.symbol): rows, "last": last})

    def _trades(self, request: web.Request) -> web.Response:
        history = self._history_of(request)
        if history is None:
            return failure("EQuery:Unknown asset pair")
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
            return failure("EQuery:Unknown asset pair")
        count = min(whole_number(request, "count", 100), DEPTH_MAX)
        book = self.true_book(history.market.symbol, {"depth": count})
        stamp = self.now_ns() // 10**9
        asks, bids = ([[*level, stamp] for level in book[side]] for side in (-1, 1))
        return success({rest_name(history.market.symbol): {"asks": asks, "bids": bids}})


def _ticker_row(history: History) -> dict[str, Any]:
    """Ask and bid with whole lots and quantity, last trade, and the figures so far, all twice."""
    market, text = history.market, PairText(history.market)
    sides = [(text.price(market.best(side) or 0), market.depth(side, 1)) for side in (-1, 1)]
    ask, bid = ([price, str(units // UNITS), text.quantity(units)] for price, units in sides)
    last = history.trades[-1].units if history.trades else 0
    average = text.average(history.turnover, history.volume)
    return {
        "a": ask,
        "b": bid,
        "c": [text.price(history.last), text.quantity(last)],
        "v": [text.quantity(history.volume)] * 2,
        "p": [average] * 2,
        "t": [history.total] * 2,
        "l": [text.price(history.low)] * 2,
        "h": [text.price(history.high)] * 2,
        "o": text.price(history.open),
    }


def _candle_rows(history: History, interval: str) -> list[list[Any]]:
    text = PairText(history.market)
    return [
        [
            c.start_ms // 1000, *map(text.price, (c.open, c.high, c.low, c.close)),
            text.average(c.turnover, c.units), text.quantity(c.units), c.count,
        ]
        for c in history.candles[interval]
    ]  # fmt: skip
