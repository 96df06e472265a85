"""Every REST sample of the recordings, field by field, through the calls' own functions.

A sample is served by a real HTTP server as the venue's answer, asked for by the typed call, and the
record is compared with the sample's number text: what comes out is what the wire said.
"""

import asyncio
import itertools
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.errors import AnswerError
from schemas.rest import (
    BitfinexRates,
    BitfinexRestSettings,
    GmoRestSettings,
    KrakenRestSettings,
)
from tests.rest_servers import RestServer
from venues.bitfinex.listings import KEYS, from_conf
from venues.bitfinex.rest import BitfinexRest, conf_map
from venues.bitfinex.symbols import CURRENCIES, common_pair, currency_names
from venues.gmo.listings import from_symbols
from venues.gmo.rest import GmoRest, candle_date
from venues.gmo.symbols import common_pair as gmo_pair
from venues.kraken.listings import from_pairs
from venues.kraken.rest import KrakenRest
from venues.kraken.symbols import common_currency, rest_name
from venues.kraken.symbols import common_pair as kraken_pair
from venues.pace import Pace
from venues.rest import RestClient, Tools

HOURS = itertools.count(10**18, 3600 * 10**9)


class OneAnswer(RestServer):
    """Serves one body, whatever is asked."""

    body = b""

    def answer(self, seen):
        return 200, self.body


@pytest.fixture(scope="module")
def server():
    with OneAnswer().running() as running:
        yield running


def ask(server, folder: Path, kind, settings, body: bytes, work) -> Any:
    """What a typed call makes of an answer."""
    server.body = body

    async def nothing(_: float) -> None:
        await asyncio.sleep(0)

    async def run():
        # Each look at the clock is an hour later, so no turn is ever waited for.
        pace = Pace(folder, "x", utc_ns=lambda: next(HOURS), sleep=nothing)
        tools = Tools(utc_ns=lambda: next(HOURS), uniform=lambda: 0.0, sleep=nothing)
        fast = msgspec.structs.replace(settings, url=server.url, retries=0)
        fast = msgspec.structs.replace(
            fast,
            rates=type(fast.rates)(**dict.fromkeys(fast.rates.__struct_fields__, 6000.0)),
        )
        async with RestClient(fast, pace, tools) as client:
            return await work(kind(client))

    return asyncio.run(run())


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def values(record: Any) -> list[Any]:
    return [getattr(record, name) for name in record.__struct_fields__]


def test_numbers_keep_their_text():
    from venues.exact import decode, number, plain

    for token in ("1e-8", "0.10", "0.053312790000000006", "3230660371.4429536", "7", "1.87e-06"):
        found = number(decode(f"[{token}]".encode()), 0)
        assert found == Decimal(token)
    assert plain(Decimal("1e-8")) == "0.00000001"
    for wrong in (b"[true]", b'["x"]', b"[[]]", b"[null]", b"[]", b"[1e99]", b'["NaN"]', b"{}"):
        with pytest.raises(AnswerError):
            number(decode(wrong), 0)


# ---- Bitfinex: fields of each sample row, by position

CALLS: dict[str, tuple[Any, list[int | None]]] = {
    "GetCreditSize2": (lambda r: r.stats("credits.size.sym:1m:UST:tETHUST"), [0, 1]),
    "GetVolumeWeightedAveragePrice": (lambda r: r.stats("vwap:1d:tETHUST"), [0, 1]),
    "GetDerivativesStatusHistory": (
        lambda r: r.derivatives_history("tETHUST"),
        [None, 0, 2, 3, 5, 7, 8, 9, 11, 14, 17, 21, 22],
    ),
    "GetFundingOrderBook": (lambda r: r.funding_book("fUSD", "P2"), [0, 1, 2, 3]),
    "GetFundingStatistics": (lambda r: r.funding_stats("tETHUST"), [0, 3, 4, 7, 8, 11]),
    "GetFundingTickers": (
        lambda r: r.tickers(["fUSD"]),
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16],
    ),
    "GetKlines": (lambda r: r.candles("1D", "tETHUST"), [0, 1, 2, 3, 4, 5]),
    "GetRawOrderBook": (lambda r: r.raw_book("tETHUST"), [0, 1, 2]),
    "GetTickerHistory": (lambda r: r.tickers_history(["tMKRF0:USTF0"]), [0, 1, 3, 12]),
    "GetTradeHistory": (lambda r: r.trades("tETHUST"), [0, 1, 2, 3]),
}
CONF = {
    "GetAssetBlockExplorerUrls", "GetAssetFullNames", "GetAssetNetworks", "GetAssetUnderlyings",
    "GetAssetWithdrawalFees", "GetDerivativesFees", "GetMarginInfo", "GetSymbols",
}  # fmt: skip
APART = {"GetAveragePrice", "GetLiquidations", "GetPlatformStatus"}


