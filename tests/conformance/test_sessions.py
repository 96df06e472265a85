"""A session against the venue's faults, over real sockets: what it does, and what the tape says."""

import asyncio

import numpy as np
import pytest

from processes.simulator.bitfinex import Connection
from schemas import tape
from schemas.settings import BookSettings
from schemas.tape import Flag, Kind, Marker, MarkerReason
from tests.conformance.harness import SYMBOLS, World, flags_of
from venues.bitfinex.venue import BitfinexVenue

STREAMS = 4
"""Book, trades, ticker, candles of each symbol."""


def story(coroutine):
    """Run one coroutine test to its end, within a deadline."""
    asyncio.run(asyncio.wait_for(coroutine, 60))


def test_all_streams_arrive_and_the_books_are_the_venues():
    async def live():
        async with World() as world:
            await world.all_live()
            assert world.counts() == (len(SYMBOLS) * STREAMS, 0, len(SYMBOLS) * STREAMS)
            await world.events(1500)
            await world.books_agree()
            kinds = set(world.tape.slots["kind"].tolist())
            assert {Kind.TRADE, Kind.BOOK_LEVEL, Kind.TICKER, Kind.CANDLE, Kind.MARKER} <= kinds
            world.check_trades_are_whole()
            assert not len(world.markers(Marker.GAP, Marker.RESYNC, Marker.DISCONNECTED))

    story(live())


@pytest.mark.parametrize("fault", ["cut", "restart"])
def test_a_lost_connection_is_opened_again_and_the_gap_marked_once_a_stream(fault):
    async def live():
        async with World() as world:
            await world.all_live()
            await world.events()
            before = world.sessions[0].codec.epoch
            last = world.sessions[0].codec.sequence_last
            world.exchange.commit_fault({"kind": fault})
            await world.until(lambda: world.sessions[0].connections == 2)
            await world.all_live()
            await world.events()
            await world.books_agree()
            gaps = world.markers(Marker.GAP)
            assert len(gaps) == len(SYMBOLS) * STREAMS
            assert len({(g["instrument"], g["stream"]) for g in gaps.tolist() and gaps}) == len(
                gaps
            )
            assert set(gaps["from_epoch"]) == {before}
            assert (gaps["from_venue_sequence"] >= last).all()
            assert (gaps["to_recv_ns"] > gaps["from_recv_ns"]).all()
            world.check_trades_are_whole()
            ended = world.markers(Marker.DISCONNECTED)
            wanted = {"cut": MarkerReason.CONNECTION_LOST, "restart": MarkerReason.SERVER_RESTART}
            assert ended["reason"].tolist() == [wanted[fault]]

    story(live())


def test_trades_of_the_outage_come_back_marked():
    async def live():
        async with World() as world:
            await world.all_live()
            await world.events(600)
            world.exchange.commit_fault({"kind": "down", "seconds": 0.6})
            await world.until(lambda: world.sessions[0].connections == 2)
            await world.all_live()
            await world.events(600)
            world.check_trades_are_whole()
            assert flags_of(world.trades(), Flag.BACKFILLED).any()
            missed = world.trades()[flags_of(world.trades(), Flag.BACKFILLED)]
            gaps = world.markers(Marker.GAP)
            for trade in missed:
                mine = gaps[gaps["instrument"] == trade["instrument"]]
                assert (mine["from_recv_ns"] <= trade["recv_ns"]).any()

    story(live())


def test_a_sequence_gap_costs_the_connection_and_nothing_goes_by_in_between():
    async def live():
        async with World() as world:
            await world.all_live()
            await world.events()
            world.exchange.commit_fault({"kind": "gap"})
            await world.until(lambda: world.sessions[0].gaps == 1)
            await world.until(lambda: world.sessions[0].connections == 2)
            await world.all_live()
            await world.events()
            await world.books_agree()
            gaps = world.markers(Marker.GAP)
            assert set(gaps["reason"]) == {MarkerReason.SEQUENCE}
            first = int(gaps["from_epoch"][0])
            slots = world.tape.slots
            assert (
                slots["venue_sequence"][slots["epoch"] == first].max()
                == gaps["from_venue_sequence"][0]
            )

    story(live())


