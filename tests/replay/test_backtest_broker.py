"""The backtest's broker on hand-made tapes: every fill known to the cent."""

from decimal import Decimal

import numpy as np
import pytest

from config.loader import load
from processes.replay.backtest.broker import TapeBroker
from processes.replay.backtest.stretches import Piece
from processes.replay.backtest.tops import Tops
from schemas import tape
from schemas.instruments import Instrument
from schemas.tape import LEVELS, MARKER, WHOLE_CONNECTION, Flag, Kind, Marker, Side, view_as
from schemas.trading import Intent, OrderAccepted, OrderCanceled, OrderFilled, OrderRejected

T0 = 1_760_000_000_000_000_000
MS = 10**6
WHOLE = Flag.FRAME_END | Flag.PRIMARY


class Hand:
    """A tape made by hand; times in ms from T0."""

    def __init__(self) -> None:
        self.slots: list[np.ndarray] = []

    def _slot(self, ms: float, kind: Kind, flags: int, instrument: int) -> np.ndarray:
        slot = np.zeros(1, tape.SLOT)
        slot["kind"], slot["flags"], slot["instrument"] = kind, flags, instrument
        slot["recv_ns"], slot["epoch"] = T0 + int(ms * MS), 1
        slot["sequence"] = len(self.slots) + 1
        self.slots.append(slot)
        return slot

    def show(self, ms, bids=(), asks=(), *, instrument=0, reference=100.0, flags=WHOLE):
        slot = self._slot(ms, Kind.BOOK_LEVEL, flags, instrument)
        slot["reference_price"] = reference
        for base, levels in ((0, bids), (2 * LEVELS, asks)):
            for number, (price, size) in enumerate(levels):
                slot["book"][0, base + number] = price - reference
                slot["book"][0, base + LEVELS + number] = size
        return self

    def trade(self, ms, side, price, size, *, instrument=0, flags=Flag.FRAME_END):
        slot = self._slot(ms, Kind.TRADE, flags, instrument)
        slot["side"], slot["price"], slot["size"] = side, price, size
        return self

    def mark(self, ms, marker, *, instrument=0, flags=Flag.PRIMARY):
        slot = self._slot(ms, Kind.MARKER, flags, instrument)
        view_as(slot, MARKER)["marker"] = marker
        return self

    def piece(self) -> Piece:
        slots = np.concatenate([slot.view(np.uint8) for slot in self.slots]).view(tape.SLOT)
        return Piece(slots, slots["recv_ns"].astype(np.int64))


class Venue:
    """A broker over pieces of a hand-made tape."""

    def __init__(self, *hands: Hand, **changes: str) -> None:
        settings = load("demo", environment={}, changes={
            "backtest.fees.bitfinex.maker_bps": "10", "backtest.fees.bitfinex.taker_bps": "20",
            **{key.replace("__", "."): value for key, value in changes.items()},
        })  # fmt: skip
        instruments = [
            Instrument(index=0, venue="bitfinex", symbol="tA", pair="A/USD"),
            Instrument(index=1, venue="kraken", symbol="B/EUR", pair="B/EUR"),
        ]
        self.tops = Tops(2)
        self.told: list = []
        self.notes: list = []
        self.broker = TapeBroker(
            self.tops, instruments, settings,
            lambda event, time_ns: self.told.append((event, (time_ns - T0) / MS)),
            self.notes.append,
        )  # fmt: skip
        self.tops.begin([hand.piece() for hand in hands])

    def look(self, ms: float) -> None:
        while self.broker.look(T0 + int(ms * MS)):
            pass

    def order(self, ms, number=1, side="buy", quantity="1", **more) -> None:
        values = {"instrument": 0, "symbol": "tA", "kind": "market", **more}
        if "limit_price" in values:
            values["kind"] = "limit"
        made = Intent(command_id=f"{number:032x}", side=side, quantity=quantity, **values)
        self.look(ms)
        self.broker.submit(made, T0 + int(ms * MS))

    def cancel(self, ms, number=1) -> None:
        self.look(ms)
        self.broker.cancel(f"{number:032x}", T0 + int(ms * MS))

    def fills(self) -> list[tuple[float, str, str, str]]:
        return [
            (ms, f"{Decimal(e.price).normalize():f}", f"{Decimal(e.quantity).normalize():f}", e.fee)
            for e, ms in self.told
            if isinstance(e, OrderFilled)
        ]

    def kinds(self) -> list[type]:
        return [type(event) for event, _ in self.told]


