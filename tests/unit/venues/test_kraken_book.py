"""Kraken's book: the compiled decoder against a plain one, and both halves against each other."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas import tape
from schemas.tape import Flag
from tests.feeding import Feed
from tests.kraken_frames import PlainBook, ack, book_row, dumps, frame, snapshot, update
from venues import decoding
from venues.book import ASK, BID, wire_levels
from venues.kraken.codec import KrakenCodec
from venues.wire import BadFrame, ChannelBroken

PRICES = st.integers(1, 60).map(lambda ticks: f"{ticks / 10:.1f}")
SIZES = st.integers(0, 10**9).map(lambda units: f"{units / 10**8:.8f}")
LEVELS = st.lists(st.tuples(PRICES, st.one_of(SIZES, st.just("0.00000000"))), max_size=14)


def book_of(feed: Feed, symbol: str) -> list[list[tuple[str, str]]]:
    book = feed.book(symbol, "")
    return [
        [level[1:] for level in wire_levels(feed.markets.books, book, side, 2000)]
        for side in (BID, ASK)
    ]


def rebuilt(slots: np.ndarray, instrument: int) -> list[dict[float, float]]:
    """The book that the tape's slots make, without any rule of the venue."""
    sides: list[dict[float, float]] = [{}, {}]
    markers = tape.view_as(slots, tape.MARKER)
    for slot, marker in zip(slots, markers, strict=True):
        if slot["instrument"] != instrument:
            continue
        if slot["kind"] == tape.Kind.MARKER:
            if marker["marker"] == tape.Marker.SNAPSHOT_BEGIN:
                sides = [{}, {}]
        elif slot["flags"] & Flag.DELETE:
            sides[slot["side"] - 1].pop(slot["price"], None)
        else:
            sides[slot["side"] - 1][slot["price"]] = slot["size"]
    return sides