def test_a_bad_checksum_costs_one_book_and_the_others_lose_nothing():
    async def live():
        async with World() as world:
            await world.all_live()
            world.exchange.commit_fault({"kind": "bad_checksum", "symbol": "tETHUSD"})
            await world.until(lambda: world.sessions[0].resyncs == 1)
            await world.until(lambda: len(world.markers(Marker.GAP)) == 1)
            await world.events(600)
            await world.books_agree()
            assert world.sessions[0].connections == 1
            ether = world.tables.instruments["tETHUSD"].index
            resync, gap = world.markers(Marker.RESYNC), world.markers(Marker.GAP)
            assert resync["instrument"].tolist() == gap["instrument"].tolist() == [ether]
            assert gap["reason"][0] == MarkerReason.CHECKSUM
            # The gap reaches back to where the book was last known to be right.
            assert gap["from_venue_sequence"][0] < resync["venue_sequence"][0]
            others = world.tape.slots[world.tape.slots["instrument"] != ether]
            frames = np.unique(others["venue_sequence"][others["venue_sequence"] > 0])
            assert len(frames) > 300

    story(live())


def test_heartbeats_alone_do_not_keep_a_channel_alive():
    async def live():
        async with World(silence_s=30.0) as world:
            await world.all_live()
            world.exchange.commit_fault({"kind": "heartbeats_only", "seconds": 1.6})
            await world.until(lambda: len(world.markers(Marker.STALE)) >= len(SYMBOLS))
            await world.until(lambda: world.sessions[0].resyncs >= len(SYMBOLS))
            await world.all_live()
            await world.events()
            await world.books_agree()
            assert world.sessions[0].connections == 1

    story(live())


def test_a_silent_socket_is_given_up():
    async def live():
        async with World(stale_s={}) as world:
            await world.all_live()
            world.exchange.commit_fault({"kind": "silence", "seconds": 30})
            await world.until(lambda: world.sessions[0].connections == 2)
            await world.all_live()
            await world.events()
            assert world.markers(Marker.DISCONNECTED)["reason"].tolist() == [MarkerReason.SILENCE]

    story(live())


def test_maintenance_is_waited_out_and_everything_subscribed_anew():
    async def live():
        async with World(silence_s=30.0) as world:
            await world.all_live()
            await world.events()
            world.exchange.commit_fault({"kind": "maintenance", "seconds": 1.5})
            await world.until(lambda: len(world.markers(Marker.MAINTENANCE_BEGIN)) == 1)
            await world.until(lambda: len(world.markers(Marker.MAINTENANCE_END)) == 1)
            await world.until(lambda: world.sessions[0].connections == 2)
            await world.all_live()
            await world.events()
            await world.books_agree()
            world.check_trades_are_whole()

    story(live())


def test_a_venue_that_is_down_is_tried_until_it_is_back():
    async def live():
        async with World() as world:
            await world.all_live()
            world.exchange.commit_fault({"kind": "down", "seconds": 2.0})
            failures = lambda: world.sessions[0].text.startswith("cannot connect")  # noqa: E731
            await world.until(failures)
            await world.until(lambda: world.sessions[0].connections == 2)
            await world.all_live()
            await world.books_agree()

    story(live())


def test_a_refused_stream_hurts_no_other():
    async def live():
        async with World(symbols=("tBTCUSD", "tNOPE", "tETHUSD", "tXRPUSD")) as world:
            await world.until(lambda: world.counts()[1] == STREAMS)
            await world.until(lambda: world.counts()[0] == 3 * STREAMS)
            assert len(world.markers(Marker.REFUSED)) == STREAMS
            assert any("10300" in text for text in world.sessions[0].desk.refusals())
            world.settings = world.settings.__class__(symbols=SYMBOLS)
            await world.events()

    story(live())


