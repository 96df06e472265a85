"""Every channel of the venue and every combination of its flags: what comes, and what is asked."""

import itertools
import json
import math

import numpy as np
import pytest

from processes.operations.decoding import decoder
from processes.storage.columns import tape_batch
from processes.storage.rows import Block
from schemas import tape
from schemas.feeds import BitfinexFlags, BitfinexSettings, BookSettings
from schemas.tape import Flag, Marker, Side
from tests.feeding import Feed, Tables
from venues import decoding
from venues.bitfinex.subscriptions import describe, flags_of, subscribe_request, wanted_streams
from venues.book import ASK, BID, wire_levels
from venues.wire import (
    Acknowledged,
    BadFrame,
    ChannelBroken,
    Ended,
    Refused,
    ServerNotice,
    Subscription,
)

TIME = 1_600_000_000_000


def ack(channel: str, number: int = 7, **more: str) -> str:
    return json.dumps({"event": "subscribed", "channel": channel, "chanId": number, **more})


def book_ack(symbol: str = "tBTCUSD", prec: str = "P0", number: int = 7, length: str = "25") -> str:
    return ack("book", number, symbol=symbol, prec=prec, freq="F0", len=length)


def of_kind(feed: Feed, kind: tape.Kind, form: np.dtype = tape.SLOT) -> np.ndarray:
    slots = tape.view_as(feed.slots, form)
    return slots[slots["kind"] == kind]


def bad(feed: Feed) -> list:
    return [n for n in feed.notices if isinstance(n, BadFrame | ChannelBroken)]


# ---- what the settings come to


def streams(**settings) -> list[tuple]:
    return [
        (symbol, pair, channel, parameters, primary)
        for symbol, pair, channel, parameters, primary in wanted_streams(
            BitfinexSettings(**settings)
        )
    ]


def test_every_stream_of_the_settings_is_asked_for_and_found_again_by_its_answer():
    settings = BitfinexSettings(
        symbols=("tBTCUSD", "tBTCF0:USTF0", "fUSD"),
        channels=("ticker", "trades", "books", "candles", "status", "liquidations"),
        books=tuple(
            BookSettings(precision=p, frequency=f, length=n)
            for p, f, n in (("P0", "F0", 250), ("P3", "F1", 25), ("R0", "F0", 1), ("P4", "F0", 100))
        ),
        candles=("1m", "14D"),
        funding_candles=("p30", "a30:p2:p30"),
    )
    tables = Tables()
    seen = []
    for symbol, pair, channel, parameters, _ in wanted_streams(settings):
        instrument, stream = tables.allot(symbol, pair, channel, parameters)
        request = subscribe_request(Subscription(instrument=instrument, stream=stream))
        del request["event"], request["subId"]
        assert describe(request) == (symbol, channel, parameters)
        seen.append(request)
    assert len({json.dumps(request, sort_keys=True) for request in seen}) == len(seen)
    keys = [request["key"] for request in seen if "key" in request]
    assert keys == [
        "trade:1m:tBTCUSD", "trade:14D:tBTCUSD",
        "trade:1m:tBTCF0:USTF0", "trade:14D:tBTCF0:USTF0", "deriv:tBTCF0:USTF0",
        "trade:1m:fUSD:p30", "trade:1m:fUSD:a30:p2:p30",
        "trade:14D:fUSD:p30", "trade:14D:fUSD:a30:p2:p30",
        "liq:global",
    ]  # fmt: skip
    books = [(r["prec"], r["freq"], r["len"]) for r in seen if r["channel"] == "book"]
    assert books[:4] == [("P0", "F0", "250"), ("P3", "F1", "25"), ("R0", "F0", "1"),
                         ("P4", "F0", "100")]  # fmt: skip


def test_streams_of_one_symbol_never_share_a_file():
    tables = Tables()
    found = [
        tables.allot(symbol, pair, channel, parameters)[1]
        for symbol, pair, channel, parameters, _ in streams(
            symbols=("fUSD",), candles=("1m", "1h"), funding_candles=("p30", "p2", "a30:p2:p30")
        )
    ]
    suffixes = [stream.suffix for stream in found if stream.channel == "candles"]
    assert len(set(suffixes)) == len(suffixes) == 6
    assert all(":" not in suffix for suffix in suffixes)


