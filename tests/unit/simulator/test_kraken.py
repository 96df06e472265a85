"""Kraken's side over real sockets: frames field by field, books by a client of the sheet alone."""

import base64
import hashlib
import hmac
import json
import re
from itertools import pairwise

import pytest

from processes.simulator.kraken_rest import sign
from processes.simulator.kraken_tokens import TEST_TOKEN
from processes.simulator.kraken_venue import API_KEY, API_SECRET
from tests.unit.simulator.books import KrakenBook, KrakenOrders, decimals
from tests.unit.simulator.world import START_NS, World, run

PAIRS = ("BTC/USD", "XRP/USD")
STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(\d{6}|\d{9})Z$")


def world(**settings):
    return World(kraken_symbols=PAIRS, **settings)


async def subscribe(place, watcher, channel, symbols=PAIRS, **params):
    names = {} if channel == "instrument" else {"symbol": list(symbols)}
    await watcher.send(method="subscribe", params={"channel": channel, **names, **params}, req_id=9)
    await place.step(0.2)


def acks(watcher):
    return [v for v in watcher.values if v.get("method") == "subscribe"]


def test_the_first_frame_is_the_status_and_heartbeats_come_with_the_first_subscription():
    async def live():
        async with world() as place:
            watcher = await place.watch("/kraken/v2")
            await place.step(3)
            (status,) = watcher.values
            assert status["channel"] == "status"
            assert status["type"] == "update"
            (row,) = status["data"]
            assert row["system"] == "online"
            assert row["api_version"] == "v2"
            assert row["connection_id"] > 1 << 53
            assert row["upcoming_maintenance"] == row["emergency"] == []
            await subscribe(place, watcher, "trade", PAIRS[:1])
            await place.step(10)
            beats = [v for v in watcher.values if v == {"channel": "heartbeat"}]
            assert len(beats) == 10

    run(live())


def test_every_symbol_is_answered_by_itself():
    async def live():
        async with world() as place:
            watcher = await place.watch("/kraken/v2")
            names = ["BTC/USD", "XBT/USD", "btc/usd", "XRP/USD"]
            await subscribe(place, watcher, "book", names, depth=10)
            found = acks(watcher)
            assert len(found) == 4
            assert all(ack["req_id"] == 9 and STAMP.match(ack["time_in"]) for ack in found)
            good = {a["result"]["symbol"]: a["result"] for a in found if a["success"]}
            assert good == {
                n: {"channel": "book", "symbol": n, "depth": 10, "snapshot": True} for n in PAIRS
            }
            bad = {a["symbol"]: a["error"] for a in found if not a["success"]}
            assert bad == {n: f"Currency pair not supported {n}" for n in ("XBT/USD", "btc/usd")}
            assert len(watcher.of("book", "snapshot")) == 2
            await watcher.send(method="ping", req_id=4)
            await place.settle()
            pong = watcher.values[-1]
            assert pong["method"] == "pong"
            assert pong["req_id"] == 4

    run(live())


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"channel": "book", "depth": 11}, "Subscription depth not supported"),
        ({"channel": "book", "depth": True}, "Subscription depth not supported"),
        ({"channel": "ohlc", "interval": 2}, "Subscription ohlc interval not supported"),
        ({"channel": "level3"}, "Channel not supported"),
        ({"channel": "book", "symbol": "BTC/USD"}, "Malformed request"),
    ],
)  # fmt: skip
def test_a_refusal_leaves_the_socket_open(params, error):
    async def live():
        async with world() as place:
            watcher = await place.watch("/kraken/v2")
            await watcher.send(method="subscribe", params={"symbol": ["BTC/USD"], **params})
            await place.step(0.2)
            (ack,) = acks(watcher)
            assert ack["error"] == error
            assert ack["success"] is False
            assert "symbol" not in ack
            await subscribe(place, watcher, "book", PAIRS[:1])
            assert watcher.of("book", "snapshot")

    run(live())


