"""Strict fakes of the venues' REST interfaces: real HTTP over loopback, made-up but seeded rows.

Each checks method, path and every parameter as the venue does, and pages as the venue does. They
share no code with `venues/`. Faults are put in a queue and hit the next requests.
"""

import asyncio
import json
import random
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from aiohttp import web

Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, body: Any = b"", **headers: str) -> Fault:
    """An answer of that status."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=code, body=content, headers=named)

    return answer


def slow(seconds: float) -> Fault:
    """An answer that comes too late."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        return web.Response(body=b"[]")

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """A connection that ends in the middle of the body."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"[[1,2")
    assert request.transport is not None
    request.transport.abort()
    return response


async def hang_up(request: web.Request) -> web.StreamResponse:
    """A connection that ends before the answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    time_s: float
    method: str
    path: str
    params: dict[str, str]
    body: bytes
    headers: dict[str, str]


class RestServer:
    """A venue on a port of its own, in a thread of its own."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: deque[Fault] = deque()
        self.complaints: list[str] = []
        """What a client did that the venue's pages do not allow."""
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(
            time.monotonic(),
            request.method,
            request.path,
            dict(request.query),
            await request.read(),
            dict(request.headers),
        )
        self.seen.append(seen)
        if len(request.query) != len(set(request.query)):
            self.complaints.append(f"a parameter twice: {request.query_string}")
        if self.faults:
            return await self.faults.popleft()(request)
        code, body = self.answer(seen)
        return web.Response(status=code, body=body, content_type="application/json")

    def answer(self, seen: Seen) -> tuple[int, bytes]:
        raise NotImplementedError

    def check(self, seen: Seen, allowed: set[str], needed: set[str] = frozenset()) -> None:
        if wrong := set(seen.params) - allowed:
            self.complaints.append(f"{seen.path}: unknown parameters {wrong}")
        if missing := needed - set(seen.params):
            self.complaints.append(f"{seen.path}: without {missing}")

    @contextmanager
    def running(self) -> Iterator["RestServer"]:
        loop = asyncio.new_event_loop()
        ready = threading.Event()

        async def begin() -> web.AppRunner:
            app = web.Application()
            app.router.add_route("*", "/{tail:.*}", self.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
            self.url = f"http://127.0.0.1:{port}"
            return runner

        def live() -> None:
            asyncio.set_event_loop(loop)
            runner = loop.run_until_complete(begin())
            ready.set()
            loop.run_forever()
            loop.run_until_complete(runner.cleanup())
            loop.close()

        thread = threading.Thread(target=live, name="venue")
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            assert not thread.is_alive()


def number(text: str) -> str:
    """A decimal as the wire has it, without trailing zeros."""
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True)
class FakeTrade:
    id: int
    time_ns: int
    amount: str
    price: str

    @property
    def mts(self) -> int:
        return self.time_ns // 1_000_000


def make_trades(seed: int, count: int, start_ms: int, *, burst: int = 40) -> list[FakeTrade]:
    """Seeded trades, oldest first; bursts of many in one millisecond."""
    chance = random.Random(seed)
    trades = []
    time_ns, price, left = start_ms * 1_000_000, 50_000_00, 0
    for number_of in range(count):
        if left:
            left -= 1
        else:
            time_ns += chance.randrange(1, 3_000) * 1_000_000 + chance.randrange(1_000_000)
            left = chance.choice((0, 0, 1, 3, chance.randrange(burst)))
        price += chance.randrange(-300, 301)
        amount = chance.randrange(1, 10**9) * chance.choice((1, -1))
        sign, size = ("-" if amount < 0 else ""), abs(amount)
        trades.append(
            FakeTrade(
                # ids rise, with holes; in a burst the venue may list them in any order
                id=1_000_000 + number_of * 3,
                time_ns=time_ns,
                amount=number(f"{sign}{size // 10**8}.{size % 10**8:08d}"),
                price=number(f"{price // 100}.{price % 100:02d}"),
            )
        )
    return trades


def make_candles(seed: int, count: int, start_ms: int, step_ms: int) -> list[tuple[Any, ...]]:
    """Seeded candles (mts, open, close, high, low, volume as text), oldest first, with gaps."""
    chance = random.Random(seed)
    rows = []
    price = 3_000_000
    for at in range(count):
        if chance.random() < 0.1:
            continue
        first, last = price, price + chance.randrange(-900, 901)
        price = last
        high = max(first, last) + chance.randrange(500)
        low = min(first, last) - chance.randrange(500)
        texts = [number(f"{v // 100}.{v % 100:02d}") for v in (first, last, high, low)]
        volume = number(f"{chance.randrange(50)}.{chance.randrange(10**12):012d}")
        rows.append((start_ms + at * step_ms, *texts, volume))
    return rows