class BookMachine(RuleBasedStateMachine):
    """Snapshots and updates of two symbols, one or both in a frame: the same books as dicts."""

    @initialize(seed=st.integers(0, 1 << 30))
    def subscribe(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.feed = Feed(KrakenCodec)
        self.plain = {"A/USD": PlainBook(10), "B/USD": PlainBook(25)}
        self.sent = 0
        for symbol, book in self.plain.items():
            self.feed.frames([ack("book", symbol, depth=book.depth)])
            self.send("snapshot", {symbol: ([], [])})

    def send(self, kind: str, changes: dict[str, tuple[list, list]]) -> None:
        rows = []
        for symbol, (bids, asks) in changes.items():
            book = self.plain[symbol]
            book.apply(bids, asks, is_snapshot=kind == "snapshot")
            rows.append(book_row(symbol, bids, asks, book.checksum()))
            self.sent += 1
        text = dumps(frame("book", kind, rows), spaced=self.draw.random() < 0.5, draw=self.draw)
        if self.draw.random() < 0.3:  # a key that the kernel does not know: Python's way
            text = text[:-1] + ',"more":{"a":[1]}}'
        self.feed.frames([text])

    @rule(symbol=st.sampled_from(["A/USD", "B/USD"]), bids=LEVELS, asks=LEVELS)
    def update(self, symbol, bids, asks) -> None:
        self.send("update", {symbol: (bids, asks)})

    @rule(one=st.tuples(LEVELS, LEVELS), other=st.tuples(LEVELS, LEVELS))
    def update_both(self, one, other) -> None:
        self.send("update", {"A/USD": one, "B/USD": other})

    @rule(symbol=st.sampled_from(["A/USD", "B/USD"]), bids=LEVELS, asks=LEVELS)
    def snapshot(self, symbol, bids, asks) -> None:
        self.send("snapshot", {symbol: (bids, asks)})

    @invariant()
    def same_books(self) -> None:
        if not hasattr(self, "plain"):
            return
        assert not [n for n in self.feed.notices if isinstance(n, BadFrame)]
        assert self.feed.codec.tallies[decoding.N_VERIFIED] == self.sent
        assert self.feed.codec.tallies[decoding.N_FAILED] == 0
        for number, (symbol, book) in enumerate(self.plain.items()):
            assert book_of(self.feed, symbol) == [book.best(0), book.best(1)]
            wanted = [{float(p): float(s) for p, s in book.best(side)} for side in (0, 1)]
            assert rebuilt(self.feed.slots, number) == wanted


TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_both_halves_of_the_codec_write_the_same_slots(data):
    """Frames as they are, and with something in them that only Python reads."""
    book = PlainBook(10)
    frames = []
    for kind in ("snapshot", *["update"] * data.draw(st.integers(1, 6))):
        bids, asks = data.draw(LEVELS), data.draw(LEVELS)
        book.apply(bids, asks, is_snapshot=kind == "snapshot")
        frames.append(dumps(frame("book", kind, [book_row("A/USD", bids, asks, book.checksum())])))
    trade = {"symbol": "A/USD", "price": 1.5, "qty": 0.25, "ord_type": "market"}
    trade["timestamp"] = "2026-05-14T15:03:41.748964123Z"
    rows = [trade | {"side": side, "trade_id": n} for n, side in ((7, "buy"), (8, "sell"))]
    frames.append(dumps(frame("trade", "snapshot", rows)))
    acks = [ack("book", "A/USD", depth=10), ack("trade", "A/USD")]
    compiled = Feed(KrakenCodec).frames([*acks, *frames], batch=data.draw(st.integers(1, 9)))
    parsed = Feed(KrakenCodec).frames([*acks, *[f[:-1] + ',"x":{}}' for f in frames]])
    assert compiled.slots.tobytes() == parsed.slots.tobytes()
    assert (compiled.codec.tallies == parsed.codec.tallies).all()


def many(first: int, count: int, size: str = "1.00000000") -> list[tuple[str, str]]:
    return [(f"{price}.0", size) for price in range(first, first + count)]


def test_levels_that_leave_the_depth_are_derived_deletes():
    feed = Feed(KrakenCodec).frames(
        [ack("book", "A/USD", depth=10), snapshot("A/USD", many(90, 10), many(101, 10))]
    )
    feed.frames([update("A/USD", [("100.0", "2.0")], [])])
    slots = feed.slots[feed.slots["kind"] == tape.Kind.BOOK_LEVEL][-2:]
    assert list(slots["price"]) == [100.0, 90.0]
    assert [int(flags) & (Flag.DERIVED | Flag.DELETE) for flags in slots["flags"]] == [
        0,
        Flag.DERIVED | Flag.DELETE,
    ]
    assert [bool(flags & Flag.FRAME_END) for flags in slots["flags"]] == [False, True]
    assert len(book_of(feed, "A/USD")[0]) == 10


def test_a_book_is_cut_after_the_message_and_not_within_it():
    """Thirty levels come and thirty go in one message of a book of a thousand."""
    feed = Feed(KrakenCodec).frames(
        [ack("book", "A/USD", depth=1000), snapshot("A/USD", many(1, 1000), many(3000, 1))]
    )
    come = many(1001, 30)
    go = [(price, "0.00000000") for price, _ in come]
    feed.frames([update("A/USD", [*come, *go], [])])
    assert book_of(feed, "A/USD")[0][-1] == ("1.0", "1.00000000")
    assert len(book_of(feed, "A/USD")[0]) == 1000


def test_a_message_too_large_for_the_book_is_refused_whole():
    feed = Feed(KrakenCodec, tolerant=False).frames(
        [ack("book", "A/USD", depth=1000), snapshot("A/USD", many(1, 1000), many(9000, 1))]
    )
    feed.frames([update("A/USD", many(2000, 300), [])])
    assert isinstance(feed.notices[-1], ChannelBroken)
    assert len(book_of(feed, "A/USD")[0]) == 1000


@pytest.mark.parametrize(
    ("levels", "depth"), [(0, 10), (10, 10), (11, 25), (101, 500), (1000, 1000)]
)
def test_a_recording_without_an_ack_has_the_smallest_depth_that_holds_its_snapshot(levels, depth):
    feed = Feed(KrakenCodec).frames([snapshot("A/USD", many(1, 1), many(10, levels))])
    assert [s.stream.length for s in feed.codec._wanted] == [depth]
    deeper = Feed(KrakenCodec).frames([snapshot("A/USD", [], many(10, 1001))])
    assert "deeper than any book" in deeper.notices[0].why
    assert not deeper.codec._wanted


def test_an_update_that_begins_a_recording_is_of_an_unknown_channel():
    feed = Feed(KrakenCodec).frames([update("A/USD", many(1, 1), [])])
    assert feed.notices == []
    assert feed.codec.unknown_frames == 1


def test_digits_are_the_wires_own():
    """Exponents and long numbers are read in Python, and the checksum is over their digits."""
    rows = [
        ([("0.00001", "1000000.00000000")], []),
        ([("0.00001", "123456789012345678.12345678")], []),
    ]
    book = PlainBook(10)
    feed = Feed(KrakenCodec).frames([ack("book", "A/USD", depth=10), snapshot("A/USD", [], [])])
    for bids, asks in rows:
        book.apply(bids, asks)
        row = dumps(frame("book", "update", [book_row("A/USD", bids, asks, book.checksum())]))
        feed.frames([row.replace("0.00001,", "1e-05,")])
    assert feed.codec.tallies[decoding.N_VERIFIED] == 2
    assert book_of(feed, "A/USD")[0] == [("0.00001", "123456789012345678.12345678")]


def test_the_primary_book_fills_the_payload():
    feed = Feed(KrakenCodec).frames(
        [ack("book", "A/USD", depth=10), snapshot("A/USD", many(90, 10), many(101, 10))]
    )
    last = feed.slots[feed.slots["kind"] == tape.Kind.BOOK_LEVEL][-1]
    assert last["reference_price"] == 100.0
    assert last["flags"] & Flag.PRIMARY
    assert list(last["book"][:3]) == [-1.0, -2.0, -3.0]
    assert last["count"] == 0  # the venue does not say how many orders there are