def test_a_key_that_is_never_answered_hurts_no_other_stream(monkeypatch):
    """As the venue treats a `deriv:` key that does not exist: silence, and nothing else."""

    def without_answer(self, request, now_ns, take=Connection._subscribe):
        if request.get("channel") != "status":
            take(self, request, now_ns)
        else:
            asked.append(request["key"])

    asked: list[str] = []
    monkeypatch.setattr(Connection, "_subscribe", without_answer)

    async def live():
        channels = ("books", "trades", "status")
        symbols = (*SYMBOLS, "tNOPEF0:USTF0")
        async with World(
            symbols=symbols, channels=channels, subscribe_timeout_s=0.3, subscribe_tries=2
        ) as world:
            await world.until(lambda: world.counts() == (2 * len(SYMBOLS), 3, 9))
            assert asked == ["deriv:tNOPEF0:USTF0"] * 2
            await world.events()
            refused = world.markers(Marker.REFUSED)
            places = refused["instrument"] == world.tables.instruments["tNOPEF0:USTF0"].index
            assert len(refused[places]) == 3  # the status, and by code its book and trades
            assert world.sessions[0].connections == 1
            assert world.sessions[0].resyncs == 0

    story(live())


def test_more_streams_than_a_connection_takes_open_more_connections():
    async def live():
        async with World(subscriptions_per_connection=5) as world:
            await world.all_live()
            assert len(world.sessions) == 3
            await world.events(900)
            await world.books_agree()

    story(live())


def test_the_venues_own_limit_is_obeyed_whatever_the_setting_says():
    async def live():
        async with World(
            subscriptions_per_connection=100,
            symbols=SYMBOLS,
            books=tuple(
                BookSettings(precision=p, length=25) for p in ("P0", "P1", "P2", "P3", "R0")
            ),
            candles=("1m", "5m", "15m", "30m", "1h"),
        ) as world:
            # 36 streams; the venue takes 30 a connection and refuses the rest with 10305.
            await world.until(lambda: world.counts()[0] == 36, 30)
            assert [len(session.desk) for session in world.sessions] == [30, 6]
            assert world.sessions[0].limit == 30

    story(live())


def test_every_precision_beside_the_primary_book():
    async def live():
        books = tuple(BookSettings(precision=p, length=25) for p in ("P0", "P1", "R0"))
        async with World(books=books, channels=("books",)) as world:
            await world.all_live()
            await world.events(2500)
            await world.books_agree()
            slots = world.tape.slots
            primary = flags_of(slots, Flag.PRIMARY) & (slots["kind"] == Kind.BOOK_LEVEL)
            assert (slots["reference_price"][primary & flags_of(slots, Flag.FRAME_END)] > 0).all()
            others = (slots["kind"] == Kind.L3_ORDER) | (
                (slots["kind"] == Kind.BOOK_LEVEL) & ~primary
            )
            assert others.any()
            assert (slots["reference_price"][others] == 0).all()

    story(live())


def test_flags_that_are_switched_off_are_done_without():
    async def live():
        from schemas.settings import BitfinexFlags

        flags = BitfinexFlags(timestamp=False, sequence=False, checksum=False, bulk_updates=False)
        async with World(flags=flags) as world:
            await world.all_live()
            await world.events(600)
            await world.books_agree()
            assert (world.tape.slots["venue_sequence"] == 0).all()

    story(live())


def test_a_restarted_collector_knows_what_it_knew():
    """Trade ids and the end of knowledge come back from the tape: nothing twice, one gap."""

    async def live():
        async with World() as world:
            await world.all_live()
            await world.events(800)
            earlier = world.tape.slots.copy()
            fresh = BitfinexVenue(world.settings, "")
            fresh.recover(earlier, world.wanted())
            for symbol in SYMBOLS:
                index = world.tables.instruments[symbol].index
                mine = earlier[(earlier["kind"] == Kind.TRADE) & (earlier["instrument"] == index)]
                assert fresh.markets.newest_trade(index) == mine["id_low"].max()
            assert len(fresh.markets.interrupted) == len(SYMBOLS) * STREAMS
            for interruption in fresh.markets.interrupted.values():
                assert interruption.venue_sequence == earlier["venue_sequence"].max()
                assert interruption.epoch == 1
                assert interruption.reason == MarkerReason.COLLECTOR_RESTART

    story(live())


def test_an_empty_tape_recovers_nothing():
    world = World()
    venue = BitfinexVenue(world.settings, "")
    venue.recover(np.zeros(0, tape.SLOT), world.wanted())
    assert venue.markets.interrupted == {}
