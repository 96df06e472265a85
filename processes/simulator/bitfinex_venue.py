"""Bitfinex as a venue: its socket, its public REST calls, its truth.

The signed calls are in bitfinex_rest.py, the account channel in bitfinex_private.py.
REST stands below /bitfinex/v2, and below /v2 as well: both are the same. Refusals are
["error", CODE, "text"] with HTTP 500; what takes keys answers unknown ones with an empty list.
Sources: pages rest-public-*.
"""

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from processes.simulator.bitfinex_channels import (
    LENGTHS,
    PRECISIONS,
    Channel,
    derivative_text,
    is_derivative,
    is_funding,
    liquidation_texts,
    symbol_of_key,
    ticker_text,
)
from processes.simulator.bitfinex_desk import BitfinexDesk
from processes.simulator.bitfinex_private import PrivateConnection
from processes.simulator.bitfinex_rest import PREFIXES, BitfinexRest
from processes.simulator.history import BITFINEX_FRAMES
from processes.simulator.market import BookSide
from processes.simulator.numbers import price_text
from processes.simulator.orders import Listing, Rules
from processes.simulator.venue import Level, Venue, handler, json_reply, whole_number

ROWS_MAX = 10_000
HISTORY_ROWS = 125
CANDLE_ROWS = 100
FAR_MS = 1 << 62


