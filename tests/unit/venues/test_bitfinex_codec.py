"""The codec's behaviour where the venue's protocol is subtle, and under garbage."""

import json
import random

import numpy as np
import pytest

from schemas import tape
from schemas.tape import Flag, Marker, MarkerReason
from tests.feeding import Feed, recorded_frames
from venues import decoding
from venues.bitfinex import kernel
from venues.bitfinex.codec import BitfinexCodec
from venues.bitfinex.subscriptions import subscribe_request, wanted_streams
from venues.bitfinex.symbols import common_pair
from venues.book import ASK, BID, wire_levels
from venues.markets import Markets
from venues.planning import spread
from venues.wire import (
    Acknowledged,
    BadFrame,
    ChannelBroken,
    Ended,
    Opened,
    Refused,
    SequenceGap,
    ServerNotice,
    Subscription,
)

BOOK_ACK = (
    '{"event":"subscribed","channel":"book","chanId":7,"symbol":"tBTCUSD","prec":"P0",'
    '"freq":"F0","len":"25"}'
)
TRADES_ACK = '{"event":"subscribed","channel":"trades","chanId":8,"symbol":"tBTCUSD"}'
SNAPSHOT = "[7,[[100,1,2],[99,2,3],[101,1,-4],[102,1,-5]]]"


def markers(feed: Feed) -> np.ndarray:
    slots = tape.view_as(feed.slots, tape.MARKER)
    return slots[slots["kind"] == tape.Kind.MARKER]


def test_an_ack_a_snapshot_and_updates_become_slots():
    feed = Feed().frames([BOOK_ACK, SNAPSHOT, "[7,[100,0,1]]", "[7,[[98,1,1],[101,3,-9]]]"])
    assert feed.markers() == ["SUBSCRIBED", "SNAPSHOT_BEGIN", "SNAPSHOT_END"]
    levels = feed.slots[feed.slots["kind"] == tape.Kind.BOOK_LEVEL]
    assert len(levels) == 7
    assert [bool(flag) for flag in levels["flags"] & Flag.SNAPSHOT] == [True] * 4 + [False] * 3
    ends = [bool(flag) for flag in levels["flags"] & Flag.FRAME_END]
    assert ends == [False, False, False, True, True, False, True]
    assert [level[1:] for level in wire_levels(feed.markets.books, 0, BID, 9)] == [
        ("99", "3"),
        ("98", "1"),
    ]
    assert levels["reference_price"][-1] == 100.0


def test_a_bulk_update_has_a_snapshots_shape_and_is_none():
    feed = Feed().frames([BOOK_ACK, SNAPSHOT, "[7,[[100,1,7],[102,0,-1]]]"])
    assert feed.markers().count("SNAPSHOT_BEGIN") == 1
    assert len(wire_levels(feed.markets.books, 0, ASK, 9)) == 1


def test_an_empty_snapshot_is_a_book():
    feed = Feed().frames([BOOK_ACK, "[7,[]]", "[7,[100,1,2]]"])
    assert feed.markers() == ["SUBSCRIBED", "SNAPSHOT_BEGIN", "SNAPSHOT_END"]
    assert len(feed.notices) == 1


def test_trades_act_on_te_and_repeat_nothing():
    feed = Feed().frames(
        [
            TRADES_ACK,
            "[8,[[3,3000,-0.5,100],[2,2000,1,101]]]",
            '[8,"te",[4,4000,0.25,102]]',
            '[8,"tu",[4,4000,0.25,102]]',
            '[8,"tu",[5,5000,0.25,103]]',  # its te was lost
            '[8,"te",[5,5000,0.25,103]]',
        ]
    )
    trades = feed.slots[feed.slots["kind"] == tape.Kind.TRADE]
    assert list(trades["id_low"]) == [2, 3, 4, 5]
    assert list(trades["event_ns"]) == [2 * 10**9, 3 * 10**9, 4 * 10**9, 5 * 10**9]
    assert list(trades["side"]) == [1, 2, 1, 1]
    assert [bool(flag) for flag in trades["flags"] & Flag.CONFIRMED] == [False, False, False, True]
    assert feed.codec.tallies[decoding.N_REPEATED] == 2