# ---- flags


@pytest.mark.parametrize("slow", [False, True], ids=["kernel", "python"])
@pytest.mark.parametrize("wants", list(itertools.product((False, True), repeat=4)))
def test_a_tail_is_read_under_every_combination_of_flags(wants, slow):
    timestamp, sequence, checksum, bulk = wants
    flags = flags_of(
        BitfinexSettings(
            flags=BitfinexFlags(
                timestamp=timestamp, sequence=sequence, checksum=checksum, bulk_updates=bulk
            )
        )
    )
    feed = Feed(tolerant=False).frames([f'{{"event":"conf","status":"OK","flags":{flags}}}'])
    numbers = iter(range(1, 100))

    def frame(body: str) -> str:
        at = next(numbers)
        tail = (f",{at}" if sequence else "") + (f",{TIME + at}" if timestamp else "")
        return f"[7,{body}{tail}]"

    # A number longer than any double makes Python take the frame.
    more = "0" * 30 if slow else ""
    level = f"[100,1,2.5{more}]"
    feed.frames([book_ack(), frame(f"[[100,1,2],[101,1,-2.0{more}]]")])
    feed.frames([frame('"hb"'), frame(f"[{level},[99,2,1]]" if bulk else level)])
    feed.frames([frame(f'"cs",{-5}')] if checksum else [])
    assert feed.codec.tallies[decoding.N_TAIL_MISMATCH] == 0
    assert feed.codec.sequence_last == ((4 if checksum else 3) if sequence else 0)
    last = of_kind(feed, tape.Kind.BOOK_LEVEL)[-1]
    assert last["event_ns"] == ((TIME + 3) * 1_000_000 if timestamp else 0)
    assert last["venue_sequence"] == (3 if sequence else 0)
    assert len(wire_levels(feed.markets.books, 0, BID, 9)) == (2 if bulk else 1)
    assert [type(n) for n in feed.notices[1:]] == ([ChannelBroken] if checksum else [])


def test_flags_that_the_venue_refuses_are_told_and_tails_still_read():
    feed = Feed().frames(['{"event":"conf","status":"FAILED","msg":"flags: invalid"}'])
    assert isinstance(feed.notices[0], ServerNotice)
    assert "flags: invalid" in feed.notices[0].text
    assert not feed.notices[0].reconnect
    feed.frames([book_ack(), f"[7,[[100,1,2]],1,{TIME}]", "[7,[100,1,3],2]", "[7,[99,1,3]]"])
    feed.frames([f"[7,[98,1,1],{TIME}]"])
    assert not bad(feed)
    assert len(wire_levels(feed.markets.books, 0, BID, 9)) == 3


# ---- books


@pytest.mark.parametrize("length", ["1", "25", "100", "250"])
@pytest.mark.parametrize("prec", ["P0", "P1", "P2", "P3", "P4", "R0"])
def test_books_of_every_precision_and_length(prec, length):
    number = int(length)
    rows = [
        f"[{key},{100 - key},{key}.5]" if prec == "R0" else f"[{1000 - key},1,{key}.5]"
        for key in range(1, min(number, 90) + 1)
    ]
    feed = Feed().frames([book_ack(prec=prec, length=length), f"[7,[{','.join(rows)}]]"])
    assert not bad(feed)
    book = feed.book("tBTCUSD", prec)
    levels = wire_levels(feed.markets.books, book, BID, 999)
    assert len(levels) == len(rows)
    assert levels[0][1:] == (("99" if prec == "R0" else "999"), "1.5")
    assert feed.codec._wanted[0].stream.length == number


