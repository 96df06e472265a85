"""The paper broker: what a book can give, once, after its latency, and over its own death."""

import queue
from decimal import Decimal

import numpy as np
import pytest

from processes.execution.brokers.base import Outstanding
from processes.execution.brokers.paper import RECENT_SLOTS, Memory, PaperBroker
from processes.rings import ring_layout
from schemas.settings import PaperSettings
from schemas.tape import LEVELS, Flag, Kind
from schemas.trading import (
    AccountConnected,
    Intent,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    Reconciled,
)
from shm.readers import READERS_BYTES, RingReader, format_readers
from shm.ring import RingWriter, format_ring, ring_bytes
from shm.segment import Segment, segment_name
from tests.gates import Gate
from tests.helpers import wait_until

T0 = 1_760_000_000_000_000_000
MILLISECOND = 10**6
CAPACITY = 8192


class Market:
    """A tape with books on it, a clock, and brokers over both."""

    def __init__(self, instance, folder) -> None:
        self.now_ns = T0
        self.path = folder / "paper.sqlite"
        self.dtype, self.layout = ring_layout("tape.bitfinex")
        self.segments = [
            Segment.create(segment_name(instance, "t"), ring_bytes(256, CAPACITY)),
            Segment.create(segment_name(instance, "t.r"), READERS_BYTES),
        ]
        format_ring(self.segments[0], 256, CAPACITY, self.layout, 1)
        format_readers(self.segments[1])
        self.writer = RingWriter(*self.segments, self.dtype, self.layout)
        self.brokers: list[PaperBroker] = []
        self.gate = Gate()

    def broker(self, **settings) -> PaperBroker:
        made = PaperBroker(
            "paper",
            [RingReader(*self.segments, self.dtype, self.layout, "paper", start="newest")],
            queue.Queue(1000),
            self.path,
            {0: "USD", 1: "EUR"},
            PaperSettings(**{"latency_ms": 20.0, "fee_bps": 10.0, **settings}),
            lambda: self.now_ns,
            self.gate,
        )
        self.brokers.append(made)
        return made

    def show(self, bids=(), asks=(), *, reference=100.0, instrument=0, flags=Flag.FRAME_END):
        """One book on the tape; levels are (price, size)."""
        slot = np.zeros(1, self.dtype)
        slot["kind"], slot["flags"] = Kind.BOOK_LEVEL, flags
        slot["instrument"], slot["reference_price"] = instrument, reference
        for base, levels in ((0, bids), (2 * LEVELS, asks)):
            for number, (price, size) in enumerate(levels):
                slot["book"][0, base + number] = price - reference
                slot["book"][0, base + LEVELS + number] = size
        self.writer.append(slot)

    def fill_tape(self, count) -> None:
        """Slots of another instrument, without a book."""
        slots = np.zeros(count, self.dtype)
        slots["kind"], slots["instrument"] = Kind.TICKER, 9
        self.writer.append(slots)

    def pass_ms(self, milliseconds) -> None:
        self.now_ns += int(milliseconds * MILLISECOND)

    def close(self) -> None:
        for broker in self.brokers:
            broker.close()
        for segment in self.segments:
            segment.close()
            Segment.unlink(segment.name)


@pytest.fixture
def market(instance, tmp_path):
    made = Market(instance, tmp_path)
    yield made
    made.close()


def intent(number=1, side="buy", quantity="1", **more) -> Intent:
    values = {"instrument": 0, "symbol": "tBTCUSD", "kind": "market", **more}
    return Intent(command_id=f"{number:032x}", side=side, quantity=quantity, **values)


def told(broker: PaperBroker) -> list:
    found = []
    while not broker._events.empty():
        found.append(broker._events.get_nowait())
    return found


def turn(broker: PaperBroker, market: Market, *commands, ms: float = 25) -> list:
    """Hand commands over, let time pass, and say what the broker told."""
    for command in commands:
        if isinstance(command, Intent):
            assert broker.submit(command)
        else:
            broker.cancel(command)
        broker._turn()
    market.pass_ms(ms)
    broker._turn()
    return told(broker)


