"""What only Bitfinex has: limits of a connection, precisions, flags, frames before their ack."""

import numpy as np

from schemas.feeds import BitfinexFlags, BookSettings
from schemas.tape import Flag, Kind, Marker
from tests.conformance.clock import Clock, run_in
from tests.conformance.harness import World, flags_of
from tests.conformance.subjects import BITFINEX


def test_more_streams_than_a_connection_takes_open_more_connections(clock: Clock):
    async def story():
        async with World(BITFINEX, clock, subscriptions_per_connection=5) as world:
            await world.all_live()
            assert len(world.sessions) == 3
            await world.passed(5)
            await world.books_agree()

    run_in(clock, story(), 600)


def test_the_venues_own_limit_is_obeyed_whatever_the_setting_says(clock: Clock):
    async def story():
        books = tuple(BookSettings(precision=p, length=25) for p in ("P0", "P1", "P2", "P3", "R0"))
        candles = ("1m", "5m", "15m", "30m", "1h")
        options = {"subscriptions_per_connection": 100, "books": books, "candles": candles}
        async with World(BITFINEX, clock, **options) as world:
            world.fault("limit", count=30)
            # 36 streams; the venue takes 30 a connection and refuses the rest with 10305.
            await world.until(lambda: world.counts()[0] == 36)
            assert [len(session.desk) for session in world.sessions] == [30, 6]
            assert world.sessions[0].limit == 30
            await world.passed(5)
            await world.books_agree()

    run_in(clock, story(), 600)


def test_every_precision_beside_the_primary_book(clock: Clock):
    async def story():
        books = tuple(BookSettings(precision=p, length=25) for p in ("P0", "P1", "R0"))
        async with World(BITFINEX, clock, books=books, channels=("books",)) as world:
            await world.all_live()
            await world.passed(10)
            await world.books_agree()
            slots = world.tape.slots
            primary = flags_of(slots, Flag.PRIMARY) & (slots["kind"] == Kind.BOOK_LEVEL)
            assert (slots["reference_price"][primary & flags_of(slots, Flag.FRAME_END)] > 0).all()
            others = (slots["kind"] == Kind.L3_ORDER) | (
                (slots["kind"] == Kind.BOOK_LEVEL) & ~primary
            )
            assert others.any()
            assert (slots["reference_price"][others] == 0).all()

    run_in(clock, story(), 600)


def test_flags_that_are_switched_off_are_done_without(clock: Clock):
    async def story():
        flags = BitfinexFlags(timestamp=False, sequence=False, checksum=False, bulk_updates=False)
        async with World(BITFINEX, clock, flags=flags) as world:
            await world.all_live()
            await world.passed(5)
            await world.books_agree()
            assert (world.tape.slots["venue_sequence"] == 0).all()

    run_in(clock, story(), 600)


def test_nothing_goes_by_between_a_gap_and_its_marker(clock: Clock):
    async def story():
        async with World(BITFINEX, clock) as world:
            await world.all_live()
            await world.passed(3)
            world.fault("gap")
            await world.until(lambda: world.sessions[0].connections == 2)
            await world.all_live()
            gaps = world.markers(Marker.GAP)
            first = int(gaps["from_epoch"][0])
            slots = world.tape.slots
            newest = slots["venue_sequence"][slots["epoch"] == first].max()
            assert np.all(gaps["from_venue_sequence"] == newest)

    run_in(clock, story(), 600)


def test_a_key_that_is_never_answered_hurts_no_other_stream(clock: Clock):
    """A `deriv:` key that does not exist gets silence, and nothing else."""

    async def story():
        nope = "tNOPEF0:USTF0"
        async with World(
            BITFINEX, clock, symbols=(*BITFINEX.symbols, nope),
            channels=("books", "trades", "status"), subscribe_tries=2,
        ) as world:  # fmt: skip
            # The spot markets have no status, the last has neither book nor trades nor status.
            await world.until(lambda: world.counts()[1] >= 3 and sum(world.counts()[:2]) == 9)
            await world.passed(5)
            await world.books_agree()
            refused = world.of(world.markers(Marker.REFUSED), nope)
            assert len(refused) == 3
            assert world.sessions[0].connections == 1
            assert world.sessions[0].resyncs == 0

    run_in(clock, story(), 600)
