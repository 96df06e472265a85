"""Real Bitfinex frames through the codec: golden states, checksums, sequences, samples."""

import json
import zlib

import numpy as np
import pytest

from schemas import tape
from tests.feeding import Feed, recorded_frames
from venues import decoding
from venues.bitfinex import kernel
from venues.book import ASK, BID, wire_levels
from venues.wire import BadFrame, Refused, SequenceGap


def naive_checksum(feed: Feed, book: int) -> int:
    """The venue's rule, written plainly."""
    bids = wire_levels(feed.markets.books, book, BID, 25)
    asks = wire_levels(feed.markets.books, book, ASK, 25)
    parts = []
    for rank in range(25):
        for side in (bids, asks):
            if rank < len(side):
                key, price, amount = side[rank]
                parts += [str(key) if key else price, amount]
    value = zlib.crc32(":".join(parts).encode())
    return value - (1 << 32) if value >= 1 << 31 else value


def kernel_checksum(feed: Feed, book: int) -> int:
    scratch = np.zeros(8192, np.uint8)
    return kernel.book_checksum(feed.markets.books.ctypes.data, book, scratch.ctypes.data)


def check_no_fault(feed: Feed) -> None:
    assert not [n for n in feed.notices if isinstance(n, BadFrame | SequenceGap)]
    assert feed.codec.tallies[decoding.N_MISSED] == 0
    assert feed.codec.tallies[decoding.N_TAIL_MISMATCH] == 0


def test_seven_pairs_with_sequence_end_in_the_golden_state(recordings):
    folder = recordings / "bitfinex"
    golden = json.loads((folder / "golden_states_seqall_2021_part1.json").read_text())
    frames = recorded_frames(folder / "ws_seqall_7pairs_2021.part1.jsonl")
    for batch in (1, 7, 1000):
        feed = Feed().frames(frames, batch=batch)
        check_no_fault(feed)
        assert feed.codec.sequence_last == golden["last_seq"]
        assert feed.codec.unknown_frames == 0  # the early heartbeat's ack came later
        for symbol, wanted in golden["books"].items():
            book = feed.book(symbol)
            sides = feed.markets.books[book]
            assert (sides[BID]["count"], sides[ASK]["count"]) == (wanted["bids"], wanted["asks"])
            best_bid = wire_levels(feed.markets.books, book, BID, 1)[0]
            best_ask = wire_levels(feed.markets.books, book, ASK, 1)[0]
            assert list(best_bid[1:]) == wanted["best_bid"]
            assert list(best_ask[1:]) == wanted["best_ask"]
            assert kernel_checksum(feed, book) == wanted["crc32_top25_signed"]
            assert naive_checksum(feed, book) == wanted["crc32_top25_signed"]


def test_2018_recording_passes_through_its_golden_states(recordings):
    folder = recordings / "bitfinex"
    golden = json.loads((folder / "golden_states_2018_conn1.json").read_text())
    frames = recorded_frames(folder / "ws_book_p0_len100_trades_btcusd_2018_conn1_first20000.jsonl")
    feed = Feed()
    done = 0
    for count, wanted in ((int(key), value) for key, value in golden.items()):
        feed.frames(frames[done:count])
        done = count
        check_no_fault(feed)
        book = feed.book("tBTCUSD")
        sides = feed.markets.books[book]
        assert sides[BID]["count"] == wanted["bid_levels"]
        assert sides[ASK]["count"] == wanted["ask_levels"]
        for side, key in ((BID, "top5_bids"), (ASK, "top5_asks")):
            levels = wire_levels(feed.markets.books, book, side, 5)
            assert [list(level[1:]) for level in levels] == wanted[key]
        assert kernel_checksum(feed, book) == wanted["crc32_top25_signed"]
        assert feed.codec.tallies[decoding.N_HEARTBEATS] == wanted["heartbeats"]
    te = sum(b'"te"' in frame for frame in frames)
    snapshot = 30
    trades = feed.slots[feed.slots["kind"] == tape.Kind.TRADE]
    assert te == golden["20000"]["trades_te"]
    assert len(trades) == len(np.unique(trades["id_low"])) == te + snapshot


