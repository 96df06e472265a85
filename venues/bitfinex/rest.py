"""Bitfinex over REST: every public call, typed (docs.bitfinex.com, "Public Endpoints").

A venue's error is `["error",CODE,"text"]`, mostly with status 500; a breach of the rate is
`{"error":"ERR_RATE_LIMIT"}`; an unknown path is an HTML page. Times are milliseconds UTC, both ends
inclusive. The two `calc` calls are POST but change nothing, so they are repeated like the others.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import msgspec

from schemas.errors import (
    AnswerError,
    MaintenanceError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
)
from venues.bitfinex import rest_records as records
from venues.exact import decode, each, number, part, plain, rows, show, table
from venues.rest import Answer, Request, RestClient, check_status

T = TypeVar("T")
Precision = Literal["P0", "P1", "P2", "P3", "P4", "R0"]
Sort = Literal[1, -1]
"""1 = oldest first, -1 = newest first."""
BUSY: Final = frozenset({"10001", "11000", "11010", "10114"})
"""Codes that pass: generic trouble, not ready, rate limit of the older interface, and a nonce that
came too late, which says nothing against the key."""
MAINTENANCE: Final = frozenset({"20060"})


def read(answer: Answer) -> Any:
    """The decoded answer, or the error that it is.

    Raises:
        VenueError: what the venue said instead.
    """
    if answer.body[:1].strip() == b"<" or not answer.body.strip():
        check_status(answer)
    try:
        value = decode(answer.body)
    except AnswerError as error:
        check_status(answer)
        raise AnswerError(f"{answer.what}: {error}") from None
    _check_error(answer, value)
    check_status(answer)
    return value


def _check_error(answer: Answer, value: Any) -> None:
    if isinstance(value, dict) and isinstance(value.get("error"), str):
        said = value["error"]
        if "RATE_LIMIT" in said.upper():
            raise RateLimitedError(f"{answer.what}: {said}", code=said)
        raise RefusedError(f"{answer.what}: {said}", code=said)
    if not (isinstance(value, list) and value and value[0] == "error"):
        return
    code, said = str(part(value, 1)), str(part(value, 2))
    text = f"{answer.what}: error {code}: {said}"
    if "ratelimit" in said.replace("_", "").replace(" ", "").lower():
        raise RateLimitedError(text, code=code)
    if code in MAINTENANCE or "maintenance" in said.lower():
        raise MaintenanceError(text, code=code)
    if code in BUSY and "invalid" not in said.lower():
        raise UnavailableError(text, code=code)
    raise RefusedError(text, code=code)


def _range(
    start_ms: int | None, end_ms: int | None, limit: int | None, sort: Sort | None = None
) -> list[tuple[str, str]]:
    named = (("limit", limit), ("start", start_ms), ("end", end_ms), ("sort", sort))
    return [(name, str(value)) for name, value in named if value is not None]


def _segment(text: str) -> str:
    """A symbol or key as a part of a path."""
    return quote(text, safe=":.")


class BitfinexRest:
    """The venue's public calls over one client."""

    def __init__(self, client: RestClient) -> None:
        self.client = client

    async def _get(
        self,
        endpoint: str,
        path: str,
        make: Callable[[Any], T],
        params: Sequence[tuple[str, str]] = (),
    ) -> T:
        request = Request(endpoint=endpoint, path=f"/v2/{path}", params=params)
        return await self.client.call(request, lambda answer: make(read(answer)))

    async def platform_status(self) -> bool:
        """Whether the venue operates; false = maintenance."""
        return await self._get("platform_status", "platform/status", lambda v: number(v, 0) == 1)

    async def ticker(self, symbol: str) -> records.Ticker | records.FundingTicker:
        """One symbol now."""
        path = f"ticker/{_segment(symbol)}"
        return await self._get("ticker", path, lambda row: records.ticker(symbol, rows(row)))

    async def tickers(
        self, symbols: Sequence[str] = ()
    ) -> list[records.Ticker | records.FundingTicker]:
        """Many symbols now; all there are if none is named."""
        params = [("symbols", ",".join(symbols) or "ALL")]
        return await self._get("ticker", "tickers", each(records.named_ticker), params)

    async def tickers_history(
        self,
        symbols: Sequence[str],
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int | None = None,
    ) -> list[records.PastTicker]:
        """Best prices hour by hour, about a year back, newest first; at most 250 rows."""
        params = [("symbols", ",".join(symbols) or "ALL"), *_range(start_ms, end_ms, limit)]
        make = each(records.past_ticker)
        return await self._get("tickers_history", "tickers/hist", make, params)

    async def trades(
        self,
        symbol: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int | None = None,
        sort: Sort | None = None,
    ) -> list[records.Trade]:
        """Trades of a pair; at most 10,000."""
        return await self._trades(symbol, records.trade, _range(start_ms, end_ms, limit, sort))

    async def funding_trades(
        self,
        symbol: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int | None = None,
        sort: Sort | None = None,
    ) -> list[records.FundingTrade]:
        """Trades of a funding currency; at most 10,000."""
        params = _range(start_ms, end_ms, limit, sort)
        return await self._trades(symbol, records.funding_trade, params)

    async def _trades(
        self, symbol: str, make: Callable[[Any], T], params: Sequence[tuple[str, str]]
    ) -> list[T]:
        return await self._get("trades", f"trades/{_segment(symbol)}/hist", each(make), params)

    async def book(
        self, symbol: str, precision: Precision = "P0", length: int = 25
    ) -> list[records.Level]:
        """A pair's book P0 to P4: bids from the best, then asks from the best."""
        return await self._book(symbol, precision, length, records.level)

    async def raw_book(self, symbol: str, length: int = 25) -> list[records.RawOrder]:
        """A pair's single orders."""
        return await self._book(symbol, "R0", length, records.raw_order)

    async def funding_book(
        self, symbol: str, precision: Precision = "P0", length: int = 25
    ) -> list[records.FundingLevel]:
        """A funding currency's book P0 to P4."""
        return await self._book(symbol, precision, length, records.funding_level)

    async def raw_funding_book(self, symbol: str, length: int = 25) -> list[records.FundingOrder]:
        """A funding currency's single offers."""
        return await self._book(symbol, "R0", length, records.funding_order)

    async def _book(
        self, symbol: str, precision: str, length: int, make: Callable[[Any], T]
    ) -> list[T]:
        path = f"book/{_segment(symbol)}/{precision}"
        return await self._get("book", path, each(make), [("len", str(length))])

    async def stats(
        self,
        key: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int | None = None,
        sort: Sort | None = None,
    ) -> list[records.Stat]:
        """A statistic over time, like `pos.size:1m:tBTCUSD:long` or `vol.1d:30m:BFX`."""
        params = _range(start_ms, end_ms, limit, sort)
        return await self._get("stats", f"stats1/{_segment(key)}/hist", each(records.stat), params)

    async def last_stat(self, key: str) -> records.Stat:
        """The newest value of a statistic."""
        return await self._get("stats", f"stats1/{_segment(key)}/last", records.stat)

    async def candles(
        self,
        timeframe: str,
        symbol: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int | None = None,
        sort: Sort | None = None,
    ) -> list[records.Candle]:
        """Candles, at most 10,000; a funding symbol carries its period: `fUSD:p30`."""
        path = f"candles/trade:{timeframe}:{_segment(symbol)}/hist"
        params = _range(start_ms, end_ms, limit, sort)
        return await self._get("candles", path, each(records.candle), params)

    async def last_candle(self, timeframe: str, symbol: str) -> records.Candle:
        """The running candle."""
        path = f"candles/trade:{timeframe}:{_segment(symbol)}/last"
        return await self._get("candles", path, records.candle)

    async def derivatives_status(self, keys: Sequence[str] = ()) -> list[records.DerivativeStatus]:
        """State of derivatives; all if none is named. An unknown key is left out by the venue."""
        params = [("keys", ",".join(keys) or "ALL")]
        make = each(records.named_derivative)
        return await self._get("derivatives", "status/deriv", make, params)

    async def derivatives_history(
        self,
        key: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int | None = None,
        sort: Sort | None = None,
    ) -> list[records.DerivativeStatus]:
        """State of a derivative minute by minute; at most 5,000 rows."""
        make = each(lambda row: records.derivative(key, row))
        params = _range(start_ms, end_ms, limit, sort)
        return await self._get("derivatives", f"status/deriv/{_segment(key)}/hist", make, params)

    async def liquidations(
        self,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int | None = None,
        sort: Sort | None = None,
    ) -> list[records.Liquidation]:
        """Liquidations of all symbols; at most 500 rows."""
        params = _range(start_ms, end_ms, limit, sort)
        make = each(records.liquidation)
        return await self._get("liquidations", "liquidations/hist", make, params)

    async def funding_stats(
        self,
        symbol: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int | None = None,
    ) -> list[records.FundingStat]:
        """Funding statistics of a currency."""
        path = f"funding/stats/{_segment(symbol)}/hist"
        make = each(records.funding_stat)
        return await self._get("funding_stats", path, make, _range(start_ms, end_ms, limit))

    async def conf(self, *keys: str) -> list[Any]:
        """Configuration tables as the venue gives them, one element a key (`pub:map:...`)."""
        path = f"conf/{','.join(_segment(key) for key in keys)}"
        tables = await self._get("conf", path, rows)
        if len(tables) < len(keys):
            raise AnswerError(f"conf: {len(tables)} tables for {len(keys)} keys: {show(tables)}")
        return tables

    async def average_price(
        self,
        symbol: str,
        amount: Decimal,
        *,
        price_limit: Decimal | None = None,
        period: int | None = None,
        rate_limit: Decimal | None = None,
    ) -> records.AveragePrice:
        """What an amount would cost in the market now; below 0 is a sale."""
        wanted = {
            "symbol": symbol,
            "amount": plain(amount),
            "price_limit": None if price_limit is None else plain(price_limit),
            "period": period,
            "rate_limit": None if rate_limit is None else plain(rate_limit),
        }
        found = await self._post("trade/avg", wanted)
        return records.AveragePrice(price_average=number(found, 0), amount=number(found, 1))

    async def foreign_exchange_rate(self, currency: str, into: str) -> Decimal:
        """What one unit of a currency is in another."""
        return number(await self._post("fx", {"ccy1": currency, "ccy2": into}), 0)

    async def _post(self, call: str, wanted: Mapping[str, Any]) -> Any:
        body = {name: value for name, value in wanted.items() if value is not None}
        request = Request(
            endpoint="calc",
            path=f"/v2/calc/{call}",
            method="POST",
            body=msgspec.json.encode(body),
            headers={"Content-Type": "application/json"},
        )
        return await self.client.call(request, lambda answer: rows(read(answer)))


def conf_map(value: Any) -> dict[str, Any]:
    """A `pub:map:...` table, `[[KEY, VALUE], ...]`, as a dict."""
    return table({row[0]: row[1] for row in rows(value) if isinstance(row, list) and len(row) > 1})
