"""Kraken's codec where the protocol is subtle: answers, refusals, status, several symbols a frame,
and damage of every kind."""

import json
import random

import numpy as np
import pytest

from schemas import tape
from schemas.feeds import KrakenSettings
from schemas.tape import Flag, MarkerReason
from tests.feeding import Feed, Tables
from tests.kraken_frames import PlainBook, ack, book_row, dumps, frame, snapshot, update
from tests.unit.venues.test_bitfinex_codec import mutate
from tests.unit.venues.test_kraken_book import book_of
from venues import decoding
from venues.kraken import kernel
from venues.kraken.codec import KrakenCodec
from venues.kraken.subscriptions import (
    request_id,
    subscribe_requests,
    unsubscribe_request,
    wanted_streams,
)
from venues.names import channel_number
from venues.wire import (
    Acknowledged,
    BadFrame,
    ChannelBroken,
    Ended,
    Opened,
    Refused,
    ServerNotice,
    Subscription,
)

TRADE = {
    "symbol": "A/USD", "side": "buy", "price": 100.5, "qty": 0.25, "ord_type": "limit",
    "trade_id": 1, "timestamp": "2026-05-14T15:03:41.748964Z",
}  # fmt: skip
HEARTBEAT = '{"channel":"heartbeat"}'


def subscriptions(
    symbols: tuple[str, ...], channels: tuple[str, ...] = ("books", "trades", "ticker", "candles")
) -> list[Subscription]:
    settings = KrakenSettings(symbols=symbols, channels=channels, candles=("1m", "1h"))
    tables = Tables("kraken")
    wanted = []
    for symbol, pair, channel, parameters, primary in wanted_streams(settings):
        instrument, stream = tables.allot(symbol, pair, channel, parameters)
        wanted.append(Subscription(instrument=instrument, stream=stream, primary=primary))
    return wanted


def live_feed(wanted: list[Subscription]) -> Feed:
    """A feed of a live connection, which knows only what was asked for."""
    feed = Feed(KrakenCodec, tolerant=False, subscriptions=wanted)
    feed.codec._allot = None
    return feed


def status(system: str, connection: int = 5, **more) -> str:
    row = {"version": "2.0.10", "system": system, "api_version": "v2", "connection_id": connection}
    return dumps(frame("status", "update", [row | more]))


def test_each_symbol_of_a_request_is_acknowledged_by_itself():
    wanted = subscriptions(("A/USD", "B/USD"))
    feed = live_feed(wanted)
    for request in subscribe_requests(wanted, KrakenSettings()):
        asked = json.loads(request.text)
        params = asked["params"]
        symbols = params.pop("symbol")
        assert symbols == ["A/USD", "B/USD"]
        for symbol in symbols:
            feed.frames(
                [
                    json.dumps(
                        {"method": "subscribe", "result": params | {"symbol": symbol},
                         "success": True, "req_id": asked["req_id"]}
                    )
                ]
            )  # fmt: skip
    acknowledged = [n.subscription for n in feed.notices if isinstance(n, Acknowledged)]
    assert sorted(map(id, acknowledged)) == sorted(map(id, wanted))
    assert len({n.channel_id for n in feed.notices}) == len(wanted) == 10
    assert len(feed.codec.data_ns()) == 10


def test_a_refusal_names_its_symbol_or_its_request():
    wanted = subscriptions(("A/USD", "B/USD"), ("books", "trades"))
    feed = live_feed(wanted)
    book_request, trade_request = subscribe_requests(wanted, KrakenSettings())
    number = json.loads(trade_request.text)["req_id"]
    feed.frames(
        [
            f'{{"error":"Currency pair not supported B/USD","method":"subscribe","success":false,'
            f'"symbol":"B/USD","req_id":{number}}}'
        ]
    )
    assert [(n.subscription.instrument.symbol, n.subscription.stream.channel, n.permanent)
            for n in feed.notices] == [("B/USD", "trades", True)]  # fmt: skip
    feed.notices.clear()
    number = json.loads(book_request.text)["req_id"]
    feed.frames([ack("book", "A/USD", depth=25)])
    feed.frames(
        [
            f'{{"error":"EService:Unavailable","method":"subscribe","success":false,"req_id":{number}}}'
        ]
    )
    # The one that is live already was not meant.
    assert [type(n) for n in feed.notices] == [Acknowledged, Refused]
    assert feed.notices[1].subscription.instrument.symbol == "B/USD"
    assert not feed.notices[1].permanent
    assert feed.markers().count("REFUSED") == 2


