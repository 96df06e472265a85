"""Level3: queue order, cutting by level, and the checksum, against a plain book."""

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import tape
from schemas.ids import LONGEST, pack_text_id, text_ids, unpack_text_id
from schemas.tape import Flag, Marker, MarkerReason
from tests.feeding import Feed
from tests.kraken_frames import Number, ack, bare, dumps, frame
from venues import decoding
from venues.kraken.codec import KrakenCodec
from venues.wire import BadFrame, ChannelBroken


def time_text(number: int) -> str:
    return f"2026-09-15T23:41:{number // 1000:02}.{number % 1000:03}000000Z"


def order(name: str, price: str, size: str, at: int, event: str = "") -> dict:
    row = {"event": event} if event else {}
    return row | {
        "order_id": name,
        "limit_price": Number(price),
        "order_qty": Number(size),
        "timestamp": time_text(at),
    }


def message(kind: str, bids: list, asks: list, checksum: int | None = None) -> str:
    row = {"symbol": "A/USD", "bids": bids, "asks": asks}
    return dumps(
        frame("level3", kind, [row | ({} if checksum is None else {"checksum": checksum})])
    )


def start(bids: list, asks: list, depth: int = 10) -> Feed:
    opening = [ack("level3", "A/USD", depth=depth), message("snapshot", bids, asks)]
    return Feed(KrakenCodec).frames(opening)


def queues(feed: Feed, side: str = "bids") -> list:
    top = feed.codec.report()["level3"]["A/USD"][f"top_{side}"]
    return [[price, [name for name, _ in orders]] for price, orders in top]


def test_orders_of_a_level_that_enters_stand_by_their_own_time():
    feed = start([], [])
    new = [order(name, "5.0", "1.0", at, "add") for name, at in (("C", 30), ("A", 10), ("B", 20))]
    feed.frames([message("update", new, [])])
    assert queues(feed) == [["5.0", ["A", "B", "C"]]]
    # A late comer of an old time goes behind those of earlier messages.
    feed.frames([message("update", [order("D", "5.0", "1.0", 5, "add")], [])])
    assert queues(feed) == [["5.0", ["A", "B", "C", "D"]]]
    # The tape has them in the order in which they stand in the queue.
    slots = feed.slots[feed.slots["kind"] == tape.Kind.L3_ORDER]
    assert list(text_ids(slots["id_low"], slots["id_high"])) == ["A", "B", "C", "D"]
    assert slots["event_ns"][0] == 1789515660010000000


def test_a_snapshot_that_lists_its_queues_in_order_is_believed_where_the_checksum_says_so():
    """An amended order keeps its place, and its time is new."""
    orders = [order("A", "5.0", "1.0", 90), order("B", "5.0", "2.0", 20)]
    listed = zlib.crc32(b"50105020")
    feed = Feed(KrakenCodec).frames([message("snapshot", orders, [], listed)])
    assert queues(feed) == [["5.0", ["A", "B"]]]
    assert feed.codec.tallies[decoding.N_VERIFIED] == 1
    by_time = zlib.crc32(b"50205010")
    feed = Feed(KrakenCodec).frames([message("snapshot", orders, [], by_time)])
    assert queues(feed) == [["5.0", ["B", "A"]]]
    assert feed.codec.tallies[decoding.N_VERIFIED] == 1
    feed = Feed(KrakenCodec).frames([message("snapshot", orders, [], 5)])
    assert queues(feed) == [["5.0", ["B", "A"]]]
    assert feed.codec.tallies[decoding.N_FAILED] == 1


def test_a_modify_keeps_its_place_unless_it_grows_or_moves():
    feed = start([order(name, "5.0", "2.0", at) for at, name in enumerate("ABC")], [])
    feed.frames([message("update", [order("A", "5.0", "1.5", 50, "modify")], [])])
    assert queues(feed) == [["5.0", ["A", "B", "C"]]]
    feed.frames([message("update", [order("A", "5.0", "9.0", 51, "modify")], [])])
    assert queues(feed) == [["5.0", ["B", "C", "A"]]]
    feed.frames([message("update", [order("B", "6.0", "2.0", 52, "modify")], [])])
    assert queues(feed) == [["6.0", ["B"]], ["5.0", ["C", "A"]]]


