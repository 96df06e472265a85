"""Bitfinex beyond trading books: funding, status, every candle, late acks, and its REST calls."""

import json
from decimal import Decimal

import pytest

from processes.simulator.history import BITFINEX_FRAMES, TimeFrame
from tests.unit.simulator.books import decimals
from tests.unit.simulator.world import World, run

SYMBOLS = ("tBTCUSD", "fUSD", "tBTCF0:USTF0")
BULK, CHECKSUM, SEQUENCE, TIMESTAMP = 536870912, 131072, 65536, 32768


def world(**settings):
    return World(symbols=SYMBOLS, **settings)


async def subscribe(place, watcher, **request):
    """Ask; the channel's number."""
    await watcher.send(event="subscribe", **request)
    await place.step(0.1)
    ack = [v for v in watcher.values if isinstance(v, dict) and v.get("event") == "subscribed"][-1]
    assert {k: ack[k] for k in request} == request
    return ack["chanId"]


def payloads(watcher, number):
    """The array frames of one channel without its number, tokens kept."""
    frames = [decimals(f) for f in watcher.frames if f.startswith(f"[{number},")]
    return [f[1:] for f in frames if f[1] != "hb"]


def build(updates, entries=4):
    """A funding book by the sheet: keys (rate, period), reversed sign."""
    book = {}
    for payload in updates:
        if payload[0] == "cs":
            continue
        rows = payload[0] if payload[0] and isinstance(payload[0][0], list) else [payload[0]]
        for rate, period, count, amount in rows:
            side = -1 if Decimal(amount) > 0 else 1
            if count == "0":
                del book[rate, period, side]
            else:
                book[rate, period, side] = (count, amount)
    return book


@pytest.mark.parametrize("precision", ["P0", "P2"])
def test_funding_books_have_periods_and_the_reversed_sign(precision):
    async def live():
        async with world() as place:
            watcher = await place.watch("/ws/2")
            await watcher.send(event="conf", flags=CHECKSUM)
            number = await subscribe(
                place, watcher, channel="book", symbol="fUSD", prec=precision, len="25"
            )
            await place.step(30)
            book = build(payloads(watcher, number))
            asked = {"venue": "bitfinex", "kind": "book", "symbol": "fUSD", "prec": precision}
            true = place.exchange.truth(asked)
            for side, name in ((1, "bids"), (-1, "asks")):
                mine = {(r, p, *book[r, p, s]) for r, p, s in book if s == side}
                assert mine == set(true[name])
            assert all(Decimal(row[3]) > 0 for row in true["asks"])
            assert all(Decimal(row[3]) < 0 for row in true["bids"])
            assert {row[1] for row in true["asks"]} == {"2", "30", "120"}

    run(live())


def test_raw_funding_books():
    async def live():
        async with world() as place:
            watcher = await place.watch("/ws/2")
            number = await subscribe(
                place, watcher, channel="book", symbol="fUSD", prec="R0", len="25"
            )
            await place.step(20)
            book = {}
            for (payload,) in payloads(watcher, number):
                for offer, period, rate, amount in (
                    payload if isinstance(payload[0], list) else [payload]
                ):
                    if rate == "0":
                        assert amount in {"1", "-1"}
                        del book[offer]
                    else:
                        book[offer] = (offer, period, rate, amount)
            asked = {"venue": "bitfinex", "kind": "book", "symbol": "fUSD", "prec": "R0"}
            true = place.exchange.truth(asked)
            assert set(book.values()) == {*true["bids"], *true["asks"]}

    run(live())


@pytest.mark.parametrize("length", ["1", "25", "100", "250"])
@pytest.mark.parametrize("frequency", ["F0", "F1"])
def test_every_length_and_frequency(length, frequency):
    async def live():
        async with world() as place:
            watcher = await place.watch("/ws/2")
            number = await subscribe(
                place, watcher, channel="book", symbol="tBTCUSD", len=length, freq=frequency
            )
            await place.step(8)
            place.exchange.frozen = True
            await place.step(2.1)
            found = payloads(watcher, number)
            book = {}
            for (payload,) in found:
                for price, count, amount in payload if isinstance(payload[0], list) else [payload]:
                    side = 1 if Decimal(amount) > 0 else -1
                    if count == "0":
                        del book[price, side]
                    else:
                        book[price, side] = (price, count, amount)
            asked = {"venue": "bitfinex", "kind": "book", "symbol": "tBTCUSD", "len": length}
            true = place.exchange.truth(asked)
            assert set(book.values()) == {*true["bids"], *true["asks"]}
            assert len(true["bids"]) <= int(length)

    run(live())