def trades(events) -> list[tuple[str, str]]:
    return [(e.price, e.quantity) for e in events if isinstance(e, OrderFilled)]


def kinds(events) -> list[type]:
    return [type(event) for event in events]


def test_a_market_order_walks_the_other_side_best_first(market):
    broker = market.broker()
    market.show(bids=[(99, 5)], asks=[(101, 1), (102, 2), (103, 4)])
    events = turn(broker, market, intent(quantity="2.5"))
    assert kinds(events) == [OrderAccepted, OrderFilled, OrderFilled]
    assert trades(events) == [("101", "1.0"), ("102", "1.5")]
    assert [event.fee for event in events[1:]] == ["0.10100000", "0.15300000"]
    assert {event.fee_currency for event in events[1:]} == {"USD"}
    assert len({event.fill_id for event in events[1:]}) == 2
    assert trades(turn(broker, market, intent(2, "sell", "2"))) == [("99", "2")]


def test_what_the_book_cannot_give_is_cancelled(market):
    broker = market.broker()
    market.show(bids=[(99, 5)], asks=[(101, 1)])
    events = turn(broker, market, intent(quantity="3"))
    assert kinds(events) == [OrderAccepted, OrderFilled, OrderCanceled]
    assert trades(events) == [("101", "1.0")]
    market.show(bids=[(99, 5)], asks=[])
    assert kinds(turn(broker, market, intent(2))) == [OrderAccepted, OrderCanceled]


def test_an_order_meets_the_book_there_is_when_it_arrives(market):
    broker = market.broker(latency_ms=20.0)
    market.show(asks=[(101, 9)])
    assert turn(broker, market, intent(), ms=19.9) == []
    market.show(asks=[(105, 9)])
    market.pass_ms(0.2)
    broker._turn()
    assert trades(told(broker)) == [("105", "1")]


def test_an_order_never_meets_the_book_of_an_earlier_one(market):
    """Between two orders the broker sleeps; what it saw before is not the market any more."""
    broker = market.broker()
    market.show(asks=[(101, 9)])
    assert trades(turn(broker, market, intent(1))) == [("101", "1")]
    broker._turn()
    market.show(asks=[(150, 9)])
    broker._turn()  # nothing to do: it looks at nothing
    assert trades(turn(broker, market, intent(2))) == [("150", "1")]


def test_nor_when_nothing_newer_is_at_hand(market):
    broker = market.broker()
    market.show(asks=[(101, 9)])
    assert trades(turn(broker, market, intent(1))) == [("101", "1")]
    market.fill_tape(RECENT_SLOTS + 1)
    broker._turn()
    assert turn(broker, market, intent(2)) == []
    market.show(asks=[(150, 9)])
    assert trades(turn(broker, market)) == [("150", "1")]


def test_a_book_long_past_is_waited_for(market):
    """An instrument that has been silent for thousands of slots: its next book is the one."""
    broker = market.broker()
    market.show(asks=[(101, 9)])
    market.fill_tape(RECENT_SLOTS + 1)
    assert turn(broker, market, intent()) == []
    market.show(asks=[(102, 9)])
    assert trades(turn(broker, market)) == [("102", "1")]


def test_a_book_inside_a_frame_is_never_met(market):
    broker = market.broker()
    market.show(asks=[(50, 9)], flags=Flag.SNAPSHOT)
    market.show(asks=[(60, 9)], reference=0.0)
    assert turn(broker, market, intent()) == []
    market.show(asks=[(101, 9)])
    assert trades(turn(broker, market)) == [("101", "1")]