@pytest.mark.parametrize("seed_offset", range(3))
def test_slots_rebuild_the_book_and_carry_its_top(recordings, seed_offset):
    """The tape alone gives the same book, and each frame's last slot shows its best ten levels."""
    frames = recorded_frames(recordings / "bitfinex" / "ws_book_p0_len25_btcusd_2022.jsonl")
    feed = Feed().frames(frames, batch=1 + 10**seed_offset)
    check_no_fault(feed)
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    checked = 0
    for slot in feed.slots:
        if slot["kind"] != tape.Kind.BOOK_LEVEL:
            continue
        side = bids if slot["side"] == tape.Side.BID else asks
        if slot["flags"] & tape.Flag.DELETE:
            del side[slot["price"]]
        else:
            side[slot["price"]] = slot["size"]
        if slot["flags"] & tape.Flag.FRAME_END:
            best_bids = sorted(bids.items(), reverse=True)[:10]
            best_asks = sorted(asks.items())[:10]
            reference = (best_bids[0][0] + best_asks[0][0]) / 2
            assert slot["reference_price"] == reference
            top = slot["book"]
            for base, levels in ((0, best_bids), (20, best_asks)):
                for index, (price, size) in enumerate(levels):
                    assert top[base + index] == np.float32(price - reference)
                    assert top[base + 10 + index] == np.float32(size)
            checked += 1
    assert checked > 900


def test_raw_book_ends_in_the_golden_state(recordings):
    folder = recordings / "bitfinex"
    golden = json.loads((folder / "golden_states_r0_2022.json").read_text())["part1"]
    feed = Feed().frames(recorded_frames(folder / "ws_book_r0_btcusd_2022.part1.jsonl"))
    check_no_fault(feed)
    book = feed.book("tBTCUSD", "R0")
    sides = feed.markets.books[book]
    assert sides[BID]["count"] == golden["bid_orders"]
    assert sides[ASK]["count"] == golden["ask_orders"]
    assert kernel_checksum(feed, book) == naive_checksum(feed, book) == golden["crc32_top25_signed"]
    slots = feed.slots[feed.slots["kind"] == tape.Kind.L3_ORDER]
    deletes = slots[(slots["flags"] & tape.Flag.DELETE) != 0]
    assert len(deletes) == golden["deletes"]
    assert (deletes["price"] > 0).all()


def test_official_checksum_vectors(recordings):
    lines = (recordings / "bitfinex" / "checksum_vectors.jsonl").read_text().splitlines()
    for vector in map(json.loads, lines):
        channel = json.loads(vector["frames"][0])[0]
        ack = {
            "event": "subscribed", "channel": "book", "chanId": channel,
            "symbol": vector["symbol"], "prec": vector["prec"], "freq": "F0", "len": "25",
        }  # fmt: skip
        feed = Feed().frames([json.dumps(ack), *vector["frames"]])
        assert not [n for n in feed.notices if isinstance(n, BadFrame)]
        expected = vector["expected_cs"]
        good = f'[{channel},"cs",{expected}]'
        bad = f'[{channel},"cs",{expected + 1}]'
        feed.frames([good, bad, good])
        assert feed.codec.tallies[decoding.N_VERIFIED] == 2
        assert feed.codec.tallies[decoding.N_FAILED] == 1
        assert feed.markers()[-1] == "RESYNC"


def test_reconnect_boundary_is_two_epochs_without_ghosts_or_repeats(recordings):
    frames = recorded_frames(recordings / "bitfinex" / "ws_reconnect_boundary_btcusd_2018.jsonl")
    feed = Feed().frames(frames)
    check_no_fault(feed)
    assert feed.codec.unknown_frames == 150
    trades = feed.slots[feed.slots["kind"] == tape.Kind.TRADE]
    assert len(trades) == len(np.unique(trades["id_low"]))


def test_single_frames_of_2026(recordings):
    feed = Feed().frames(recorded_frames(recordings / "bitfinex" / "ws_frames_2026.jsonl"))
    assert not [n for n in feed.notices if isinstance(n, BadFrame | SequenceGap)]
    assert feed.codec.unknown_frames == 10
    refused = [n for n in feed.notices if isinstance(n, Refused)]
    assert [(n.code, n.full, n.permanent) for n in refused] == [
        (10305, True, False),
        (10300, False, True),
    ]