def samples(recordings: Path) -> dict[str, dict[str, Any]]:
    lines = (recordings / "bitfinex" / "rest_doc_samples.jsonl").read_text(encoding="utf-8")
    return {one["name"]: one for one in map(exact, lines.splitlines())}


def bodies(recordings: Path) -> dict[str, bytes]:
    """The responses' own bytes."""
    lines = (recordings / "bitfinex" / "rest_doc_samples.jsonl").read_text(encoding="utf-8")
    return {
        json.loads(line)["name"]: re.sub(r'^.*?"response":', "", line, count=1)[:-1].encode()
        for line in lines.splitlines()
    }


def bitfinex(server, folder, body, work):
    return ask(
        server, folder, BitfinexRest, BitfinexRestSettings(rates=BitfinexRates()), body, work
    )


def test_every_bitfinex_sample_is_asked_for(recordings):
    assert set(samples(recordings)) == set(CALLS) | CONF | APART


@pytest.mark.parametrize("name", sorted(CALLS))
def test_bitfinex_rows(server, recordings, tmp_path, name):
    sample = samples(recordings)[name]
    call, places = CALLS[name]
    found = bitfinex(server, tmp_path, bodies(recordings)[name], call)
    assert server.seen[-1].path == sample["path"]
    assert server.seen[-1].method == sample["method"]
    assert len(found) == len(sample["response"]) > 0
    for record, row in zip(found, sample["response"], strict=True):
        made = values(record)
        assert len(made) == len(places)
        for value, place in zip(made, places, strict=True):
            assert place is None or value == row[place], (name, place)


def test_bitfinex_rows_that_have_grown_shrunk_or_lost_a_value(server, recordings, tmp_path):
    """Trailing fields may come; optional ones may be missing or null; needed ones may not."""
    old = b'[["tBTCF0:USTF0",1570578776000,null,8194.95]]'
    found = bitfinex(server, tmp_path, old, lambda r: r.derivatives_status(["tBTCF0:USTF0"]))
    assert found[0].key == "tBTCF0:USTF0"
    assert found[0].price == Decimal("8194.95")
    assert found[0].mark_price is None
    grown = b'[[388063448,1567526214876,1.918524,10682,null,"new",{"x":1}]]'
    assert bitfinex(server, tmp_path, grown, lambda r: r.trades("tETHUST"))[0].price == 10682
    for short in (b"[[388063448,1567526214876,1.918524]]", b"[388063448]", b"[[null,1,2,3]]",
                  b'{"a":1}', b"5"):  # fmt: skip
        with pytest.raises(AnswerError):
            bitfinex(server, tmp_path, short, lambda r: r.trades("tETHUST"))


def test_bitfinex_samples_apart(server, recordings, tmp_path):
    body = bodies(recordings)
    assert bitfinex(server, tmp_path, body["GetPlatformStatus"], lambda r: r.platform_status())
    assert not bitfinex(server, tmp_path, b"[0]", lambda r: r.platform_status())
    average = bitfinex(
        server, tmp_path, body["GetAveragePrice"],
        lambda r: r.average_price("tBTCUSD", Decimal("1.123"), price_limit=Decimal(25000)),
    )  # fmt: skip
    assert values(average) == samples(recordings)["GetAveragePrice"]["response"]
    sent = json.loads(server.seen[-1].body)
    assert sent == {"symbol": "tBTCUSD", "amount": "1.123", "price_limit": "25000"}
    one = bitfinex(server, tmp_path, body["GetLiquidations"], lambda r: r.liquidations())[0]
    row = samples(recordings)["GetLiquidations"]["response"][0][0]
    assert values(one) == [row[1], row[2], row[4], row[5], row[6], False, True, row[11]]
    assert one.amount == Decimal("1e-8")


