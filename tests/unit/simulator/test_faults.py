"""Every fault, asked for in one way at every venue, over real sockets."""

import asyncio
import io
import json

import aiohttp
import pytest

from processes.simulator.faults import Kind
from schemas.errors import OperatorError
from schemas.settings import SimulatorFaults
from tests.unit.simulator.books import KrakenBook, decimals
from tests.unit.simulator.world import World, run

MARKETS = {
    "symbols": ("tBTCUSD", "tETHUSD"),
    "kraken_symbols": ("BTC/USD", "ETH/USD"),
    "gmo_symbols": ("BTC_JPY", "ETH_JPY"),
}
SOCKETS = {"bitfinex": "/ws/2", "kraken": "/kraken/v2", "gmo": "/gmo/ws/public/v1"}
BOOKS = {
    "bitfinex": [
        {"event": "conf", "flags": 65536 + 131072},
        {"event": "subscribe", "channel": "book", "symbol": "tBTCUSD"},
        {"event": "subscribe", "channel": "book", "symbol": "tETHUSD"},
    ],
    "kraken": [
        {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD", "ETH/USD"]}}
    ],
    "gmo": [
        {"command": "subscribe", "channel": "orderbooks", "symbol": "BTC_JPY"},
        {"command": "subscribe", "channel": "orderbooks", "symbol": "ETH_JPY"},
    ],
}
SYMBOLS = {"bitfinex": "tBTCUSD", "kraken": "BTC/USD", "gmo": "BTC_JPY"}
VENUES = list(SOCKETS)


async def watch(place, venue, *, subscribed=True):
    watcher = await place.watch(SOCKETS[venue])
    for request in BOOKS[venue] if subscribed else ():
        await watcher.socket.send_str(json.dumps(request))
        await place.step(1.1, 0.1)
    return watcher


def data(watcher):
    """Frames that carry market data."""
    found = []
    for value in watcher.values:
        if isinstance(value, list):
            found += [value] if value[1] != "hb" else []
        elif ("data" in value and value["channel"] != "status") or "asks" in value:
            found.append(value)
    return found


def story(tell):
    async def live():
        async with World(**MARKETS) as place:
            await tell(place)

    run(live())


def test_every_kind_is_committed_at_every_venue_and_nothing_else():
    async def tell(place):
        for kind in Kind.__args__:
            for venue in VENUES:
                if (kind, venue) == ("bad_checksum", "gmo"):
                    continue
                more = {"symbol": SYMBOLS[venue], "price": "100"} if kind == "move" else {}
                assert place.exchange.commit_fault({"kind": kind, "venue": venue, **more}) == 0
        for wrong in (
            {"kind": "nope"}, {}, {"kind": "cut", "venue": "nope"}, {"kind": "cut", "more": 1},
            {"kind": "slow", "seconds": -1}, {"kind": "bad_checksum", "venue": "gmo"},
            {"kind": "move", "venue": "kraken", "symbol": "BTC/USD"},
            {"kind": "move", "venue": "kraken", "symbol": "NO/SUCH", "price": "1"},
            {"kind": "move", "venue": "kraken", "symbol": "BTC/USD", "price": "1.00001"},
            {"kind": "hold_fills", "share": "2"},
        ):  # fmt: skip
            with pytest.raises(OperatorError):
                place.exchange.commit_fault(wrong)

    story(tell)


@pytest.mark.parametrize(("price", "side"), [("80000", 1), ("90000", -1)])
def test_a_market_is_moved_and_fills_what_rests_on_the_way(price, side):
    async def tell(place):
        market = place.exchange.venues["kraken"].histories["BTC/USD"].market
        ticks = int(price) * 10
        number, left = market.submit(side, 5, place.now_ns, ticks=ticks)
        assert left == 5
        move = {"kind": "move", "venue": "kraken", "symbol": "BTC/USD", "price": price}
        place.exchange.commit_fault(move)
        assert market.resting(number) is None
        assert market.best(1) < ticks < market.best(-1)
        assert place.exchange.venues["kraken"].histories["BTC/USD"].last == ticks

    story(tell)


def test_a_fault_of_one_venue_or_client_hits_no_other():
    async def tell(place):
        watchers = [await watch(place, venue) for venue in (*VENUES, "kraken")]
        number = max(place.exchange.clients)
        assert (
            place.exchange.commit_fault({"kind": "cut", "venue": "kraken", "client": number}) == 1
        )
        await place.until(lambda: watchers[3].gone)
        assert place.exchange.commit_fault({"kind": "cut", "venue": "bitfinex"}) == 1
        await place.until(lambda: watchers[0].gone)
        await place.step(2)
        assert not watchers[1].gone
        assert not watchers[2].gone
        assert watchers[0].code == 1006

    story(tell)


@pytest.mark.parametrize("venue", VENUES)
def test_a_snapshot_is_cut_in_the_middle(venue):
    async def tell(place):
        symbol = MARKETS["symbols" if venue == "bitfinex" else f"{venue}_symbols"][1]
        watcher = await place.watch(SOCKETS[venue])
        place.exchange.commit_fault({"kind": "cut_snapshot", "venue": venue, "symbol": symbol})
        for request in BOOKS[venue]:
            await watcher.socket.send_str(json.dumps(request))
            await place.step(1.1, 0.1)
        await place.until(lambda: watcher.gone)
        assert watcher.code == 1006
        assert data(watcher), "the other symbol's snapshot came"
        other = await watch(place, venue)
        assert not other.gone

    story(tell)


@pytest.mark.parametrize("venue", VENUES)
def test_silence_holds_back_and_heartbeats_alone_drop(venue):
    async def tell(place):
        watcher = await watch(place, venue)
        place.exchange.commit_fault({"kind": "silence", "venue": venue, "seconds": 5})
        before = len(watcher.frames)
        await place.step(4.5)
        assert len(watcher.frames) == before
        await place.step(1)
        assert len(watcher.frames) > before
        place.exchange.commit_fault({"kind": "heartbeats_only", "venue": venue, "seconds": 62})
        quiet, pings, frames = len(data(watcher)), watcher.pings, len(watcher.frames)
        await place.step(61, 0.5)
        assert len(data(watcher)) == quiet
        assert watcher.pings > pings if venue == "gmo" else len(watcher.frames) > frames
        await place.step(3)
        assert len(data(watcher)) > quiet

    story(tell)


def test_a_lost_frame_is_a_hole_in_the_sequence_or_a_checksum():
    async def tell(place):
        bitfinex, kraken = await watch(place, "bitfinex"), await watch(place, "kraken")
        place.exchange.commit_fault({"kind": "gap", "symbol": "tETHUSD"})
        place.exchange.commit_fault({"kind": "gap", "symbol": "ETH/USD", "venue": "kraken"})
        await place.step(5)
        numbers = [v[-1] for v in bitfinex.values if isinstance(v, list)]
        missing = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
        assert len(missing) == 1
        wrong = {"BTC/USD": 0, "ETH/USD": 0}
        held = {}
        for frame in map(decimals, kraken.frames):
            if frame.get("channel") == "book":
                row = frame["data"][0]
                book = held.setdefault(row["symbol"], KrakenBook(10))
                book.apply(frame)
                wrong[row["symbol"]] += book.checksum() != int(row["checksum"])
        assert wrong["ETH/USD"] > 0
        assert wrong["BTC/USD"] == 0

    story(tell)


def test_a_bad_checksum_is_of_the_named_symbol_only():
    async def tell(place):
        kraken = await watch(place, "kraken")
        place.exchange.commit_fault(
            {"kind": "bad_checksum", "venue": "kraken", "symbol": "ETH/USD"}
        )
        await place.step(5)
        wrong = {"BTC/USD": 0, "ETH/USD": 0}
        held = {}
        for frame in map(decimals, kraken.frames):
            if frame.get("channel") == "book":
                row = frame["data"][0]
                book = held.setdefault(row["symbol"], KrakenBook(10))
                book.apply(frame)
                wrong[row["symbol"]] += book.checksum() != int(row["checksum"])
        assert wrong == {"BTC/USD": 0, "ETH/USD": 1}

    story(tell)


def test_restart_and_maintenance_have_the_venues_words():
    async def tell(place):
        watchers = {venue: await watch(place, venue) for venue in VENUES}
        place.exchange.commit_fault({"kind": "maintenance", "seconds": 10})
        await place.step(0.5)
        assert watchers["bitfinex"].values[-1]["code"] == 20060
        assert watchers["kraken"].of("status")[-1]["data"][0]["system"] == "maintenance"
        await place.until(lambda: watchers["gmo"].gone)
        marks = {venue: len(data(w)) for venue, w in watchers.items()}
        fresh = await place.watch("/ws/2")
        assert fresh.values[0]["platform"] == {"status": 0}
        await place.step(8)
        assert {venue: len(data(w)) for venue, w in watchers.items()} == marks
        await place.step(3)
        codes = [v.get("code") for v in watchers["bitfinex"].values if isinstance(v, dict)]
        assert codes[-1] == 20061
        assert watchers["kraken"].of("status")[-1]["data"][0]["system"] == "online"
        assert len(data(watchers["kraken"])) > marks["kraken"]
        place.exchange.commit_fault({"kind": "restart"})
        await place.step(0.2)
        codes = [v.get("code") for v in watchers["bitfinex"].values if isinstance(v, dict)]
        assert codes[-1] == 20051
        await place.until(lambda: watchers["kraken"].gone)

    story(tell)


def test_a_venue_that_is_down_takes_nobody_until_it_is_told():
    async def tell(place):
        watcher = await watch(place, "kraken")
        other = await watch(place, "gmo")
        place.exchange.commit_fault({"kind": "down", "venue": "kraken"})
        await place.until(lambda: watcher.gone)
        for path in ("/kraken/v2", "/kraken/0/public/SystemStatus"):
            async with place.http.get(place.base + path) as reply:
                assert reply.status == 503
        await place.step(7200, 600.0)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await place.http.ws_connect(place.base + "/kraken/v2")
        assert not other.gone
        place.exchange.commit_fault({"kind": "up", "venue": "kraken"})
        again = await watch(place, "kraken")
        assert data(again)

    async def live():
        async with World(**MARKETS, gmo_ping_s=10_000.0, events_per_s=2.0) as place:
            await tell(place)

    run(live())


@pytest.mark.parametrize("venue", VENUES)
def test_refusals_name_what_the_venue_would_name(venue):
    async def tell(place):
        symbol = MARKETS["symbols" if venue == "bitfinex" else f"{venue}_symbols"][1]
        place.exchange.commit_fault(
            {"kind": "refuse", "venue": venue, "symbol": symbol, "count": 1}
        )
        watcher = await watch(place, venue)
        errors = [
            v for v in watcher.values if isinstance(v, dict) and ("error" in v or "code" in v)
        ]
        assert len(errors) == 1
        expected = {
            "bitfinex": ("msg", "symbol: invalid"),
            "kraken": ("error", f"Currency pair not supported {symbol}"),
            "gmo": ("error", "ERR-5106 Invalid request parameter. symbol"),
        }
        name, text = expected[venue]
        assert errors[0][name] == text
        again = await watch(place, venue)
        assert not [
            v for v in again.values if isinstance(v, dict) and ("error" in v or "code" in v)
        ]

    story(tell)


def test_requests_taken_twice_are_answered_as_duplicates():
    async def tell(place):
        for venue in VENUES:
            place.exchange.commit_fault({"kind": "dup", "venue": venue})
        bitfinex, kraken = await watch(place, "bitfinex"), await watch(place, "kraken")
        events = [v for v in bitfinex.values if isinstance(v, dict)]
        dup = next(v for v in events if v.get("code") == 10301)
        assert dup["chanId"] == next(v for v in events if v["event"] == "subscribed")["chanId"]
        errors = [v for v in kraken.values if v.get("success") is False]
        assert [v["error"] for v in errors] == ["Already subscribed"] * 2

    story(tell)


def test_limits_are_set_and_taken_back():
    async def tell(place):
        place.exchange.commit_fault({"kind": "limit", "count": 1})
        bitfinex, kraken = await watch(place, "bitfinex"), await watch(place, "kraken")
        codes = [v.get("code") for v in bitfinex.values if isinstance(v, dict)]
        assert codes.count(10305) == 1
        assert sum(v.get("success") is False for v in kraken.values) == 1
        place.exchange.commit_fault({"kind": "limit"})
        again = await watch(place, "bitfinex")
        assert 10305 not in [v.get("code") for v in again.values if isinstance(v, dict)]

    story(tell)


def test_acks_of_kraken_come_late_too():
    async def tell(place):
        place.exchange.commit_fault({"kind": "late_ack", "venue": "kraken", "seconds": 3})
        watcher = await watch(place, "kraken")
        assert len(watcher.values) == 1
        await place.step(2.5, 0.1)
        assert sum(v.get("success") is True for v in watcher.values) == 2
        assert len(watcher.of("book", "snapshot")) == 2

    story(tell)


def test_a_slow_socket_lets_one_frame_out_at_a_time():
    async def tell(place):
        watcher = await watch(place, "bitfinex")
        place.exchange.commit_fault({"kind": "slow", "venue": "bitfinex", "seconds": 10})
        place.exchange.frozen = True
        place.exchange.tick()
        await place.settle()
        for client, _ in place.exchange.clients.values():
            for _ in range(20):
                client.put("[0]")
        await place.settle()
        for _ in range(5):
            before = len(watcher.frames)
            await place.step(0.05)
            assert len(watcher.frames) - before == 1

    story(tell)


def test_reconnecting_is_refused_or_cut_so_many_times():
    async def tell(place):
        place.exchange.commit_fault({"kind": "storm", "venue": "bitfinex", "count": 3})
        for _ in range(3):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await place.http.ws_connect(place.base + "/ws/2")
        await watch(place, "bitfinex", subscribed=False)
        place.exchange.commit_fault(
            {"kind": "storm", "venue": "bitfinex", "count": 2, "how": "cut"}
        )
        for _ in range(2):
            try:
                socket = await place.http.ws_connect(place.base + "/ws/2")
            except aiohttp.ClientError:
                continue
            message = await socket.receive()
            assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
        last = await watch(place, "bitfinex", subscribed=False)
        assert last.values

    story(tell)


def test_garbage_follows_from_the_seed():
    async def told(seed):
        async with World(**MARKETS, seed=seed) as place:
            watcher = await watch(place, "kraken")
            place.exchange.frozen = True
            before = len(watcher.frames)
            place.exchange.commit_fault({"kind": "garbage", "venue": "kraken", "count": 50})
            await place.settle()
            return watcher.frames[before:]

    one, again, other = (asyncio.run(told(seed)) for seed in (1, 1, 2))
    assert len(one) == 50
    assert one == again
    assert one != other


def test_the_log_holds_what_was_sent_on_each_connection():
    async def live():
        log = io.StringIO()
        async with World(log, **MARKETS) as place:
            watchers = [await watch(place, venue) for venue in VENUES]
            await place.step(5)
            entries = [json.loads(line) for line in log.getvalue().splitlines()]
            for number, watcher in zip(place.exchange.clients, watchers, strict=True):
                mine = [e["frame"] for e in entries if e.get("client") == number]
                assert mine == watcher.frames
            trades = [e for e in entries if "trade" in e]
            assert {e["symbol"] for e in trades} == set().union(*MARKETS.values())

    run(live())


def test_faults_come_by_themselves_at_their_rates():
    async def live():
        rates = SimulatorFaults(cut_s=20.0)
        async with World(**MARKETS, faults=rates) as place:
            watcher = await watch(place, "kraken", subscribed=False)
            for _ in range(300):
                if watcher.gone:
                    break
                await place.step(1.0, 0.5)
            assert watcher.code == 1006

    run(live())


def test_the_same_seed_tells_the_same_story():
    async def told():
        async with World(**MARKETS, seed=11) as place:
            watchers = [await watch(place, venue) for venue in VENUES]
            await place.step(5)
            return [w.frames for w in watchers]

    assert asyncio.run(told()) == asyncio.run(told())


def test_truth_needs_what_there_is():
    async def tell(place):
        good = {"venue": "kraken", "symbol": "BTC/USD", "kind": "book"}
        assert len(place.exchange.truth(good)["bids"]) == 10
        for wrong in ({"venue": "x"}, {"symbol": "x"}, {"kind": "x"}, {"kind": "candles"}):
            with pytest.raises(OperatorError):
                place.exchange.truth({**good, **wrong})

    story(tell)