def test_each_instrument_has_its_own_book(market):
    broker = market.broker()
    market.show(asks=[(101, 9)])
    market.show(asks=[(7, 9)], reference=7.0, instrument=1)
    events = turn(broker, market, intent(1), intent(2, instrument=1))
    assert sorted(trades(events)) == [("101", "1"), ("7", "1")]
    assert {e.fee_currency for e in events if isinstance(e, OrderFilled)} == {"USD", "EUR"}


@pytest.mark.parametrize(
    ("side", "limit", "wanted"),
    [
        ("buy", "102", [("101", "1.0"), ("102", "2.0")]),
        ("buy", "101.5", [("101", "1.0")]),
        ("buy", "100", []),
        ("sell", "98", [("99", "1.0"), ("98", "2.0")]),
        ("sell", "100", []),
    ],
)
def test_a_limit_order_takes_what_is_better_and_rests(market, side, limit, wanted):
    broker = market.broker()
    market.show(bids=[(99, 1), (98, 2), (97, 50)], asks=[(101, 1), (102, 2), (103, 50)])
    order = intent(side=side, quantity="10", kind="limit", limit_price=limit)
    events = turn(broker, market, order)
    assert kinds(events)[0] == OrderAccepted
    assert trades(events) == wanted
    assert not any(isinstance(event, OrderCanceled) for event in events)


def test_what_was_taken_from_a_level_is_not_there_again(market):
    """The tape knows nothing of our fills, so the broker must remember them."""
    broker = market.broker()
    market.show(asks=[(101, 1), (102, 5)])
    order = intent(quantity="10", kind="limit", limit_price="101")
    assert trades(turn(broker, market, order)) == [("101", "1.0")]
    assert turn(broker, market) == []
    market.show(asks=[(101, 1), (102, 6)])
    assert turn(broker, market) == []
    market.show(asks=[(101, 3), (102, 6)])  # two more have come
    assert trades(turn(broker, market)) == [("101", "2.0")]
    market.show(asks=[(102, 6)])
    market.show(asks=[(102, 6)])
    assert turn(broker, market) == []
    market.show(asks=[(101, 4), (102, 6)])  # gone and back: a new level
    assert trades(turn(broker, market)) == [("101", "4.0")]
    market.show(asks=[(100, 50)])
    assert trades(turn(broker, market)) == [("100", "3.0")]
    assert broker._orders == {}


def test_a_resting_order_is_cancelled_on_request(market):
    broker = market.broker()
    market.show(asks=[(101, 1)])
    order = intent(quantity="2", kind="limit", limit_price="101")
    turn(broker, market, order)
    events = turn(broker, market, order.command_id)
    assert kinds(events) == [OrderCanceled]
    assert turn(broker, market, order.command_id) == [], "nothing is cancelled twice"
    market.show(asks=[(90, 50)])
    assert turn(broker, market) == []


def test_a_doubled_order_is_one_order(market):
    broker = market.broker()
    market.show(asks=[(101, 9)])
    events = turn(broker, market, intent(), intent(), intent(quantity="5"))
    assert trades(events) == [("101", "1")]
    assert turn(broker, market, intent()) == []


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (intent(quantity="0"), "quantity"),
        (intent(quantity="-1"), "quantity"),
        (intent(quantity="NaN"), "quantity"),
        (intent(quantity="a lot"), "quantity"),
        (intent(kind="limit"), "price"),
        (intent(kind="limit", limit_price="0"), "price"),
        (intent(kind="limit", limit_price="x"), "price"),
        (intent(instrument=77), "instrument"),
    ],
)
def test_what_no_venue_would_take_is_rejected_with_its_reason(market, order, words):
    broker = market.broker()
    market.show(asks=[(101, 9)])
    events = turn(broker, market, order)
    assert kinds(events) == [OrderRejected]
    assert words in events[0].text
    # It is remembered, and neither kills a later life nor comes back in it.
    again = market.broker()
    again.start()
    again.reconcile([Outstanding(intent=order)])
    assert kinds(wait_events(again, 3)) == [AccountConnected, OrderRejected, Reconciled]
    assert again.error is None


