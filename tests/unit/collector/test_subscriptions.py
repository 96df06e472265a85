"""The desk: what is asked for when, what counts as refused, and where a stream goes that was."""

from hypothesis import given
from hypothesis import strategies as st

from processes.collector.session import place_anew
from processes.collector.subscriptions import Desk, State
from schemas.feeds import BitfinexSettings
from tests.feeding import Tables
from venues.bitfinex.subscriptions import wanted_streams
from venues.bitfinex.venue import BitfinexVenue
from venues.planning import spread
from venues.wire import Subscription


def subscriptions(symbols: int) -> list[Subscription]:
    tables = Tables()
    settings = BitfinexSettings(symbols=tuple(f"tA{n:02}USD" for n in range(symbols)))
    found = []
    for symbol, pair, channel, parameters, primary in wanted_streams(settings):
        instrument, stream = tables.allot(symbol, pair, channel, parameters)
        found.append(Subscription(instrument=instrument, stream=stream, primary=primary))
    return found


def send(desk: Desk, now_s: float) -> list[Subscription]:
    due = desk.due(now_s)
    for subscription in due:
        desk.sent(subscription, now_s)
    return due


def test_a_hundred_symbols_of_four_channels_are_fourteen_connections():
    venue = BitfinexVenue(BitfinexSettings(), "")
    wanted = subscriptions(100)
    assert len(wanted) == 400
    connections = venue.plan(wanted)
    assert len(connections) == 14
    assert max(len(each) for each in connections) <= 30
    assert sorted(map(id, wanted)) == sorted(id(s) for each in connections for s in each)
    # Nearly all instruments have their streams together.
    homes = [{s.instrument.index for s in each} for each in connections]
    assert sum(sum(n in home for home in homes) > 1 for n in range(100)) <= 2


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 12))
def test_a_plan_is_whole_and_as_small_as_can_be(sizes, limit):
    pool = subscriptions(40)
    by_instrument = [pool[4 * n : 4 * n + 4] for n in range(40)]
    wanted = []
    for number, size in enumerate(sizes):
        wanted += (by_instrument[number] * 3)[:size]
    connections = spread(wanted, limit)
    assert sum(map(len, connections)) == len(wanted)
    assert all(0 < len(each) <= limit for each in connections)
    assert len(connections) == -(-len(wanted) // limit)


def test_what_is_never_answered_counts_as_refused_and_is_asked_for_quietly():
    silent, loud = subscriptions(1)[:2]
    desk = Desk([silent, loud], 10.0, tries=3, retry_s=600.0)
    assert send(desk, 0.0) == [silent, loud]
    desk.acknowledged(loud, 5)
    assert send(desk, 11.0) == [silent]
    assert desk.give_up(21.5) == []
    assert send(desk, 22.0) == [silent]
    assert desk.give_up(31.0) == []
    assert desk.counts() == (1, 0, 2)
    assert send(desk, 33.0) == []
    assert desk.give_up(33.0) == [silent]
    assert desk.give_up(34.0) == []
    assert desk.counts() == (1, 1, 2)
    assert "no answer to 3 requests" in desk.refusals()[0]
    # Asked for again after a long while, and it stays refused for who counts.
    assert send(desk, 632.0) == []
    assert send(desk, 634.0) == [silent]
    assert desk.counts() == (1, 1, 2)
    assert send(desk, 900.0) == []
    assert send(desk, 1235.0) == [silent]
    desk.acknowledged(silent, 6)
    assert desk.counts() == (2, 0, 2)


def test_a_new_connection_does_not_wait_for_what_was_never_answered():
    silent, loud = subscriptions(1)[:2]
    desk = Desk([silent, loud], 10.0, tries=1, retry_s=600.0)
    send(desk, 0.0)
    desk.acknowledged(loud, 5)
    assert desk.give_up(11.0) == [silent]
    desk.reset()
    assert send(desk, 12.0) == [silent, loud]  # asked for at once, and yet
    assert desk.counts() == (0, 1, 2)
    desk.acknowledged(loud, 7)
    assert desk.give_up(500.0) == []
    assert desk.counts() == (1, 1, 2)


def test_a_refusal_by_code_is_final_until_the_next_connection():
    one, other = subscriptions(1)[:2]
    desk = Desk([one, other], 10.0, tries=2, retry_s=600.0)
    send(desk, 0.0)
    desk.refused(one, "10300 symbol: invalid", permanent=True)
    desk.refused(other, "10000", permanent=False)
    assert desk.counts() == (0, 1, 2)
    assert send(desk, 11.0) == [other]
    assert send(desk, 5000.0) == [other]
    desk.reset()
    assert [entry.state for entry in desk._entries] == [State.WANTED, State.WANTED]


class Place:
    """What `place_anew` sees of a session."""

    def __init__(self, wanted: list[Subscription], limit: int = 1 << 30) -> None:
        self.desk = Desk(wanted, 10.0)
        self.limit = limit

    def add(self, subscription: Subscription) -> None:
        self.desk.add(subscription)


def test_a_stream_without_room_goes_where_there_is_some_within_the_lowest_limit_named():
    wanted = subscriptions(3)
    full, nearly = Place(wanted[:5], limit=5), Place(wanted[5:9])
    assert place_anew(wanted[9], [full, nearly])
    assert len(nearly.desk) == 5
    assert not place_anew(wanted[10], [full, nearly])  # a new connection is needed
