"""GMO Coin's public frames: what the tape says of them, and under garbage."""

import json
import random
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas import tape
from schemas.tape import Flag, Kind, Marker, MarkerReason, Side
from tests.feeding import Feed
from tests.unit.venues.gmo_frames import (
    TIME_NS,
    TapeReader,
    book,
    compact,
    error,
    shuffled,
    ticker,
    trade,
)
from tests.unit.venues.test_bitfinex_codec import mutate
from venues import decoding
from venues.book import ASK, BID, DEPTH, wire_levels
from venues.gmo import kernel
from venues.gmo.codec import GmoCodec
from venues.names import channel_number, time_ns
from venues.wire import Acknowledged, BadFrame, Refused

ASKS = [("101", "4"), ("102", "5")]
BIDS = [("100", "2"), ("99", "3")]


def feed(**options) -> Feed:
    return Feed(GmoCodec, **options)


def levels(fed: Feed) -> np.ndarray:
    return fed.slots[fed.slots["kind"] == Kind.BOOK_LEVEL]


def held(fed: Feed, index: int = 0) -> list[list[tuple[str, str]]]:
    return [
        [level[1:] for level in wire_levels(fed.markets.books, index, side, DEPTH)]
        for side in (ASK, BID)
    ]


def markers(fed: Feed, *kinds: Marker) -> np.ndarray:
    slots = tape.view_as(fed.slots, tape.MARKER)
    slots = slots[slots["kind"] == Kind.MARKER]
    return slots[np.isin(slots["marker"], kinds)] if kinds else slots


def test_the_first_book_is_a_snapshot_and_the_next_a_difference():
    fed = feed().frames([book(ASKS, BIDS)])
    assert fed.markers() == ["SUBSCRIBED", "SNAPSHOT_BEGIN", "SNAPSHOT_END"]
    assert len(levels(fed)) == 4
    assert (levels(fed)["flags"] & Flag.SNAPSHOT).all()
    fed.published.clear()
    fed.frames([book([("101", "4"), ("103", "6")], [("100", "7"), ("99", "3")])], recv_ns=20)
    found = [
        (slot["price"], slot["size"], int(slot["side"]), Flag(int(slot["flags"])))
        for slot in levels(fed)
    ]
    gone = Flag.PRIMARY | Flag.DELETE | Flag.DERIVED
    assert found == [
        (102.0, 0.0, Side.ASK, gone),
        (100.0, 7.0, Side.BID, Flag.PRIMARY),
        (103.0, 6.0, Side.ASK, Flag.PRIMARY | Flag.FRAME_END),
    ]
    assert not len(markers(fed))
    assert set(levels(fed)["event_ns"]) == {TIME_NS}
    last = levels(fed)[-1]
    assert last["reference_price"] == 100.5
    assert list(last["book"][:2]) == [-0.5, -1.5]
    assert list(last["book"][10:12]) == [7.0, 3.0]
    assert held(fed) == [[("101", "4"), ("103", "6")], [("100", "7"), ("99", "3")]]


def test_an_identical_book_writes_nothing_and_counts_as_data():
    fed = feed().frames([book(ASKS, BIDS)])
    fed.published.clear()
    fed.frames([book(ASKS, BIDS)], recv_ns=500)
    assert len(fed.slots) == 0
    assert fed.codec.data_ns()[0][2] == 500


def test_the_same_number_written_otherwise_is_no_change_and_is_kept_as_written():
    fed = feed().frames([book(ASKS, BIDS)])
    fed.published.clear()
    fed.frames([book([("101", "4.00"), ("102", "5")], BIDS)])
    assert len(fed.slots) == 0
    assert held(fed)[0][0] == ("101", "4.00")


def test_a_side_may_be_empty_and_full():
    fed = feed().frames([book([], [])])
    assert fed.markers() == ["SUBSCRIBED", "SNAPSHOT_BEGIN", "SNAPSHOT_END"]
    deep = [(str(price), "1") for price in range(1000, 1000 + DEPTH)]
    other = [(f"{price}.5", "1") for price in range(1000, 1000 + DEPTH)]
    for asks in (deep, other, deep[:1], []):
        fed.frames([book(asks, [])])
        assert held(fed) == [asks, []]
    fed.frames([book([*deep, ("5000", "1")], [])])
    assert isinstance(fed.notices[-1], BadFrame)


