"""Rings to a real Redis: forms, order, trimming, and every way in which Redis can be away."""

import zlib

import numpy as np
import redis

from schemas.streams import POSITIONS
from schemas.tape import Flag, Kind
from tests.helpers import wait_until
from tests.unit.bridge.conftest import RING, T0, entries, missing, tape_slots


def test_a_trade_has_the_form_of_the_row(rings, client, make_way):
    way = make_way()
    rings.writer().append(tape_slots(2))
    wait_until(way.done)
    first, second = entries(client, "md:trade")
    assert first["body"] == {
        "type": "trade", "exchange": "bitfinex", "symbol": "tBTCUSD", "ts": T0 // 10**6,
        "data": {"price": 60_000.0, "size": 0.25, "side": "buy"},
    }  # fmt: skip
    assert list(first["body"]) == ["type", "exchange", "symbol", "ts", "data"]
    assert second["body"]["data"] == {"price": 60_000.1, "size": 0.25, "side": "sell"}
    assert (first["ring"], first["session"], first["sequence"]) == (RING, rings.session, 1)


def test_a_book_is_the_primary_payload_at_the_end_of_a_frame(rings, client, make_way):
    way = make_way()
    slots = tape_slots(4, Kind.BOOK_LEVEL)
    slots["flags"][0] = Flag.PRIMARY
    slots["flags"][1] = Flag.FRAME_END
    slots["event_ns"][3] = 0
    rings.writer().append(slots)
    wait_until(way.done)
    found = entries(client, "md:orderbook")
    assert [entry["sequence"] for entry in found] == [3, 4]
    body = found[0]["body"]
    assert list(body["data"]) == ["is_snapshot", "bids", "asks", "checksum"]
    assert body["data"]["is_snapshot"] is True
    assert body["data"]["bids"] == [[59999.9, 0.1], [59999.8, 1.5], [59999.7, 12345.68]]
    assert body["data"]["asks"] == [[60000.1, 1e-5], [60007.3, 3.0]]
    raw = found[0]["raw"]
    text = raw[raw.index(b'"bids"') : raw.index(b',"checksum"')]
    assert body["data"]["checksum"] == zlib.crc32(text)
    assert found[1]["body"]["ts"] == int(slots["recv_ns"][3]) // 10**6


def test_a_ticker_has_null_where_the_venue_gives_nothing(rings, client, make_way):
    from schemas import tape

    way = make_way()
    slots = tape_slots(1, Kind.TICKER)
    view = tape.view_as(slots, tape.TICKER)
    for number, name in enumerate(("bid", "bid_size", "ask", "ask_size", "last", "volume")):
        view[name] = number + 0.5
    view["high"] = view["low"] = np.nan
    rings.writer().append(slots)
    wait_until(way.done)
    (entry,) = entries(client, "md:ticker")
    assert entry["body"]["data"] == {
        "bid": 0.5, "bid_size": 1.5, "ask": 2.5, "ask_size": 3.5, "last": 4.5, "volume": 5.5,
        "high": None, "low": None,
    }  # fmt: skip


def test_flags_that_tell_something_stand_beside_the_body(rings, client, make_way):
    way = make_way()
    slots = tape_slots(2)
    slots["flags"] = [Flag.BACKFILLED | Flag.SNAPSHOT | Flag.FRAME_END, Flag.FRAME_END]
    rings.writer().append(slots)
    wait_until(way.done)
    assert [entry["flags"] for entry in entries(client, "md:trade")] == ["snapshot,backfilled", ""]


def test_order_is_kept_over_many_batches(rings, client, make_way):
    way = make_way(batch=64)
    writer = rings.writer()
    for first in range(0, 1500, 50):
        writer.append(tape_slots(50, first=first))
        wait_until(way.done)
    found = entries(client, "md:trade")
    assert [entry["sequence"] for entry in found] == list(range(1, 1501))


def test_a_stream_is_trimmed_to_about_its_length(rings, client, make_way):
    from schemas.settings import StreamLengths

    way = make_way(lengths=StreamLengths(trade=200))
    writer = rings.writer()
    for first in range(0, 1000, 100):
        writer.append(tape_slots(100, first=first))
        wait_until(way.done)
    kept = entries(client, "md:trade")
    assert 200 <= len(kept) <= 400
    assert kept[-1]["sequence"] == 1000


def test_only_what_is_wanted_is_sent(rings, client, make_way):
    way = make_way(channels=("trade",), symbols=("tETHUSD",), prefix="demo:")
    slots = tape_slots(4)
    eth = next(i.index for i in rings.tables.instruments if i.symbol == "tETHUSD")
    slots["instrument"][2] = eth
    slots["kind"][3] = Kind.BOOK_LEVEL
    rings.writer().append(slots)
    wait_until(way.done)
    assert [entry["sequence"] for entry in entries(client, "demo:md:trade")] == [3]
    assert set(client.keys()) == {b"demo:md:trade", b"demo:" + POSITIONS.encode()}