def test_a_known_order_as_add_replaces_and_never_doubles():
    feed = start([order("A", "5.0", "2.0", 1), order("B", "5.0", "2.0", 2)], [])
    feed.frames([message("update", [order("A", "4.0", "3.0", 3, "add")], [])])
    assert queues(feed) == [["5.0", ["B"]], ["4.0", ["A"]]]
    assert feed.codec.report()["level3"]["A/USD"]["orders"] == 2


def test_levels_beyond_the_depth_go_with_all_their_orders_and_come_back():
    asks = [order(f"O{n}", f"{n}.0", "1.0", n) for n in range(1, 11)]
    asks.append(order("O10b", "10.0", "1.0", 11))
    feed = start([], asks)
    feed.frames([message("update", [], [order("N", "0.5", "1.0", 20, "add")])])
    report = feed.codec.report()["level3"]["A/USD"]
    assert (report["asks"], report["orders"]) == (10, 10)
    slots = feed.slots[feed.slots["kind"] == tape.Kind.L3_ORDER][-3:]
    derived = Flag.DERIVED | Flag.DELETE
    assert [int(flags) & derived for flags in slots["flags"]] == [0, derived, derived]
    assert list(text_ids(slots["id_low"], slots["id_high"])) == ["N", "O10", "O10b"]
    assert [bool(flags & Flag.FRAME_END) for flags in slots["flags"]] == [False, False, True]
    back = [order("O10b", "10.0", "1.0", 11, "add"), order("O10", "10.0", "1.0", 10, "add")]
    gone = order("N", "0.5", "1.0", 21, "delete")
    feed.frames([message("update", [], [gone, *back])])
    assert queues(feed, "asks")[-1] == ["10.0", ["O10", "O10b"]]


def test_a_delete_of_nothing_is_counted():
    feed = start([order("A", "5.0", "2.0", 1)], [])
    feed.frames([message("update", [order("Z", "5.0", "1.0", 2, "delete")], [])])
    assert feed.codec.tallies[decoding.N_MISSED] == 1
    assert queues(feed) == [["5.0", ["A"]]]


