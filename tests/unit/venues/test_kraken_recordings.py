"""Real Kraken frames through the codec: checksums, states, and the samples of its documentation."""

import json

import numpy as np
import pytest

from processes.cli.ingest import read_frames
from schemas import tape
from schemas.tape import Flag
from tests.feeding import Feed
from tests.kraken_frames import PlainBook, bare
from tests.unit.venues.test_kraken_book import book_of, rebuilt
from venues import decoding
from venues.kraken.codec import KrakenCodec
from venues.kraken.subscriptions import BOOK_DEPTHS, smallest_depth
from venues.wire import BadFrame, InstrumentsChanged, Opened, Refused

BOOKS = {
    "ws_v2_book_btcusd_d10_2023.part1.jsonl": 256,
    "ws_v2_book_btcusd_d10_2026-07-05.jsonl": 11,
    "ws_v2_book_checksum_misc.jsonl": 3,
    "ws_v1_book1000_2021_as_v2_shape.jsonl": 2149,
}
"""Books of the recordings, and how many checksums each has."""


def frames_of(recordings, name: str) -> list[bytes]:
    return [frame.text for frame in read_frames([recordings / "kraken" / name])]


def plain_books(frames: list[bytes]) -> dict[str, PlainBook]:
    """The books that the frames make by the rules written plainly."""
    books: dict[str, PlainBook] = {}
    for message in (json.loads(f, parse_float=str, parse_int=str) for f in frames):
        for row in message["data"]:
            sides = [[(level["price"], level["qty"]) for level in row[s]] for s in ("bids", "asks")]
            is_snapshot = message["type"] == "snapshot"
            if row["symbol"] not in books:
                depth = smallest_depth(max(map(len, sides)), BOOK_DEPTHS)
                books[row["symbol"]] = PlainBook(depth)
            books[row["symbol"]].apply(*sides, is_snapshot=is_snapshot)
    return books


@pytest.mark.parametrize("name", BOOKS)
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_books_verify_every_checksum_and_end_as_they_should(recordings, name, batch):
    frames = frames_of(recordings, name)
    feed = Feed(KrakenCodec).frames(frames, batch=batch)
    assert not [n for n in feed.notices if isinstance(n, BadFrame)]
    assert feed.codec.tallies[decoding.N_VERIFIED] == BOOKS[name]
    assert feed.codec.tallies[decoding.N_FAILED] == 0
    for number, (symbol, book) in enumerate(plain_books(frames).items()):
        assert book_of(feed, symbol) == [book.best(0), book.best(1)]
        wanted = [{float(p): float(s) for p, s in book.best(side)} for side in (0, 1)]
        assert rebuilt(feed.slots, number) == wanted


def test_without_cutting_most_checksums_fail(recordings):
    """The rule matters: with a depth that is never reached the same frames do not verify."""
    frames = frames_of(recordings, "ws_v2_book_btcusd_d10_2023.part1.jsonl")
    feed = Feed(KrakenCodec).frames(frames[:1])
    feed.codec._channels["depth"] = 1000
    feed.frames(frames[1:])
    assert feed.codec.tallies[decoding.N_FAILED] > len(frames) // 2


def test_spaces_between_the_tokens_change_nothing(recordings):
    frames = frames_of(recordings, "ws_v2_book_btcusd_d10_2023.part1.jsonl")
    spaced = [f.replace(b",", b" , ").replace(b":", b" :\t").replace(b"[", b"[\n") for f in frames]
    # Not within the times, whose colons are text.
    spaced = [f.replace(b" :\t", b":") if b"timestamp" in f else f for f in spaced]
    plain, other = Feed(KrakenCodec).frames(frames), Feed(KrakenCodec).frames(spaced)
    assert plain.slots.tobytes() == other.slots.tobytes()