def test_trades_keep_their_milliseconds_and_equal_ones_are_all_kept():
    fed = feed().frames([trade("13659677", "0.003", "SELL")] * 3)
    trades = fed.slots[fed.slots["kind"] == Kind.TRADE]
    assert len(trades) == 3
    assert set(trades["event_ns"]) == {TIME_NS}
    assert set(trades["price"]) == {13659677.0}
    assert set(trades["size"]) == {0.003}
    assert set(trades["side"]) == {Side.ASK}
    assert set(trades["id_low"]) == {0}
    assert (trades["flags"] & Flag.FRAME_END).all()
    assert fed.codec.tallies[decoding.N_REPEATED] == 0


def test_a_ticker_says_what_the_venue_says_and_nothing_more():
    fed = feed().frames([ticker(bid="13658273"), ticker(last=None)])
    slots = tape.view_as(fed.slots, tape.TICKER)
    first, second = slots[slots["kind"] == Kind.TICKER]
    assert [first[name] for name in ("bid", "ask", "last", "volume", "high", "low")] == [
        13658273.0, 101.0, 100.0, 7.5, 110.0, 90.0,
    ]  # fmt: skip
    assert first["price"] == 100.0
    assert np.isnan([first["bid_size"], first["daily_change"], first["average_price"]]).all()
    assert np.isnan(second["last"])


def test_trades_carry_the_primary_book():
    for frames in ([book(ASKS, BIDS), trade()], [trade(), book(ASKS, BIDS), trade()]):
        fed = feed().frames(frames)
        last = fed.slots[fed.slots["kind"] == Kind.TRADE][-1]
        assert last["reference_price"] == 100.5
        assert last["book"][10] == 2.0


def test_symbols_do_not_mix():
    """One socket carries spot and leveraged symbols; the names differ by a suffix only."""
    fed = feed().frames(
        [
            book(ASKS, BIDS, symbol="BTC"),
            book(BIDS[::-1], [], symbol="BTC_JPY"),
            trade(symbol="BTC"),
        ]
    )
    assert held(fed, 0) == [ASKS, BIDS]
    assert held(fed, 1) == [BIDS[::-1], []]
    pairs = {what.pair for what in fed.tables.instruments.values()}
    assert pairs == {"BTC/JPY", "BTC/JPY:PERP"}


def test_the_recorded_frames(recordings):
    path = recordings / "gmo" / "ws_public_frames_2026.jsonl"
    fed = feed().frames(path.read_bytes().splitlines())
    assert fed.kinds() == {"book_level": 6, "ticker": 1, "trade": 1, "marker": 5}
    assert held(fed) == [
        [("13660704", "0.001"), ("13660910", "0.012"), ("13661081", "0.02")],
        [("13658802", "0.008"), ("13658299", "0.03"), ("13658273", "0.002")],
    ]
    refused = [notice for notice in fed.notices if isinstance(notice, Refused)]
    assert [(n.code, n.text) for n in refused] == [(5106, "Invalid request parameter. symbol")]


def test_a_real_book_of_500_levels_is_kept_level_by_level(recordings):
    """The REST reply has the frame's form; 30 levels of it are what the socket sends."""
    sides = json.loads((recordings / "gmo" / "rest_public_orderbooks.json").read_bytes())
    for depth in (30, 1000):
        asks = [(one["price"], one["size"]) for one in sides["asks"][:depth]]
        bids = [(one["price"], one["size"]) for one in sides["bids"][:depth]]
        fed = feed().frames([book(asks, bids)])
        assert held(fed) == [asks, bids]
        assert not [n for n in fed.notices if isinstance(n, BadFrame)]


PRICES = st.integers(1, 60).map(lambda n: f"{n / 4:g}")
SIZES = st.sampled_from(["1", "2", "0.5", "0.50", "3e1", "0.00001"])
SIDES = st.dictionaries(PRICES, SIZES, max_size=40).map(
    lambda side: sorted(side.items(), key=lambda level: float(level[0]))
)


@hypothesis_settings(max_examples=60)
@given(st.lists(st.tuples(SIDES, SIDES, st.booleans(), st.booleans()), max_size=12))
def test_a_book_rebuilt_from_the_tape_is_the_frame(frames):
    """Level by level after every frame, through any changes, a resubscription at any point, and
    whichever of the two decoders took the frame."""
    fed, reader = feed(), TapeReader()
    number = channel_number("orderbooks", "BTC_JPY")
    for asks, bids, anew, by_python in frames:
        if anew and fed.codec.end_channel(number):
            fed.codec.flush()
        fed.published.clear()
        text = book(asks, bids[::-1])
        fed.frames([for_python(text) if by_python else text])
        reader.take(fed.slots)
        assert reader.sides[Side.ASK] == {float(p): float(s) for p, s in asks}
        assert reader.sides[Side.BID] == {float(p): float(s) for p, s in bids}
        assert held(fed) == [asks, bids[::-1]]
        ends = levels(fed)["flags"] & Flag.FRAME_END
        assert list(ends > 0) == [False] * (len(ends) - 1) + [True] * (len(ends) > 0)


