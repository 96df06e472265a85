"""Recordings served as the venue would: each client gets its own numbers and the recorded data."""

import json

import pytest

from processes.simulator.playback import Player
from processes.simulator.recordings import READERS, Cue, Recording, read_lines
from schemas.errors import OperatorError
from schemas.settings import PlaybackSettings
from tests.unit.simulator.books import KrakenBook, KrakenOrders, decimals
from tests.unit.simulator.world import World, run

SEQUENCE, CHECKSUM, BULK = 65536, 131072, 536870912


def world(venue, *files, speed=0.0):
    settings = PlaybackSettings(**{venue: tuple(map(str, files))}, speed=speed)
    return World(playback=settings)


def payloads(frames, number):
    """The array frames of one channel, without number, sequence and heartbeats."""
    arrays = [decimals(f) for f in frames if f.startswith(f"[{number},")]
    return [a[1:] for a in arrays if a[1] != "hb"]


async def subscribed(place, watcher, **request):
    await watcher.send(event="subscribe", **request)
    await place.step(0.1)
    return next(
        v["chanId"]
        for v in reversed(watcher.values)
        if isinstance(v, dict) and v.get("event") == "subscribed"
    )


def test_bitfinex_channels_are_renumbered_and_the_sequence_is_the_clients(recordings):
    path = recordings / "bitfinex" / "ws_seqall_7pairs_2021.part1.jsonl"
    recorded: dict[tuple, list] = {}
    keys = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line, parse_float=str, parse_int=str)
        frame = entry.get("frame")
        if entry["dir"] != "rx":
            continue
        if isinstance(frame, dict) and frame["event"] == "subscribed":
            keys[frame["chanId"]] = (frame["channel"], frame["symbol"])
        elif isinstance(frame, list) and frame[1] != "hb":
            recorded.setdefault(keys[frame[0]], []).append(frame[1:-1])

    async def live():
        async with world("bitfinex", path) as place:
            watcher = await place.watch("/ws/2")
            await watcher.send(event="conf", flags=65536 + 32768)
            numbers = {}
            for channel, symbol in sorted(recorded):
                more = {"len": "100"} if channel == "book" else {}
                numbers[channel, symbol] = await subscribed(
                    place, watcher, channel=channel, symbol=symbol, **more
                )
            await place.step(2)
            arrays = [json.loads(f) for f in watcher.frames if f.startswith("[")]
            assert [a[-2] for a in arrays] == list(range(1, len(arrays) + 1))
            assert len(recorded) > 15
            for key, number in numbers.items():
                mine = [p[:-2] for p in payloads(watcher.frames, number)]
                assert mine == recorded[key], key
            await watcher.send(event="subscribe", channel="book", symbol="tNOPE")
            await watcher.send(event="subscribe", channel="book", symbol="tBFTUSD", len="25")
            await place.settle()
            assert [v["code"] for v in watcher.values[-2:]] == [10300, 10300]

    run(live())


def test_a_recorded_reconnect_cuts_the_client_and_goes_on_with_the_next(recordings):
    path = recordings / "bitfinex" / "ws_reconnect_boundary_btcusd_2018.jsonl"

    async def live():
        found = READERS["bitfinex"](list(read_lines([path])))
        books = [r for r in found if r.takes]
        assert len(books) == 1, "what came before any ack belongs to nobody"
        first = recordings / "bitfinex" / "ws_book_p0_len25_btcusd_2022.jsonl"
        async with world("bitfinex", first, path) as place:
            watcher = await place.watch("/ws/2")
            await subscribed(place, watcher, channel="book", symbol="tBTCUSD")
            await place.step(2)
            await place.step(0.1)
            await place.until(lambda: watcher.gone)
            again = await place.watch("/ws/2")
            for channel in ("book", "trades"):
                more = {"len": "100"} if channel == "book" else {}
                await subscribed(place, again, channel=channel, symbol="tBTCUSD", **more)
            await place.step(2)
            assert not again.gone
            total = sum(len(take) for takes in books[0].takes.values() for take in takes)
            arrays = [v for v in again.values if isinstance(v, list)]
            assert len(arrays) == total > 100

    run(live())