def test_trades_missed_in_a_gap_come_back_marked():
    feed = Feed().frames([TRADES_ACK, "[8,[[3,3000,1,100]]]", '[8,"te",[4,4000,1,100]]'])
    feed.codec.interrupt(MarkerReason.CONNECTION_LOST)
    feed.codec.open(2, 50, from_first=False)
    feed.frames([TRADES_ACK, "[8,[[6,6000,1,100],[5,5000,1,100],[4,4000,1,100],[3,3000,1,100]]]"])
    trades = feed.slots[feed.slots["kind"] == tape.Kind.TRADE]
    assert list(trades["id_low"]) == [3, 4, 5, 6]
    assert [bool(flag) for flag in trades["flags"] & Flag.BACKFILLED] == [False, False, True, True]
    gap = markers(feed)[markers(feed)["marker"] == Marker.GAP]
    assert len(gap) == 1
    assert (gap["from_epoch"][0], gap["epoch"][0]) == (1, 2)


def test_trades_carry_the_primary_book_whichever_came_first():
    for order in ([BOOK_ACK, SNAPSHOT, TRADES_ACK], [TRADES_ACK, BOOK_ACK, SNAPSHOT]):
        feed = Feed().frames([*order, '[8,"te",[4,4000,1,100]]'])
        trade = feed.slots[feed.slots["kind"] == tape.Kind.TRADE][-1]
        assert trade["reference_price"] == 100.5
        assert trade["book"][10] == 2.0


def test_flags_say_what_a_tail_means():
    feed = Feed().frames(['{"event":"conf","status":"OK","flags":98304}', BOOK_ACK])
    feed.frames([SNAPSHOT[:-1] + ",1,1600000000123]", '[7,"hb",2,1600000000200]'])
    feed.frames(["[7,[100,1,3],3,1600000000300]"])
    assert feed.codec.sequence_last == 3
    levels = feed.slots[feed.slots["kind"] == tape.Kind.BOOK_LEVEL]
    assert list(np.unique(levels["event_ns"])) == [1600000000123000000, 1600000000300000000]
    assert list(np.unique(levels["venue_sequence"])) == [1, 3]
    feed.frames(["[7,[100,1,3],4]"])
    assert feed.codec.tallies[decoding.N_TAIL_MISMATCH] == 1


@pytest.mark.parametrize("slow", [False, True])
def test_a_gap_stops_a_live_connection_and_is_counted_in_a_recording(slow):
    conf = '{"event":"conf","status":"OK","flags":65536}'
    update = "[7,[100,1,2.0000000000000000001],4]" if slow else "[7,[100,1,2],4]"
    live = Feed(tolerant=False).frames([conf, BOOK_ACK, SNAPSHOT[:-1] + ",1]", update, "[7,[]]"])
    assert [n for n in live.notices if isinstance(n, SequenceGap)] == [
        SequenceGap(expected=2, found=4)
    ]
    assert live.codec.broken
    assert len(wire_levels(live.markets.books, 0, BID, 9)) == 2
    recording = Feed().frames([conf, BOOK_ACK, SNAPSHOT[:-1] + ",1]", update, "[7,[98,1,1],5]"])
    assert recording.codec.gaps == 1
    assert recording.codec.sequence_last == 5
    assert len(wire_levels(recording.markets.books, 0, BID, 9)) == 3
    assert "GAP" in recording.markers()


def test_a_live_connection_begins_at_one():
    conf = '{"event":"conf","status":"OK","flags":65536}'
    feed = Feed(tolerant=False)
    feed.codec.open(1, 1, from_first=True)
    feed.frames([conf, BOOK_ACK, SNAPSHOT[:-1] + ",2]"])
    assert feed.notices[-1] == SequenceGap(expected=1, found=2)