def for_python(text: str) -> str:
    """The same book as the kernel does not take it: an unknown key that holds an object."""
    return text[:-1] + ',"grouping":{}}'


FRAMES = [
    book(ASKS, BIDS), book([("101", "4")], [("98", "1")]), trade(), trade(side="SELL"), ticker(),
    book(ASKS, BIDS, symbol="ETH_JPY"), trade(symbol="ETH_JPY"), ticker(symbol="ETH_JPY"),
    book([], [("98.25", "0.000010")]), book([("1e2", "1E-3")], []), ticker(low="0"),
]  # fmt: skip


def test_python_and_the_kernel_write_the_same_slots(seed):
    draw = random.Random(seed)
    frames = [draw.choice(FRAMES) for _ in range(400)]
    fast, slow = feed().frames(frames), feed().frames([for_python(frame) for frame in frames])
    assert fast.slots.tobytes() == slow.slots.tobytes()
    for name in ("N_FRAMES", "N_BOOK", "N_TRADES", "N_TICKERS"):
        which = getattr(decoding, name)
        assert fast.codec.tallies[which] == slow.codec.tallies[which] > 0
    assert [n.subscription for n in fast.notices] == [n.subscription for n in slow.notices]


def test_the_order_of_keys_and_spaces_change_nothing(seed):
    draw = random.Random(seed)
    frames = [draw.choice(FRAMES) for _ in range(300)]
    plain = feed().frames(frames)
    mixed = feed().frames([shuffled(frame, draw) for frame in frames])
    assert plain.slots.tobytes() == mixed.slots.tobytes()
    assert plain.codec.bad_frames == mixed.codec.bad_frames == 0


def test_the_kernel_takes_all_that_is_regular(seed):
    """Python sees the first frame of each stream, and no other."""
    draw = random.Random(seed)
    fed = feed().frames(FRAMES)
    fed.codec.take_frame = lambda frame: pytest.fail(f"left to Python: {frame}")
    fed.frames([shuffled(frame, draw) for frame in FRAMES * 20])
    fed.frames([frame[:-1] + ',"grouping":"1","level":-2.5}' for frame in FRAMES])


def testfor_python_levels_are_sorted_and_a_price_twice_is_refused():
    fed = feed().frames([book(ASKS[::-1], BIDS[::-1])])
    assert held(fed) == [ASKS, BIDS]
    fed.frames([book([("101", "4"), ("101.0", "5")], BIDS)])
    assert "twice" in fed.notices[-1].why


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1970-01-01T00:00:00.000Z", 0),
        ("2026-09-23T03:25:35.843Z", TIME_NS),
        ("2024-02-29T23:59:59.999Z", 1_709_251_199_999_000_000),
        ("2000-03-01T00:00:00.001Z", 951_868_800_001_000_000),
        ("2100-03-01T00:00:00.000Z", 4_107_542_400_000_000_000),
        ("2026-09-23T03:25:35Z", TIME_NS - 843_000_000),
        ("2026-09-23T03:25:35.8431Z", TIME_NS + 100_000),
    ],
)
def test_times_are_exact(text, wanted):
    assert time_ns(text) == wanted
    fed = feed().frames([trade(), trade(time=text)])
    assert fed.slots[fed.slots["kind"] == Kind.TRADE]["event_ns"][-1] == wanted


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2199, 12, 31)))
def test_every_time_is_read_alike(moment):
    text = moment.isoformat(timespec="milliseconds") + "Z"
    fed = feed().frames([trade(), trade(time=text)])
    assert fed.codec.bad_frames == 0
    assert fed.slots[fed.slots["kind"] == Kind.TRADE]["event_ns"][-1] == time_ns(text)


