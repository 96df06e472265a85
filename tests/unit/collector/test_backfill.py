"""Holes in trades: whatever happens while they are filled, each trade is on the tape exactly
once."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes.collector.backfill import Backfill, Limits
from schemas import tape
from schemas.errors import AnswerError, UnavailableError
from schemas.tape import Flag, Kind, Marker, MarkerReason
from tests.feeding import Feed
from tests.helpers import QuietLog
from venues.holes import HOLES_OF_A_STREAM, MissedTrade, missed_trade
from venues.wire import SlotBlock

ACK = '{"event":"subscribed","channel":"trades","chanId":8,"symbol":"tBTCUSD","pair":"BTCUSD"}'
SNAPSHOT = 3
START_MS = 1_700_000_000_000


class KilledError(Exception):
    """The collector's process ends in the middle of a request."""


class Life:
    """A venue that trades, and one collector after another that watches it."""

    def __init__(self, page: int = 4) -> None:
        self.made: list[tuple[int, int]] = []
        self.slots: list[np.ndarray] = []
        self.during: list[str] = []
        """What happens during the next requests, one each."""
        self.page = page
        self.connected = False
        self.recv_ns = START_MS * 1_000_000
        self.epoch = 0
        self.begin()

    def begin(self) -> None:
        """A collector that knows what is on the tape."""
        self.feed = Feed(tolerant=True)
        self.feed.published = self.slots
        self.log = QuietLog()
        self.backfill = Backfill(
            self.feed.markets,
            self.fetch,
            self,
            limits=Limits(longest_s=1e6, timeout_s=60.0, pages=1000),
            now_ns=self.tick,
            log=self.log,
        )
        subscription = self.feed.codec.find("tBTCUSD", "BTC/USD", "trades", {})
        self.feed.markets.recover(self.all_slots(), [subscription])
        self.connected = False

    def all_slots(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, tape.SLOT), *self.slots])

    def tick(self) -> int:
        self.recv_ns += 1
        return self.recv_ns

    def publish(self, block: SlotBlock, count: int) -> None:
        self.slots.append(block.slots[:count].copy())

    async def fetch(self, instrument, from_ns) -> list[MissedTrade]:
        assert instrument.symbol == "tBTCUSD"
        found = [
            missed_trade(number, ms * 1_000_000, 100, 1)
            for number, ms in self.made
            if ms * 1_000_000 >= from_ns
        ][: self.page]
        if self.during:
            self.do(self.during.pop(0))
        return found

    def do(self, what: str) -> None:
        if what.isdigit():
            self.trade(int(what))
        elif what == "cut" and self.connected:
            self.feed.codec.interrupt(MarkerReason.CONNECTION_LOST)
            self.connected = False
        elif what == "connect" and not self.connected:
            self.connect()
        elif what == "fill":
            self.fill()
        elif what == "kill":
            raise KilledError

    def trade(self, count: int) -> None:
        for _ in range(count):
            number = self.made[-1][0] + 1 + len(self.made) % 3 if self.made else 7
            self.made.append((number, START_MS + 10 * len(self.made)))
            if self.connected:
                self.frames(f'[8,"te",[{number},{self.made[-1][1]},1,100]]')

    def connect(self) -> None:
        self.epoch += 1
        self.feed.codec.open(self.epoch, self.tick(), from_first=False)
        rows = ",".join(f"[{n},{ms},1,100]" for n, ms in self.made[: -SNAPSHOT - 1 : -1])
        self.frames(ACK, f"[8,[{rows}]]")
        self.connected = True

    def frames(self, *frames: str) -> None:
        self.feed.frames(frames, recv_ns=self.tick())

    def fill(self) -> None:
        """Fill what can be filled now."""
        self.feed.markets.settle_holes()
        for hole in list(self.backfill.holes.waiting):
            if hole.first or not hole.last:
                asyncio.run(self.backfill._fill(hole))

    def live(self, story: list[str]) -> None:
        for what in story:
            try:
                self.do(what)
            except KilledError:
                self.begin()

    def finish(self) -> None:
        """The venue is there and so is REST: everything is made good."""
        self.during.clear()
        self.live(["connect", "1", "fill", "fill"])

    def ids(self, *, flagged: bool | None = None) -> list[int]:
        slots = self.all_slots()
        trades = slots[slots["kind"] == Kind.TRADE]
        if flagged is not None:
            trades = trades[(trades["flags"] & Flag.BACKFILLED != 0) == flagged]
        return trades["id_low"].tolist()

    def markers(self, kind: Marker) -> np.ndarray:
        found = self.all_slots().view(tape.MARKER)
        return found[(found["kind"] == Kind.MARKER) & (found["marker"] == kind)]


STEPS = st.sampled_from(["cut", "connect", "fill", "kill", "1", "2", "7"])
INSIDE = st.sampled_from(["cut", "connect", "kill", "1", "5"])