@pytest.mark.parametrize("name", sorted(CONF))
def test_bitfinex_conf_tables(server, recordings, tmp_path, name):
    sample = samples(recordings)[name]
    key = sample["path"].removeprefix("/v2/conf/")
    found = bitfinex(server, tmp_path, bodies(recordings)[name], lambda r: r.conf(key))
    assert server.seen[-1].path == sample["path"]
    assert found == sample["response"]
    if key.startswith("pub:map:"):
        table = conf_map(found[0])
        assert [[k, v] for k, v in table.items()] == list(sample["response"][0])


def test_other_bitfinex_calls_ask_what_the_pages_say(server, tmp_path):
    """(call, answer, path, parameters)"""
    ticker = b"[761,1.5,762,2.5,10,0.012,761.5,544.3,868,851,null]"
    cases = [
        (lambda r: r.ticker("tBTCUSD"), ticker, "/v2/ticker/tBTCUSD", {}),
        (lambda r: r.tickers(), b"[]", "/v2/tickers", {"symbols": "ALL"}),
        (lambda r: r.funding_trades("fUSD", limit=5), b"[[1,2,-3.5,0.0002,30]]",
         "/v2/trades/fUSD/hist", {"limit": "5"}),
        (lambda r: r.book("tBTCUSD", "P1", 100), b"[[86717,2,-0.5]]", "/v2/book/tBTCUSD/P1",
         {"len": "100"}),
        (lambda r: r.raw_funding_book("fUSD"), b"[[7,30,0.0003,-12.5]]", "/v2/book/fUSD/R0",
         {"len": "25"}),
        (lambda r: r.last_stat("pos.size:1m:tBTCUSD:long"), b"[1573560420000,36.5]",
         "/v2/stats1/pos.size:1m:tBTCUSD:long/last", {}),
        (lambda r: r.last_candle("1m", "fUSD:p30"), b"[1,2,3,4,5,6]",
         "/v2/candles/trade:1m:fUSD:p30/last", {}),
        (lambda r: r.derivatives_status(), b"[]", "/v2/status/deriv", {"keys": "ALL"}),
        (lambda r: r.trades("tBTCUSD", start_ms=1, end_ms=2, limit=3, sort=1), b"[]",
         "/v2/trades/tBTCUSD/hist", {"start": "1", "end": "2", "limit": "3", "sort": "1"}),
        (lambda r: r.liquidations(limit=1, sort=-1), b"[]", "/v2/liquidations/hist",
         {"limit": "1", "sort": "-1"}),
        (lambda r: r.conf("pub:list:pair:exchange", "pub:list:currency"), b"[[],[]]",
         "/v2/conf/pub:list:pair:exchange,pub:list:currency", {}),
    ]  # fmt: skip
    for call, body, path, params in cases:
        bitfinex(server, tmp_path, body, call)
        assert (server.seen[-1].path, server.seen[-1].params) == (path, params)
    now = bitfinex(server, tmp_path, ticker, lambda r: r.ticker("tBTCUSD"))
    assert values(now) == ["tBTCUSD", *map(Decimal, (
        "761", "1.5", "762", "2.5", "10", "0.012", "761.5", "544.3", "868", "851"))]  # fmt: skip
    with pytest.raises(AnswerError, match="1 tables for 2 keys"):
        bitfinex(server, tmp_path, b"[[]]", lambda r: r.conf("a", "b"))