def test_funding_trades_and_tickers():
    async def live():
        async with world() as place:
            watcher = await place.watch("/ws/2")
            trades = await subscribe(place, watcher, channel="trades", symbol="fUSD")
            ticker = await subscribe(place, watcher, channel="ticker", symbol="fUSD")
            ack = next(
                v for v in watcher.values if isinstance(v, dict) and v.get("chanId") == trades
            )
            assert ack["currency"] == "USD"
            assert "pair" not in ack
            await place.step(20)
            snapshot, *updates = payloads(watcher, trades)
            assert all(len(row) == 5 for row in snapshot[0])
            ids = [int(row[0]) for row in snapshot[0]]
            assert ids == sorted(ids, reverse=True)
            assert {u[0] for u in updates} == {"fte", "ftu"}
            told = [tuple(u[1]) for u in updates if u[0] == "fte"]
            asked = {"venue": "bitfinex", "kind": "trades", "symbol": "fUSD"}
            assert told == place.exchange.truth(asked)["rows"][-len(told) :]
            row = payloads(watcher, ticker)[-1][0]
            assert len(row) == 16
            assert row[13] is row[14] is None
            assert row[2] in {"2", "30", "120"}

    run(live())


def test_status_of_a_derivative_and_silence_for_an_unknown_key(recordings):
    lines = (recordings / "bitfinex" / "ws_frames_2026.jsonl").read_text().splitlines()
    recorded = next(f[1] for f in map(json.loads, lines) if isinstance(f, list) and len(f[1]) == 23)

    async def live():
        async with world() as place:
            watcher = await place.watch("/ws/2")
            await watcher.send(event="subscribe", channel="status", key="deriv:tNOPE:USTF0")
            await place.step(1)
            assert len(watcher.frames) == 1
            number = await subscribe(place, watcher, channel="status", key="deriv:tBTCF0:USTF0")
            await place.step(10)
            rows = [p[0] for p in payloads(watcher, number)]
            assert 9 <= len(rows) <= 11
            assert all(len(row) == 23 for row in rows)
            assert [v is None for v in rows[-1]] == [v is None for v in recorded]
            assert len({row[0] for row in rows}) in {4, 5}

    run(live())


def test_liquidations_have_one_more_nesting():
    async def live():
        async with world() as place:
            watcher = await place.watch("/ws/2")
            number = await subscribe(place, watcher, channel="status", key="liq:global")
            await place.step(120, 0.5)
            found = payloads(watcher, number)
            assert len(found) >= 2
            assert all(p[0][0][0] == "pos" and len(p[0][0]) == 12 for p in found)
            assert all(p[0][0][4] == "tBTCF0:USTF0" for p in found)
            assert [(p[0][0][8], p[0][0][11] is None) for p in found[:2]] == [
                ("0", True), ("1", False),
            ]  # fmt: skip
            rest = await place.get("/bitfinex/v2/liquidations/hist", limit=500)
            assert rest[0][0][0] == "pos"

    run(live())