@settings(max_examples=40, deadline=None)
@given(
    story=st.lists(STEPS, max_size=14),
    during=st.lists(INSIDE, max_size=8),
    page=st.sampled_from([2, 3, 50]),
)
def test_whatever_happens_each_trade_is_on_the_tape_once(story, during, page):
    life = Life(page)
    life.trade(5)
    life.connect()
    life.during = during
    life.live(["2", *story])
    life.finish()
    ids = life.ids()
    first = life.made[5 - SNAPSHOT][0]
    assert sorted(ids) == [number for number, _ in life.made if number >= first]
    assert life.backfill.holes.waiting == []
    closings = life.markers(Marker.BACKFILLED)
    assert set(closings["reason"].tolist()) <= {MarkerReason.NONE}
    for gap in life.markers(Marker.GAP):
        covering = (closings["from_recv_ns"] <= gap["from_recv_ns"]) & (
            gap["to_recv_ns"] <= closings["to_recv_ns"]
        )
        assert covering.any()


def gap_of(count: int, *, page: int = 4) -> Life:
    """A gap in which so many trades were made, and the connection behind it."""
    life = Life(page)
    life.trade(5)
    life.live(["connect", "2", "cut", str(count), "connect"])
    return life


def test_trades_of_a_gap_come_in_order_flagged_and_closed_by_what_was_fetched():
    life = gap_of(20)
    live = life.ids()
    life.fill()
    made = [number for number, _ in life.made]
    assert life.ids() == live + made[7:-SNAPSHOT]
    assert life.ids(flagged=True) == made[-SNAPSHOT:] + made[7:-SNAPSHOT]
    (closing,) = life.markers(Marker.BACKFILLED)
    (gap,) = life.markers(Marker.GAP)
    assert (closing["id_low"], closing["id_high"]) == (made[6], made[-SNAPSHOT])
    assert closing["count"] == 17 == life.backfill.trades
    assert closing["from_recv_ns"] == gap["from_recv_ns"]
    trades = life.all_slots()
    trades = trades[trades["kind"] == Kind.TRADE]
    assert trades["event_ns"].tolist()[-1] == life.made[-SNAPSHOT - 1][1] * 1_000_000
    assert set(trades["side"].tolist()) == {1}
    assert trades["price"].tolist() == [100.0] * len(trades)


def test_a_snapshot_that_reaches_back_asks_for_nothing():
    life = gap_of(SNAPSHOT - 1)
    life.during = ["kill"]
    life.fill()
    assert life.during == ["kill"]
    (closing,) = life.markers(Marker.BACKFILLED)
    assert (closing["reason"], closing["count"]) == (MarkerReason.NONE, 0)


def test_what_a_later_snapshot_brings_of_a_hole_is_not_fetched_again():
    life = gap_of(4)
    life.during = ["cut", "connect"]
    life.page = 2
    life.fill()
    life.finish()
    assert len(life.ids()) == len(set(life.ids())) == len(life.made) - 2


def test_rest_that_fails_in_the_middle_keeps_what_came_and_says_so():
    life = gap_of(20)
    honest = life.fetch
    pages = []

    async def failing(instrument, from_ns):
        if len(pages) == 2:
            raise UnavailableError("no answer in time")
        pages.append(from_ns)
        return await honest(instrument, from_ns)

    life.backfill._fetch = failing
    life.fill()
    (closing,) = life.markers(Marker.BACKFILLED)
    assert closing["reason"] == MarkerReason.CONNECT_FAILED
    assert 0 < closing["count"] < 17
    whole = [
        number
        for number, ms in life.made
        if closing["from_event_ns"] <= ms * 1_000_000 <= closing["to_event_ns"]
    ]
    assert set(whole) <= set(life.ids())
    assert life.backfill.unfilled == 1
    assert "no answer in time" in str(life.log.lines)


def test_without_a_trade_before_it_a_hole_cannot_be_joined():
    life = Life()
    life.live(["connect", "cut"])
    life.trade(9)
    life.connect()
    life.fill()
    assert life.markers(Marker.BACKFILLED)["reason"].tolist() == [MarkerReason.START]


def test_holes_of_a_stream_are_bounded():
    life = gap_of(20)
    for _ in range(2 * HOLES_OF_A_STREAM):
        life.live(["cut", "5", "connect"])
    assert len(life.backfill.holes.waiting) == HOLES_OF_A_STREAM
    assert life.backfill.holes.dropped == HOLES_OF_A_STREAM + 1
    life.fill()
    assert len(life.ids()) == len(set(life.ids()))


@pytest.mark.parametrize(
    ("number", "event_ns", "price", "amount"),
    [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)],
)
def test_a_row_that_is_no_trade_is_refused(number, event_ns, price, amount):
    with pytest.raises(AnswerError):
        missed_trade(number, event_ns, price, amount)