def test_a_repeated_request_that_is_refused_harms_no_live_channel():
    wanted = subscriptions(("A/USD",), ("books",))
    feed = live_feed(wanted).frames([ack("book", "A/USD", depth=25)])
    number = request_id(1, wanted[0].stream.index)
    feed.frames(
        [f'{{"error":"Already subscribed","method":"subscribe","success":false,"req_id":{number}}}']
    )
    assert len(feed.notices) == 1
    assert "REFUSED" not in feed.markers()


def test_a_spent_session_ends_the_connection():
    feed = live_feed([]).frames(
        ['{"error":"ESession:Invalid session","method":"subscribe","req_id":42,"success":false}']
    )
    assert feed.notices[-1] == ServerNotice(reconnect=True, text="ESession:Invalid session")


def test_warnings_of_acks_are_told_once():
    text = ack("ohlc", "A/USD", interval=1, warnings=["timestamp is deprecated"])
    feed = Feed(KrakenCodec).frames([text, text.replace("A/USD", "B/USD")])
    told = [n.text for n in feed.notices if isinstance(n, ServerNotice)]
    assert told == ["ohlc: timestamp is deprecated"]


def test_an_unsubscription_ends_its_channel_and_so_does_its_refusal():
    wanted = subscriptions(("A/USD", "B/USD"), ("books",))
    feed = live_feed(wanted).frames([ack("book", s, depth=25) for s in ("A/USD", "B/USD")])
    ids = [n.channel_id for n in feed.notices]
    asked = json.loads(unsubscribe_request(wanted[0], KrakenSettings()))
    assert asked["params"] == {"channel": "book", "symbol": ["A/USD"], "depth": 25}
    feed.frames([ack("book", "A/USD", depth=25).replace('"subscribe"', '"unsubscribe"')])
    number = json.loads(unsubscribe_request(wanted[1], KrakenSettings()))["req_id"]
    feed.frames(
        [
            f'{{"error":"Subscription Not Found","method":"unsubscribe","success":false,'
            f'"req_id":{number}}}'
        ]
    )
    assert feed.notices[2:] == [Ended(channel_id=ids[0]), Ended(channel_id=ids[1])]
    # What was still on its way is counted and taken for nothing else.
    feed.frames([update("A/USD", [("1.0", "1.0")], [])])
    assert feed.codec.unknown_frames == 1


def test_what_nobody_asked_for_is_no_channel_of_a_live_connection():
    feed = live_feed(subscriptions(("A/USD",), ("books",)))
    feed.frames([ack("book", "X/USD", depth=25), snapshot("X/USD", [], [])])
    assert isinstance(feed.notices[0], BadFrame)
    assert feed.codec.unknown_frames == 1


def test_states_of_the_venue():
    feed = live_feed([]).frames(
        [
            status("online"), status("cancel_only"), status("cancel_only"), status("maintenance"),
            status("online"), '{"method":"pong","req_id":3,"success":true}',
        ]
    )  # fmt: skip
    assert feed.notices == [
        Opened(operative=True, text="online"),
        ServerNotice(text="the venue is cancel_only"),
        ServerNotice(pause=True, text="maintenance"),
        ServerNotice(resubscribe=True, text="online"),
    ]
    feed.codec.open(2, 2)
    feed.notices.clear()
    planned = [{"title": "Order entry", "expected_start_utc": "2026-10-05T09:00:00.000000Z"}]
    feed.frames([status("maintenance", upcoming_maintenance=planned)])
    assert feed.notices[0] == Opened(operative=False, text="maintenance")
    assert "Order entry" in feed.notices[1].text