def test_level3_documentation_example(recordings):
    frames = frames_of(recordings, "ws_v2_level3_official_example.jsonl")
    feed = Feed(KrakenCodec).frames(frames)
    assert feed.codec.tallies[decoding.N_VERIFIED] == 1
    message = json.loads(frames[0], parse_float=str)["data"][0]
    report = feed.codec.report()["level3"]["BTC/USD"]
    assert report["orders"] == len(message["bids"]) + len(message["asks"])
    assert (report["bids"], report["asks"], report["depth"]) == (10, 10, 10)
    slots = feed.slots[feed.slots["kind"] == tape.Kind.L3_ORDER]
    assert (slots["flags"] & Flag.SNAPSHOT).all()
    changed = frames[0].replace(b"1063832831", b"1063832832")
    assert Feed(KrakenCodec).frames([changed]).codec.tallies[decoding.N_FAILED] == 1


def test_frames_of_several_years(recordings):
    feed = Feed(KrakenCodec)
    frames = frames_of(recordings, "ws_v2_frames_observed.jsonl")
    begins = [feed.codec.begins_connection(frame) for frame in frames]
    assert [index for index, begin in enumerate(begins) if begin] == [0, 3]
    feed.frames(frames)
    assert not [n for n in feed.notices if isinstance(n, BadFrame)]
    assert feed.notices[0] == Opened(operative=True, text="online")
    assert "Order Entry System Maintenance" in feed.notices[1].text
    refused = [n for n in feed.notices if isinstance(n, Refused)]
    assert [(n.text, n.permanent) for n in refused] == [
        ("Subscription depth not supported", True),
        ("ESession:Invalid session", False),
    ]
    assert feed.codec.tallies[decoding.N_HEARTBEATS] == 1
    assert feed.codec.unknown_frames == 1  # the level3 update, of a book that had no snapshot
    assert feed.codec.report()["account"] == {"OrderUpdate": 2, "Fill": 1}
    trades = feed.slots[feed.slots["kind"] == tape.Kind.TRADE]
    assert list(trades["id_low"]) == [62886870, 100320028]
    assert list(trades["side"]) == [tape.Side.ASK, tape.Side.BID]
    assert trades["event_ns"][0] == 1778771021748964000
    ticker = tape.view_as(feed.slots[feed.slots["kind"] == tape.Kind.TICKER], tape.TICKER)[0]
    assert [ticker[name] for name in ("bid", "ask_size", "last", "low", "average_price")] == [
        0.13099, 1771.75027615, 0.13110, 0.12437, 0.12882,
    ]  # fmt: skip
    assert ticker["daily_change_relative"] == pytest.approx(0.0525)
    assert np.isnan(ticker["flash_return_rate"])