class FakeBitfinex(RestServer):
    """Candles, trades, tickers, and the conf tables of a few pairs."""

    def __init__(
        self,
        *,
        trades: list[FakeTrade] = (),
        candles: list[tuple[Any, ...]] = (),
        tickers: list[tuple[int, str, str]] = (),
        rows_max: int = 10_000,
    ) -> None:
        super().__init__()
        self.trades = list(trades)
        self.candles = list(candles)
        self.tickers = list(tickers)
        self.rows_max = rows_max

    def answer(self, seen: Seen) -> tuple[int, bytes]:
        if seen.method != "GET":
            self.complaints.append(f"{seen.method} {seen.path}")
        if seen.path == "/v2/trades/tBTCUSD/hist":
            return self._paged(
                seen,
                [(t.mts, f"[{t.id},{t.mts},{t.amount},{t.price}]") for t in self.trades],
            )
        if seen.path == "/v2/candles/trade:1m:tBTCUSD/hist":
            rows = [(row[0], "[" + ",".join(map(str, row)) + "]") for row in self.candles]
            return self._paged(seen, rows)
        if seen.path == "/v2/tickers/hist":
            self.check(seen, {"symbols", "limit", "start", "end"}, {"symbols"})
            rows = [
                (mts, f'["tBTCUSD",{bid},null,{ask},' + "null," * 8 + f"{mts}]")
                for mts, bid, ask in self.tickers
            ]
            return self._paged(seen, rows, most=250, default=125, sortable=False)
        if seen.path.startswith("/v2/conf/"):
            self.check(seen, set())
            keys = seen.path.removeprefix("/v2/conf/").split(",")
            return 200, json.dumps([self.CONF[key] for key in keys]).encode()
        if seen.path.startswith(("/v2/trades/", "/v2/candles/")):
            return 500, b'["error",10020,"symbol: invalid"]'
        return 404, b"<html><body>Not Found</body></html>"

    CONF: ClassVar[dict[str, Any]] = {
        "pub:list:pair:exchange": ["BTCUSD", "BTCUST", "DOGE:USD", "IOTUSD"],
        "pub:list:pair:futures": ["BTCF0:USTF0"],
        "pub:list:pair:margin": ["BTCUSD"],
        "pub:info:pair": [
            ["BTCUSD", [None, None, None, "0.00006", "2000.0", None, None, None, 0.2, 0.1, None]],
            ["IOTUSD", [None, None, None, "4.0", "250000.0", None, None, None, None, None]],
        ],
        "pub:info:pair:futures": [
            ["BTCF0:USTF0", [None, None, None, "0.00006", "100.0", None, None, None, 0.01, 0.005]]
        ],
        "pub:map:currency:sym": [["IOT", "IOTA"], ["UST", "USDt"], ["BTCF0", "BTC"]],
    }

    def _paged(
        self,
        seen: Seen,
        rows: list[tuple[int, str]],
        *,
        most: int = 10_000,
        default: int = 120,
        sortable: bool = True,
    ) -> tuple[int, bytes]:
        named = {"limit", "start", "end", "symbols"} | ({"sort"} if sortable else set())
        self.check(seen, named)
        limit = int(seen.params.get("limit", default))
        if not 1 <= limit <= most:
            return 500, b'["error",10020,"limit: invalid"]'
        sort = int(seen.params.get("sort", -1))
        if sort not in {1, -1}:
            return 500, b'["error",10020,"sort: invalid"]'
        first, last = int(seen.params.get("start", 0)), int(seen.params.get("end", 1 << 62))
        found = [text for mts, text in rows if first <= mts <= last]
        found = found if sort == 1 else found[::-1]
        return 200, ("[" + ",".join(found[: min(limit, self.rows_max)]) + "]").encode()