def test_a_recorded_connection_begins_with_another_id_and_not_with_a_change():
    codec = Feed(KrakenCodec).codec
    frames = [status("online", 1), status("cancel_only", 1), status("online", 2), HEARTBEAT]
    assert [codec.begins_connection(f.encode()) for f in frames] == [True, False, True, False]
    assert not codec.begins_connection(b'{"channel":"status","data":[],"connection_id":3}')


def test_one_failed_checksum_of_a_frame_with_three_books():
    symbols = ("A/USD", "B/USD", "C/USD")
    feed = live_feed(subscriptions(symbols, ("books",)))
    books = {symbol: PlainBook(25) for symbol in symbols}
    feed.frames([ack("book", symbol, depth=25) for symbol in symbols])
    feed.frames([snapshot(symbol, [], []) for symbol in symbols])
    rows = []
    for symbol, book in books.items():
        book.apply([("5.0", "1.0")], [])
        rows.append(book_row(symbol, [("5.0", "1.0")], [], book.checksum() ^ (symbol == "B/USD")))
    feed.frames([dumps(frame("book", "update", rows)), HEARTBEAT])
    broken = [n for n in feed.notices if isinstance(n, ChannelBroken)]
    assert [(n.subscription.instrument.symbol, n.reason) for n in broken] == [
        ("B/USD", MarkerReason.CHECKSUM)
    ]
    assert feed.codec.tallies[decoding.N_VERIFIED] == 2
    assert feed.codec.tallies[decoding.N_HEARTBEATS] == 1
    assert feed.codec.tallies[decoding.N_FRAMES] == 5
    assert [book_of(feed, symbol)[0] for symbol in symbols] == [[("5.0", "1.0")]] * 3
    # The broken one is muted, the others go on.
    feed.frames([update(symbol, [("6.0", "1.0")], []) for symbol in symbols])
    assert [len(book_of(feed, symbol)[0]) for symbol in symbols] == [2, 1, 2]
    assert feed.codec.tallies[decoding.N_MUTED] == 1
    # Subscribed anew, the gap runs from where the book was last known to be right.
    feed.frames([ack("book", "B/USD", depth=25), snapshot("B/USD", [], [])])
    assert feed.markers()[-4:] == ["SUBSCRIBED", "GAP", "SNAPSHOT_BEGIN", "SNAPSHOT_END"]


def test_a_bad_row_costs_that_book_and_no_other_of_its_frame():
    symbols = ("A/USD", "B/USD", "C/USD")
    feed = live_feed(subscriptions(symbols, ("books",)))
    feed.frames([ack("book", symbol, depth=25) for symbol in symbols])
    feed.frames([snapshot(symbol, [], []) for symbol in symbols])
    rows = [book_row(symbol, [("5.0", "1.0")], []) for symbol in symbols]
    rows[1]["bids"][0]["qty"] = "many"
    feed.frames([dumps(frame("book", "update", rows))])
    assert [n.subscription.instrument.symbol for n in feed.notices[3:]] == ["B/USD"]
    assert [len(book_of(feed, symbol)[0]) for symbol in symbols] == [1, 0, 1]


def test_rows_around_one_that_the_kernel_does_not_know_are_taken_once():
    symbols = ("A/USD", "C/USD")
    feed = live_feed(subscriptions(symbols, ("books",)))
    feed.frames([ack("book", symbol, depth=25) for symbol in symbols])
    feed.frames([snapshot(symbol, [], []) for symbol in symbols])
    rows = [book_row(s, [("5.0", "1.0")], []) for s in ("A/USD", "X/USD", "C/USD")]
    feed.frames([HEARTBEAT, dumps(frame("book", "update", rows)), HEARTBEAT])
    assert feed.kinds()["book_level"] == 2
    assert [len(book_of(feed, symbol)[0]) for symbol in symbols] == [1, 1]
    assert feed.codec.unknown_frames == 1
    assert feed.codec.tallies[decoding.N_FRAMES] == 5