class BitfinexVenue(Venue):
    """Bitfinex."""

    name = "bitfinex"
    sockets = ("/ws/2",)
    frames = BITFINEX_FRAMES

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.desk = BitfinexDesk(self.accounts)
        self._rest = BitfinexRest(self, self.desk)

    def open(
        self, path: str, send: Callable[[str], None], now_ns: int, number: int
    ) -> PrivateConnection:
        """A socket in front of the markets, and of the desk once it has authenticated."""
        options = self.socket_options(path, number)
        return PrivateConnection(self.desk, self.histories, send, now_ns, **options)

    def socket_options(self, path: str, number: int) -> dict[str, Any]:  # noqa: ARG002
        """Channel ids that no other socket has."""
        return {"first_channel": number * 1000 + 1, "conduct": self.conduct}

    def routes(self) -> list[web.RouteDef]:
        """The public calls, and the signed ones."""
        calls = {
            "/platform/status": self._status,
            "/ticker/{symbol}": self._ticker,
            "/tickers": self._tickers,
            "/tickers/hist": self._ticker_history,
            "/trades/{symbol}/hist": self._trades,
            "/book/{symbol}/{precision}": self._book,
            "/candles/{key}/{section}": self._candles,
            "/status/deriv": self._derivatives,
            "/liquidations/hist": self._liquidations,
            "/conf/{keys}": self._conf,
        }
        public = [
            web.get(prefix + path, handler(call))
            for prefix in PREFIXES
            for path, call in calls.items()
        ]
        return [*public, *self._rest.routes()]

    def rules(self) -> Rules:
        """Fees in what is received; a post-only order that would match is canceled at once."""
        return Rules(listing=listing_of, fee_in="received", refuses_post_only=False)

    # ---- truth

    def true_book(self, symbol: str, options: dict[str, Any]) -> dict[BookSide, list[Level]]:
        """Entries of a book; options `prec` (P0) and `len` (25)."""
        request = {"prec": options.get("prec", "P0"), "len": str(options.get("len", "25"))}
        shown = Channel(0, request, self.history(symbol)).window()
        sides: dict[BookSide, list[Level]] = {1: [], -1: []}
        for side, text in shown.values():
            sides[side].append(tuple(text.split(",")))
        return sides

    def true_trades(self, symbol: str) -> list[Level]:
        """ID, MTS, AMOUNT, PRICE, and for funding PERIOD."""
        channel = Channel(0, {}, self.history(symbol))
        return [
            tuple(channel.trade_text(trade)[1:-1].split(",")) for trade in channel.history.trades
        ]

    def true_candles(self, symbol: str, timeframe: str) -> list[Level]:
        """MTS, OPEN, CLOSE, HIGH, LOW, VOLUME."""
        channel = Channel(0, {}, self.history(symbol))
        candles = channel.history.candles[timeframe]
        return [tuple(channel.candle_text(candle)[1:-1].split(",")) for candle in candles]

    # ---- REST

    def _status(self, _: web.Request) -> web.Response:
        return json_reply("[1]" if self.conduct.operative else "[0]")

    def _ticker(self, request: web.Request) -> web.Response:
        history = self.histories.get(request.match_info["symbol"])
        return json_reply(f"[{ticker_text(history)}]") if history else refusal("symbol: invalid")

    def _tickers(self, request: web.Request) -> web.Response:
        rows = [
            f'["{symbol}",{ticker_text(self.histories[symbol])}]'
            for symbol in self._asked(request, "symbols")
        ]
        return json_reply(f"[{','.join(rows)}]")

    def _asked(self, request: web.Request, name: str) -> list[str]:
        """Those of the symbols asked for that there are; ALL for all."""
        asked = request.query.get(name, "").split(",")
        return [s for s in self.histories if s in asked or asked == ["ALL"]]

    def _ticker_history(self, request: web.Request) -> web.Response:
        start_ms, end_ms = _span(request)
        found = []
        for symbol in self._asked(request, "symbols"):
            history = self.histories[symbol]
            tick = history.market.tick
            for quote in history.quotes:
                if start_ms <= quote.time_ms <= end_ms:
                    prices = f"{price_text(tick, quote.bid)},null,{price_text(tick, quote.ask)}"
                    nulls = ",null" * 8
                    found.append((quote.time_ms, f'["{symbol}",{prices}{nulls},{quote.time_ms}]'))
        found.sort(key=lambda row: -row[0])
        return _rows(request, found, HISTORY_ROWS, 250)

    def _trades(self, request: web.Request) -> web.Response:
        history = self.histories.get(request.match_info["symbol"])
        if history is None:
            return refusal("symbol: invalid")
        channel = Channel(0, {}, history)
        start_ms, end_ms = _span(request)
        found = [
            (trade.time_ns // 10**6, channel.trade_text(trade))
            for trade in reversed(history.trades)
            if start_ms <= trade.time_ns // 10**6 <= end_ms
        ]
        return _rows(request, found, HISTORY_ROWS, ROWS_MAX)

    def _book(self, request: web.Request) -> web.Response:
        symbol, precision = request.match_info["symbol"], request.match_info["precision"]
        length = request.query.get("len", "25")
        if symbol not in self.histories:
            return refusal("symbol: invalid")
        if precision not in {*PRECISIONS, "R0"}:
            return refusal("prec: invalid")
        if length not in LENGTHS:
            return refusal("len: invalid")
        sides = self.true_book(symbol, {"prec": precision, "len": length})
        rows = ",".join(f"[{','.join(entry)}]" for entry in [*sides[1], *sides[-1]])
        return json_reply(f"[{rows}]")

    def _candles(self, request: web.Request) -> web.Response:
        key, section = request.match_info["key"], request.match_info["section"]
        parts = key.split(":")
        symbol = symbol_of_key(key)
        if parts[0] != "trade" or symbol not in self.histories:
            return refusal("symbol: invalid")
        if parts[1] not in BITFINEX_FRAMES or section not in {"hist", "last"}:
            return refusal("time_interval: invalid")
        channel = Channel(0, {"key": key}, self.histories[symbol])
        start_ms, end_ms = _span(request)
        found = [
            (candle.start_ms, channel.candle_text(candle))
            for candle in reversed(channel.candles())
            if start_ms <= candle.start_ms <= end_ms
        ]
        if section == "last":
            return json_reply(found[0][1] if found else "[]")
        return _rows(request, found, CANDLE_ROWS, ROWS_MAX)

    def _derivatives(self, request: web.Request) -> web.Response:
        rows = [
            f'["{symbol}",{derivative_text(self.histories[symbol], self.now_ns())}]'
            for symbol in self._asked(request, "keys")
            if is_derivative(symbol)
        ]
        return json_reply(f"[{','.join(rows)}]")

    def _liquidations(self, request: web.Request) -> web.Response:
        start_ms, end_ms = _span(request)
        found = [
            (trade.time_ns // 10**6, f"[{text}]")
            for history in self.histories.values()
            for trade in reversed(history.trades)
            for text in reversed(liquidation_texts(history, trade))
            if start_ms <= trade.time_ns // 10**6 <= end_ms
        ]
        found.sort(key=lambda row: -row[0])
        return _rows(request, found, 20, 500)

    def _conf(self, request: web.Request) -> web.Response:
        pairs = [s[1:] for s in self.histories if not is_funding(s) and not is_derivative(s)]
        futures = [s[1:] for s in self.histories if is_derivative(s)]
        names = sorted(
            {code for pair in [*pairs, *futures] for code in _codes(pair)}
            | {s[1:] for s in self.histories if is_funding(s)}
        )
        info = [[pair, _pair_info()] for pair in pairs]
        known: dict[str, list[Any]] = {
            "pub:list:pair:exchange": pairs,
            "pub:list:pair:margin": pairs,
            "pub:list:pair:futures": futures,
            "pub:list:currency": names,
            "pub:info:pair": info,
            "pub:info:pair:futures": [[pair, _pair_info()] for pair in futures],
            "pub:map:currency:sym": [],
            "pub:map:currency:label": [[name, name] for name in names],
            "pub:map:currency:undl": [["USTF0", "UST"]] if futures else [],
        }
        asked = request.match_info["keys"].split(",")
        return json_reply(json.dumps([known.get(key, []) for key in asked]))


def listing_of(symbol: str) -> Listing:
    """What orders of a pair are held against; derivatives and funding count as spot here."""
    base, quote = _codes(symbol[1:]) if not is_funding(symbol) else [symbol[1:]] * 2
    return Listing(
        symbol=symbol, base=base, quote=quote, taker_parts=2000, maker_parts=1000, min_units=1000
    )


def _codes(pair: str) -> list[str]:
    return pair.split(":") if ":" in pair else [pair[:3], pair[3:]]


def _pair_info() -> list[str | float | None]:
    """MIN_SIZE, MAX_SIZE as texts; INITIAL_MARGIN, MIN_MARGIN."""
    return [None, None, None, "0.00001", "2000.0", None, None, None, 0.2, 0.1]


def _span(request: web.Request) -> tuple[int, int]:
    return whole_number(request, "start", 0), whole_number(request, "end", FAR_MS)


def _rows(
    request: web.Request, newest_first: list[tuple[int, str]], default: int, most: int
) -> web.Response:
    """Rows in the order and the number asked for: `sort=1` begins at the oldest."""
    rows = newest_first[::-1] if request.query.get("sort") == "1" else newest_first
    limit = min(whole_number(request, "limit", default), most)
    return json_reply(f"[{','.join(text for _, text in rows[:limit])}]")


def refusal(text: str) -> web.Response:
    """A REST refusal of code 10020."""
    return json_reply(json.dumps(["error", 10020, text]), status=500)