def test_candles_of_2026(recordings):
    feed = Feed(KrakenCodec).frames(frames_of(recordings, "ws_v2_ohlc_btcusdt_2026-09-10.jsonl"))
    assert not [n for n in feed.notices if isinstance(n, BadFrame)]
    candles = feed.slots[feed.slots["kind"] == tape.Kind.CANDLE]
    view = tape.view_as(candles, tape.CANDLE)
    assert len(candles) == 9
    assert view["start_ns"][0] == 1789061520 * 10**9
    # Oldest first, with holes where nothing was traded; the envelope has the time of sending.
    assert sorted(set(np.diff(view["start_ns"]) // 10**9)) == [60, 120, 180]
    assert set(candles["event_ns"]) == {1789062283105760475}
    fields = ("open", "high", "low", "close", "volume", "average_price", "trade_count")
    assert [view[name][0] for name in fields] == [
        77400.0, 77445.8, 77400.0, 77416.3, 0.25302078, 77416.2, 15.0,
    ]  # fmt: skip
    refused = [n for n in feed.notices if isinstance(n, Refused)]
    assert refused[0].text == "Currency pair not supported XBT/USDT"
    assert refused[0].permanent


def test_instrument_snapshot_is_one_value_of_many_lines(recordings):
    frames = frames_of(recordings, "ws_v2_instrument_snapshot_2024.json")
    assert len(frames) == 1
    feed = Feed(KrakenCodec).frames(frames)
    notice = feed.notices[0]
    assert isinstance(notice, InstrumentsChanged)
    assert notice.is_snapshot
    assert (len(notice.pairs), len(notice.assets)) == (683, 296)
    assert feed.codec.report()["instruments"] == {"pairs": 683, "assets": 296, "updates": 0}
    last = notice.pairs[-1]
    assert (last.symbol, last.price_step, last.minimum_quantity) == ("HNT/EUR", "0.0001", "1.00000")
    assert all("e" not in pair.quantity_step.lower() for pair in notice.pairs)


def sample(recordings, file: str, name: str) -> str:
    """One named sample, its numbers' digits kept."""
    for line in (recordings / "kraken" / file).read_text().splitlines():
        if json.loads(line)["name"] == name:
            key = '"frame":' if '"frame":' in line else '"body":'
            return line[line.index(key) + len(key) :].rstrip()[:-1]
    raise KeyError(name)


@pytest.mark.parametrize(
    ("file", "name", "kinds"),
    [
        ("ws_v2_doc_samples.jsonl", "Kline", {"candle": 1, "marker": 1}),
        ("ws_v2_doc_samples.jsonl", "Ticker", {"ticker": 1, "marker": 1}),
        ("ws_v2_doc_samples.jsonl", "Trades", {"trade": 1, "marker": 1}),
        ("messages_samples_nautilus.jsonl", "ws_ohlc_update", {"candle": 1, "marker": 1}),
        ("messages_samples_nautilus.jsonl", "ws_trade_update", {"trade": 2, "marker": 1}),
        ("messages_samples_nautilus.jsonl", "ws_subscribe_response", {"marker": 1}),
    ],
)
def test_samples_of_public_channels(recordings, file, name, kinds):
    feed = Feed(KrakenCodec).frames([sample(recordings, file, name)])
    assert not [n for n in feed.notices if isinstance(n, BadFrame)]
    assert feed.kinds() == kinds


def test_samples_whose_checksums_are_not_of_their_levels_are_marked(recordings):
    """Edited by their authors (the recordings' README says so): decoded, counted, marked."""
    for file, name in (
        ("messages_samples_nautilus.jsonl", "ws_book_snapshot"),
        ("ws_v2_doc_samples.jsonl", "AggBook"),
        ("ws_v2_doc_samples.jsonl", "IndividualBook"),
    ):
        feed = Feed(KrakenCodec).frames([sample(recordings, file, name)])
        assert feed.codec.tallies[decoding.N_FAILED] == 1
        assert feed.markers()[-1] == "RESYNC"


def test_a_sample_with_trimmed_digits_verifies_with_the_pairs_precision(recordings):
    message = json.loads(sample(recordings, "ws_v2_doc_samples.jsonl", "AggBook"))
    row = message["data"][0]
    book = PlainBook(10)
    book.apply(
        *[[(f"{v['price']:.4f}", f"{v['qty']:.8f}") for v in row[s]] for s in ("bids", "asks")]
    )
    assert book.checksum() == row["checksum"]
    assert bare("0.00100000") == "100000"


def test_level3_samples_go_on_from_a_snapshot(recordings):
    start = (
        '{"channel":"level3","type":"snapshot","data":[{"symbol":"BTC/USD","asks":[],"bids":'
        '[{"order_id":"order-bid-1","limit_price":42001.0,"order_qty":0.5,'
        '"timestamp":"2024-01-15T12:00:00.000000Z"}]}]}'
    )
    frames = [
        sample(recordings, "messages_samples_nautilus.jsonl", name).replace('"checksum":0,', "")
        for name in ("ws_l3_update_add", "ws_l3_update_modify_price")
    ]
    feed = Feed(KrakenCodec).frames([start, *frames])
    assert not [n for n in feed.notices if isinstance(n, BadFrame)]
    assert feed.codec.report()["level3"]["BTC/USD"]["top_bids"] == [
        ["42000.0", [["order-bid-new", "0.1"]]],
        ["41998.0", [["order-bid-1", "0.5"]]],
    ]