def test_a_frame_that_is_no_json_costs_the_live_book_whose_symbol_it_names():
    symbols = ("A/USD", "B/USD")
    feed = live_feed(subscriptions(symbols, ("books", "trades")))
    feed.frames([ack("book", symbol, depth=25) for symbol in symbols])
    feed.frames([snapshot(symbol, [("1.0", "1.0")], []) for symbol in symbols])
    feed.frames([update("A/USD", [("2.0", "1.0")], [])[:-9]])
    assert [type(n) for n in feed.notices[2:]] == [BadFrame, ChannelBroken]
    assert feed.notices[3].subscription.instrument.symbol == "A/USD"
    feed.frames([dumps(frame("trade", "update", [TRADE]))[:-9]])
    assert isinstance(feed.notices[-1], BadFrame)  # a trade, and no book's affair


def test_an_update_before_the_snapshot_is_no_book():
    feed = live_feed(subscriptions(("A/USD",), ("books",))).frames([ack("book", "A/USD", depth=25)])
    feed.frames([update("A/USD", [("1.0", "1.0")], [])])
    assert isinstance(feed.notices[-1], ChannelBroken)


def test_trades_are_told_once_and_those_of_a_gap_are_marked():
    rows = [TRADE | {"trade_id": number} for number in (1, 2)]
    feed = Feed(KrakenCodec).frames(
        [ack("trade", "A/USD"), dumps(frame("trade", "snapshot", rows))]
    )
    feed.codec.open(2, 2)
    more = [TRADE | {"trade_id": number} for number in (1, 2, 3, 4)]
    feed.frames([ack("trade", "A/USD"), dumps(frame("trade", "snapshot", more))])
    feed.frames([dumps(frame("trade", "update", [TRADE | {"trade_id": 5, "side": "sell"}]))])
    trades = feed.slots[feed.slots["kind"] == tape.Kind.TRADE]
    assert list(trades["id_low"]) == [1, 2, 3, 4, 5]
    marked = [bool(flags & Flag.BACKFILLED) for flags in trades["flags"]]
    assert marked == [False, False, True, True, False]
    assert list(trades["side"]) == [1, 1, 1, 1, 2]
    assert trades["event_ns"][0] == 1778771021748964000


def test_two_intervals_of_a_symbol_are_two_streams():
    row = {
        "symbol": "A/USD", "open": 1.0, "high": 4.0, "low": 0.5, "close": 2.0, "trades": 3,
        "volume": 9.0, "vwap": 1.5, "interval_begin": "2026-09-10T17:32:00.000000000Z",
        "timestamp": "2026-09-10T17:33:00.000000Z",
    }  # fmt: skip
    feed = Feed(KrakenCodec).frames([ack("ohlc", "A/USD", interval=n) for n in (1, 60)])
    feed.frames([dumps(frame("ohlc", "update", [row | {"interval": n}])) for n in (60, 1)])
    candles = feed.slots[feed.slots["kind"] == tape.Kind.CANDLE]
    assert list(candles["stream"]) == [1, 0]
    assert list(candles["price"]) == [2.0, 2.0]
    assert list(candles["event_ns"]) == [0, 0]  # the row's own time is the interval's end
    feed.frames([dumps(frame("ohlc", "update", [row | {"interval": 7}]))])
    assert isinstance(feed.notices[-1], BadFrame)


def test_a_ticker_without_numbers_has_none():
    row = {"symbol": "A/USD", "bid": None, "ask": 2.0, "last": None, "new_field": "x"}
    feed = Feed(KrakenCodec).frames([dumps(frame("ticker", "update", [row]))] * 2)
    tickers = tape.view_as(feed.slots[feed.slots["kind"] == tape.Kind.TICKER], tape.TICKER)
    assert len(tickers) == 2
    assert np.isnan(tickers["bid"]).all()
    assert (tickers["ask"] == 2.0).all()
    feed.frames([dumps(frame("ticker", "update", [{"symbol": "A/USD", "bid": 1.0}]))])
    assert isinstance(feed.notices[-1], BadFrame)