def test_funding_books_are_keyed_by_rate_and_period_with_signs_reversed():
    feed = Feed().frames([book_ack("fUSD"), "[7,[[0.0002,30,2,-500],[0.0002,2,1,-70],"
                          "[0.0003,30,3,900],[0.0003,120,1,800]]]"])  # fmt: skip
    book = feed.book("fUSD")
    assert wire_levels(feed.markets.books, book, BID, 9) == [
        (2, "0.0002", "-70"), (30, "0.0002", "-500"),
    ]  # fmt: skip
    assert [level[0] for level in wire_levels(feed.markets.books, book, ASK, 9)] == [30, 120]
    slot = of_kind(feed, tape.Kind.BOOK_LEVEL)[0]
    assert (slot["side"], slot["size"], slot["count"], slot["id_low"]) == (Side.BID, 500, 30, 2)
    assert slot["flags"] & Flag.FUNDING
    # A delete takes the one period and leaves the other; its sign is reversed as well.
    feed.frames(["[7,[0.0002,30,0,-1]]", "[7,[0.0003,120,0,1]]", "[7,[0.0003,30,1,5]]"])
    assert feed.codec.tallies[decoding.N_MISSED] == 0
    assert wire_levels(feed.markets.books, book, BID, 9) == [(2, "0.0002", "-70")]
    assert wire_levels(feed.markets.books, book, ASK, 9) == [(30, "0.0003", "5")]
    deleted = of_kind(feed, tape.Kind.BOOK_LEVEL)[-3]
    assert deleted["flags"] & Flag.DELETE
    assert (deleted["count"], deleted["side"]) == (30, Side.BID)
    # A delete of a period that is not there hits nothing.
    feed.frames(["[7,[0.0003,2,0,1]]"])
    assert feed.codec.tallies[decoding.N_MISSED] == 1


@pytest.mark.parametrize("slow", ["", "0" * 30], ids=["kernel", "python"])
def test_raw_funding_books(slow):
    feed = Feed().frames([book_ack("fUSD", "R0"),
                          f"[7,[[11,30,0.0002{slow},-500],[12,2,0.0003,900]]]"])  # fmt: skip
    book = feed.book("fUSD", "R0")
    assert wire_levels(feed.markets.books, book, BID, 9) == [(11, f"0.0002{slow}", "-500")]
    assert wire_levels(feed.markets.books, book, ASK, 9) == [(12, "0.0003", "900")]
    first = of_kind(feed, tape.Kind.L3_ORDER)[0]
    assert (first["id_low"], first["count"], first["side"]) == (11, 30, Side.BID)
    feed.frames(["[7,[11,30,0,-1]]", f"[7,[12,2,0.0004{slow},100]]"])
    assert wire_levels(feed.markets.books, book, BID, 9) == []
    assert wire_levels(feed.markets.books, book, ASK, 9) == [(12, f"0.0004{slow}", "100")]
    assert feed.codec.tallies[decoding.N_MISSED] == 0
    assert not bad(feed)


def test_funding_levels_that_python_reads_are_the_kernels():
    plain = Feed().frames([book_ack("fUSD"), "[7,[[0.0002,30,2,-500],[0.0003,2,3,900]]]"])
    slow = Feed().frames(
        [book_ack("fUSD"), f"[7,[[0.0002,30,2,-500],[0.0003,2,3,900.{'0' * 25}]]]"]
    )
    assert (plain.slots == slow.slots).all()
    assert slow.codec.bad_frames == 0


def test_orders_stand_at_off_tick_prices_in_the_order_of_their_ids():
    snapshot = "[7,[[9,41643.95858045,1],[5,41643.95858045,2],[7,41644,3]]]"
    feed = Feed().frames([book_ack(prec="R0"), snapshot])
    book = feed.book("tBTCUSD", "R0")
    assert [key for key, *_ in wire_levels(feed.markets.books, book, BID, 9)] == [7, 5, 9]