def test_every_candle_frame_and_funding_keys():
    async def live():
        async with World(symbols=("tBTCUSD", "fUSD"), events_per_s=2.0) as place:
            watchers = [await place.watch("/ws/2") for _ in range(2)]
            keys = [f"trade:{frame}:tBTCUSD" for frame in BITFINEX_FRAMES]
            keys += ["trade:1m:fUSD:p30", "trade:1m:fUSD:a30:p2:p30"]
            numbers = {}
            for watcher, mine in zip(watchers, (keys[:7], keys[7:]), strict=True):
                for key in mine:
                    numbers[key] = (
                        watcher,
                        await subscribe(place, watcher, channel="candles", key=key),
                    )
            await place.step(4000, 1.0)
            place.exchange.frozen = True
            await place.step(3, 1.0)
            held = {}
            for key, (watcher, number) in numbers.items():
                first, *more = payloads(watcher, number)
                candles = {row[0]: tuple(row) for row in first[0]}
                candles |= {row[0]: tuple(row) for (row,) in more}
                held[key] = sorted(candles.values())
            for frame in BITFINEX_FRAMES:
                asked = {
                    "venue": "bitfinex",
                    "kind": "candles",
                    "symbol": "tBTCUSD",
                    "timeframe": frame,
                }
                assert held[f"trade:{frame}:tBTCUSD"] == place.exchange.truth(asked)["rows"], frame
            volumes = [
                sum(Decimal(row[5]) for row in held[key])
                for key in ("trade:1m:fUSD:p30", "trade:1m:fUSD:a30:p2:p30")
            ]
            assert 0 < volumes[0] < volumes[1]
            last = await place.get("/v2/candles/trade:1m:tBTCUSD/last")
            assert str(last[0]) == held["trade:1m:tBTCUSD"][-1][0]

    run(live())


def test_months_and_weeks_begin_where_they_should():
    thursday = 1_760_000_000
    assert BITFINEX_FRAMES["1W"].span_s(thursday)[0] == 1_759_708_800  # Monday 2025-10-06
    assert BITFINEX_FRAMES["1M"].span_s(thursday) == (1_759_276_800, 1_761_955_200)
    assert TimeFrame().span_s(1_766_000_000)[1] == 1_767_225_600  # December ends with the year


@pytest.mark.parametrize("flags", [0, SEQUENCE, TIMESTAMP, SEQUENCE + TIMESTAMP + CHECKSUM + BULK])
def test_tails_follow_the_flags_and_the_sequence_has_no_hole(flags):
    async def live():
        async with world() as place:
            watcher = await place.watch("/ws/2")
            await watcher.send(event="conf", flags=flags)
            for symbol in SYMBOLS:
                await subscribe(place, watcher, channel="book", symbol=symbol)
                await subscribe(place, watcher, channel="trades", symbol=symbol)
            await place.step(40, 0.2)
            arrays = [json.loads(f) for f in watcher.frames if f.startswith("[")]
            length = bool(flags & SEQUENCE) + bool(flags & TIMESTAMP)
            tails = [a[len(a) - length :] for a in arrays]
            if flags & SEQUENCE:
                assert [tail[0] for tail in tails] == list(range(1, len(arrays) + 1))
            if flags & TIMESTAMP:
                times = [tail[-1] for tail in tails]
                assert times == sorted(times)
            beats = [a for a in arrays if a[1] == "hb"]
            assert len(beats) == 2 * 6
            assert {len(a) for a in beats} == {2 + length}
            assert any(a[1] == "cs" for a in arrays) == bool(flags & CHECKSUM)

    run(live())


def test_a_late_ack_is_outrun_by_its_heartbeat_and_followed_by_its_snapshot():
    async def live():
        async with world() as place:
            watcher = await place.watch("/ws/2")
            place.exchange.commit_fault({"kind": "late_ack", "venue": "bitfinex", "seconds": 11})
            await watcher.send(event="subscribe", channel="book", symbol="tBTCUSD", subId="a")
            await watcher.send(event="subscribe", channel="trades", symbol="tBTCUSD", subId="b")
            await place.step(12)
            kinds = [
                v.get("subId", v["event"])
                if isinstance(v, dict)
                else v[1]
                if v[1] == "hb"
                else v[0]
                for v in watcher.values
            ]
            late = kinds.index("a")
            assert kinds.index("hb") < kinds.index("b") < late
            number = watcher.values[late]["chanId"]
            assert watcher.values[kinds.index("hb")][0] == number
            assert isinstance(watcher.values[late + 1][1][0], list)
            assert watcher.values[late + 1][0] == number

    run(live())


def test_frames_go_on_until_the_unsubscription_is_acknowledged():
    async def live():
        async with world(events_per_s=200.0) as place:
            watcher = await place.watch("/ws/2")
            number = await subscribe(place, watcher, channel="book", symbol="tBTCUSD")
            before = len(watcher.frames)
            await watcher.send(event="unsubscribe", chanId=number)
            await place.step(0.5, 0.01)
            *inflight, ack = [json.loads(f) for f in watcher.frames[before:]]
            assert ack == {"event": "unsubscribed", "status": "OK", "chanId": number}
            assert inflight
            assert {f[0] for f in inflight} == {number}

    run(live())