def test_one_number_has_one_name(monkeypatch):
    feed = Feed(KrakenCodec).frames([ack("trade", "A/USD")])
    monkeypatch.setattr(
        "venues.kraken.codec.channel_number", lambda *_: channel_number("trade", "A/USD", 0)
    )
    feed.frames([ack("trade", "B/USD")])
    assert "one number" in feed.notices[-1].why


GARBAGE = [
    "", "{", "}", "[]", "{}", "null", "5", '"text"', "nonsense", '{"channel":"book"}',
    '{"channel":5}', '{"channel":"nothing","data":[]}', '{"channel":"book","type":"update"}',
    '{"channel":"book","type":"update","data":{}}', '{"channel":"book","type":"x","data":[]}',
    '{"channel":"book","type":"update","data":[5]}',
    '{"channel":"book","type":"update","data":[{}]}',
    '{"channel":"book","type":"update","data":[{"symbol":"A/USD"}]}',
    '{"channel":"book","type":"update","data":[{"symbol":5,"bids":[],"asks":[]}]}',
    update("A/USD", [("-1.0", "1.0")], []), update("A/USD", [("1.0", "-1.0")], []),
    update("A/USD", [("0.0", "1.0")], []), update("A/USD", [("1e400", "1.0")], []),
    update("A/USD", [("1.0", "1.0")], []).replace('"asks":[]', '"asks":5'),
    update("A/USD", [("1.0", "1.0")], []).replace("2026-", "x"),
    update("A/USD", [("1.0", "1.0")], []).replace('"asks":[],', '"asks":[],"checksum":-1,'),
    update("A/USD", [("1.0", "1.0")], []).replace('"asks":[],', '"asks":[],"checksum":1.5,'),
    update("A/USD", [("1" * 300, "1.0")], []), "[" * 5000, '{"a":' * 3000,
    update("A/USD", [("NaN", "1.0")], []).replace("nan", "NaN"),
    '{"method":"subscribe","success":true}', '{"method":"subscribe","success":true,"result":5}',
    '{"method":"subscribe","success":true,"result":{"channel":"book"}}',
    '{"method":"subscribe","success":true,"result":{"channel":"ohlc","symbol":"A/USD"}}',
    '{"channel":"status","data":[]}', '{"channel":"status","data":[{"system":5}]}',
    '{"channel":"instrument","type":"snapshot","data":[]}',
    '{"channel":"executions","data":[{}]}',
    '{"channel":"balances","data":5}', "\0\xff",
]  # fmt: skip


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_skipped_with_the_channels_intact(text):
    feed = Feed(KrakenCodec).frames(
        [ack("book", "A/USD", depth=10), snapshot("A/USD", [("5.0", "2.0")], [("6.0", "3.0")])]
    )
    feed.frames([text.encode("latin1")])
    assert [type(n) for n in feed.notices[1:]] == [BadFrame]
    assert book_of(feed, "A/USD") == [[("5.0", "2.0")], [("6.0", "3.0")]]
    feed.frames([update("A/USD", [("5.0", "7.0")], []), dumps(frame("trade", "update", [TRADE]))])
    assert book_of(feed, "A/USD")[0] == [("5.0", "7.0")]
    assert feed.kinds()["trade"] == 1


def test_fuzzed_recordings_never_crash(recordings, seed, long_run):
    """Frames damaged at random, many at once: no crash, and a fresh snapshot is as good as ever."""
    draw = random.Random(seed)
    folder = recordings / "kraken"
    names = ("ws_v2_book_btcusd_d10_2023.part1.jsonl", "ws_v2_frames_observed.jsonl",
             "ws_v2_ohlc_btcusdt_2026-09-10.jsonl",
             "ws_v2_level3_official_example.jsonl")  # fmt: skip
    frames = [line for name in names for line in (folder / name).read_bytes().splitlines()]
    for _ in range(60 if long_run else 3):
        damaged = [mutate(draw, f, frames) if draw.random() < 0.3 else f for f in frames]
        feed = Feed(KrakenCodec, tolerant=draw.random() < 0.5)
        feed.frames(damaged, batch=draw.randint(1, 200))
        slots = feed.slots
        prices = slots["price"][np.isin(slots["kind"], [tape.Kind.TRADE, tape.Kind.BOOK_LEVEL])]
        assert np.isfinite(prices).all()
        feed.codec.open(2, 5)
        feed.frames([snapshot("NEW/USD", [("100.0", "77.0")], [])])
        assert book_of(feed, "NEW/USD")[0] == [("100.0", "77.0")]