def test_an_empty_snapshot_then_thin_books_and_numbers_with_exponents():
    feed = Feed().frames([book_ack(), "[7,[]]", "[7,[7e-7,1,1e-8]]", "[7,[0.0000015,3,-54448.5]]"])
    assert feed.markers() == ["SUBSCRIBED", "SNAPSHOT_BEGIN", "SNAPSHOT_END"]
    assert wire_levels(feed.markets.books, 0, BID, 9) == [(0, "7e-7", "1e-8")]
    assert wire_levels(feed.markets.books, 0, ASK, 9) == [(0, "0.0000015", "-54448.5")]
    # The venue's string is 7e-7:1e-8:0.0000015:-54448.5, and its number signed.
    import zlib

    value = zlib.crc32(b"7e-7:1e-8:0.0000015:-54448.5")
    feed.frames([f'[7,"cs",{value - (1 << 32) if value >= 1 << 31 else value}]'])
    assert feed.codec.tallies[decoding.N_VERIFIED] == 1


# ---- trades, tickers, candles, status


@pytest.mark.parametrize("tags", [("te", "tu"), ("fte", "ftu")])
def test_funding_trades_have_a_rate_and_a_period(tags):
    feed = Feed().frames([ack("trades", symbol="fUSD"), f"[7,[[2,{TIME},-50,0.0002,30]]]",
                          f'[7,"{tags[0]}",[3,{TIME},75.5,0.0003,2]]',
                          f'[7,"{tags[1]}",[3,{TIME},75.5,0.0003,2]]'])  # fmt: skip
    assert not bad(feed)
    trades = of_kind(feed, tape.Kind.TRADE)
    assert trades["id_low"].tolist() == [2, 3]
    assert trades["price"].tolist() == [0.0002, 0.0003]
    assert trades["count"].tolist() == [30, 2]
    assert all(trades["flags"] & Flag.FUNDING)
    assert feed.codec.tallies[decoding.N_REPEATED] == 1


TICKER = [86697, 14.3, 86723, 14.7, 1060, 0.0123, 86717, 544.3, 86898, 85156]
FUNDING_TICKER = [0.0006, 0.00055, 120, 500, 0.00054, 2, 300, -0.0001, -0.16, 0.00056, 9e7, 0.001,
                  0.0001, None, None, 4e6]  # fmt: skip
STATUS = [TIME, None, 100.5, 100.25, None, 4e6, None, TIME + 9, 0.001, 12, None, 0.0002, None, None,
          100.75, None, None, 55.5, None, None, None, -0.0025, 0.0025]  # fmt: skip


@pytest.mark.parametrize("width", [10, 11, 13])
def test_tickers_of_2018_to_2026_and_of_years_to_come(width):
    row = [*TICKER, None, 3.5, None][:width]
    feed = Feed().frames([ack("ticker", symbol="tBTCUSD"), f"[7,{json.dumps(row)}]"])
    slot = of_kind(feed, tape.Kind.TICKER, tape.TICKER)[0]
    assert (slot["bid"], slot["ask_size"], slot["last"], slot["low"]) == (86697, 14.7, 86717, 85156)
    assert math.isnan(slot["flash_return_rate"])


@pytest.mark.parametrize("width", [13, 16, 18])
def test_funding_tickers(width):
    row = [*FUNDING_TICKER, None, 7][:width]
    feed = Feed().frames([ack("ticker", symbol="fUSD"), f"[7,{json.dumps(row)}]"])
    slot = of_kind(feed, tape.Kind.TICKER, tape.TICKER)[0]
    assert (slot["flash_return_rate"], slot["bid_period"], slot["ask_period"]) == (0.0006, 120, 2)
    assert (slot["bid"], slot["ask"], slot["last"]) == (0.00055, 0.00054, 0.00056)
    available = slot["flash_return_rate_available"]
    assert available == 4e6 if width > 15 else math.isnan(available)


@pytest.mark.parametrize("width", [12, 15, 18, 23, 25])
def test_status_of_a_derivative_as_long_as_it_ever_was(width):
    row = [*STATUS, None, 5][:width]
    feed = Feed().frames([ack("status", key="deriv:tBTCF0:USTF0"), f"[7,{json.dumps(row)}]"])
    slot = of_kind(feed, tape.Kind.STATUS, tape.STATUS)[0]
    assert (slot["derivative_price"], slot["current_funding"]) == (100.5, 0.0002)
    assert slot["mark_price"] == 100.75 if width > 14 else math.isnan(slot["mark_price"])
    assert slot["clamp_max"] == 0.0025 if width > 22 else math.isnan(slot["clamp_max"])
    assert slot["event_ns"] == TIME * 1_000_000
    assert not slot["flags"] & Flag.LIQUIDATION


