"""The simulator's encoders and checksums on what the venues recorded: same levels, same sums."""

import json
from decimal import Decimal

import pytest

from processes.simulator.checksums import kraken_checksum
from processes.simulator.kraken_books import PairText
from processes.simulator.market import UNITS, Market
from processes.simulator.numbers import plain_text, time_text
from tests.unit.simulator.books import KrakenBook, KrakenOrders, decimals

KRAKEN_FILES = {
    "ws_v2_book_btcusd_d10_2023.part1.jsonl": 256,
    "ws_v2_book_btcusd_d10_2026-07-05.jsonl": 11,
}


def encode(tick: str):
    """Tokens read as numbers and written by the simulator, as it writes its own."""
    text = PairText(Market("A/B", Decimal(tick)))

    def written(price: str, quantity: str) -> tuple[str, str]:
        ticks = Decimal(price) / Decimal(tick)
        units = Decimal(quantity) * UNITS
        return text.price(int(ticks)), text.quantity(int(units))

    return written


@pytest.mark.parametrize("name", KRAKEN_FILES)
def test_kraken_books_of_the_recordings(recordings, name):
    book, written, seen = KrakenBook(10), encode("0.1"), 0
    for line in (recordings / "kraken" / name).read_text().splitlines():
        frame = decimals(line)
        if frame.get("channel") != "book":
            continue
        book.apply(frame)
        asks, bids = (
            [written(*level) for level in book.best(side)[:10]] for side in ("asks", "bids")
        )
        assert asks == book.best("asks")[:10]
        assert kraken_checksum(asks, bids) == int(frame["data"][0]["checksum"])
        seen += 1
    assert seen == KRAKEN_FILES[name]


def test_kraken_books_of_other_pairs(recordings):
    lines = (recordings / "kraken" / "ws_v2_book_checksum_misc.jsonl").read_text().splitlines()
    seen = 0
    book = KrakenBook(10)
    for frame in map(decimals, lines):
        if frame.get("channel") != "book":
            continue
        book.apply(frame)
        price = frame["data"][0]["asks" if frame["data"][0]["asks"] else "bids"][0]["price"]
        written = encode(str(Decimal(1).scaleb(-len(price.split(".")[1]))))
        sides = [[written(*level) for level in book.best(side)[:10]] for side in ("asks", "bids")]
        assert kraken_checksum(*sides) == int(frame["data"][0]["checksum"])
        seen += 1
    assert seen == 3


def test_kraken_order_books_of_the_documentation(recordings):
    path = recordings / "kraken" / "ws_v2_level3_official_example.jsonl"
    frame = decimals(path.read_text())
    orders, written = KrakenOrders(10), encode("0.1")
    orders.apply(frame)
    asks, bids = (
        [written(price, quantity) for _, price, quantity in orders.orders(side)]
        for side in ("asks", "bids")
    )
    assert kraken_checksum(asks, bids) == int(frame["data"][0]["checksum"]) == 1063832831


def test_gmo_numbers_are_written_as_the_venue_writes_them(recordings):
    book = json.loads((recordings / "gmo" / "rest_public_orderbooks.json").read_text())
    levels = [*book["asks"], *book["bids"]]
    assert len(levels) > 500
    for level in levels:
        for token in level.values():
            assert plain_text(Decimal(token)) == token


def test_times_have_as_many_digits_as_the_venue_gives():
    time_ns = 1_784_270_258_012_345_678
    assert time_text(time_ns, 0) == "2026-07-17T06:37:38Z"
    assert time_text(time_ns, 3) == "2026-07-17T06:37:38.012Z"
    assert time_text(time_ns, 6) == "2026-07-17T06:37:38.012345Z"
    assert time_text(time_ns, 9) == "2026-07-17T06:37:38.012345678Z"
