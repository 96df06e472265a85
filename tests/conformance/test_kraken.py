"""What only Kraken has: level3, order by order, over real sockets with a token."""

import pytest

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