def test_guessed_names_pings_and_bad_flags():
    async def live():
        async with world() as place:
            watcher = await place.watch("/ws/2")
            await watcher.send(event="subscribe", channel="trades", symbol="BTCUSD")
            await watcher.send(event="ping", cid=7)
            await watcher.send(event="ping")
            await watcher.send(event="conf", flags="x")
            await place.settle()
            events = [v for v in watcher.values if isinstance(v, dict)]
            assert events[1]["symbol"] == "tBTCUSD"
            assert events[2]["cid"] == 7
            assert "cid" not in events[3]
            assert events[4]["status"] == "FAILED"

    run(live())


def test_errors_echo_the_request_as_recorded(recordings):
    lines = (recordings / "bitfinex" / "ws_frames_2026.jsonl").read_text().splitlines()
    recorded = {f["code"]: f for f in map(json.loads, lines) if isinstance(f, dict) and "code" in f}

    async def live():
        async with World(symbols=("tDOGEF0:USTF0", "tICPF0:USTF0")) as place:
            watcher = await place.watch("/ws/2")
            await subscribe(place, watcher, channel="book", symbol="tDOGEF0:USTF0")
            place.exchange.commit_fault({"kind": "limit", "count": 1})
            for code in (10301, 10305, 10300):
                symbol = recorded[code]["symbol"]
                await watcher.send(event="subscribe", channel="book", symbol=symbol)
                await place.settle()
                error = watcher.values[-1]
                for name in ("channel", "symbol", "event", "msg", "code", "pair"):
                    assert error[name] == recorded[code][name]
                assert ("chanId" in error) == ("chanId" in recorded[code])

    run(live())


def test_rest_calls_follow_from_the_market():
    async def live():
        async with world() as place:
            await place.step(30)
            for prefix in ("/v2", "/bitfinex/v2"):
                assert await place.get(f"{prefix}/platform/status") == [1]
                assert len(await place.get(f"{prefix}/ticker/tBTCUSD")) == 11
                rows = await place.get(f"{prefix}/tickers", symbols="ALL")
                assert {row[0]: len(row) for row in rows} == {
                    "tBTCUSD": 12, "fUSD": 17, "tBTCF0:USTF0": 12,
                }  # fmt: skip
                assert [r[0] for r in await place.get(f"{prefix}/tickers", symbols="fUSD,x")] == [
                    "fUSD"
                ]
                history = await place.get(f"{prefix}/tickers/hist", symbols="tBTCUSD")
                assert all(len(row) == 13 for row in history)
                assert history
                asked = {"venue": "bitfinex", "symbol": "tBTCUSD"}
                true = place.exchange.truth({**asked, "kind": "trades"})["rows"]
                for sort, expected in ((1, true[:5]), (-1, true[:-6:-1])):
                    rows = await place.get(f"{prefix}/trades/tBTCUSD/hist", limit=5, sort=sort)
                    assert [str(r[0]) for r in rows] == [t[0] for t in expected]
                book = await place.get(f"{prefix}/book/tBTCUSD/P0", len=25)
                true = place.exchange.truth({**asked, "kind": "book"})
                assert [row[0] for row in book] == [
                    float(row[0]) for row in [*true["bids"], *true["asks"]]
                ]
                deriv = await place.get(f"{prefix}/status/deriv", keys="ALL")
                assert [(row[0], len(row)) for row in deriv] == [("tBTCF0:USTF0", 24)]
                assert await place.get(f"{prefix}/status/deriv", keys="nope") == []
                conf = await place.get(f"{prefix}/conf/pub:list:pair:exchange,pub:info:pair")
                assert conf[0] == ["BTCUSD"]
                assert conf[1][0][0] == "BTCUSD"
                assert isinstance(conf[1][0][1][3], str)
            for path in (
                "ticker/tNOPE",
                "trades/tNOPE/hist",
                "book/tBTCUSD/P9",
                "candles/trade:7m:tBTCUSD/hist",
            ):
                async with place.http.get(f"{place.base}/v2/{path}") as reply:
                    assert reply.status == 500
                    assert (await reply.json())[:2] == ["error", 10020]

    run(live())
