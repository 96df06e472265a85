"""The tables of instruments and streams: a place, once given, is for ever."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.reference import save_reference
from processes.supervisor.tables import Allotment, tables_path
from schemas.errors import OperatorError
from schemas.instruments import Instrument
from schemas.reference import Listing, ReferenceData
from tests.instances import bare_instance

SYMBOLS = st.sampled_from(["tBTCUSD", "tETHUSD", "tDOGE:USD", "fUSD"])
STREAMS = st.sampled_from(
    [
        ("ticker", {}), ("trades", {}),
        ("books", {"precision": "P0", "frequency": "F0", "length": 25}),
        ("books", {"precision": "P0", "frequency": "F0", "length": 100}),
        ("books", {"precision": "P1", "frequency": "F0", "length": 25}),
        ("candles", {"timeframe": "1m"}), ("candles", {"timeframe": "5m"}),
    ]
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(["bitfinex", "kraken"]), SYMBOLS, STREAMS), max_size=30))
def test_places_are_unique_and_never_move(wanted):
    allotment = Allotment()
    given_places = {}
    for venue, symbol, (channel, parameters) in wanted:
        instrument, stream = allotment.place(venue, symbol, symbol[1:], channel, parameters)
        key = (venue, symbol, channel, tuple(sorted(parameters.items())))
        assert given_places.setdefault(key, (instrument, stream)) == (instrument, stream)
        assert (instrument.venue, instrument.symbol) == (venue, symbol)
        assert stream.channel == channel
        assert all(getattr(stream, name) == value for name, value in parameters.items())
    tables = allotment.tables
    assert [item.index for item in tables.instruments] == list(range(len(tables.instruments)))
    assert [item.index for item in tables.streams] == list(range(len(tables.streams)))
    assert len({(i.venue, i.symbol) for i in tables.instruments}) == len(tables.instruments)


def test_they_outlive_the_supervisor_and_grow_behind_the_last(tmp_path):
    first = Allotment.load(tmp_path)
    assert first.tables.instruments == []
    btc, books = first.place("bitfinex", "tBTCUSD", "BTC/USD", "books", {"precision": "P0"})
    first.save(tmp_path)
    second = Allotment.load(tmp_path)
    eth, trades = second.place("bitfinex", "tETHUSD", "ETH/USD", "trades", {})
    assert (eth.index, trades.index) == (1, 1)
    assert second.place("bitfinex", "tBTCUSD", "BTC/USD", "books", {"precision": "P0"}) == (
        btc, books,
    )  # fmt: skip
    second.save(tmp_path)
    assert [i.symbol for i in Allotment.load(tmp_path).tables.instruments] == ["tBTCUSD", "tETHUSD"]


def test_an_instrument_that_is_no_longer_wanted_keeps_its_place():
    with bare_instance(venues__bitfinex__symbols=["tBTCUSD", "tETHUSD"]) as instance:
        allotment = Allotment()
        allotment.place_all(instance.settings, instance.paths.data)
        before = list(allotment.tables.instruments)
        wanted = instance.load(venues__bitfinex__symbols=["tXRPUSD", "tETHUSD"])
        allotment.place_all(wanted, instance.paths.data)
        assert allotment.tables.instruments[:2] == before
        assert [i.symbol for i in allotment.tables.instruments] == ["tBTCUSD", "tETHUSD", "tXRPUSD"]


def test_instruments_have_the_ticks_that_their_venue_lists():
    gmo = {"enabled": True, "symbols": ["BTC_JPY", "XRP_JPY", "ETH_JPY"]}
    with bare_instance(venues__gmo=gmo) as instance:
        keep(instance.paths.data, BTC_JPY="1", XRP_JPY="0.001")
        allotment = Allotment()
        allotment.place_all(instance.settings, instance.paths.data)
        ticks = {i.symbol: i.tick_size for i in allotment.tables.instruments if i.venue == "gmo"}
        assert ticks == {"BTC_JPY": 1.0, "XRP_JPY": 0.001, "ETH_JPY": 0.0}
        places = [i.symbol for i in allotment.tables.instruments]
        keep(instance.paths.data, BTC_JPY="5", ETH_JPY="1")
        allotment.place_all(instance.settings, instance.paths.data)
        ticks = {i.symbol: i.tick_size for i in allotment.tables.instruments if i.venue == "gmo"}
        assert ticks == {"BTC_JPY": 5.0, "XRP_JPY": 0.001, "ETH_JPY": 1.0}
        assert [i.symbol for i in allotment.tables.instruments] == places


def keep(data: Path, **ticks: str) -> None:
    """Reference data of GMO Coin with these ticks."""
    rows = [
        Listing(
            venue="gmo", symbol=symbol, pair=symbol, base="", quote="JPY", kind="perpetual",
            rest_symbol=symbol, price_rule="tick", tick_size=tick,
        )
        for symbol, tick in ticks.items()
    ]  # fmt: skip
    save_reference(data, ReferenceData(venue="gmo", fetched_ns=1, instruments=rows))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"instruments":[{"index":"a"}]}'])
def test_tables_that_cannot_be_read_stop_the_start_with_a_sentence(tmp_path, content):
    """To begin anew would give old numbers to other instruments: journals would lie."""
    path = tables_path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(OperatorError, match=r"instruments\.json"):
        Allotment.load(tmp_path)
    assert path.read_bytes() == content


def test_the_file_is_json_for_people(tmp_path):
    allotment = Allotment()
    allotment.place("bitfinex", "tBTCUSD", "BTC/USD", "trades", {})
    allotment.save(tmp_path)
    text = tables_path(tmp_path).read_bytes()
    assert msgspec.json.decode(text)["instruments"][0]["symbol"] == "tBTCUSD"
    assert len(text.splitlines()) > 3


def test_instruments_get_the_rules_that_their_venue_lists(tmp_path):
    listing = Listing(
        venue="bitfinex", symbol="tBTCUSD", pair="BTC/USD", base="BTC", quote="USD", kind="spot",
        rest_symbol="tBTCUSD", price_rule="significant_digits", price_digits=5,
        size_step="0.00000001", min_size="0.00004", min_cost="1.5",
    )  # fmt: skip
    save_reference(tmp_path, ReferenceData(venue="bitfinex", fetched_ns=1, instruments=[listing]))
    with bare_instance() as instance:
        allotment = Allotment()
        allotment.place_all(instance.settings, tmp_path)
    (item,) = [one for one in allotment.tables.instruments if one.symbol == "tBTCUSD"]
    assert (item.quantity_step, item.min_quantity) == ("0.00000001", "0.00004")
    assert (item.min_notional, item.tick_size) == ("1.5", 0.0)


def test_a_table_of_before_there_were_sizes_is_read():
    old = b'{"index":0,"venue":"kraken","symbol":"BTC/USD","pair":"BTC/USD","tick_size":0.1}'
    item = msgspec.json.decode(old, type=Instrument)
    assert (item.quantity_step, item.min_quantity, item.min_notional) == ("", "", "")