class FakeKraken(RestServer):
    """OHLC (the newest 720), Trades, AssetPairs."""

    def __init__(
        self,
        *,
        trades: list[FakeTrade] = (),
        candles: list[tuple[Any, ...]] = (),
        inclusive: bool = False,
    ) -> None:
        super().__init__()
        self.trades = list(trades)
        self.candles = list(candles)
        self.inclusive = inclusive

    def answer(self, seen: Seen) -> tuple[int, bytes]:
        if seen.method != "GET":
            self.complaints.append(f"{seen.method} {seen.path}")
        call = seen.path.removeprefix("/0/public/")
        if call == "AssetPairs":
            pairs = {"XXBTZUSD": {
                "altname": "XBTUSD", "wsname": "XBT/USD", "base": "XXBT", "quote": "ZUSD",
                "pair_decimals": 1, "lot_decimals": 8, "lot_multiplier": 1, "leverage_buy": [2],
                "leverage_sell": [2], "fees": [[0, 0.26]], "fees_maker": [[0, 0.16]],
                "ordermin": "0.0001", "costmin": "0.5", "tick_size": "0.1", "status": "online",
            }}  # fmt: skip
            return self._result(json.dumps(pairs))
        if call not in {"OHLC", "Trades"}:
            return 200, b'{"error":["EGeneral:Unknown method"]}'
        if seen.params.get("pair") != "XBTUSD":
            return 200, b'{"error":["EQuery:Unknown asset pair"]}'
        return self._ohlc(seen) if call == "OHLC" else self._trades(seen)

    def _ohlc(self, seen: Seen) -> tuple[int, bytes]:
        self.check(seen, {"pair", "interval", "since"})
        if seen.params.get("interval") not in {"1", "5", "15", "30", "60", "240", "1440"}:
            return 200, b'{"error":["EGeneral:Invalid arguments:interval"]}'
        since = int(seen.params.get("since", 0)) * 1000
        rows = [row for row in self.candles[-720:] if row[0] > since]
        texts = [
            f'[{mts // 1000},"{o}","{h}","{low}","{c}","0.0","{volume}",3]'
            for mts, o, c, h, low, volume in rows
        ]
        last = rows[-1][0] // 1000 if rows else 0
        return self._result(f'{{"XXBTZUSD":[{",".join(texts)}],"last":{last}}}')

    def _trades(self, seen: Seen) -> tuple[int, bytes]:
        self.check(seen, {"pair", "since", "count"})
        count = int(seen.params.get("count", 1000))
        if not 1 <= count <= 1000:
            return 200, b'{"error":["EGeneral:Invalid arguments:count"]}'
        since = int(seen.params.get("since", 0)) - (1 if self.inclusive else 0)
        rows = [trade for trade in self.trades if trade.time_ns > since][:count]
        texts = [
            f'["{t.price}","{t.amount.lstrip("-")}",{t.time_ns // 10**9}.{t.time_ns % 10**9:09d},'
            f'"{"s" if t.amount[0] == "-" else "b"}","l","",{t.id}]'
            for t in rows
        ]
        last = rows[-1].time_ns if rows else since
        return self._result(f'{{"XXBTZUSD":[{",".join(texts)}],"last":"{last}"}}')

    @staticmethod
    def _result(text: str) -> tuple[int, bytes]:
        return 200, f'{{"error":[],"result":{text}}}'.encode()


class FakeGmo(RestServer):
    """Klines by the venue's day and year, symbols."""

    def __init__(self, *, candles: list[tuple[Any, ...]] = (), interval: str = "1min") -> None:
        super().__init__()
        self.candles = list(candles)
        self.interval = interval

    def answer(self, seen: Seen) -> tuple[int, bytes]:
        if seen.method != "GET":
            self.complaints.append(f"{seen.method} {seen.path}")
        call = seen.path.removeprefix("/public/v1/")
        if call == "symbols":
            self.check(seen, set())
            rules = [
                {"symbol": name, "minOrderSize": "0.001", "maxOrderSize": "5", "sizeStep": "0.001",
                 "tickSize": "1", "takerFee": "0", "makerFee": "0"}
                for name in ("BTC", "BTC_JPY")
            ]  # fmt: skip
            return self._data(json.dumps(rules))
        if call != "klines":
            return 404, self._error("ERR-5204", "Request path mismatch.")
        self.check(seen, {"symbol", "interval", "date"}, {"symbol", "interval", "date"})
        if seen.params["symbol"] != "BTC_JPY" or seen.params["interval"] != self.interval:
            return 404, self._error("ERR-5207", "Invalid symbol, interval or date.")
        date = seen.params["date"]
        by_day = self.interval not in {"4hour", "8hour", "12hour", "1day", "1week", "1month"}
        if len(date) != (8 if by_day else 4):
            return 404, self._error("ERR-5207", "Invalid symbol, interval or date.")
        rows = [row for row in self.candles if self._date(row[0], by_day=by_day) == date]
        if not rows:
            return 404, self._error("ERR-5207", "Invalid symbol, interval or date.")
        texts = [
            f'{{"openTime":"{mts}","open":"{o}","high":"{h}","low":"{low}","close":"{c}",'
            f'"volume":"{volume}"}}'
            for mts, o, c, h, low, volume in rows
        ]
        return self._data(f"[{','.join(texts)}]")

    @staticmethod
    def _date(mts: int, *, by_day: bool) -> str:
        moment = datetime.fromtimestamp(mts / 1000, UTC) + timedelta(hours=9)
        return f"{moment - timedelta(hours=6):%Y%m%d}" if by_day else f"{moment:%Y}"

    @staticmethod
    def _data(text: str) -> tuple[int, bytes]:
        return 200, f'{{"status":0,"data":{text},"responsetime":"2026-02-13T08:00:00Z"}}'.encode()

    @staticmethod
    def _error(code: str, text: str) -> bytes:
        said = [{"message_code": code, "message_string": text}]
        return json.dumps({"status": 1, "messages": said}).encode()