BAD = [
    "", "{", "}", "{}", "[]", "nonsense", "\0\xff", '{"channel":"orderbooks"}', "null", '"text"',
    book(ASKS, BIDS)[:-1], book(ASKS, BIDS)[:60], book(ASKS, BIDS) + "x",
    book([("101", "0")], []), book([("-1", "1")], []), book([("101", "x")], []),
    book([("0x10", "1")], []), book([("1_0", "1")], []), book([("nan", "1")], []),
    book([("101", "1e999")], []), book([("101", "1" * 79)], []), book([(" 1", "1")], []),
    compact({"channel": "orderbooks", "symbol": "BTC_JPY", "asks": [], "bids": []}),
    book(ASKS, BIDS).replace('"asks":[', '"asks":[5,'), book(ASKS, BIDS, time="yesterday"),
    book(ASKS, BIDS, time="2026-02-30T00:00:00.000Z"), book(ASKS, BIDS).replace("bids", "bidz"),
    trade(side="NONE"), trade(price="0"), trade(size="-1"), trade(size=""), trade(time="2026"),
    trade(time="2026-09-23T24:00:00.000Z"), trade(time="1969-12-31T23:59:59.999Z"),
    ticker(bid="high"), ticker(bid=True), ticker(time=""), "[" * 5000, '{"a":' * 3000,
    trade().replace('"price":"100"', '"price":["100"]'), '{"error":5}', error("what?"),
    compact({"channel": "candles", "symbol": "BTC_JPY"}), '{"channel":1,"symbol":2}',
]  # fmt: skip


@pytest.mark.parametrize("frame", BAD, ids=range(len(BAD)))
def test_a_bad_frame_costs_itself(frame):
    fed = feed(tolerant=False, subscriptions=[]).frames([book(ASKS, BIDS), trade(), ticker()])
    before = held(fed)
    fed.frames([frame.encode("latin1")])
    assert [type(n) for n in fed.notices[3:]] == [BadFrame]
    assert held(fed) == before
    fed.frames([book([("101", "9")], BIDS), trade(), ticker()])
    assert held(fed) == [[("101", "9")], BIDS]
    assert fed.kinds()["trade"] == 2
    assert len(fed.notices) == 4


def test_a_bad_book_is_marked_and_the_next_one_ends_the_gap():
    fed = feed(tolerant=False).frames([book(ASKS, BIDS)], recv_ns=100)
    fed.frames([book([("101", "-4")], BIDS)], recv_ns=200)
    fed.frames([book(ASKS, BIDS), book([("101", "1")], BIDS)], recv_ns=300)
    assert fed.markers()[3:] == ["RESYNC", "GAP", "SNAPSHOT_BEGIN", "SNAPSHOT_END"]
    gap = markers(fed, Marker.GAP)[0]
    assert gap["reason"] == MarkerReason.BAD_FRAME
    assert (gap["from_recv_ns"], gap["to_recv_ns"]) == (100, 300)
    assert gap["from_event_ns"] == TIME_NS
    assert not fed.markets.interrupted
    reader = TapeReader()
    reader.take(fed.slots)
    assert reader.sides[Side.ASK] == {101.0: 1.0}


def test_a_bad_trade_is_a_gap_of_one():
    fed = feed(tolerant=False).frames([book(ASKS, BIDS), trade()], recv_ns=100)
    fed.frames([trade(size="x"), trade()], recv_ns=200)
    gap = markers(fed, Marker.GAP)
    assert len(gap) == 1
    assert (gap["lost"][0], gap["from_recv_ns"][0], gap["to_recv_ns"][0]) == (1, 100, 200)
    assert gap["stream"][0] == fed.slots[fed.slots["kind"] == Kind.TRADE]["stream"][0]
    assert "RESYNC" not in fed.markers()


def test_a_frame_of_nobody_may_be_missing_in_every_stream():
    fed = feed(tolerant=False).frames([book(ASKS, BIDS), trade(), ticker()])
    fed.frames(["{garbage", "{garbage", book(ASKS, BIDS)])
    assert len(markers(fed, Marker.RESYNC)) == 1
    streams = markers(fed, Marker.GAP)["stream"].tolist()
    assert sorted(streams) == [0, 1, 1, 2, 2]
    assert set(markers(fed, Marker.GAP)["lost"]) == {0}


def test_a_connection_lost_before_the_next_book_keeps_the_older_gap():
    fed = feed(tolerant=False).frames([book(ASKS, BIDS)], recv_ns=100)
    fed.frames(["{garbage"], recv_ns=200)
    fed.codec.interrupt(MarkerReason.CONNECTION_LOST)
    fed.codec.open(2, 300)
    fed.frames([book(ASKS, BIDS)], recv_ns=400)
    gap = markers(fed, Marker.GAP)
    assert gap["from_recv_ns"].tolist() == [100]
    assert gap["reason"].tolist() == [MarkerReason.BAD_FRAME]