def test_a_failed_checksum_breaks_one_channel_only():
    other = BOOK_ACK.replace("7", "9").replace("tBTCUSD", "tETHUSD")
    feed = Feed(tolerant=False).frames([BOOK_ACK, SNAPSHOT, other, SNAPSHOT.replace("[7", "[9")])
    feed.frames(['[7,"cs",1]', "[7,[100,1,9]]", "[9,[100,1,8]]"])
    broken = [n for n in feed.notices if isinstance(n, ChannelBroken)]
    assert [(n.channel_id, n.reason) for n in broken] == [(7, MarkerReason.CHECKSUM)]
    assert wire_levels(feed.markets.books, 0, BID, 1)[0][2] == "2"
    assert wire_levels(feed.markets.books, 1, BID, 1)[0][2] == "8"
    # Subscribed anew, the gap runs from where the book was last known to be right.
    feed.frames(['{"event":"unsubscribed","status":"OK","chanId":7}', BOOK_ACK.replace("7", "17")])
    feed.frames([SNAPSHOT.replace("[7", "[17")])
    assert feed.markers()[-4:] == ["SUBSCRIBED", "GAP", "SNAPSHOT_BEGIN", "SNAPSHOT_END"]
    assert [n for n in feed.notices if isinstance(n, Ended)]


def test_a_bad_update_breaks_its_book_and_a_bad_trade_nothing():
    feed = Feed(tolerant=False).frames([BOOK_ACK, SNAPSHOT, TRADES_ACK])
    feed.frames(['[8,"te",[4,4000,1,-100]]', '[7,["x",1,1]]', '[8,"te",[5,5000,1,100]]'])
    assert [type(n) for n in feed.notices[2:]] == [BadFrame, ChannelBroken]
    assert feed.kinds()["trade"] == 1


def test_frames_before_their_ack_are_counted_and_forgiven_when_it_comes():
    feed = Feed().frames(['[7,"hb"]', '[55,"hb"]'])
    assert feed.codec.unknown_frames == 2
    feed.frames([BOOK_ACK, SNAPSHOT])
    assert feed.codec.unknown_frames == 1


def test_venue_announcements():
    feed = Feed().frames(
        [
            '{"event":"info","version":2,"serverId":"x","platform":{"status":0}}',
            '{"event":"info","code":20051,"msg":"Stopping"}',
            '{"event":"info","code":20060,"msg":"maintenance"}',
            '{"event":"info","code":20061,"msg":"ended"}',
            '{"event":"pong","ts":1}',
            '{"event":"info","version":3}',
        ]
    )
    assert feed.notices[:4] == [
        Opened(operative=False, text="x"),
        ServerNotice(reconnect=True, text="20051 Stopping"),
        ServerNotice(pause=True, text="20060 maintenance"),
        ServerNotice(resubscribe=True, text="20061 ended"),
    ]
    assert "version 3" in feed.notices[4].why


def test_errors_find_their_request():
    feed = Feed().frames(
        [
            BOOK_ACK,
            '{"event":"error","msg":"subscribe: dup","code":10301,"chanId":12,"channel":"book",'
            '"symbol":"tBTCUSD","prec":"P0","len":"25","freq":"F0"}',
            '{"event":"error","msg":"symbol: invalid","code":10300,"channel":"ticker",'
            '"symbol":"tX"}',
        ]
    )
    assert isinstance(feed.notices[1], Acknowledged)
    assert feed.notices[1].channel_id == 12
    refused = feed.notices[2]
    assert isinstance(refused, Refused)
    assert refused.permanent
    assert refused.subscription.instrument.symbol == "tX"
    feed.frames([SNAPSHOT.replace("[7", "[12")])
    assert feed.kinds()["book_level"] == 4


def test_unasked_streams_are_refused_live():
    codec = BitfinexCodec(Markets(), lambda slots, count: None)
    codec.open(1, 1)
    feed = Feed()
    feed.codec = codec
    feed.frames([BOOK_ACK])
    assert isinstance(feed.notices[0], BadFrame)