def slip(draw: random.Random, frame_text: bytes) -> bytes:
    """One or two letters changed, lost or added, or a member said twice."""
    data = bytearray(frame_text)
    for _ in range(draw.randint(1, 2)):
        at, choice = draw.randrange(len(data)), draw.randrange(4)
        letter = draw.choice(b'0123456789.-eE"{}[],: ntu\\\xe9')
        if choice == 0:
            del data[at]
        elif choice == 1:
            data[at] = letter
        elif choice == 2:
            data[at:at] = bytes([letter])
        else:
            end = data.find(b",", at)
            data[end:end] = b"," + data[at:end]
    return bytes(data)


def test_both_halves_take_and_refuse_the_same(recordings, seed, long_run):
    """What the kernel takes of slightly damaged frames Python takes the same way, and no more."""
    draw = random.Random(seed)
    folder = recordings / "kraken"
    base = (folder / "ws_v2_book_btcusd_d10_2023.part1.jsonl").read_bytes().splitlines()[:30]
    base += (folder / "ws_v2_ohlc_btcusdt_2026-09-10.jsonl").read_bytes().splitlines()[2:3]
    base += [
        line
        for line in (folder / "ws_v2_frames_observed.jsonl").read_bytes().splitlines()
        if b'"ticker","type"' in line or b'"trade"' in line
    ]
    compiled, parsed = Feed(KrakenCodec), Feed(KrakenCodec)
    for number in range(20_000 if long_run else 600):
        if number % 50 == 0:
            compiled = Feed(KrakenCodec).frames(base)
            parsed = without_kernel(Feed(KrakenCodec).frames(base))
        bad = slip(draw, draw.choice(base))
        for feed in (compiled, parsed):
            feed.published.clear()
            feed.notices.clear()
            feed.frames([bad])
        assert b"".join(s.tobytes() for s in compiled.published) == b"".join(
            s.tobytes() for s in parsed.published
        ), bad
        assert [type(n) for n in compiled.notices] == [type(n) for n in parsed.notices], bad
        assert (compiled.codec.tallies == parsed.codec.tallies).all(), bad


def without_kernel(feed: Feed) -> Feed:
    """The same feed with every frame left to Python."""

    def decode(batch, first: int, recv_ns: int) -> int:
        feed.codec._result[decoding.R_FRAMES] = first
        return decoding.SLOW

    feed.codec.decode = decode
    return feed


def test_nothing_is_compiled_while_frames_wait():
    """A collector that compiles with its first rare frame would stand still for many seconds."""
    before = {function: function.signatures for function in kernel.ENTRY_POINTS}
    assert all(len(signatures) == 1 for signatures in before.values())
    feed = Feed(KrakenCodec).frames([ack("book", "A/USD", depth=10), snapshot("A/USD", [], [])])
    feed.frames([ack("level3", "A/USD", depth=10), dumps(frame("trade", "update", [TRADE]))])
    feed.frames(
        [
            '{"channel":"level3","type":"snapshot","data":[{"symbol":"A/USD","asks":[],"bids":'
            '[{"order_id":"_________-_________","limit_price":1,"order_qty":1,'
            '"timestamp":"2024-01-15T12:00:00Z"}]}]}',
            update("A/USD", [("1e-9", "123456789123456789123456789.5")], []), "nonsense",
        ]
    )  # fmt: skip
    assert feed.kinds()["l3_order"] == 1
    assert {function: function.signatures for function in kernel.ENTRY_POINTS} == before