def test_a_market_order_walks_the_book_it_meets_and_pays_as_taker():
    hand = Hand().show(0, [(99, 5)], [(101, 1), (102, 2)]).show(10, [(99, 5)], [(103, 1), (104, 9)])
    venue = Venue(hand)
    venue.order(9.9, 1, quantity="2.5")
    venue.order(10, 2, quantity="2.5")
    assert venue.fills() == [
        (9.9, "101", "1", "0.20200000"), (9.9, "102", "1.5", "0.30600000"),
        (10, "103", "1", "0.20600000"), (10, "104", "1.5", "0.31200000"),
    ]  # fmt: skip
    assert [(n.best, n.middle, n.maker) for n in venue.notes[:2]] == [(101, 100.0, False)] * 2


def test_what_the_book_cannot_give_is_cancelled():
    venue = Venue(Hand().show(0, [(99, 1)], [(101, 1)]))
    venue.order(1, side="sell", quantity="3")
    assert venue.kinds() == [OrderAccepted, OrderFilled, OrderCanceled]
    assert venue.fills() == [(1, "99", "1", "0.19800000")]


def test_what_one_order_took_no_other_has_while_the_level_stands():
    hand = Hand().show(0, [(99, 5)], [(101, 3), (102, 9)]).show(20, [(99, 5)], [(101, 3), (102, 8)])
    hand.show(30, [(99, 5)], [(102, 9)]).show(40, [(99, 5)], [(101, 3), (102, 9)])
    venue = Venue(hand)
    venue.order(1, 1, quantity="2")
    venue.order(25, 2, quantity="2")  # one is left at 101
    venue.order(45, 3, quantity="2")  # the level went and came back
    assert [fill[:3] for fill in venue.fills()] == [
        (1, "101", "2"), (25, "101", "1"), (25, "102", "1"), (45, "101", "2"),
    ]  # fmt: skip


def test_a_limit_order_takes_what_is_better_and_rests_with_the_remainder():
    hand = Hand().show(0, [(99, 4)], [(100, 1), (101, 2), (102, 9)])
    hand.show(5, [(101, 0.5), (99, 4)], [(102, 9)]).trade(6, Side.ASK, 101.0, 5)
    venue = Venue(hand)
    venue.order(1, quantity="4", limit_price="101")
    venue.look(10)
    assert venue.fills() == [
        (1, "100", "1", "0.20000000"), (1, "101", "2", "0.40400000"),
        (6, "101", "1", "0.10100000"),
    ]  # fmt: skip
    assert [note.maker for note in venue.notes] == [False, False, True]


def test_a_resting_order_waits_for_the_queue_before_it_and_is_filled_in_parts():
    hand = Hand().show(0, [(99, 5)], [(101, 1)])
    hand.trade(10, Side.ASK, 99.0, 3).show(10.1, [(99, 2)], [(101, 1)])
    hand.trade(20, Side.BID, 99.0, 50)  # a buyer does not hit our bid
    hand.trade(30, Side.ASK, 99.0, 2.5).trade(40, Side.ASK, 99.0, 2)
    venue = Venue(hand)
    venue.order(1, quantity="2", limit_price="99")
    venue.look(25)
    assert venue.fills() == []
    venue.look(50)
    assert venue.fills() == [(30, "99", "0.5", "0.04950000"), (40, "99", "1.5", "0.14850000")]


@pytest.mark.parametrize(("share", "filled"), [("0", "0"), ("0.5", "1"), ("1", "2")])
def test_cancels_bring_a_resting_order_forward_by_their_share(share, filled):
    # 10 ahead; 10 more come behind; then 4 are cancelled: 4 * 10 / 20 * share of them ahead.
    hand = Hand().show(0, [(99, 10)], [(101, 1)]).show(10, [(99, 20)], [(101, 1)])
    # The trade is too late to be what the level lost.
    hand.show(20, [(99, 16)], [(101, 1)]).trade(2000, Side.ASK, 99.0, 10)
    venue = Venue(hand, backtest__cancels_ahead=share)
    venue.order(1, quantity="5", limit_price="99")
    venue.look(2500)
    assert sum(Decimal(fill[2]) for fill in venue.fills()) == Decimal(filled)