@pytest.mark.parametrize(
    "frame",
    [
        "", "[", "]", "[]", "[7]", "[7,", "nonsense", "{", '{"event":1}', '{"event":"subscribed"}',
        "[7,[100,1]]", "[7,[100,1,", '[7,["a",1,1]]', "[7,[100,-1,1]]", "[7,[100,1,0]]",
        "[7,[-100,1,1]]", "[7,[1e400,1,1]]", "[7,[NaN,1,1]]", "[7,[100,1.5,1]]", "[7,null]",
        "[7,[[100,1,1],[101]]]", "[7,[[100,1,1],5]]", '[7,"xx"]', '[7,"cs"]', '[7,"cs","a"]',
        "[7,[100,1,1],-5]", "[7,[100,1,1],1,2,3]", "[7,{}]", "[-7,[100,1,1]]", '["7",[100,1,1]]',
        "[99999999999999999999,[1,1,1]]", "[7,[100,1,1]]]", "[7,[100,1,1]] ", '[8,"te",[1,2]]',
        '[8,"te",[1,2,3,"4"]]', '[8,"te",[1,2,0,4]]', "[8,[[1,2,3]]]", '[8,"te"]', "\0\xff",
        "[" * 5000, "[7,[" + "1" * 400 + ",1,1]]", '{"event":"subscribed","chanId":"x"}',
        '{"event":"info","version":"a"}', '{"event":"error","code":"x"}', "[7,[100,1e3,1]]",
    ],
)  # fmt: skip
def test_garbage_is_skipped_with_the_channels_intact(frame):
    feed = Feed().frames([BOOK_ACK, SNAPSHOT, TRADES_ACK])
    before = [wire_levels(feed.markets.books, 0, side, 9) for side in (BID, ASK)]
    feed.frames([frame.encode("latin1")])
    feed.frames(['[8,"te",[4,4000,1,100]]'])
    changed = [wire_levels(feed.markets.books, 0, side, 9) for side in (BID, ASK)]
    if changed != before:
        # The frame was a correct update with an odd tail or odd but valid numbers.
        assert frame.startswith(("[7,[100,1,1]", "[7,[100,1e3")), frame
    assert feed.kinds()["trade"] == 1
    feed.frames(["[7,[100,1,77]]"])
    assert wire_levels(feed.markets.books, 0, BID, 1)[0][2] == "77"


def mutate(draw: random.Random, frame: bytes, others: list[bytes]) -> bytes:
    data = bytearray(frame)
    for _ in range(draw.randint(1, 4)):
        choice = draw.randrange(6)
        at = draw.randrange(len(data) + 1)
        if choice == 0 and data:
            del data[at : at + draw.randint(1, 8)]
        elif choice == 1:
            data[at:at] = draw.choice(
                [b"[", b"]", b",", b'"', b"null", b"-", b"1e308", b"{}", b"9"]
            )
        elif choice == 2 and data:
            data[min(at, len(data) - 1)] = draw.randrange(256)
        elif choice == 3:
            other = draw.choice(others)
            data[at:] = other[draw.randrange(len(other)) :]
        elif choice == 4 and data:
            data = data[:at]
        else:
            data[at:at] = data[:at][-20:]
    return bytes(data)