@pytest.mark.parametrize("depth", [10, 25, 100])
def test_books_are_the_venues_only_if_the_client_cuts_them(depth):
    async def live():
        async with world(resting_orders=1200 if depth == 100 else 260) as place:
            watcher = await place.watch("/kraken/v2")
            await subscribe(place, watcher, "book", depth=depth)
            await place.step(60)
            held, careless = {}, 0
            seen = {"repeated": 0, "unsorted": 0, "frames": 0}
            for text in watcher.frames:
                frame = decimals(text)
                if frame.get("channel") != "book":
                    continue
                (row,) = frame["data"]
                if frame["type"] == "snapshot":
                    held[row["symbol"]] = (KrakenBook(depth), KrakenBook(10**6))
                for book in held[row["symbol"]]:
                    book.apply(frame)
                book, uncut = held[row["symbol"]]
                assert book.checksum() == int(row["checksum"])
                careless += len(uncut.sides["bids"]) > depth
                prices = [e["price"] for e in row["bids"]]
                seen["repeated"] += len(prices) != len(set(prices))
                seen["unsorted"] += prices != sorted(prices, key=float, reverse=True)
                seen["frames"] += 1
            assert careless
            assert min(seen.values()) > 0, seen
            for symbol, (book, _) in held.items():
                true = place.exchange.truth(
                    {"venue": "kraken", "kind": "book", "symbol": symbol, "depth": depth}
                )
                assert book.best("bids") == true["bids"]
                assert book.best("asks") == true["asks"]
                assert len(true["bids"]) == depth

    run(live())


def test_order_books_by_queue_and_token():
    async def live():
        async with world() as place:
            watcher = await place.watch("/kraken/l3")
            await subscribe(place, watcher, "level3", PAIRS[:1], token="made up")
            (ack,) = acks(watcher)
            assert ack["error"] == "ESession:Invalid session"
            assert ack["status"] == "error"
            await subscribe(place, watcher, "level3", PAIRS, token=TEST_TOKEN)
            await place.step(60)
            held: dict[str, KrakenOrders] = {}
            events = set()
            shuffled = 0
            for text in watcher.frames:
                frame = decimals(text)
                if frame.get("channel") != "level3":
                    continue
                (row,) = frame["data"]
                book = held.setdefault(row["symbol"], KrakenOrders(10))
                book.apply(frame)
                assert book.checksum() == int(row["checksum"])
                events |= {e.get("event") for e in row["bids"]}
                adds = [e["timestamp"] for e in row["bids"] if e.get("event") == "add"]
                shuffled += adds != sorted(adds)
                for entry in [*row["bids"], *row["asks"]]:
                    assert re.fullmatch(r"O[A-Z2-7]{5}-[A-Z2-7]{5}-[A-Z2-7]{6}", entry["order_id"])
            assert events == {None, "add", "modify", "delete"}
            assert shuffled
            true = place.exchange.truth(
                {"venue": "kraken", "kind": "book", "symbol": "BTC/USD", "level3": True}
            )
            assert held["BTC/USD"].orders("bids") == true["bids"]
            assert held["BTC/USD"].orders("asks") == true["asks"]

    run(live())


def test_trades_tickers_and_candles_tell_the_same_market():
    async def live():
        async with world() as place:
            watcher = await place.watch("/kraken/v2")
            await subscribe(place, watcher, "trade", PAIRS[:1], snapshot=True)
            await subscribe(place, watcher, "ticker", PAIRS[:1])
            await subscribe(place, watcher, "ohlc", PAIRS[:1], interval=1)
            await subscribe(place, watcher, "ohlc", PAIRS[:1], interval=5)
            await place.step(90, 0.25)
            frames = [decimals(f) for f in watcher.frames]
            rows = [r for f in frames if f.get("channel") == "trade" for r in f["data"]]
            assert len(watcher.of("trade", "snapshot")[0]["data"]) == 50
            assert max(len(f["data"]) for f in watcher.of("trade", "update")) > 1
            asked = {"venue": "kraken", "symbol": "BTC/USD"}
            true = place.exchange.truth({**asked, "kind": "trades"})["rows"]
            mine = [(r["trade_id"], r["side"], r["price"], r["qty"], r["timestamp"]) for r in rows]
            assert mine == true[-len(mine) :]
            assert {r["ord_type"] for r in rows} <= {"market", "limit"}
            ticker = [f for f in frames if f.get("channel") == "ticker"]
            assert ticker[0]["type"] == "snapshot"
            assert ticker[-1]["data"][0]["last"] == true[-1][2]
            assert set(ticker[-1]["data"][0]) == {
                "symbol", "bid", "bid_qty", "ask", "ask_qty", "last", "volume", "vwap", "low",
                "high", "change", "change_pct", "trades", "timestamp",
            }  # fmt: skip
            for interval in ("1", "5"):
                held = {}
                for frame in frames:
                    for row in frame["data"] if frame.get("channel") == "ohlc" else []:
                        if row["interval"] == interval:
                            held[row["interval_begin"]] = row
                candles = place.exchange.truth({**asked, "kind": "candles", "timeframe": interval})[
                    "rows"
                ]
                assert [
                    tuple(
                        r[k] for k in ("open", "high", "low", "close", "vwap", "volume", "trades")
                    )
                    for r in held.values()
                ] == [row[1:] for row in candles]
            first = next(f for f in frames if f.get("channel") == "ohlc")
            begins = [row["interval_begin"] for row in first["data"]]
            assert begins == sorted(begins)
            assert STAMP.match(first["timestamp"])

    run(live())