def test_bitfinex_lists_of_2021(recordings):
    """Every pair of the venue's own lists has one common name."""
    lines = (recordings / "bitfinex" / "rest_conf_lists_2021.jsonl").read_text(encoding="utf-8")
    tables = {}
    for line in lines.splitlines():
        one = json.loads(line)
        tables[one["request"].rpartition("conf/")[2]] = one["response"][0]
    exchange = tables["pub:list:pair:exchange"]
    futures = tables["pub:list:pair:future"]
    info = samples(recordings)["GetSymbols"]["response"][0]
    names = [["DOG", "MDOGE"], ["CNHT", "CNHt"]]
    listed = from_conf([exchange, futures, [], info, [], names])
    assert len(KEYS) == 6
    assert [one.symbol for one in listed] == sorted(f"t{code}" for code in [*exchange, *futures])
    by_symbol = {one.symbol: one for one in listed}
    assert len({one.pair for one in listed}) == len(listed)
    assert by_symbol["tBTCF0:USTF0"].kind == "perpetual"
    assert by_symbol["tDOGUST"].pair == "MDOGE/USDT"
    assert by_symbol["tDSHUSD"].pair == "DASH/USD"
    assert by_symbol["tBTC:CNHT"].pair == "BTC/CNHT"
    assert by_symbol["tADABTC"].min_size == "4.0"
    assert by_symbol["tADABTC"].max_size == "250000.0"
    currencies = set(tables["pub:list:currency"])
    for one in listed:
        assert re.fullmatch(r"[A-Z0-9]+/[A-Z0-9]+(:PERP)?", one.pair), one
    assert {"UST", "DSH", "IOT", "ALG", "ATO"} <= currencies & set(CURRENCIES)


def test_our_own_names_win_over_the_venues():
    names = currency_names({"UST": "USDt", "ALG": "ALGO", "QQQ": "qq", "NULL": None})
    assert names["UST"] == "USDT"
    assert names["QQQ"] == "QQ"
    assert "NULL" not in names
    assert common_pair("tQQQUST", names) == "QQ/USDT"
    assert common_pair("fUST", names) == "USDT:FUNDING"


# ---- Kraken


def kraken(server, folder, body, work):
    return ask(server, folder, KrakenRest, KrakenRestSettings(), body, work)


def test_kraken_asset_pairs_field_by_field(server, recordings, tmp_path):
    body = (recordings / "kraken" / "rest_AssetPairs_2021.json").read_bytes()
    sample = exact(body.decode())["result"]
    found = kraken(server, tmp_path, body, lambda r: r.asset_pairs())
    assert server.seen[-1].path == "/0/public/AssetPairs"
    assert [pair.name for pair in found] == list(sample)
    for pair in found:
        row = sample[pair.name]
        assert (pair.altname, pair.base, pair.quote) == (row["altname"], row["base"], row["quote"])
        assert pair.wsname == row.get("wsname", "")
        assert pair.price_decimals == row["pair_decimals"]
        assert pair.lot_decimals == row["lot_decimals"]
        assert pair.lot_multiplier == row["lot_multiplier"]
        assert list(pair.leverage_buy) == row["leverage_buy"]
        assert list(pair.leverage_sell) == row["leverage_sell"]
        assert [list(fee) for fee in pair.fees] == row["fees"]
        assert [list(fee) for fee in pair.fees_maker] == row.get("fees_maker", [])
        assert pair.fee_volume_currency == row["fee_volume_currency"]
        assert (pair.margin_call, pair.margin_stop) == (row["margin_call"], row["margin_stop"])
        wanted = row.get("ordermin")
        assert pair.min_size == (None if wanted is None else Decimal(wanted))
        assert (pair.cost_decimals, pair.tick_size, pair.status) == (None, None, "")


def test_kraken_listings_have_the_names_of_the_streams(server, recordings, tmp_path):
    body = (recordings / "kraken" / "rest_AssetPairs_2021.json").read_bytes()
    pairs = kraken(server, tmp_path, body, lambda r: r.asset_pairs())
    listed = {one.symbol: one for one in from_pairs(pairs)}
    assert len(listed) == sum(1 for pair in pairs if pair.wsname)
    assert listed["BTC/USD"].tick_size == "0.1"
    assert listed["BTC/USD"].size_step == "0.00000001"
    assert listed["BTC/USD"].min_size == "0.0002"
    assert listed["DOGE/USD"].rest_symbol == "XDGUSD"
    assert not any("XBT" in name or "XDG" in name for name in listed)
    for one in listed.values():
        assert rest_name(one.symbol) == one.rest_symbol, one
    instruments = exact(
        (recordings / "kraken" / "ws_v2_instrument_snapshot_2024.json").read_text(encoding="utf-8")
    )
    streams = {pair["symbol"] for pair in instruments["data"]["pairs"]}
    assert len(streams & set(listed)) > 200, "most pairs of 2021 still stream under that name"