@pytest.mark.parametrize(
    "key", ["trade:1m:fUSD:p30", "trade:1m:fUSD:a30:p2:p30", "trade:1M:tBTCF0:USTF0"]
)
def test_candles_are_upserted_by_their_start_and_close_before_high(key):
    feed = Feed().frames([ack("candles", key=key),
                          f"[7,[[{TIME + 60_000},3,4,5,2,9],[{TIME},1,2,3,0.5,8]]]",
                          f"[7,[{TIME},1,2.5,3,0.5,10]]"])  # fmt: skip
    candles = of_kind(feed, tape.Kind.CANDLE, tape.CANDLE)
    assert candles["start_ns"].tolist() == [TIME * 10**6, (TIME + 60_000) * 10**6, TIME * 10**6]
    assert candles["close"].tolist() == [2, 4, 2.5]
    assert candles["high"].tolist() == [3, 5, 3]
    subscription = feed.codec._wanted[0]
    assert subscription.instrument.symbol in {"fUSD", "tBTCF0:USTF0"}
    assert subscription.stream.variant == key.partition("fUSD:")[2]


# ---- liquidations

TRIGGER = f'["pos",145400868,{TIME},null,"tETHF0:USTF0",-1.67020094,2495,null,0,0,null,null]'
MATCH = f'["pos",145400868,{TIME + 5},null,"tETHF0:USTF0",-1.67,2495,null,1,1,null,2501.5,null,8]'


def test_liquidations_are_status_slots_with_columns_of_their_own():
    feed = Feed().frames([ack("status", key="liq:global"), f"[7,[{TRIGGER}]]",
                          f"[7,[{MATCH},{TRIGGER}]]", f"[7,{MATCH}]", "[7,[]]"])  # fmt: skip
    assert not bad(feed)
    slots = of_kind(feed, tape.Kind.STATUS, tape.LIQUIDATION)
    assert [bool(flag) for flag in slots["flags"] & Flag.FRAME_END] == [True, False, True, True]
    assert all(slots["flags"] & Flag.LIQUIDATION)
    assert set(slots["symbol"].tolist()) == {b"tETHF0:USTF0"}
    assert slots["id_low"].tolist() == [145400868] * 4
    first, second = slots[:2]
    assert (first["side"], first["size"], first["amount"]) == (Side.ASK, 1.67020094, -1.67020094)
    assert (first["price"], first["is_match"]) == (2495, 0)
    assert math.isnan(first["acquired_price"])
    assert (second["acquired_price"], second["is_match"], second["is_market_sold"]) == (
        2501.5,
        1,
        1,
    )
    assert second["event_ns"] == (TIME + 5) * 1_000_000
    assert feed.codec.tally()["ingest_events status"] == 4
    subscription = feed.codec._wanted[0]
    assert subscription.stream.table == "liquidations"
    assert subscription.instrument.pair == "ALL:LIQUIDATIONS"


@pytest.mark.parametrize(
    "row",
    ['["neg",1,2]', '["pos",1,2]', '["pos","a",1,null,"tX",1,1]', '["pos",1,1,null,5,1,1]',
     '["pos",1,1,null,"",1,1]', '["pos",1,1,null,"' + "t" * 33 + '",1,1]',
     '["pos",1,1,null,"tX",0,1]',
     '["pos",0,1,null,"tX",1,1]', '["pos",1,1e30,null,"tX",1,1]', '["pos",1,1,null,"tÄ",1,1]',
     "[1,2,3,4,5,6,7,8,9,10,11,12]", "5", '["pos",1,1,null,"tX",1,1,null,"a"]'],
)  # fmt: skip
def test_a_bad_liquidation_costs_its_frame(row):
    feed = Feed(tolerant=False).frames([ack("status", key="liq:global"), f"[7,[{row}]]"])
    assert [type(n) for n in feed.notices] == [Acknowledged, BadFrame]
    feed.frames([f"[7,[{TRIGGER}]]"])
    assert len(of_kind(feed, tape.Kind.STATUS)) == 1