@pytest.mark.parametrize("bulk", [False, True])
def test_bulk_updates_are_taken_apart_for_clients_that_did_not_ask(bulk, tmp_path):
    lines = [
        '{"event":"info","version":2}',
        '{"event":"conf","status":"OK","flags":537100288}',
        '{"event":"subscribed","channel":"book","chanId":5,"symbol":"tX","prec":"P0","freq":"F0","len":"25"}',
        "[5,[[1,1,1],[2,1,-1]],1,1700000000000]",
        "[5,[[1,0,1],[1.5,2,7e-7]],2,1700000000001]",
        '[5,"cs",-7,3,1700000000002]',
    ]
    path = tmp_path / "recording.jsonl"
    path.write_text("\n".join(lines))

    async def live():
        async with world("bitfinex", path) as place:
            watcher = await place.watch("/ws/2")
            await watcher.send(event="conf", flags=BULK + CHECKSUM + SEQUENCE if bulk else 0)
            number = await subscribed(place, watcher, channel="book", symbol="tX")
            await place.step(1)
            frames = [f for f in watcher.frames if f.startswith("[")]
            snapshot = "[[1,1,1],[2,1,-1]]"
            if bulk:
                expected = [f"{snapshot},1", "[[1,0,1],[1.5,2,7e-7]],2", '"cs",-7,3']
            else:
                expected = [snapshot, "[1,0,1]", "[1.5,2,7e-7]"]
            assert frames == [f"[{number},{body}]" for body in expected]

    run(live())


@pytest.mark.parametrize(
    ("name", "symbol", "depth"),
    [
        ("ws_v2_book_btcusd_d10_2023.part1.jsonl", "BTC/USD", 10),
        ("ws_v2_book_btcusd_d10_2026-07-05.jsonl", "BTC/USD", 10),
        ("ws_v1_book1000_2021_as_v2_shape.jsonl", "GRT/ETH", 1000),
    ],
)
def test_kraken_books_with_their_own_depth_and_checksums(recordings, name, symbol, depth):
    path = recordings / "kraken" / name
    mine = [f for f in path.read_text().splitlines() if f'"{symbol}"' in f and '"book"' in f]

    async def live():
        async with world("kraken", path) as place:
            watcher = await place.watch("/kraken/v2")
            assert watcher.of("status")
            params = {"channel": "book", "symbol": [symbol, "NO/PE"], "depth": depth}
            await watcher.send(method="subscribe", params=params, req_id=1)
            other = {"channel": "book", "symbol": [symbol], "depth": 25 if depth == 10 else 10}
            await watcher.send(method="subscribe", params=other, req_id=2)
            await place.step(4)
            acks = {(v["req_id"], v["success"]): v for v in watcher.values if "req_id" in v}
            assert acks[1, True]["result"]["symbol"] == symbol
            assert acks[1, False]["error"] == "Currency pair not supported NO/PE"
            assert acks[2, False]["error"] == "Subscription depth not supported"
            data = [f for f in watcher.frames if '"book"' in f and '"data"' in f]
            assert data == mine
            book = KrakenBook(depth)
            for frame in map(decimals, data):
                book.apply(frame)
                if "checksum" in frame["data"][0]:
                    assert book.checksum() == int(frame["data"][0]["checksum"])
            await place.step(2)
            assert {"channel": "heartbeat"} in watcher.values

    run(live())