@pytest.mark.parametrize(
    "name", ["ws_frames_2026.jsonl", "ws_seq_timestamp_frames_2019_2021.jsonl"]
)
def test_every_single_data_frame_decodes_on_a_channel_of_its_kind(recordings, name):
    """Frames of many channels: each is given the ack of the channel that it must be of."""
    for frame in recorded_frames(recordings / "bitfinex" / name):
        if not frame.startswith(b"["):
            continue
        values = json.loads(frame)
        if values[1] == "cs" or (isinstance(values[1], list) and values[1][0] == ["pos"]):
            continue
        channel = channel_of(values[1])
        if channel is None:
            continue
        feed = Feed()
        ack = {"event": "subscribed", "chanId": values[0], **channel}
        snapshot = f"[{values[0]},[[1,1,1],[2,1,-1]]]" if channel["channel"] == "book" else None
        feed.frames([json.dumps(ack), *([snapshot] if snapshot else []), frame])
        bad = [n for n in feed.notices if isinstance(n, BadFrame)]
        assert not bad, (frame, bad)
        if channel.get("key") == "liq:global":
            slot = tape.view_as(feed.slots, tape.LIQUIDATION)[-1]
            row = values[1][0]
            assert (slot["kind"], slot["symbol"].decode()) == (tape.Kind.STATUS, row[4])
            assert [slot["id_low"], slot["event_ns"], slot["amount"]] == [
                row[1], row[2] * 1_000_000, row[5],
            ]  # fmt: skip


def channel_of(payload) -> dict[str, str] | None:
    book = {"channel": "book", "symbol": "tBTCUSD", "prec": "P0", "freq": "F0", "len": "25"}
    if payload == "hb":
        return {"channel": "ticker", "symbol": "tBTCUSD"}
    if isinstance(payload, str):
        return {"channel": "trades", "symbol": "tBTCUSD"}
    first = payload[0] if isinstance(payload[0], list) else payload
    if first[0] == "pos":
        return {"channel": "status", "key": "liq:global"}
    if len(first) == 3:
        return book
    if len(first) == 4:
        return {"channel": "trades", "symbol": "tBTCUSD"}
    if len(first) in {10, 11}:
        return {"channel": "ticker", "symbol": "tBTCUSD"}
    if len(first) == 16:
        return {"channel": "ticker", "symbol": "fUSD"}
    return {"channel": "status", "key": "deriv:tBTCF0:USTF0"}


def test_recorded_payloads_by_channel(recordings):
    lines = (recordings / "bitfinex" / "ws_payloads_by_channel_2021_2022.jsonl").read_text()
    kinds = {"trades": "trade", "book": "book_level", "candles": "candle", "ticker": "ticker"}
    for line in lines.splitlines():
        sample = json.loads(line)
        payload = line[line.index('"payload":') + 10 : -1].strip()
        feed = Feed()
        ack = {"event": "subscribed", "chanId": 5, **sample["subscription"]}
        tagged = isinstance(sample["payload"][0], str)
        frame = f"[5,{payload[1:-1]}]" if tagged else f"[5,{payload}]"
        feed.frames([json.dumps(ack), frame])
        assert not [n for n in feed.notices if isinstance(n, BadFrame)], frame
        raw = sample["subscription"].get("prec") == "R0"
        kind = "l3_order" if raw else kinds[sample["subscription"]["channel"]]
        rows = 1 if tagged or not isinstance(sample["payload"][0], list) else len(sample["payload"])
        assert feed.kinds()[kind] == rows


def test_documentation_samples_of_public_channels(recordings):
    lines = (recordings / "bitfinex" / "ws_doc_samples.jsonl").read_text().splitlines()
    seen = set()
    for sample in map(json.loads, lines):
        if sample["ack"]["event"] != "subscribed":
            continue
        feed = Feed().frames(
            [json.dumps(sample["ack"]), json.dumps(sample["frame"], separators=(",", ":"))]
        )
        assert not [n for n in feed.notices if isinstance(n, BadFrame)], sample["name"]
        assert sum(feed.kinds().values()) > 1
        seen.add(sample["name"])
    assert {"Klines", "OrderBook", "OrderBookRaw", "Ticker", "Trades"} <= seen