def test_a_ticker_by_the_best_prices_follows_them():
    async def live():
        async with world() as place:
            watcher = await place.watch("/kraken/v2")
            await subscribe(place, watcher, "ticker", PAIRS[:1], event_trigger="bbo")
            await place.step(20)
            quotes = [(r["bid"], r["ask"]) for f in watcher.of("ticker") for r in f["data"]]
            assert len(quotes) > 10
            assert all(one != other for one, other in pairwise(quotes))

    run(live())


def test_instruments_have_assets_and_pairs_and_exponents():
    async def live():
        async with world() as place:
            watcher = await place.watch("/kraken/v2")
            await subscribe(place, watcher, "instrument")
            (ack,) = acks(watcher)
            assert ack["result"]["warnings"]
            (frame,) = watcher.of("instrument")
            assert "e-08" in watcher.frames[-1]
            assert {a["id"] for a in frame["data"]["assets"]} == {"BTC", "USD", "XRP"}
            by_name = {pair["symbol"]: pair for pair in frame["data"]["pairs"]}
            assert set(by_name) == set(PAIRS)
            assert by_name["XRP/USD"]["price_precision"] == 5
            assert "margin_initial" in by_name["BTC/USD"]
            assert "margin_initial" not in by_name["XRP/USD"]
            place.exchange.commit_fault({"kind": "maintenance", "venue": "kraken"})
            await place.settle()
            assert watcher.of("status")[-1]["data"][0]["system"] == "maintenance"
            update = watcher.of("instrument", "update")[-1]
            assert {p["status"] for p in update["data"]["pairs"]} == {"maintenance"}

    run(live())


def test_what_was_unsubscribed_is_silent_and_may_come_again():
    async def live():
        async with world() as place:
            watcher = await place.watch("/kraken/v2")
            await subscribe(place, watcher, "book", PAIRS[:1])
            await subscribe(place, watcher, "book", PAIRS[:1])
            assert acks(watcher)[-1]["error"] == "Already subscribed"
            params = {"channel": "book", "symbol": ["BTC/USD"], "depth": 10}
            await watcher.send(method="unsubscribe", params=params, req_id=3)
            await place.settle()
            reply = watcher.values[-1]
            assert reply["method"] == "unsubscribe"
            assert reply["success"] is True
            assert reply["result"] == {"channel": "book", "symbol": "BTC/USD", "depth": 10}
            before = len(watcher.of("book"))
            await place.step(5)
            assert len(watcher.of("book")) == before
            await subscribe(place, watcher, "book", PAIRS[:1])
            assert watcher.of("book")[before]["type"] == "snapshot"

    run(live())


def test_keys_stand_in_no_fixed_order():
    async def live():
        async with world() as place:
            watcher = await place.watch("/kraken/v2")
            await subscribe(place, watcher, "book", PAIRS[:1])
            await place.step(20)
            assert len({tuple(f) for f in watcher.of("book")}) > 2
            assert len({tuple(f["data"][0]) for f in watcher.of("book")}) > 2

    run(live())