def test_fuzzed_recordings_never_crash_and_the_next_snapshot_heals(recordings, seed, long_run):
    """Frames damaged at random, many at once; memory stays bounded and the books recover."""
    rounds = 400 if long_run else 4
    draw = random.Random(seed)
    folder = recordings / "bitfinex"
    sources = [
        recorded_frames(folder / "ws_seqall_7pairs_2021.part1.jsonl"),
        recorded_frames(folder / "ws_book_r0_btcusd_2022.part1.jsonl"),
        recorded_frames(folder / "ws_book_p0_len25_btcusd_2022.jsonl")[:400],
    ]
    for _ in range(rounds):
        frames = draw.choice(sources)
        damaged = [
            mutate(draw, frame, frames) if draw.random() < 0.3 else frame
            for frame in frames
            if len(frame) < 20_000
        ]
        feed = Feed(tolerant=draw.random() < 0.5).frames(damaged, batch=draw.randint(1, 200))
        slots = feed.slots
        assert np.isfinite(slots["price"][slots["kind"] != tape.Kind.MARKER]).all()
        # Whatever happened, a fresh connection is as good as ever.
        feed.codec.open(2, 5, from_first=False)
        feed.frames([BOOK_ACK.replace("tBTCUSD", "tNEW"), SNAPSHOT, "[7,[100,1,77]]"])
        assert wire_levels(feed.markets.books, feed.book("tNEW"), BID, 1)[0][1:] == ("100", "77")


def test_codec_memory_does_not_grow_with_frames():
    feed = Feed().frames([BOOK_ACK, SNAPSHOT])
    books = feed.markets.books.nbytes
    for _ in range(50):
        feed.frames(["[7,[100,1,2]]"] * 100 + ["garbage"] * 10 + ['[66,"hb"]'])
    assert feed.markets.books.nbytes == books
    assert len(feed.codec._unknown) == 1


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [
        ("tBTCUSD", "BTC/USD"),
        ("tDOGE:USD", "DOGE/USD"),
        ("tBTCF0:USTF0", "BTC/USDT:PERP"),
        ("tBTCUST", "BTC/USDT"),
        ("fUSD", "USD:FUNDING"),
    ],
)
def test_symbols_have_one_common_form(symbol, pair):
    assert common_pair(symbol) == pair


def subscriptions(symbols: int) -> list[Subscription]:
    from schemas.feeds import BitfinexSettings
    from tests.feeding import Tables

    settings = BitfinexSettings(symbols=tuple(f"tA{n:02}USD" for n in range(symbols)))
    tables = Tables()
    return [
        Subscription(
            **dict(
                zip(
                    ("instrument", "stream"),
                    tables.allot(symbol, pair, channel, parameters),
                    strict=True,
                )
            ),
            primary=primary,
        )
        for symbol, pair, channel, parameters, primary in wanted_streams(settings)
    ]


def test_plan_spreads_over_connections_within_the_limit():
    wanted = subscriptions(20)
    connections = spread(wanted, 30)
    assert [len(connection) for connection in connections] == [28, 28, 24]
    assert sorted(map(id, wanted)) == sorted(id(s) for c in connections for s in c)
    assert all(len(connection) <= 3 for connection in spread(wanted, 3))


def test_requests_are_answered_under_their_own_name():
    for subscription in subscriptions(1):
        request = subscribe_request(subscription)
        answer = {**request, "event": "subscribed", "chanId": 5}
        feed = Feed()
        feed.codec = BitfinexCodec(
            feed.markets, lambda slots, count: None, subscriptions=[subscription]
        )
        feed.codec.open(1, 1)
        feed.frames([json.dumps(answer)])
        assert feed.notices[0].subscription is subscription


def test_nothing_is_compiled_while_frames_wait():
    """A collector that compiles with its first rare frame would stand still for many seconds."""
    before = {function: function.signatures for function in kernel.ENTRY_POINTS}
    assert all(len(signatures) == 1 for signatures in before.values())
    feed = Feed().frames([BOOK_ACK, TRADES_ACK, SNAPSHOT, "[7,[100,0,1]]", '[7,"hb"]'])
    feed.frames(["[7,[123456789012345678901234567890.5,1,1]]", '[8,"te",[1,2,"x",4]]', "nonsense"])
    feed.frames(['[8,"te",[401597393,1574694475039,0.005,7244.9]]', "[8,[[1,2,3,4],[5,6,7,8]]]"])
    assert {function: function.signatures for function in kernel.ENTRY_POINTS} == before