def test_books_are_conflated_only_while_behind_and_trades_never(rings, client, make_way):
    way = make_way(conflate_lag=100, conflate_ms=10)
    slots = tape_slots(400, Kind.BOOK_LEVEL)
    slots["kind"][::4] = Kind.TRADE
    rings.writer().append(slots[:80])
    wait_until(way.done)
    assert way.market.conflated == 0
    rings.writer().append(slots[80:])
    wait_until(way.done)
    books, trades = entries(client, "md:orderbook"), entries(client, "md:trade")
    assert len(trades) == 100
    assert way.market.conflated > 200
    assert len(books) == 300 - way.market.conflated
    late = [entry["body"]["ts"] // 10 for entry in books if entry["sequence"] > 90]
    assert books[-1]["sequence"] == 400
    assert len(set(late)) >= len(late) - 1


def test_a_redis_that_is_gone_costs_lag_and_then_counted_slots(rings, server, make_way):
    way = make_way()
    writer, other = rings.writer(), rings.reader("other")
    writer.append(tape_slots(10))
    wait_until(way.done)
    server.kill()
    for first in range(10, 3010, 100):
        writer.append(tape_slots(100, first=first))
        way.turn()
        assert len(other.read()) + 0 <= 100 + 10
        other.acknowledge()
    assert way.errors
    assert other.lost == 0
    held = len(way.source.entries)
    assert held <= way.settings.batch
    server.start()
    wait_until(way.done)
    with redis.Redis.from_url(server.url) as client:
        found = entries(client, "md:trade")
        gaps = [entry["body"] for entry in found if entry["body"]["type"] == "gap"]
        assert [gap["data"]["reason"] for gap in gaps] == ["emptied", "lapped"]
        assert way.source.lost > 1000
        lapped = gaps[1]["data"]
        assert lapped["to_sequence"] - lapped["from_sequence"] + 1 == way.source.lost
        assert not missing(found, 3010)
        tickers = entries(client, "md:ticker")
        assert [entry["body"]["type"] for entry in tickers] == ["gap", "gap"]


def test_a_frozen_redis_doubles_nothing(rings, server, client, make_way):
    way = make_way()
    writer = rings.writer()
    for first in range(0, 500, 100):
        writer.append(tape_slots(100, first=first))
        server.freeze()
        before = len(way.errors)
        wait_until(lambda before=before: way.turn() and len(way.errors) > before)
        server.thaw()
        wait_until(way.done)
    found = entries(client, "md:trade")
    assert [entry["sequence"] for entry in found] == list(range(1, 501))


def test_an_answer_that_was_lost_is_not_written_again(rings, client, make_way, monkeypatch):
    way = make_way()
    rings.writer().append(tape_slots(50))
    real = redis.client.Pipeline.execute

    def execute_and_lose(self, *arguments, **options):
        real(self, *arguments, **options)
        raise redis.TimeoutError("the answer was lost")

    monkeypatch.setattr(redis.client.Pipeline, "execute", execute_and_lose)
    way.turn()
    monkeypatch.setattr(redis.client.Pipeline, "execute", real)
    assert way.errors
    wait_until(way.done)
    rings.writer().append(tape_slots(5, first=50))
    wait_until(way.done)
    assert [entry["sequence"] for entry in entries(client, "md:trade")] == list(range(1, 56))


def test_a_full_redis_costs_lag_only(rings, client, make_way):
    way = make_way()
    client.config_set("maxmemory-policy", "noeviction")
    rings.writer().append(tape_slots(50))
    wait_until(way.done)
    client.config_set("maxmemory", "1")
    rings.writer().append(tape_slots(50, first=50))
    wait_until(lambda: way.turn() and way.errors)
    assert isinstance(way.errors[0], redis.ResponseError)
    assert "maxmemory" in way.link.trouble
    assert way.source.lag + len(way.source.entries) == 50
    client.config_set("maxmemory", "0")
    wait_until(way.done)
    assert [entry["sequence"] for entry in entries(client, "md:trade")] == list(range(1, 101))


def test_a_key_that_is_no_stream_is_counted_and_stops_nothing_else(rings, client, make_way):
    way = make_way()
    client.set("md:ticker", "mine")
    slots = tape_slots(4)
    slots["kind"][1] = Kind.TICKER
    rings.writer().append(slots)
    wait_until(way.done)
    assert (way.outlet.refused, way.outlet.written) == (1, 3)
    assert [entry["sequence"] for entry in entries(client, "md:trade")] == [1, 3, 4]


def test_what_a_redis_that_was_set_back_has_lost_is_brought_again(rings, client, make_way):
    way = make_way()
    rings.writer().append(tape_slots(30))
    wait_until(way.done)
    client.hset(POSITIONS, RING, f"{rings.session}:20")
    rings.writer().append(tape_slots(5, first=30))
    wait_until(way.done)
    sequences = [entry["sequence"] for entry in entries(client, "md:trade")]
    assert sequences == [*range(1, 31), *range(21, 36)]


def test_a_new_life_goes_on_where_redis_says(rings, client, make_way):
    way = make_way()
    rings.writer().append(tape_slots(30))
    wait_until(way.done)
    way.reader.seek(10)  # as if it had died between the answer and its acknowledgement
    way.reader.acknowledge()
    second = make_way()
    rings.writer().append(tape_slots(5, first=30))
    wait_until(second.done)
    assert [entry["sequence"] for entry in entries(client, "md:trade")] == list(range(1, 36))


def test_an_old_session_says_nothing_about_this_one(rings, client, make_way):
    client.hset(POSITIONS, RING, f"{rings.session - 1}:900")
    way = make_way()
    rings.writer().append(tape_slots(3))
    wait_until(way.done)
    assert [entry["sequence"] for entry in entries(client, "md:trade")] == [1, 2, 3]