class PlainOrders:
    """The rules as lists, searched through each time."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: list[list[tuple[str, str, str]]] = [[], []]

    def apply(self, side: int, name: str, price: str, size: str, event: str) -> None:
        orders = self.sides[side]
        at = next((i for i, known in enumerate(orders) if known[0] == name), None)
        if event == "delete":
            if at is not None:
                del orders[at]
        elif at is not None and orders[at][1] == price and float(size) <= float(orders[at][2]):
            orders[at] = (name, price, size)
        else:
            if at is not None:
                del orders[at]
            orders.append((name, price, size))

    def levels(self, side: int) -> list[float]:
        return sorted({float(o[1]) for o in self.sides[side]}, reverse=side == 0)

    def cut(self) -> None:
        for side in (0, 1):
            kept = self.levels(side)[: self.depth]
            self.sides[side] = [o for o in self.sides[side] if float(o[1]) in kept]

    def checksum(self) -> int:
        parts = [
            bare(o[1]) + bare(o[2])
            for side in (1, 0)
            for price in self.levels(side)[:10]
            for o in self.sides[side]
            if float(o[1]) == price
        ]
        return zlib.crc32("".join(parts).encode())


@given(st.integers(0, 1 << 30), st.integers(5, 60))
@settings(max_examples=40, deadline=None)
def test_any_stream_of_orders_keeps_the_checksum(seed, count):
    draw = random.Random(seed)
    plain = PlainOrders(10)
    feed = start([], [])
    clock = 0
    for sent in range(1, count + 1):
        rows: tuple[list, list] = ([], [])
        for _ in range(draw.randint(1, 6)):
            clock += 1
            side, number = draw.randrange(2), draw.randrange(40)
            name = f"{'BA'[side]}{number}"
            if any(row["order_id"] == name for row in rows[side]):
                continue
            price, size = f"{draw.randint(1, 15) / 10:.1f}", f"{draw.randint(1, 9999) / 1e4:.4f}"
            event = draw.choice(["add", "modify", "delete"])
            rows[side].append(order(name, price, size, clock, event))
        for side in (0, 1):
            for row in rows[side]:
                price, size = row["limit_price"].text, row["order_qty"].text
                plain.apply(side, row["order_id"], price, size, row["event"])
        plain.cut()
        feed.frames([message("update", *rows, plain.checksum())])
        assert not feed.notices[1:]
        assert feed.codec.tallies[decoding.N_VERIFIED] == sent


def test_a_failed_checksum_of_a_live_book_breaks_that_channel_only():
    from tests.unit.venues.test_kraken_codec import live_feed, subscriptions

    wanted = subscriptions(("A/USD", "B/USD"), channels=("books", "raw_books"))
    feed = live_feed(wanted)
    feed.frames([ack("level3", s, depth=10) for s in ("A/USD", "B/USD")])
    empty = message("snapshot", [], [], 0)
    feed.frames([empty, empty.replace("A/USD", "B/USD")])
    assert feed.codec.tallies[decoding.N_VERIFIED] == 2
    bad = message("update", [order("A", "5.0", "1.0", 1, "add")], [], 7)
    feed.frames([bad, bad])
    broken = [n for n in feed.notices if isinstance(n, ChannelBroken)]
    assert [(n.subscription.instrument.symbol, n.reason) for n in broken] == [
        ("A/USD", MarkerReason.CHECKSUM)
    ]
    assert feed.codec.tallies[decoding.N_MUTED] == 1
    markers = tape.view_as(feed.slots, tape.MARKER)
    assert (markers["marker"][markers["kind"] == tape.Kind.MARKER] == Marker.RESYNC).sum() == 1


@pytest.mark.parametrize(
    "row",
    [
        order("A", "5.0", "1.0", 1, "explode"), order("A", "-5.0", "1.0", 1, "add"),
        order("A", "5.0", "0.0", 1, "add"), order("no id!", "5.0", "1.0", 1, "add"),
        order("A" * 21, "5.0", "1.0", 1, "add"), order("A", "5e0", "1.0", 1, "add"),
        {"event": "add"}, 5, order("A", "5.0", "1.0", 1, "add") | {"timestamp": "soon"},
        order("A", "5.0", "1.0", 1, "add") | {"limit_price": "5.0"},
    ],
)  # fmt: skip
def test_a_bad_order_costs_its_frame_and_changes_nothing(row):
    feed = start([order("B", "5.0", "2.0", 1)], [])
    feed.frames([message("update", [order("C", "5.0", "1.0", 1, "add"), row], [])])
    assert isinstance(feed.notices[-1], BadFrame)
    assert queues(feed) == [["5.0", ["B"]]]


@given(st.text("0123456789ABCDEFXYZabcxyz-_", min_size=1, max_size=LONGEST))
def test_text_ids_are_packed_reversibly(text):
    low, high = pack_text_id(text)
    assert 0 <= low < 1 << 64
    assert 0 < high < 1 << 64
    assert unpack_text_id(low, high) == text


def test_numbers_are_no_text_ids():
    import numpy as np

    assert unpack_text_id(86143614019, 0) == "86143614019"
    packed = [pack_text_id("OTCFZG-YOE2Q-LQKNM3"), (7, 0), pack_text_id("_" * LONGEST)]
    low, high = (np.array(words, np.uint64) for words in zip(*packed, strict=True))
    assert list(text_ids(low, high)) == ["OTCFZG-YOE2Q-LQKNM3", "", "_" * LONGEST]
