"""A venue for Freqtrade's dry-run: Kraken's public REST with prices that a test sets.

It answers the six calls that the bot makes and refuses all else, which it remembers, so that a test
sees at once when the bot asks for something new. The simulator moves its prices by itself; here a
resting order is crossed exactly when a test wants it. Shapes: REST pages of docs.kraken.com.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.helpers import wait_until

SPREAD = Decimal("0.60")
HOLD_S = 30.0
"""Longest that a held call waits: a test that forgets it must end."""
PAIRS = {
    "XETHZUSD": ("XETH", "ETHUSD", "ETH/USD"),
    "XXBTZUSD": ("XXBT", "XBTUSD", "XBT/USD"),
}


class KrakenStub:
    """The venue: prices, and how it behaves."""

    def __init__(self) -> None:
        self.prices = {"XETHZUSD": Decimal(3000), "XXBTZUSD": Decimal(60000)}
        self.down = False
        """Every call gets HTTP 503."""
        self.unexpected: list[str] = []
        self._held: dict[str, threading.Event] = {}
        self._waiting = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """As `ccxt_config.urls.api` takes it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Let go of what is held, end the server."""
        for event in list(self._held.values()):
            event.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def hold(self, call: str) -> Iterator[Callable[[int], None]]:
        """Answers to a call wait until the block ends; what is given waits until so many do."""
        event = self._held[call] = threading.Event()
        try:
            yield lambda count: wait_until(
                lambda: self._waiting >= count, what=f"{count} held {call}"
            )
        finally:
            del self._held[call]
            event.set()

    # ---- serving

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        venue = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                call = parts.path.removeprefix("/0/public/")
                status, body = venue.answer(call, query)
                self._reply(status, body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                venue.unexpected.append(f"POST {self.path}")
                self._reply(200, {"error": ["EGeneral:Unknown method"]})

            def _reply(self, status: int, body: dict[str, Any]) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def answer(self, call: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """HTTP status and body of one call."""
        held = self._held.get(call)
        if held is not None:
            with self._lock:
                self._waiting += 1
            held.wait(HOLD_S)
            with self._lock:
                self._waiting -= 1
        if self.down:
            return 503, {"error": ["EService:Unavailable"]}
        makers = {
            "Assets": self._assets, "AssetPairs": self._pairs, "Time": self._time,
            "OHLC": self._candles, "Ticker": self._tickers, "Depth": self._depth,
        }  # fmt: skip
        known = set(query.get("pair", "XETHZUSD").split(",")) <= set(PAIRS)
        if call not in makers or not known:
            self.unexpected.append(f"{call} {query}")
            return 200, {"error": ["EGeneral:Unknown method"]}
        return 200, {"error": [], "result": makers[call](query)}

    def _assets(self, _: dict[str, str]) -> dict[str, Any]:
        return {
            "XETH": {"altname": "ETH", "decimals": 10},
            "XXBT": {"altname": "XBT", "decimals": 10},
            "ZUSD": {"altname": "USD", "decimals": 4},
        }

    def _pairs(self, _: dict[str, str]) -> dict[str, Any]:
        return {
            name: {
                "altname": altname, "wsname": wsname, "base": base, "quote": "ZUSD",
                "pair_decimals": 2, "lot_decimals": 8, "ordermin": "0.001", "costmin": "0.5",
                "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "status": "online",
            }
            for name, (base, altname, wsname) in PAIRS.items()
        }  # fmt: skip

    def _time(self, _: dict[str, str]) -> dict[str, Any]:
        return {"unixtime": int(time.time())}

    def _candles(self, query: dict[str, str]) -> dict[str, Any]:
        name, step_s = query["pair"], int(query["interval"]) * 60
        price = str(self.prices[name])
        newest_s = int(time.time()) // step_s * step_s
        rows = [
            [newest_s - age * step_s, price, price, price, price, price, "1.5", 3]
            for age in range(60, -1, -1)
        ]
        return {name: rows, "last": newest_s - step_s}

    def _quote(self, name: str) -> tuple[str, str]:
        price = self.prices[name]
        return f"{price - SPREAD / 2:.2f}", f"{price + SPREAD / 2:.2f}"

    def _tickers(self, query: dict[str, str]) -> dict[str, Any]:
        names = query["pair"].split(",") if "pair" in query else list(PAIRS)
        found = {}
        for name in names:
            bid, ask = self._quote(name)
            found[name] = {"a": [ask], "b": [bid], "c": [str(self.prices[name])]}
        return found

    def _depth(self, query: dict[str, str]) -> dict[str, Any]:
        name = query["pair"]
        bid, ask = self._quote(name)
        stamp = int(time.time())
        return {name: {"asks": [[ask, "500", stamp]], "bids": [[bid, "500", stamp]]}}


@contextmanager
def kraken_stub() -> Iterator[KrakenStub]:
    """A venue, up for the time of the block; what it did not expect fails the test."""
    venue = KrakenStub()
    try:
        yield venue
    finally:
        venue.close()
    assert not venue.unexpected, f"the bot asked for {venue.unexpected}"
