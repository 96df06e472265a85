"""GMO Coin's side over real sockets: what is said, what is not, and when."""

import json
from decimal import Decimal

from tests.unit.simulator.world import SECOND, START_NS, World, run

SYMBOLS = ("BTC_JPY", "XRP_JPY", "BTC")
SOCKET = "/gmo/ws/public/v1"
REST = "/gmo/public/v1"


def world(**settings):
    return World(gmo_symbols=SYMBOLS, **settings)


async def command(place, watcher, channel, symbol="BTC_JPY", verb="subscribe", **more):
    """One command, a second after the one before."""
    await place.step(1.1)
    await watcher.send(command=verb, channel=channel, symbol=symbol, **more)
    await place.settle()


def shape(value):
    """Keys and types, all the way down; lists by their first element."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value)


def test_frames_have_the_recorded_shapes(recordings):
    path = recordings / "gmo" / "ws_public_frames_2026.jsonl"
    recorded = {
        f["channel"]: f for f in map(json.loads, path.read_text().splitlines()) if "channel" in f
    }

    async def live():
        async with world() as place:
            watcher = await place.watch(SOCKET)
            for channel in recorded:
                await command(place, watcher, channel)
            await place.step(20)
            for channel, frame in recorded.items():
                found = watcher.of(channel)
                assert found, channel
                assert shape(found[-1]) == shape(frame)
            assert len({v.get("channel") for v in watcher.values}) == 3

    run(live())


def test_books_are_whole_on_a_grid_and_repeated_when_quiet():
    async def live():
        async with world() as place:
            watcher = await place.watch(SOCKET)
            await command(place, watcher, "orderbooks")
            assert watcher.frames == []
            await place.step(10, 0.01)
            books = watcher.of("orderbooks")
            assert 15 <= len(books) <= 20
            for book in books:
                asks, bids = ([Decimal(lv["price"]) for lv in book[s]] for s in ("asks", "bids"))
                assert asks == sorted(asks)
                assert bids == sorted(bids, reverse=True)
                assert len(asks) <= 30
            place.exchange.frozen = True
            await place.step(1.1)
            before = len(watcher.frames)
            await place.step(21, 0.05)
            repeated = watcher.of("orderbooks")[before - 1 :]
            assert len({json.dumps(b["asks"]) for b in repeated}) == 1
            assert 4 <= len(repeated) - 1 <= 5
            true = place.exchange.truth({"venue": "gmo", "kind": "book", "symbol": "BTC_JPY"})
            for side in ("bids", "asks"):
                assert [(lv["price"], lv["size"]) for lv in repeated[-1][side]] == true[side]

    run(live())


def test_trades_are_told_once_or_for_both_sides():
    async def live():
        async with world() as place:
            watchers = [await place.watch(SOCKET) for _ in range(2)]
            await command(place, watchers[0], "trades", option="TAKER_ONLY")
            await command(place, watchers[1], "trades")
            marks = [len(w.frames) for w in watchers]
            await place.step(30)
            one, both = (w.of("trades")[n:] for w, n in zip(watchers, marks, strict=True))
            assert len(one) > 10
            assert both[::2] == one
            other = {"BUY": "SELL", "SELL": "BUY"}
            assert both[1::2] == [{**trade, "side": other[trade["side"]]} for trade in one]
            asked = {"venue": "gmo", "kind": "trades", "symbol": "BTC_JPY"}
            true = place.exchange.truth(asked)["rows"][-len(one) :]
            assert [(t["price"], t["side"], t["size"], t["timestamp"]) for t in one] == true
            for trade in one:
                assert Decimal(trade["size"]) % Decimal("0.001") == 0

    run(live())


def test_errors_name_the_parameter_and_the_socket_stays_open():
    async def live():
        async with world() as place:
            watcher = await place.watch(SOCKET)
            await command(place, watcher, "orderbooks", "NOPE")
            await command(place, watcher, "nope")
            await place.step(1.1)
            await watcher.socket.send_str("not json")
            await place.settle()
            texts = [v["error"] for v in watcher.values]
            assert texts == [
                "ERR-5106 Invalid request parameter. symbol",
                "ERR-5106 Invalid request parameter. channel",
                "ERR-5106 Invalid request parameter.",
            ]
            await command(place, watcher, "ticker")
            await command(place, watcher, "ticker")
            await place.step(10)
            stamps = [t["timestamp"] for t in watcher.of("ticker")]
            assert stamps
            assert len(set(stamps)) == len(stamps)
            await command(place, watcher, "ticker", verb="unsubscribe")
            before = len(watcher.frames)
            await place.step(10)
            assert len(watcher.frames) == before

    run(live())


def test_all_sockets_share_one_command_a_second():
    async def live(too_fast):
        async with world(gmo_too_fast=too_fast) as place:
            one, other = [await place.watch(SOCKET) for _ in range(2)]
            await command(place, one, "orderbooks")
            await other.send(command="subscribe", channel="orderbooks", symbol="XRP_JPY")
            await place.settle()
            refusals = [{"error": "ERR-5003 Request too many."}] if too_fast == "error" else []
            assert other.values == refusals
            await place.step(10)
            assert one.of("orderbooks")
            assert not other.of("orderbooks")

    run(live("error"))
    run(live("ignored"))


def test_pings_come_and_unused_or_dead_sockets_go():
    async def live():
        async with world(gmo_ping_s=20.0) as place:
            used, unused = [await place.watch(SOCKET) for _ in range(2)]
            await command(place, used, "orderbooks")
            await place.step(57, 1.0)
            assert not unused.gone
            assert used.pings == 2
            await place.step(4, 1.0)
            await place.until(lambda: unused.gone)
            assert unused.code == 1006
            assert not used.gone
            used.task.cancel()  # nobody answers any more
            for _ in range(5):
                await place.step(20, 10.0)
            assert len(place.exchange.clients) == 0

    run(live())


def test_maintenance_refuses_sockets_and_calls():
    async def live():
        async with world() as place:
            watcher = await place.watch(SOCKET)
            assert (await place.get(f"{REST}/status"))["data"] == {"status": "OPEN"}
            place.exchange.commit_fault({"kind": "maintenance", "venue": "gmo"})
            await place.step(0.1)
            await place.until(lambda: watcher.gone)
            async with place.http.get(place.base + SOCKET) as reply:
                assert reply.status == 503
            assert (await place.get(f"{REST}/status"))["data"] == {"status": "MAINTENANCE"}
            refused = await place.get(f"{REST}/ticker")
            assert refused["status"] == 5
            assert refused["messages"][0]["message_code"] == "ERR-5201"
            place.exchange.commit_fault({"kind": "maintenance_end", "venue": "gmo"})
            await place.watch(SOCKET)

    run(live())


def test_rest_has_the_recorded_shapes(recordings):
    folder = recordings / "gmo"

    async def live():
        async with world() as place:
            await place.step(5)
            for name in ("orderbooks", "trades", "symbols", "ticker"):
                recorded = json.loads((folder / f"rest_public_{name}.json").read_text())
                reply = await place.get(f"{REST}/{name}", symbol="BTC")
                assert reply["status"] == 0
                assert set(reply) == {"status", "data", "responsetime"}
                mine = reply["data"]
                if name == "symbols":
                    mine = [row for row in mine if row["symbol"] == "BTC"]
                    assert mine[0]["sizeStep"] == recorded[0]["sizeStep"]
                    assert mine[0]["tickSize"] == recorded[0]["tickSize"]
                ours, theirs = shape(mine), shape(recorded)
                if isinstance(theirs, dict):
                    theirs.pop("timestamp", None)  # the recorder's own, and empty
                    assert {**ours, **theirs} == ours
                else:
                    assert ours == theirs
            assert [r["symbol"] for r in (await place.get(f"{REST}/ticker"))["data"]] == list(
                SYMBOLS
            )
            pages = [
                (await place.get(f"{REST}/trades", symbol="BTC", page=n, count=7))["data"]
                for n in (1, 2)
            ]
            whole = (await place.get(f"{REST}/trades", symbol="BTC", count=14))["data"]["list"]
            assert pages[0]["list"] + pages[1]["list"] == whole
            assert pages[1]["pagination"] == {"currentPage": 2, "count": 7}
            async with place.http.get(f"{place.base}{REST}/orderbooks?symbol=NOPE") as reply:
                assert reply.status == 404
                assert (await reply.json())["messages"][0]["message_code"] == "ERR-5207"

    run(live())


def test_a_day_of_candles_begins_at_six_in_japan():
    async def live():
        async with World(gmo_symbols=("BTC",), events_per_s=0.5) as place:
            assert START_NS // SECOND == 1_760_000_000  # 2025-10-09 08:53:20 UTC
            await place.step(13 * 3600, 600.0)
            days = {}
            for date in ("20251009", "20251010"):
                reply = await place.get(f"{REST}/klines", symbol="BTC", interval="1hour", date=date)
                days[date] = [int(row["openTime"]) // 1000 for row in reply["data"]]
            border = 1_760_043_600  # 2025-10-09 21:00 UTC
            assert days["20251009"][-1] == border - 3600
            assert days["20251010"] == [border]
            rows = await place.get(
                f"{REST}/klines", symbol="BTC", interval="1hour", date="20251009"
            )
            asked = {"venue": "gmo", "kind": "candles", "symbol": "BTC", "timeframe": "1hour"}
            true = place.exchange.truth(asked)["rows"]
            assert [tuple(row.values()) for row in rows["data"]] == true[:-1]
            year = await place.get(f"{REST}/klines", symbol="BTC", interval="1day", date="2025")
            assert [int(row["openTime"]) // 1000 for row in year["data"]] == [
                border - 86400,
                border,
            ]
            wrong = await place.get(
                f"{REST}/klines", symbol="BTC", interval="1day", date="20251009"
            )
            assert wrong["messages"][0]["message_code"] == "ERR-5207"

    run(live())
