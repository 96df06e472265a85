"""The compiled book against a plain one, and its CRC against zlib's."""

import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas import tape
from tests.feeding import Feed
from venues import decoding
from venues.book import ASK, BID, DEPTH, crc32, wire_levels


@given(st.binary(max_size=300))
def test_crc_is_zlibs(data):
    letters = np.frombuffer(data + b"\0", np.uint8)
    assert crc32(letters, len(data)) == zlib.crc32(data)


PRICES = st.integers(1, 60).map(lambda ticks: f"{ticks / 10:g}")
SIZES = st.integers(1, 10**9).map(lambda units: f"{units / 10**8:.8f}".rstrip("0").rstrip("."))


class BookMachine(RuleBasedStateMachine):
    """Snapshots, updates, bulk updates and deletes in any order: the same book as dicts make."""

    @initialize()
    def subscribe(self) -> None:
        self.feed = Feed()
        self.feed.frames(
            [
                '{"event":"subscribed","channel":"book","chanId":7,"symbol":"tXXXYYY",'
                '"prec":"P0","freq":"F0","len":"25"}',
                "[7,[]]",
            ]
        )
        self.book = self.feed.book("tXXXYYY")
        self.sides = ({}, {})
        self.sent = 0

    def entry(self, side: int, price: str, size: str, count: int) -> str:
        sign = "" if side == BID else "-"
        if count:
            self.sides[side][price] = sign + size
            return f"[{price},{count},{sign}{size}]"
        self.sides[side].pop(price, None)
        return f"[{price},0,{sign}1]"

    entries = st.tuples(st.sampled_from([BID, ASK]), PRICES, SIZES, st.integers(0, 3))

    @rule(entry=entries)
    def update(self, entry) -> None:
        self.feed.frames([f"[7,{self.entry(*entry)}]"])
        self.sent += 1

    @rule(entries=st.lists(entries, min_size=1, max_size=8))
    def bulk(self, entries) -> None:
        self.feed.frames([f"[7,[{','.join(self.entry(*entry) for entry in entries)}]]"])
        self.sent += 1

    @rule()
    def checksum(self) -> None:
        bids = sorted(self.sides[BID].items(), key=lambda level: -float(level[0]))[:25]
        asks = sorted(self.sides[ASK].items(), key=lambda level: float(level[0]))[:25]
        parts = []
        for rank in range(25):
            for side in (bids, asks):
                if rank < len(side):
                    parts += side[rank]
        value = zlib.crc32(":".join(parts).encode())
        signed = value - (1 << 32) if value >= 1 << 31 else value
        before = self.feed.codec.tallies[decoding.N_VERIFIED]
        self.feed.frames([f'[7,"cs",{signed}]'])
        assert self.feed.codec.tallies[decoding.N_VERIFIED] == before + 1

    @invariant()
    def same_levels(self) -> None:
        if not hasattr(self, "book"):
            return
        for side, sign in ((BID, -1), (ASK, 1)):
            levels = wire_levels(self.feed.markets.books, self.book, side, DEPTH)
            wanted = sorted(self.sides[side].items(), key=lambda level: sign * float(level[0]))
            assert [level[1:] for level in levels] == wanted


TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_side_that_is_full_drops_its_worst_level():
    feed = Feed()
    rows = ",".join(f"[{price},1,1]" for price in range(1, DEPTH + 1))
    feed.frames(
        [
            '{"event":"subscribed","channel":"book","chanId":7,"symbol":"tXXXYYY",'
            '"prec":"P0","freq":"F0","len":"250"}',
            f"[7,[{rows}]]",
            f"[7,[{DEPTH + 1},1,1]]",
            "[7,[0.5,1,1]]",
        ]
    )
    levels = wire_levels(feed.markets.books, 0, BID, DEPTH + 5)
    assert len(levels) == DEPTH
    assert levels[0][1] == str(DEPTH + 1)
    assert levels[-1][1] == "0.5"  # it took the place of the worst there was


def test_raw_orders_queue_by_price_then_id():
    feed = Feed().frames(
        [
            '{"event":"subscribed","channel":"book","chanId":7,"symbol":"tXXXYYY",'
            '"prec":"R0","freq":"F0","len":"25"}',
            "[7,[[30,10,1],[20,10,2],[40,11,1],[50,12,-1],[45,12,-2]]]",
            "[7,[20,11,3]]",  # moved up: behind the older id at the new price or before it, by id
            "[7,[50,0,-1]]",
            "[7,[99,0,1]]",  # never seen
        ]
    )
    assert [level[0] for level in wire_levels(feed.markets.books, 0, BID, 9)] == [20, 40, 30]
    assert [level[0] for level in wire_levels(feed.markets.books, 0, ASK, 9)] == [45]
    assert feed.codec.tallies[decoding.N_MISSED] == 1
    deleted = feed.slots[feed.slots["id_low"] == 50][-1]
    assert deleted["price"] == 12
    assert deleted["flags"] & tape.Flag.DELETE