def test_an_unused_socket_is_closed():
    async def live():
        async with world() as place:
            watcher = await place.watch("/kraken/v2")
            await place.step(59, 1.0)
            assert not watcher.gone
            await place.step(2, 1.0)
            await place.until(lambda: watcher.gone)
            assert watcher.code == 1006

    run(live())


def test_tokens_are_signed_for_and_open_order_books():
    # The published example of the REST guide.
    secret = (
        "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
    )
    body = "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    assert sign(secret, "/0/private/AddOrder", "1616492376594", body) == (
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    )

    async def live():
        async with world() as place:
            path = "/0/private/GetWebSocketsToken"

            async def ask(nonce: int, key=API_KEY, secret=API_SECRET):
                body = f"nonce={nonce}"
                inner = hashlib.sha256((str(nonce) + body).encode()).digest()
                mac = hmac.new(base64.b64decode(secret), path.encode() + inner, hashlib.sha512)
                headers = {"API-Key": key, "API-Sign": base64.b64encode(mac.digest()).decode()}
                url = f"{place.base}/kraken{path}"
                async with place.http.post(url, data=body, headers=headers) as reply:
                    assert reply.status == 200
                    return await reply.json()

            assert (await ask(1, key="other"))["error"] == ["EAPI:Invalid key"]
            assert (await ask(1, secret="AAAA"))["error"] == ["EAPI:Invalid signature"]
            answer = await ask(5)
            assert answer["error"] == []
            assert answer["result"]["expires"] == 900
            assert (await ask(5))["error"] == ["EAPI:Invalid nonce"]
            token = answer["result"]["token"]
            watcher = await place.watch("/kraken/l3")
            await subscribe(place, watcher, "level3", PAIRS[:1], token=token)
            assert watcher.of("level3", "snapshot")
            await place.step(901, 50.0)
            await subscribe(place, watcher, "level3", PAIRS[1:], token=token)
            assert acks(watcher)[-1]["error"] == "ESession:Invalid session"

    run(live())


def test_rest_has_the_old_names_and_the_same_market(recordings):
    recorded = json.loads((recordings / "kraken" / "rest_AssetPairs_2021.json").read_text())
    recorded = recorded.get("result", recorded)

    async def live():
        async with world(past_s=120.0) as place:  # two candles
            public = "/kraken/0/public"
            pairs = (await place.get(f"{public}/AssetPairs"))["result"]
            assert set(pairs) == {"XXBTZUSD", "XXRPZUSD"}
            for name in pairs:
                theirs = recorded[name]
                assert set(theirs) <= set(pairs[name]) | {"lot_multiplier", "leverage_buy"}
                for same in ("altname", "wsname", "base", "quote", "lot_decimals", "pair_decimals"):
                    assert pairs[name][same] == theirs[same], same
            assert (await place.get(f"{public}/AssetPairs", pair="XBTUSD,NOPE"))["error"]
            status = await place.get(f"{public}/SystemStatus")
            assert status["result"]["status"] == "online"
            await place.step(30)
            asked = {"venue": "kraken", "symbol": "BTC/USD"}
            depth = (await place.get(f"{public}/Depth", pair="XBTUSD", count=5))["result"]
            true = place.exchange.truth({**asked, "kind": "book", "depth": 5})
            assert [tuple(row[:2]) for row in depth["XXBTZUSD"]["bids"]] == true["bids"]
            candles = (await place.get(f"{public}/OHLC", pair="XBTUSD", interval=1))["result"]
            rows = [tuple(map(str, row)) for row in candles["XXBTZUSD"]]
            assert (
                rows == place.exchange.truth({**asked, "kind": "candles", "timeframe": "1"})["rows"]
            )
            assert candles["last"] == candles["XXBTZUSD"][-2][0]
            trades = (await place.get(f"{public}/Trades", pair="XBTUSD", since=START_NS))["result"]
            true = place.exchange.truth({**asked, "kind": "trades"})["rows"]
            mine = [(str(t[6]), t[0], t[1]) for t in trades["XXBTZUSD"]]
            assert mine
            assert mine == [(t[0], t[2], t[3]) for t in true[-len(mine) :]]
            assert (await place.get(f"{public}/Depth", pair="nope"))["error"] == [
                "EQuery:Unknown asset pair"
            ]

    run(live())
