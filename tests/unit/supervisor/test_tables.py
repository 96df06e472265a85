"""The tables of instruments and streams: a place, once given, is for ever."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processes.supervisor.tables import Allotment, tables_path
from schemas.errors import OperatorError
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
        allotment.place_all(instance.settings)
        before = list(allotment.tables.instruments)
        allotment.place_all(instance.load(venues__bitfinex__symbols=["tXRPUSD", "tETHUSD"]))
        assert allotment.tables.instruments[:2] == before
        assert [i.symbol for i in allotment.tables.instruments] == ["tBTCUSD", "tETHUSD", "tXRPUSD"]


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