# ---- answers

CONF = '{"event":"conf","status":"OK","flags":536870912}'


def dup(number: int) -> str:
    return json.dumps({"event": "error", "msg": "subscribe: dup", "code": 10301, "chanId": number,
                       "channel": "book", "symbol": "tBTCUSD", "prec": "P0", "len": "25",
                       "freq": "F0"})  # fmt: skip


@pytest.mark.parametrize("again", [dup(7), book_ack()], ids=["dup", "second ack"])
def test_a_request_answered_twice_empties_no_book(again):
    """The bulk update behind it has a snapshot's shape, and is none."""
    feed = Feed(tolerant=False).frames([CONF, book_ack(), "[7,[[100,1,2],[101,1,-2]]]", again])
    assert [type(n) for n in feed.notices] == [Acknowledged, Acknowledged]
    feed.frames(["[7,[[99,1,1],[101,1,-3]]]"])
    assert feed.markers().count("SNAPSHOT_BEGIN") == 1
    assert len(wire_levels(feed.markets.books, 0, BID, 9)) == 2


def test_a_dup_before_the_ack_registers_and_the_ack_changes_nothing():
    feed = Feed(tolerant=False).frames([CONF, dup(7), "[7,[[100,1,2]]]", book_ack()])
    feed.frames(["[7,[[99,1,1],[98,1,3]]]"])
    assert feed.markers().count("SNAPSHOT_BEGIN") == 1
    assert len(wire_levels(feed.markets.books, 0, BID, 9)) == 3


def test_a_dup_of_a_channel_that_has_ended_or_ends_is_no_success():
    feed = Feed(tolerant=False).frames([CONF, book_ack(), "[7,[[100,1,2]]]"])
    feed.codec.mute(7)
    feed.frames([dup(7)])
    assert len(feed.notices) == 1
    feed.frames(['{"event":"unsubscribed","status":"OK","chanId":7}', dup(7)])
    assert [type(n) for n in feed.notices] == [Acknowledged, Ended]


def test_a_stream_whose_beginning_was_never_seen_costs_the_connection():
    feed = Feed(tolerant=False).frames([CONF, "[7,[[100,1,2],[99,1,1]]]", '[8,"hb"]', dup(7)])
    assert isinstance(feed.notices[-1], ServerNotice)
    assert feed.notices[-1].reconnect
    feed.frames([book_ack(number=8)])  # a heartbeat before an ack is normal
    assert isinstance(feed.notices[-1], Acknowledged)


@pytest.mark.parametrize(
    ("code", "permanent", "full"),
    [(10300, True, False), (10302, True, False), (10020, True, False), (10001, True, False),
     (10305, False, True), (10000, False, False), (10011, False, False)],
)  # fmt: skip
def test_errors_lead_to_their_reaction(code, permanent, full):
    error = {"event": "error", "msg": "x", "code": code, "channel": "status"}
    feed = Feed().frames([json.dumps({**error, "key": "deriv:tBTCF0:USTF0"})])
    refused = feed.notices[0]
    assert isinstance(refused, Refused)
    assert (refused.permanent, refused.full) == (permanent, full)
    assert refused.subscription.stream.channel == "status"
    # A stream that goes to another connection is not refused: nobody need look at it.
    assert feed.markers() == ([] if full else ["REFUSED"])


@pytest.mark.parametrize("code", [10400, 10401])
def test_an_end_that_the_venue_refuses_has_happened(code):
    feed = Feed().frames([book_ack(), f'{{"event":"error","code":{code},"msg":"x","chanId":7}}'])
    assert feed.notices[-1] == Ended(channel_id=7)
    assert feed.markers()[-1] == Marker.UNSUBSCRIBED.name