def test_kraken_currencies():
    for code, common in (("XXBT", "BTC"), ("XBT", "BTC"), ("XXDG", "DOGE"), ("ZUSD", "USD"),
                         ("XTZ", "XTZ"), ("ZRX", "ZRX"), ("USDT", "USDT")):  # fmt: skip
        assert common_currency(code) == common
    assert kraken_pair("XBT/USD") == "BTC/USD"
    assert kraken_pair("ETH/XBT") == "ETH/BTC"


def test_kraken_candles_field_by_field(server, recordings, tmp_path):
    body = (recordings / "kraken" / "rest_ohlc_2025.json").read_bytes()
    sample = exact(body.decode())["result"]
    found = kraken(server, tmp_path, body, lambda r: r.ohlc("XBTUSDT", 1, since_s=5))
    assert server.seen[-1].params == {"pair": "XBTUSDT", "interval": "1", "since": "5"}
    assert found.last_s == sample["last"]
    assert len(found.rows) == len(sample["XBTUSDT"]) == 721
    for candle, row in zip(found.rows, sample["XBTUSDT"], strict=True):
        assert values(candle) == [row[0] * 1000, *map(Decimal, row[1:7]), row[7]]
        assert format(candle.volume, "f") == row[6]


def test_other_kraken_calls(server, tmp_path):
    def answer(result: str) -> bytes:
        return f'{{"error":[],"result":{result}}}'.encode()

    body = answer('{"status":"online","timestamp":"2023-07-06T18:52:00Z"}')
    status = kraken(server, tmp_path, body, lambda r: r.system_status())
    assert values(status) == ["online", 1_688_669_520_000]
    row = '["30243.40","0.34507674",1688669597.827732012,"b","m","",61044952]'
    body = answer(f'{{"XXBTZUSD":[{row}],"last":"1688669597827732012"}}')
    found = kraken(server, tmp_path, body, lambda r: r.trades("XBTUSD", since_ns=3, count=9))
    assert server.seen[-1].params == {"pair": "XBTUSD", "since": "3", "count": "9"}
    trade = found.rows[0]
    assert trade.time_ns == found.last_ns == 1_688_669_597_827_732_012
    assert (str(trade.price), trade.side, trade.kind, trade.id) == (
        "30243.40", "buy", "market", 61044952)  # fmt: skip
    body = answer('{"XXBTZUSD":{"asks":[["30384.1","2.059",1688671659]],"bids":[["30297.0","1.115",'
                  "1688671636]]}}")  # fmt: skip
    book = kraken(server, tmp_path, body, lambda r: r.depth("XBTUSD", 1))
    assert values(book.asks[0]) == [Decimal("30384.1"), Decimal("2.059"), 1688671659]
    assert str(book.bids[0].price) == "30297.0"
    body = answer('{"XXBT":{"aclass":"currency","altname":"XBT","decimals":10,'
                  '"display_decimals":5,"status":"enabled"}}')  # fmt: skip
    asset = kraken(server, tmp_path, body, lambda r: r.assets(["XBT"]))[0]
    assert values(asset) == ["XXBT", "XBT", 10, 5, "enabled"]
    body = answer('{"XXBTZUSD":{"a":["30300.10","1","1.000"],"b":["30300.00","2","2.000"],'
                  '"c":["30303.20","0.00067643"],"v":["4083.67","4412.73"],"p":["30706.77","30689.1"],'
                  '"t":[34619,38907],"l":["29868.3","29868.0"],"h":["31631.0","31632.0"],'
                  '"o":"30502.8"}}')  # fmt: skip
    now = kraken(server, tmp_path, body, lambda r: r.tickers(["XBTUSD"]))[0]
    assert values(now) == ["XXBTZUSD", *map(Decimal, (
        "30300.00", "2.000", "30300.10", "1.000", "30303.20", "4412.73", "30689.1")), 38907,
        *map(Decimal, ("29868.0", "31632.0", "30502.8"))]  # fmt: skip
    with pytest.raises(AnswerError, match="not one pair"):
        kraken(server, tmp_path, answer('{"A":[],"B":[],"last":1}'), lambda r: r.trades("XBTUSD"))


# ---- GMO Coin


def gmo(server, folder, data: str, work):
    body = f'{{"status":0,"data":{data},"responsetime":"2019-03-19T02:15:06.001Z"}}'.encode()
    return ask(server, folder, GmoRest, GmoRestSettings(), body, work)