@pytest.mark.parametrize("book_first", [True, False])
def test_a_trade_and_its_level_count_once_in_either_order(book_first):
    hand = Hand().show(0, [(99, 10)], [(101, 1)])
    times = (10, 10.2) if book_first else (10.2, 10)
    parts = [
        lambda: hand.show(times[0], [(99, 4)], [(101, 1)]),
        lambda: hand.trade(times[1], Side.ASK, 99.0, 6),
    ]
    for part in parts if book_first else parts[::-1]:
        part()
    hand.trade(30, Side.ASK, 99.0, 4.25)
    venue = Venue(hand, backtest__cancels_ahead="1")
    venue.order(1, quantity="1", limit_price="99")
    venue.look(50)
    assert [fill[:3] for fill in venue.fills()] == [(30, "99", "0.25")]


def test_a_trade_beyond_the_price_fills_at_the_price():
    hand = Hand().show(0, [(99, 10)], [(101, 1)]).trade(10, Side.ASK, 98.5, 0.75)
    venue = Venue(hand)
    venue.order(1, quantity="1", limit_price="99")
    venue.look(50)
    assert [fill[:3] for fill in venue.fills()] == [(10, "99", "0.75")]


def test_a_quote_that_reaches_a_resting_order_fills_it_once():
    hand = Hand().show(0, [(99, 10)], [(101, 1)])
    hand.show(10, [(98, 1)], [(98.5, 0.5), (99, 0.25), (99.5, 9)])
    hand.show(20, [(98, 1)], [(98.5, 0.5), (99, 0.25), (99.5, 8)])
    venue = Venue(hand)
    venue.order(1, quantity="1", limit_price="99")
    venue.look(50)
    assert [fill[:3] for fill in venue.fills()] == [(10, "99", "0.75")]


def test_a_level_out_of_sight_is_joined_at_its_back():
    far = [(99 - n, 1) for n in range(10)]  # down to 90
    hand = Hand().show(0, far, [(101, 1)])
    hand.show(10, [(91, 2), (90, 2), (89, 7)], [(101, 1)])
    hand.trade(20, Side.ASK, 89.0, 6).trade(30, Side.ASK, 89.0, 1.5)
    venue = Venue(hand)
    venue.order(1, quantity="1", limit_price="89")
    venue.look(50)
    assert [fill[:3] for fill in venue.fills()] == [(30, "89", "0.5")]


def test_while_the_stream_is_broken_nothing_fills_and_places_are_lost():
    hand = Hand().show(0, [(99, 5)], [(101, 1)]).mark(10, Marker.GAP)
    hand.trade(15, Side.ASK, 98.0, 9).show(20, [(99, 3)], [(102, 9)]).mark(21, Marker.SNAPSHOT_END)
    hand.show(22, [(99, 3)], [(102, 9)]).trade(30, Side.ASK, 99.0, 3.5)
    venue = Venue(hand)
    venue.order(1, 1, quantity="1", limit_price="99")
    venue.order(12, 2, quantity="1")
    venue.look(50)
    assert [fill[:3] for fill in venue.fills()] == [(21, "102", "1"), (30, "99", "0.5")]


def test_a_lost_connection_breaks_its_own_tape_alone():
    one = Hand().show(0, [(99, 5)], [(101, 1)])
    one.mark(5, Marker.DISCONNECTED, instrument=WHOLE_CONNECTION, flags=0)
    venue = Venue(one, Hand().show(0, [(9, 5)], [(11, 1)], instrument=1, reference=10.0))
    venue.order(10, 1)
    venue.order(10, 2, instrument=1)
    venue.look(50)
    assert [fill[:3] for fill in venue.fills()] == [(10, "11", "1")]


def test_a_venue_without_fees_of_its_own_takes_those_of_the_paper_broker():
    hand = Hand().show(0, [(9, 5)], [(10, 1)], instrument=1, reference=10.0)
    venue = Venue(hand, execution__paper__fee_bps="7.5")
    venue.order(1, instrument=1)
    assert venue.fills() == [(1, "10", "1", "0.00750000")]
    assert venue.told[-1][0].fee_currency == "EUR"


def test_cancels_doubles_and_faults():
    hand = Hand().show(0, [(99, 5)], [(101, 9)]).trade(20, Side.ASK, 98.0, 9)
    venue = Venue(hand)
    venue.order(1, 1, limit_price="99")
    venue.order(2, 1, limit_price="99")  # the same id does nothing twice
    venue.cancel(10, 1)
    venue.cancel(11, 1)
    venue.order(12, 2, quantity="0")
    venue.order(13, 3, instrument=7)
    venue.look(50)
    assert venue.kinds() == [OrderAccepted, OrderCanceled, OrderRejected, OrderRejected]
    venue.order(60, 4, limit_price="90")
    venue.broker.close(T0 + 70 * MS)
    assert venue.told[-1][0].text == "the tape has ended"