def test_kraken_orders_candles_instruments_and_frames_of_many_symbols(recordings):
    folder = recordings / "kraken"

    async def live():
        async with world("kraken", folder / "ws_v2_level3_official_example.jsonl") as place:
            watcher = await place.watch("/kraken/l3")
            params = {"channel": "level3", "symbol": ["BTC/USD"], "token": "simulator-token"}
            await watcher.send(method="subscribe", params=params)
            await place.step(1)
            (frame,) = [f for f in map(decimals, watcher.frames) if f.get("channel") == "level3"]
            orders = KrakenOrders(10)
            orders.apply(frame)
            assert orders.checksum() == 1063832831
        async with world("kraken", folder / "ws_v2_instrument_snapshot_2024.json") as place:
            watcher = await place.watch("/kraken/v2")
            await watcher.send(method="subscribe", params={"channel": "instrument"})
            await place.step(1)
            (frame,) = watcher.of("instrument")
            assert len(frame["data"]["pairs"]) == 683
        async with world(
            "kraken",
            folder / "ws_v2_ohlc_btcusdt_2026-09-10.jsonl",
            folder / "ws_v2_frames_observed.jsonl",
        ) as place:
            watcher = await place.watch("/kraken/v2")
            params = {"channel": "ohlc", "symbol": ["BTC/USDT"], "interval": 1}
            await watcher.send(method="subscribe", params=params)
            await place.step(1)
            assert len(watcher.of("ohlc")[0]["data"]) == 9
            await place.step(0.1)
            await place.until(lambda: watcher.gone)
            second = await place.watch("/kraken/v2")
            params = {"channel": "ticker", "symbol": ["BTC/USD", "ALGO/USD"]}
            await second.send(method="subscribe", params=params)
            await place.step(1)
            assert second.of("ticker")[0]["data"][0]["symbol"] == "ALGO/USD"
            await place.step(0.1)
            await place.until(lambda: second.gone)
            again = await place.watch("/kraken/v2")
            params = {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": True}
            await again.send(method="subscribe", params=params)
            await place.step(1)
            (trades,) = again.of("trade")
            assert [row["symbol"] for row in trades["data"]] == ["BTC/USD"]

    run(live())


def test_gmo_frames_come_as_recorded(recordings):
    path = recordings / "gmo" / "ws_public_frames_2026.jsonl"
    recorded = [f for f in path.read_text().splitlines() if '"channel"' in f]

    async def live():
        async with world("gmo", path) as place:
            watcher = await place.watch("/gmo/ws/public/v1")
            await watcher.send(command="subscribe", channel="orderbooks", symbol="NOPE")
            for channel in ("trades", "orderbooks", "ticker"):
                await place.step(1.1)
                await watcher.send(command="subscribe", channel=channel, symbol="BTC_JPY")
                await place.settle()
            await place.step(1)
            assert watcher.frames[0] == '{"error":"ERR-5106 Invalid request parameter. symbol"}'
            assert sorted(watcher.frames[1:]) == sorted(recorded)

    run(live())


@pytest.mark.parametrize("speed", [1.0, 10.0])
def test_the_recorded_pace_is_kept(recordings, speed, tmp_path):
    path = recordings / "kraken" / "ws_v1_book1000_2021_as_v2_shape.jsonl"
    texts = [f for f in path.read_text().splitlines() if '"GRT/ETH"' in f][:40]
    times = [1000.0 + 0.5 * n for n in range(len(texts))]

    async def live():
        file = tmp_path / "paced.jsonl"
        lines = (f'{{"t":{t},"frame":{f}}}' for t, f in zip(times, texts, strict=True))
        file.write_text("\n".join(lines))
        async with world("kraken", file, speed=speed) as place:
            watcher = await place.watch("/kraken/v2")
            params = {"channel": "book", "symbol": ["GRT/ETH"], "depth": 1000}
            await watcher.send(method="subscribe", params=params)
            await place.step(0.15, 0.05)
            start = place.now_ns
            for passed in (0.55, 1.05, 1.55):
                await place.step(start / 1e9 + passed - place.now_ns / 1e9, 0.01)
                expected = 1 + int(passed * speed / 0.5)
                assert abs(len(watcher.of("book")) - min(expected, len(texts))) <= 1

    run(live())


def test_faults_hit_recordings_too(recordings):
    path = recordings / "kraken" / "ws_v2_book_btcusd_d10_2023.part1.jsonl"

    async def wrong(fault):
        async with world("kraken", path) as place:
            watcher = await place.watch("/kraken/v2")
            place.exchange.commit_fault({"kind": fault, "symbol": "BTC/USD"})
            params = {"channel": "book", "symbol": ["BTC/USD"]}
            await watcher.send(method="subscribe", params=params)
            await place.step(3)
            if fault == "cut_snapshot":
                await place.until(lambda: watcher.gone)
                return len(watcher.of("book"))
            book, found = KrakenBook(10), 0
            for frame in map(decimals, watcher.frames):
                if frame.get("channel") == "book":
                    book.apply(frame)
                    found += book.checksum() != int(frame["data"][0]["checksum"])
            return found

    async def live():
        assert await wrong("bad_checksum") == 1
        assert await wrong("gap") > 0
        assert await wrong("cut_snapshot") == 0

    run(live())


def test_a_further_subscription_gets_the_next_take_and_a_slow_reader_holds_the_player_back():
    key = ("book", "X")
    recording = Recording(takes={}, options={})
    for take in ("abc", "de"):
        recording.begin_take(key)
        for letter in take:
            recording.add(key, Cue("abcde".index(letter), 0, letter))
    player = Player(recording, 0.0)
    player.start(key, 0)
    assert [c.text for _, c in player.due(0, 2)] == ["a", "b"]
    assert not player.finished
    player.stop(key)
    for expected in ("de", "de"):
        player.start(key, 0)
        assert "".join(c.text for _, c in player.due(0, 99)) == expected
    assert player.finished


def test_a_recording_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OperatorError, match="nowhere"):
        world("kraken", tmp_path / "nowhere.jsonl")