def sample_of(recordings: Path, name: str) -> str:
    return (recordings / "gmo" / f"rest_public_{name}.json").read_text(encoding="utf-8")


def test_gmo_samples_field_by_field(server, recordings, tmp_path):
    text = sample_of(recordings, "orderbooks")
    book = gmo(server, tmp_path, text, lambda r: r.book("BTC"))
    row = json.loads(text)
    assert book.symbol == row["symbol"]
    for levels, side in ((book.bids, row["bids"]), (book.asks, row["asks"])):
        assert [[str(level.price), str(level.size)] for level in levels] == [
            [one["price"], one["size"]] for one in side
        ]
    text = sample_of(recordings, "trades")
    page = gmo(server, tmp_path, text, lambda r: r.trades("BTC", page=2, count=50))
    assert server.seen[-1].params == {"symbol": "BTC", "page": "2", "count": "50"}
    row = json.loads(text)
    assert (page.page, page.count) == (1, 100)
    for trade, one in zip(page.rows, row["list"], strict=True):
        assert [str(trade.price), str(trade.size), trade.side] == [
            one["price"], one["size"], one["side"]]  # fmt: skip
        assert one["timestamp"].endswith(f".{trade.mts % 1000:03d}Z")
    text = sample_of(recordings, "ticker")
    for ticker, one in zip(gmo(server, tmp_path, text, lambda r: r.tickers("BTC")),
                           json.loads(text), strict=True):  # fmt: skip
        for name in ("ask", "bid", "high", "last", "low", "volume", "symbol"):
            assert str(getattr(ticker, name)) == one[name]
        assert ticker.mts == 1_770_970_163_047
    text = sample_of(recordings, "symbols")
    found = gmo(server, tmp_path, text, lambda r: r.symbols())
    for rules, one in zip(found, json.loads(text), strict=True):
        assert [rules.symbol, str(rules.min_size), str(rules.max_size), str(rules.size_step),
                str(rules.tick_size), str(rules.taker_fee), str(rules.maker_fee)] == [
            one["symbol"], one["minOrderSize"], one["maxOrderSize"], one["sizeStep"],
            one["tickSize"], one["takerFee"], one["makerFee"]]  # fmt: skip
        assert rules.min_close_size is None
    listed = {one.symbol: one for one in from_symbols(found)}
    assert listed["BTC"].size_step == "0.00001"
    assert listed["BTC"].pair == "BTC/JPY"
    assert listed["BTC_JPY"].kind == "perpetual"
    assert len({one.pair for one in listed.values()}) == len(found)


def test_other_gmo_calls(server, tmp_path):
    status = gmo(server, tmp_path, '{"status":"PREOPEN"}', lambda r: r.status())
    assert status.status == "PREOPEN"
    row = {"openTime": "1618588800000", "open": "6418255", "high": "6518250", "low": "6318250",
           "close": "6408255", "volume": "10.0001"}  # fmt: skip
    data = json.dumps([row])
    candle = gmo(server, tmp_path, data, lambda r: r.candles("BTC", "1min", "20210417"))[0]
    assert server.seen[-1].params == {"symbol": "BTC", "interval": "1min", "date": "20210417"}
    assert values(candle) == [1_618_588_800_000, *map(Decimal, (
        "6418255", "6518250", "6318250", "6408255", "10.0001"))]  # fmt: skip


@pytest.mark.parametrize(
    ("interval", "mts", "date"),
    [
        ("1min", 1_770_930_000_000 - 1, "20260212"),  # 20:59:59.999 UTC = 05:59:59.999 in Japan
        ("1min", 1_770_930_000_000, "20260213"),  # 21:00 UTC = 06:00 in Japan
        ("1hour", 1_770_930_000_000, "20260213"),
        ("1day", 1_767_193_200_000, "2026"),  # 31 December 15:00 UTC = new year in Japan
        ("1day", 1_767_193_200_000 - 1, "2025"),
    ],
)
def test_gmo_days_begin_at_six_in_japan(interval, mts, date):
    assert candle_date(interval, mts) == date


def test_gmo_pairs():
    assert gmo_pair("BTC") == "BTC/JPY"
    assert gmo_pair("BTC_JPY") == "BTC/JPY:PERP"