def test_trades_of_an_outage_are_a_gap_and_nothing_is_taken_for_a_repetition():
    fed = feed().frames([trade(), trade()], recv_ns=100)
    fed.codec.interrupt(MarkerReason.CONNECTION_LOST)
    fed.codec.open(2, 200)
    fed.frames([trade()], recv_ns=300)
    assert fed.kinds()["trade"] == 3
    gap = markers(fed, Marker.GAP)
    assert (gap["from_epoch"][0], gap["epoch"][0], len(gap)) == (1, 2, 1)
    assert (gap["from_recv_ns"][0], gap["to_recv_ns"][0]) == (100, 300)


def test_damaged_frames_never_crash_and_the_next_book_heals(seed, long_run):
    draw = random.Random(seed)
    sources = [frame.encode() for frame in FRAMES]
    for _ in range(400 if long_run else 6):
        stream = [draw.choice(sources) for _ in range(300)]
        damaged = [
            mutate(draw, frame, sources) if draw.random() < 0.3 else frame for frame in stream
        ]
        fed = feed(tolerant=draw.random() < 0.5).frames(damaged, batch=draw.randint(1, 200))
        slots = fed.slots[fed.slots["kind"] != Kind.TICKER]
        assert np.isfinite(slots["price"]).all()
        assert (slots["event_ns"] >= 0).all()
        fed.published.clear()
        fed.frames([book(ASKS, BIDS, symbol="NEW_JPY"), trade(symbol="NEW_JPY")])
        assert held(fed, len(fed.markets.indices()) - 1) == [ASKS, BIDS]
        assert fed.slots["kind"][-1] == Kind.TRADE


def test_a_damaged_frame_is_taken_alike_by_both_decoders(seed):
    """Whatever the kernel takes, Python takes as well, with the same result."""
    draw = random.Random(seed)
    sources = [frame.encode() for frame in FRAMES]
    fast, slow = feed(tolerant=True).frames(FRAMES), feed(tolerant=True).frames(FRAMES)
    before = fast.codec.tallies[decoding.N_FRAMES]
    for _ in range(1500):
        frame = bytearray(draw.choice(sources))
        if draw.random() < 0.4:
            frame = bytearray(mutate(draw, bytes(frame), sources))
        elif draw.random() < 0.8:
            frame[draw.randrange(len(frame))] = draw.choice(b'0123456789.-eE"{}[]:, \\Ttz')
        for fed in (fast, slow):
            fed.published.clear()
            fed.notices.clear()
        fast.frames([bytes(frame)])
        slow.codec._recv_ns = 10
        notice = slow.codec._try_frame(bytes(frame))
        slow.codec._last_recv_ns = 10
        slow.codec.flush()
        assert fast.slots.tobytes() == slow.slots.tobytes(), frame
        assert fast.notices == ([] if notice is None else [notice]), frame
    assert fast.codec.tallies.tolist() == slow.codec.tallies.tolist()
    assert fast.codec.tallies[decoding.N_FRAMES] - before > 200


def test_memory_does_not_grow_with_names():
    fed = Feed(GmoCodec, tolerant=False)
    fed.codec._allot = None
    for number in range(0, 4000, 50):
        fed.frames([trade(symbol=f"X{number + each}") for each in range(50)])
    assert fed.codec.unknown_frames == 4000
    assert len(fed.codec._unknown) <= decoding.CHANNELS + 1


def test_many_frames_of_one_read_fill_the_block_more_than_once():
    many = [[(str(1000 + n + shift), "1") for n in range(900)] for shift in (0, 0.5)]
    fed = feed().frames([book(many[turn % 2], []) for turn in range(30)], batch=30)
    assert held(fed)[0] == many[1]
    assert len(levels(fed)) == 900 + 29 * 1800


def test_a_channel_has_the_number_of_its_name():
    fed = feed().frames([trade(symbol="BTC")])
    assert fed.notices[0].channel_id == channel_number("trades", "BTC")
    assert isinstance(fed.notices[0], Acknowledged)


def test_nothing_is_compiled_while_frames_wait():
    before = {function: function.signatures for function in kernel.ENTRY_POINTS}
    assert all(len(signatures) == 1 for signatures in before.values())
    feed().frames([*FRAMES, *[for_python(frame) for frame in FRAMES], "garbage", *FRAMES])
    assert {function: function.signatures for function in kernel.ENTRY_POINTS} == before