def wait_events(broker: PaperBroker, count: int) -> list:
    found: list = []
    wait_until(lambda: found.extend(told(broker)) or len(found) >= count, 20, f"{count} events")
    return found


def test_a_later_life_knows_what_it_told(market):
    first = market.broker()
    market.show(asks=[(101, 1)])
    resting = intent(1, quantity="3", kind="limit", limit_price="101")
    waiting = intent(2)
    events = turn(first, market, resting)
    first.submit(waiting)
    first._take(first._commands.get_nowait())  # it has the order, and dies before it does anything
    second = market.broker()
    second.start()
    second.reconcile([Outstanding(intent=resting), Outstanding(intent=intent(0xF))])
    market.show(asks=[(101, 5)])
    market.pass_ms(1000)
    again: list = []
    wait_until(
        lambda: (
            again.extend(told(second))
            or (second._orders == {} and any(isinstance(e, Reconciled) for e in again))
        ),
        20,
        "all is answered and filled",
    )
    again += told(second)
    lost = [event for event in again if isinstance(event, OrderExpired)]
    assert [(e.command_id, e.text) for e in lost] == [(f"{15:032x}", "never reached the venue")]
    own = [e for e in again if getattr(e, "command_id", "") == resting.command_id]
    assert all(event in own for event in events), "told in the same words, the fills' ids too"
    filled = {e.fill_id: Decimal(e.quantity) for e in own if isinstance(e, OrderFilled)}
    assert sum(filled.values()) == 3
    other = [e for e in again if getattr(e, "command_id", "") == waiting.command_id]
    assert kinds(other) == [OrderAccepted, OrderFilled]


def test_what_died_untold_is_told_before_anything_new(market):
    """Or the fills of a new life close an order whose acceptance nobody has heard of."""
    first = market.broker()
    resting = intent(1, quantity="3")
    first.submit(resting)
    first._take(first._commands.get_nowait())
    accepted = OrderAccepted(resting.command_id, "V", T0)
    first._memory.add_event(accepted)  # and dies before it is told
    market.show(asks=[(101, 5)])
    market.pass_ms(1000)
    second = market.broker()
    second.start()
    wait_until(lambda: second._orders == {}, 20, "it is filled")
    kinds = [type(event) for event in told(second)]
    assert kinds == [AccountConnected, OrderAccepted, OrderFilled]


def test_orders_of_an_earlier_life_that_are_over_stay_over(market):
    first = market.broker()
    market.show(asks=[(101, 1)])
    turn(first, market, intent(1, quantity="0.5"))
    turn(first, market, intent(2, quantity="5"))
    canceled = intent(3, quantity="5", kind="limit", limit_price="1")
    turn(first, market, canceled)
    turn(first, market, canceled.command_id)
    memory = Memory(market.path)
    assert memory.open_orders() == []
    assert memory.events("f" * 32) is None
    assert len(memory.events(canceled.command_id)) == 2
    memory.close()


def test_an_event_is_remembered_before_it_is_told(market):
    broker = market.broker()
    market.show(asks=[(101, 9)])

    class Looking:
        def __init__(self) -> None:
            self.remembered = []

        def put(self, event) -> None:
            memory = Memory(market.path)
            self.remembered.append(event in (memory.events(event.command_id) or []))
            memory.close()

    broker._events = looking = Looking()
    broker.submit(intent())
    broker._turn()
    market.pass_ms(25)
    broker._turn()
    assert looking.remembered == [True, True]


def test_a_full_queue_refuses_the_order(market):
    broker = market.broker()
    broker._commands = queue.Queue(1)
    assert broker.submit(intent(1))
    assert not broker.submit(intent(2))


def test_an_idle_broker_is_never_behind(market):
    broker = market.broker()
    market.fill_tape(3 * CAPACITY)
    broker._turn()
    reader = broker._readers[0]
    assert reader.position == reader.committed
    assert reader.lost == 0
