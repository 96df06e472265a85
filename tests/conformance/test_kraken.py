"""What only Kraken has: level3, order by order, over real sockets with a token."""

import tempfile
from pathlib import Path

import pytest

from processes.reference import load_reference, save_reference
from schemas.reference import Listing, ReferenceData
from schemas.tape import Kind, Marker, MarkerReason
from tests.conformance.clock import Clock, run_in
from tests.conformance.harness import World
from tests.conformance.subjects import KRAKEN
from venues.kraken.venue import KrakenVenue


class Level3World(World):
    """A world whose venue is given tokens; how many it fetched is counted."""

    tokens = 0

    def open_venue(self):
        async def token() -> str:
            self.tokens += 1
            return "simulator-token"

        return KrakenVenue(self.settings, self.url, token)

    def level3_agrees(self) -> bool:
        books = {
            symbol: book
            for session in self.sessions
            for symbol, book in session.codec.level3.items()
        }
        return all(
            symbol in books and orders_of(books[symbol].report()) == self.true_orders(symbol)
            for symbol in KRAKEN.symbols
        )

    def true_orders(self, symbol: str):
        told = self.exchange.truth(
            {"venue": "kraken", "symbol": symbol, "kind": "book", "depth": 10, "level3": True}
        )
        return [
            [(order, price, size) for order, price, size in told[side]] for side in ("bids", "asks")
        ]


def orders_of(report):
    """The ten best levels as (order id, price, quantity) in queue order, bids and asks."""
    return [
        [(order, price, size) for price, queue in report[side] for order, size in queue]
        for side in ("top_bids", "top_asks")
    ]


@pytest.mark.parametrize("fault", [None, "bad_checksum", "gap", "cut"])
def test_order_by_order_the_book_is_the_venues(clock: Clock, fault):
    async def story():
        async with Level3World(KRAKEN, clock, channels=("books", "raw_books")) as world:
            await world.until(lambda: world.counts()[0] == 2 * len(KRAKEN.symbols))
            await world.passed(5)
            if fault:
                world.fault(fault, symbol=KRAKEN.symbols[0])
                await world.passed(10)
                await world.until(lambda: world.counts()[0] == 2 * len(KRAKEN.symbols))
            await world.passed(10)
            world.exchange.frozen = True
            await world.until(world.level3_agrees, 20)
            slots = world.tape.slots
            assert (slots["kind"] == Kind.L3_ORDER).any()
            assert sum(s.codec.tally()["checksums_verified"] for s in world.sessions) > 100
            reasons = set(world.markers(Marker.GAP)["reason"].tolist())
            if fault is None:
                assert not reasons
                assert world.tokens == 1
            elif fault == "cut":
                assert world.tokens == 2  # a new one for each connection
                assert MarkerReason.CONNECTION_LOST in reasons
            else:
                assert reasons == {MarkerReason.CHECKSUM}

    run_in(clock, story(), 600)


def listing(symbol: str, tick: str, status: str = "online") -> Listing:
    base, _, quote = symbol.partition("/")
    return Listing(
        venue="kraken", symbol=symbol, pair=symbol, base=base, quote=quote, kind="spot",
        rest_symbol=base + quote, price_rule="tick", tick_size=tick, size_step="0.00000001",
        min_size="0.00005", min_cost="0.50", status=status,
    )  # fmt: skip


def test_instruments_that_change_are_noticed_while_the_market_goes_on(clock: Clock):
    """Ticks of the reference data are old; in maintenance every pair says so, and then no more."""

    async def story():
        async with World(KRAKEN, clock, silence_s=300.0) as world:
            await world.all_live()
            await world.passed(3)
            kept = load_reference(world.data, "kraken").instruments
            assert [one.tick_size for one in kept] == ["0.1", "0.010"]
            assert world.watch.changes == 2  # one old tick, one pair that was not listed
            told = [line for line in world.log.lines if "instrument" in line[1]]
            assert len(told) == 2
            assert "0.5 -> 0.1" in str(told)
            world.fault("maintenance", seconds=20)
            await world.until(lambda: world.watch.changes >= 5)
            assert {one.status for one in load_reference(world.data, "kraken").instruments} == {
                "maintenance"
            }
            await world.passed(30)
            await world.all_live()
            await world.until(lambda: world.watch.changes >= 8)
            assert {one.status for one in load_reference(world.data, "kraken").instruments} == {
                "online"
            }
            world.fault("cut")  # asked for again, and nothing is news
            await world.until(lambda: world.sessions[0].connections >= 3)
            await world.all_live()
            await world.passed(5)
            assert world.watch.changes == 8
            await world.books_agree()

    data = Path(tempfile.gettempdir()) / "data"
    old = [listing("BTC/USD", "0.5"), listing("ETH/USD", "0.010")]
    save_reference(data, ReferenceData(venue="kraken", fetched_ns=1, instruments=old))
    run_in(clock, story(), 600.0)