def test_ids_of_unknown_channels_are_remembered_within_bounds():
    feed = Feed().frames(f"[{number},[1,2,3]]" for number in range(1, 5000))
    assert feed.codec.tallies[decoding.N_UNKNOWN] == 4999
    assert len(feed.codec._unknown) <= decoding.CHANNELS
    assert len(feed.codec._early) <= decoding.CHANNELS


# ---- as people see them


def rows(feed: Feed, number: int = 0) -> list[dict]:
    """The lake's rows of a stream, without markers."""
    stream = feed.codec._wanted[number].stream
    slots = feed.slots[feed.slots["stream"] == stream.index]
    [(*_, rows)] = Block(slots, ()).series()
    return [row for row in tape_batch(rows, stream).to_pylist() if row["marker"] is None]


def test_liquidations_in_the_lake_and_in_the_tap():
    feed = Feed().frames([ack("status", key="liq:global"), f"[7,[{MATCH}]]"])
    row = rows(feed)[0]
    assert {name: row[name] for name in ("position_id", "symbol", "amount", "acquired_price")} == {
        "position_id": 145400868, "symbol": "tETHF0:USTF0", "amount": -1.67,
        "acquired_price": 2501.5,
    }  # fmt: skip
    assert row["event_ns"] == (TIME + 5) * 1_000_000
    shown = decoder("tape.bitfinex")(feed.slots[-1], 0)
    assert (shown["symbol"], shown["base_price"], shown["side"]) == ("tETHF0:USTF0", 2495, "ask")


def test_funding_in_the_lake_has_periods_and_the_number_of_offers():
    feed = Feed().frames([book_ack("fUSD"), "[7,[[0.0002,30,2,-500],[0.0003,2,3,900]]]"])
    feed.frames([ack("trades", 8, symbol="fUSD"), f'[8,"fte",[3,{TIME},-75.5,0.0003,2]]'])
    feed.frames([book_ack("fUSD", "R0", 9), "[9,[[11,120,0.0002,-500]]]"])
    assert [(row["price"], row["period"], row["count"], row["amount"]) for row in rows(feed)] == [
        (0.0002, 30, 2, 500.0), (0.0003, 2, 3, -900.0),
    ]  # fmt: skip
    trade, offer = rows(feed, 1)[0], rows(feed, 2)[0]
    assert (trade["price"], trade["period"], trade["amount"]) == (0.0003, 2, -75.5)
    assert (offer["order_id"], offer["period"], offer["side"]) == (11, 120, "bid")
    plain = Feed().frames([book_ack(), "[7,[[100,3,2]]]"])
    assert [(row["period"], row["count"]) for row in rows(plain)] == [(0, 3)]


# ---- several connections


def test_markets_that_grow_by_one_connection_are_where_the_other_writes():
    one = Feed().frames([book_ack("tA"), "[7,[[100,1,2],[101,1,-2]]]"])
    other = Feed()
    other.codec = one.codec.beside(1)
    other.codec.open(2, 1, from_first=False)
    for number in range(1, 20):  # more books than there was room for
        other.frames([book_ack(f"tB{number}", number=number), f"[{number},[[5,1,1]]]"])
    one.frames(["[7,[100,1,7]]"])
    assert wire_levels(one.markets.books, 0, BID, 9) == [(0, "100", "7")]
    assert wire_levels(one.markets.books, 1, BID, 9) == [(0, "5", "1")]


def test_trades_carry_the_primary_book_of_another_connection():
    one = Feed().frames([ack("trades", symbol="tBTCUSD"), '[7,"te",[1,1000,1,100]]'])
    other = Feed()
    other.codec = one.codec.beside(1)
    other.codec.open(2, 1, from_first=False)
    other.frames([book_ack(), "[7,[[100,1,2],[101,1,-2]]]"])
    one.frames(['[7,"te",[2,2000,1,100]]'])
    trades = of_kind(one, tape.Kind.TRADE)
    assert trades["reference_price"].tolist() == [0.0, 100.5]
